"""When a run first has a small gradient, in virtual time."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike


def time_to(result: xr.Dataset, eps: ArrayLike) -> xr.DataArray:
    """Virtual time at which every lane first has ||grad f||^2 <= eps.

    It is the time of the first such record, so it is late by up to the distance of two
    records, and later ones may lie above eps again.

    Args:
        result: what `sweep` or `load` returned.
        eps: goals for the squared gradient norm, a number or [E] numbers, > 0.

    Returns:
        Seconds, float64, with the dimensions of `result["status"]` and `eps`; inf where
        no record is that small or the lane is not ok.

    Raises:
        ValueError: if an eps is not finite or not above zero.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.sweep(
        ...     ag.quadratic(num_workers=4, num_features=3), algorithms="pure_async",
        ...     compute_times=ag.compute_times.fixed([1, 2, 3, 4]),
        ...     step_sizes=[0.05, 0.1], num_gradients=200)
        >>> seconds = time_to(result, [1.0, 0.1])
        >>> bool((seconds.sel(eps=1.0) <= seconds.sel(eps=0.1)).all())
        True
    """
    goals = np.atleast_1d(np.asarray(eps, np.float64))
    if goals.ndim != 1 or not np.all(np.isfinite(goals) & (goals > 0)):
        raise ValueError(f"eps must be numbers above zero, got {eps!r}")
    goal = xr.DataArray(goals, dims="eps", coords={"eps": goals})
    norm = result["grad_norm"].astype(np.float64)
    norm = norm.where(result["status"] == 0)
    # Goals one after the other: all at once would be a copy of the metric per goal.
    parts = [
        result["time"].where(norm**2 <= one).min("record").fillna(np.inf)
        for one in goal
    ]
    found = xr.concat(parts, dim="eps").assign_coords(eps=goals)
    return found.transpose(*result["status"].dims, "eps").rename("time_to")
