"""Rounds of gradients at one iterate, collected until there are enough."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import ceil_of, check_count, check_number, check_numbers
from asgrad_jax._util.jit import njit
from asgrad_jax.algorithms.algorithm import Algorithm, Count
from asgrad_jax.algorithms.registry import register
from asgrad_jax.algorithms.round_algorithm import RoundAlgorithm
from asgrad_jax.schedules.schedule import Schedule


def noise_batch(noise_sq: float, eps: float, *, least: int = 1) -> int:
    """Recalled rule max(least, ceil(sigma^2 / eps)): gradients worth one good one.

    Rennala's S and Ringmaster's R with least = 1, Malenia's S with least = n, as these
    papers are generally quoted (not checked against the texts).

    Args:
        noise_sq: sigma^2 >= 0 of one stochastic gradient.
        eps: goal for the squared gradient norm, > 0.
        least: >= 1.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> noise_batch(2.5, 0.1), noise_batch(0.0, 0.1, least=8)
        (25, 8)
    """
    noise_sq = check_number("noise_batch: noise_sq", noise_sq, minimum=0)
    eps = check_number("noise_batch: eps", eps, above=0)
    least = check_count("noise_batch: least", least)
    return max(least, ceil_of("noise_batch: noise_sq / eps", noise_sq / eps))


@dataclasses.dataclass(frozen=True)
class MeanOfMeans:
    """Sets the weight of a gradient of worker i to 1 / (n B_i), B_i those of its round.

    Rows after the last step belong to a round that is not over; their B_i counts what
    is there.
    """

    def __call__(self, schedule: Schedule) -> Schedule:
        n = schedule.num_workers
        # A round has a gradient of every worker, so there are hardly more pairs than
        # rows.
        pair = schedule.version.astype(np.int64) * n + schedule.worker
        weight = 1.0 / (n * np.bincount(pair)[pair])
        return dataclasses.replace(schedule, weight=weight)


_RENNALA = dict(
    bounded_delay=True, discards=True, knows="B, from sigma^2 / eps", state="d sum"
)


@register("homogeneous", **_RENNALA)
def rennala(gradients_per_step: Count = "all") -> Algorithm:
    """Rennala SGD without restarts: steps with B gradients, all at the current x.

    ::

        loop: workers compute at x_k again and again, stale gradients are ignored
              after B gradients at x_k: x_{k+1} = x_k - (gamma / B) sum of them

    Source: Tyurin and Richtarik 2023 (arXiv 2305.12387), Algorithm 1, in the variant
    that ignores gradients of older rounds on arrival. The paper collects until more
    than S gradients are there (B = S + 1); its S is `noise_batch(sigma^2, eps)`. For
    homogeneous data.

    Args:
        gradients_per_step: B >= 1; the default is n.

    Example:
        >>> rennala(4).resolve(10).max_delay
        1
    """
    return Algorithm(name="rennala", gradients_per_step=gradients_per_step, max_delay=1)


@register("homogeneous", **_RENNALA)
def rennala_restart(gradients_per_step: Count = "all") -> RoundAlgorithm:
    """Rennala SGD with restarts: all workers are stopped after B gradients.

    ::

        loop: all workers start at x_k and compute there again and again
              after B gradients: x_{k+1} = x_k - (gamma / B) sum of them
              all running jobs are stopped

    Source: as `rennala`, which says more of B, in the variant that stops the workers,
    as in published experiment code. For homogeneous data.

    Args:
        gradients_per_step: B >= 1; the default is n.

    Example:
        >>> rennala_restart(4).gradients_per_step
        4
    """
    return RoundAlgorithm(name="rennala_restart", gradients_per_step=gradients_per_step)


@register(
    "homogeneous",
    bounded_delay=True,
    discards=True,
    knows="a quantile of the delays",
    state="d sum",
)
def async_minibatch(
    delays: ArrayLike | None = None, quantile: float = 0.5
) -> Algorithm:
    """Asynchronous mini-batching: batches at one iterate, sized by a delay quantile.

    ::

        B = max(1, ceil(tau_q / q)), tau_q the q-quantile of the delays
        loop: workers compute at x_k again and again, stale gradients are ignored
              after B gradients at x_k: x_{k+1} = x_k - (gamma / B) sum of them

    Source: Attia, Gaash, Koren 2024 (arXiv 2408.07503). That B follows a quantile is in
    the abstract; this exact B is generally quoted and was not checked. The adaptive
    version that doubles over q is not here. For homogeneous data.

    Args:
        delays: the delays of a pilot run, for example `simulate("pure_async",
            ...).delay`; None takes B = n, what equally fast workers would give (delays
            n - 1, q near 1).
        quantile: 0 < q <= 1.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> async_minibatch([3, 4, 4, 9], quantile=0.5).gradients_per_step
        8
    """
    q = check_number("async_minibatch: quantile", quantile, above=0, maximum=1)
    gradients_per_step: Count = "all"
    if delays is not None:
        name = "async_minibatch: delays"
        given = check_numbers(name, delays, minimum=0, finite=True)
        if not given.size:
            raise ValueError(f"{name} must have at least one number, got none")
        tau = float(np.quantile(given, q, method="inverted_cdf"))
        gradients_per_step = max(
            1, ceil_of("async_minibatch: delay / quantile", tau / q)
        )
    return Algorithm(
        name="async_minibatch", gradients_per_step=gradients_per_step, max_delay=1
    )


@register(
    "heterogeneous",
    bounded_delay=True,
    unbiased=True,
    discards=True,
    knows="S, from sigma^2 / eps",
    state="n x d sums (here d: the weights are known beforehand)",
)
def malenia(
    gradients_per_step: Count = "all", *, restart: bool = True
) -> RoundAlgorithm:
    """Malenia SGD: rounds at one iterate, stepping with the mean of workers' means.

    ::

        loop: all workers compute at x_k again and again, B_i gradients so far
              when (1/n sum_i 1 / B_i)^-1 >= S / n:
                  x_{k+1} = x_k - gamma (1/n) sum_i (1 / B_i) sum_j g_i^j

    Source: Tyurin and Richtarik 2023 (arXiv 2305.12387). The paper collects while the
    harmonic mean is <= S / n; here it stops as soon as S / n is reached, so that S = n
    asks for one gradient of everybody, as published experiment code does. Its S is
    `noise_batch(sigma^2, eps, least=n)` (not checked against the text). For
    heterogeneous data too.

    Args:
        gradients_per_step: S >= 1; the default is n.
        restart: whether running jobs are stopped after a round; otherwise their
            gradients are ignored on arrival. The paper allows both.

    Example:
        >>> malenia(20).until
        'harmonic'
    """
    return RoundAlgorithm(
        name="malenia",
        until="harmonic",
        gradients_per_step=gradients_per_step,
        stop=restart,
        transforms=(MeanOfMeans(),),
    )


@dataclasses.dataclass(frozen=True)
class RepeatWeights:
    """Weights 1 / n for a worker's first gradient of a round, 1 / q^c for repeat c.

    Repeats are clipped to the norm `radius`, unless it is None.
    """

    q: float
    radius: float | None

    def __call__(self, schedule: Schedule) -> Schedule:
        repeat = np.empty(len(schedule), np.int64)
        _repeats(schedule.worker, schedule.num_workers, repeat)
        weight = np.where(
            repeat > 0, self.q ** -repeat.astype(np.float64), 1.0 / schedule.num_workers
        )
        schedule = dataclasses.replace(schedule, weight=weight)
        if self.radius is None:
            return schedule
        clip = np.where(repeat > 0, self.radius, np.inf)
        return dataclasses.replace(schedule, clip=clip)


@njit
def _repeats(worker, n, repeat):
    """Numbers each worker's gradients from 0, afresh once everybody has returned."""
    count = np.zeros(n, np.int64)
    missing = n
    for a in range(worker.size):
        i = worker[a]
        repeat[a] = count[i]
        missing -= count[i] == 0
        count[i] += 1
        if missing == 0:
            count[:] = 0
            missing = n


@register("homogeneous", discards=True, knows="q, and a radius if repeats are clipped")
def throttle(q: float = 2.0, radius: float | None = None) -> RoundAlgorithm:
    """THROTTLE without attackers: repeats within a round count less and less.

    ::

        loop: g of i arrives, its c-th repeat in this round (c = 0: the first)
              x <- x - gamma g / n    if c = 0
              x <- x - gamma g / q^c  otherwise (g clipped to norm lambda)
              if everybody has returned: all workers stop and start at the new x,
                  counts are 0;  otherwise i starts at the new x

    Source: THROTTLE (Otsuka et al.), its rule without Byzantine workers. q near 1
    resembles pure asynchronous SGD, q large a synchronous method. For homogeneous data.
    The paper's q was not at hand; the default is that of asgrad_jax.

    Args:
        q: >= 1.
        radius: lambda > 0, the norm to which repeats are clipped; None = not.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> throttle(4.0).step
        'each'
    """
    q = check_number("throttle: q", q, minimum=1, finite=False)
    if radius is not None:
        radius = check_number("throttle: radius", radius, above=0, finite=False)
    return RoundAlgorithm(
        name="throttle",
        until="harmonic",
        gradients_per_step="all",
        step="each",
        transforms=(RepeatWeights(q, radius),),
    )
