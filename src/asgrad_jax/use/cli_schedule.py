"""`asgrad schedule`: simulate, look at and check schedules from the shell."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from asgrad_jax.plan.schedule import Schedule
from asgrad_jax.plan.simulate import simulate as simulate_schedule
from asgrad_jax.use.config import build_algorithm, build_compute_times

app = typer.Typer(
    help="Simulate, look at and check schedules.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

File = Annotated[Path, typer.Argument(help="A schedule, as npz.")]


@app.command()
def simulate(
    algorithm: Annotated[str, typer.Argument(help="A name; see `asgrad algorithms`.")],
    out: Annotated[Path, typer.Argument(help="File to write, ending in .npz.")],
    means: Annotated[
        str, typer.Option(help="Each worker's mean: 1:10, or 1,2.5,4.")
    ] = "1:10",
    compute_times: Annotated[str, typer.Option(help="Family of job times.")] = "normal",
    num_gradients: Annotated[int, typer.Option(min=1)] = 1_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    param: Annotated[
        list[str] | None, typer.Option(help="Of the algorithm: wait=5. Repeatable.")
    ] = None,
    time_param: Annotated[
        list[str] | None, typer.Option(help="Of the job times: alpha=1.5. Repeatable.")
    ] = None,
) -> None:
    """Simulate a schedule and save it as OUT."""
    if out.suffix != ".npz":
        raise ValueError(f"{out}: a schedule's file name ends in .npz")
    times = build_compute_times(
        {"name": compute_times, "mean": _means(means), **_parameters(time_param)}
    )
    schedule = simulate_schedule(
        build_algorithm({"name": algorithm, **_parameters(param)}),
        times,
        num_gradients=num_gradients,
        seed=seed,
    )
    schedule.save(out)
    typer.echo(f"{out}: {schedule!r}")


@app.command()
def stats(file: File) -> None:
    """Print delays, concurrency, shares and slots of FILE."""
    typer.echo(repr(Schedule.load(file).stats()))


@app.command()
def plot(
    file: File,
    out: Annotated[
        Path | None, typer.Option(help="Where to; FILE's name as PNG and PDF.")
    ] = None,
) -> None:
    """Draw FILE: timeline, delays, jobs in flight, shares."""
    # matplotlib only where something is drawn.
    from asgrad_jax.use import plot as plots

    figure = plots.schedule(Schedule.load(file))
    for path in plots.save(figure, out or file.with_suffix("")):
        typer.echo(path)


@app.command()
def verify(file: File) -> None:
    """Check that FILE is whole and every row keeps the rules."""
    typer.echo(f"{file} is a valid schedule: {Schedule.load(file)!r}")


def _means(text: str) -> list[float] | dict[str, int]:
    """Reads "1:10" (integers, both ends included) or "1,2.5,4"."""
    try:
        if ":" in text:
            first, last = map(int, text.split(":"))
            return {"first": first, "last": last}
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--means {text!r} is neither a range such as 1:10 nor numbers such as "
            "1,2.5,4"
        ) from None


def _parameters(texts: list[str] | None) -> dict[str, Any]:
    """Reads "wait=5" as a number, "wait=half" as a word."""
    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"parameter {text!r} must look like name=value")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
