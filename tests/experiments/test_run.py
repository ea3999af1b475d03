"""The compiled engine against oracles, for every algorithm."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from benchmarks.numpy_loop import numpy_event_loop

import asgrad_jax as ag
from asgrad_jax.engine import program as engine
from asgrad_jax.engine import rows as layout
from asgrad_jax.schedules import slots
from helpers.reference import (
    logistic_gradient,
    naive_trajectory,
    quadratic_gradient,
    quadratic_loss,
)

N, D, A = 5, 3, 60
CLOCK = ag.compute_times.exponential(range(1, N + 1))


@pytest.fixture(scope="module")
def problem():
    return ag.quadratic(N, D, heterogeneity=2.0, seed=3)


def norms(problem, points):
    gradients = points @ problem.mean_hessian - problem.mean_linear
    return np.linalg.norm(gradients, axis=1)


@pytest.mark.parametrize("name", ag.algorithms.names())
@pytest.mark.parametrize("width", [1, 4])
def test_equals_full_history(problem, name, width):
    schedule = ag.simulate(name, CLOCK, num_gradients=A, seed=1)
    expected = naive_trajectory(
        schedule,
        quadratic_gradient(problem),
        0.2,
        problem.init_params(),
        loss=quadratic_loss(problem),
    )
    for every in (1, 7):
        got = ag.run(
            problem,
            schedule,
            step_size=0.2,
            record_every=every,
            precision="float64",
            width=width,
        )
        np.testing.assert_array_equal(got.gradients, [*range(0, A, every), A])
        np.testing.assert_allclose(
            got.metrics["grad_norm"],
            norms(problem, expected[got.gradients]),
            rtol=1e-12,
        )
        np.testing.assert_allclose(got.params, expected[-1], rtol=1e-12)
        assert got.status == "ok"
        steps = np.concatenate([[0], np.cumsum(schedule.step)])
        np.testing.assert_array_equal(got.server_steps, steps[got.gradients])
        np.testing.assert_array_equal(
            got.time, np.append(0.0, schedule.time)[got.gradients]
        )


def test_logistic_equals_full_history():
    rng = np.random.default_rng(0)
    problem = ag.logistic_regression(
        rng.normal(size=(37, D)),
        rng.integers(0, 2, 37),
        N,
        partition=rng.permutation(np.arange(37) % N),
    )
    schedule = ag.simulate("shuffled_async", CLOCK, num_gradients=A)
    expected = naive_trajectory(schedule, logistic_gradient(problem), 0.5, np.ones(D))
    got = ag.run(problem, schedule, step_size=0.5, precision="float64")
    np.testing.assert_allclose(got.params, expected[-1], rtol=1e-12)


def test_one_slot_fewer_breaks_the_run(problem, monkeypatch):
    schedule = ag.simulate("shuffled_async", CLOCK, num_gradients=A)
    right = ag.run(problem, schedule, step_size=0.2, precision="float64").params

    def one_fewer(*args, **kwargs):
        plan = slots.plan_slots(*args, **kwargs)
        assert plan.num_slots > 1

        def merge(slot):
            return np.where(slot == 1, 0, slot)

        return dataclasses.replace(
            plan, read_slot=merge(plan.read_slot), write_slot=merge(plan.write_slot)
        )

    monkeypatch.setattr(layout, "plan_slots", one_fewer)
    wrong = ag.run(problem, schedule, step_size=0.2, precision="float64").params
    assert np.abs(wrong - right).max() > 1e-3


def test_lanes_equal_single_runs_beside_a_diverging_one(problem):
    schedule = ag.simulate("random_async", CLOCK, num_gradients=A)
    sizes = [0.1, 1e30, 0.2]
    together = ag.run(problem, schedule, step_size=sizes, precision="float64")
    assert together.status.tolist() == ["ok", "nonfinite", "ok"]
    assert together.first_bad_record[[0, 2]].tolist() == [-1, -1]
    bad = together.first_bad_record[1]
    assert 0 < bad < A
    assert np.isfinite(together.metrics["grad_norm"][:bad, 1]).all()
    for lane in (0, 2):
        alone = ag.run(problem, schedule, step_size=sizes[lane], precision="float64")
        np.testing.assert_allclose(
            together.metrics["loss"][:, lane], alone.metrics["loss"], rtol=1e-12
        )


def test_no_recompile_with_other_values(problem):
    clock = ag.compute_times.exponential(np.ones(N))
    first = ag.simulate("pure_async", clock, num_gradients=A, seed=1)
    other = ag.simulate("pure_async", clock, num_gradients=A, seed=2)
    ag.run(problem, first, step_size=[0.1, 0.2], record_every=10)
    before = engine.advance._cache_size()
    ag.run(problem, other, step_size=[0.3, 0.4], record_every=10, seed=5)
    ag.run(
        problem, other, step_size=[0.3, 0.4], record_every=10, init_params=np.ones(D)
    )
    assert engine.advance._cache_size() == before
    ag.run(problem, other, step_size=[0.3, 0.4, 0.5], record_every=10)
    assert engine.advance._cache_size() == before + 1


def test_precision_is_an_argument(problem):
    schedule = ag.simulate("pure_async", CLOCK, num_gradients=A)
    single = ag.run(problem, schedule, step_size=0.1)
    double = ag.run(problem, schedule, step_size=0.1, precision="float64")
    assert single.params.dtype == np.float32
    assert double.params.dtype == np.float64
    assert jnp.ones(1).dtype == jnp.float32, "the user's flag is left alone"
    difference = np.abs(single.params - double.params).max()
    assert 0 < difference < 1e-5


def momentum_oracle(schedule, problem, step_size, momentum):
    velocity = np.zeros(D)

    history = [problem.init_params()]
    direction = np.zeros(D)
    gradient = quadratic_gradient(problem)
    for i, pi, w, s in zip(
        schedule.worker, schedule.read, schedule.weight, schedule.step, strict=True
    ):
        direction = direction + w * gradient(history[pi], i, 0)
        if s:
            velocity = direction + momentum * velocity
            history.append(history[-1] - step_size * velocity)
            direction = np.zeros(D)
    return history[-1]


@pytest.mark.parametrize("name", ["pure_async", "fedbuff"])
@pytest.mark.parametrize("width", [1, 4])
def test_optax_server_with_traced_hyperparameters(problem, name, width):
    schedule = ag.simulate(name, CLOCK, num_gradients=A)
    got = ag.run(
        problem,
        schedule,
        step_size=[0.05, 0.1],
        hyperparameters={"momentum": [0.0, 0.5]},
        server=lambda step_size, momentum: optax.sgd(step_size, momentum),
        precision="float64",
        width=width,
    )
    for lane, (step_size, momentum) in enumerate([(0.05, 0.0), (0.1, 0.5)]):
        expected = momentum_oracle(schedule, problem, step_size, momentum)
        np.testing.assert_allclose(got.params[lane], expected, rtol=1e-12)


def test_server_gets_delay_worker_and_time(problem):
    """A delay-adaptive server equals the algorithm whose weights are delay-adaptive."""
    schedule = ag.simulate("delay_adaptive", CLOCK, num_gradients=A)
    plain = ag.Schedule.from_arrays(
        schedule.worker, schedule.read, time=schedule.time, num_workers=N
    )
    concurrency = schedule.concurrency_max

    def server(step_size):
        def update(updates, state, params=None, *, delay, worker, time):
            del params
            bounded = jnp.maximum(concurrency, delay).astype(time.dtype)
            scale = concurrency / bounded
            seen = state + jnp.stack([worker.astype(time.dtype), time])
            return jax.tree.map(lambda g: -step_size * scale * g, updates), seen

        return optax.GradientTransformationExtraArgs(
            lambda params: jnp.zeros(2, params.dtype), update
        )

    got = ag.run(problem, plain, step_size=0.2, server=server, precision="float64")
    want = ag.run(problem, schedule, step_size=0.2, precision="float64")
    assert (schedule.weight < 1).any()
    np.testing.assert_allclose(got.params, want.params, rtol=1e-12)


def test_user_metrics_and_pytree_parameters():
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(20, 2)), "y": rng.normal(size=20)}

    def loss(params, batch):
        hidden = jnp.tanh(batch["x"] @ params["w"])
        return (hidden @ params["v"] - batch["y"]) ** 2

    start = {"w": rng.normal(size=(2, 3)), "v": rng.normal(size=3)}
    problem = ag.from_loss(loss, start, data, num_workers=N)
    schedule = ag.simulate("fedbuff", CLOCK, num_gradients=A)
    got = ag.run(
        problem,
        schedule,
        step_size=0.05,
        metrics={"size": lambda params: jnp.sum(params["v"] ** 2)},
        precision="float64",
    )
    np.testing.assert_allclose(got.metrics["size"][0], np.sum(start["v"] ** 2))
    np.testing.assert_allclose(got.metrics["size"][-1], np.sum(got.params["v"] ** 2))
    assert got.metrics["loss"][-1] < got.metrics["loss"][0]
    waves = ag.run(problem, schedule, step_size=0.05, precision="float64", width=8)
    np.testing.assert_allclose(waves.params["w"], got.params["w"], rtol=1e-12)


def test_own_metrics_of_any_kind(problem, tmp_path):
    """Undefined ones leave the run well; bfloat16, which no file knows, is widened."""
    metrics = {
        "undefined": lambda x: jnp.log(-1 - jnp.sum(x**2)),
        "short": lambda x: x[0].astype(jnp.bfloat16),
        "sign": lambda x: x[0] > 0,
    }
    got = ag.sweep(
        problem,
        algorithms="pure_async",
        compute_times=CLOCK,
        step_sizes=[0.1],
        num_gradients=A,
        metrics=metrics,
        directory=tmp_path,
    )
    assert np.isnan(got["undefined"]).all() and not got["status"].any()
    assert got["short"].dtype == np.float32 and got["sign"].dtype == np.bool_
    assert np.isfinite(ag.best(got, "loss")["value"]).all()


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("server", [None, lambda step_size: optax.sgd(step_size)])
def test_empty_leaves(width, server):
    """As in a model without one of its parts."""

    def loss(params, rows):
        return (rows @ params["w"] - 1.0) ** 2

    rows = np.random.default_rng(0).normal(size=(12, 3))
    schedule = ag.simulate("fedbuff", ag.compute_times.fixed([1, 2]), num_gradients=30)
    got = []
    for more in ({}, {"none": np.zeros((0, 4))}):
        start = {"w": np.zeros(3), **more}
        problem = ag.from_loss(loss, start, rows, num_workers=2)
        got.append(ag.run(problem, schedule, step_size=0.1, width=width, server=server))
        assert {k: v.shape for k, v in got[-1].params.items()} == {
            k: v.shape for k, v in start.items()
        }
        np.testing.assert_array_equal(got[-1].params["w"], got[0].params["w"])
    assert got[0].params["w"].all()


def test_noise_follows_seed_worker_and_draw():
    problem = ag.quadratic(N, D, noise=1.0)
    schedule = ag.simulate("pure_async", CLOCK, num_gradients=A)
    options = dict(step_size=[0.1, 0.1], precision="float64")
    one = ag.run(problem, schedule, seed=1, **options).params
    np.testing.assert_array_equal(one[0], one[1])
    again = ag.run(problem, schedule, seed=1, **options).params
    np.testing.assert_array_equal(one, again)
    other = ag.run(problem, schedule, seed=2, **options).params
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("order", ["same", "random", "shuffled"])
def test_numpy_event_loop_agrees(order):
    """The benchmark's baseline computes the same thing as the engine."""
    rng = np.random.default_rng(0)
    problem = ag.logistic_regression(
        rng.normal(size=(20, D)), rng.integers(0, 2, 20), N, strength=0.1
    )
    durations = rng.exponential(size=(N, 8))
    events = []
    sizes = [0.1, 0.3]
    last = numpy_event_loop(
        problem.features,
        problem.labels,
        durations,
        step_sizes=sizes,
        num_gradients=A,
        order=order,
        log=events,
    )
    worker, read = zip(*events, strict=True)
    schedule = ag.Schedule.from_arrays(worker, read, num_workers=N)
    got = ag.run(problem, schedule, step_size=sizes, precision="float64")
    np.testing.assert_allclose(got.params, last, rtol=1e-12)
    if order == "same":
        clock = ag.compute_times.fixed(range(1, N + 1))
        fixed = np.arange(1.0, N + 1)[:, None]
        events.clear()
        numpy_event_loop(
            problem.features,
            problem.labels,
            fixed,
            step_sizes=sizes,
            num_gradients=A,
            log=events,
        )
        schedule = ag.simulate("pure_async", clock, num_gradients=A)
        np.testing.assert_array_equal(np.array(events)[:, 0], schedule.worker)
        np.testing.assert_array_equal(np.array(events)[:, 1], schedule.read)
