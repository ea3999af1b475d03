"""Results of which one value was selected, brought back to whole grids."""

import json
import os
from typing import Any

import numpy as np
import xarray as xr

from asgrad_jax._util.checks import check_text, did_you_mean

SCHEDULE_DIMS = ("algorithm", "compute_times", "seed")
_AXES = (*SCHEDULE_DIMS, "step_size")
# Variables that are the same for every step size.
_OF_SCHEDULE = frozenset(
    {"time", "server_steps", "schedule_hash", "tau_max", "tau_avg", "discarded"}
)


def check_result(result: Any) -> None:
    """Raises unless `result` is a dataset, and not one put together by hand."""
    check_dataset(result)
    _refuse_concatenated(result)


def check_dataset(result: Any) -> None:
    """Raises TypeError unless `result` is a dataset."""
    if isinstance(result, str | os.PathLike):
        raise TypeError(
            f"result must be a dataset, got the path {str(result)!r}; read it first "
            f"with ag.load({str(result)!r})"
        )
    if not isinstance(result, xr.Dataset):
        raise TypeError(
            "result must be the dataset that ag.sweep or ag.load returned, got "
            f"{type(result).__name__}"
        )


def _refuse_concatenated(result: xr.Dataset) -> None:
    """Raises where runs of several sweeps were put together and count differently.

    xarray keeps the first config and, by its version and options, one `gradients` for
    all runs, the first one's, or one for each.
    """
    asked = json.loads(result.attrs.get("config", "{}"))
    wrong = None
    if "gradients" in result.coords:
        gradients = result["gradients"]
        # Runs up to one virtual time count their gradients each for itself.
        if {*gradients.dims} - {"record"} and "until" not in asked:
            wrong = "gradients counted anew for each run"
        elif gradients.isnull().any():
            wrong = "records without a number of gradients"
        elif gradients.size and gradients.max() > asked.get("num_gradients", np.inf):
            wrong = "more gradients than its config"
    steps = result.coords.get("server_steps")
    if steps is not None and steps.size:
        if steps.max() > asked.get("num_gradients", np.inf):
            wrong = wrong or "more server steps than gradients in its config"
    lists = {
        "algorithm": asked.get("algorithms"),
        "compute_times": asked.get("compute_times"),
        "seed": asked.get("seeds"),
        **asked.get("hyperparameters", {}),
    }
    for name, known in lists.items():
        if known is not None and result.sizes.get(name, 0) > len(known):
            wrong = wrong or f"more values of {name} than its config"
    if wrong:
        raise ValueError(
            f"result must be of one sweep, got one that has {wrong}, as after "
            "xarray.concat; put results together with ag.merge(one, two), which checks "
            "that they fit"
        )


def metric_of(result: Any, metric: str) -> xr.DataArray:
    """Returns a metric, with the dimension `record`, of a result that has its `status`.

    Raises:
        TypeError: if the result is no dataset.
        ValueError: if the metric is unknown, or the result has lost its `status`.
    """
    check_result(result)
    check_text("metric", metric)
    if metric not in result or "record" not in result[metric].dims:
        known = [n for n, v in result.data_vars.items() if "record" in v.dims]
        hint = did_you_mean(metric, known)
        raise ValueError(f"unknown metric {metric!r}{hint}; this result has {known}")
    _check_status(result)
    return result[metric]


def at_records_of(result: xr.Dataset, metric: str) -> xr.Dataset:
    """Keeps the records that a metric was computed at, all but for `metrics_every`.

    Example:
        >>> result = xr.Dataset({
        ...     "loss": ("record", [3.0, 2.0, 1.0]),
        ...     "accuracy": ("record", [0.1, np.nan, 0.9], {"every": 2})})
        >>> at_records_of(result, "accuracy")["loss"].values.tolist()
        [3.0, 1.0]
    """
    values = result[metric]
    if "every" not in values.attrs:
        return result
    there = values.notnull().any([d for d in values.dims if d != "record"]).values
    return result.isel(record=there) if there.any() else result


def split_seeds(result: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """The tuning seeds of a result, and the fresh ones; all of them twice if unmarked.

    `tune` marks its seeds in the coordinate `tuning`: on those that are True step sizes
    were chosen, on the others they are compared.

    Args:
        result: with the dimension seed.

    Example:
        >>> result = xr.Dataset({"a": ("seed", [1, 2, 3])})
        >>> tuning, fresh = split_seeds(
        ...     result.assign_coords(tuning=("seed", [True, False, False])))
        >>> tuning["a"].values.tolist(), fresh["a"].values.tolist()
        ([1], [2, 3])
    """
    if "tuning" not in result.coords or "seed" not in result["tuning"].dims:
        return result, result
    chosen_on = result["tuning"].values.astype(bool)
    if chosen_on.all() or not chosen_on.any():
        return result, result
    return result.isel(seed=chosen_on), result.isel(seed=~chosen_on)


def tail_records(result: xr.Dataset) -> int:
    """Returns how many records the tail of a run has: the last tenth of them."""
    return max(1, result.sizes["record"] // 10)


def deterministic(result: xr.Dataset) -> list[str]:
    """Lists the algorithms of which all seeds give one and the same run, to rounding.

    As with fixed compute times and full gradients: such seeds are no repetitions. Of a
    result with one seed nothing can be said, and the list is empty.

    Args:
        result: with the dimensions algorithm and seed.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.sweep(
        ...     ag.quadratic(2, 2), algorithms=["pure_async", "random_async"],
        ...     compute_times=ag.compute_times.fixed([1, 3]), step_sizes=[0.1],
        ...     seeds=range(3), num_gradients=20)
        >>> deterministic(result)
        ['pure_async']
    """
    if result.sizes["seed"] < 2:
        return []
    curves = [
        v
        for v in result.variables.values()
        if {"seed", "record"} <= {*v.dims} and v.dtype.kind in "fiub"
    ]
    return [
        str(name)
        for at, name in enumerate(result["algorithm"].values)
        if all(
            _same_along_seeds(v.isel(algorithm=at) if "algorithm" in v.dims else v)
            for v in curves
        )
    ]


def _same_along_seeds(curves: xr.Variable) -> bool:
    values = curves.transpose("seed", ...).values.astype(np.float64)
    # NaN, where a run broke down, must be in the same places.
    low, high = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
    missing = np.isnan(values)
    digits = np.finfo(np.result_type(curves.dtype, np.float32)).eps
    with np.errstate(invalid="ignore", over="ignore"):
        rounding = 32 * digits * np.maximum(np.abs(low), np.abs(high))
        alike = np.isnan(low) | (low == high) | (high - low <= rounding)
    return bool(alike.all() and (missing == missing[:1]).all())


def _check_status(result: xr.Dataset) -> None:
    if "status" not in result:
        raise ValueError(
            "the result has no variable 'status', which says which runs are good; "
            "give all that ag.sweep or ag.load returned, or keep 'status' beside the "
            f"metrics; it has {list(map(str, result.data_vars))}"
        )


def restore_dims(result: xr.Dataset) -> xr.Dataset:
    """Brings axes back of which one value was selected, as axes of length one.

    After `result.sel(seed=0)` the seed is a scalar coordinate. The same values come
    back with the dimensions algorithm, compute_times, seed, step_size and further
    hyper-parameters.

    Raises:
        TypeError: if it is no dataset.
        ValueError: if an axis is gone, as after a median over it.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.sweep(
        ...     ag.quadratic(2, 2), algorithms="pure_async", num_gradients=20,
        ...     compute_times=ag.compute_times.fixed([1, 2]), step_sizes=[0.1, 0.2])
        >>> restore_dims(result.sel(seed=0, step_size=0.1))["status"].shape
        (1, 1, 1, 1)
    """
    check_result(result)
    _check_status(result)
    asked = json.loads(result.attrs.get("config", "{}")).get("hyperparameters", {})
    axes = list(dict.fromkeys([*_AXES, *asked]))
    selected = {a for a in axes if a in result.coords and not result[a].dims}
    gone = [a for a in (*_AXES, "record") if a not in selected | {*result.dims}]
    if gone:
        raise ValueError(
            f"the result has no axis {gone[0]!r} any more, as after a median over it; "
            f"give the whole result, or keep the axis: result.isel({gone[0]}=[0])"
        )
    if not selected:
        return result

    variables = {}
    for name, variable in result.variables.items():
        over = axes if name in result.data_vars else ()
        over = SCHEDULE_DIMS if name in _OF_SCHEDULE else over
        over = (name,) if name in selected else over
        dims = [a for a in over if a in selected or a in variable.dims]
        dims += [d for d in variable.dims if d not in dims]
        variables[name] = variable.set_dims(dims)
    coords = {name: v for name, v in variables.items() if name in result.coords}
    rest = {name: v for name, v in variables.items() if name not in coords}
    return xr.Dataset(rest, coords, result.attrs)
