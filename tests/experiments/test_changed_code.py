"""A function that is the same object still, and does something else."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgrad_jax as ag
from asgrad_jax.engine import program as engine
from asgrad_jax.problems.problem import LaneByLane

CLOCK = ag.compute_times.fixed([1, 2])
SCHEDULE = ag.simulate("pure_async", CLOCK, num_gradients=20)
QUADRATIC = ag.quadratic(num_workers=2, num_features=3)
FACTOR = 1.0
held = types.SimpleNamespace(factor=1.0)


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    set_factor(1.0)


def set_factor(value):
    global FACTOR
    FACTOR = held.factor = value


def with_run(problem, **given):
    values = ag.run(problem, SCHEDULE, step_size=[0.1], record_every=10, **given)
    return {name: column[:, 0] for name, column in values.metrics.items()}


def with_sweep(problem, **given):
    result = ag.sweep(
        problem,
        algorithms="pure_async",
        compute_times=CLOCK,
        step_sizes=[0.1],
        num_gradients=20,
        record_every=10,
        **given,
    )
    names = {"loss", "grad_norm", *given.get("metrics", ())}
    return {name: result[name].values.ravel() for name in names}


def scaled(x):
    return FACTOR * x


def scan_body(x, _):
    return scaled(x), None


@jax.custom_vjp
def ruled(x):
    return scaled(x)


ruled.defvjp(lambda x: (scaled(x), None), lambda _, g: (scaled(g),))
# JAX keeps most of these by the identity of the function that it traced.
SCALED = {
    "global": scaled,
    "object": lambda x: held.factor * x,
    "jit": jax.jit(scaled),
    "scan": lambda x: jax.lax.scan(scan_body, x, length=1)[0],
    "cond": lambda x: jax.lax.cond(jnp.sum(x) > 0, scaled, scaled, x),
    "checkpoint": jax.checkpoint(scaled),
    "custom_vjp": ruled,
    "partial": functools.partial(scaled),
}


def metric_of(scale):
    def metric(x):
        return scale(1.0 + jnp.sum(x) ** 2)

    return {"metrics": {"own": metric}}


def server_of(scale):
    def server(step_size):
        return optax.chain(optax.sgd(step_size), optax.stateless(lambda u, _: scale(u)))

    return {"server": server}


EVERY = [pytest.param(with_run, scale, id=name) for name, scale in SCALED.items()]
EVERY.append(pytest.param(with_sweep, scaled, id="global in a sweep"))


@pytest.mark.parametrize(("go", "scale"), EVERY)
def test_a_metric_and_a_server(go, scale):
    metric = metric_of(scale)
    one = go(QUADRATIC, **metric)["own"]
    set_factor(2.0)
    np.testing.assert_allclose(go(QUADRATIC, **metric)["own"], 2 * one, rtol=1e-6)
    set_factor(1.0)

    server = server_of(scale)
    one = go(QUADRATIC, **server)["loss"]
    set_factor(0.0)
    stays = go(QUADRATIC, **server)["loss"]
    assert stays[-1] == stays[0] == one[0] != one[-1]


@pytest.mark.parametrize(("go", "scale"), EVERY)
def test_a_loss(go, scale):
    def loss(params, batch):
        return scale((params - batch) ** 2)

    def made():
        return ag.from_loss(loss, np.ones(()), np.arange(8.0), num_workers=2)

    problem = made()
    one = go(problem)
    set_factor(0.5)
    for again in (problem, made()):
        two = go(again)
        for name in ("loss", "grad_norm"):
            np.testing.assert_allclose(two[name][0], one[name][0] / 2, rtol=1e-6)
        assert two["loss"][-1] > one["loss"][-1] / 2  # smaller steps


def test_a_loss_that_returns_the_mean_now():
    mean = False

    def loss(params, batch):
        rows = (params - batch) ** 2
        return jnp.mean(rows) if mean else rows

    def made():
        return ag.from_loss(loss, np.ones(()), np.arange(8.0), num_workers=2)

    one = with_run(made())
    mean = True
    np.testing.assert_allclose(with_run(made())["loss"], one["loss"], rtol=1e-6)


@pytest.mark.parametrize("go", [with_run, with_sweep])
def test_a_metric_that_was_refused_is_looked_at_again(go):
    whole = False

    def metric(x):
        return jnp.sum(x) if whole else x

    with pytest.raises(ValueError, match="one real number"):
        go(QUADRATIC, metrics={"own": metric})
    whole = True
    assert go(QUADRATIC, metrics={"own": metric})["own"].shape == (3,)


def test_a_problem_of_ones_own():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Parabola(LaneByLane):
        num_workers: int = dataclasses.field(default=2, metadata=dict(static=True))

        def init_params(self):
            return np.ones(3)

        def sample(self, worker, draw, key):
            return None

        def lane_gradient(self, params, worker, sample):
            return FACTOR * params

        def lane_value_and_gradient(self, params):
            return FACTOR * jnp.sum(params**2) / 2, FACTOR * params

        def local_gradients(self, params):
            return FACTOR * jnp.stack([params, params])

    problem = Parabola()
    one = with_run(problem)["loss"]
    set_factor(0.5)
    two = with_run(problem)["loss"]
    assert two[0] == one[0] / 2 and two[-1] > one[-1]


def test_nothing_compiles_when_nothing_has_changed():
    def compiled():
        programs = engine.first_values, engine.start, engine.advance
        return sum(program._cache_size() for program in programs)

    loss_of = SCALED["scan"]
    problem = ag.from_loss(
        lambda x, row: loss_of((x - row) ** 2), np.ones(()), np.arange(8.0),
        num_workers=2,
    )  # fmt: skip
    given = {**metric_of(SCALED["object"]), **server_of(SCALED["jit"])}
    for go in (with_run, with_sweep):
        go(problem, **given)
    before = compiled()
    for go in (with_run, with_sweep):
        go(problem, **given)
    assert compiled() == before
    set_factor(2.0)
    with_run(problem, **given)
    assert compiled() == before + 3
    set_factor(1.0)  # both are kept
    with_run(problem, **given)
    assert compiled() == before + 3


def test_a_folder_is_not_filled_with_old_values(tmp_path):
    given = metric_of(SCALED["jit"])
    one = with_sweep(QUADRATIC, directory=tmp_path / "one", **given)
    set_factor(2.0)
    two = with_sweep(QUADRATIC, directory=tmp_path / "two", **given)
    np.testing.assert_allclose(two["own"], 2 * one["own"], rtol=1e-6)
    with pytest.raises(ValueError, match=r"metrics\.own: there"):
        with_sweep(QUADRATIC, directory=tmp_path / "one", **given)
