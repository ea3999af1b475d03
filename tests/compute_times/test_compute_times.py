"""Compute times: random numbers, the laws against SciPy, blocks of a user's sampler."""

import math
import re

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from asgrad_jax import compute_times
from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.jit import njit
from asgrad_jax.simulation import durations

SETTINGS = settings(derandomize=True, deadline=None, max_examples=60)
MANY = 40_000
# The families of basic_clocks.py that are given by means, and empirical.
BASIC = [*compute_times.names()[:10], "empirical"]


@njit
def _map(function, x):
    out = np.empty(x.size)
    for i in range(x.size):
        out[i] = function(x[i])
    return out


@njit
def _uniforms(key, size):
    out = np.empty(size)
    for i in range(size):
        out[i] = random.uniform(key, i)
    return out


def _ulps(ours, theirs):
    return np.abs(ours - theirs) / np.spacing(np.abs(theirs))


class TestRandom:
    def test_log_is_within_two_units_in_the_last_place(self):
        rng = np.random.default_rng(0)
        x = np.concatenate(
            [
                rng.uniform(0.0, 2.0, MANY),
                10.0 ** rng.uniform(-300, 300, MANY),
                1.0 + rng.normal(0.0, 1e-6, MANY),
                2.0 ** np.arange(-54.0, 54.0),
            ]
        )
        x = x[x != 1.0]
        assert _ulps(_map(random.log, x), np.array([*map(math.log, x)])).max() < 2
        assert random.log(1.0) == 0.0

    def test_exp_is_within_two_units_in_the_last_place(self):
        rng = np.random.default_rng(1)
        x = np.concatenate([rng.uniform(-700, 700, MANY), rng.normal(0, 1, MANY)])
        assert _ulps(_map(random.exp, x), np.array([*map(math.exp, x)])).max() < 2
        assert random.exp(0.0) == 1.0
        assert random.exp(1000.0) == math.inf
        assert random.exp(-1000.0) == 0.0
        assert random.exp(-744.0) == pytest.approx(math.exp(-744.0), rel=0.6)

    def test_normal_quantile_matches_scipy(self):
        rng = np.random.default_rng(2)
        tails = 2.0 ** -rng.uniform(1, 54, MANY)
        u = np.concatenate([rng.uniform(0, 1, MANY), tails, 1.0 - tails[tails > 1e-15]])
        theirs = scipy.special.ndtri(u)
        error = np.abs(_map(random.normal_quantile, u) - theirs)
        assert (error <= 1e-14 * np.abs(theirs)).all()

    def test_compiled_arithmetic_is_plain_ieee(self):
        # The interpreter rounds after every operation; a fused multiply-add would not.
        rng = np.random.default_rng(3)
        for x in 10.0 ** rng.uniform(-300, 300, 3000):
            assert random.log(x) == random.log.py_func(x)
        for x in rng.uniform(-700, 700, 3000):
            assert random.exp(x) == random.exp.py_func(x)
        for u in rng.uniform(0, 1, 3000):
            top, bottom = random._CENTRE_TOP, random._CENTRE_BOTTOM
            plain = random._ratio.py_func(u, top, bottom)
            assert random._ratio(u, top, bottom) == plain

    def test_bits_are_splitmix64(self):
        # Published outputs of SplitMix64 with seed 1234567.
        expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
        key = np.uint64(1234567)
        assert [int(random.bits(key, i)) for i in range(3)] == expected

    def test_uniform_is_uniform_in_the_open_interval(self):
        u = _uniforms(random.stream_key(3, 1), 200_000)
        assert 0.0 < u.min() and u.max() < 1.0
        assert scipy.stats.kstest(u, "uniform").pvalue > 1e-3
        # Neighbours in a stream, and equal places of two streams, are independent.
        other = _uniforms(random.stream_key(4, 1), 200_000)
        bound = 4 / math.sqrt(200_000)
        assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < bound
        assert abs(np.corrcoef(u, other)[0, 1]) < bound

    @SETTINGS
    @given(st.integers(0, 2**63), st.integers(0, 2**40), st.integers(1, 2**31 - 1))
    def test_uniform_int_is_the_upper_half_of_the_product(self, key, counter, n):
        z = int(random.bits(np.uint64(key), counter))
        assert random.uniform_int(np.uint64(key), counter, n) == (z * n) >> 64

    def test_seeds_and_tags_give_different_keys(self):
        seeds = [0, 1, 2**63 - 1, 2**63, 2**64, 2**64 + 1, 2**200]
        keys = {int(random.stream_key(seed, tag)) for seed in seeds for tag in (1, 2)}
        assert len(keys) == 2 * len(seeds)
        assert random.stream_key(np.int64(5), 1) == random.stream_key(5, 1)

    @pytest.mark.parametrize(
        ("seed", "error"),
        [(-1, ValueError), (True, TypeError), (1.0, TypeError), ("1", TypeError)],
    )
    def test_bad_seeds(self, seed, error):
        message = f"^seed must be an integer >= 0, got {seed!r}$"
        with pytest.raises(error, match=message):
            random.stream_key(seed, 1)


def _draw(times, worker=1, seed=7):
    return times.durations(worker, seed, 0, MANY)


# Worker 1 has mean s; each law as SciPy knows it.
CONTINUOUS = {
    "normal": (
        lambda s: compute_times.normal([1.0, s]),
        lambda s: scipy.stats.foldnorm(1.0, loc=1.0, scale=s),
    ),
    "uniform": (
        lambda s: compute_times.uniform([1.0, s]),
        lambda s: scipy.stats.uniform(1.0, s),
    ),
    "exponential": (
        lambda s: compute_times.exponential([1.0, s]),
        lambda s: scipy.stats.expon(scale=s),
    ),
    "gamma": (
        lambda s: compute_times.gamma([1.0, s]),
        lambda s: scipy.stats.gamma(2.0, scale=s / 2.0),
    ),
    "gamma below one": (
        lambda s: compute_times.gamma([1.0, s], shape=0.3),
        lambda s: scipy.stats.gamma(0.3, scale=s / 0.3),
    ),
    "lognormal": (
        lambda s: compute_times.lognormal([1.0, s], sigma=0.7),
        lambda s: scipy.stats.lognorm(0.7, scale=s * math.exp(-0.245)),
    ),
    "pareto": (
        lambda s: compute_times.pareto([1.0, s], alpha=3.0),
        lambda s: scipy.stats.pareto(3.0, scale=s * 2 / 3),
    ),
}


class TestLaws:
    @pytest.mark.parametrize("name", CONTINUOUS)
    @pytest.mark.parametrize("s", [0.5, 20.0])
    def test_continuous_law(self, name, s):
        make, reference = CONTINUOUS[name]
        times, law = make(s), reference(s)
        sample = _draw(times)
        assert scipy.stats.kstest(sample, law.cdf).pvalue > 1e-3
        assert times.mean_durations[1] == pytest.approx(law.mean(), rel=1e-12)
        error = law.std() / math.sqrt(MANY)
        assert abs(sample.mean() - law.mean()) < 4 * error

    @pytest.mark.parametrize("s", [0.01, 1.0, 9.99, 10.0, 11.5, 300.0, 1e6])
    def test_poisson(self, s):
        sample = _draw(compute_times.poisson([1.0, s]))
        law = scipy.stats.poisson(s)
        # About 30 cells of equal probability, at least 5 expected in each.
        edges = np.unique(law.ppf(np.linspace(0.0, 1.0, 31)[1:-1]))
        cells = np.searchsorted(edges, sample)
        cdf = np.concatenate([[0.0], law.cdf(edges), [1.0]])
        expected = np.diff(cdf) * MANY
        observed = np.bincount(cells, minlength=expected.size)
        keep = expected > 0
        assert observed[~keep].sum() == 0
        p = scipy.stats.chisquare(observed[keep], expected[keep]).pvalue
        assert p > 1e-3
        assert (sample == np.floor(sample)).all() and sample.min() >= 0

    def test_poisson_log_factorials(self):
        from asgrad_jax.compute_times._distributions import _log_factorial

        k = np.concatenate([np.arange(200.0), 10.0 ** np.arange(3, 10)])
        ours = _map(_log_factorial, k)
        np.testing.assert_allclose(ours, scipy.special.gammaln(k + 1), rtol=2e-15)

    def test_fixed(self):
        assert (_draw(compute_times.fixed([1.0, 2.5])) == 2.5).all()

    def test_empirical(self):
        times = compute_times.empirical([[9.0], [1.0, 2.0, 2.0, 5.0]])
        sample = _draw(times)
        observed = [(sample == value).sum() for value in (1.0, 2.0, 5.0)]
        expected = [MANY / 4, MANY / 2, MANY / 4]
        assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3
        assert (times.durations(0, 0, 0, 10) == 9.0).all()
        assert times.mean_durations.tolist() == [9.0, 2.5]

    @pytest.mark.parametrize("name", BASIC)
    def test_workers_seeds_and_neighbouring_jobs_are_independent(self, name):
        if name == "fixed":
            return
        times = _family(name, 3)
        one = times.durations(1, 0, 0, MANY)
        for other in (
            times.durations(2, 0, 0, MANY),  # another worker
            times.durations(1, 1, 0, MANY),  # another seed
            times.durations(1, 0, 1, MANY),  # the next job
        ):
            # Ranks, since some of the laws have no fourth moment.
            correlation = scipy.stats.spearmanr(one, other).statistic
            assert abs(correlation) < 4.5 / math.sqrt(MANY)

    def test_no_stream_is_a_shifted_copy_of_another(self):
        times = compute_times.exponential(np.ones(20))
        drawn = [
            times.durations(worker, seed, 0, 2000)
            for worker in range(20)
            for seed in range(5)
        ]
        assert np.unique(drawn).size == 20 * 5 * 2000

    @SETTINGS
    @given(
        st.sampled_from(BASIC),
        st.integers(0, 4),
        st.integers(0, 2**70),
        st.integers(0, 100),
        st.integers(0, 40),
    )
    def test_durations_do_not_depend_on_the_block(self, name, worker, seed, first, k):
        times = _family(name, 5)
        block = times.durations(worker, seed, 0, first + k)
        again = times.durations(worker, seed, first, k)
        np.testing.assert_array_equal(block[first:], again)

    @pytest.mark.parametrize("name", BASIC)
    def test_config_makes_the_same_law(self, name):
        times = _family(name, 3)
        copy = compute_times.get(**times.config())
        assert copy.config() == times.config()
        np.testing.assert_array_equal(
            copy.durations(2, 5, 0, 50), times.durations(2, 5, 0, 50)
        )
        np.testing.assert_array_equal(copy.mean_durations, times.mean_durations)
        assert isinstance(times, compute_times.Sampler)

    def test_sample_draws_from_the_law_and_from_the_generator(self):
        times = compute_times.exponential([1.0, 4.0])
        rng = np.random.default_rng(0)
        one, two = times.sample(1, rng, MANY), times.sample(1, rng, MANY)
        assert scipy.stats.kstest(one, scipy.stats.expon(scale=4.0).cdf).pvalue > 1e-3
        assert abs(np.corrcoef(one, two)[0, 1]) < 4.5 / math.sqrt(MANY)
        again = times.sample(1, np.random.default_rng(0), MANY)
        np.testing.assert_array_equal(one, again)

    def test_laws_cannot_be_changed(self):
        times = compute_times.fixed([1.0, 2.0])
        with pytest.raises(ValueError, match="read-only"):
            times.mean_durations[0] = 5.0
        mean = np.array([1.0, 2.0])
        times = compute_times.fixed(mean)
        mean[:] = 9.0
        assert times.durations(1, 0, 0, 1) == 2.0
        compute_times.bad_worker(mean, worker=1)
        assert mean.tolist() == [9.0, 9.0]  # the user's own array stays as it is


def _family(name, n):
    if name == "empirical":
        return compute_times.empirical([np.arange(1.0, 40.0 + i) for i in range(n)])
    return compute_times.get(name, np.arange(1, n + 1))


class TestBadInput:
    @pytest.mark.parametrize("name", BASIC[:-1])
    @pytest.mark.parametrize(
        ("mean", "error", "message"),
        [
            ([1.0, 0.0], ValueError, "mean[1] must be a finite number > 0, got 0.0"),
            ([-2, 1], ValueError, "mean[0] must be a finite number > 0, got -2.0"),
            (
                [1, 2, np.nan],
                ValueError,
                "mean[2] must be a finite number > 0, got n",
            ),
            ([np.inf], ValueError, "mean[0] must be a finite number > 0, got inf"),
            ([], ValueError, "mean must have at least one number, got none"),
            (
                [[1.0, 2.0]],
                ValueError,
                "mean must be a flat list such as [1, 2, 3]",
            ),
            (3.0, ValueError, "a flat list such as [1, 2, 3], got shape ()"),
            (
                [[1.0], [1.0, 2.0]],
                ValueError,
                "got lists of unequal lengths, [[1.0], ",
            ),
            ("fast", TypeError, "mean must be real numbers, got 'fast'"),
            (["1", "2"], TypeError, "mean must be real numbers, got ['1', '2']"),
            ([True, True], TypeError, "mean must be real numbers, got [True, True]"),
            ([1.0, None], TypeError, "mean must be real numbers, got [1.0, None]"),
            ([1j], TypeError, "mean must be real numbers, got [1j]"),
        ],
    )
    def test_means(self, name, mean, error, message):
        with pytest.raises(error, match=re.escape(message)):
            compute_times.get(name, mean)

    @pytest.mark.parametrize(
        ("name", "parameter"),
        [
            ("gamma", {"shape": 0.0}),
            ("gamma", {"shape": np.nan}),
            ("lognormal", {"sigma": -1.0}),
            ("lognormal", {"sigma": np.inf}),
            ("pareto", {"alpha": 1.0}),
        ],
    )
    def test_parameters(self, name, parameter):
        ((key, value),) = parameter.items()
        wanted = f"^{key} must be a finite number > {int(key == 'alpha')}, got "
        with pytest.raises(ValueError, match=f"{wanted}{value}$"):
            compute_times.get(name, [1.0], **parameter)
        with pytest.raises(TypeError, match=f"{wanted}'2'$"):
            compute_times.get(name, [1.0], **dict.fromkeys(parameter, "2"))

    @pytest.mark.parametrize(
        ("lists", "error", "message"),
        [
            ([], ValueError, "durations must have one list per worker, got none"),
            (
                [[1.0], []],
                ValueError,
                "durations[1] must have at least one number",
            ),
            (
                [[1, -1]],
                ValueError,
                "durations[0][1] must be a finite number >= 0",
            ),
            ([[1.0], [np.inf]], ValueError, "durations[1][0] must be a finite number"),
            (
                [[0.0, 0.0]],
                ValueError,
                "durations[0] must have a number > 0, got z",
            ),
            (["ab"], TypeError, "durations[0] must be real numbers, got 'ab'"),
            ("ab", TypeError, "durations must be a list of lists, got 'ab'"),
            (
                [1.0, 2.0],
                ValueError,
                "durations[0] must be a flat list such as [",
            ),
        ],
    )
    def test_empirical(self, lists, error, message):
        with pytest.raises(error, match=re.escape(message)):
            compute_times.empirical(lists)

    def test_the_rest(self):
        message = (
            r"must be a known one, got 'norml' \(did you mean 'normal'\?\); choose "
            "from fixed, normal"
        )
        with pytest.raises(ValueError, match=message):
            compute_times.get("norml", [1.0])
        with pytest.raises(
            ValueError,
            match=r"mean\[1\] must be .* <= 1e\+09 for poisson, got 10000000000.0",
        ):
            compute_times.poisson([1.0, 1e10])
        times = compute_times.fixed([1.0])
        with pytest.raises(ValueError, match=r"worker must be .* in 0\.\.0, got 1"):
            times.durations(1, 0, 0, 1)
        for arguments, error, message in (
            ((0, 0, -1, 1), ValueError, "first must be an integer >= 0, got -1"),
            ((0, 0, 1.5, 1), TypeError, "first must be an integer >= 0, got 1.5"),
            ((0, 0, 10**30, 1), ValueError, r"first \+ size must be .* in 0\.\.4611"),
            (
                (0.5, 0, 0, 1),
                TypeError,
                r"worker must be an integer in 0\.\.0, got 0.5",
            ),
            ((True, 0, 0, 1), TypeError, "worker must be an integer .* got True"),
        ):
            with pytest.raises(error, match=message):
                times.durations(*arguments)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (
                (10**9, 0.0, 1.0),
                ValueError,
                r"worker must be .* in 0\.\.2, got 10{9}",
            ),
            (
                (-1, 0.0, 1.0),
                ValueError,
                r"worker must be .* in 0\.\.2, got -1",
            ),
            (
                (0, np.nan, 1.0),
                ValueError,
                "start must be a finite .* >= 0, got nan",
            ),
            (
                (0, np.inf, 1.0),
                ValueError,
                "start must be a finite .* >= 0, got inf",
            ),
            ((0, 0.0, -1.0), ValueError, "work must be a number >= 0, got -1.0"),
            ((0, "0", 1.0), TypeError, "start must be a finite number >= 0, got '0'"),
            ((0, 0.0, True), TypeError, "work must be a number >= 0, got True"),
        ],
    )
    def test_end_time(self, arguments, error, message):
        times = compute_times.example("universal", 3)
        with pytest.raises(error, match=message):
            times.end_time(*arguments)
        assert times.end_time(0, 0.0, np.inf) == np.inf

    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (
                lambda: compute_times.fixed([True, 2.5]),
                TypeError,
                r"mean must be real numbers, got \[True, 2.5\]",
            ),
            (
                lambda: compute_times.gamma([1], 10**400),
                ValueError,
                r"shape must be a finite number > 0, got 1000+\.\.\.0+$",
            ),
            (
                lambda: compute_times.concatenate(compute_times.fixed([1])),
                TypeError,
                r"compute_times must be a list of .*, got fixed\(1 workers",
            ),
            (
                # A dict of its config is one clock too.
                lambda: compute_times.concatenate({"name": "fixed", "mean": [1]}),
                TypeError,
                "compute_times must be a list of compute times .*, got {",
            ),
            (
                lambda: compute_times.groups(3, [1.0]),
                TypeError,
                "sizes must be a list of numbers of workers, got 3",
            ),
            (
                lambda: compute_times.get(["fixed"], [1]),
                TypeError,
                r"name of compute times must be a known one, got \['fixed'\]",
            ),
        ],
    )
    def test_slips(self, make, error, message):
        with pytest.raises(error, match=message):
            make()


class Recorder:
    """A sampler that counts 0, 1, 2, ... per worker and remembers its calls."""

    num_workers = 3

    def __init__(self):
        self.calls = []

    def sample(self, worker, rng, size):
        self.calls.append((worker, size))
        first = sum(s for w, s in self.calls[:-1] if w == worker)
        return np.arange(first, first + size)


class Answers:
    """A sampler that gives a fixed answer."""

    num_workers = 1

    def __init__(self, answer):
        self.answer = answer

    def sample(self, worker, rng, size):
        return self.answer(size)


class TestBlocks:
    def test_sizes_grow_with_the_job_alone_and_every_job_has_its_duration(self):
        sampler = Recorder()
        blocks = durations.duration_blocks(sampler, seed=0)
        rng = np.random.default_rng(0)
        k = [0, 0, 0]
        for worker in rng.choice(3, size=40_000, p=[0.7, 0.25, 0.05]):
            assert blocks.duration(worker, k[worker]) == k[worker]
            k[worker] += 1
        sizes = [size for worker, size in sampler.calls if worker == 0]
        assert sizes == [16 << i for i in range(9)] + [4096] * (len(sizes) - 9)
        assert len(sizes) > 10
        # Freed places are used again: at most one block per worker and the holes that
        # growing leaves.
        assert blocks.values.size <= 4 * 3 * 4096

    def test_generators_depend_on_seed_and_worker(self):
        class Uniform:
            num_workers = 2

            def sample(self, worker, rng, size):
                return rng.uniform(size=size)

        def first(seed, worker):
            return durations.duration_blocks(Uniform(), seed).duration(worker, 0)

        assert first(0, 0) == first(0, 0)
        assert len({first(0, 0), first(0, 1), first(1, 0), first(2**80, 0)}) == 4

    @pytest.mark.parametrize(
        ("answer", "error", "message"),
        [
            (lambda size: np.ones(size + 1), ValueError, r"shape \(16,\), got \(17,\)"),
            (lambda size: 1.0, ValueError, r"shape \(16,\), got \(\)"),
            (lambda size: np.full(size, np.nan), ValueError, "nan at entry 0"),
            (lambda size: np.r_[np.ones(15), np.inf], ValueError, "inf at entry 15"),
            (lambda size: np.r_[1.0, -np.ones(15)], ValueError, "-1.0 at entry 1"),
            (lambda size: ["a"] * size, TypeError, "return numbers"),
            (lambda size: None, TypeError, "return numbers"),
            (lambda size: [[1.0], [1.0, 2.0]], ValueError, "must return a flat array"),
            (
                lambda size: np.full(size, np.inf, np.float32),
                ValueError,
                "inf at entry 0",
            ),
        ],
    )
    def test_bad_samples(self, answer, error, message):
        with pytest.raises(error, match=message):
            durations.duration_blocks(Answers(answer), 0).refill(0)

    def test_bad_samplers(self):
        for wrong in ([1.0, 2.0], [np.ones(2)], np.ones(1)):
            with pytest.raises(TypeError, match=r"empirical.*num_workers and sample"):
                durations.check_compute_times(wrong)
        with pytest.raises(TypeError, match="the class Answers; give an object"):
            durations.check_compute_times(Answers)
        sampler = Answers(np.ones)
        sampler.num_workers = 0
        with pytest.raises(ValueError, match=r"num_workers must be .* >= 1, got 0"):
            durations.check_compute_times(sampler)
        sampler.num_workers = 1.5
        with pytest.raises(TypeError, match="integer"):
            durations.check_compute_times(sampler)
        sampler = Answers(np.ones)
        sampler.sample = lambda worker, rng: np.ones(16)
        with pytest.raises(TypeError, match="sample must take"):
            durations.duration_blocks(sampler, 0)
        sampler = Answers(np.ones)
        for end, message in ((None, "got None"), ("2.0", "got '2.0'")):
            sampler.end_time = lambda worker, start, work, end=end: end
            with pytest.raises(TypeError, match=f"must be a number, {message}"):
                durations.duration_blocks(sampler, 0).end(0, 0, 0.0, 0.0)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble])
    def test_samples_of_other_types(self, dtype):
        sampler = Answers(lambda size: np.full(size, 2.5, dtype))
        assert durations.duration_blocks(sampler, 0).duration(0, 0) == 2.5
