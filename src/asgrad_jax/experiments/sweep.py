"""`sweep`: algorithms x compute times x seeds x hyper-parameters in one program."""

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Generator
from typing import Any

import xarray as xr
from tqdm import tqdm

from asgrad_jax._util.checks import did_you_mean
from asgrad_jax._util.settings import fixed
from asgrad_jax.engine.devices import is_spread
from asgrad_jax.experiments.cluster import Cluster
from asgrad_jax.experiments.dataset import as_arrays, filled, outline_of
from asgrad_jax.experiments.folder import Store
from asgrad_jax.experiments.grid import Grid
from asgrad_jax.experiments.resume import execute_missing
from asgrad_jax.problems.problem import Problem

# What only `tune` takes, which is built on this.
_OF_TUNE = ("tuning_seeds", "metric", "maximize", "until", "extend")
_SOON = 1.0  # seconds after which a notebook shows a bar


@fixed()
def sweep(
    problem: Problem | Grid,
    *,
    directory: str | os.PathLike | None = None,
    progress: bool | Callable[[int, int], None] | None = None,
    client: Any = None,
    **arguments: Any,
) -> xr.Dataset:
    """Runs a whole grid of experiments as one compiled program.

    Args:
        problem: the problem, or a `Grid`, which has all arguments but the three below.
        directory: a folder for finished lanes and checkpoints. Running the same sweep
            there again goes on where it was, with the same bits; added algorithms,
            seeds or step sizes run only what is missing. One process at a time has it.
        progress: True shows a bar, False none, None shows one on a terminal, and
            in a notebook after a second; a function is called with (gradients done,
            gradients in all), over all lanes.
        client: a `dask.distributed.Client`, or an executor of `concurrent.futures`
            (of processes, mpi4py's or loky's too), whose workers run the calls; None
            is this process. Problem and functions go to each process once, results
            come back as they finish. What uses the same calls gives the same bits.
        **arguments: those of `Grid`: algorithms, compute_times, step_sizes,
            num_gradients, seeds, ...

    Returns:
        A dataset with dimensions (algorithm, compute_times, seed, step_size, further
        hyper-parameters, record). Variables: `loss`, `grad_norm` and the user's
        metrics; `status` (0 ok, 1 nonfinite) and `first_bad_record` per lane;
        `schedule_hash`, `tau_max`, `tau_avg` and `discarded` per schedule. Coordinates:
        `gradients` [record], `server_steps` and `time` (virtual) per schedule and
        record. Attributes: `config`, `versions`, `device`, `commit`, `created`.

    Raises:
        ValueError, TypeError: for bad input, before anything is compiled, and for a
            directory that holds a run with another config.
        MemoryError: if not even one lane fits the budget.
        RuntimeError: if another process has the directory; on a cluster, if a call
            failed three times (all others are run first) or the executor broke.

    Example:
        >>> import asgrad_jax as ag
        >>> problem = ag.quadratic(num_workers=4, num_features=3, seed=0)
        >>> result = ag.sweep(
        ...     problem, algorithms=["pure_async", "shuffled_async"],
        ...     compute_times=ag.compute_times.fixed([1, 2, 3, 4]),
        ...     step_sizes=[0.05, 0.1], seeds=range(3), num_gradients=200)
        >>> dict(result["grad_norm"].sizes)
        {'algorithm': 2, 'compute_times': 1, 'seed': 3, 'step_size': 2, 'record': 101}
        >>> result["grad_norm"].sel(algorithm="pure_async", step_size=0.1).dims
        ('compute_times', 'seed', 'record')
    """
    grid = _grid_of(problem, arguments)
    config = grid.config  # raises before the run if it cannot be written
    store = None if directory is None else Store(directory, config)
    total = grid.num_gradients * len(grid.schedules) * len(grid.lanes["step_size"])
    cluster = None if client is None else Cluster(client)
    experiment = grid.experiment
    if cluster is not None:
        if is_spread(grid.problem, grid.init_params):
            raise ValueError(
                "client must be None where arrays are spread over this process's "
                f"devices, got {client!r}; other processes do not have these"
            )
        experiment = cluster.planned_for(experiment)
    outline = outline_of(grid)
    held = contextlib.nullcontext() if store is None else store.opened()
    with held, _progress(progress, total) as on_progress:
        if store is not None:
            store.save_outline(as_arrays(outline))
        lanes_of = execute_missing(
            experiment,
            grid.schedules,
            grid.schedule_seeds,
            grid.lanes,
            store=store,
            on_progress=on_progress,
            run_group=None if cluster is None else cluster.run_group,
        )
    result = filled(outline, lanes_of)
    if cluster is not None and cluster.devices:
        result.attrs["device"] = "; ".join(sorted(cluster.devices))
    return result


def _signature() -> inspect.Signature:
    """The arguments of `Grid` and those of `sweep` itself, which stand once each."""
    own = inspect.signature(sweep)
    of_grid = list(inspect.signature(Grid).parameters.values())
    of_sweep = [own.parameters[name] for name in ("directory", "progress", "client")]
    return own.replace(parameters=[*of_grid, *of_sweep])


sweep.__signature__ = _signature()  # type: ignore[attr-defined]


def _grid_of(problem: Problem | Grid, arguments: dict[str, Any]) -> Grid:
    known = list(inspect.signature(Grid).parameters)
    for name in arguments.keys() - known:
        hint = did_you_mean(name, known)
        if name in _OF_TUNE:
            hint = ", but ag.tune does"
        raise TypeError(
            f"sweep takes no {name!r}{hint}; sweep takes {', '.join(known)}"
        )
    if not isinstance(problem, Grid):
        return Grid(problem, **arguments)
    if arguments:
        raise TypeError(
            f"sweep must get a Grid alone, got {', '.join(arguments)} too; "
            "dataclasses.replace(grid, ...) makes another grid"
        )
    return problem


@contextlib.contextmanager
def _progress(progress, total: int) -> Generator[Callable[[int], None], None, None]:
    """Yields a function that takes the number of gradients just computed."""
    if callable(progress):
        count = 0

        def report(gradients: int) -> None:
            nonlocal count
            count += gradients
            progress(count, total)

        yield report
        return
    if not isinstance(progress, bool | None):
        raise TypeError(
            f"progress={progress!r} must be True, False, None or a function of "
            "(gradients done, gradients in all)"
        )
    # tqdm's None means: only on a terminal.
    disable = None if progress is None else not progress
    delay = 0.0
    if progress is None and _in_notebook():
        disable, delay = False, _SOON
    with tqdm(
        total=total, unit=" gradients", unit_scale=True, disable=disable, delay=delay
    ) as bar:

        def update(gradients: int) -> None:
            bar.update(gradients)

        yield update


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this, which shows what is printed as a terminal."""
    find = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return find is not None and hasattr(find(), "kernel")
