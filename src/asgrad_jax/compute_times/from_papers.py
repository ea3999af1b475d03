"""Compute times of published experiments and worked examples, under their names."""

import math

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.checks import (
    check_choice,
    check_count,
    check_number,
    make_read_only,
)
from asgrad_jax._util.sizes import check_workers
from asgrad_jax.compute_times import _distributions, _speed_profile
from asgrad_jax.compute_times.base import ComputeTimes, check_mean
from asgrad_jax.compute_times.basic import fixed, poisson_means
from asgrad_jax.compute_times.composed import (
    Summand,
    fixed_plus,
    from_summands,
    renamed,
)
from asgrad_jax.compute_times.registry import over_speeds, register

TICK_DISTRIBUTIONS = {
    "fixed": _distributions.FIXED,
    "poisson": _distributions.POISSON,
    "normal": _distributions.TICK_NORMAL,
    "uniform": _distributions.TICK_UNIFORM,
}
_HALF_NORMAL_MEAN = 0.7978845608028654  # sqrt(2 / pi), of |N(0, 1)|
_BIRCH_STREAM = 11  # tags of the streams that the own seed of compute times feeds
_RINGLEADER_STREAM = 12


def _of_size(make, num_workers):
    return make(num_workers)


@register(example=over_speeds)
def tick(mean: ArrayLike, distribution: str = "normal") -> ComputeTimes:
    """Compute times of AsGrad's published code, which serves workers once per tick.

    A job given out at tick t with duration D is served at tick ceil(t + D). Jobs served
    at the same tick go by the time they have left (the most overdue first), then by
    worker number. The distributions are those of the code, whose first job per worker
    differs: "fixed" s_i; "poisson" Poisson(s_i), 0 possible; "normal" |N(s_i, s_i)| +
    1, later floor |N(s_i, s_i)| + 1; "uniform" U(0, s_i) + 1, later s_i. A queued job
    starts when the one before it is served, unlike in that code, where it stalls.

    In a schedule `time` is t + D, which orders the arrivals within a tick; the tick is
    its ceiling. `mean_durations` is the mean number of ticks of a later job.

    Args:
        mean: [n] ticks, s_i > 0.
        distribution: "fixed", "poisson", "normal" or "uniform".

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> import asgrad_jax as ag
        >>> schedule = ag.simulate("pure_async", tick([1, 2], "fixed"), num_gradients=5)
        >>> schedule.worker  # at ticks 1, 2, 2, 3, 4: the lower number first
        array([0, 0, 1, 0, 0], dtype=int32)
    """
    check_choice("distribution", distribution, TICK_DISTRIBUTIONS)
    s = poisson_means(mean) if distribution == "poisson" else check_mean(mean)
    ticks = np.ceil(s)
    if distribution == "poisson":
        ticks = s
    elif distribution == "normal":
        ticks = np.array([_mean_floor(value) for value in s.tolist()]) + 1.0
    tail = {"poisson": "lighter than exponential", "normal": "gaussian"}
    return ComputeTimes(
        "tick",
        make_read_only(ticks),
        tail.get(distribution, "bounded"),
        _distributions.Distribution(
            TICK_DISTRIBUTIONS[distribution], s, speed=_speed_profile.TICKS
        ),
        {"mean": s.tolist(), "distribution": distribution},
    )


@register(example=lambda make, n: make(max(n, 2)))
def two_speed(num_workers: int, ratio: float = 4.0) -> ComputeTimes:
    """The first half of the workers, n/2 or (n+1)/2, take 1 s, the others `ratio` s.

    As described in reviews of clipped ASGD (Erickson, Johansson 2606.13287), not in its
    abstract: 16 workers, ratio 4 or 8.

    Args:
        num_workers: n >= 2.
        ratio: > 1.

    Raises:
        TypeError, ValueError: if an argument is out of range.

    Example:
        >>> two_speed(4, ratio=8).mean_durations
        array([1., 1., 8., 8.])
    """
    n = check_workers(num_workers, minimum=2)
    ratio = check_number("ratio", ratio, above=1)
    s = np.repeat([1.0, ratio], [n - n // 2, n // 2])
    return renamed(fixed(s), "two_speed", {"num_workers": n, "ratio": ratio})


@register(example=_of_size)
def birch_classical(num_workers: int) -> ComputeTimes:
    """Every worker takes 10 s, the "classical" regime of Birch SGD (from notes).

    Args:
        num_workers: n >= 1.

    Raises:
        TypeError, ValueError: if n is no such integer.

    Example:
        >>> birch_classical(3).mean_durations
        array([10., 10., 10.])
    """
    n = check_workers(num_workers)
    return renamed(fixed([10.0] * n), "birch_classical", {"num_workers": n})


@register(example=_of_size)
def birch_hetcomp(num_workers: int, seed: int = 0) -> ComputeTimes:
    """Every worker takes 1 s or 10 s, by the toss of a coin.

    The heterogeneous-compute regime of Birch SGD as notes describe it ("each in {1,
    10}"); the fair coin is our reading.

    Args:
        num_workers: n >= 1.
        seed: of the coins, which are the same for every seed of a simulation.

    Raises:
        TypeError, ValueError: if an argument is not a count.

    Example:
        >>> birch_hetcomp(6, seed=1).mean_durations.tolist()
        [1.0, 1.0, 10.0, 10.0, 1.0, 10.0]
    """
    n = check_workers(num_workers)
    key = random.stream_key(seed, _BIRCH_STREAM)
    s = [(1.0, 10.0)[random.uniform_int(key, i, 2)] for i in range(n)]
    return renamed(fixed(s), "birch_hetcomp", {"num_workers": n, "seed": int(seed)})


@register(example=lambda make, n: make(10 * math.ceil(n / 10)))
def koloskova_1000(num_workers: int = 1000) -> ComputeTimes:
    """900 clients that take 10 s, and then 100 that take 60 s.

    The worked example of Koloskova, Stich, Jaggi (2206.08307), Lemma 11.

    Args:
        num_workers: 1000, or another multiple of 10 in the same proportion.

    Raises:
        TypeError, ValueError: if n is no such integer.

    Example:
        >>> koloskova_1000().mean_durations.mean()  # 15 s, as in the paper
        np.float64(15.0)
    """
    n = check_workers(num_workers, minimum=10)
    if n % 10:
        raise ValueError(
            f"num_workers must be a multiple of 10, nine fast clients per slow one, "
            f"got {n}"
        )
    s = np.repeat([10.0, 60.0], [9 * n // 10, n // 10])
    return renamed(fixed(s), "koloskova_1000", {"num_workers": n})


@register(example=lambda make, n: make(max(n, 2), 1000))
def one_straggler(num_workers: int, num_gradients: int) -> ComputeTimes:
    """n - 1 workers take 1 s, the last one returns only at the end of the run.

    The example of Koloskova, Stich, Jaggi (2206.08307) in which the maximal delay says
    nothing: under pure asynchronous SGD tau_max is about the length of the run and the
    average delay stays below n - 1.

    Args:
        num_workers: n >= 2.
        num_gradients: A >= n, length of the run.

    Returns:
        The compute times: the straggler takes floor((A - 1) / (n - 1)) + 1/2 seconds,
        so that pure asynchronous SGD sees it in the last n - 1 of A rows (n = 2: in the
        last one).

    Raises:
        TypeError, ValueError: if an argument is out of range.

    Example:
        >>> import asgrad_jax as ag
        >>> times = one_straggler(2, 100)
        >>> ag.simulate("pure_async", times, num_gradients=100).delay[-2:]
        array([ 0, 99], dtype=int32)
    """
    n = check_workers(num_workers, minimum=2)
    rows = check_count("num_gradients", num_gradients, minimum=n)
    slow = (rows - 1) // (n - 1) + 0.5
    config = {"num_workers": n, "num_gradients": rows}
    return renamed(fixed([1.0] * (n - 1) + [slow]), "one_straggler", config)


@register(example=over_speeds)
def bad_worker(mean: ArrayLike, worker: int = 0, factor: float = 100.0) -> ComputeTimes:
    """Fixed times, but one worker sleeps `factor` times its compute time on top.

    As in the notebook of Mishchenko, Bach, Even, Woodworth (2206.07638), where a bad
    worker sleeps 100 times (an argument that exists there and is not passed on).

    Args:
        mean: [n] seconds, s_i > 0.
        worker: which one, in 0..n-1.
        factor: > 0.

    Raises:
        TypeError, ValueError: if an argument is out of range.

    Example:
        >>> bad_worker([1.0, 1.0], worker=1).mean_durations
        array([  1., 101.])
    """
    s = check_mean(mean)
    worker = check_count("worker", worker, minimum=0, maximum=len(s) - 1)
    factor = check_number("factor", factor, above=0)
    config = {"mean": s.tolist(), "worker": worker, "factor": factor}
    s[worker] *= 1.0 + factor
    return renamed(fixed(s), "bad_worker", config)


@register(example=_of_size)
def ringmaster_sqrt(num_workers: int) -> ComputeTimes:
    """Job times 1 + sqrt(i) + |N(0, (sqrt(i + 1))^2)|, i = 0..n-1.

    As in the stored scripts of Ringmaster ASGD (Maranjyan, Tyurin, Richtarik
    2501.16168), n = 6174 there.

    Args:
        num_workers: n >= 1.

    Raises:
        TypeError, ValueError: if n is no such integer.

    Example:
        >>> ringmaster_sqrt(2).mean_durations.round(4)
        array([1.7979, 3.1284])
    """
    n = check_workers(num_workers)
    i = np.arange(n)
    return _plus_half_normal(
        "ringmaster_sqrt", 1.0 + np.sqrt(i), np.sqrt(i + 1), {"num_workers": n}
    )


@register(example=_of_size)
def ringmaster_linear(num_workers: int) -> ComputeTimes:
    """Job times i + |N(0, i)|, i = 1..n, the second number a variance.

    The usual reading of the paper of Ringmaster ASGD (2501.16168); its stored scripts
    have `ringmaster_sqrt`.

    Args:
        num_workers: n >= 1.

    Raises:
        TypeError, ValueError: if n is no such integer.

    Example:
        >>> ringmaster_linear(4).mean_durations.round(4)
        array([1.7979, 3.1284, 4.382 , 5.5958])
    """
    n = check_workers(num_workers)
    i = np.arange(1.0, n + 1.0)
    return _plus_half_normal("ringmaster_linear", i, np.sqrt(i), {"num_workers": n})


@register(example=_of_size)
def ringleader(num_workers: int, seed: int = 0) -> ComputeTimes:
    """Job times b_i + |N(0, (sqrt(i + 1))^2)|, b a random permutation of 1..n.

    As in the code of Ringleader ASGD (Maranjyan, Richtarik 2509.22860), n = 100 there;
    the random numbers are ours.

    Args:
        num_workers: n >= 1.
        seed: of the permutation, which is the same for every seed of a simulation.

    Raises:
        TypeError, ValueError: if an argument is not a count.

    Example:
        >>> ringleader(3, seed=2).mean_durations.round(4)
        array([2.7979, 4.1284, 2.382 ])
    """
    n = check_workers(num_workers)
    key = random.stream_key(seed, _RINGLEADER_STREAM)
    base = np.arange(1.0, n + 1.0)
    for j in range(n):  # Fisher-Yates
        other = j + random.uniform_int(key, j, n - j)
        base[j], base[other] = base[other], base[j]
    config = {"num_workers": n, "seed": int(seed)}
    return _plus_half_normal("ringleader", base, np.sqrt(np.arange(1, n + 1)), config)


@register(example=lambda make, n: make(5 * math.ceil(n / 5)))
def ata_groups(num_workers: int) -> ComputeTimes:
    """Groups of five workers of equal mean, one of each kind of randomness.

    Group g = 0, 1, ... has the mean 2 i with i = 29 (5 g + 1). A job takes i seconds
    plus a random number of mean i: exponential, uniform(i/2, 3i/2), half-normal,
    log-normal (log-mean ln(i)/2, sigma sqrt(ln i)), gamma (shape i^2, scale 1/i). As in
    the code of ATA (2502.00775), n = 15, 45 or 150 there.

    Args:
        num_workers: n, a multiple of 5.

    Raises:
        TypeError, ValueError: if n is no such integer.

    Example:
        >>> ata_groups(10).mean_durations
        array([ 58.,  58.,  58.,  58.,  58., 348., 348., 348., 348., 348.])
    """
    n = check_workers(num_workers, minimum=5)
    if n % 5:
        raise ValueError(
            f"num_workers must be a multiple of 5, five per group, got {n}"
        )
    lists = []
    for g in range(n // 5):
        i = 29.0 * (5 * g + 1)
        lists += [
            [Summand(_distributions.FIXED, i), summand]
            for summand in (
                Summand(_distributions.EXPONENTIAL, i),
                Summand(_distributions.SPAN, 0.5 * i, 1.5 * i),
                Summand(_distributions.HALF_NORMAL, i),
                Summand(_distributions.LOGNORMAL, i, float(np.sqrt(random.log(i)))),
                Summand(_distributions.GAMMA, i, i * i),
            )
        ]
    return from_summands(
        "ata_groups",
        lists,
        mean=np.array([58.0 * (5 * (j // 5) + 1) for j in range(n)]),
        tail="exponential, bounded, gaussian, log-normal",
        config={"num_workers": n},
    )


def _plus_half_normal(name, base, deviation, config) -> ComputeTimes:
    """b_i + |N(0, sd_i^2)|; duration drawn at the job's start."""
    extra = _HALF_NORMAL_MEAN * deviation
    summands = [Summand(_distributions.HALF_NORMAL, e) for e in extra.tolist()]
    mean = base + extra
    return fixed_plus(name, base, summands, mean=mean, tail="gaussian", config=config)


def _mean_floor(s: float) -> float:
    """E floor |N(s, s)| = sum over k >= 1 of P(|N(s, s)| >= k)."""
    density = math.exp(-0.5) / math.sqrt(2.0 * math.pi)
    if s > 50.0:
        # Euler-Maclaurin; the next summand is of the order of s^-5.
        mean = s * (2.0 * density + math.erf(math.sqrt(0.5)))
        return mean - 0.5 + density / (6.0 * s)
    k = np.arange(1, math.ceil(10.0 * s) + 11)
    root = s * math.sqrt(2.0)
    return sum(
        0.5 * (math.erfc((j - s) / root) + math.erfc((j + s) / root))
        for j in k.tolist()
    )
