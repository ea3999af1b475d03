"""The same data on every worker, kept once: as if each had a copy."""

import jax
import numpy as np
import pytest

import asgrad_jax as ag

ROWS = np.random.default_rng(0).normal(size=(12, 3))
TARGETS = ROWS @ np.ones(3) + 0.1 * np.arange(12)
N = 5
SHARED = ag.problems.shared_data(
    ag.problems.least_squares(ROWS, TARGETS, 1, batch_size=4), N
)


def copies(**given):
    tiled = np.tile(ROWS, (N, 1)), np.tile(TARGETS, N)
    return ag.problems.least_squares(*tiled, N, **given)


def test_constants_and_metrics_are_those_of_copies():
    one, other = ag.theory.constants(SHARED), ag.theory.constants(copies(batch_size=4))
    for name in ("smoothness", "smoothness_max", "noise_sq", "gap", "strong_convexity"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-6)
    assert one.num_workers == N and one.zeta_sq < 1e-20
    assert one.smooth.certainty == "exact" and one.noise.exact
    x = np.ones((2, 3)) * [[0.5], [2.0]]
    for name, value in copies().metrics(x).items():
        np.testing.assert_allclose(SHARED.metrics(x)[name], value, rtol=1e-5)
    gradients = SHARED.local_gradients(x[0])
    np.testing.assert_allclose(gradients, copies().local_gradients(x[0]), rtol=1e-5)


def test_full_gradients_give_the_run_of_copies():
    alone = ag.problems.shared_data(ag.problems.least_squares(ROWS, TARGETS, 1), N)
    times = ag.compute_times.exponential(range(1, N + 1))
    schedule = ag.simulate("pure_async", times, num_gradients=60)
    runs = [ag.run(p, schedule, step_size=0.05) for p in (alone, copies())]
    np.testing.assert_allclose(runs[0].params, runs[1].params, rtol=1e-4)


def test_every_worker_and_job_has_a_batch_of_its_own():
    key = jax.random.key(3)
    drawn = {
        tuple(np.sort(SHARED.sample(np.int32(worker), np.int32(job), key)).tolist())
        for worker in range(N)
        for job in range(8)
    }
    assert len(drawn) > 30  # of 495
    assert all(len(set(rows)) == 4 and max(rows) < 12 for rows in drawn)
    again = SHARED.sample(np.int32(2), np.int32(5), key)
    assert np.array_equal(again, SHARED.sample(np.int32(2), np.int32(5), key))


def test_waves_of_workers_change_nothing():
    times = ag.compute_times.fixed([1.0] * N)
    schedule = ag.simulate("minibatch", times, num_gradients=50)
    runs = [
        ag.run(SHARED, schedule, step_size=[0.02, 0.05], width=width)
        for width in (1, N)
    ]
    np.testing.assert_allclose(runs[0].params, runs[1].params, rtol=1e-5)


def test_a_problem_of_several_workers_is_refused():
    with pytest.raises(ValueError, match=r"must be of one worker.* got one of 5"):
        ag.problems.shared_data(copies(), 3)
    with pytest.raises(TypeError, match="problem must be"):
        ag.problems.shared_data(3, 3)
