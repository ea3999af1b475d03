"""What the registry and the docstrings promise, for every algorithm at once."""

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.problems.quadratic import Quadratic

algorithms, compute_times = ag.algorithms, ag.compute_times
NAMES = algorithms.names()
N = 4
SPEEDS = np.array([1.0, 2.0, 3.0, 7.0])
LIMITS = SPEEDS * [0.5, 1.0, 2.0, 1.0]
UNBIASED = {
    **{name: name for name in NAMES if algorithms.properties(name).unbiased},
    "rescaled, known": algorithms.rescaled(SPEEDS),
    "routed": algorithms.generalized_async([0.1, 0.2, 0.3, 0.4]),
    "fedbuff of 3": algorithms.fedbuff(3),
    "malenia of 9": algorithms.malenia(9, restart=False),
    "shuffled minibatch": algorithms.minibatch_sampled(3, order="shuffled"),
    "vecna, limits": algorithms.vecna(
        (2, 3, 1, 1), LIMITS, 1 - np.exp(-LIMITS / SPEEDS)
    ),
}


def test_unbiased_methods_hear_every_worker_equally():
    """With f_i(x) = -x_i (nearly) gradients of i are -e_i, and x_i counts i's part."""
    result = (
        ag.sweep(
            Quadratic.from_arrays(np.full((1, N), 1e-12), np.eye(N)),
            algorithms=UNBIASED,
            compute_times=compute_times.exponential(SPEEDS),
            step_sizes=[1.0],
            num_gradients=20_000,
            record_every=20_000,
            precision="float64",
            metrics={f"x{i}": lambda x, i=i: x[i] for i in range(N)},
        )
        .isel(record=-1)
        .squeeze()
    )
    for name in UNBIASED:
        moved = np.array([float(result[f"x{i}"].sel(algorithm=name)) for i in range(N)])
        np.testing.assert_allclose(moved / moved.mean(), 1, atol=0.06, err_msg=name)


def test_no_default_for_heterogeneous_data_does_worse_than_pure():
    """Speeds of 1 to 64, where pure ends far from the stationary point of f."""
    named = [
        name for name in NAMES if algorithms.properties(name).data != "homogeneous"
    ]
    end = ag.sweep(
        ag.quadratic(8, 5, heterogeneity=1.0, seed=2),
        algorithms=["pure_async", *named],
        compute_times=compute_times.exponential(np.arange(1.0, 9.0) ** 2),
        step_sizes=[0.02],
        num_gradients=40_000,
        record_every=40_000,
        precision="float64",
    )["grad_norm"].squeeze()
    start, end = end.isel(record=0, algorithm=0), end.isel(record=-1)
    pure = end.sel(algorithm="pure_async")
    for name in named:
        assert end.sel(algorithm=name) < 0.5 * min(start, pure), name


@pytest.mark.parametrize(
    "name", [name for name in NAMES if algorithms.properties(name).bounded_delay]
)
def test_bounded_delays_are_bounded_whatever_the_times(name):
    """n - 1 for Ringmaster, 2 n - 2 for Ringleader, 0 where the server waits."""
    bound = {
        "ringmaster": N - 1,
        "ringmaster_stops": N - 1,
        "async_local": N - 1,
        "ringmaster_normalised": N - 1,
        "ringmaster_muon": N - 1,
        "ringleader": 2 * N - 2,
        "constant_delay": N // 2,
        "stale_synchronous": (N - 1) * (2 * 3 + 1),  # s = 3
    }
    for clock in (
        compute_times.fixed([1.0, 1.0, 1.0, 500.0]),
        compute_times.pareto(SPEEDS, alpha=1.2),
        compute_times.fixed([1.0] * N),
    ):
        schedule = ag.simulate(name, clock, num_gradients=2_000)
        assert schedule.delay.max() <= bound.get(name, 0)


def test_the_delay_is_one_less_than_the_arrivals_since_the_last_one():
    """What `delay_adaptive` says of the count in Mishchenko's notebook."""
    schedule = ag.simulate(
        "pure_async", compute_times.pareto(SPEEDS), num_gradients=500
    )
    for i in range(N):
        rows = np.flatnonzero(schedule.worker == i)
        np.testing.assert_array_equal(np.diff(rows) - 1, schedule.delay[rows[1:]])


def test_the_two_forms_of_delay_adaptive_steps_are_one_number():
    schedule = ag.simulate(
        "delay_adaptive", compute_times.pareto(SPEEDS), num_gradients=500
    )
    factor = np.minimum(1, N / np.maximum(schedule.delay, 1))
    np.testing.assert_allclose(schedule.weight, factor, rtol=1e-15)


def test_mindflayers_rounds_are_right_on_average():
    """1 / sum_i p_i B_i: the step is that of one gradient in expectation."""
    success = 1 - np.exp(-LIMITS / SPEEDS)
    schedule = ag.simulate(
        algorithms.mindflayer(3, LIMITS, success),
        compute_times.exponential(SPEEDS),
        num_gradients=20_000,
    )
    rounds = schedule.num_steps
    each = np.bincount(schedule.worker, schedule.weight, N) / rounds
    np.testing.assert_allclose(each, success / success.sum(), atol=0.01)
