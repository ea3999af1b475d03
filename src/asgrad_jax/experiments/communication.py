"""Results against communication: how many bits had gone to and from the server."""

from typing import Any

import jax
import numpy as np
import xarray as xr

from asgrad_jax._util.checks import check_number, check_type
from asgrad_jax.engine.devices import PRECISIONS
from asgrad_jax.engine.rows import record_gradients
from asgrad_jax.experiments.grid import Grid
from asgrad_jax.results.selection import SCHEDULE_DIMS
from asgrad_jax.schedules.schedule import Schedule


def _messages(schedule: Schedule, gradients: np.ndarray) -> tuple[Any, Any]:
    """Returns uploads and downloads until each record, [R + 1] each.

    Gradients that the server discards are sent too. Every job that was given downloads
    the iterate: those that have arrived, and those in flight, whose number is taken to
    be that at the end from the start on. Jobs that the server stopped are not counted.
    """
    up = np.append(0, schedule.computed.astype(np.int64))[gradients]
    flying = len(schedule.in_flight_worker) or schedule.concurrency_max
    return up, up + flying


def with_bits(
    result: xr.Dataset,
    grid: Grid,
    *,
    bits_up: float | None = None,
    bits_down: float | None = None,
) -> xr.Dataset:
    """Adds the coordinate `bits` [algorithm, compute_times, seed, record] to a result.

    Bits sent until each record: every gradient that reaches the server is one upload,
    every job one download. Figures and selections take the coordinate as any other, for
    example `ag.plot.convergence(result, against=["bits"])`.

    Args:
        result: what `sweep(grid)` returned.
        grid: the grid itself, for its schedules.
        bits_up: of an uploaded gradient, >= 0; a float of the run for each number where
            left out.
        bits_down: of a downloaded iterate, likewise.

    Returns:
        The result with the coordinate.

    Raises:
        TypeError, ValueError: if an argument is not as described, or the result has not
            the grid's algorithms, compute times, seeds and records.

    Example:
        >>> import asgrad_jax as ag
        >>> grid = ag.Grid(
        ...     ag.quadratic(num_workers=4, num_features=3), algorithms="minibatch",
        ...     compute_times=ag.compute_times.fixed([1, 2, 3, 4]), step_sizes=[0.1],
        ...     num_gradients=8, record_every=4, precision="float64")
        >>> ag.with_bits(ag.sweep(grid), grid, bits_down=0)["bits"].values.ravel()
        array([   0.,  768., 1536.])
    """
    check_type("grid", grid, Grid, "the Grid that the result was made of")
    numbers = sum(np.size(leaf) for leaf in jax.tree.leaves(grid.init_params))
    whole = 8.0 * np.dtype(PRECISIONS[grid.precision]).itemsize * numbers
    up = whole if bits_up is None else check_number("bits_up", bits_up, minimum=0)
    down = (
        whole if bits_down is None else check_number("bits_down", bits_down, minimum=0)
    )
    gradients = record_gradients(grid.num_gradients, grid.record_every)
    shape = (len(grid.algorithms), len(grid.compute_times), len(grid.seeds), -1)
    bits = []
    for schedule in grid.schedules:
        uploads, downloads = _messages(schedule, gradients)
        bits.append(up * uploads + down * downloads)
    labels = dict(
        zip(
            SCHEDULE_DIMS,
            (grid.algorithms, grid.compute_times, grid.seeds),
            strict=True,
        )
    )
    for name, own in labels.items():
        found = result[name].values.tolist()
        if found != list(own):
            raise ValueError(f"result must have the grid's {name}, got {found}")
    values = np.stack(bits).reshape(shape)
    if values.shape[-1] != result.sizes["record"]:
        raise ValueError(
            f"result must have the grid's {values.shape[-1]} records, got "
            f"{result.sizes['record']}"
        )
    return result.assign_coords(bits=((*SCHEDULE_DIMS, "record"), values))
