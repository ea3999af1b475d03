"""Results against communication: how many bits had gone to and from the server."""

import jax
import numpy as np
import xarray as xr

from asgrad_jax._util.checks import check_type
from asgrad_jax.engine.rows import record_gradients
from asgrad_jax.experiments.grid import Grid
from asgrad_jax.results.selection import SCHEDULE_DIMS
from asgrad_jax.schedules.messages import sent_bits


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
    sizes = {
        "numbers": sum(np.size(leaf) for leaf in jax.tree.leaves(grid.init_params)),
        "precision": grid.precision,
        "bits_up": bits_up,
        "bits_down": bits_down,
    }
    gradients = record_gradients(grid.num_gradients, grid.record_every)
    shape = (len(grid.algorithms), len(grid.compute_times), len(grid.seeds), -1)
    bits = [sent_bits(s, gradients, **sizes) for s in grid.schedules]
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
