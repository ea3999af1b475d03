"""From the lanes of a sweep to one labelled dataset."""

import datetime
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from asgrad_jax._util import provenance
from asgrad_jax.experiments.grid import Grid
from asgrad_jax.experiments.run import lane_status, record_axes
from asgrad_jax.results.results import STATUS
from asgrad_jax.results.selection import SCHEDULE_DIMS
from asgrad_jax.schedules.schedule import Schedule


def to_dataset(grid: Grid, lanes_of: Sequence[dict[str, np.ndarray]]) -> xr.Dataset:
    """Labels what the schedules of a grid gave.

    Args:
        grid: what was run.
        lanes_of: per schedule, name -> [R + 1, S] values, `finite` among them.

    Returns:
        The dataset that `sweep` describes.
    """
    outer = (len(grid.algorithms), len(grid.compute_times), len(grid.seeds))
    inner = tuple(len(v) for v in grid.axes.values())
    lanes = (*SCHEDULE_DIMS, *grid.axes)

    def by_schedule(values, *tail: int) -> np.ndarray:
        return np.stack(list(values)).reshape(*outer, *tail)

    variables: dict[str, Any] = {}
    finite = [values["finite"] for values in lanes_of]
    for name in [n for n in lanes_of[0] if n != "finite"]:
        values = by_schedule((v[name].T for v in lanes_of), *inner, -1)
        every = {"every": k} if (k := grid.metrics_every.get(name)) else {}
        variables[name] = ((*lanes, "record"), values, every)
    good, first_bad = zip(*map(lane_status, finite), strict=True)
    variables["status"] = (
        lanes,
        np.where(by_schedule(good, *inner), 0, 1).astype(np.int8),
        {"flag_values": [0, 1], "flag_meanings": " ".join(STATUS)},
    )
    variables["first_bad_record"] = (
        lanes,
        by_schedule(first_bad, *inner).astype(np.int32),
    )
    variables |= _schedule_variables(grid.schedules, by_schedule)
    gradients, steps, times = zip(
        *(record_axes(s, grid.record_every) for s in grid.schedules),
        strict=True,
    )
    record = (*SCHEDULE_DIMS, "record")
    return xr.Dataset(
        variables,
        coords={
            "algorithm": np.array(list(grid.algorithms), dtype=str),
            "compute_times": np.array(list(grid.compute_times), dtype=str),
            "seed": np.array(grid.seeds, dtype=np.int64),
            **grid.axes,
            "record": np.arange(len(gradients[0])),
            "gradients": ("record", gradients[0]),
            "server_steps": (record, by_schedule(steps, -1)),
            "time": (record, by_schedule(times, -1)),
        },
        attrs={
            "config": json.dumps(grid.config),
            "versions": json.dumps(provenance.versions()),
            "device": provenance.device(),
            "commit": provenance.commit(),
            "created": datetime.datetime.now(datetime.UTC).isoformat(
                timespec="seconds"
            ),
        },
    )


def _schedule_variables(schedules: Sequence[Schedule], by_schedule) -> dict[str, Any]:
    """Returns the figures of every schedule as variables."""
    stats = [s.stats() for s in schedules]
    columns = {
        "schedule_hash": np.array([s.content_hash for s in schedules], dtype=str),
        "tau_max": np.array([s.tau_max for s in stats], dtype=np.int32),
        "tau_avg": np.array([s.tau_avg for s in stats]),
        "discarded": np.array([s.discarded for s in stats], dtype=np.int64),
    }
    return {
        name: (SCHEDULE_DIMS, by_schedule(values)) for name, values in columns.items()
    }
