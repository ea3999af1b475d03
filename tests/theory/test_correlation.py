"""Assignment order, the correlation profile, its golden values and its slopes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgrad_jax import datasets
from asgrad_jax.problems.flat_arrays import local_table
from asgrad_jax.problems.logistic import logistic_regression
from asgrad_jax.theory import assignment_order, correlation_profile
from helpers.theory_cases import HandSchedule, simulate, speeds

METHODS = ("pure", "random", "shuffled", "cyclic")


def _applied_sets(schedule, jobs):
    """A_t by brute force: the jobs whose row was in a step before version read_t."""
    order = list(jobs.row)
    for read in jobs.read:
        rows = [a for a in range(len(schedule.worker)) if schedule.step[a]]
        last = rows[read - 1] if read else -1
        yield {order.index(a) for a in range(last + 1)}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_assignment_order_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6))
    b = int(rng.integers(1, n + 1))
    law = rng.choice(["fixed", "exponential", "pareto"])
    schedule = simulate(
        rng.choice(METHODS),
        speeds("linear", n, rng),
        40,
        law=law,
        gradients_per_step=b,
        seed=rng,
    )
    jobs = assignment_order(schedule)
    sets = list(_applied_sets(schedule, jobs))
    in_flight = [set(range(t)) - sets[t] for t in range(len(sets))]
    assert all(sets[t] <= set(range(t)) for t in range(len(sets)))
    assert all(a <= b for a, b in pairwise(sets))
    assert jobs.applied.tolist() == [len(a) for a in sets]
    assert jobs.in_flight.tolist() == [len(i) for i in in_flight]
    assert jobs.concurrency == 1 + max(len(i) for i in in_flight)
    expected = [sum(j in i for i in in_flight) for j in range(len(sets))]
    assert jobs.flight.tolist() == expected
    assert jobs.concurrency - 1 <= jobs.flight_max  # used by the theorem's last step

    cut = jobs.first(25)
    assert cut.flight.tolist() == [
        sum(j in i for i in in_flight[:25]) for j in range(25)
    ]


@pytest.mark.parametrize("method", METHODS)
def test_recovers_the_true_assignment(method):
    """One job per arrival: beyond the initial jobs, the order is the true one."""
    schedule = simulate(method, speeds("linear", 7, None), 500, law="exponential")
    jobs = assignment_order(schedule)
    assert sorted(jobs.worker[:7]) == sorted(schedule.assigned_worker[:7])
    assert jobs.worker[7:].tolist() == schedule.assigned_worker[7:].tolist()
    # Constant concurrency: z_t = x_max(t - (n - 1), 0).
    assert jobs.read.tolist() == np.maximum(np.arange(507) - 6, 0).tolist()
    assert jobs.concurrency == 7


def _brute_force(schedule, table, tau):
    jobs = assignment_order(schedule)
    h = table - table.mean(axis=0)
    count = jobs.num_jobs // tau
    whole, largest = [], []
    for k in range(count):
        sums = np.cumsum(h[jobs.worker[k * tau : (k + 1) * tau]], axis=0)
        norms = (sums**2).sum(axis=1)
        whole.append(norms[-1])
        largest.append(norms.max())
    flying = []
    for t, applied in enumerate(_applied_sets(schedule, jobs)):
        inside = sorted(set(range(t)) - applied)
        flying.append((h[jobs.worker[inside]].sum(axis=0) ** 2).sum())
    return np.mean(whole), np.mean(largest), np.mean(flying)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("b", [1, 2])
def test_profile_against_brute_force(method, b):
    rng = np.random.default_rng(5)
    for d in (2, 30):  # fewer and more coordinates than workers
        table = rng.normal(size=(5, d))
        schedule = simulate(method, speeds("linear", 5, rng), 60, gradients_per_step=b)
        lengths = [1, 3, 5, 7, 32, 64]
        profile = correlation_profile(schedule, table, lengths)
        for m, tau in enumerate(lengths):
            chunk, partial, flying = _brute_force(schedule, table, tau)
            assert profile.chunk_sq[0, m] == pytest.approx(chunk, rel=1e-12, abs=1e-24)
            assert profile.partial_sq[0, m] == pytest.approx(partial, rel=1e-12)
            assert profile.in_flight_sq[0] == pytest.approx(flying, rel=1e-12)
    assert profile.zeta_sq == pytest.approx(
        ((table - table.mean(axis=0)) ** 2).sum() / 5
    )


def test_profile_of_many_schedules_is_that_of_each():
    rng = np.random.default_rng(0)
    table = {"a": rng.normal(size=(4, 3)), "b": rng.normal(size=(4, 2, 2))}
    many = [simulate("random", np.ones(4), 50, seed=s) for s in range(3)]
    together = correlation_profile(many, table)
    for s, schedule in enumerate(many):
        alone = correlation_profile(schedule, table, together.chunk_lengths)
        assert np.allclose(together.chunk_sq[s], alone.chunk_sq[0], rtol=1e-12)
        assert np.allclose(together.partial_sq[s], alone.partial_sq[0], rtol=1e-12)
        assert together.in_flight_sq[s] == pytest.approx(alone.in_flight_sq[0])
    assert (
        set(together.chunk_lengths) >= {1, 4, 8}
        and together.chunk_lengths.max() == together.num_jobs // 4
    )


def _golden(table, zeta_sq):
    """Checks the three methods at T = 500 and returns random's mean profile."""
    n = len(table)
    lengths = [n, 5 * n, 10 * n]
    means = np.arange(1, n + 1.0)
    pure = correlation_profile(simulate("pure", means, 500), table, lengths)
    random = correlation_profile(
        [simulate("random", means, 500, seed=s) for s in range(20)],
        table,
        lengths,
    )
    shuffled = correlation_profile(
        [simulate("shuffled", means, 500, seed=s) for s in range(5)],
        table,
        lengths,
    )
    assert pure.zeta_sq == pytest.approx(zeta_sq, rel=2e-3)
    assert np.all(shuffled.bias_sq < 1e-28 * max(1, zeta_sq))
    # nu^2: in pure the jobs in flight are one of every worker but k_t.
    assert pure.in_flight_sq[0] == pytest.approx(zeta_sq, rel=0.2)
    return pure, random, shuffled


def test_golden_numbers_on_w7a(shared):
    features, labels = datasets.load_libsvm(shared / "data" / "w7a.txt")
    problem = logistic_regression(features[:24600], labels[:24600], 10)
    table = local_table(problem)
    assert np.linalg.norm(table.mean(axis=0)) == pytest.approx(1.773425, rel=1e-6)
    pure, random, shuffled = _golden(table, 0.302)
    assert pure.bias_sq[0] == pytest.approx([0.0281, 0.0212, 0.0210], abs=6e-5)
    assert pure.partial_sq[0] == pytest.approx([3.2, 53.8, 210.9], rel=0.012)
    assert pure.in_flight_sq[0] == pytest.approx(0.29, abs=0.006)
    assert pure.zeta_sq_per_worker.max() == pytest.approx(1.302, abs=6e-4)
    # One run's values: within the spread of the seeds.
    for mine, theirs in [
        (random.bias_sq, [0.0277, 0.0047, 0.0027]),
        (random.partial_sq, [3.3, 14.9, 34.7]),
        (shuffled.partial_sq, [1.4, 2.1, 2.3]),
        (random.in_flight_sq[:, None], [4.67]),
    ]:
        mean, spread = mine.mean(axis=0), mine.std(axis=0, ddof=1)
        assert np.all(np.abs(theirs - mean) < 3 * spread)
    mean, spread = shuffled.in_flight_sq.mean(), shuffled.in_flight_sq.std(ddof=1)
    assert abs(2.49 - mean) < 3 * spread
    # 4.67 is one seed, two standard deviations (0.55) high: an event loop written apart
    # from this project, the mean over 30 seeds of jobs in flight, gave 3.53 +- 0.10.
    assert abs(random.in_flight_sq.mean() - 3.53) < 4 * 0.55 / np.sqrt(20)


def test_the_same_picture_on_a_shipped_data_set():
    features, labels = datasets.digits_binary()
    problem = logistic_regression(
        features, labels, 10, partition="sorted", drop_last=True
    )
    table = local_table(problem)
    zeta_sq = ((table - table.mean(axis=0)) ** 2).sum(axis=1).mean()
    pure, random, _ = _golden(table, zeta_sq)
    share = 1 / np.arange(1, 11)
    bias = share / share.sum() @ table - table.mean(axis=0)
    # pure: the bias of the speed-weighted gradient, whatever the chunk.
    assert pure.bias_sq[0, 2] == pytest.approx(bias @ bias, rel=0.05)
    # random: zeta^2/tau, the fall of independent draws.
    assert random.bias_sq.mean(axis=0)[2] * 100 == pytest.approx(zeta_sq, rel=0.4)


@pytest.mark.parametrize(
    "method, seeds, low, expected",
    [("pure", 1, 40, 0), ("random", 25, 11, -1), ("shuffled", 4, 11, -2)],
)
def test_slopes_of_the_three_shapes(method, seeds, low, expected):
    n = 10
    table = np.random.default_rng(3).normal(size=(n, 6))
    means = np.arange(1, n + 1.0)
    profile = correlation_profile(
        [simulate(method, means, 3000, seed=s) for s in range(seeds)],
        table,
        np.arange(11, 300),
    )
    skip = n if method == "shuffled" else 0
    assert abs(profile.slope(low, 299, skip_multiples_of=skip) - expected) < 0.1


def test_bad_input():
    schedule = simulate("pure", np.ones(3), 20)
    table = np.ones((3, 2))
    with pytest.raises(
        ValueError, match="a row for each of the schedule's 3 workers, got 4"
    ):
        correlation_profile(schedule, np.ones((4, 2)))
    with pytest.raises(ValueError, match="worker 1 is not finite"):
        correlation_profile(schedule, np.array([[1.0], [np.nan], [1.0]]))
    for tau, message in (
        ([0], r"chunk_lengths\[0\] must lie in 1..23 jobs, got 0"),
        ([1, 24], r"chunk_lengths\[1\] must lie in 1..23 jobs, got 24"),
        ([], "chunk_lengths must have at least one length"),
        ([1.5], r"chunk_lengths\[0\] must be an integer, got 1.5"),
        (3, "chunk_lengths must be a flat list"),
    ):
        with pytest.raises(ValueError, match=message):
            correlation_profile(schedule, table, tau)
    with pytest.raises(ValueError, match=r"gradients of up to 1e\+200 are too large"):
        correlation_profile(schedule, 1e200 * table)
    with pytest.raises(TypeError, match="schedule must be"):
        correlation_profile("pure_async", table)
    one = correlation_profile((item for item in [schedule]), table, [1])
    assert one.chunk_sq.shape == (1, 1)
    with pytest.raises(ValueError, match="at least one schedule"):
        correlation_profile([], table)
    with pytest.raises(ValueError, match="chunk lengths between"):
        correlation_profile(schedule, table, [1, 2]).slope(5, 9)
    broken = HandSchedule(
        worker=np.array([0]),
        read=np.array([1]),
        step=np.array([True]),
        weight=np.ones(1),
        in_flight_worker=np.zeros(0, int),
        in_flight_read=np.zeros(0, int),
        num_workers=1,
    )
    with pytest.raises(ValueError, match="row 0 reads version 1"):
        assignment_order(broken)
    with pytest.raises(ValueError, match=r"num_jobs must lie in 1\.\."):
        assignment_order(schedule).first(99)
