"""Special cases that every asynchronous method must reduce to."""

import numpy as np
import pytest

import asgrad_jax as ag

D = 4
OPTIONS = dict(step_size=0.3, precision="float64")


# What has other steps with one worker: weights below one, a delay of one, deadlines,
# Nesterov's momentum, mixing, steps of fixed length or by Polyak's rule.
OTHER_STEPS = {
    *("wu_adaptive_1", "adadelay", "constant_delay", "deadline", "delayed_nesterov"),
    *("fedasync", "delayed_polyak", "ringmaster_normalised", "ringmaster_muon"),
    "ringmaster_agnostic",
}


def sgd(problem, workers, step_size, steps_of=1, radius=np.inf, momentum=0.0):
    """Sequential SGD: a step after the mean of every `steps_of` gradients."""

    def clip(g):
        return g * min(1.0, radius / np.linalg.norm(g))

    x, u = problem.init_params(), 0.0
    for group in np.reshape(workers, (-1, steps_of)):
        gradients = [problem.hessian[i] @ x - problem.linear[i] for i in group]
        u = momentum * u + np.mean([clip(g) for g in gradients], axis=0)
        x = x - step_size * u
    return x


@pytest.fixture(scope="module")
def one_worker():
    return ag.quadratic(1, D, heterogeneity=0.0)


@pytest.mark.parametrize("name", sorted({*ag.algorithms.names()} - OTHER_STEPS))
def test_one_worker_is_sgd(one_worker, name):
    """With one worker nobody overtakes anybody: plain sequential gradient descent.

    The arrival that fills a table of gradients makes no step.
    """
    problem = one_worker
    clock = ag.compute_times.exponential([2.0])
    algorithm = ag.algorithms.get(name)
    schedule = ag.simulate(algorithm, clock, num_gradients=40)
    b = getattr(algorithm.resolve(1), "gradients_per_step", 1)
    got = ag.run(problem, schedule, **OPTIONS)
    filling = int(name in ("ia2sgd", "dude_asgd", "ace", "aced"))
    assert schedule.num_steps == 40 // b - filling
    if b == 1:
        assert (schedule.delay == 0).all()
        radius = 1.0 if "clip" in name else np.inf
        beta = 0.9 if name in ("async_momentum", "ormo") else 0.0
        zeros = np.zeros(40 - filling, int)
        expected = sgd(problem, zeros, 0.3, radius=radius, momentum=beta)
        np.testing.assert_allclose(got.params, expected, rtol=1e-12)


@pytest.mark.parametrize("mean", [np.ones(5), np.arange(1.0, 6.0)])
def test_waiting_for_all_is_gradient_descent(mean):
    problem = ag.quadratic(5, D)
    schedule = ag.simulate(
        ag.algorithms.pure_waiting(gradients_per_step="all"),
        ag.compute_times.fixed(mean),
        num_gradients=50,
    )
    got = ag.run(problem, schedule, **OPTIONS)
    expected = sgd(problem, np.tile(np.arange(5), 10), 0.3, steps_of=5)
    np.testing.assert_allclose(got.params, expected, rtol=1e-12)
    same = ag.simulate("minibatch", ag.compute_times.fixed(mean), num_gradients=50)
    assert same == schedule
    np.testing.assert_array_equal(
        schedule.time[schedule.step], mean.max() * np.arange(1, 11)
    )


def test_shuffled_with_concurrency_one_is_random_reshuffling():
    problem = ag.quadratic(5, D)
    clock = ag.compute_times.exponential(np.arange(1.0, 6.0))
    schedule = ag.simulate("random_reshuffling", clock, num_gradients=50, seed=2)
    epochs = schedule.worker.reshape(-1, 5)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(5), (10, 1)))
    assert len(np.unique(epochs, axis=0)) > 1
    got = ag.run(problem, schedule, **OPTIONS)
    np.testing.assert_allclose(
        got.params, sgd(problem, schedule.worker, 0.3), rtol=1e-12
    )


def test_infinite_max_delay_is_none():
    clock = ag.compute_times.exponential(np.arange(1.0, 6.0))
    limited = ag.Algorithm(name="limited", max_delay=10**9)
    assert ag.simulate(limited, clock, num_gradients=200) == ag.simulate(
        "pure_async", clock, num_gradients=200
    )
