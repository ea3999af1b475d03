"""Orders of the papers' theorems: values by hand, limits, and relations among them."""

import math

import numpy as np
import pytest

from asgrad_jax.theory.bounds import heterogeneous as own_data
from asgrad_jax.theory.bounds import homogeneous as shared
from asgrad_jax.theory.bounds import own_theorem as theorem


def test_values_by_hand():
    # eps = 1/4: 1/eps = 4, eps^{-3/2} = 8, 1/eps^2 = 16.
    eps = 0.25
    assert shared.constant_step_order(eps, 2.0, concurrency=2, tau_max=8) == 32 + 16
    assert (
        shared.constant_step_bounded_order(eps, 2.0, concurrency=2, gradient_bound=3.0)
        == 32 + 2 * 3 * 8 + 8
    )
    assert shared.delay_adaptive_order(eps, 2.0, concurrency=2) == 32 + 8
    assert shared.earlier_constant_step_order(eps, 2.0, tau_max=8) == 32 + 32
    assert shared.minibatch_order(eps, 2.0, num_workers=5) == 32 + 20
    # drift: sqrt(4 * mean(1 * 4, 3 * 4)) = sqrt(32)
    assert own_data.random_async_order(
        eps, 2.0, [1.0, 3.0], tau_avg_per_worker=[4.0, 4.0], tau_avg=4.0, tau_max=9.0
    ) == pytest.approx(16 * (2 + 2) + math.sqrt(32) * 8 + 6 * 4)
    assert (
        own_data.random_async_bounded_order(
            eps, 2.0, 3.0, tau_avg=2.0, gradient_bound=5.0
        )
        == 16 * 5 + 2 * 5 * 8 + 2 * 4
    )
    assert (
        own_data.fedbuff_order(eps, 2.0, 3.0, tau_max=2.0, gradient_bound=5.0)
        == 16 * 5 + 4 * 2 * 25 * 4
    )
    # The goal of clipping is the norm: e = 1/2.
    assert (
        own_data.clipped_order(0.5, 4.0, 9.0, concurrency=2) == 13 * 16 + 5 * 2 * 8 + 8
    )
    assert own_data.ringleader_time_order(
        [1.0, 3.0], eps, 2.0, smoothness=2.0, gap=3.0
    ) == pytest.approx(24 * (3 + 2 * 2 / (2 * eps)))
    assert own_data.gradient_table_time_order(
        [1.0, 3.0], eps, 2.0, smoothness=2.0, gap=3.0
    ) == pytest.approx(24 * 3 * (1 + 2 / (2 * eps)))
    assert shared.bounded_gradient_rate(
        27, 3.0, smoothness=1.0, gap=1.0, num_workers=9, gradient_bound=1.0
    ) == pytest.approx(1 / 3 + 4 / 9 + 1 / 27)
    assert shared.delay_adaptive_rate(
        25, 4.0, smoothness=1.0, gap=1.0, num_workers=5
    ) == pytest.approx(5 / 25 + 2 / 5)
    assert own_data.synchronous_restart_rate(
        9, 4.0, smoothness=1.0, gap=1.0, num_workers=4
    ) == pytest.approx(1 / 3 + 1 / 9)
    assert shared.delay_quantile_rate(16, 4.0, tau_q=6.0, q=0.25) == 6 / 4 + 2 / 2


def test_table_step_sizes_by_hand():
    assert own_data.ringleader_step_size(
        0.1, 2.0, smoothness=2.0, num_workers=4, harmonic_batch=3.0
    ) == pytest.approx(min(1 / 64, 0.3 / 40))
    found = own_data.gradient_table_step_size(
        2e6, smoothness=2.0, gap=3.0, num_workers=5, tau_max=7
    )
    assert found == pytest.approx(0.5 * math.sqrt(15 / (14 * 2e6)))
    with pytest.raises(
        ValueError, match="num_gradients must be at least 1024 L F_0 n tau_max"
    ):
        own_data.gradient_table_step_size(
            2e5, smoothness=2.0, gap=3.0, num_workers=5, tau_max=7
        )


def test_tree_count_covers_its_step_size():
    """4(R+1)L Delta/eps + 8 sigma^2 L Delta/eps^2 is at least 2 Delta/(gamma eps)."""
    for noise_sq in (0.0, 0.01, 5.0):
        for distance in (0, 1, 30):
            gamma = shared.tree_step_size(
                0.1, noise_sq, smoothness=2.0, tree_distance=distance
            )
            count = shared.tree_gradients(
                0.1, noise_sq, smoothness=2.0, gap=3.0, tree_distance=distance
            )
            needed = 2 * 3.0 / (gamma * 0.1)
            assert needed <= count <= 3 * needed
            assert gamma <= 1 / (2 * 2.0 * max(1, distance))


def test_delays_enter_as_the_theory_says():
    # At constant delays all three agree; one straggler hurts the earlier bound most.
    even = {"concurrency": 10, "tau_max": 10}
    assert shared.constant_step_order(0.1, 0.0, **even) == pytest.approx(
        shared.earlier_constant_step_order(0.1, 0.0, tau_max=10)
    )
    late = 10_000
    new = shared.constant_step_order(0.1, 0.0, concurrency=10, tau_max=late)
    old = shared.earlier_constant_step_order(0.1, 0.0, tau_max=late)
    adaptive = shared.delay_adaptive_order(0.1, 0.0, concurrency=10)
    assert adaptive < new < old
    assert new / adaptive == pytest.approx(math.sqrt(late / 10))
    assert old / new == pytest.approx(math.sqrt(late / 10))


def test_lemma_11_is_the_mean_of_the_slowest_draw():
    rng = np.random.default_rng(0)
    durations = rng.lognormal(size=7)
    asynchronous, minibatch = shared.seconds_per_gradients(durations, 3)
    draws = rng.choice(durations, size=(200_000, 3)).max(axis=1)
    error = draws.std() / math.sqrt(len(draws))
    assert abs(minibatch - draws.mean()) < 4 * error
    assert asynchronous == pytest.approx(durations.mean())
    # The worked example: 900 clients of 10 s, 100 of 60 s.
    clock = [10.0] * 900 + [60.0] * 100
    assert shared.seconds_per_gradients(clock, 10) == pytest.approx(
        (15.0, 42.566), 1e-4
    )


def test_the_step_size_limit_meets_its_conditions():
    for concurrency, flight, tau in [(1, 0, 1), (1, 0, 50), (10, 31, 10), (100, 9, 1)]:
        gamma = theorem.largest_step_size(
            2.0, concurrency=concurrency, flight_max=flight, chunk_length=tau
        )
        stale = 2.0 * gamma * math.sqrt((concurrency - 1) * flight)
        drift = 2.0 * gamma * tau
        assert drift <= 1 / 8 + 1e-15 and stale <= 1 / 16 + 1e-15
        assert drift == pytest.approx(1 / 8) or stale == pytest.approx(1 / 16)


@pytest.mark.parametrize(
    "call, name",
    [
        (
            lambda: shared.constant_step_order(0.0, 1.0, concurrency=1, tau_max=1),
            "eps",
        ),
        (lambda: shared.minibatch_order(0.1, 1.0, num_workers=0), "num_workers"),
        (lambda: shared.delay_quantile_rate(10, 1.0, tau_q=1.0, q=1.5), "q"),
        (lambda: shared.seconds_per_gradients([1.0, -1.0], 2), "durations"),
        (
            lambda: own_data.random_async_order(
                0.1, 0.0, [1.0], tau_avg_per_worker=[1.0, 2.0], tau_avg=1.0, tau_max=1.0
            ),
            "tau_avg_per_worker must have one number for each of the 1 workers",
        ),
        (
            lambda: own_data.random_async_order(
                0.1,
                0.0,
                np.ma.array([1.0], mask=[True]),
                tau_avg_per_worker=[1.0],
                tau_avg=1.0,
                tau_max=1.0,
            ),
            "zeta_sq_per_worker",
        ),
        (
            lambda: own_data.random_async_order(
                0.1, 0.0, [-1.0], tau_avg_per_worker=[1.0], tau_avg=1.0, tau_max=1.0
            ),
            "zeta_sq_per_worker",
        ),
        (
            lambda: own_data.clipped_order(0.1, 1.0, concurrency=math.nan),
            "concurrency",
        ),
        (
            lambda: own_data.ringleader_step_size(
                0.1, 1.0, smoothness=1.0, num_workers=2, harmonic_batch=0.5
            ),
            "harmonic_batch must be a finite number >= 1, got 0.5",
        ),
        (
            lambda: theorem.largest_step_size(0.0, concurrency=1, flight_max=1),
            "smoothness",
        ),
    ],
)
def test_bad_numbers_are_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        call()


def test_a_count_that_is_no_count_raises():
    with pytest.raises(TypeError, match="num_workers"):
        shared.minibatch_order(0.1, 1.0, num_workers=2.5)
