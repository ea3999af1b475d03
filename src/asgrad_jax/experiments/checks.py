"""Checks of what users hand to `run` and `sweep`, on the host, before anything runs."""

import dataclasses
import functools
import inspect
import reprlib
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import (
    check_choice,
    check_count,
    check_number,
    check_numbers,
    refuse_masked,
)
from asgrad_jax._util.hashable import hashable
from asgrad_jax._util.settings import fixed
from asgrad_jax.engine.arrival import Metric
from asgrad_jax.engine.devices import PRECISIONS, abstract, spread_of
from asgrad_jax.engine.server import (
    Extra,
    Params,
    ServerFactory,
    init_server,
    server_step,
    takes,
)
from asgrad_jax.kernels import cores_per_call
from asgrad_jax.problems.problem import check_is_problem, traced_shapes
from asgrad_jax.results.results import OWN_NAMES
from asgrad_jax.schedules.schedule import Schedule


def check_precision(precision: str) -> None:
    """Raises ValueError unless `precision` is known."""
    check_choice("precision", precision, PRECISIONS)


def check_problem(problem: Any) -> None:
    """Raises TypeError unless `problem` has what the engine asks of one."""
    check_is_problem(problem)
    missing = None
    if jax.tree_util.all_leaves([problem]):
        missing = "no pytree, so JAX cannot take it"
    elif not dataclasses.is_dataclass(problem):
        missing = "no dataclass, whose fields would tell what it is made of"
    elif not hasattr(problem, "__weakref__"):
        missing = "a class with slots alone, so its arrays cannot be kept on the device"
    if missing:
        raise TypeError(
            "the problem must be a frozen dataclass without slots, with "
            "@jax.tree_util.register_dataclass above it, got "
            f"{type(problem).__name__}, which is {missing}"
        )
    check_count("num_workers of the problem", problem.num_workers)


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
        check_name("hyper-parameter", name)
    return {"step_size": step_size, **hyperparameters}


def check_values(name: str, values: ArrayLike, precision: str) -> np.ndarray:
    """Returns values of a hyper-parameter as float64 [S]; raises unless all will do."""
    if isinstance(values, jax.core.Tracer):
        raise TypeError(
            f"{name} must be numbers, got one that JAX traces (in jax.grad, jit or "
            "vmap); take ag.runner, whose runs can be differentiated and mapped"
        )
    array = np.atleast_1d(check_numbers(name, values, bools=True))  # optax has flags
    least = 0 if name == "step_size" else None
    array = check_numbers(name, array, ndim=1, minimum=least, finite=True)
    with np.errstate(over="ignore", under="ignore"):
        held = array.astype(PRECISIONS[precision])
    if (lost := ~np.isfinite(held) | ((held == 0) & (array != 0))).any():
        bad = int(np.flatnonzero(lost)[0])
        raise ValueError(
            f"{name}[{bad}] must be a number that {precision} can hold, got "
            f"{array[bad]}, which would be {held[bad]}; give precision='float64' or "
            "another value"
        )
    return array


def check_budget(memory_budget: float | None) -> None:
    """Raises unless `memory_budget` is None or a positive number of bytes."""
    if memory_budget is not None:
        name = "memory_budget (bytes, such as 2e9)"
        check_number(name, memory_budget, above=0, finite=False)


def check_buffer(buffer: str | None) -> str | None:
    """Returns the type of the iterates held; raises unless there is such a choice."""
    if buffer not in (None, "bfloat16"):
        raise ValueError(
            "buffer must be 'bfloat16' or None (the precision of the run), got "
            f"{buffer!r}"
        )
    return buffer


def check_params(problem, params: Params | None, precision: str) -> Params:
    """Returns x_0 as arrays of the problem's shapes; raises where they differ.

    They are the host's, but for those that the user has spread over devices.
    """
    expected = problem.init_params()
    params = expected if params is None else params
    if jax.tree.structure(params) != jax.tree.structure(expected):
        given, wanted = (_described(tree) for tree in (params, expected))
        raise ValueError(
            f"params must be {wanted}, as problem.init_params() is, got {given}"
        )

    def check(path, given, wanted):
        where = f"params{jax.tree_util.keystr(path)}"
        refuse_masked(where, given)
        spread = given if spread_of(given) is not None else None
        given, wanted = np.asarray(given), np.asarray(wanted)
        if given.shape != wanted.shape:
            raise ValueError(
                f"{where} must have shape {wanted.shape}, got {given.shape}"
            )
        kinds = (jnp.floating, jnp.integer, jnp.bool_)
        if not any(jnp.issubdtype(given.dtype, kind) for kind in kinds):
            raise TypeError(f"{where} must be real numbers, got the type {given.dtype}")
        if not np.isfinite(np.asarray(given, np.float64)).all():
            raise ValueError(f"{where} must be finite, got NaN or infinite values")
        if np.max(np.abs(given), initial=0) > np.finfo(PRECISIONS[precision]).max:
            raise ValueError(
                f"{where} must be numbers that {precision} can hold, got larger ones; "
                "give precision='float64' or smaller ones"
            )
        # An integer start would silently turn the run into integer arithmetic.
        wide = np.promote_types(given.dtype, np.float32)
        return np.asarray(given, wide) if spread is None else spread.astype(wide)

    return jax.tree_util.tree_map_with_path(check, params, expected)


def _described(tree: Params) -> str:
    """Says briefly what a pytree is."""
    if jax.tree_util.all_leaves([tree]):
        return f"an array of shape {np.shape(tree)}"
    leaves, structure = jax.tree.flatten(tree)
    kind = type(tree).__name__
    if not any(map(np.ndim, leaves)):
        return f"a {kind} of {len(leaves)} numbers"
    return f"a {kind}, {reprlib.repr(str(structure))}"


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
            f"the schedule must have the problem's {problem.num_workers} workers, got "
            f"{schedule.num_workers}; build both for the same number (a schedule made "
            "by hand has the workers that occur in it: give it num_workers)"
        )


def warn_without_steps(label: str, schedule: Schedule, *, stacklevel: int) -> None:
    """Warns of a schedule along which nothing moves.

    Args:
        label: what the schedule is called.
        schedule: any valid one.
        stacklevel: as for `warnings.warn`, counted from the caller of this function: 2
            points at whoever called that one.
    """
    if not schedule.step.any():
        warnings.warn(
            f"{label!r} makes no server step in {len(schedule)} gradients, so its runs "
            "stay at x_0; give it more gradients, or look at its rule",
            stacklevel=stacklevel + 1,
        )


def check_name(what: str, name: Any) -> None:
    """Raises unless results, files and arguments of functions can have the name."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(
            f"the {what} name must be a valid identifier (letters, digits and "
            f"underscores), got {name!r}"
        )
    if name in OWN_NAMES:
        raise ValueError(
            f"the {what} name must differ from {', '.join(sorted(OWN_NAMES))}, which "
            f"are taken, got {name!r}; choose another"
        )


def check_functions(
    problem: Any,
    server: ServerFactory | None,
    metrics: Mapping[str, Callable] | None,
    metrics_every: Mapping[str, int] | None,
    hyper: Collection[str],
    params: Params,
    precision: str,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[ServerFactory | None, tuple[Metric, ...], tuple[tuple[str, int], ...]]:
    """Checks the functions of a run: they are traced, not run.

    Args:
        problem: as given.
        server: as given.
        metrics: as given.
        metrics_every: as given.
        hyper: names of the hyper-parameters.
        params: x_0, as `check_params` returned it.
        precision: of the run.
        shapes: of hyper-parameters that are no numbers.

    Returns:
        The server, (name, metric) pairs, and (name, k) pairs of the metrics that are
        computed at every k-th record alone; all of them hashable.
    """
    own = _check_methods(problem, params, precision)
    sizes = dict.fromkeys(hyper, ()) | dict(shapes or {})
    server, state = _check_server(server, sizes, params, precision)
    own_metrics = _check_metrics(metrics, {*hyper, *own}, params, state, precision)
    names = [*own, *(name for name, _ in own_metrics)]
    return server, own_metrics, _check_strides(metrics_every, names)


def _check_strides(
    metrics_every: Mapping[str, int] | None, names: Collection[str]
) -> tuple[tuple[str, int], ...]:
    """Returns (name, k) of the metrics with a stride k > 1; raises on bad ones."""
    given = {} if metrics_every is None else metrics_every
    if not isinstance(given, Mapping):
        raise TypeError(
            "metrics_every must map names of metrics to numbers of records, such as "
            f"{{'accuracy': 10}}, got {given!r}"
        )
    known = sorted({*names} - {"loss", "grad_norm"})
    for name in given:
        if name not in known:
            raise ValueError(
                f"metrics_every must name metrics besides loss and grad_norm, here "
                f"{known}, got {name!r}; record_every is for all of them"
            )
    checked = {
        name: check_count(f"metrics_every[{name!r}]", k) for name, k in given.items()
    }
    return tuple((name, k) for name, k in sorted(checked.items()) if k > 1)


def _check_metrics(
    metrics: Mapping[str, Callable] | None,
    taken: Collection[str],
    params: Params,
    state: Any,
    precision: str,
) -> tuple[Metric, ...]:
    """Returns user metrics as hashable (name, function) pairs; raises on bad ones."""
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), state)
    checked = []
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
                "the metric name must differ from those of hyper-parameters and of "
                f"the problem's metrics, got {name!r}; rename one of them"
            )
        if not callable(function):
            raise TypeError(
                f"metric {name!r} must be a function of x, got {function!r}"
            )
        function = hashable(function)
        of_iterate, states = function, []
        if takes(function, "state"):
            if state is None:
                raise ValueError(
                    f"metric {name!r} must have no parameter `state` under plain SGD, "
                    "whose server has none; give a server"
                )
            of_iterate, states = (lambda x, s, f=function: f(x, state=s)), [state]
        point = abstract(params, PRECISIONS[precision])
        value = _shapes(f"metric {name!r}", of_iterate, precision, point, *states)
        if not _are_real(value, ()):
            raise ValueError(
                f"metric {name!r} must return one real number per iterate, got {value}"
            )
        checked.append((name, function))
    return tuple(checked)


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
            f"the problem's gradients must be like params, one per lane (here {lanes} "
            f"lanes), {expected}, got {gradients}"
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
                f"the problem's metric {name!r} must be one real number per lane (here "
                f"{lanes} lanes), got {value}"
            )
    return values.keys()


# Jitted for its memory, as is `_one_step` below; never run.
@jax.jit
def _one_gradient(problem: Any, params: Params):
    """Gradients of one arrival, and metrics."""
    key = jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32")
    number = jnp.int32(0)
    sample = problem.sample(number, number, key)
    gradients = problem.gradients_with(params, number, sample)
    return gradients, problem.metrics(params)


def _check_server(
    server: ServerFactory | None,
    hyper: Mapping[str, tuple[int, ...]],
    params: Params,
    precision: str,
) -> tuple[ServerFactory | None, Any]:
    """Returns the server, hashable, and the shapes of its state, leaves [1, ...].

    Raises unless it makes a transformation.
    """
    if server is None:
        extra = [name for name in hyper if name != "step_size"]
        if extra:
            raise ValueError(
                f"hyper-parameters {extra} must go with a server that takes them: "
                "server=lambda step_size, momentum: optax.sgd(step_size, momentum)"
            )
        return None, None
    if hasattr(server, "update") or not callable(server):
        ready = "a ready optax transformation"
        raise TypeError(
            "server must be a function of the hyper-parameters, such as server="
            "lambda step_size: optax.adam(step_size), got "
            f"{ready if hasattr(server, 'update') else repr(server)}"
        )
    try:
        keywords = {*hyper, *(["key"] if takes(server, "key") else [])}
        inspect.signature(server).bind(**dict.fromkeys(keywords))
    except TypeError as error:
        raise TypeError(
            f"server cannot be called with the keywords {sorted(hyper)}: {error}; its "
            "parameters have these names, as in "
            f"server=lambda {', '.join(hyper)}: optax.adam(step_size)"
        ) from None

    server = hashable(server)
    number = abstract(np.zeros(()), PRECISIONS[precision])
    values = {k: jax.ShapeDtypeStruct(v, number.dtype) for k, v in hyper.items()}
    count: Any = jax.ShapeDtypeStruct((), np.int32)
    lane = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype),
        (values, abstract(params, PRECISIONS[precision])),
    )
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))
    loss: Any = jax.ShapeDtypeStruct((1,), number.dtype)
    extra = Extra(count, count, number, count, key, lane[1], count, loss, loss)
    try:
        return server, _shapes("server", _one_step, precision, server, *lane, extra)[1]
    except TypeError as error:
        if "value_fn" in str(error):
            raise TypeError(
                "server must step from gradients and parameters alone, got one that "
                "asks for the loss along a line, as optax.lbfgs does; take another, "
                "such as optax.adam(step_size)"
            ) from error
        if not isinstance(error.__cause__, jax.errors.JAXTypeError):
            raise
        raise TypeError(
            f"{error}; a server must not ask for the value of a hyper-parameter, as "
            "float() and range() do: write its schedule as a function of the count in "
            "JAX, server=lambda step_size: optax.sgd(lambda count: step_size * "
            "factor(count))"
        ) from error


# Jitted for its memory of what was traced, so that a server is traced once; never run.
@functools.partial(jax.jit, static_argnames="server")
def _one_step(server: ServerFactory, hyper, params: Params, extra: Extra):
    """Makes one server step from the start."""

    @functools.wraps(server)
    def made(**values):
        transformation = server(**values)
        if not (hasattr(transformation, "init") and hasattr(transformation, "update")):
            raise TypeError(
                "server must return an optax transformation, such as "
                f"optax.adam(step_size), got {transformation!r}"
            )
        return transformation

    state = init_server(made, hyper, params, extra.key)
    return server_step(made, hyper, params, state, params, extra, extra.key)


def _shapes(what: str, function: Callable, precision: str, *arguments: Any) -> Any:
    """Returns `traced_shapes` under the run's precision."""
    with fixed(x64=precision == "float64"):
        # Shapes are the same without compiled kernels, which need not be made for that.
        with cores_per_call(0):
            return traced_shapes(what, function, *arguments)
