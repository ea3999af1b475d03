"""Gradients per second of the engine against what could be written by hand.

All in one process, float32, warm, interleaved medians; the same schedule on both sides.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import threadpoolctl
from jax import lax

import asgrad_jax as ag
from asgrad_jax.run.execute import Experiment, execute
from benchmarks.numpy_loop import numpy_event_loop

STRENGTH = 0.1


def setting(n, m, d, *, arrivals, schedules=1):
    """A logistic problem and shuffled schedules with speeds 1..n."""
    rng = np.random.default_rng(0)
    problem = ag.logistic_regression(
        rng.normal(size=(n * m, d)), np.sign(rng.normal(size=n * m)), n
    )
    clock = ag.compute_times.normal(range(1, n + 1))
    return problem, [
        ag.simulate("shuffled_async", clock, num_gradients=arrivals, seed=seed)
        for seed in range(schedules)
    ]


def engine_run(problem, schedules, lanes):
    """The engine, no metrics but at the ends."""

    experiment = Experiment(
        problem=problem,
        params=problem.init_params(),
        record_every=len(schedules[0]),
    )
    hyper = {"step_size": np.full(lanes, 0.01)}

    def go():
        execute(experiment, schedules, range(len(schedules)), hyper)

    return go


def bare_scan(problem, schedule, lanes, *, products_only=False):
    """A hand-written scan of the same arithmetic, the data already on the device."""
    plan = ag.plan_slots(schedule)
    _, m, d = problem.features.shape
    features, labels = (
        jnp.asarray(a, jnp.float32) for a in (problem.features, problem.labels)
    )
    rows = tuple(
        jnp.asarray(a, jnp.int32)
        for a in (schedule.worker, plan.read_slot[:, 0], plan.write_slot[:, 0])
    )
    steps = jnp.full((lanes, 1), 0.01, jnp.float32)

    @jax.jit
    def scan(features, labels, rows):
        start = jnp.ones((lanes, d), jnp.float32)

        def products(x, row):
            a = features[row[0]]
            return (x @ a.T) @ a, None

        def arrival(carry, row):
            x, buffer = carry
            worker, read, write = row
            at, a, b = buffer[read], features[worker], labels[worker]
            residual = jax.nn.sigmoid(-(at @ a.T) * b) * (-b / m)
            g = residual @ a + 2 * STRENGTH * at / jnp.square(1 + at * at)
            x = x - steps * g
            return (x, buffer.at[write].set(x)), None

        if products_only:
            return lax.scan(products, start, rows)[0]
        buffer = jnp.repeat(start[None], plan.num_slots + 1, axis=0)
        return lax.scan(arrival, (start, buffer), rows)[0][0]

    return lambda: scan(features, labels, rows).block_until_ready()


def numpy_run(problem, lanes, arrivals):
    """The NumPy event loop on one thread; its durations are drawn beforehand."""
    features, labels = (
        np.asarray(a, np.float32) for a in (problem.features, problem.labels)
    )
    n = len(features)
    means = np.arange(1.0, n + 1)[:, None]
    rng = np.random.default_rng(0)
    durations = np.abs(rng.normal(means, means, (n, 1000))) + 1
    steps = np.full(lanes, 0.01, np.float32)

    def go():
        with threadpoolctl.threadpool_limits(1, "blas"):
            numpy_event_loop(
                features,
                labels,
                durations,
                step_sizes=steps,
                num_gradients=arrivals,
                order="shuffled",
            )

    return go


def test_small_one_lane(versus):
    """n=10, m=200, d=60, one step size: engine, bare scan, NumPy event loop."""
    arrivals = 20_000
    problem, [schedule] = setting(10, 200, 60, arrivals=arrivals)
    versus(
        {
            "engine": (engine_run(problem, [schedule], 1), arrivals),
            "bare scan": (bare_scan(problem, schedule, 1), arrivals),
            "NumPy event loop": (numpy_run(problem, 1, arrivals), arrivals),
        },
        targets={"bare scan": 0.9, "NumPy event loop": 2.0},
    )


def test_small_step_sizes(versus):
    """n=10, m=200, d=60, 32 step sizes on one schedule and on 8."""
    arrivals = 5_000
    problem, schedules = setting(10, 200, 60, arrivals=arrivals, schedules=8)
    lanes = 32
    versus(
        {
            "engine, 32 x 1": (
                engine_run(problem, schedules[:1], lanes),
                lanes * arrivals,
            ),
            "NumPy one at a time": (numpy_run(problem, 1, arrivals), arrivals),
            "NumPy vectorised": (numpy_run(problem, lanes, arrivals), lanes * arrivals),
            "bare scan": (bare_scan(problem, schedules[0], lanes), lanes * arrivals),
        },
        targets={"NumPy one at a time": 10.0, "NumPy vectorised": 1.0},
    )
    versus(
        {
            "engine, 32 x 8": (
                engine_run(problem, schedules, lanes),
                8 * lanes * arrivals,
            ),
            "engine, 32 x 1": (
                engine_run(problem, schedules[:1], lanes),
                lanes * arrivals,
            ),
        },
        targets={"engine, 32 x 1": 0.85},
        rounds=5,
    )


@pytest.mark.parametrize("lanes", [100])
def test_w7a_sized_dense(versus, lanes):
    """n=10, m=2460, d=300 dense, 100 step sizes: engine against bare products."""
    arrivals = 500
    problem, [schedule] = setting(10, 2460, 300, arrivals=arrivals)
    work = lanes * arrivals
    versus(
        {
            "engine": (engine_run(problem, [schedule], lanes), work),
            "matrix products": (
                bare_scan(problem, schedule, lanes, products_only=True),
                work,
            ),
        },
        targets={"matrix products": 0.8},
        rounds=5,
    )
