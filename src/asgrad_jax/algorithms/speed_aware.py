"""Asynchronous SGD that corrects or chooses for the workers' speeds."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_number
from asgrad_jax.algorithms.algorithm import Algorithm, Count, positive_numbers
from asgrad_jax.algorithms.registry import register
from asgrad_jax.schedules.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class InverseShares:
    """Multiplies the weights of worker i by 1 / (n p_i).

    Attributes:
        shares: [n] p_i, positive, sum 1.
        given: the algorithm and its argument that the shares come from, for errors.
    """

    shares: tuple[float, ...]
    given: str = "inverse shares: shares"

    def __call__(self, schedule: Schedule) -> Schedule:
        n = schedule.num_workers
        factor = 1.0 / (n * np.array(positive_numbers(self.given, self.shares, n)))
        return dataclasses.replace(
            schedule, weight=schedule.weight * factor[schedule.worker]
        )


@dataclasses.dataclass(frozen=True)
class MeasuredShares:
    """Multiplies weights by t / (n c_i): t arrivals so far, c_i of them of worker i."""

    def __call__(self, schedule: Schedule) -> Schedule:
        arrivals = np.arange(1, len(schedule) + 1, dtype=np.float64)
        counts = schedule.job.astype(np.float64) + 1.0  # every job is a row
        factor = arrivals / (schedule.num_workers * counts)
        return dataclasses.replace(schedule, weight=schedule.weight * factor)


@dataclasses.dataclass(frozen=True)
class OnePerWorker:
    """Raises unless there is one of the durations for each worker of the schedule."""

    durations: tuple[float, ...]

    def __call__(self, schedule: Schedule) -> Schedule:
        n = schedule.num_workers
        positive_numbers("naive_optimal: durations", self.durations, n)
        return schedule


@register(
    "heterogeneous",
    unbiased=True,
    needs_speeds=True,
    knows="mean durations, or measures them",
)
def rescaled(durations: ArrayLike | None = None) -> Algorithm:
    """Rescaled ASGD: pure asynchronous SGD with weights that undo the speeds.

    ::

        loop: g of i arrives;  x <- x - gamma w_i g;  i starts at the new x
        known speeds:    w_i = 1 / (n p_i) = (tau_i / n) sum_j 1 / tau_j
        measured speeds: w_i = t / (n c_i), t arrivals so far, c_i of them of i

    p_i = (1 / tau_i) / sum_j (1 / tau_j) is worker i's share of the arrivals.

    Source: Mahran, Maranjyan, Richtarik (arXiv 2605.13434), steps proportional to tau_i
    as described in the abstract; the normalisation and the measured form are
    those of asgrad_jax. For heterogeneous data too, for speeds that do not change.

    Args:
        durations: [n] seconds, tau_i > 0, mean durations of a job; None measures.

    Raises:
        TypeError, ValueError: if `durations` is not a sequence of positive numbers.

    Example:
        >>> rescaled([1.0, 3.0]).transforms
        (InverseShares(shares=(0.75, 0.25), given='rescaled: durations'),)
    """
    if durations is None:
        return Algorithm(name="rescaled", transforms=(MeasuredShares(),))
    rates = 1.0 / np.array(positive_numbers("rescaled: durations", durations))
    shares = tuple((rates / rates.sum()).tolist())
    rule = InverseShares(shares, "rescaled: durations")
    return Algorithm(name="rescaled", transforms=(rule,))


@register(
    "heterogeneous", unbiased=True, knows="routing p and concurrency m, free to choose"
)
def generalized_async(
    routing: ArrayLike | None = None, concurrency: Count | None = None
) -> Algorithm:
    """Generalized AsyncSGD: jobs are routed by p and gradients weighted by 1 / (n p).

    ::

        loop: g of j arrives;  x <- x - gamma / (n p_j) g
              k ~ p gets a job at the new x, behind those it has

    Source: Leconte, Jonckheere, Samsonov, Moulines (arXiv 2405.00017) and Alahyane et
    al. (arXiv 2502.08206), as described in the abstracts. For heterogeneous data too.
    Uniform p is random asynchronous SGD.

    Args:
        routing: [n] probabilities p, positive, sum 1; None is uniform.
        concurrency: jobs in flight m >= 1; the default is n, started one per worker.

    Raises:
        TypeError, ValueError: if `routing` is not as described.

    Example:
        >>> generalized_async([0.25, 0.75], concurrency=3).routing
        (0.25, 0.75)
    """
    if routing is None:
        return Algorithm(
            name="generalized_async", order="random", concurrency=concurrency
        )
    p = positive_numbers("generalized_async: routing", routing)
    return Algorithm(
        name="generalized_async",
        order="random",
        concurrency=concurrency,
        routing=p,
        transforms=(InverseShares(p, "generalized_async: routing"),),
    )


@register("homogeneous", needs_speeds=True, knows="mean durations and sigma^2 / eps")
def naive_optimal(
    durations: ArrayLike | None = None, noise_ratio: float | None = None
) -> Algorithm:
    """Naive optimal ASGD: pure asynchronous SGD on the m* fastest workers.

    ::

        m* = argmin_m ((1/m) sum_{i<=m} 1 / tau_i)^-1 (1 + sigma^2 / (m eps))
        run pure asynchronous SGD on the m* fastest workers, the others idle

    Source: Maranjyan, Tyurin, Richtarik 2025 (arXiv 2501.16168), as described in notes
    on the paper, not in its abstract. For homogeneous data. Without durations the
    workers are taken as equally fast, and it is pure asynchronous SGD on all of them.

    Args:
        durations: [n] seconds, tau_i > 0, mean durations of a job.
        noise_ratio: sigma^2 / eps >= 0: gradient noise over the wanted accuracy in the
            squared gradient norm; goes with `durations`.

    Raises:
        TypeError, ValueError: if an argument is not as described, or one is missing.
            `simulate` raises a ValueError where the number of workers is another.

    Example:
        >>> naive_optimal([4.0, 1.0, 2.0, 90.0], noise_ratio=10.0).start
        (0, 1, 2)
    """
    if durations is None and noise_ratio is None:
        return Algorithm(name="naive_optimal")
    if durations is None or noise_ratio is None:
        raise TypeError(
            "naive_optimal: durations and noise_ratio must be given both or neither, "
            f"got durations={durations!r} and noise_ratio={noise_ratio!r}"
        )
    given = positive_numbers("naive_optimal: durations", durations)
    tau = np.array(given)
    ratio = check_number("naive_optimal: noise_ratio", noise_ratio, minimum=0)
    fastest = np.argsort(tau, kind="stable")
    m = np.arange(1, tau.size + 1)
    # Times over the fastest worker's: sums that start at 1 cannot overflow.
    times = (m + ratio) / np.cumsum(tau[fastest[0]] / tau[fastest])
    chosen = np.sort(fastest[: int(np.argmin(times)) + 1])
    return Algorithm(
        name="naive_optimal",
        start=tuple(chosen.tolist()),
        transforms=(OnePerWorker(given),),
    )
