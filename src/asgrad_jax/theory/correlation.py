"""The correlation profile: how far the order of workers strays from the mean gradient.

With h_i = grad f_i(x) - grad f(x) at one point x and jobs in assignment order, the
three numbers that carry data heterogeneity through the theorem of asgrad_jax are

    C^2(tau)  mean over chunks of || sum of h over the whole chunk ||^2,
    S^2(tau)  mean over chunks of max_m || sum of h over its first m jobs ||^2,
    nu^2      mean over jobs t of || sum of h over the jobs in flight at t ||^2,

for chunks of tau jobs. C^2/tau^2 against tau is flat for pure asynchronous SGD (the
bias towards fast workers), falls like 1/tau for random, and like 1/tau^2 for shuffled,
where it is zero at multiples of n (not where the server waits for b gradients and b
does not divide n, see `assignment`). It needs a schedule and one table of gradients, no
training run.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_integers, raise_first
from asgrad_jax._util.settings import fixed
from asgrad_jax.problems.flat_arrays import gradient_table
from asgrad_jax.theory._inputs import schedule_list
from asgrad_jax.theory.assignment import Assignment, assignment_order, prefix_sums


@dataclass(frozen=True)
class CorrelationProfile:
    """C^2, S^2 and nu^2 of one point, for Q schedules and M chunk lengths.

    Rounding leaves about 1e-30 of the largest square where the exact value is zero.

    Attributes:
        chunk_lengths: int64[M], tau, jobs.
        chunk_sq: float64[Q, M], C^2(tau), squared gradient norm.
        partial_sq: float64[Q, M], S^2(tau), squared gradient norm.
        in_flight_sq: float64[Q], nu^2, squared gradient norm.
        zeta_sq_per_worker: float64[n], ||h_i||^2 at the point.
        num_jobs: J, jobs per schedule that were used.
    """

    chunk_lengths: NDArray[np.int64]
    chunk_sq: NDArray[np.float64]
    partial_sq: NDArray[np.float64]
    in_flight_sq: NDArray[np.float64]
    zeta_sq_per_worker: NDArray[np.float64]
    num_jobs: int

    @property
    def bias_sq(self) -> NDArray[np.float64]:
        """C^2(tau)/tau^2, float64[Q, M]: squared norm of a chunk's mean deviation."""
        return self.chunk_sq / self.chunk_lengths**2

    @property
    def zeta_sq(self) -> float:
        """zeta^2 = (1/n) sum_i ||h_i||^2 at the point."""
        return float(self.zeta_sq_per_worker.mean())

    def slope(self, low: int, high: int, *, skip_multiples_of: int = 0) -> float:
        """Fitted exponent of the schedules' mean C^2/tau^2 over low <= tau <= high.

        It is the slope of the logarithm against log(tau), by least squares.

        Args:
            low: smallest chunk length used.
            high: largest chunk length used.
            skip_multiples_of: leave out multiples of this length (n for shuffled, where
                the profile is zero); 0 leaves out none.

        Raises:
            ValueError: if fewer than two lengths are left, or one has a mean of zero.

        Example:
            >>> from asgrad_jax.schedules.schedule import Schedule
            >>> one = Schedule.from_arrays([0] * 64, range(64), num_workers=2)
            >>> profile = correlation_profile(one, np.array([[1.0], [-1.0]]))
            >>> abs(round(profile.slope(1, 16), 6))
            0.0
        """
        lengths = self.chunk_lengths
        keep = (lengths >= low) & (lengths <= high)
        if skip_multiples_of:
            keep &= lengths % skip_multiples_of != 0
        mean = self.bias_sq.mean(axis=0)[keep]
        if mean.size < 2 or np.any(mean <= 0):
            raise ValueError(
                f"{mean.size} chunk lengths between {low} and {high} are left, and "
                "each needs a mean above zero; pass other lengths to "
                "correlation_profile(chunk_lengths=...)"
            )
        return float(np.polyfit(np.log(lengths[keep]), np.log(mean), 1)[0])


def correlation_profile(
    schedules: Any, gradients: Any, chunk_lengths: ArrayLike | None = None
) -> CorrelationProfile:
    """C^2, S^2 and nu^2 of schedules at one point (the figure "why order matters").

    Every schedule is cut to the shortest one's number of jobs. Weights are not looked
    at: a job counts once.

    Args:
        schedules: a `Schedule`, or an iterable of Q of them (seeds of one algorithm).
        gradients: the local gradients at the point, float[n, d], or a pytree with
            leaves [n, ...] as `problem.local_gradients(params)` returns.
        chunk_lengths: tau, int[M], each in 1..J; about 250 lengths up to J/4, log
            spaced, multiples of n among them, when left out.

    Returns:
        `CorrelationProfile`, float64 throughout whatever the dtype of the gradients.

    Raises:
        TypeError: if something is not a schedule.
        ValueError: if the shapes do not fit, a gradient is not finite or too large to
            be squared, or a chunk length is out of range.

    Example:
        >>> from asgrad_jax.schedules.schedule import Schedule
        >>> alternating = Schedule.from_arrays([0, 1] * 8, range(16))
        >>> profile = correlation_profile(alternating, np.eye(2), [1, 2, 3])
        >>> profile.chunk_sq
        array([[0.5, 0. , 0.5]])
        >>> profile.zeta_sq
        0.5

    Source: docs/theorem.md [D]; nothing of it is quoted from a paper.
    """
    if isinstance(schedules, Assignment):
        jobs = [schedules]
    else:
        jobs = [assignment_order(item) for item in schedule_list(schedules)]
    table = gradient_table(gradients)
    for item in jobs:
        if item.num_workers != len(table):
            raise ValueError(
                f"the table of gradients must have a row for each of the schedule's "
                f"{item.num_workers} workers, got {len(table)}"
            )
    num_jobs = min(item.num_jobs for item in jobs)
    lengths = _chunk_lengths(chunk_lengths, num_jobs, len(table))
    deviation = table - table.mean(axis=0)
    zeta_sq = np.sum(deviation**2, axis=1)
    # Only inner products of the h_i matter: at most n coordinates carry them all.
    if deviation.shape[1] > deviation.shape[0]:
        deviation = np.asarray(np.linalg.qr(deviation.T, mode="r")).T
    prefix = np.stack([prefix_sums(deviation[item.worker[:num_jobs]]) for item in jobs])
    in_flight = [_in_flight_sq(item.first(num_jobs), deviation) for item in jobs]
    with fixed(x64=True):
        chunk_sq, partial_sq = _profile(prefix, lengths.astype(np.int32))
        return CorrelationProfile(
            chunk_lengths=lengths,
            chunk_sq=np.asarray(chunk_sq),
            partial_sq=np.asarray(partial_sq),
            in_flight_sq=np.array(in_flight),
            zeta_sq_per_worker=zeta_sq,
            num_jobs=num_jobs,
        )


def _chunk_lengths(
    given: ArrayLike | None, num_jobs: int, num_workers: int
) -> NDArray[np.int64]:
    if given is None:
        top = max(1, num_jobs // 4)
        spaced = np.round(np.geomspace(1, top, 240)).astype(np.int64)
        multiples = num_workers * 2 ** np.arange(20)
        return np.unique(np.append(spaced, multiples[multiples <= top]))
    lengths = check_integers("chunk_lengths", given).astype(np.int64)
    if not lengths.size:
        raise ValueError("chunk_lengths must have at least one length, got none")
    raise_first(
        (lengths < 1) | (lengths > num_jobs),
        lambda i: (
            f"chunk_lengths[{i}] must lie in 1..{num_jobs} jobs, got {lengths[i]}"
        ),
    )
    return lengths


def _in_flight_sq(jobs: Assignment, deviation: NDArray[np.float64]) -> float:
    """nu^2: the jobs in flight are those given out less those applied."""
    by_job = deviation[jobs.worker]
    flying = prefix_sums(by_job)[:-1] - jobs.applied_sums(by_job)
    return float(np.mean(np.sum(flying**2, axis=1)))


@jax.jit
def _profile(
    prefix: jax.Array,  # [Q, J + 1, r] sums of the first jobs
    lengths: jax.Array,  # [M] int32
) -> tuple[jax.Array, jax.Array]:
    """C^2 and S^2, [Q, M] each; schedules and lengths one after the other."""
    num_jobs = prefix.shape[1] - 1
    t = jnp.arange(num_jobs, dtype=jnp.int32)

    def one_length(sums: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
        chunk = t // length
        chunks = num_jobs // length
        distance = jnp.sum((sums[1:] - sums[chunk * length]) ** 2, axis=1)
        distance = jnp.where(chunk < chunks, distance, 0.0)
        whole = jnp.sum(jnp.where((t + 1) % length == 0, distance, 0.0))
        largest = jnp.zeros(num_jobs, distance.dtype).at[chunk].max(distance)
        return whole / chunks, jnp.sum(largest) / chunks

    def one_schedule(sums: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.lax.map(lambda length: one_length(sums, length), lengths)

    return jax.lax.map(one_schedule, prefix)
