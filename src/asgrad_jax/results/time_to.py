"""When a run first has a small gradient, or a good metric, in virtual time."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_bool, check_numbers
from asgrad_jax.results.selection import (
    SCHEDULE_DIMS,
    at_records_of,
    metric_of,
    split_seeds,
    tail_records,
)


def time_to_accuracy(
    result: xr.Dataset,
    eps: ArrayLike | None = None,
    *,
    metric: str = "grad_norm",
    goal: ArrayLike | None = None,
    maximize: bool = False,
    sustained: bool = False,
) -> xr.DataArray:
    """Virtual time at which every lane first reaches a goal.

    With `eps` the goal is ||grad f||^2 <= eps, that of the theory. With `goal` it is
    metric <= goal, or metric >= goal with `maximize`, as for an accuracy. It is the
    time of the first such record, so it is late by up to the distance of two records; a
    run that oscillates may pass a goal by chance.

    Args:
        result: what `sweep` or `load` returned, or a selection of it.
        eps: goals for the squared gradient norm, a number or [E] numbers, > 0; give
            either these or `goal`.
        metric: a variable with the dimension `record`, which `goal` is for.
        goal: goals for the metric itself, a number or [E] finite numbers.
        maximize: whether larger is better, and a goal reached from below.
        sustained: count from where the goal stays reached, to the end of the run; a
            run that does so for less than the last tenth of its records never gets
            there, for that may be chance too.

    Returns:
        Seconds, float64, with the dimensions of `result["status"]` and `eps`, or
        `goal`; inf where no record counts or the lane is not ok.

    Raises:
        TypeError: if it is no dataset, or an argument is of another type.
        ValueError: if there is no goal or both kinds, one is not finite or an eps not
            above zero, eps is given for another metric or with `maximize`, the result
            has a hyper-parameter of this name, or has lost the metric, `time` or
            `status`.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.sweep(
        ...     ag.quadratic(2, 3), algorithms="pure_async", num_gradients=200,
        ...     compute_times=ag.compute_times.fixed([1, 2]), step_sizes=[0.05, 0.1],
        ...     metrics={"nearness": lambda x: 1 / (1 + (x**2).sum())})
        >>> seconds = time_to_accuracy(result, [1.0, 0.1])
        >>> bool((seconds.sel(eps=1.0) <= seconds.sel(eps=0.1)).all())
        True
        >>> time_to_accuracy(result, metric="nearness", goal=0.1, maximize=True).dims
        ('algorithm', 'compute_times', 'seed', 'step_size', 'goal')
    """
    check_bool("maximize", maximize)
    check_bool("sustained", sustained)
    name, goals = _goals(eps, goal, metric, maximize)
    metric_of(result, metric)
    result = at_records_of(result, metric)
    values, time = result[metric], metric_of(result, "time")
    if name in result.dims:
        raise ValueError(
            f"the result has a hyper-parameter `{name}`, and the goals would be another"
            f" dimension of this name; call it with result.rename({name}='own_{name}')"
        )
    values = values.astype(np.float64).where(result["status"] == 0)
    values = values.transpose(..., "record")
    if name == "eps":
        values = values**2
    parts = []
    # Goals one after the other: all at once would be a copy of the metric per goal.
    for one in goals:
        good = values >= one if maximize else values <= one
        if sustained:
            backwards = good.values[..., ::-1]
            stays = np.logical_and.accumulate(backwards, axis=-1)[..., ::-1]
            lasts = stays[..., -tail_records(result), None]
            good = good.copy(data=stays & lasts)
        parts.append(time.where(good).min("record").fillna(np.inf))
    found = xr.concat(parts, dim=name).assign_coords({name: goals})
    return found.transpose(*result["status"].dims, name).rename("time_to_accuracy")


def fastest_times(
    result: xr.Dataset, eps: ArrayLike, *, sustained: bool = False
) -> xr.DataArray:
    """`time_to_accuracy` of every algorithm at its fastest step size for each goal.

    What is fastest, of further hyper-parameters too, is decided by the median over the
    tuning seeds, and the times are those of the fresh seeds; of a result without tuning
    seeds all decide and all are told.

    Args:
        result: with all dimensions.
        eps, sustained: as for `time_to_accuracy`.

    Returns:
        Seconds, float64 [algorithm, compute_times, seed, eps]; inf where no record
        counts, or where half of the tuning seeds never get there.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.tune(
        ...     ag.quadratic(2, 3), algorithms="pure_async", num_gradients=200,
        ...     compute_times=ag.compute_times.exponential([1, 2]), extend=0,
        ...     step_sizes=[0.05, 0.1], tuning_seeds=[10, 11], seeds=range(3))
        >>> fastest_times(result, 1.0).shape
        (1, 1, 3, 1)
    """
    tuning, fresh = split_seeds(result)
    dims = result["status"].dims
    lanes = [d for d in dims if d not in SCHEDULE_DIMS]
    order = (*SCHEDULE_DIMS, "eps", *lanes)
    decide, told = (
        time_to_accuracy(part, eps, sustained=sustained).transpose(*order)
        for part in (tuning, fresh)
    )
    # Order statistics: interpolating between a number and inf would give nan.
    values = decide.values.reshape(*decide.shape[:4], -1)
    medians = np.quantile(values, 0.5, axis=2, method="higher")
    place = np.argmin(medians, axis=-1)[:, :, None, :, None]
    flat = told.values.reshape(*told.shape[:4], -1)
    chosen = np.take_along_axis(flat, place, axis=-1)[..., 0]
    never = np.isinf(medians.min(axis=-1))[:, :, None, :]
    at_first = told.isel(dict.fromkeys(lanes, 0), drop=True)
    return at_first.copy(data=np.where(never, np.inf, chosen))


def _goals(
    eps: Any, goal: Any, metric: str, maximize: bool
) -> tuple[str, NDArray[np.float64]]:
    """The name of the goals' dimension, and the goals; raises on bad ones."""
    if (eps is None) == (goal is None):
        raise ValueError(
            "either eps (for the squared gradient norm) or goal (for the metric) must "
            f"be given, got {'none' if eps is None else 'both'}"
        )
    if eps is None:
        found = check_numbers("goal", goal, finite=True)
        return "goal", _flat("goal", found, goal)
    if metric != "grad_norm" or maximize:
        raise ValueError(
            "eps must go with metric='grad_norm', to be minimised, got "
            f"metric={metric!r}, maximize={maximize}; give goal=... for a metric"
        )
    found = check_numbers("eps", eps, above=0, finite=True)
    return "eps", _flat("eps", found, eps)


def _flat(name: str, found: NDArray[np.float64], given: Any) -> NDArray[np.float64]:
    if found.ndim > 1 or not found.size:
        raise ValueError(f"{name} must be a number or a flat list, got {given!r}")
    return np.atleast_1d(found)
