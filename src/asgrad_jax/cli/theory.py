"""`asgrad theory`: what theory says about a config, before anything is run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from asgrad_jax._util.text import one_line
from asgrad_jax.cli.echo import echo


def theory(
    config: Annotated[Path, typer.Argument(help="A TOML file, as for `sweep`.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page and the figures.")
    ] = None,
    eps: Annotated[
        float | None,
        typer.Option(help="Goal for the squared gradient norm; 1% of the start's."),
    ] = None,
    step_size: Annotated[
        float | None,
        typer.Option(help="Certify this step size too: runs every schedule once."),
    ] = None,
) -> None:
    """Print constants, delays, step sizes and times for each algorithm of CONFIG.

    Nothing is trained, unless a step size is to be certified. Pages are about the first
    seed, figures about all of them.

    Example: asgrad theory experiment.toml --step-size 0.001 --out pages
    """
    from asgrad_jax._util.files import safe_names
    from asgrad_jax._util.sizes import check_rows
    from asgrad_jax.cli import config as configs
    from asgrad_jax.simulation.simulate import simulate_many
    from asgrad_jax.theory.constants import constants
    from asgrad_jax.theory.report import report

    asked = configs.load_config(config)
    with configs.named_file(config):
        problem = configs.build_problem(asked.problem)
        algorithms = configs.named_algorithms(asked)
        models = configs.named_compute_times(asked)
        all_seeds = configs.seeds(asked)
        rows = check_rows(configs.num_gradients(asked))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    known = constants(problem)
    pages, figures = _on_the_server(asked.server), {}
    parts = safe_names(list(models))
    for part, (label, compute_times) in zip(parts, models.items(), strict=True):
        suffix = "" if len(models) == 1 else f"-{part}"
        schedules, certificates = {}, {}
        for name, algorithm in algorithms.items():
            with configs.named_file(config):
                schedules[name] = simulate_many(
                    [(algorithm, compute_times, seed) for seed in all_seeds],
                    num_gradients=rows,
                )
            page = report(
                problem,
                schedules[name][0],
                eps=eps,
                step_size=step_size,
                compute_times=compute_times,
                constants=known,
            )
            head = f"{one_line(name)}, {one_line(label)}"
            pages.append(f"{head}\n{'=' * len(head)}\n\n{page}\n")
            echo(pages[-1])
            if page.certificate is not None:
                certificates[name] = page.certificate
        figures[suffix] = (schedules, certificates)
    if out is not None:
        written = _write(out, pages, figures, problem, asked.title)
        echo(f"In {out}/: {', '.join(path.name for path in written)}")


def _on_the_server(server: Any) -> list[str]:
    """Says that theory is of plain SGD, where a config has another server."""
    if server is None:
        return []
    page = "Theory is of plain SGD steps; the server of this config makes others.\n"
    echo(page)
    return [page]


def _write(
    out: Path, pages: list[str], figures: dict[str, Any], problem: Any, title: str
) -> list[Path]:
    """Writes the pages and, per compute-time model, the figures; returns the files."""
    # matplotlib only where something is drawn.
    from asgrad_jax import plot
    from asgrad_jax._util.files import atomic_path
    from asgrad_jax.plot.style import save_both

    written = [out / "theory.txt"]
    with atomic_path(written[0]) as temporary:
        temporary.write_text("\n".join(pages), encoding="utf-8")
    for suffix, (schedules, certificates) in figures.items():
        figure = plot.correlation_profile(schedules, problem, title=title)
        written += save_both(figure, out / f"profile{suffix}")
        if certificates:
            figure = plot.certificate(certificates, title=title)
            written += save_both(figure, out / f"certificate{suffix}")
    return written
