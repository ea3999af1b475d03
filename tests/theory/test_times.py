"""Times to eps: golden values, limits, and bounds against simulated rounds."""

import heapq
import math
from functools import partial

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax._util.checks import check_positive
from asgrad_jax.theory import predicted_times
from asgrad_jax.theory._inputs import mean_durations
from asgrad_jax.theory.bounds import round_times, times
from asgrad_jax.theory.bounds.arguments import sorted_durations

_GROUPS = [10.0] * 90 + [60.0] * 10
# durations, sigma^2/eps -> mini-batch, asynchronous, homogeneous (m*), heterogeneous,
# in the unit L Delta/eps = 1.
GOLDEN = [
    (np.arange(1, 11), 1, 11, 3.75559, 2, 1, 10.55),
    (np.arange(1, 11), 100, 110, 37.5559, 37.5559, 10, 65),
    (np.arange(1, 101), 100, 200, 38.5551, 32.5244, 32, 150.5),
    (np.arange(1, 101), 1e4, 10100, 1947.03, 1947.03, 100, 5150),
    (np.sqrt(np.arange(1, 101)), 100, 20, 10.7587, 10.7587, 100, 16.7146),
    (_GROUPS, 100, 120, 21.8182, 21.1111, 90, 75),
    (np.arange(1, 6175), 100, 6274, 674.232, 32.5244, 32, 6224.01),
    (np.arange(1, 6175), 1e4, 16174, 1738.13, 1457.32, 1457, 11174.8),
    (np.sqrt(np.arange(1, 6175)), 100, 79.8475, 40.2966, 10.7318, 115, 79.4234),
]


@pytest.mark.parametrize("durations, ratio, mini, asgd, shared, workers, own", GOLDEN)
def test_golden_rows(durations, ratio, mini, asgd, shared, workers, own):
    shuffled = np.random.default_rng(0).permutation(durations)  # any order will do
    found = predicted_times(
        0.5, shuffled, smoothness=0.25, gap=2.0, noise_sq=0.5 * ratio
    )
    assert found.minibatch == pytest.approx(mini, rel=1e-5)
    assert found.asynchronous == pytest.approx(asgd, rel=1e-5)
    assert found.homogeneous == pytest.approx(shared, rel=1e-5)
    assert found.homogeneous_workers == workers
    assert found.heterogeneous == pytest.approx(own, rel=1e-5)


def test_orders_between_the_times():
    rng = np.random.default_rng(1)
    for _ in range(100):
        durations = rng.lognormal(sigma=1.5, size=rng.integers(1, 30))
        found = predicted_times(
            0.1, durations, smoothness=1.0, gap=1.0, noise_sq=10 ** rng.uniform(-3, 3)
        )
        rounding = 1 + 1e-12
        assert found.homogeneous <= found.asynchronous * rounding
        assert found.homogeneous <= found.one_worker * rounding
        assert found.heterogeneous <= found.minibatch * rounding
        # The slowest worker's data cannot be had faster than it computes.
        assert found.heterogeneous >= durations.max() * 1.0 / 0.1


def test_one_worker_is_the_same_under_every_method():
    found = predicted_times(0.1, [2.0], smoothness=3.0, gap=1.5, noise_sq=0.7)
    expected = 2.0 * (3 * 1.5 / 0.1 + 0.7 * 3 * 1.5 / 0.01)
    assert found.one_worker == pytest.approx(expected)
    assert found.minibatch == pytest.approx(expected)
    assert found.asynchronous == pytest.approx(expected)
    assert found.homogeneous == pytest.approx(expected)
    assert found.heterogeneous == pytest.approx(expected)


def test_convex_times_by_hand():
    # n = 2, tau = 1, 3: sums of 1/tau are 1 and 4/3.
    common = {"smoothness": 4.0, "distance": 0.5}
    fixed, noisy = 2.0 * 0.5 / math.sqrt(0.25), 8.0 * 0.25 / 0.0625  # 2 and 32
    found = times.convex_homogeneous_time([3, 1], 0.25, 8.0, **common)
    assert found.num_workers == 2
    assert found.time == pytest.approx((2 * fixed + noisy) / (4 / 3))
    assert times.convex_heterogeneous_time(
        [3, 1], 0.25, 8.0, **common
    ) == pytest.approx(3 * fixed + 2 * noisy / 2)
    strong = {**common, "strong_convexity": 1.0}
    assert times.convex_heterogeneous_time(
        [3, 1], 0.25, 8.0, **strong
    ) == pytest.approx(3 * 2.0 + 2 * (8.0 / 0.25) / 2)
    assert times.similarity_lower_bound(
        [3, 1], 0.25, 8.0, strong_convexity=2.0
    ) == pytest.approx(2 * 8.0 / (2 * 4 * 0.25))


def _simulated_round(durations, enough):
    """End of a round that starts with every worker beginning a gradient."""
    heap = [(tau, i) for i, tau in enumerate(durations)]
    heapq.heapify(heap)
    counts = np.zeros(len(durations))
    while True:
        now, i = heapq.heappop(heap)
        counts[i] += 1
        if enough(counts):
            return now
        heapq.heappush(heap, (now + durations[i], i))


def test_round_bounds_hold_and_are_tight():
    rng = np.random.default_rng(2)
    ratios = {"rennala": [], "malenia": []}
    for _ in range(200):
        durations = rng.lognormal(sigma=1.0, size=rng.integers(1, 15))
        n, batch = len(durations), int(rng.integers(1, 60))
        real = _simulated_round(durations, lambda c, s=batch: c.sum() >= s)
        ratios["rennala"].append(
            round_times.rennala_round_time(durations, batch) / real
        )
        batch = max(batch, n)
        real = _simulated_round(
            durations,
            lambda c, s=batch, n=n: np.all(c > 0) and n / np.sum(1 / c) >= s / n,
        )
        ratios["malenia"].append(
            round_times.malenia_round_time(durations, batch) / real
        )
    for found in ratios.values():
        assert min(found) >= 1 - 1e-12
        assert min(found) < 1.6  # not a bound by mere size


def test_rennala_time_counts_rounds():
    # sigma^2/eps = 8: batches of 8, 4 * 10 * max(1, 2) = 80 rounds.
    found = round_times.rennala_time([1.0], 0.1, 0.8, smoothness=1.0, gap=1.0)
    assert found == pytest.approx(80 * 9.0)
    assert round_times.rennala_time(
        [1.0], 0.1, 0.8, smoothness=1.0, gap=1.0, restart=False
    ) == pytest.approx(2 * found)
    assert round_times.ringmaster_window_time([1.0, 2.0], 4) == pytest.approx(8.0)


def test_equilibrium_time_by_hand():
    # Worker 0 is near, worker 1 far: alone 4/1, together max(6, 4/(1 + 2)).
    assert round_times.equilibrium_time(4.0, [1.0, 0.5], [0.0, 6.0]) == 4.0
    assert round_times.equilibrium_time(40.0, [1.0, 0.5], [0.0, 6.0]) == pytest.approx(
        40 / 3
    )


def test_changing_speeds_with_constant_power_are_fixed_speeds():
    durations = np.array([1.0, 1.7, 0.6])
    ends = round_times.changing_speed_rounds(
        [0, 1000], 1 / durations[:, None], 7, num_rounds=20
    )
    one = _simulated_round(durations, lambda c: c.sum() >= 7)
    assert ends == pytest.approx(one * np.arange(1, 21))
    ends = round_times.changing_speed_rounds(
        [0, 1000], 1 / durations[:, None], 6, num_rounds=5, heterogeneous=True
    )
    one = _simulated_round(
        durations, lambda c: np.all(c > 0) and 3 / np.sum(1 / c) >= 2
    )
    assert ends == pytest.approx(one * np.arange(1, 6))


def test_changing_speeds_wait_through_an_outage():
    # One gradient a second, nothing from 2 to 5, and no end after the last edge.
    ends = round_times.changing_speed_rounds(
        [0, 2, 5, 7], [[1.0, 0.0, 1.0]], 1, num_rounds=6
    )
    assert ends == pytest.approx([1, 2, 6, 7, np.inf, np.inf])
    # A worker that is off for good stops the harmonic mean, not the sum.
    power = [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    common = {"edges": [0, 2, 5, 7], "power": power, "num_rounds": 1}
    assert round_times.changing_speed_rounds(work=1, **common)[0] == 1
    assert np.isinf(
        round_times.changing_speed_rounds(work=1, heterogeneous=True, **common)[0]
    )


def test_changing_speeds_leave_room_for_rounding():
    # Five gradients each: their harmonic mean rounds to less than 15/3.
    ends = round_times.changing_speed_rounds(
        [0, 100], np.ones((3, 1)), 15, num_rounds=2, heterogeneous=True
    )
    assert ends == pytest.approx([5, 10])
    # The 100th gradient ends as a long outage begins, but 1000 sums of 0.1 err.
    ends = round_times.changing_speed_rounds(
        [*range(1001), 1500, 1600], [[0.1] * 1000 + [0.0, 0.1]], 100, num_rounds=1
    )
    assert ends == pytest.approx([1000])


@pytest.mark.parametrize(
    "durations", [[], [1.0, 0.0], [1.0, -1.0], [np.nan], [np.inf], [[1.0]]]
)
def test_bad_durations(durations):
    with pytest.raises(ValueError, match="durations"):
        times.minibatch_time(durations, 1.0, 1.0, smoothness=1.0, gap=1.0)


@pytest.mark.parametrize(
    "durations", [["1", "2"], [True, 2.5], np.array([True]), [1j], "fast", None]
)
def test_durations_that_are_no_numbers(durations):
    with pytest.raises(TypeError, match="durations must be real numbers"):
        times.minibatch_time(durations, 1.0, 1.0, smoothness=1.0, gap=1.0)
    with pytest.raises(TypeError, match="compute_times must give the mean seconds"):
        mean_durations(durations)


def test_truth_values_are_no_numbers():
    for value in (True, np.True_):
        with pytest.raises(TypeError, match=r"eps must be .* > 0, got (np\.)?True"):
            check_positive(eps=value)


def test_masked_durations():
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    by_name = partial(sorted_durations, "durations")
    for function in (by_name, mean_durations, ag.compute_times.fixed):
        with pytest.raises(ValueError, match="must have no masked entries"):
            function(masked)
    with pytest.raises(ValueError, match="durations must have no masked entries"):
        ag.algorithms.rescaled(masked)


@pytest.mark.parametrize(
    "wrong, name",
    [
        ({"eps": 0.0}, "eps"),
        ({"eps": math.nan}, "eps"),
        ({"noise_sq": -1.0}, "noise_sq"),
        ({"smoothness": 0.0}, "smoothness"),
        ({"gap": math.inf}, "gap"),
    ],
)
def test_bad_numbers_are_named(wrong, name):
    given = {"eps": 1.0, "noise_sq": 1.0, "smoothness": 1.0, "gap": 1.0, **wrong}
    for function in (
        times.one_worker_time,
        times.asynchronous_time,
        times.optimal_homogeneous_time,
        times.optimal_heterogeneous_time,
        round_times.rennala_time,
    ):
        with pytest.raises(ValueError, match=name):
            function([1.0], **given)


def test_quotients_beyond_every_float_are_named():
    for eps, gap, noise_sq, name in (
        (1e-300, 1.0, 1e300, "noise_sq / eps must be a finite number, got inf"),
        (1e-300, 1e300, 0.0, "the number of rounds must be a finite number, got inf"),
    ):
        with pytest.raises(ValueError, match=name):
            round_times.rennala_time([1.0], eps, noise_sq, smoothness=1.0, gap=gap)
    # A batch that no int64 holds is still a batch.
    assert round_times.rennala_round_time([2.0], 10**20) == pytest.approx(2e20)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([0, np.inf], r"edges\[1\] must be a finite number, got inf"),
        ([0, np.nan], r"edges\[1\] must be a finite number, got nan"),
        ([0, 0], r"edges must ascend strictly from 0, got \[0, 0\]"),
        ([1, 2], r"edges must ascend strictly from 0, got \[1, 2\]"),
    ],
)
def test_bad_edges(edges, message):
    with pytest.raises(ValueError, match=message):
        round_times.changing_speed_rounds(edges, [[1.0]], 1, num_rounds=2)


class _Own:
    """A user's clock: what `simulate` needs and no more."""

    num_workers = 2

    def sample(self, worker, rng, size):
        return np.ones(size)


def test_clocks_without_a_mean():
    known = {"smoothness": 1.0, "gap": 1.0, "noise_sq": 0.0}
    with pytest.raises(TypeError, match=r"attribute mean_durations; got _Own"):
        predicted_times(0.1, _Own(), **known)
    heavy = ag.compute_times.log_cauchy([1.0, 2.0])
    with pytest.raises(
        ValueError, match=r"^mean_durations\[0\] must be .* > 0, got inf"
    ):
        predicted_times(0.1, heavy, **known)
    clock = _Own()
    clock.mean_durations = [1.0, 1.0]
    assert predicted_times(0.1, clock, **known) == predicted_times(
        0.1, [1.0, 1.0], **known
    )


def test_predicted_times_say_what_is_missing():
    with pytest.raises(ValueError, match=r"no lower bound on f\* is known"):
        predicted_times(1.0, [1.0], smoothness=1.0, gap=math.nan, noise_sq=0.0)
    with pytest.raises(ValueError, match="needs smoothness, gap and noise_sq"):
        predicted_times(1.0, [1.0], smoothness=1.0)
    with pytest.raises(
        ValueError, match=r"strong_convexity must be at most .*, got 2\.0"
    ):
        times.convex_homogeneous_time(
            [1.0], 1.0, 1.0, smoothness=1.0, distance=1.0, strong_convexity=2.0
        )
