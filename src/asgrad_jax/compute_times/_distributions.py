"""The distributions of compute times as compiled functions of a job's own random key.

Every distribution takes the key of one job and reads as many numbers of that stream as
it needs, so rejection samplers do not disturb the next job. Units are seconds of
virtual time.
"""

import math
from collections.abc import Sequence, Sized
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.jit import njit
from asgrad_jax.compute_times import _speed_profile

FIXED = 0
NORMAL = 1
POISSON = 2
UNIFORM = 3
EXPONENTIAL = 4
GAMMA = 5
LOGNORMAL = 6
PARETO = 7
EMPIRICAL = 8
SAMPLED = 9  # a user's sampler: durations come in blocks, see durations.py
HALF_NORMAL = 10
TRUNC_NORMAL = 11
LOG_CAUCHY = 12
SPAN = 13  # uniform between two numbers; in sums only
BERNOULLI = 14  # a number with some probability, else 0; in sums only
SUM = 15  # summands of their own distributions for every worker
TICK_NORMAL = 16  # AsGrad's published code: the first job has another distribution
TICK_UNIFORM = 17
STAGES = 18  # a sum for each of three stages that overlap between jobs

# From this mean on, Poisson numbers come from transformed rejection, as in NumPy.
_POISSON_REJECTION_MEAN = 10.0

_HALF_NORMAL = 1.2533141373155003  # sqrt(pi / 2): |N(0, 1)| has mean 1 over it
_SUMMANDS = 1 << 32  # no distribution reads that many numbers of a job's stream

# By our own log, uncompiled, so that the bits are the same everywhere.
_LOG_FACTORIALS = np.array(
    [random.log.py_func(float(math.factorial(j))) for j in range(10)]
)
_NO_VALUES, _NO_PIECES = np.empty(0), np.empty((0, 2))
_NO_BOUNDS = np.empty(0, np.int64)


class Distribution(NamedTuple):
    """What a kernel needs to know about compute times; one type for all."""

    kind: int  # one of the constants above
    mean: np.ndarray  # [n] float64, seconds
    shape: float = 0.0  # gamma: shape; lognormal: sigma; pareto: alpha; ...
    # [V] float64; empirical, sampled: seconds at hand; sum: three numbers (kind, mean,
    # shape) per summand, then the values of empirical summands (mean: place, shape:
    # count)
    values: np.ndarray = _NO_VALUES
    # int64 [n or n + 1]; empirical: bounds of a worker's values; sum: of its summands;
    # stages: [3 n + 1], of the summands of a worker's stages
    offset: np.ndarray = _NO_BOUNDS
    ready: np.ndarray = _NO_BOUNDS  # [n] int64; sampled: durations drawn so far
    # Stream of the seed; worker and job numbers lead further down.
    key: np.uint64 = np.uint64(0)
    # How a job ends that starts at some time, see `_speed_profile`.
    speed: int = _speed_profile.STEADY
    period: float = np.inf  # varying: seconds after which the powers repeat
    pieces: np.ndarray = _NO_PIECES  # [P, 2] float64; varying: time from which, power
    piece_offset: np.ndarray = _NO_BOUNDS  # [n + 1] int64; varying: bounds of pieces


def bounds(lists: Sequence[Sized]) -> NDArray[np.int64]:
    """Returns where each list begins, int64 [n + 1], when they lie end to end."""
    return np.cumsum([0, *map(len, lists)], dtype=np.int64)


@njit(forceinline=True)
def draw_duration(kind, key, mean, shape, values, offset, worker, k):
    """Returns the duration (float64) of job `k` (int) of `worker` (int).

    A function of (key, worker, k) alone. The first arguments are the fields of
    `Distribution`; for a sampled distribution, k < distribution.ready[worker].
    """
    if kind == FIXED:
        return mean[worker]
    if kind == SAMPLED:
        return values[offset[worker] + k]
    job_key = random.bits(random.bits(key, worker), k)
    if kind == EMPIRICAL:
        first = offset[worker]
        chosen = random.uniform_int(job_key, 0, offset[worker + 1] - first)
        return values[first + chosen]
    if kind == SUM:
        first = offset[worker]
        return _draw_sum(job_key, values, first, first, offset[worker + 1])
    if kind >= TICK_NORMAL:
        if kind == STAGES:  # of a job that no other overlaps with
            first = offset[3 * worker]
            return _draw_sum(job_key, values, first, first, offset[3 * worker + 3])
        return _draw_tick(kind, job_key, mean[worker], k)
    return _draw(kind, job_key, mean[worker], shape)


@njit
def end_of_stages(key, values, offset, done, worker, k, assigned, begin):
    """Returns when job `k` of `worker` arrives, its stages overlapping with others.

    Download, processor and upload are each busy with one job at a time, in turn.

    Args:
        key, values, offset: fields of `Distribution`, of kind STAGES.
        done: float64 [n, 3], when a worker's last job left each stage; brought up to
            date.
        worker: 0..n-1.
        k: number of the job.
        assigned: seconds, when the server gave the job away.
        begin: seconds, from when on it is its worker's oldest job. Stages of jobs that
            were abandoned are free by then.
    """
    job_key = random.bits(random.bits(key, worker), k)
    base = offset[3 * worker]
    now = assigned
    for stage in range(3):
        first, last = offset[3 * worker + stage], offset[3 * worker + stage + 1]
        now = max(now, min(done[worker, stage], begin))
        now += _draw_sum(job_key, values, base, first, last)
        done[worker, stage] = now
    return now


@njit
def fill_durations(distribution, worker, first, out):
    """Writes the durations of jobs first, first + 1, ... of `worker` into `out`."""
    mean, values, offset = distribution.mean, distribution.values, distribution.offset
    for j in range(out.size):
        out[j] = draw_duration(
            distribution.kind,
            distribution.key,
            mean,
            distribution.shape,
            values,
            offset,
            worker,
            first + j,
        )


@njit
def _draw_sum(job_key, values, base, first, last):
    total = 0.0
    for summand in range(first, last):
        kind = np.int64(values[3 * summand])
        mean, shape = values[3 * summand + 1], values[3 * summand + 2]
        # The first summand has the stream of a distribution that stands alone.
        key = job_key
        if summand > base:
            key = random.bits(job_key, _SUMMANDS + summand - base)
        if kind == FIXED:
            total += mean
        elif kind == EMPIRICAL:
            chosen = random.uniform_int(key, 0, np.int64(shape))
            total += values[np.int64(mean) + chosen]
        else:
            total += _draw(kind, key, mean, shape)
    return total


@njit
def _draw_tick(kind, key, mean, k):
    if kind == TICK_NORMAL:
        whole = abs(mean + mean * _normal(key, 0))
        return (whole if k == 0 else np.floor(whole)) + 1.0
    return mean * random.uniform(key, 0) + 1.0 if k == 0 else mean


@njit
def _draw(kind, key, mean, shape):
    if kind == NORMAL:
        return abs(mean + mean * _normal(key, 0)) + 1.0
    if kind == UNIFORM:
        return mean * random.uniform(key, 0) + 1.0
    if kind == EXPONENTIAL:
        return -mean * random.log(random.uniform(key, 0))
    if kind == GAMMA:
        return mean / shape * _gamma(key, shape)
    if kind == LOGNORMAL:
        return mean * random.exp(shape * _normal(key, 0) - 0.5 * shape * shape)
    if kind == PARETO:
        smallest = mean * (shape - 1.0) / shape
        return smallest * random.exp(-random.log(random.uniform(key, 0)) / shape)
    if kind == HALF_NORMAL:
        return mean * _HALF_NORMAL * abs(_normal(key, 0))
    if kind == TRUNC_NORMAL:
        return _trunc_normal(key, mean, shape)
    if kind == LOG_CAUCHY:
        return _log_cauchy(key, mean, shape)
    if kind == SPAN:
        return mean + (shape - mean) * random.uniform(key, 0)
    if kind == BERNOULLI:
        return mean if random.uniform(key, 0) < shape else 0.0
    # POISSON
    if mean < _POISSON_REJECTION_MEAN:
        return _poisson_inversion(key, mean)
    return _poisson_rejection(key, mean)


@njit
def _normal(key, counter):
    return random.normal_quantile(random.uniform(key, counter))


@njit
def _trunc_normal(key, mean, spread):
    counter = 0
    while True:
        x = 1.0 + spread * _normal(key, counter)
        if x > 0.0:  # at least every second time
            return mean * x
        counter += 1


@njit
def _log_cauchy(key, median, scale):
    # The ratio of two normal numbers is a Cauchy number.
    below = _normal(key, 1)
    if below == 0.0:
        return np.inf
    return median * random.exp(scale * (_normal(key, 0) / below))


@njit
def _poisson_inversion(key, mean):
    # The smallest j with u <= P(X <= j); the bound is never met, it only says that
    # rounding cannot make the loop endless.
    u = random.uniform(key, 0)
    probability = random.exp(-mean)
    cumulative = probability
    j = 0
    while u > cumulative and j < 200:
        j += 1
        probability *= mean / j
        cumulative += probability
    return np.float64(j)


@njit
def _poisson_rejection(key, mean):
    # Hormann, "The transformed rejection method for generating Poisson random
    # variables" (1993), algorithm PTRS, valid for means of 10 and more.
    log_mean = random.log(mean)
    b = 0.931 + 2.53 * np.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2.0)
    counter = 0
    while True:
        u = random.uniform(key, counter) - 0.5
        v = random.uniform(key, counter + 1)
        counter += 2
        us = 0.5 - abs(u)
        x = np.floor((2.0 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= v_r:
            return x
        if x < 0.0 or (us < 0.013 and v > us):
            continue
        left = random.log(v * inverse_alpha / (a / (us * us) + b))
        if left <= x * log_mean - mean - _log_factorial(x):
            return x


@njit
def _log_factorial(x):
    if x < 10.0:
        return _LOG_FACTORIALS[np.int64(x)]
    # Stirling's series for log Gamma(x + 1); its error is below 1e-14 from 10 on.
    y = x + 1.0
    r = 1.0 / (y * y)
    series = (
        1.0 / 12.0
        + r
        * (-1.0 / 360.0 + r * (1.0 / 1260.0 + r * (-1.0 / 1680.0 + r * (1.0 / 1188.0))))
    ) / y
    return (y - 0.5) * random.log(y) - y + 0.9189385332046727 + series


@njit
def _gamma(key, shape):
    # Marsaglia and Tsang, "A simple method for generating gamma variables" (2000), unit
    # scale. A shape below one is lifted by one and brought back by a uniform's power.
    lifted = shape if shape >= 1.0 else shape + 1.0
    d = lifted - 1.0 / 3.0
    c = 1.0 / np.sqrt(9.0 * d)
    counter = 1  # number 0 is kept for the power
    while True:
        x = _normal(key, counter)
        u = random.uniform(key, counter + 1)
        counter += 2
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        if random.log(u) < 0.5 * x * x + d - d * v + d * random.log(v):
            break
    if shape >= 1.0:
        return d * v
    return d * v * random.exp(random.log(random.uniform(key, 0)) / shape)
