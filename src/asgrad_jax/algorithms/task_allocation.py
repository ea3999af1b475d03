"""Rounds of B gradients that are shared out to the workers beforehand."""

import dataclasses
import functools
import heapq
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.checks import check_number
from asgrad_jax._util.jit import njit
from asgrad_jax.algorithms.algorithm import (
    Count,
    positive_numbers,
    resolve_count,
)
from asgrad_jax.algorithms.registry import register
from asgrad_jax.algorithms.round_algorithm import Allocation, RoundAlgorithm


def harmonia(scores: ArrayLike, gradients_per_step: int) -> NDArray[np.int64]:
    """Shares out B jobs so that max_i a_i s_i is smallest: int64 [n], a_i with sum B.

    Each job goes to the worker whose (a_i + 1) s_i would be smallest, s_i >= 0 seconds
    per job; among equals to the one with the fewest jobs, then to the lowest number.

    Source: the greedy allocation of ATA (arXiv 2502.00775), as in the published code,
    which breaks ties in another way.

    Example:
        >>> harmonia([1.0, 2.0, 10.0], 6)
        array([4, 2, 0])
    """
    return _harmonia(np.asarray(scores, np.float64), gradients_per_step)


@njit
def _harmonia(scores, gradients_per_step):
    jobs = np.zeros(scores.size, np.int64)
    heap = [(scores[i], 0, i) for i in range(scores.size)]
    heapq.heapify(heap)
    for _ in range(gradients_per_step):
        _, count, i = heap[0]
        jobs[i] = count + 1
        heapq.heapreplace(heap, ((count + 2) * scores[i], count + 1, i))
    return jobs


@functools.lru_cache(maxsize=64)
def _fixed_shares(
    scores: tuple[float, ...], gradients_per_step: int
) -> NDArray[np.int64]:
    shares = harmonia(scores, gradients_per_step)
    shares.flags.writeable = False  # every later call gets the same array
    return shares


@dataclasses.dataclass(frozen=True)
class FixedAllocation:
    """The same shares in every round, the best ones for known durations.

    Attributes:
        gradients_per_step: B.
        durations: [n] seconds per job.
        name: the algorithm, for errors.
    """

    gradients_per_step: Count
    durations: tuple[float, ...]
    name: str = "allocation"

    def allocate(
        self, round_number: int, total: NDArray[np.float64], jobs: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Returns the jobs of each worker; see `Allocation`."""
        del round_number, jobs
        n = len(total)
        durations = positive_numbers(f"{self.name}: durations", self.durations, n)
        return _fixed_shares(durations, _size(self.gradients_per_step, n))


class _Drawn(NamedTuple):
    """A random rule of the ones below, for one run."""

    rule: "UniformAllocation | AdaptiveAllocation"
    key: np.uint64

    def allocate(
        self, round_number: int, total: NDArray[np.float64], jobs: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        key = np.uint64(random.bits(self.key, round_number))
        return self.rule.shares(round_number, total, jobs, key)


@dataclasses.dataclass(frozen=True)
class UniformAllocation:
    """Equal shares; what is left over goes to workers drawn anew for every round.

    Attributes:
        gradients_per_step: B.
    """

    gradients_per_step: Count

    def with_seed(self, seed: int) -> Allocation:
        """Returns the allocation of one run; see `RandomAllocation`."""
        return _Drawn(self, random.stream_key(seed, random.ORDER_STREAM))

    def allocate(
        self, round_number: int, total: NDArray[np.float64], jobs: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Returns the jobs of each worker at seed 0; see `Allocation`."""
        return self.with_seed(0).allocate(round_number, total, jobs)

    def shares(
        self,
        round_number: int,
        total: NDArray[np.float64],
        jobs: NDArray[np.int64],
        key: np.uint64,
    ) -> NDArray[np.int64]:
        """Returns the jobs of each worker, drawn with the key of this round."""
        n = len(total)
        everybody = np.ones(n, np.bool_)
        return _even_shares(everybody, _size(self.gradients_per_step, n), key)


@dataclasses.dataclass(frozen=True)
class AdaptiveAllocation(UniformAllocation):
    """Shares by lower confidence bounds of the durations so far, see `ata`."""

    alpha: float | None

    def shares(
        self,
        round_number: int,
        total: NDArray[np.float64],
        jobs: NDArray[np.int64],
        key: np.uint64,
    ) -> NDArray[np.int64]:
        """Returns the jobs of each worker, drawn with the key of this round."""
        size = _size(self.gradients_per_step, len(total))
        new = jobs == 0
        if new.all():
            return _even_shares(new, size, key)
        first = _even_shares(new, min(size, np.count_nonzero(new)), key)
        scores = self.scores(round_number - 1, total, jobs)
        unclear = ~new & (scores <= 0)
        rest = size - int(first.sum())
        if unclear.any():
            return first + _even_shares(unclear, rest, key)
        return first + harmonia(np.where(new, np.inf, scores), rest)

    def scores(
        self, finished: int, total: NDArray[np.float64], jobs: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Returns the scores s_i of `ata` after k = `finished` rounds, float64 [n]."""
        seen = np.maximum(jobs, 1)
        mean = total / seen
        alpha = 2.0 * mean if self.alpha is None else self.alpha
        log = random.log(2.0 * max(finished, 1) ** 2)
        return mean - 4.0 * math.e * alpha * (np.sqrt(log / seen) + log / seen)


@njit
def _even_shares(members, size, key):
    """Shares out `size` jobs evenly; some of the members, drawn by `key`, get one more.

    Example:
        >>> members = np.array([True, False, True])
        >>> _even_shares(members, 4, np.uint64(0))
        array([2, 0, 2])
    """
    shares = np.zeros(members.size, np.int64)
    chosen = np.flatnonzero(members)
    if chosen.size == 0:
        return shares
    shares[chosen] = size // chosen.size
    for j in range(size % chosen.size):
        # One step of Fisher-Yates: each member is drawn at most once.
        other = j + random.uniform_int(key, j, chosen.size - j)
        chosen[j], chosen[other] = chosen[other], chosen[j]
        shares[chosen[j]] += 1
    return shares


def _size(gradients_per_step: Count, num_workers: int) -> int:
    name = "allocation"
    return (
        resolve_count(name, "gradients_per_step", gradients_per_step, num_workers) or 1
    )


@register(
    "homogeneous",
    bounded_delay=True,
    waits=True,
    needs_speeds=True,
    knows="B; measures the durations",
    state="d sum, 2 numbers per worker",
)
def ata(
    gradients_per_step: Count = "all", alpha: float | None = None
) -> RoundAlgorithm:
    """ATA: every round shares out B gradients by what is known of the speeds so far.

    ::

        s_i = mean_i - 4 e alpha (sqrt(ln(2 k^2) / K_i) + ln(2 k^2) / K_i)
        a = shares with sum B: one job for every worker without a measurement, and
            of the others: where scores are <= 0, equal shares for those workers
                           otherwise those that keep max_i a_i s_i smallest (harmonia)
        worker i computes a_i gradients at x_k and waits for the others
        x_{k+1} = x_k - (gamma / B) sum of the B gradients

    mean_i is the mean of the K_i durations of worker i so far, k counts the rounds that
    are over. Jobs that equal shares leave over go to workers drawn anew each round.

    Source: Maranjyan et al. (arXiv 2502.00775), as in the published code (class ATA of
    `ringmaster-lmo` with negative_strategy "uniform"). A first round of B > n is shared
    equally here; there one worker gets the B - n jobs that are left. The confidence
    term is large: until K_i is in the hundreds all scores are <= 0 and the shares
    equal. For homogeneous data.

    Args:
        gradients_per_step: B >= 1; the default is n.
        alpha: > 0 seconds; None is the "empirical" form, alpha = 2 mean_i.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> ata(20).gradients_per_step
        20
    """
    if alpha is not None:
        alpha = check_number("ata: alpha", alpha, above=0)
    return _allocated(
        "ata", gradients_per_step, AdaptiveAllocation(gradients_per_step, alpha)
    )


@register(
    "homogeneous",
    bounded_delay=True,
    discards=True,
    knows="B",
    state="d sum",
)
def gta(gradients_per_step: Count = "all") -> RoundAlgorithm:
    """GTA, greedy task allocation: the first B gradients at x_k, all workers compute.

    ::

        loop: all workers start at x_k and compute there again and again
              after B gradients: x_{k+1} = x_k - (gamma / B) sum of them
              all running jobs are stopped

    Source: the baseline of ATA (arXiv 2502.00775): the rule of `rennala_restart`. For
    homogeneous data.

    Args:
        gradients_per_step: B >= 1; the default is n.

    Example:
        >>> gta(20).gradients_per_step
        20
    """
    return RoundAlgorithm(name="gta", gradients_per_step=gradients_per_step)


@register("homogeneous", bounded_delay=True, waits=True, knows="B", state="d sum")
def uta(gradients_per_step: Count = "all") -> RoundAlgorithm:
    """UTA, uniform task allocation: every worker computes B / n gradients at x_k.

    ::

        loop: worker i computes a_i = B / n gradients at x_k and waits for the others
              x_{k+1} = x_k - (gamma / B) sum of the B gradients

    Where n does not divide B, B mod n workers, drawn anew each round, have one more.

    Source: the baseline of ATA (arXiv 2502.00775), as in the published code. For
    homogeneous data.

    Args:
        gradients_per_step: B >= 1; the default is n.

    Example:
        >>> uta(20).until
        'quota'
    """
    return _allocated("uta", gradients_per_step, UniformAllocation(gradients_per_step))


@register(
    "homogeneous",
    bounded_delay=True,
    waits=True,
    needs_speeds=True,
    knows="B and mean durations",
    state="d sum",
)
def ofta(
    gradients_per_step: Count = "all", durations: ArrayLike | None = None
) -> RoundAlgorithm:
    """OFTA, optimal fixed task allocation: shares of B for known mean durations.

    ::

        a = shares with sum B that keep max_i a_i tau_i smallest
        loop: worker i computes a_i gradients at x_k and waits for the others
              x_{k+1} = x_k - (gamma / B) sum of the B gradients

    Source: the baseline of ATA (arXiv 2502.00775), as in the published code. For
    homogeneous data. Without durations the workers are taken as equally fast (`uta`).

    Args:
        gradients_per_step: B >= 1; the default is n.
        durations: [n] seconds, tau_i > 0, mean durations of a job.

    Raises:
        TypeError, ValueError: if `durations` is not a sequence of positive numbers.

    Example:
        >>> ofta(6, [1.0, 2.0, 10.0]).quota.allocate(1, np.zeros(3), np.zeros(3))
        array([4, 2, 0])
    """
    if durations is None:
        return dataclasses.replace(uta(gradients_per_step), name="ofta")
    known = positive_numbers("ofta: durations", durations)
    return _allocated(
        "ofta", gradients_per_step, FixedAllocation(gradients_per_step, known, "ofta")
    )


def _allocated(name: str, gradients_per_step: Count, allocation) -> RoundAlgorithm:
    return RoundAlgorithm(
        name=name,
        until="quota",
        gradients_per_step=gradients_per_step,
        quota=allocation,
    )
