"""Another function gives other results; the same one compiles nothing."""

import copy
import dataclasses
import functools
import gc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgrad_jax as ag
from asgrad_jax.engine import program as engine

TIMES = ag.compute_times.fixed([1, 2])
SCHEDULE = ag.simulate("pure_async", TIMES, num_gradients=20)
QUADRATIC = ag.quadratic(num_workers=2, num_features=3)


def with_run(problem, **given):
    values = ag.run(problem, SCHEDULE, step_size=[0.1], record_every=10, **given)
    return {name: column[:, 0] for name, column in values.metrics.items()}


def with_sweep(problem, **given):
    result = ag.sweep(
        problem,
        algorithms="pure_async",
        compute_times=TIMES,
        step_sizes=[0.1],
        num_gradients=20,
        record_every=10,
        **given,
    )
    names = {"loss", "grad_norm", *given.get("metrics", ())}
    return {name: result[name].values.ravel() for name in names}


def compiled():
    programs = engine.first_values, engine.start, engine.advance
    return sum(program._cache_size() for program in programs)


# What the functions do, apart from the kind of object that they are.


def metric(factor, x):
    return jnp.ravel(factor)[0] * (1.0 + jnp.sum(x) ** 2)


def loss(factor, params, batch):
    return jnp.ravel(factor)[0] * (params - batch) ** 2


def server(factor, step_size):
    return optax.sgd(jnp.ravel(factor)[0] * step_size)


def values_of(deed, function, go=with_run):
    if deed is metric:
        return go(QUADRATIC, metrics={"own": function})["own"]
    if deed is server:
        return go(QUADRATIC, server=function)["loss"]
    data = np.arange(8.0)
    return go(ag.from_loss(function, np.ones(()), data, num_workers=2))["loss"]


@dataclasses.dataclass
class Changing:
    """Without a hash."""

    deed: Any
    factor: Any

    def __call__(self, *args, **kwargs):
        return self.deed(self.factor, *args, **kwargs)


class Plain(Changing):
    """With the hash of its identity."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@dataclasses.dataclass(frozen=True)
class Frozen:
    """Equal ones are one key, which an array has not."""

    deed: Any
    factor: Any
    __call__ = Changing.__call__


@dataclasses.dataclass(frozen=True)
class Uncompared(Frozen):
    """All are equal, so that JAX would take one for another."""

    factor: Any = dataclasses.field(compare=False)


@dataclasses.dataclass(slots=True)
class Slotted:
    """Without attributes that could be listed."""

    deed: Any
    factor: Any
    __call__ = Changing.__call__


class Lazy(Plain):
    """With an attribute that is there once it was asked for."""

    @functools.cached_property
    def value(self):
        return self.factor

    def __call__(self, *args, **kwargs):
        return self.deed(self.value, *args, **kwargs)


@dataclasses.dataclass
class Wrapped(Changing):
    """Its method is no function of Python's own."""

    __call__ = functools.partialmethod(Changing.__call__)


def closure(deed, factor):
    return lambda *args, **kwargs: deed(factor, *args, **kwargs)


def call(function, *args, **kwargs):
    return function(*args, **kwargs)


KINDS = {
    "jit": lambda deed, factor: jax.jit(closure(deed, factor)),
    "method": lambda deed, factor: Plain(deed, factor).__call__,
    "partial": functools.partial,
    "plain": Plain,
    "slots": Slotted,
    "lazy": Lazy,
    "partialmethod": Wrapped,
    "frozen": Frozen,
    "frozen around another": lambda *given: Frozen(call, Uncompared(*given)),
    "frozen with jax's array": lambda deed, factor: Frozen(deed, jnp.array([factor])),
}
EVERYWHERE = {
    "closure": closure,
    "unhashable": Changing,
    "frozen with an array": lambda deed, factor: Frozen(deed, np.array([factor])),
    "not compared": Uncompared,
}
CASES = [
    *((metric, name, with_run) for name in KINDS),
    *((deed, name, with_run) for deed in (metric, server, loss) for name in EVERYWHERE),
    *((deed, "unhashable", with_sweep) for deed in (metric, loss)),
]


@functools.cache
def half(deed, go):
    """What a function of factor 1/2 gives that no cache has met."""
    return values_of(deed, lambda *args, **kwargs: deed(0.5, *args, **kwargs), go)


@pytest.mark.parametrize(("deed", "name", "go"), CASES)
def test_another_function_and_the_same_one(deed, name, go):
    kind = (KINDS | EVERYWHERE)[name]
    one, other = kind(deed, 1.0), kind(deed, 0.5)
    first, second = values_of(deed, one, go), values_of(deed, other, go)
    np.testing.assert_array_equal(second, half(deed, go))
    assert first[-1] != second[-1]
    before = compiled()
    gc.collect()
    np.testing.assert_array_equal(values_of(deed, one, go), first)
    np.testing.assert_array_equal(values_of(deed, other, go), second)
    assert compiled() == before


@pytest.mark.parametrize(
    ("deed", "kind"),
    [
        *((deed, Changing) for deed in (metric, server, loss)),
        *((metric, kind) for kind in (Plain, Slotted, Wrapped)),
    ],
)
@pytest.mark.parametrize(
    "asked",
    [lambda made: made, lambda made: made.__call__, functools.partial],
    ids=["itself", "method", "partial"],
)
def test_an_attribute_that_is_set_anew(deed, kind, asked):
    function, other = kind(deed, 1.0), kind(deed, 1.0)
    first = values_of(deed, asked(function))
    function.factor = 0.5
    second = values_of(deed, asked(function))
    np.testing.assert_array_equal(second, half(deed, with_run))
    # Nor does an object stand for one that was equal to it.
    np.testing.assert_array_equal(values_of(deed, asked(other)), first)
    assert second[-1] != first[-1]


def test_a_metric_that_was_refused_may_be_right_later():
    function = Changing(lambda whole, x: jnp.sum(x) if whole else x, False)
    with pytest.raises(ValueError, match="one real number"):
        with_run(QUADRATIC, metrics={"own": function})
    function.factor = True
    assert with_run(QUADRATIC, metrics={"own": function})["own"].shape == (3,)


@pytest.mark.parametrize("deed", [metric, server, loss])
def test_equal_objects_that_cannot_change_share_a_program(deed):
    values_of(deed, Frozen(deed, 3.0))
    before = compiled()
    values_of(deed, Frozen(deed, 3.0))
    assert compiled() == before


def test_copies_of_a_problem():
    problem = ag.from_loss(Changing(loss, 1.0), np.ones(()), np.arange(8.0), 2)
    first = with_run(problem)["loss"]
    before = compiled()
    np.testing.assert_array_equal(with_run(copy.copy(problem))["loss"], first)
    assert compiled() == before
    np.testing.assert_array_equal(with_run(copy.deepcopy(problem))["loss"], first)
