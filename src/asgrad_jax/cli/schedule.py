"""`asgrad schedule`: simulate, look at and check schedules from the shell."""

import inspect
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from asgrad_jax.cli.echo import AsJson, echo, echo_json

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
        str | None,
        typer.Option(help="Each worker's mean: 1:10 (the default), or 1,2.5,4."),
    ] = None,
    compute_times: Annotated[str, typer.Option(help="Family of job times.")] = "normal",
    num_gradients: Annotated[int, typer.Option(min=1)] = 1_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    param: Annotated[
        list[str] | None,
        typer.Option(help="Of the algorithm: gradients_per_step=5. Repeatable."),
    ] = None,
    time_param: Annotated[
        list[str] | None, typer.Option(help="Of the job times: alpha=1.5. Repeatable.")
    ] = None,
) -> None:
    """Simulate a schedule and save it as OUT.

    Example: asgrad schedule simulate fedbuff s.npz --param gradients_per_step=5
    """
    from asgrad_jax.cli.config import build_algorithm, build_compute_times
    from asgrad_jax.simulation.simulate import simulate as simulate_schedule

    _check_ending(out)
    table = {"name": compute_times, **_parameters("--time-param", time_param)}
    key = _key_of_means(compute_times)
    if means is not None:
        if key in table:
            raise ValueError(f"--means and --time-param {key} say the same; give one")
        table[key or "mean"] = _means(means)
    elif key is not None:
        table.setdefault(key, _means("1:10"))
    times = build_compute_times(table)
    schedule = simulate_schedule(
        build_algorithm({"name": algorithm, **_parameters("--param", param)}),
        times,
        num_gradients=num_gradients,
        seed=seed,
    )
    schedule.save(out)
    echo(f"{out}: {schedule!r}")


@app.command()
def stats(file: File, as_json: AsJson = False) -> None:
    """Print delays, concurrency, shares and slots of FILE.

    Example: asgrad schedule stats s.npz --json
    """
    from asgrad_jax.schedules.schedule import Schedule

    found = Schedule.load(file).stats()
    if as_json:
        echo_json(found)
    else:
        echo(repr(found))


@app.command()
def plot(
    file: File,
    out: Annotated[
        Path | None, typer.Option(help="Where to; FILE's name as PNG and PDF.")
    ] = None,
) -> None:
    """Draw FILE: timeline, delays, jobs in flight, shares.

    Example: asgrad schedule plot s.npz --out timeline.pdf
    """
    from asgrad_jax import plot as plots
    from asgrad_jax.schedules.schedule import Schedule

    figure = plots.schedule(Schedule.load(file))
    for path in plots.save(figure, out or file.with_suffix("")):
        echo(path)


@app.command()
def verify(file: File) -> None:
    """Check that FILE is whole, every row keeps the rules and nobody stops working.

    Example: asgrad schedule verify s.npz
    """
    from asgrad_jax.schedules.audit import audit
    from asgrad_jax.schedules.schedule import Schedule

    schedule = Schedule.load(file)
    if findings := audit(schedule):
        raise ValueError(
            f"{file} keeps the rules, but its workers do not keep working: "
            + "; ".join(map(str, findings[:5]))
            + (f"; and {len(findings) - 5} more" if len(findings) > 5 else "")
        )
    echo(f"{file} is a valid schedule: {schedule!r}")


@app.command()
def convert(
    trace: Annotated[
        Path, typer.Argument(help="CSV, JSON or Parquet with worker, start, end.")
    ],
    out: Annotated[Path, typer.Argument(help="File to write, ending in .npz.")],
    gradients_per_step: Annotated[
        int, typer.Option(min=1, help="Arrivals per server step.")
    ] = 1,
    num_workers: Annotated[
        int | None, typer.Option(min=1, help="Where the last ones had no job.")
    ] = None,
) -> None:
    """Turn the job log TRACE of a real cluster into the schedule OUT.

    Example: asgrad schedule convert jobs.csv s.npz --gradients-per-step 5
    """
    from asgrad_jax.schedules.traces import schedule_from_trace

    _check_ending(out)
    schedule = schedule_from_trace(
        trace, num_workers=num_workers, gradients_per_step=gradients_per_step
    )
    schedule.save(out)
    echo(f"{out}: {schedule!r}")


def _check_ending(out: Path) -> None:
    """Raises before anything is computed unless a schedule can have this name."""
    if out.suffix != ".npz":
        raise ValueError(f"{out}: a schedule's file name ends in .npz")


def _key_of_means(name: str) -> str | None:
    """What a family calls its means; None: it is given otherwise, or unknown."""
    from asgrad_jax import compute_times

    if name not in compute_times.names():
        return None
    known = inspect.signature(getattr(compute_times, name)).parameters
    return next((key for key in ("mean", "median") if key in known), None)


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


def _parameters(option: str, texts: list[str] | None) -> dict[str, Any]:
    """Reads "gradients_per_step=5" as a number, "gradients_per_step=half" as a word."""
    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"parameter {text!r} must look like name=value")
        if name == "name":
            raise ValueError(
                f"{option} {text}: the name is no parameter; give the algorithm as the "
                "first argument, the family of job times as --compute-times"
            )
        if name in found:
            raise ValueError(f"{option} {name}=... is given twice; give it once")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
