"""Local SGD steps inside a job, against a loop that says what they are."""

import copy
import pickle

import jax
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.problems.problem import gradient_cost
from helpers.reference import naive_trajectory, quadratic_gradient

N, D, A = 4, 3, 30
CLOCK = ag.compute_times.exponential(range(1, N + 1))


@pytest.fixture(scope="module")
def problem():
    return ag.quadratic(N, D, heterogeneity=2.0, seed=3)


def test_a_job_is_local_sgd(problem):
    """FedBuff with Q = 3: x <- x - eta_g / K sum (y_0 - y_Q), eta_g eta_l = gamma."""
    steps, eta = 3, 0.05
    gradient = quadratic_gradient(problem)

    def report(x, worker, job):
        y = x
        for q in range(steps):
            y = y - eta * gradient(y, worker, job * steps + q)
        return (x - y) / eta

    schedule = ag.simulate("fedbuff", CLOCK, num_gradients=A)
    inside = ag.local_steps(problem, steps, eta)
    got = ag.run(inside, schedule, step_size=0.1, precision="float64")
    expected = naive_trajectory(schedule, report, 0.1, problem.init_params())
    np.testing.assert_allclose(got.params, expected[-1], rtol=1e-12)
    mean = expected @ problem.mean_hessian - problem.mean_linear
    np.testing.assert_allclose(
        got.metrics["grad_norm"], np.linalg.norm(mean, axis=1), rtol=1e-10
    )


def test_one_local_step_is_the_problem_inside():
    noisy = ag.quadratic(N, D, noise=0.5, seed=1)
    schedule = ag.simulate("random_async", CLOCK, num_gradients=A)
    options = dict(step_size=[0.05, 0.1], seed=4, precision="float64")
    one = ag.run(ag.local_steps(noisy, 1, 7.0), schedule, **options)
    want = ag.run(noisy, schedule, **options)
    np.testing.assert_allclose(one.params, want.params, rtol=1e-13)


def test_samples_are_those_of_the_local_steps():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(40, 5)), rng.integers(0, 2, 40)
    inside = ag.logistic_regression(rows, labels, N, batch_size=3)
    problem = ag.local_steps(inside, 4, 0.1)
    x, key = rng.normal(size=(2, 5)), jax.random.key(3)
    assert problem.sample(1, 2, key).shape == (4, 3)
    for worker, job in [(0, 0), (2, 7)]:
        got = problem.gradients(x, worker, job, key)
        y = x
        for q in range(4):
            y = y - 0.1 * inside.gradients(y, worker, 4 * job + q, key)
        np.testing.assert_allclose(got, (x - y) / 0.1, rtol=1e-5)


def test_costs_are_those_of_one_local_gradient(problem):
    rows = ag.logistic_regression(np.eye(8), [1, -1] * 4, N, batch_size=2)
    outside = ag.local_steps(rows, 3, 0.1)
    assert outside.cost(5) == rows.cost(5)
    without = ag.local_steps(problem, 3, 0.1)
    assert without.cost(5) == gradient_cost(problem, 5)


def test_local_steps_draw_fresh_noise():
    """Without curvature the report is the sum of Q independent noises."""
    sigma, steps = 1.0, 4
    flat = ag.quadratic(
        1,
        400,
        mu=1e-6,
        smoothness=1e-6,
        heterogeneity=0,
        noise=sigma,
        same_hessian=True,
    )
    schedule = ag.Schedule.from_arrays(worker=[0] * 200, read=range(200))
    inside = ag.local_steps(flat, steps, 1e-9)
    got = ag.run(inside, schedule, step_size=1.0, precision="float64")
    # 200 Q independent N(0, sigma^2 / d I) in all: squared norm about 200 Q sigma^2.
    squared = np.square(got.params).sum()
    expected = 200 * steps * sigma**2
    assert abs(squared / expected - 1) < 4 * np.sqrt(2 / 400)


@pytest.mark.parametrize(
    ("steps", "size", "error", "message"),
    [
        (0, 0.1, ValueError, "num_steps must be an integer >= 1, got 0"),
        (1.5, 0.1, TypeError, "num_steps must be an integer >= 1, got 1.5"),
        (True, 0.1, TypeError, "num_steps must be an integer >= 1, got True"),
        (2, 0.0, ValueError, "step_size must be a finite number > 0, got 0.0"),
        (2, float("nan"), ValueError, "step_size must be a finite number > 0, got nan"),
        (2, ["a", "b"], TypeError, "step_size must be real numbers"),
        (2, "a", TypeError, "step_size must be a finite number > 0, got 'a'"),
    ],
)
def test_bad_input(problem, steps, size, error, message):
    with pytest.raises(error, match=message):
        ag.local_steps(problem, steps, size)


def test_no_problem():
    with pytest.raises(TypeError, match=r"ag\.local_steps returned, .*, got int"):
        ag.local_steps(3, 1, 0.1)


def test_the_step_size_is_read_only(problem):
    made = ag.local_steps(problem, 2, 0.1)
    for one in (made, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        with pytest.raises(ValueError, match="read-only"):
            one.step_size[...] = 0.5


def test_every_worker_has_its_number_of_steps(problem):
    """DyLU: worker i makes Q_i steps, with momentum and a size for each of them."""
    counts, sizes, beta = ag.problems.dylu_steps(4, [1.0, 0.5, 0.4, 0.1]), None, 0.5
    assert counts == (4, 2, 1, 1)
    sizes = [0.08, 0.04, 0.02, 0.01]
    gradient = quadratic_gradient(problem)

    def report(x, worker, job):
        y, v = x, 0.0
        for q in range(counts[worker]):
            v = beta * v + gradient(y, worker, job)
            y = y - sizes[q] * v
        return (x - y) / sizes[0]

    times = ag.compute_times.repeated(CLOCK, counts)
    np.testing.assert_allclose(times.mean_durations, CLOCK.mean_durations * counts)
    schedule = ag.simulate("delayed_nesterov", times, num_gradients=A)
    inside = ag.local_steps(problem, counts, sizes, momentum=beta)
    for width in (1, 3):
        got = ag.run(inside, schedule, step_size=0.1, precision="float64", width=width)
        expected = naive_trajectory(schedule, report, 0.1, problem.init_params())
        np.testing.assert_allclose(got.params, expected[-1], rtol=1e-11)


def test_a_random_number_of_steps_is_uniform_and_named_by_the_job(problem):
    """Full gradients, so the report tells how many steps were made."""
    inside = ag.local_steps(problem, [3, 3, 5, 1], 0.1, random=True)
    key = jax.random.key(1)
    x = np.ones((1, D))
    counts = np.zeros((N, 6), int)
    for worker in range(N):
        draw = jax.vmap(lambda job, i=worker: inside.sample(i, job, key)[1])
        made = np.asarray(draw(np.arange(600)))
        assert (made == np.asarray(draw(np.arange(600)))).all()
        counts[worker] = np.bincount(made, minlength=6)
    for worker, most in enumerate([3, 3, 5, 1]):
        assert (counts[worker, 1 : most + 1] > 600 / most - 80).all()
        assert counts[worker].sum() == counts[worker, 1 : most + 1].sum() == 600
    job = next(j for j in range(99) if int(inside.sample(2, j, key)[1]) == 2)
    with_two = ag.local_steps(problem, 2, 0.1).gradients(x, 2, job, key)
    np.testing.assert_allclose(inside.gradients(x, 2, job, key), with_two, rtol=1e-6)


def test_numbers_of_steps_that_do_not_fit(problem):
    with pytest.raises(ValueError, match="num_steps must be one number, or one for"):
        ag.local_steps(problem, [1, 2], 0.1)
    with pytest.raises(ValueError, match="momentum must be below 1, got 1"):
        ag.local_steps(problem, 2, 0.1, momentum=1.0)
    with pytest.raises(ValueError, match="one for each of the 2 local steps, got 1"):
        ag.local_steps(problem, 2, [0.1])
    with pytest.raises(ValueError, match="counts must be one number, or one for each"):
        ag.compute_times.repeated(CLOCK, [1])
