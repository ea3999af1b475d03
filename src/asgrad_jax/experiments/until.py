"""A sweep in which every run ends at the same virtual time."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_count
from asgrad_jax._util.files import safe_names
from asgrad_jax.experiments.grid import Grid
from asgrad_jax.experiments.sweep import sweep
from asgrad_jax.problems.problem import Problem
from asgrad_jax.results.selection import SCHEDULE_DIMS, at_records_of
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.simulation.reference import Stalled
from asgrad_jax.simulation.simulate import simulate, simulate_many

_FIRST = 256  # gradients of the first try
_MOST = 100_000_000
_RECORDS = 100


def sweep_until(
    problem: Problem,
    *,
    until: float,
    directory: Path,
    all_seeds: Sequence[int],
    record_every: int | None = None,
    **arguments: Any,
) -> xr.Dataset:
    """Sweeps every (algorithm, compute times) up to a virtual time; see `tune`.

    Each algorithm has as many gradients as its fastest seed needs to get there, with
    about 400 records; the last record at or before each of R + 1 = 101 common times is
    kept.

    Args:
        problem, arguments: as for `sweep`.
        until: virtual time T, > 0.
        directory: for the parts, each in a folder of its own.
        all_seeds: those of all sweeps into this directory: the fastest of them says how
            many gradients each run has, so that later seeds change nothing.
        record_every: gradients between two records, the same for all; None: so many
            that each algorithm has about 400 records.

    Raises:
        ValueError: where an algorithm has no gradient before T, or more than 1e8.
        RuntimeError: where a run cannot go on before its first gradient.
    """
    grid = Grid(problem, num_gradients=1, **_without_progress(arguments))
    rows = []
    labels = [f"{a}, {c}" for a in grid.algorithms for c in grid.compute_times]
    folders = iter(safe_names(labels))
    for name, algorithm in grid.algorithms.items():
        columns = []
        for times, sampler in grid.compute_times.items():
            counts = gradients_until(algorithm, sampler, all_seeds, until)
            every = record_every or max(1, max(counts.values()) // (4 * _RECORDS))
            folder, parts = next(folders), []
            # Seeds that stall before the others get there are sweeps by themselves.
            for count in sorted({counts[seed] for seed in grid.seeds}):
                own: dict[str, Any] = {
                    "algorithms": {name: algorithm},
                    "compute_times": {times: sampler},
                    "seeds": [seed for seed in grid.seeds if counts[seed] == count],
                }
                part = sweep(
                    problem,
                    directory=directory / f"{folder}-{count}",
                    record_every=check_count("record_every", every),
                    num_gradients=count,
                    **arguments | own,
                )
                parts.append(at_common_times(part, until))
            joined = xr.concat(parts, "seed", combine_attrs="override")
            columns.append(joined.sel(seed=grid.seeds))
        rows.append(xr.concat(columns, "compute_times", combine_attrs="override"))
    result = xr.concat(rows, "algorithm", combine_attrs="override")
    config = json.loads(result.attrs["config"])
    whole = grid.config
    config |= {key: whole[key] for key in ("algorithms", "compute_times", "seeds")}
    config |= {"num_gradients": int(result["gradients"].max()), "until": until}
    result.attrs["config"] = json.dumps(config)
    return result


def _without_progress(arguments: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in arguments.items() if k != "progress"}


def gradients_until(
    algorithm: Any, compute_times: Any, seeds: Sequence[int], until: float
) -> dict[int, int]:
    """How many gradients each seed's run is to have, to last until a virtual time.

    It is what the fastest of the seeds has by then, the same for all. A run that cannot
    go on, as where all jobs in flight never end, has as many as it gets, if these are
    fewer: what happens after the virtual time is of no importance.

    Returns:
        Seed -> number of gradients, >= 1.

    Raises:
        ValueError: if no seed has a gradient by then, or one more than 1e8.
        RuntimeError: if a run cannot go on before its first gradient.

    Example:
        >>> import asgrad_jax as ag
        >>> gradients_until("pure_async", ag.compute_times.fixed([1, 2]), [0], 4.0)
        {0: 6}
    """
    tried = _FIRST
    while True:
        tasks = [(algorithm, compute_times, seed) for seed in seeds]
        schedules = _as_far_as_they_go(tasks, tried)
        times = [schedule.time for schedule in schedules]
        if all(t[-1] > until or t.size < tried for t in times):
            break
        # Half as many again as the rate so far asks for.
        rate = max(t.size / max(float(t[-1]), 1e-300) for t in times)
        tried = max(2 * tried, math.ceil(min(1.5 * rate * until, 2 * _MOST)))
        if tried > _MOST:
            raise ValueError(
                f"until={until:g} must be reached within {_MOST:,} gradients, got more "
                "than that; give a shorter time"
            )
    count = max(int(np.searchsorted(time, until, side="right")) for time in times)
    if count == 0:
        first = min(float(time[0]) for time in times)
        raise ValueError(
            f"until must be long enough for a gradient, got {until:g}; the first "
            f"arrives at {first:g}"
        )
    sizes = (min(count, time.size) for time in times)
    return dict(zip(seeds, sizes, strict=True))


def _as_far_as_they_go(
    tasks: list[tuple[Any, Any, int]], num_gradients: int
) -> list[Schedule]:
    """Schedules of at most so many gradients; those of runs that stall are shorter."""
    try:
        return simulate_many(tasks, num_gradients=num_gradients)
    except Stalled:
        return [_as_far_as_it_goes(task, num_gradients) for task in tasks]


def _as_far_as_it_goes(task: tuple[Any, Any, int], num_gradients: int) -> Schedule:
    algorithm, compute_times, seed = task
    try:
        return simulate(
            algorithm, compute_times, num_gradients=num_gradients, seed=seed
        )
    except Stalled as stop:
        if stop.rows == 0:
            raise
        return simulate(algorithm, compute_times, num_gradients=stop.rows, seed=seed)


def at_common_times(result: xr.Dataset, until: float) -> xr.Dataset:
    """Reads a result of one algorithm and model off at 101 times from 0 to `until`.

    Of every seed the last record at or before each time counts.
    """
    times = np.linspace(0, until, _RECORDS + 1)
    parts = []
    for index in range(result.sizes["seed"]):
        one = result.isel(seed=[index])
        part = _read_off(one, times)
        for name in [n for n, v in one.data_vars.items() if "every" in v.attrs]:
            read = _read_off(at_records_of(one, str(name)), times)[name]
            part[name] = read.drop_vars(read.coords).drop_attrs()
        parts.append(part.assign_coords(record=np.arange(len(times))))
    gradients = [p["gradients"].values for p in parts]
    found = xr.concat(
        [p.drop_vars(["gradients", "time"]) for p in parts],
        "seed",
        combine_attrs="override",
    )
    shape = tuple(result.sizes[d] for d in SCHEDULE_DIMS)
    dims = (*SCHEDULE_DIMS, "record")
    return found.assign_coords(
        gradients=(dims, np.reshape(gradients, (*shape, -1))),
        time=(dims, _repeated(times, shape)),
    )


def _read_off(one: xr.Dataset, times: NDArray[np.float64]) -> xr.Dataset:
    """The last record of one run at or before each time; the first where none is."""
    places = np.searchsorted(one["time"].values.ravel(), times, side="right") - 1
    return one.isel(record=np.maximum(places, 0))


def _repeated(times: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray:
    return np.broadcast_to(times, (*shape, len(times))).copy()
