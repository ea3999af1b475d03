"""Checks of what users hand to `run` and `sweep`, on the host, before any tracing."""

import inspect
import numbers
from collections.abc import Callable, Mapping

import jax
import numpy as np

from asgrad_jax.plan.schedule import Schedule
from asgrad_jax.run.devices import PRECISIONS
from asgrad_jax.run.server import Params, ServerFactory


def check_precision(precision: str) -> None:
    """Raises ValueError unless `precision` is known."""
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision={precision!r} is unknown; choose one of {list(PRECISIONS)}"
        )


def check_count(name: str, value: int, *, minimum: int = 1) -> int:
    """Returns `value` as an int; raises unless it is an integer >= minimum."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name}={value} must be at least {minimum}")
    return int(value)


def check_values(name: str, values) -> np.ndarray:
    """Returns values of a hyper-parameter as float64 [S]; raises unless all will do."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be numbers, got {values!r}") from None
    if array.ndim > 1:
        raise ValueError(f"{name} must be a number or a list, got shape {array.shape}")
    array = np.atleast_1d(array)
    if array.size == 0:
        raise ValueError(f"{name} is empty; give at least one value")
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(
            f"{name}[{bad}] = {array[bad]} is not finite; every value must be a number"
        )
    if name == "step_size" and (array < 0).any():
        raise ValueError(
            f"step_size = {array[array < 0][0]} goes uphill; give numbers of at least 0"
        )
    return array


def check_budget(memory_budget: float | None) -> None:
    """Raises unless `memory_budget` is None or a positive number of bytes."""
    if memory_budget is None:
        return
    if isinstance(memory_budget, bool) or not isinstance(memory_budget, numbers.Real):
        raise TypeError(
            f"memory_budget={memory_budget!r} must be a number of bytes, such as 2e9"
        )
    if not memory_budget > 0:
        raise ValueError(f"memory_budget={memory_budget} must be more than 0 bytes")


def check_params(problem, params: Params | None) -> Params:
    """Returns x_0 as host arrays of the problem's shapes; raises where they differ."""
    expected = problem.init_params()
    if params is None:
        return expected
    params = jax.tree.map(np.asarray, params)
    if jax.tree.structure(params) != jax.tree.structure(expected):
        raise ValueError(
            f"params have the structure {jax.tree.structure(params)}, the problem's "
            f"have {jax.tree.structure(expected)}; see problem.init_params()"
        )

    def check(path, given, wanted):
        where = f"params{jax.tree_util.keystr(path)}"
        wanted = np.asarray(wanted)
        if given.shape != wanted.shape:
            raise ValueError(
                f"{where} has shape {given.shape}, the problem needs {wanted.shape}"
            )
        if not np.isfinite(np.asarray(given, np.float64)).all():
            raise ValueError(f"{where} has values that are not finite")
        # An integer start would silently turn the run into integer arithmetic.
        return np.asarray(given, np.promote_types(given.dtype, np.float32))

    return jax.tree_util.tree_map_with_path(check, params, expected)


def check_schedule(problem, schedule: Schedule) -> None:
    """Raises unless the schedule is valid and made for the problem's workers."""
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"schedule must be an asgrad_jax.Schedule, got {type(schedule).__name__}; "
            "make one with ag.simulate(...) or ag.Schedule.from_arrays(...)"
        )
    schedule.validate()
    # A schedule made by hand names only the workers that occur in it.
    if schedule.num_workers > problem.num_workers:
        raise ValueError(
            f"the schedule has {schedule.num_workers} workers, the problem "
            f"{problem.num_workers}; build both for the same number of workers"
        )


def check_metrics(metrics: Mapping[str, Callable] | None):
    """Returns user metrics as hashable (name, function) pairs; raises on bad names."""
    metrics = metrics or {}
    for name, function in metrics.items():
        if name in ("loss", "grad_norm", "finite"):
            raise ValueError(f"the metric name {name!r} is taken; choose another")
        if not callable(function):
            raise TypeError(f"metric {name!r} is not callable: {function!r}")
    return tuple(metrics.items())


def check_server(server: ServerFactory | None, names) -> None:
    """Raises unless `server` can be called with the hyper-parameters by keyword."""
    if server is None:
        extra = [name for name in names if name != "step_size"]
        if extra:
            raise ValueError(
                f"hyper-parameters {extra} need a server that takes them: "
                "server=lambda step_size, momentum: optax.sgd(step_size, momentum)"
            )
        return
    if hasattr(server, "update"):
        raise TypeError(
            "server must be a function of the hyper-parameters, not a ready optax "
            "transformation: write server=lambda step_size: optax.adam(step_size)"
        )
    if not callable(server):
        raise TypeError(f"server must be callable, got {server!r}")
    try:
        inspect.signature(server).bind(**dict.fromkeys(names))
    except TypeError as error:
        raise TypeError(
            f"server cannot be called with the keywords {sorted(names)}: {error}"
        ) from None
