"""From the lanes of a sweep to one labelled dataset."""

import datetime
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from asgrad_jax._util import provenance
from asgrad_jax.experiments.grid import Grid
from asgrad_jax.experiments.run import lane_status, record_axes
from asgrad_jax.results.results import MISSING, NONFINITE, OK, STATUS, sweep_config
from asgrad_jax.results.selection import SCHEDULE_DIMS
from asgrad_jax.schedules.schedule import Schedule

Lanes = dict[str, np.ndarray]


def filled(outline: xr.Dataset, lanes_of: Sequence[Lanes]) -> xr.Dataset:
    """Labels what the schedules of a grid gave.

    Args:
        outline: of `outline_of`.
        lanes_of: per schedule, name -> [R + 1, S] values, `finite` among them; and
            `missing`, bool [S], where lanes have not been run.

    Returns:
        The dataset that `sweep` describes.
    """
    config = sweep_config(outline)
    axes, strides = [*config["hyperparameters"]], config.get("metrics_every", {})
    by_schedule = _stacked(tuple(outline.sizes[name] for name in SCHEDULE_DIMS))
    inner = tuple(outline.sizes[name] for name in axes)
    lanes = (*SCHEDULE_DIMS, *axes)
    variables: dict[str, Any] = {}
    finite = [values["finite"] for values in lanes_of]
    for name in [n for n in lanes_of[0] if n not in ("finite", "missing")]:
        values = by_schedule((v[name].T for v in lanes_of), *inner, -1)
        every = {"every": k} if (k := strides.get(name)) else {}
        variables[name] = ((*lanes, "record"), values, every)
    good, first_bad = zip(*map(lane_status, finite), strict=True)
    status = np.where(by_schedule(good, *inner), OK, NONFINITE)
    if "missing" in lanes_of[0]:
        missing = by_schedule((values["missing"] for values in lanes_of), *inner)
        status[missing] = MISSING
    numbers = [*range(len(STATUS))]
    flags = {"flag_values": numbers, "flag_meanings": " ".join(STATUS)}
    variables["status"] = lanes, status.astype(np.int8), flags
    variables["first_bad_record"] = (
        lanes,
        by_schedule(first_bad, *inner).astype(np.int32),
    )
    return xr.Dataset(
        variables | dict(outline.data_vars), outline.coords, outline.attrs
    )


def outline_of(grid: Grid) -> xr.Dataset:
    """Returns labels, times and schedules of a result, without its lanes."""
    by_schedule = _stacked(
        (len(grid.algorithms), len(grid.compute_times), len(grid.seeds))
    )
    gradients, steps, times = zip(
        *(record_axes(s, grid.record_every) for s in grid.schedules),
        strict=True,
    )
    record = (*SCHEDULE_DIMS, "record")
    return xr.Dataset(
        _schedule_variables(grid.schedules, by_schedule),
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


def as_arrays(outline: xr.Dataset) -> dict[str, np.ndarray]:
    """Returns an outline as named arrays, for a file.

    Example:
        >>> outline = xr.Dataset({"a": ("x", [1.0])}, attrs={"device": "cpu"})
        >>> outline.identical(from_arrays(as_arrays(outline)))
        True
    """
    texts = {f"attribute {k}": np.array(v) for k, v in outline.attrs.items()}
    return texts | {
        f"{'variable' if name in outline.data_vars else 'coordinate'} {name} "
        f"{','.join(map(str, variable.dims))}": variable.values
        for name, variable in outline.variables.items()
    }


def from_arrays(arrays: dict[str, np.ndarray]) -> xr.Dataset:
    """Returns the outline that `as_arrays` was given."""
    found: dict[str, dict[str, Any]] = {"variable": {}, "coordinate": {}}
    attributes = {}
    for key, values in arrays.items():
        kind, name, *dims = key.split(" ")
        if kind == "attribute":
            attributes[name] = values.item()
        else:
            found[kind][name] = (tuple(filter(None, dims[0].split(","))), values)
    return xr.Dataset(found["variable"], found["coordinate"], attributes)


def _stacked(outer: tuple[int, ...]) -> Callable[..., np.ndarray]:
    """Returns what stacks values of all schedules of a grid of that shape."""

    def by_schedule(values, *tail: int) -> np.ndarray:
        return np.stack(list(values)).reshape(*outer, *tail)

    return by_schedule


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
