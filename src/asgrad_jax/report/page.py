"""One self-contained HTML page on a run: nothing is loaded from elsewhere."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from asgrad_jax import plot
from asgrad_jax._util.files import atomic_path
from asgrad_jax._util.text import problem_in_words
from asgrad_jax.report import interactive
from asgrad_jax.report.axes import num_parameters, with_bits, with_epochs
from asgrad_jax.report.citations import bibtex
from asgrad_jax.report.panels import schedule_rows, schedules_of, theory_panel
from asgrad_jax.report.pictures import image, pictures
from asgrad_jax.report.setting import Setting
from asgrad_jax.report.tables import as_latex, best_table, labels, short_table, summary
from asgrad_jax.report.verdicts import by_claim, counted_answers, verdicts
from asgrad_jax.results.results import MISSING, NONFINITE, sweep_config
from asgrad_jax.results.selection import restore_dims, split_seeds

PAGE = "report.html"
_TIMELINES = 6  # schedules that are drawn, at most
_NUMBER = re.compile(r"-?[\d.]+(e[+-]?\d+)?")
_MISSING = (
    "the page needs Jinja2 and Plotly, which are not installed; "
    "install them with: pip install 'asgrad-jax[report]'"
)


# Headings of `best_table` in words; those of hyper-parameters are theirs.
_HEADINGS = {
    "compute_times": "compute times",
    "step_size": "step size",
    "tau_max": "largest delay",
    "not_finite": "not finite",
    "on_edge": "on edge",
}


def check_libraries() -> None:
    """Raises ImportError, with what to do, unless pages can be written."""
    try:
        import jinja2  # noqa: F401 # pyrefly: ignore[missing-import]
        import plotly  # noqa: F401 # pyrefly: ignore[missing-import]
    except ImportError as error:
        raise ImportError(f"{_MISSING} ({error})") from None


def write_page(
    result: xr.Dataset,
    folder: Path,
    setting: Setting | None,
    again: int | None = None,
) -> Path:
    """Writes report.html into a folder that exists, and returns its path.

    The figures of schedules and theory lie beside it as PDF, in `figures`.

    Args:
        result: what `sweep`, `tune` or `load` returned.
        folder: where to.
        setting: what the run's config says. Without it there are no panels on schedules
            and theory, no verdicts, and the config is the result's own.
        again: seconds after which it loads itself again while runs are missing.

    Raises:
        ImportError: without Jinja2 and Plotly (the extra `report`).
        ValueError: for a claim or a source that does not fit.
    """
    check_libraries()
    values = contents(restore_dims(result), folder, setting)
    again = again if (result["status"] == MISSING).any() else None
    text = render("page.html", **values, again=again)
    with atomic_path(folder / PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / PAGE


def render(template: str, **values: Any) -> str:
    """Fills a template of this package; values are escaped."""
    import jinja2  # pyrefly: ignore[missing-import]

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("asgrad_jax.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def contents(
    result: xr.Dataset, folder: Path, setting: Setting | None
) -> dict[str, Any]:
    """Everything that the page shows, by name; writes its figures as PDF, too."""
    from plotly.offline import get_plotlyjs  # pyrefly: ignore[missing-import]

    title, metric = labels(result)
    if setting is not None:
        result = with_bits(with_epochs(result, setting.problem), setting)
    table = best_table(result, metric)
    asked = sweep_config(result)
    names = [a["name"] for a in asked["algorithms"].values() if isinstance(a, dict)]
    found = verdicts(result, list(setting.claims) if setting else [], metric)
    panels: dict[str, Any] = {"schedules": None, "theory": None}
    if setting is not None:
        panels = _panels(result, folder, setting)
    return {
        "title": title or "A sweep of asgrad_jax",
        "facts": _facts(result, asked, setting),
        "summary": setting.summary if setting else "",
        "sentences": [_plain(sentence) for sentence in summary(result, metric)],
        "verdicts": by_claim(found),
        "verdicts_counted": counted_answers(found),
        "settings_table": _table(short_table(table)),
        "latex": as_latex(short_table(table)),
        "figures": _figures(result, metric, title),
        "interactive": interactive.data(result, metric),
        "bits": _bits(result, setting) if setting else "",
        "plotly": get_plotlyjs(),
        "numbers": dict(setting.numbers) if setting else {},
        "deviations": list(setting.deviations) if setting else [],
        "config": setting.config if setting else json.dumps(asked, indent=1),
        "is_toml": setting is not None,
        "environment": _environment(result),
        "bibtex": bibtex(setting.sources if setting else (), names),
        **panels,
    }


def _panels(result: xr.Dataset, folder: Path, setting: Setting) -> dict[str, Any]:
    schedules = schedules_of(result, setting)
    rows = schedule_rows(schedules)
    columns = list(rows[0])
    times, by_name = next(iter(schedules.items()))
    drawn = [
        (f"schedule-{name}", f"{name}, {times}", plot.schedule(schedule))
        for name, schedule in list(by_name.items())[:_TIMELINES]
    ]
    theory = theory_panel(result, setting, schedules)
    return {
        "schedules": _table(pd.DataFrame(rows, columns=columns)),
        "timelines": pictures(folder, drawn),
        "timelines_left_out": len(rows) - len(drawn),
        "theory": {
            "constants": theory.constants,
            "advice": _texts(theory.advice),
            "certificates": _texts(theory.certificates),
            "times": _texts(theory.times),
            "figures": pictures(folder, theory.figures),
            "notes": theory.notes,
        },
    }


def _facts(
    result: xr.Dataset, asked: dict[str, Any], setting: Setting | None
) -> list[tuple[str, str]]:
    """What was run, as (name, value)."""
    tuning, fresh = split_seeds(result)
    problem = asked["problem"]
    lanes = result["status"].size

    def count(status: int) -> int:
        return int((result["status"] == status).sum())

    missing = count(MISSING)
    waiting = f", {missing:,} not run yet" if missing else ""
    budget = f"{asked['num_gradients']:,} gradients per run"
    if "until" in asked:
        budget = f"virtual time {asked['until']:,g} per run (equal for all algorithms)"
    seeds = f"{fresh.sizes['seed']}"
    if tuning.sizes["seed"] < result.sizes["seed"]:
        seeds += f" fresh, step sizes chosen on {tuning.sizes['seed']} more"
    sizes = np.sort(result["step_size"].values)
    step_sizes = f"{len(sizes)}, {sizes[0]:.4g} to {sizes[-1]:.4g}"
    if "tuned" in result.attrs:
        added = len(sizes) - len(json.loads(result.attrs["tuned"])["step_sizes"])
        if added:
            step_sizes += f" ({added} added where a best one was on the grid's edge)"
    words = f"{problem_in_words(problem)}, {problem['num_workers']:,} workers"
    if setting is not None:
        words += f", {num_parameters(setting.problem):,} parameters"
    facts = [
        ("problem", words),
        ("algorithms", "; ".join(map(str, result["algorithm"].values))),
        ("compute times", "; ".join(map(str, result["compute_times"].values))),
        ("step sizes", step_sizes),
        ("seeds", seeds),
        ("budget", budget),
        ("runs", f"{lanes:,}, {count(NONFINITE):,} not finite" + waiting),
    ]
    if asked["server"] is not None:
        words = _server_words(asked["server"])
        facts.insert(2, ("server", f"{words}, in place of plain SGD"))
    if setting is not None and setting.data:
        facts.insert(1, ("data", setting.data))
    if setting is not None and setting.scale:
        facts.append(("scale", setting.scale))
    return facts


def _server_words(server: str | dict[str, Any]) -> str:
    """What a run's config says of its server, in a line."""
    if not isinstance(server, dict):
        return str(server)
    parts = {k: v for k, v in server.items() if k not in ("name", "function")}
    parts |= parts.pop("keywords", {})
    head = server.get("name", server.get("function", ""))
    return ", ".join([str(head), *(f"{k} = {v}" for k, v in parts.items())])


def _bits(result: xr.Dataset, setting: Setting) -> str:
    """How communicated bits are counted, in a sentence."""
    numbers = num_parameters(setting.problem)
    each = f"{numbers:,} numbers in {sweep_config(result)['precision']}"
    up, down = (
        each if bits is None else f"{bits:,g} bits"
        for bits in (setting.bits_up, setting.bits_down)
    )
    return (
        "Communicated bits: every gradient that reaches the server, discarded ones "
        f"included, is one upload ({up}); every job is one download ({down})."
    )


def _environment(result: xr.Dataset) -> list[tuple[str, str]]:
    versions = json.loads(result.attrs.get("versions", "{}"))
    known = {k: str(result.attrs.get(k, "")) for k in ("device", "commit", "created")}
    return [(k, v) for k, v in (versions | known).items() if v]


def _plain(markdown: str) -> str:
    r"""A sentence of `summary` without the escapes of Markdown."""
    return re.sub(r"\\([\\`|<])", r"\1", markdown)


def _table(table: pd.DataFrame) -> dict[str, Any]:
    """Columns, and rows of (text, what to sort by, whether it is a number)."""
    columns = [_HEADINGS.get(str(c), str(c)) for c in table.columns]
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    for place in range(len(columns)):
        numbers = [row[place][2] for row in rows if row[place][0]]
        if numbers and all(numbers):  # an empty cell among numbers stands as they do
            for row in rows:
                row[place] = (*row[place][:2], True)
    return {"columns": columns, "rows": rows}


def _texts(rows: list[dict[str, str]]) -> dict[str, Any]:
    return _table(pd.DataFrame(rows)) if rows else {"columns": [], "rows": []}


def _cell(value: Any) -> tuple[str, str, bool]:
    if isinstance(value, bool | np.bool_):
        return ("yes" if value else "", str(int(value)), False)
    if isinstance(value, int | np.integer):
        return (f"{value:,}", str(int(value)), True)
    if isinstance(value, float):
        text = f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
        return ("" if np.isnan(value) else text, repr(float(value)), True)
    number = str(value).replace(",", "")
    return (str(value), str(value), bool(_NUMBER.fullmatch(number)))


def _figures(
    result: xr.Dataset, metric: str, title: str
) -> list[tuple[str, dict[str, str]]]:
    """The printed figures, one per compute-time model, as (title, image)."""
    drawn = []
    for times in map(str, result["compute_times"].values):
        figure = plot.convergence(
            result, metric=metric, compute_times=times, title=title
        )
        drawn.append((f"Convergence, {times}", image(figure)))
    return drawn
