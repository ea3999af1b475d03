"""The command line, `asgrad`. Errors are short, on stderr, and exit code 2.

Commands import what they need when they run, so that help is there at once.
"""

import enum
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asgrad_jax._util.errors import CallsFailed
from asgrad_jax.cli.catalogue import algorithms, compute_times, show_list
from asgrad_jax.cli.doctor import doctor
from asgrad_jax.cli.echo import (
    AsJson,
    echo,
    echo_json,
    spell_out_what_cannot_be_encoded,
)
from asgrad_jax.cli.presets import app as presets_app
from asgrad_jax.cli.presets import reproduce
from asgrad_jax.cli.schedule import app as schedule_app
from asgrad_jax.cli.schema import schema
from asgrad_jax.cli.theory import theory

if TYPE_CHECKING:
    import xarray as xr

_DEBUG = "ASGRAD_DEBUG"
_LOOK = 10  # seconds between two looks at a sweep that runs
_STOPPED = 130  # exit code after Ctrl-C
# What users and their machines may cause; other errors are mistakes of this package.
_ERRORS = (
    ArithmeticError,
    ImportError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)

Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Another value for a key: problem.num_workers=5. Repeatable."
    ),
]
Budget = Annotated[
    float | None,
    typer.Option("--memory-budget", help="Bytes to use on the device, e.g. 2e9."),
]


class Where(enum.StrEnum):
    """Clusters that a sweep starts by itself."""

    LOCAL = "local"


app = typer.Typer(
    help="Asynchronous SGD experiments as one compiled sweep.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(schedule_app, name="schedule")
app.add_typer(presets_app, name="presets")
app.command()(theory)
app.command()(reproduce)
app.command()(algorithms)
app.command("compute-times")(compute_times)
app.command()(doctor)
app.command()(schema)


def main() -> None:
    """Runs the command line; the entry point of the console script."""
    spell_out_what_cannot_be_encoded()
    try:
        app(prog_name="asgrad")
    except _ERRORS as error:
        if os.environ.get(_DEBUG):
            raise
        words = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, MemoryError | CallsFailed) and str(error):
            words = str(error)  # with a table, or with where it happened
        echo(f"asgrad: error: {words}", err=True)
        sys.exit(2)
    except SystemExit as end:
        if end.code == _STOPPED:
            # Where JAX was stopped while it compiled, it does not survive the usual end
            # of the interpreter.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(_STOPPED)
        raise


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        echo(f"asgrad {version('asgrad-jax')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
    traceback: Annotated[
        bool,
        typer.Option(
            "--traceback", help=f"Show where an error comes from (also {_DEBUG}=1)."
        ),
    ] = False,
) -> None:
    """Asynchronous SGD experiments as one compiled sweep."""
    del version  # its callback has answered
    if traceback:
        os.environ[_DEBUG] = "1"


@app.command()
def demo(
    data: Annotated[
        str | None, typer.Option(help="A LIBSVM file or a known name, e.g. w7a.")
    ] = None,
    zero_based: Annotated[
        bool, typer.Option("--zero-based", help="The LIBSVM file's columns start at 0.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(
        "asgrad-demo"
    ),
    seeds: Annotated[int, typer.Option(help="Number of seeds.", min=1)] = 5,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A twentieth of the gradients, fewer step sizes."),
    ] = False,
) -> None:
    """Compare five algorithms on a real data set, from nothing to the figure.

    Example: asgrad demo --quick --out look
    """
    from asgrad_jax.cli import demo as demos
    from asgrad_jax.report import files as reports

    _check_folder(out)
    chosen = (
        demos.builtin()
        if data is None
        else demos.from_file(data, zero_based=zero_based)
    )
    if quick:
        chosen = demos.shortened(chosen)
    echo(f"Data: {chosen.about}.\nRuns: {demos.size(chosen, seeds)}.")
    result = demos.run_demo(chosen, seeds=seeds)
    _tell(result, reports.write_results(result, out))


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(help="A TOML file, see the documentation.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; asgrad-NAME-run where left out."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="HOST:PORT of a Dask scheduler to run it on.")
    ] = None,
    cluster: Annotated[
        Where | None, typer.Option(help="local: one process per core.")
    ] = None,
    changes: Changes = None,
    memory_budget: Budget = None,
) -> None:
    """Run the sweep that CONFIG describes, or go on with it where it was stopped.

    More algorithms, seeds or step sizes in CONFIG run only what is missing.

    Example: asgrad sweep experiment.toml --set seeds=10 --set precision=float64
    """
    from asgrad_jax.cli import overrides
    from asgrad_jax.cli.config import load_config, named_file, run_config
    from asgrad_jax.cli.connect import connected
    from asgrad_jax.cli.pages import copy_config, remove_files
    from asgrad_jax.report import files as reports

    changed = overrides.parse(changes or [])
    asked = load_config(config, changed)
    folder = out or Path(f"asgrad-{config.stem}-run")
    _check_folder(folder)

    early: list[Path] = []

    def begun() -> None:
        """Puts the config where `asgrad report` looks while the sweep runs."""
        if not (folder / "config.toml").exists():
            early.extend(copy_config(config, folder, changes or []))

    try:
        with named_file(config, changed), connected(scheduler, cluster) as client:
            result = run_config(
                asked,
                begun,
                directory=folder,
                memory_budget=memory_budget,
                client=client,
            )
    except KeyboardInterrupt:
        echo("asgrad: stopped; the same command goes on from here", err=True)
        raise typer.Exit(_STOPPED) from None
    except Exception:
        if early and not (folder / "config.json").exists():  # refused before it ran
            remove_files(early, folder)
        raise
    written = reports.write_results(result, folder)
    _tell(result, [*written, *copy_config(config, folder, changes or [])])


@app.command()
def plan(
    config: Annotated[Path, typer.Argument(help="A TOML file, see the documentation.")],
    changes: Changes = None,
    memory_budget: Budget = None,
    as_json: AsJson = False,
) -> None:
    """Show how CONFIG's sweep would be cut, why, and what it needs; nothing is run.

    Example: asgrad plan experiment.toml --set seeds=100 --memory-budget 2e9
    """
    from asgrad_jax.cli import config as configs
    from asgrad_jax.cli import overrides
    from asgrad_jax.experiments.grid import Grid

    changed = overrides.parse(changes or [])
    asked = configs.load_config(config, changed)
    with configs.named_file(config, changed):
        configs.num_gradients(asked)
        arguments = configs.sweep_arguments(asked)
        arguments["seeds"] = [*configs.tuning_seeds(asked), *configs.seeds(asked)]
        grid = Grid(**arguments, memory_budget=memory_budget)
        planned = grid.dry_run()
    if as_json:
        echo_json(planned)
    else:
        echo(str(planned))


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="The folder of a run.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Write it again until the sweep is done.")
    ] = False,
) -> None:
    """Write tables, figures and report.html of RUN_DIR, also while its sweep runs.

    The page has more to say where the run's config.toml lies beside it, as after
    `asgrad sweep`: schedules, theory, verdicts on the config's claims. With --watch an
    open page loads itself again.

    Example: asgrad report asgrad-experiment-run
    """
    from asgrad_jax.cli.pages import load_run, write_run_page
    from asgrad_jax.report import files as reports
    from asgrad_jax.report import page
    from asgrad_jax.results.results import MISSING

    while True:
        # Between the stages of a tuned sweep there is nothing, as at the start.
        if (result := load_run(run_dir, patient=watch)) is None:
            time.sleep(_LOOK)
            continue
        written, verdicts = reports.write_report(result, run_dir), []
        try:
            page.check_libraries()
        except ImportError as error:
            echo(f"asgrad: no report.html: {error}", err=True)
        else:
            path, verdicts = write_run_page(result, run_dir, again=_LOOK)
            written.append(path)
        waiting = int((result["status"] == MISSING).sum())
        # `asgrad sweep` writes its results last, after the stages of a tuned sweep.
        begun = (run_dir / "config.toml").exists()
        more = waiting or (begun and not (run_dir / reports.RESULTS).exists())
        if not (watch and more):
            break
        echo(f"{waiting:,} of {result['status'].size:,} runs to come: {written[-1]}")
        time.sleep(_LOOK)
    _tell(result, written)
    for verdict in verdicts:
        echo(f"- {verdict}")


@app.command()
def datasets(as_json: AsJson = False) -> None:
    """List the data sets.

    Example: asgrad datasets --json
    """
    from asgrad_jax import datasets as known

    builtin = (known.digits_binary, known.breast_cancer, known.digits)
    if as_json:
        echo_json(
            {
                "builtin": [function.__name__ for function in builtin],
                "libsvm": known.names(),
                "folder": os.environ.get(known.DATA_VARIABLE),
            }
        )
        return
    show_list({function.__name__: function for function in builtin})
    echo(
        f"\nLIBSVM data sets known by name: {', '.join(known.names())}.\n"
        f"They are read from the folder in {known.DATA_VARIABLE}, or "
        "downloaded once. Any other LIBSVM file goes by its path."
    )


@app.command()
def bench() -> None:
    """Run the benchmarks of a checkout.

    Example: asgrad bench
    """
    # src/asgrad_jax/cli/cli.py lies three folders below the root of a checkout.
    root = Path(__file__).resolve().parents[3]
    if not (root / "benchmarks" / "__main__.py").is_file():
        raise FileNotFoundError(
            "the benchmarks are not part of the installed package; clone the "
            "repository and run `make bench` there"
        )
    command = [sys.executable, "-m", "benchmarks"]
    raise typer.Exit(subprocess.run(command, cwd=root, check=False).returncode)


def _tell(result: "xr.Dataset", written: list[Path]) -> None:
    """Prints the table, the summary, and where the files are."""
    from asgrad_jax.report import tables

    _, metric = tables.labels(result)
    table = tables.short_table(tables.best_table(result, metric))
    echo(f"\n{tables.as_markdown(table)}\n")
    for sentence in tables.summary(result, metric):
        echo(sentence)
    names = ", ".join(path.name for path in written)
    echo(f"\nIn {written[0].parent}/: {names}")


def _check_folder(folder: Path) -> None:
    """Raises before hours of work if the results could not be written."""
    above = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not above.is_dir():
        raise ValueError(f"{above} is a file; choose another folder with --out")
    if not os.access(above, os.W_OK):
        raise ValueError(f"{above} cannot be written to; choose another with --out")
