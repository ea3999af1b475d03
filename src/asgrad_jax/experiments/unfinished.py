"""Results from a file, or from a run's folder as far as the run has come."""

import os
from typing import Any

import numpy as np
import xarray as xr

from asgrad_jax._util.checks import check_path
from asgrad_jax.experiments.dataset import Lanes, filled, from_arrays
from asgrad_jax.experiments.folder import (
    Point,
    Store,
    as_config_keys,
    lane_config_keys,
    schedule_key,
)
from asgrad_jax.experiments.grid import product_of
from asgrad_jax.results.results import RESULTS, read, sweep_config


def load(path: str | os.PathLike) -> xr.Dataset:
    """Reads a result: a file of `save`, or the folder of a sweep.

    A folder need not be finished: while another process runs the sweep, or after it was
    stopped, lanes that are not there yet have `status` 2 (missing) and NaN as metrics.
    Of a finished folder it is the `results.nc` that `asgrad sweep` writes, or else
    the lanes.

    Args:
        path: of a NetCDF file, or the `directory` of a sweep.

    Returns:
        The dataset that `sweep` describes, in memory.

    Raises:
        FileNotFoundError: if there is no such file, or no result in the folder.
        ValueError: if a file is damaged.

    Example:
        >>> import tempfile, asgrad_jax as ag
        >>> folder = tempfile.mkdtemp()
        >>> result = ag.sweep(
        ...     ag.quadratic(2, 2), algorithms="minibatch", step_sizes=[0.1],
        ...     compute_times=ag.compute_times.fixed([1, 2]), num_gradients=20,
        ...     directory=folder)
        >>> load(folder).identical(result)
        True
    """
    path = check_path("path", path)
    if not path.is_dir():
        return read(path)
    store = Store.found(path)
    there = store is not None and (not (path / RESULTS).exists() or store.is_running())
    if store is None or not there:
        return read(path / RESULTS)  # or says that there is none
    if (outline := store.outline()) is None:
        raise FileNotFoundError(
            f"there is no results file {path / RESULTS}; a sweep of an older version "
            "keeps its runs there: the same call goes on from them"
        )
    return _so_far(store, from_arrays(outline))


def _so_far(store: Store, outline: xr.Dataset) -> xr.Dataset:
    """The lanes that a folder has of a sweep; the others are missing."""
    names = [*sweep_config(outline)["hyperparameters"]]
    hyper = product_of({name: outline[name].values for name in names})
    points = as_config_keys(lane_config_keys(hyper))
    hashes = outline["schedule_hash"].values
    seeds = np.broadcast_to(outline["seed"].values, hashes.shape)
    there = [
        store.finished(schedule_key(str(hashed), int(seed)))
        for hashed, seed in zip(hashes.flat, seeds.flat, strict=True)
    ]
    known = next((lane for lanes in there for lane in lanes.values()), None)
    if known is None:
        raise FileNotFoundError(
            f"there is no finished run in {store.folder} yet, of "
            f"{len(there) * len(points):,}; look again later, or run the sweep"
        )
    blank = {n: _blank(n, column) for n, column in known.items()}
    return filled(outline, [_lanes(lanes, points, blank) for lanes in there])


def _blank(name: str, column: np.ndarray) -> np.ndarray:
    """What stands for a lane that was not run; whole numbers have no NaN."""
    if name == "finite":
        return np.ones_like(column)
    kind = column.dtype if column.dtype.kind == "f" else np.dtype(np.float64)
    return np.full(column.shape, np.nan, kind)


def _lanes(
    there: dict[Point, dict[str, np.ndarray]], points: list[Point], blank: Any
) -> Lanes:
    """A schedule's lanes in the order of a sweep, and which are missing."""
    values = {
        name: np.stack([there.get(point, blank)[name] for point in points], axis=1)
        for name in blank
    }
    return {**values, "missing": np.array([point not in there for point in points])}
