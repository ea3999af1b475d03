"""The columns beyond plain arrivals: gradient tables, clipping, accept distances."""

import dataclasses

import jax
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.engine.arrival import clip
from asgrad_jax.schedules.gradient_table import GradientTable
from helpers.reference import naive_trajectory, quadratic_gradient

N, D, A = 4, 3, 40
CLOCK = ag.compute_times.exponential(range(1, N + 1))


@pytest.fixture(scope="module")
def problem():
    return ag.quadratic(N, D, heterogeneity=2.0, seed=3)


def oracle(problem, schedule, step_size):
    """The rules of `Schedule` and `GradientTable`, by the letter, with full history."""
    return naive_trajectory(
        schedule, quadratic_gradient(problem), step_size, problem.init_params()
    )[-1]


def random_table(rng):
    return GradientTable.from_arrays(
        rng.integers(0, 2 * N, A),
        gain=rng.normal(size=(A, 2)),
        carry=rng.normal(size=(A, 2)),
        keep=rng.uniform(size=A),
        readout=rng.normal(size=(A, 2)),
        mix=rng.uniform(-0.5, 0.5, size=(A, 2, 2)),
        num_rows=2 * N,
    )


def check(problem, schedule, width):
    expected = oracle(problem, schedule, 0.1)
    for every in (7, A):
        got = ag.run(
            problem,
            schedule,
            step_size=0.1,
            record_every=every,
            precision="float64",
            width=width,
        )
        np.testing.assert_allclose(got.params, expected, rtol=1e-11)


@pytest.mark.parametrize("name", ["pure_async", "fedbuff"])
@pytest.mark.parametrize("width", [1, 4])
def test_table(problem, name, width):
    schedule = ag.simulate(name, CLOCK, num_gradients=A)
    table = random_table(np.random.default_rng(0))
    check(problem, dataclasses.replace(schedule, table=table), width)


@pytest.mark.parametrize("name", ["pure_async", "fedbuff"])
@pytest.mark.parametrize("width", [1, 4])
def test_clip_and_accept(problem, name, width):
    rng = np.random.default_rng(1)
    schedule = dataclasses.replace(
        ag.simulate(name, CLOCK, num_gradients=A),
        clip=rng.choice([0.1, 1.0, np.inf], A),
        accept=rng.choice([0.0, 0.3, np.inf], A) if name == "pure_async" else None,
    )
    check(problem, schedule.validate(), width)


@pytest.mark.parametrize("size", [1e-30, 1e15, 1e25, 1.5e38])
def test_squares_of_what_is_clipped_may_overflow(size):
    """And vanish: in float32 those below 1e-19 do, and are not clipped."""
    gradients = {
        "a": np.array([[size, size]], "float32"),
        "b": np.array([[0, -2 * size, 0]], "float32"),
    }
    clipped = jax.tree.map(np.asarray, clip(gradients, 0.5))
    norm = np.sqrt(6) * size
    for name, leaf in gradients.items():
        wanted = leaf.astype(float) * min(1, 0.5 / norm)
        np.testing.assert_allclose(clipped[name], wanted, rtol=1e-6)


def test_distances_whose_squares_overflow(problem):
    """An iterate 3e20 away is nearer than 4e20 and not as near as 2e20."""
    far = ag.quadratic(1, 1, mu=1.0, smoothness=1.0, heterogeneity=0.0)
    schedule = ag.Schedule.from_arrays([0, 0], [0, 0])
    start = np.array([3e20])
    for threshold, steps in ((4e20, 2), (2e20, 1)):
        limited = dataclasses.replace(schedule, accept=np.array([np.inf, threshold]))
        got = ag.run(far, limited, step_size=1.0, init_params=start)
        np.testing.assert_allclose(got.params, start * (1 - steps), atol=1e14)


def test_the_mean_of_last_gradients(problem):
    """IA2SGD written as a table, against its own words."""
    schedule = ag.simulate("pure_async", CLOCK, num_gradients=A)
    schedule = dataclasses.replace(
        schedule,
        table=GradientTable.from_arrays(
            schedule.worker, gain=[1 / N, 0], carry=[-1 / N, 0], num_rows=N
        ),
    )
    history, last = [problem.init_params()], np.zeros((N, D))
    for i, read in zip(schedule.worker, schedule.read, strict=True):
        last[i] = problem.hessian[i] @ history[read] - problem.linear[i]
        history.append(history[-1] - 0.1 * last.mean(axis=0))
    got = ag.run(problem, schedule, step_size=0.1, precision="float64")
    np.testing.assert_allclose(got.params, history[-1], rtol=1e-12)


def test_lanes_accept_for_themselves(problem):
    schedule = ag.simulate("pure_async", CLOCK, num_gradients=A)
    schedule = dataclasses.replace(schedule, accept=np.full(A, 0.2))
    sizes = [0.01, 0.1, 0.5]
    got = ag.run(problem, schedule, step_size=sizes, precision="float64")
    for lane, step_size in enumerate(sizes):
        expected = oracle(problem, schedule, step_size)
        np.testing.assert_allclose(got.params[lane], expected, rtol=1e-12)
