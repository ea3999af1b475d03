"""Coordinates along records that a page adds to a result: epochs and bits."""

from typing import Any

import jax
import numpy as np
import xarray as xr

from asgrad_jax.report.setting import Setting
from asgrad_jax.results.results import sweep_config
from asgrad_jax.results.selection import SCHEDULE_DIMS
from asgrad_jax.schedules.messages import sent_bits
from asgrad_jax.simulation.simulate import simulate


def with_epochs(result: xr.Dataset, problem: Any) -> xr.Dataset:
    """Adds the coordinate `epochs`: rows used until each record over all rows.

    A full local gradient is an n-th of a pass over the data, a mini-batch of b rows
    b / N of it. Problems without rows, such as quadratics, have none.
    """
    counts = getattr(problem, "counts", None)
    if counts is None:
        return result
    counts = np.asarray(counts, np.float64)
    batch = getattr(problem, "batch_size", None)
    rows = counts.mean() if batch is None else float(batch)
    epochs = result["gradients"] * rows / counts.sum()
    return result.assign_coords(epochs=epochs)


def with_bits(result: xr.Dataset, setting: Setting) -> xr.Dataset:
    """Adds the coordinate `bits` [algorithm, compute_times, seed, record]; `sent_bits`.

    Schedules are simulated anew, one after the other, as far as each run went.
    """
    sizes: dict[str, Any] = {
        "numbers": num_parameters(setting.problem),
        "precision": sweep_config(result)["precision"],
        "bits_up": setting.bits_up,
        "bits_down": setting.bits_down,
    }
    shape = tuple(result.sizes[dim] for dim in SCHEDULE_DIMS)
    gradients = result["gradients"].broadcast_like(result["time"])
    used = gradients.transpose(*SCHEDULE_DIMS, "record").values
    bits = np.zeros(used.shape)
    labels = [result[dim].values.tolist() for dim in SCHEDULE_DIMS]
    for at in np.ndindex(*shape):
        name, times, seed = (own[k] for own, k in zip(labels, at, strict=True))
        schedule = simulate(
            setting.algorithms[name],
            setting.compute_times[times],
            num_gradients=max(1, int(used[at][-1])),
            seed=seed,
        )
        bits[at] = sent_bits(schedule, used[at], **sizes)
    return result.assign_coords(bits=((*SCHEDULE_DIMS, "record"), bits))


def num_parameters(problem: Any) -> int:
    """How many numbers the parameters of a problem have."""
    return sum(np.size(leaf) for leaf in jax.tree.leaves(problem.init_params()))
