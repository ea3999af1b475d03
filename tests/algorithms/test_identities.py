"""What the methods reduce to, and what holds for each of them at all times."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asgrad_jax as ag
from asgrad_jax.algorithms.task_allocation import harmonia

algorithms = ag.algorithms
SETTINGS = settings(derandomize=True, deadline=None, max_examples=60)
N, A = 6, 300
CLOCK = ag.compute_times.normal(range(1, N + 1))
EQUAL = ag.compute_times.fixed([2.0] * N)
CLOCKS = st.sampled_from(["fixed", "poisson", "exponential", "pareto", "tick"])


def same(one, other, clock=CLOCK, **facts):
    """Asserts equal schedules, up to `facts`, the name and the order of new jobs."""
    a, b = (
        dataclasses.replace(schedule, **facts, in_flight_worker=by_read(schedule))
        for schedule in (
            ag.simulate(x, clock, num_gradients=A, seed=3) for x in (one, other)
        )
    )
    assert a.num_steps > 5
    assert a == b


def by_read(schedule):
    worker, read = schedule.in_flight_worker, schedule.in_flight_read
    return worker[np.lexsort([worker, read])]


def example(clock, n):
    return ag.compute_times.example(clock, n)


@pytest.mark.parametrize("limit", [None, 10**9, 10**30])
def test_ringmaster_without_a_limit_is_pure(limit):
    same(algorithms.ringmaster(limit), "pure_async")
    same(algorithms.ringmaster_stops(limit), "pure_async")


@pytest.mark.parametrize(
    "make",
    [algorithms.ringmaster, algorithms.ringmaster_stops],
    ids=lambda f: f.__name__,
)
def test_ringmaster_of_one_keeps_only_fresh_gradients(make):
    schedule = ag.simulate(make(1), CLOCK, num_gradients=A)
    assert (schedule.delay == 0).all() and schedule.step.all()
    two = ag.simulate(make(2), CLOCK, num_gradients=A)
    assert two.delay.max() == 1


def test_rounds_of_one_gradient_from_one_worker_are_sgd():
    alone = ag.compute_times.exponential([2.0])
    for algorithm in (
        algorithms.rennala(1),
        algorithms.rennala_restart(1),
        algorithms.malenia(1),
        algorithms.ringleader(),
        algorithms.throttle(),
        algorithms.mindflayer(),
    ):
        schedule = ag.simulate(algorithm, alone, num_gradients=20)
        assert schedule.read.tolist() == list(range(20)) and schedule.step.all()
        np.testing.assert_array_equal(schedule.weight, np.ones(20))


def test_synchronous_members():
    same("mindflayer", "minibatch")  # one trial each, no limit
    same("vecna", "minibatch")
    same("uta", "minibatch")
    same(algorithms.m_synchronous("all"), "minibatch")
    # B_i = 1 everywhere; with equal fixed times nobody is faster. Workers that begin
    # again before the round's last arrival are stopped at once, which takes a draw.
    job = np.zeros(A, np.int32)
    same("malenia", "minibatch", EQUAL, job=job)
    same("rennala_restart", "minibatch", EQUAL, job=job)
    same("gta", "rennala_restart")
    same(algorithms.ofta(20), algorithms.uta(20))
    same(algorithms.async_minibatch([N] * 3, quantile=1.0), "rennala")


def test_equal_speeds_need_no_rescaling():
    same(algorithms.rescaled([2.0] * N), "pure_async", weight=np.ones(A))
    known = ag.simulate(algorithms.rescaled([2.0] * N), CLOCK, num_gradients=A)
    np.testing.assert_allclose(known.weight, 1.0, rtol=1e-14)
    measured = ag.simulate("rescaled", EQUAL, num_gradients=A)
    np.testing.assert_allclose(measured.weight[N - 1 :: N], 1.0, rtol=1e-14)


def test_rescaled_weights_give_every_worker_its_share():
    speeds = ag.compute_times.fixed(range(1, N + 1))
    for algorithm in (algorithms.rescaled(range(1, N + 1)), algorithms.rescaled()):
        schedule = ag.simulate(algorithm, speeds, num_gradients=100 * A)
        total = np.bincount(schedule.worker, schedule.weight)
        np.testing.assert_allclose(total / total.sum(), 1 / N, rtol=0.02)


def test_uniform_routing_is_random():
    routed = algorithms.generalized_async([1 / N] * N)
    same(routed, "random_async", weight=np.ones(A))
    same("generalized_async", "random_async")
    weight = ag.simulate(routed, CLOCK, num_gradients=A).weight
    np.testing.assert_allclose(weight, 1.0, rtol=1e-14)


def test_routing_follows_p_and_weights_undo_it():
    p = np.array([0.05, 0.1, 0.4, 0.2, 0.05, 0.2])
    rows = 20_000
    for concurrency in (1, 9):
        algorithm = algorithms.generalized_async(p, concurrency=concurrency)
        schedule = ag.simulate(algorithm, CLOCK, num_gradients=rows)
        share = np.bincount(schedule.worker) / rows
        assert (abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / rows)).all()
        np.testing.assert_allclose(schedule.weight, 1 / (N * p[schedule.worker]))


def test_clipping_at_infinity_is_the_method_under_it():
    problem = ag.quadratic(N, 3, heterogeneity=2.0, seed=1)
    for clipped, inner in (
        (algorithms.clipped(np.inf), "pure_async"),
        (algorithms.clipped_random(np.inf), "random_async"),
        (algorithms.picky(np.inf), "pure_async"),
    ):
        same(clipped, inner, clip=None, accept=None)
        one, two = (
            ag.run(
                problem,
                ag.simulate(algorithm, CLOCK, num_gradients=A),
                step_size=0.05,
                record_every=A,
                precision="float64",
            )
            for algorithm in (clipped, inner)
        )
        np.testing.assert_allclose(one.params, two.params, rtol=1e-12)


def test_fedbuff_of_one_is_random():
    fedbuff = algorithms.fedbuff(1, concurrency=4)
    random = ag.Algorithm(name="random", order="random", concurrency=4)
    same(fedbuff, random)


@SETTINGS
@given(st.integers(2, 7), CLOCKS, st.integers(0, 1000))
def test_ringleader_rounds(n, clock, seed):
    schedule = ag.simulate("ringleader", example(clock, n), num_gradients=A, seed=seed)
    assert schedule.delay.max() <= 2 * n - 2
    # A round ends where the next round's sum takes over: after every n-th step.
    ends = (schedule.table.mix[:, 0, 1] == 1) & schedule.step
    steps = np.cumsum(schedule.step)
    np.testing.assert_array_equal(ends, schedule.step & (steps % n == 0))
    # Nothing is thrown away and nobody idles: the timing is that of pure.
    pure = ag.simulate("pure_async", example(clock, n), num_gradients=A, seed=seed)
    np.testing.assert_array_equal(schedule.worker, pure.worker)
    np.testing.assert_array_equal(schedule.time, pure.time)


@SETTINGS
@given(st.integers(2, 7), CLOCKS, st.integers(0, 1000), st.integers(1, 20))
def test_malenia_rounds(n, clock, seed, size):
    schedule = ag.simulate(
        algorithms.malenia(size), example(clock, n), num_gradients=A, seed=seed
    )
    ends = np.flatnonzero(schedule.step) + 1
    for first, end in zip([0, *ends], ends, strict=False):
        counts = np.bincount(schedule.worker[first:end], minlength=n)
        before = np.bincount(schedule.worker[first : end - 1], minlength=n)
        assert harmonic_mean(counts) >= size / n * (1 - 1e-8)
        assert harmonic_mean(before) < size / n
        shares = np.bincount(schedule.worker[first:end], schedule.weight[first:end])
        np.testing.assert_allclose(shares, 1 / n)


def harmonic_mean(counts):
    return 0 if counts.min() == 0 else len(counts) / (1 / counts).sum()


@SETTINGS
@given(
    st.sampled_from(["rennala_restart", "m_synchronous", "uta", "ata", "ofta"]),
    st.integers(1, 7),
    CLOCKS,
    st.integers(0, 1000),
)
def test_rounds_read_one_iterate_and_are_means(name, n, clock, seed):
    schedule = ag.simulate(name, example(clock, n), num_gradients=A, seed=seed)
    assert (schedule.delay == 0).all()
    sizes = np.diff(np.flatnonzero(schedule.step), prepend=-1)
    assert (sizes == sizes[0]).all()
    np.testing.assert_allclose(schedule.weight, 1 / sizes[0])


@SETTINGS
@given(st.integers(1, 7), CLOCKS, st.integers(0, 1000), st.integers(1, 9))
def test_ringmaster_stops_before_the_limit(n, clock, seed, limit):
    algorithm = algorithms.ringmaster_stops(limit)
    schedule = ag.simulate(algorithm, example(clock, n), num_gradients=A, seed=seed)
    assert schedule.delay.max(initial=0) < limit
    assert schedule.discarded == 0 and schedule.step.all()
    ages = schedule.num_steps - schedule.in_flight_read
    assert ages.max() < limit and len(ages) == n


@SETTINGS
@given(st.lists(st.floats(0, 10), min_size=1, max_size=6), st.integers(1, 12))
def test_harmonia_is_optimal(scores, batch):
    jobs = harmonia(scores, batch)
    assert jobs.sum() == batch and jobs.min() >= 0
    best = (jobs * scores).max()
    # No way to hand out B jobs below that maximum: fewer than B fit.
    fits = [
        batch if s == 0 else int(np.floor(best * (1 - 1e-12) / s - 1e-12))
        for s in scores
    ]
    assert best == 0 or sum(min(max(f, 0), batch) for f in fits) < batch


def test_ata_learns_the_speeds():
    """Once the confidence terms are small its rounds are those of OFTA."""
    speeds = np.array([1.0, 2.3, 5.1, 19.7])
    clock = ag.compute_times.fixed(speeds)
    options = dict(num_gradients=4_000)
    ata = ag.simulate(algorithms.ata(40, alpha=1e-6), clock, **options)
    ofta = ag.simulate(algorithms.ofta(40, speeds), clock, **options)
    uta = ag.simulate(algorithms.uta(40), clock, **options)
    last = np.bincount(ata.worker[-400:], minlength=4)
    np.testing.assert_array_equal(last, np.bincount(ofta.worker[-400:], minlength=4))
    assert ofta.time[-1] < ata.time[-1] < 0.5 * uta.time[-1]


def test_noise_batch():
    assert algorithms.noise_batch(1.0, 0.3) == 4
    assert algorithms.rennala(algorithms.noise_batch(2.0, 0.1)).gradients_per_step == 20
    nan, inf = float("nan"), float("inf")
    for arguments in ((-1.0, 0.1), (1.0, 0.0), (1.0, nan), (inf, 0.1), (1e300, 1e-300)):
        with pytest.raises(ValueError, match="noise_batch"):
            algorithms.noise_batch(*arguments)


def test_infinity_means_never():
    assert algorithms.clipped(np.inf) and algorithms.picky(np.inf)
    assert algorithms.throttle(np.inf, np.inf) and algorithms.vecna(1, np.inf, 0.5)


def test_shares_that_calls_have_in_common_cannot_be_written():
    known = algorithms.ofta(6, [1.0, 2.0, 10.0]).quota
    shares = known.allocate(1, np.zeros(3), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="read-only"):
        shares[0] = 0


BAD = [
    (
        algorithms.delay_adaptive,
        ("slow",),
        ValueError,
        "delay_adaptive: form must be 'ratio'.*, got 'slow'",
    ),
    (
        algorithms.staleness_aware,
        ("fedbuff",),
        TypeError,
        "inner must be .*got 'fedbuff'",
    ),
    (
        algorithms.rescaled,
        ([1, 0],),
        ValueError,
        r"durations\[1\] must be .* > 0, got 0",
    ),
    (
        algorithms.rescaled,
        ("fast",),
        TypeError,
        "durations must be real numbers, got 'fast'",
    ),
    (
        algorithms.generalized_async,
        ([1, np.nan],),
        ValueError,
        r"routing\[1\] must be .* nan",
    ),
    (algorithms.naive_optimal, ([1, 2],), TypeError, "must be given both or neither"),
    (
        algorithms.naive_optimal,
        ([1, 2], -1),
        ValueError,
        "noise_ratio must be .* >= 0, got -1",
    ),
    (
        algorithms.naive_optimal,
        ([1, 2], np.inf),
        ValueError,
        "must be a finite .* got inf",
    ),
    (algorithms.async_minibatch, ([],), ValueError, "delays must have at least one"),
    (
        algorithms.async_minibatch,
        ([1, np.inf], 1.0),
        ValueError,
        r"delays\[1\] must be a f",
    ),
    (
        algorithms.async_minibatch,
        ([1e300], 1e-300),
        ValueError,
        "delay / quantile must be .*got inf",
    ),
    (
        algorithms.async_minibatch,
        ([1], 1.5),
        ValueError,
        "quantile must be .* <= 1, got 1.5",
    ),
    (
        algorithms.mindflayer,
        (1, 2.0),
        TypeError,
        "limit and success must be given both",
    ),
    (
        algorithms.mindflayer,
        (0,),
        ValueError,
        "mindflayer: trials must be .* >= 1, got 0",
    ),
    (
        algorithms.mindflayer,
        (1.5,),
        TypeError,
        "trials must be an integer >= 1, got 1.5",
    ),
    (algorithms.vecna, (1, 2.0, 1.5), ValueError, "success must be .* <= 1, got 1.5"),
    (algorithms.vecna, (1, -2.0, 0.5), ValueError, "limit must be .* > 0, got -2.0"),
    (algorithms.throttle, (0.5,), ValueError, "q must be a number >= 1, got 0.5"),
    (algorithms.throttle, (2.0, 0.0), ValueError, "radius must be .* > 0, got 0.0"),
    (algorithms.clipped, (0.0,), ValueError, "radius must be .* > 0, got 0.0"),
    (algorithms.clipped, ("1",), TypeError, "radius must be a number > 0, got '1'"),
    (
        algorithms.picky,
        (float("nan"),),
        ValueError,
        "threshold must be .* >= 0, got nan",
    ),
    (algorithms.ata, (4, 0.0), ValueError, "alpha must be .* > 0, got 0.0"),
    # Under the method's own name for it, not that of the field which it fills.
    (
        algorithms.rennala,
        (0,),
        ValueError,
        "rennala: gradients_per_step must be .* >= 1, .*, got 0",
    ),
    (
        algorithms.rennala_restart,
        (0,),
        ValueError,
        "^rennala_restart: gradients_per_step must.* 0",
    ),
    (
        algorithms.malenia,
        (2.5,),
        TypeError,
        "malenia: gradients_per_step must be .*, got 2.5",
    ),
    (
        algorithms.ata,
        ("most",),
        TypeError,
        "ata: gradients_per_step must be .* got 'most'",
    ),
    (algorithms.gta, (-1,), ValueError, "gta: gradients_per_step must be .*, got -1"),
    (
        algorithms.minibatch_sampled,
        (0,),
        ValueError,
        "minibatch_sampled: gradients_per_step m.* 0",
    ),
    (
        algorithms.m_synchronous,
        (0,),
        ValueError,
        "m_synchronous: gradients_per_step must be .* got 0",
    ),
]


@pytest.mark.parametrize(("make", "arguments", "error", "message"), BAD)
def test_bad_arguments(make, arguments, error, message):
    with pytest.raises(error, match=message):
        make(*arguments)


BAD_FOR_SIX = [
    (algorithms.rescaled([1, 2]), "rescaled: durations must have .* 6 workers, got 2"),
    (
        algorithms.generalized_async([0.5, 0.5]),
        "async: routing must .* 6 workers, got 2",
    ),
    (algorithms.ofta(4, [1, 2]), "ofta: durations must .* 6 workers, got 2"),
    (algorithms.mindflayer((1, 2)), r"quota \(jobs per worker\) .* 6 workers, got 2"),
    (algorithms.mindflayer(1, (1.0, 2.0), 0.5), "limit must .* 6 workers, got 2"),
    (algorithms.mindflayer(1, 50.0, (0.5, 0.5)), "success must .* 6 workers, got 2"),
    (algorithms.naive_optimal([1] * 7, 100.0), r"start\[6\] must be .* 0\.\.5, got 6"),
    (algorithms.naive_optimal([1] * 5, 100.0), "durations must .* 6 workers, got 5"),
    (ag.RoundAlgorithm(name="x", until="late"), "until must be 'count', .* got 'late'"),
    (
        ag.RoundAlgorithm(name="x", until="quota"),
        "x: quota must be given with until 'quota'",
    ),
    (
        ag.RoundAlgorithm(name="x", limit=1.0),
        "until must be 'quota' .* with a limit, got",
    ),
    (
        ag.RoundAlgorithm(name="x", gradients_per_step=7, quota=1),
        "gradients_per_step must be at most 6, .* got 7",
    ),
    (
        ag.RoundAlgorithm(name="x", quota=2, max_delay=2),
        "max_delay must be 1 .* quota, got 2",
    ),
    (
        ag.RoundAlgorithm(name="x", until="harmonic", quota=1),
        "until must be 'count' or",
    ),
    (
        ag.RoundAlgorithm(name="x", step="each", stop=False),
        "step must be 'round' with stop=F",
    ),
    (
        ag.RoundAlgorithm(name="x", until="quota", quota=0),
        "must have a number > 0, got 0",
    ),
]


@pytest.mark.parametrize("kind", [ag.Algorithm, ag.RoundAlgorithm])
@pytest.mark.parametrize("field", ["gradients_per_step", "max_delay"])
def test_bad_for_any_workers(kind, field):
    with pytest.raises(ValueError, match=f"x: {field} must be an integer >= 1, .* 0$"):
        kind(name="x", **{field: 0})


@pytest.mark.parametrize(("algorithm", "message"), BAD_FOR_SIX)
def test_bad_for_these_workers(algorithm, message):
    with pytest.raises(ValueError, match=message):
        ag.simulate(algorithm, CLOCK, num_gradients=5)


@pytest.mark.parametrize("engine", ["compiled", "python"])
@pytest.mark.parametrize("limit", [0.1, (0.1, 0.05)])
def test_a_job_of_exactly_its_limit_is_finished(limit, engine):
    algorithm = algorithms.mindflayer(trials=3, limit=limit, success=1.0)
    clock = ag.compute_times.fixed([0.1, 0.05])
    schedule = ag.simulate(algorithm, clock, num_gradients=60, engine=engine)
    assert np.bincount(schedule.worker).tolist() == [30, 30]


@dataclasses.dataclass(frozen=True)
class Says:
    """An allocation of the user's, the same in every round."""

    jobs: object

    def allocate(self, round_number, total, jobs):
        return self.jobs


def two_jobs_of_two_workers(jobs, engine):
    algorithm = ag.RoundAlgorithm(
        name="mine", until="quota", gradients_per_step=2, quota=Says(jobs)
    )
    clock = ag.compute_times.fixed([1.0, 1.0])
    return ag.simulate(algorithm, clock, num_gradients=4, engine=engine)


@pytest.mark.parametrize("engine", ["compiled", "python"])
@pytest.mark.parametrize(
    ("jobs", "error", "message"),
    [
        (
            np.array([-1, 3]),
            ValueError,
            r"mine: allocate must return jobs >= 0 .*\[-1, 3\]",
        ),
        (np.array([0, 0]), ValueError, r"whose sum is .* 2, got \[0, 0\]"),
        (np.array([2, 1]), ValueError, r"whose sum is .* 2, got \[2, 1\]"),
        (np.array([2**63, 2**63], np.uint64), ValueError, "whose sum is .* 92233"),
        (np.array([2]), ValueError, r"must return shape \(2,\), .* shape \(1,\)"),
        (2, ValueError, r"must return shape \(2,\), .* shape \(\)"),
        (np.array([1.5, 0.5]), TypeError, "must return one integer per worker"),
        ([True, 1], TypeError, "must return one integer per worker"),
        (None, TypeError, "must return one integer per worker"),
    ],
)
def test_bad_allocations(jobs, error, message, engine):
    with pytest.raises(error, match=message):
        two_jobs_of_two_workers(jobs, engine)


@pytest.mark.parametrize("engine", ["compiled", "python"])
@pytest.mark.parametrize("jobs", [[0, 2], np.array([0, 2], np.uint8)])
def test_allocations_of_any_integers(jobs, engine):
    assert two_jobs_of_two_workers(jobs, engine).worker.tolist() == [1] * 4


@pytest.mark.parametrize("engine", ["compiled", "python"])
def test_allocations_are_told_the_round(engine):
    told = []

    class Listens(Says):
        def allocate(self, round_number, total, jobs):
            told.append((round_number, total.tolist(), jobs.tolist()))
            return np.array([1, 1])

    algorithm = ag.RoundAlgorithm(
        name="mine", until="quota", gradients_per_step=2, quota=Listens(None)
    )
    clock = ag.compute_times.fixed([1.0, 2.0])
    ag.simulate(algorithm, clock, num_gradients=6, engine=engine)
    found = [(1 + k, [1.0 * k, 2.0 * k], [k, k]) for k in range(3)]
    assert told[:3] == found


def test_limits_that_nobody_meets():
    algorithm = algorithms.mindflayer(1, 0.5, 0.1)
    for engine in ("compiled", "python"):
        with pytest.raises(RuntimeError, match=r"mindflayer: .* go on for ever"):
            ag.simulate(algorithm, EQUAL, num_gradients=5, engine=engine)
    # Both loops wait equally long: 1,000 times one more than the jobs in flight.
    one = ag.RoundAlgorithm(name="one", until="quota", quota=(2, 0, 0, 0), limit=0.5)
    clock = ag.compute_times.fixed([1.0] * 4)
    for engine in ("compiled", "python"):
        with pytest.raises(RuntimeError, match="one: the last 2001 jobs"):
            ag.simulate(one, clock, num_gradients=5, engine=engine)


def test_much_noise_asks_every_worker():
    """sigma^2 / (m eps) alone counts then, and nothing overflows on the way."""
    assert algorithms.naive_optimal([10, 20, 30], noise_ratio=1e308).start == (0, 1, 2)
