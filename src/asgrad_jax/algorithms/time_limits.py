"""Rounds of trials: jobs that are given up after a time limit."""

import dataclasses
import functools

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_count, check_number
from asgrad_jax.algorithms.algorithm import one_or_each, positive_numbers
from asgrad_jax.algorithms.registry import register
from asgrad_jax.algorithms.round_algorithm import RoundAlgorithm
from asgrad_jax.schedules.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class TrialWeights:
    """Weights from the number of trials B_i and their chance of success p_i.

    Attributes:
        trials: B_i, one number for all workers or [n].
        success: p_i, one number for all workers or [n].
        means: False: 1 / sum_i p_i B_i; True: 1 / (n p_i B_i).
        name: the algorithm, for errors.
    """

    trials: int | tuple[int, ...]
    success: float | tuple[float, ...]
    means: bool
    name: str = "trials"

    def __call__(self, schedule: Schedule) -> Schedule:
        n = schedule.num_workers
        success = self.success
        if isinstance(success, tuple):
            success = positive_numbers(f"{self.name}: success", success, n)
        expected = np.broadcast_to(np.multiply(self.trials, success), n)
        if self.means:
            weight = 1.0 / (n * expected[schedule.worker])
        else:
            weight = np.full(len(schedule), 1.0 / expected.sum())
        return dataclasses.replace(schedule, weight=weight)


_TRIALS = dict(
    bounded_delay=True,
    waits=True,
    discards=True,
    needs_speeds=True,
    knows="time limits t_i and P(time_i <= t_i)",
    state="d sum",
)


@register("homogeneous", **_TRIALS)
def mindflayer(
    trials: int | tuple[int, ...] = 1,
    limit: float | ArrayLike | None = None,
    success: float | ArrayLike | None = None,
) -> RoundAlgorithm:
    """MindFlayer SGD: every worker gets B_i trials of at most t_i seconds at x_k.

    ::

        loop: worker i tries B_i times to compute a gradient at x_k, each time for at
              most t_i seconds, and then waits for the others
              x_{k+1} = x_k - (gamma / B) sum of the gradients that were finished
              B = sum_i p_i B_i,  p_i = P(time_i <= t_i)

    A trial given up costs its t_i seconds and brings no gradient: it is no row of the
    schedule. The last gradient of a round is taken in when the round ends. A round
    without a gradient makes no step.

    Source: Maranjyan, Omar, Richtarik 2024 (arXiv 2410.04285), the estimator as in the
    published code (class FixedClipping of `ringmaster-lmo`). The paper chooses t_i by
    minimising its time bound; here they are given. For homogeneous data. Without limits
    it is mini-batch SGD over B_i jobs per worker.

    Args:
        trials: B_i >= 1, one number or [n].
        limit: t_i > 0 seconds, one number or [n]; None = never given up.
        success: p_i in (0, 1], one number or [n]; goes with `limit`, for example the
            share of `times.durations(i, seed, 0, 10_000)` that is <= t_i.

    Raises:
        TypeError, ValueError: if an argument is not as described, or one is missing.

    Example:
        >>> mindflayer(trials=3, limit=2.0, success=0.9).quota
        3
    """
    return _trials("mindflayer", trials, limit, success, means=False)


@register("heterogeneous", unbiased=True, **_TRIALS)
def vecna(
    trials: int | tuple[int, ...] = 1,
    limit: float | ArrayLike | None = None,
    success: float | ArrayLike | None = None,
) -> RoundAlgorithm:
    """Vecna SGD: MindFlayer for heterogeneous data, stepping with workers' means.

    ::

        loop: worker i tries B_i times to compute a gradient at x_k, each time for at
              most t_i seconds, and then waits for the others
              x_{k+1} = x_k - gamma (1/n) sum_i 1 / (p_i B_i) sum_j g_i^j
              over the gradients that were finished,  p_i = P(time_i <= t_i)

    Source: Maranjyan, Omar, Richtarik 2024 (arXiv 2410.04285); "means per worker" from
    a review, the division by the expected p_i B_i (which keeps the step unbiased) from
    memory, not checked. For heterogeneous data too.

    Args:
        trials, limit, success: as for `mindflayer`.

    Raises:
        TypeError, ValueError: if an argument is not as described, or one is missing.

    Example:
        >>> vecna(trials=(2, 1)).transforms
        (TrialWeights(trials=(2, 1), success=1.0, means=True, name='vecna'),)
    """
    return _trials("vecna", trials, limit, success, means=True)


def _trials(name: str, trials, limit, success, *, means: bool) -> RoundAlgorithm:
    if (limit is None) != (success is None):
        raise TypeError(
            f"{name}: limit and success must be given both or neither, got "
            f"limit={limit!r} and success={success!r}"
        )
    quota = one_or_each(trials, check_count, f"{name}: trials")
    chance: float | tuple[float, ...] = 1.0
    if success is not None:
        positive = functools.partial(check_number, above=0, finite=False)
        probability = functools.partial(positive, maximum=1)
        limit = one_or_each(limit, positive, f"{name}: limit")
        chance = one_or_each(success, probability, f"{name}: success")
    return RoundAlgorithm(
        name=name,
        until="quota",
        quota=quota,
        limit=limit,
        transforms=(TrialWeights(quota, chance, means, name),),
    )
