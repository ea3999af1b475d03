"""Checks of the functions that users hand to `run` and `sweep`: traced, never run."""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax.engine.arrival import Metric
from asgrad_jax.engine.devices import PRECISIONS, abstract
from asgrad_jax.engine.program import traced_as
from asgrad_jax.engine.server import (
    Extra,
    Params,
    ServerFactory,
    init_server,
    server_step,
)
from asgrad_jax.experiments.checks import check_name
from asgrad_jax.experiments.fingerprint import Arrays, code_of
from asgrad_jax.problems.problem import traced_shapes


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
        own = _check_methods(problem, params, precision)
        _check_server(server, hyper, params, precision)
        return code, _check_metrics(metrics, {*hyper, *own}, params, precision)


def _check_metrics(
    metrics: Mapping[str, Callable] | None,
    taken: Collection[str],
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
        check_name("metric", name)
        if name in taken:
            raise ValueError(
                f"metric {name!r} has the name of a hyper-parameter or of a metric of "
                "the problem; rename one of them"
            )
        if not callable(function):
            raise TypeError(f"metric {name!r} is not callable: {function!r}")
        value = _shapes(
            f"metric {name!r}",
            function,
            precision,
            abstract(params, PRECISIONS[precision]),
        )
        if not _are_real(value, ()):
            raise ValueError(
                f"metric {name!r} must return one real number per iterate, got {value}"
            )
    return tuple(metrics.items())


def _are_real(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether a traced value is an array of this shape that files can hold."""
    kind = getattr(value, "dtype", None)
    if kind is None or value.shape != shape:
        return False
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    return any(jnp.issubdtype(kind, real) for real in kinds)


def _check_methods(problem: Any, params: Params, precision: str) -> Collection[str]:
    """Raises unless gradients are like params; returns the names of the metrics."""
    lanes = 2
    expected = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((lanes, *x.shape), x.dtype),
        abstract(params, PRECISIONS[precision]),
    )
    gradients, values = _shapes(
        "the problem",
        _one_gradient,
        precision,
        abstract(problem, PRECISIONS[precision]),
        expected,
    )
    if gradients != expected:
        raise ValueError(
            f"the problem's gradients are {gradients} for params {expected}; they must "
            f"be like these, one per lane (here {lanes} lanes)"
        )
    if not isinstance(values, dict) or not {"loss", "grad_norm"} <= values.keys():
        raise ValueError(
            "the problem's metrics must be a dictionary with 'loss' and 'grad_norm', "
            f"got {values}"
        )
    for name, value in values.items():
        if name not in ("loss", "grad_norm"):
            check_name("metric", name)
        if not _are_real(value, (lanes,)):
            raise ValueError(
                f"the problem's metric {name!r} is {value}, must be one real number "
                f"per lane (here {lanes} lanes)"
            )
    return values.keys()


# Jitted for its memory, as is `_one_step` below; never run.
@jax.jit
def _one_gradient(problem: Any, params: Params):
    """Gradients of one arrival, and metrics."""
    key = jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32")
    number = jnp.int32(0)
    gradients = problem.gradients(params, number, number, key)
    return gradients, problem.metrics(params)


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
            f"server cannot be called with the keywords {sorted(hyper)}: {error}; its "
            "parameters have these names, as in "
            f"server=lambda {', '.join(hyper)}: optax.adam(step_size)"
        ) from None

    number = abstract(np.zeros(()), PRECISIONS[precision])
    count: Any = jax.ShapeDtypeStruct((), np.int32)
    lane = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype),
        (dict.fromkeys(hyper, number), abstract(params, PRECISIONS[precision])),
    )
    extra = Extra(count, count, number)
    try:
        _shapes("server", _one_step, precision, server, *lane, extra)
    except TypeError as error:
        if not isinstance(error.__cause__, jax.errors.JAXTypeError):
            raise
        raise TypeError(
            f"{error}; some of optax's schedules ask for the value of a step size: "
            "make one with peak 1 and scale it, as in server=lambda step_size: "
            "optax.sgd(lambda count: step_size * schedule(count))"
        ) from error


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


def _shapes(what: str, function: Callable, precision: str, *arguments: Any) -> Any:
    """Returns `traced_shapes` under the run's precision."""
    with jax.enable_x64(precision == "float64"):
        return traced_shapes(what, function, *arguments)
