"""Checks of what users hand to `run` and `sweep`, on the host, before anything runs."""

import functools
import inspect
import numbers
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax.model.problem import Problem
from asgrad_jax.plan.schedule import Schedule
from asgrad_jax.run.arrival import Metric
from asgrad_jax.run.devices import PRECISIONS, run_type
from asgrad_jax.run.fingerprint import Arrays, code_of, traced_as
from asgrad_jax.run.results import OWN_NAMES
from asgrad_jax.run.server import (
    Extra,
    Params,
    ServerFactory,
    init_server,
    server_step,
)


def check_precision(precision: str) -> None:
    """Raises ValueError unless `precision` is known."""
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision={precision!r} is unknown; choose one of {list(PRECISIONS)}"
        )


def check_problem(problem: Any) -> None:
    """Raises TypeError unless `problem` has what the engine asks of one."""
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be what ag.logistic_regression, ag.quadratic or "
            f"ag.from_loss returned, got {type(problem).__name__}"
        )


def check_hyper(
    step_size: ArrayLike, hyperparameters: Mapping[str, ArrayLike] | None
) -> dict[str, ArrayLike]:
    """Returns name -> values as given, `step_size` first; raises on bad names."""
    hyperparameters = hyperparameters or {}
    if not isinstance(hyperparameters, Mapping):
        raise TypeError(
            "hyperparameters must map names to values, such as {'momentum': [0, 0.9]},"
            f" got {hyperparameters!r}"
        )
    for name in hyperparameters:
        _check_name("hyper-parameter", name)
    return {"step_size": step_size, **hyperparameters}


def check_values(name: str, values: ArrayLike, precision: str) -> np.ndarray:
    """Returns values of a hyper-parameter as float64 [S]; raises unless all will do."""
    try:
        if np.iscomplexobj(values):
            raise TypeError
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be numbers, got {values!r}") from None
    except OverflowError:
        raise ValueError(
            f"{name} has a number beyond {np.finfo(np.float64).max:.3g}, the largest "
            "of float64; give smaller ones"
        ) from None
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
    with np.errstate(over="ignore", under="ignore"):
        held = array.astype(PRECISIONS[precision])
    if (lost := ~np.isfinite(held) | ((held == 0) & (array != 0))).any():
        bad = int(np.flatnonzero(lost)[0])
        raise ValueError(
            f"{name}[{bad}] = {array[bad]} would be {held[bad]} in {precision}; give "
            "precision='float64' or another value"
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


def check_params(problem, params: Params | None, precision: str) -> Params:
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
        kinds = (jnp.floating, jnp.integer, jnp.bool_)
        if not any(jnp.issubdtype(given.dtype, kind) for kind in kinds):
            raise TypeError(
                f"{where} has the type {given.dtype}; real numbers are needed"
            )
        if not np.isfinite(np.asarray(given, np.float64)).all():
            raise ValueError(f"{where} has values that are not finite")
        if np.max(np.abs(given), initial=0) > np.finfo(PRECISIONS[precision]).max:
            raise ValueError(
                f"{where} has values that {precision} cannot hold; give "
                "precision='float64' or smaller ones"
            )
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
    if schedule.num_workers != problem.num_workers:
        raise ValueError(
            f"the schedule has {schedule.num_workers} workers, the problem "
            f"{problem.num_workers}; build both for the same number of workers (a "
            "schedule made by hand has those that occur in it: give it num_workers)"
        )


def check_functions(
    problem: Any,
    server: ServerFactory | None,
    metrics: Mapping[str, Callable] | None,
    hyper: Collection[str],
    params: Params,
    precision: str,
    arrays: Arrays | None = None,
) -> tuple[str, tuple[Metric, ...]]:
    """Checks the functions of a run, which JAX traces.

    Args:
        problem: as given.
        server: as given.
        metrics: as given.
        hyper: names of the hyper-parameters.
        params: x_0, as `check_params` returned it.
        precision: of the run.
        arrays: hashes of the arrays met so far, see `fingerprint`.

    Returns:
        The fingerprint of all of them, and the user's metrics as hashable pairs.
    """
    code = code_of(problem, server, metrics, arrays)
    with traced_as(code):
        _check_server(server, hyper, params, precision)
        return code, _check_metrics(metrics, hyper, params, precision)


def _check_metrics(
    metrics: Mapping[str, Callable] | None,
    hyper: Collection[str],
    params: Params,
    precision: str,
) -> tuple[Metric, ...]:
    """Returns user metrics as hashable (name, function) pairs; raises on bad ones."""
    metrics = metrics or {}
    if not isinstance(metrics, Mapping):
        raise TypeError(
            "metrics must map names to functions of the iterate, such as {'size': "
            f"jnp.linalg.norm}}, got {metrics!r}"
        )
    for name, function in metrics.items():
        _check_name("metric", name)
        if name in hyper:
            raise ValueError(
                f"{name!r} is a metric and a hyper-parameter; rename one of them"
            )
        if not callable(function):
            raise TypeError(f"metric {name!r} is not callable: {function!r}")
        value = _shapes(
            f"metric {name!r}", function, precision, _abstract(params, precision)
        )
        shape = getattr(value, "shape", None)
        if shape != () or jnp.issubdtype(value.dtype, jnp.complexfloating):
            raise ValueError(
                f"metric {name!r} must return one real number per iterate, got {value}"
            )
    return tuple(metrics.items())


def _check_server(
    server: ServerFactory | None, hyper: Collection[str], params: Params, precision: str
) -> None:
    """Raises unless `server` makes a transformation of the hyper-parameters."""
    if server is None:
        extra = [name for name in hyper if name != "step_size"]
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
        inspect.signature(server).bind(**dict.fromkeys(hyper))
    except TypeError as error:
        raise TypeError(
            f"server cannot be called with the keywords {sorted(hyper)}: {error}"
        ) from None

    number = _abstract(np.zeros(()), precision)
    count: Any = jax.ShapeDtypeStruct((), np.int32)
    lane = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype),
        (dict.fromkeys(hyper, number), _abstract(params, precision)),
    )
    extra = Extra(count, count, number)
    _shapes("server", _one_step, precision, server, *lane, extra)


# Jitted for its memory of what was traced, so that a server is traced once; never run.
@functools.partial(jax.jit, static_argnames="server")
def _one_step(server: ServerFactory, hyper, params: Params, extra: Extra):
    """Makes one server step from the start."""

    def made(**values):
        transformation = server(**values)
        if not (hasattr(transformation, "init") and hasattr(transformation, "update")):
            raise TypeError(
                "server must return an optax transformation, such as "
                f"optax.adam(step_size); it returned {transformation!r}"
            )
        return transformation

    state = init_server(made, hyper, params)
    return server_step(made, hyper, params, state, params, extra)


def _check_name(what: str, name: Any) -> None:
    """Raises unless results, files and arguments of functions can have the name."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(
            f"the {what} name {name!r} is none that an argument or a variable in a "
            "file can have; use letters, digits and underscores"
        )
    if name in OWN_NAMES:
        raise ValueError(
            f"the {what} name {name!r} is taken, as are "
            f"{', '.join(sorted(OWN_NAMES - {name}))}; choose another"
        )


def _abstract(tree: Any, precision: str) -> Any:
    """Returns shapes and types that arrays have in a run."""

    def leaf(x):
        own = np.asarray(x).dtype
        return jax.ShapeDtypeStruct(np.shape(x), run_type(own, PRECISIONS[precision]))

    return jax.tree.map(leaf, tree)


def _shapes(what: str, function: Callable, precision: str, *arguments: Any) -> Any:
    """Returns shapes and types of what a user's function gives; raises if untraceable.

    Nothing is computed.
    """
    try:
        with jax.enable_x64(precision == "float64"):
            return jax.eval_shape(function, *arguments)
    except (
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
    ) as error:
        raise TypeError(
            f"{what} cannot be compiled: iterates and hyper-parameters are traced by "
            "JAX, so write it with jax.numpy, without NumPy's functions, float() or "
            "`if` on their values"
        ) from error
