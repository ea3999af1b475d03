"""Every new law of compute times against SciPy or its definition."""

import math

import numpy as np
import pytest
import scipy.stats

from asgrad_jax import compute_times as ct

MANY = 40_000


def sample(clock, worker=1, size=MANY, seed=7):
    return clock.durations(worker, seed, 0, size)


def assert_law(durations, law):
    assert scipy.stats.kstest(durations, law.cdf).pvalue > 1e-3
    assert abs(durations.mean() - law.mean()) < 4 * law.std() / math.sqrt(MANY)


class TestAgainstScipy:
    @pytest.mark.parametrize("s", [0.5, 20.0])
    def test_half_normal(self, s):
        law = scipy.stats.halfnorm(scale=s * math.sqrt(math.pi / 2))
        assert_law(sample(ct.half_normal([1.0, s])), law)
        assert law.mean() == pytest.approx(s)

    def test_half_normal_to_the_digit(self):
        # Both laws read the job's first normal number z.
        z = (sample(ct.trunc_normal([1.0, 1.0], spread=0.01), size=50) - 1.0) / 0.01
        np.testing.assert_allclose(
            sample(ct.half_normal([1.0, 3.0]), size=50),
            3.0 * math.sqrt(math.pi / 2) * np.abs(z),
            rtol=1e-9,
        )

    @pytest.mark.parametrize("spread", [0.2, 1.0, 5.0])
    def test_trunc_normal(self, spread):
        clock = ct.trunc_normal([1.0, 3.0], spread=spread)
        law = scipy.stats.truncnorm(-1 / spread, np.inf, loc=3.0, scale=3.0 * spread)
        assert_law(sample(clock), law)
        assert clock.mean_durations[1] == pytest.approx(law.mean(), rel=1e-12)

    @pytest.mark.parametrize("scale", [0.3, 1.0])
    def test_log_cauchy(self, scale):
        clock = ct.log_cauchy([1.0, 4.0], scale=scale)
        found = sample(clock)
        with np.errstate(divide="ignore"):
            logs = (np.log(found) - math.log(4.0)) / scale
        # Beyond the range of float64 the law has its mass at 0 and infinity.
        limit = 700.0 / scale
        inside = logs[np.abs(logs) < limit]
        outside = 2 / math.pi * math.atan(1 / limit)
        error = math.sqrt(outside * MANY)
        assert abs(len(logs) - len(inside) - outside * MANY) < 4 * error
        law = scipy.stats.cauchy()
        low, high = law.cdf([-limit, limit])
        p = scipy.stats.kstest(
            inside, lambda x: (law.cdf(x) - low) / (high - low)
        ).pvalue
        assert p > 1e-3
        assert np.isinf(clock.mean_durations).all() and clock.may_hang
        assert not np.isnan(found).any()

    def test_infinite_bernoulli(self):
        clock = ct.infinite_bernoulli([1.0, 2.5], q=0.7)
        found = sample(clock)
        ends = found == 2.5
        assert (ends | np.isinf(found)).all()
        assert abs(ends.mean() - 0.7) < 4 * math.sqrt(0.21 / MANY)

    def test_mixed(self):
        clock = ct.mixed([1.0, 2.0], factor=5.0, slow=0.2)
        found = sample(clock)
        assert set(found) == {2.0, 10.0}
        assert abs((found == 10.0).mean() - 0.2) < 4 * math.sqrt(0.16 / MANY)
        assert clock.mean_durations[1] == pytest.approx(0.8 * 2 + 0.2 * 10)

    def test_mindflayer(self):
        found = sample(ct.mindflayer([1.0, 2.0], spread=0.6))
        law = scipy.stats.lognorm(0.6, loc=2.0)
        assert_law(found, law)
        clock = ct.mindflayer([1.0, 2.0], spread=0.6)
        assert clock.mean_durations[1] == pytest.approx(law.mean(), rel=1e-12)
        assert not clock.may_hang
        hang = ct.mindflayer([1.0, 2.0], "infinite_bernoulli", q=0.25)
        assert abs(np.isinf(sample(hang)).mean() - 0.75) < 0.01
        cauchy = sample(ct.mindflayer([1.0, 2.0], "log_cauchy"))
        assert (cauchy >= 2.0).all()
        assert abs(np.median(cauchy) - 3.0) < 0.1

    def test_ringmaster_and_ringleader(self):
        n = 30
        half = math.sqrt(2 / math.pi)
        for clock, base, sd in (
            (ct.ringmaster_sqrt(n), 1 + math.sqrt(20), math.sqrt(21)),
            (ct.ringmaster_linear(n), 21.0, math.sqrt(21)),
        ):
            assert_law(sample(clock, 20), scipy.stats.halfnorm(base, sd))
            assert clock.mean_durations[20] == pytest.approx(base + half * sd)
        leader = ct.ringleader(n, seed=3)
        base = leader.mean_durations - half * np.sqrt(np.arange(1, n + 1))
        np.testing.assert_allclose(np.sort(base), np.arange(1, n + 1))
        assert not np.allclose(base, np.arange(1, n + 1))
        assert_law(sample(leader, 20), scipy.stats.halfnorm(base[20], math.sqrt(21)))
        other = ct.ringleader(n, seed=4)
        assert not np.array_equal(other.mean_durations, leader.mean_durations)

    def test_ata_groups(self):
        clock = ct.ata_groups(10)
        i = 29.0 * 6
        laws = [
            scipy.stats.expon(i, i),
            scipy.stats.uniform(1.5 * i, i),
            scipy.stats.halfnorm(i, i * math.sqrt(math.pi / 2)),
            scipy.stats.lognorm(
                math.sqrt(math.log(i)), loc=i, scale=math.exp(math.log(i) / 2)
            ),
            scipy.stats.gamma(i * i, loc=i, scale=1 / i),
        ]
        for kind, law in enumerate(laws):
            found = sample(clock, 5 + kind)
            assert scipy.stats.kstest(found, law.cdf).pvalue > 1e-3
            assert law.mean() == pytest.approx(clock.mean_durations[5 + kind])

    @pytest.mark.parametrize("s", [0.3, 4.0, 49.0, 51.0])
    def test_tick_normal(self, s):
        clock = ct.tick([1.0, s], "normal")
        first = np.array([clock.durations(1, seed, 0, 1)[0] for seed in range(4000)])
        folded = scipy.stats.foldnorm(1.0, loc=1.0, scale=s)
        assert scipy.stats.kstest(first, folded.cdf).pvalue > 1e-3
        later = sample(clock)[1:]
        assert (later == later.round()).all() and later.min() >= 1.0
        k = np.arange(1.0, 14 * s + 20)
        assert clock.mean_durations[1] == pytest.approx(
            1 + scipy.stats.foldnorm(1.0, scale=s).sf(k).sum(), rel=1e-9
        )
        error = later.std() / math.sqrt(MANY)
        assert abs(later.mean() - clock.mean_durations[1]) < 4 * error

    def test_tick_others(self):
        uniform = ct.tick([1.0, 3.5], "uniform")
        first = np.array([uniform.durations(1, seed, 0, 1)[0] for seed in range(4000)])
        assert scipy.stats.kstest(first, scipy.stats.uniform(1, 3.5).cdf).pvalue > 1e-3
        assert (sample(uniform)[1:] == 3.5).all()
        assert uniform.mean_durations[1] == 4.0  # whole ticks
        np.testing.assert_array_equal(
            sample(ct.tick([1.0, 3.0], "poisson")), sample(ct.poisson([1.0, 3.0]))
        )


class TestFixedOnes:
    def test_means(self):
        assert ct.two_speed(5, ratio=8).mean_durations.tolist() == [1, 1, 1, 8, 8]
        assert ct.koloskova_1000().mean_durations.sum() == 900 * 10 + 100 * 60
        assert set(ct.birch_hetcomp(50).mean_durations) == {1.0, 10.0}
        assert (ct.birch_classical(3).mean_durations == 10.0).all()
        worker = ct.bad_worker([1.0, 2.0, 3.0], worker=1, factor=100)
        assert worker.mean_durations.tolist() == [1.0, 202.0, 3.0]
        groups = ct.groups([2, 0, 1], [1.0, 5.0, 9.0], distribution="gamma", shape=3.0)
        assert groups.mean_durations.tolist() == [1.0, 1.0, 9.0]
        np.testing.assert_array_equal(
            sample(groups, 2), sample(ct.gamma([1.0, 1.0, 9.0], shape=3.0), 2)
        )


class TestComposed:
    def test_one_term_is_the_law_itself(self):
        # A joined worker draws what the law alone would draw for that worker.
        alone = ct.lognormal([1.0, 2.0, 3.0], sigma=0.5)
        single = [{"name": "lognormal", "mean": [s], "sigma": 0.5} for s in (1, 2, 3)]
        for worker in range(3):
            np.testing.assert_array_equal(
                sample(ct.concatenate(single), worker), sample(alone, worker)
            )

    def test_joined_keeps_every_kind(self):
        clock = ct.concatenate(
            [
                ct.empirical([[5.0, 7.0], [9.0]]),
                ct.stages(compute=ct.fixed([2.0]), upload=ct.empirical([[1.0, 3.0]])),
                ct.infinite_bernoulli([4.0], q=0.5),
                ct.pareto([1.0], alpha=3.0),
            ]
        )
        assert [set(sample(clock, i)) for i in range(4)] == [
            {5.0, 7.0},
            {9.0},
            {3.0, 5.0},
            {4.0, np.inf},
        ]
        assert (
            scipy.stats.kstest(
                sample(clock, 4), scipy.stats.pareto(3.0, scale=2 / 3).cdf
            ).pvalue
            > 1e-3
        )
        assert clock.mean_durations.tolist() == [6.0, 9.0, 4.0, np.inf, 1.0]
        assert clock.may_hang
        again = ct.get(**clock.config())
        np.testing.assert_array_equal(sample(again, 2), sample(clock, 2))

    def test_parts_add_up_independently(self):
        clock = ct.stages(
            download=ct.exponential([1.0, 2.0]),
            compute=ct.exponential([1.0, 2.0]),
            upload=ct.exponential([1.0, 2.0]),
        )
        assert_law(sample(clock), scipy.stats.gamma(3, scale=2.0))
        compute = sample(ct.exponential([1.0, 2.0]))
        rest = sample(clock) - compute  # the first part has the stream of the law alone
        assert_law(rest, scipy.stats.gamma(2, scale=2.0))
        assert abs(np.corrcoef(rest, compute)[0, 1]) < 4.5 / math.sqrt(MANY)


BAD = [
    (lambda: ct.log_cauchy([1.0, -2.0]), r"median\[1\] must be .* > 0, got -2.0"),
    (
        lambda: ct.log_cauchy([1.0], scale=0.0),
        "scale must be .* > 0, got 0.0",
    ),
    (lambda: ct.infinite_bernoulli([1.0], q=1.0), "q must be .* > 0 and < 1, got 1.0"),
    (
        lambda: ct.mixed([1.0], slow=1.5),
        "slow must be .* > 0 and < 1, got 1.5",
    ),
    (
        lambda: ct.mixed([1.0], factor=1.0),
        "factor must be .* > 1, got 1.0",
    ),
    (lambda: ct.mindflayer([1.0], "levy"), "eta must be 'lognormal', 'log_c"),
    (lambda: ct.mindflayer([1.0], spread=60.0), "spread must be at most 37, got 60.0"),
    (lambda: ct.trunc_normal([1.0], spread=-1.0), "spread must be .* > 0, got -1.0"),
    (
        lambda: ct.tick([1.0], "gamma"),
        "distribution must be 'fixed', 'poisson', .* got 'gamma'",
    ),
    (lambda: ct.tick([1, 1e10], "poisson"), r"mean\[1\] must be .* <= 1e\+09 for"),
    (lambda: ct.two_speed(1), "num_workers must be an integer >= 2, got 1"),
    (lambda: ct.two_speed(4, ratio=0.5), "ratio must be a finite number > 1, got 0.5"),
    (lambda: ct.koloskova_1000(25), "num_workers must be a multiple of 10, .* got 25"),
    (lambda: ct.ata_groups(12), "num_workers must be a multiple of 5, .* got 12"),
    (lambda: ct.one_straggler(5, 4), "num_gradients must be an integer >= 5, got 4"),
    (lambda: ct.bad_worker([1.0], worker=1), r"worker must be .* 0\.\.0, got 1"),
    (lambda: ct.ringleader(3, seed=-1), "seed must be an integer >= 0, got -1"),
    (lambda: ct.groups([1, 2], [1.0]), "sizes must have .* 1 groups of mean, got 2"),
    (lambda: ct.groups([0], [1.0]), "sizes must add up to at least one worker"),
    (lambda: ct.groups([1], [1.0], distribution="norml"), "did you mean 'normal'"),
    (lambda: ct.concatenate([]), "compute_times must have at least one entry"),
    (lambda: ct.concatenate([ct.tick([1.0])]), "depends on when a job starts"),
    (lambda: ct.stages(), "download, compute, upload must be given"),
    (
        lambda: ct.stages(compute=ct.fixed([1.0]), upload=ct.fixed([1.0, 2.0])),
        r"the same number of workers, got {'compute': 1, 'upload': 2}",
    ),
    (lambda: ct.example("fixd"), "did you mean 'fixed'"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ct.two_speed(2.0), "num_workers must be .*, got 2.0"),
        (lambda: ct.koloskova_1000(True), "num_workers must be .*, got True"),
        (lambda: ct.mixed([1.0], slow="0.5"), "slow must be a .*, got '0.5'"),
        (
            lambda: ct.concatenate([[1.0, 2.0]]),
            r"compute_times\[0\] must be .*, got \[1.0, 2.0\]",
        ),
        (lambda: ct.stages(compute=[1.0]), r"compute must be .*, got \[1.0\]"),
        (
            lambda: ct.groups([1], [1.0], distribution="two_speed"),
            "must be one that is made from means",
        ),
    ],
)
def test_bad_types(make, message):
    with pytest.raises(TypeError, match=message):
        make()
