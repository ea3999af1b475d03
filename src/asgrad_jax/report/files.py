"""The files of a run that are for people: tables, figures, the result itself."""

import dataclasses
from pathlib import Path

import pandas as pd
import xarray as xr

from asgrad_jax._util.files import atomic_path, safe_names
from asgrad_jax.report.tables import (
    as_latex,
    as_markdown,
    best_table,
    labels,
    short_table,
    summary,
)
from asgrad_jax.report.verdicts import Verdict
from asgrad_jax.results.results import RESULTS, save


def write_report(result: xr.Dataset, folder: Path) -> list[Path]:
    """Writes table.csv, .md and .tex and, per compute-time model, the figure.

    Title and metric are the result's, see `labels`. Files of these names in the folder,
    which exists, are replaced; returns all that were written.
    """
    # matplotlib only where something is drawn: the command line lists algorithms too.
    from asgrad_jax import plot
    from asgrad_jax.plot.style import save_both

    title, metric = labels(result)
    table = best_table(result, metric)
    short = short_table(table)
    texts = {
        "table.csv": table.to_csv(index=False),
        "table.md": "\n\n".join([as_markdown(short), *summary(result, metric)]) + "\n",
        "table.tex": as_latex(short),
    }
    written = [folder / name for name in texts]
    for path, text in zip(written, texts.values(), strict=True):
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    names = [str(c) for c in result["compute_times"].values]
    for compute_times, part in zip(names, safe_names(names), strict=True):
        figure = plot.convergence(
            result, metric=metric, compute_times=compute_times, title=title
        )
        name = "convergence" if len(names) == 1 else f"convergence-{part}"
        written += save_both(figure, folder / name)
    return written


def write_verdicts(found: list[Verdict], folder: Path) -> list[Path]:
    """Writes verdicts.csv and .tex; nothing where no claim was made."""
    if not found:
        return []
    table = pd.DataFrame(map(dataclasses.asdict, found))
    short = table.drop(columns="detail").rename(columns={"text": "claim"})
    texts = {
        "verdicts.csv": table.to_csv(index=False),
        "verdicts.tex": as_latex(short),
    }
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return [folder / name for name in texts]


def write_results(result: xr.Dataset, folder: Path) -> list[Path]:
    """Writes the result itself as results.nc, and its report; see `write_report`."""
    folder.mkdir(parents=True, exist_ok=True)
    save(result, folder / RESULTS)
    return [folder / RESULTS, *write_report(result, folder)]
