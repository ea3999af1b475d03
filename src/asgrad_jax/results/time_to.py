"""When a run first has a small gradient, in virtual time."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from asgrad_jax.results.selection import metric_of, tail_records


def time_to_accuracy(
    result: xr.Dataset, eps: ArrayLike, *, sustained: bool = False
) -> xr.DataArray:
    """Virtual time at which every lane first has ||grad f||^2 <= eps.

    It is the time of the first such record, so it is late by up to the distance of two
    records. That is the goal of the theory, but a run that oscillates may pass a small
    gradient by chance.

    Args:
        result: what `sweep` or `load` returned, or a selection of it.
        eps: goals for the squared gradient norm, a number or [E] numbers, > 0.
        sustained: count from where the gradient stays that small, to the end of the
            run; a run that does so for less than the last tenth of its records never
            gets there, for that may be chance too.

    Returns:
        Seconds, float64, with the dimensions of `result["status"]` and `eps`; inf where
        no record counts or the lane is not ok.

    Raises:
        TypeError: if it is no dataset.
        ValueError: if there is no eps, one is not finite or not above zero, the result
            has a hyper-parameter of this name, or has lost `grad_norm`, `time` or
            `status`.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.sweep(
        ...     ag.quadratic(2, 3), algorithms="pure_async", num_gradients=200,
        ...     compute_times=ag.compute_times.fixed([1, 2]), step_sizes=[0.05, 0.1])
        >>> seconds = time_to_accuracy(result, [1.0, 0.1])
        >>> bool((seconds.sel(eps=1.0) <= seconds.sel(eps=0.1)).all())
        True
    """
    metric, time = metric_of(result, "grad_norm"), metric_of(result, "time")
    try:
        goals = np.atleast_1d(np.asarray(eps, np.float64))
    except (TypeError, ValueError):
        goals = np.empty(0)
    if goals.ndim != 1 or not goals.size or not np.all((goals > 0) & (goals < np.inf)):
        raise ValueError(f"eps must be finite numbers above zero, got {eps!r}")
    if "eps" in result.dims:
        raise ValueError(
            "the result has a hyper-parameter `eps`, and the goals would be another "
            "dimension of this name; call it with result.rename(eps='epsilon')"
        )
    norm = metric.astype(np.float64)
    squares = norm.where(result["status"] == 0).transpose(..., "record") ** 2
    parts = []
    # Goals one after the other: all at once would be a copy of the metric per goal.
    for goal in goals:
        small = squares <= goal
        if sustained:
            backwards = small.values[..., ::-1]
            stays = np.logical_and.accumulate(backwards, axis=-1)[..., ::-1]
            lasts = stays[..., -tail_records(result), None]
            small = small.copy(data=stays & lasts)
        parts.append(time.where(small).min("record").fillna(np.inf))
    found = xr.concat(parts, dim="eps").assign_coords(eps=goals)
    return found.transpose(*result["status"].dims, "eps").rename("time_to_accuracy")
