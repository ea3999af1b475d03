"""Results of which one value was selected, brought back to whole grids."""

import json
import os
from typing import Any

import xarray as xr

SCHEDULE_DIMS = ("algorithm", "compute_times", "seed")
_AXES = (*SCHEDULE_DIMS, "step_size")
# Variables that are the same for every step size.
_OF_SCHEDULE = frozenset(
    {"time", "server_steps", "schedule_hash", "tau_max", "tau_avg", "discarded"}
)


def check_result(result: Any) -> None:
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


def metric_of(result: Any, metric: str) -> xr.DataArray:
    """Returns a metric, with the dimension `record`, of a result that has its `status`.

    Raises:
        TypeError: if the result is no dataset.
        ValueError: if the metric is unknown, or the result has lost its `status`.
    """
    check_result(result)
    if metric not in result or "record" not in result[metric].dims:
        known = [n for n, v in result.data_vars.items() if "record" in v.dims]
        raise ValueError(f"unknown metric {metric!r}; this result has {known}")
    _check_status(result)
    return result[metric]


def tail_records(result: xr.Dataset) -> int:
    """Returns how many records the tail of a run has: the last tenth of them."""
    return max(1, result.sizes["record"] // 10)


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
