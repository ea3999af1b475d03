"""Results of a sweep: saved whole, loaded with one line, and the best step size."""

import json
import os
import warnings
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from asgrad_jax._util.checks import check_bool, check_path
from asgrad_jax._util.files import atomic_path
from asgrad_jax._util.packed import UNPACK_ERRORS
from asgrad_jax._util.text import one_line
from asgrad_jax.results.selection import (
    SCHEDULE_DIMS,
    at_records_of,
    check_dataset,
    check_result,
    metric_of,
    restore_dims,
    split_seeds,
    tail_records,
)

RESULTS = "results.nc"  # in the folder of a run
STATUS = ("ok", "nonfinite", "missing")  # missing: not run yet
OK, NONFINITE, MISSING = range(len(STATUS))

# What stands for something in results, tables and files of lanes: no metric and no
# hyper-parameter may have these names.
OWN_NAMES = frozenset(
    {
        *SCHEDULE_DIMS,
        *("step_size", "record", "gradients", "server_steps", "time", "tuning"),
        *("loss", "grad_norm", "finite", "status", "first_bad_record"),
        *("schedule_hash", "tau_max", "tau_avg", "discarded"),
        # of `best` and its table
        *("value", "lower", "upper", "on_edge", "tail", "final", "not_finite"),
        # of a lane's file, and arguments of `np.savez`
        *("hyper", "file", "allow_pickle"),
    }
)


# What h5py, h5netcdf and xarray raise on a file that is cut short or damaged.
_UNREADABLE = (
    *UNPACK_ERRORS,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,  # a header that claims more than there is
    TypeError,
    ValueError,
)


def lane_dims(result: xr.Dataset) -> list[Hashable]:
    """Returns the hyper-parameter dimensions of a result, `step_size` first."""
    return [d for d in result["status"].dims if d not in SCHEDULE_DIMS]


def sweep_config(result: xr.Dataset) -> dict[str, Any]:
    """Returns everything that was asked of the sweep, as plain values.

    These are algorithms and compute-time models with their parameters, step sizes,
    seeds, precision and so on.

    Raises:
        TypeError, ValueError: if it is no dataset, or has lost the attribute `config`.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.sweep(
        ...     ag.quadratic(2, 2), algorithms="minibatch", num_gradients=40,
        ...     compute_times=ag.compute_times.fixed([1, 2]), step_sizes=[0.1, 0.5])
        >>> sweep_config(result)["num_gradients"]
        40
    """
    check_result(result)
    if "config" not in result.attrs:
        raise ValueError(
            "the dataset has no attribute 'config': ag.sweep writes it, and some "
            "operations of xarray leave attributes out; give what ag.sweep or ag.load "
            "returned"
        )
    return json.loads(result.attrs["config"])


def save(result: xr.Dataset, path: str | os.PathLike) -> None:
    """Writes a result as NetCDF; the file appears under its name only when whole.

    Args:
        result: what `sweep` returned.
        path: file name, usually ending in `.nc`.

    Raises:
        FileNotFoundError: if the folder does not exist.
        IsADirectoryError: if the path is a folder.
        TypeError: if the result is no dataset, as where the two are exchanged.

    Example:
        >>> import tempfile, pathlib, xarray as xr
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "r.nc"
        >>> save(xr.Dataset({"a": ("x", [1.0, 2.0])}), path)
        >>> read(path)["a"].values
        array([1., 2.])
    """
    if isinstance(path, xr.Dataset):
        raise TypeError("the result comes first, then the path: ag.save(result, path)")
    check_dataset(result)
    path = check_path("path", path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file in it")
    with atomic_path(path) as temporary:
        result.to_netcdf(temporary, engine="h5netcdf")


def read(path: Path) -> xr.Dataset:
    """Reads a NetCDF file that `save` wrote into memory, equal to what was saved.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated or not NetCDF.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no results file {path}")
    try:
        # Through a handle: HDF5 knows a path that it could not close, as of a damaged
        # file, and would show the same again where another file stands by then.
        with open(path, "rb") as file, xr.open_dataset(file, engine="h5netcdf") as data:
            result = data.load()
        # Strings come back as objects; the arrays saved had fixed-width ones.
        texts = {
            name: variable.astype(str)
            for name, variable in result.variables.items()
            if variable.dtype.kind in "OTU"
        }
        return result.assign(texts)
    except _UNREADABLE as error:
        raise ValueError(
            f"{path} is not a whole NetCDF file ({error}); it may be truncated: "
            "copy it again or run the sweep again"
        ) from error


def tail_mean(result: xr.Dataset, metric: str = "grad_norm") -> xr.DataArray:
    """Returns the metric averaged over the last tenth of the records of every lane.

    The tail is steadier than the last record, which noise moves. It has the dimensions
    of the metric less `record`; lanes that are not ok are NaN.

    Args:
        result: what `sweep` or `load` returned.
        metric: a variable with the dimension `record`.

    Raises:
        TypeError: if it is no dataset.
        ValueError: if the metric is unknown, or the result has lost its `status`.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.sweep(
        ...     ag.quadratic(2, 2), algorithms="minibatch", num_gradients=40,
        ...     compute_times=ag.compute_times.fixed([1, 2]), step_sizes=[0.1, 0.5])
        >>> tail = tail_mean(result).squeeze()
        >>> bool(tail.sel(step_size=0.5) < tail.sel(step_size=0.1))
        True
    """
    metric_of(result, metric)
    result = at_records_of(result, metric)
    values = result[metric]
    # In float64, or the last digit depends on how the numbers lie in memory: computed
    # or loaded from a file.
    tail = values.isel(record=slice(-tail_records(result), None)).mean(
        "record", dtype=np.float64
    )
    tail = tail.astype(np.result_type(values.dtype, np.float32))
    return tail.where(result["status"] == 0)


def best(
    result: xr.Dataset, metric: str = "grad_norm", *, maximize: bool = False
) -> xr.Dataset:
    """Picks the best hyper-parameters of every algorithm and compute-time model.

    The rule: the metric averaged over the last tenth of the records, then the median
    over seeds; the smallest wins, or the largest with `maximize`. Values at which any
    seed's lane is not ok never win. A best value on the edge of its grid is warned
    about, since a wider grid may hold a better one; of further hyper-parameters only
    where the grid has three values or more. Where `tune` marked seeds as tuning ones,
    these alone choose, and `value`, `lower` and `upper` are of the others, over those
    whose lane is ok.

    Args:
        result: what `sweep`, `tune` or `load` returned, or a selection of it.
        metric: a variable with the dimension `record`.
        maximize: whether larger is better, as for an accuracy.

    Returns:
        A dataset with dimensions (algorithm, compute_times): the best value of every
        hyper-parameter under its name (`step_size`, NaN if no lane was ok), the
        metric's `value`, its lower and upper quartile over seeds (`lower`, `upper`),
        and `on_edge`; the attributes are those of the result.

    Raises:
        TypeError: if it is no dataset.
        ValueError: if the metric is unknown, or the result has lost an axis.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.sweep(
        ...     ag.quadratic(num_workers=4, num_features=3), algorithms="minibatch",
        ...     compute_times=ag.compute_times.fixed([1, 2, 3, 4]),
        ...     step_sizes=[0.001, 0.5, 100.0], num_gradients=200,
        ...     metrics={"nearness": lambda x: 1 / (1 + ((x - 1) ** 2).sum())})
        >>> found = ag.best(result, "nearness", maximize=True)
        >>> found["step_size"].item()
        0.5
    """
    check_bool("maximize", maximize)
    result = restore_dims(result)
    tuning, fresh = split_seeds(result)
    tail = tail_mean(tuning, metric)
    lanes = lane_dims(result)
    score = tail.median("seed", skipna=False)
    ok = score.notnull().any(lanes)
    places = best_places(score, lanes, maximize=maximize)
    on_edge = xr.zeros_like(ok)
    found, edges = {}, {}
    for dim, place in places.items():
        place = place.drop_vars([str(dim)], errors="ignore")
        found[dim] = xr.zeros_like(place, float) + result[dim].values[place.values]
        size = result.sizes[dim]
        # Two values are a comparison, not a grid.
        if size > 2 or (size == 2 and dim == "step_size"):
            rank = np.argsort(np.argsort(result[dim].values))[place.values]
            edges[dim] = ((rank == 0) | (rank == size - 1)) & ok
            on_edge = on_edge | edges[dim]
    shown = tail if fresh is result else tail_mean(fresh, metric)
    chosen = shown.isel(places).drop_vars(lanes, errors="ignore").where(ok)
    # A fresh seed may leave the finite range where no tuning seed did.
    kept = chosen.notnull().any("seed")
    quartiles = chosen.where(kept, 0).quantile([0.25, 0.75], "seed").where(kept)
    found = {name: value.where(ok) for name, value in found.items()} | {
        "value": chosen.where(kept, 0).median("seed").where(kept),
        "lower": quartiles.sel(quantile=0.25, drop=True),
        "upper": quartiles.sel(quantile=0.75, drop=True),
        "on_edge": on_edge,
    }
    names = result["algorithm"].values
    said = [
        f"{dim} of {', '.join(map(one_line, names[edge.any('compute_times')]))}"
        for dim, edge in edges.items()
        if edge.any()
    ]
    if said:
        warnings.warn(
            "the best hyper-parameters lie on the edge of the grid: "
            f"{'; '.join(said)}; a wider grid may hold better ones",
            stacklevel=2,
        )
    return xr.Dataset(found, attrs=result.attrs)


def best_places(
    score: xr.DataArray, dims: list[Hashable], *, maximize: bool
) -> dict[Hashable, xr.DataArray]:
    """Returns the index along each of `dims` of the best score; NaN is the worst."""
    # argmin over several dimensions gives one index per dimension.
    return (-score if maximize else score).fillna(np.inf).argmin(dims)
