"""Published step sizes that follow from the delays of all arrivals so far."""

import dataclasses

import numpy as np

from asgrad_jax._util.checks import check_number
from asgrad_jax._util.jit import njit
from asgrad_jax.algorithms.algorithm import Algorithm
from asgrad_jax.algorithms.registry import register
from asgrad_jax.schedules.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class StepBudget:
    """Multiplies weights such that steps made since the read sum to at most one.

    With s = the sum of the factors of the last tau steps, the factor is alpha max(1 -
    s, 0), or (`alpha` None) 1 / (tau + 1) where that is at most 1 - s, else 0.
    """

    alpha: float | None

    def __call__(self, schedule: Schedule) -> Schedule:
        factor = np.empty(len(schedule))
        alpha = -1.0 if self.alpha is None else self.alpha
        _spend(schedule.delay, alpha, factor)
        return dataclasses.replace(schedule, weight=schedule.weight * factor)


# Room for rounding in 1 / (tau + 1) <= 1 - s: with equal delays both sides are equal.
_ROUNDING = 1e-9


@njit
def _spend(delay, alpha, factor):
    """Fills in the factors; every arrival makes a step."""
    spent = np.zeros(delay.size + 1)  # sums of the factors of the first k steps
    for k in range(delay.size):
        left = 1.0 - (spent[k] - spent[k - delay[k]])
        if alpha > 0:
            factor[k] = alpha * max(left, 0.0)
        else:
            wanted = 1.0 / (delay[k] + 1.0)
            factor[k] = wanted if wanted <= left + _ROUNDING else 0.0
        spent[k + 1] = spent[k] + factor[k]


@register("homogeneous", knows="alpha, free to choose")
def wu_adaptive_1(alpha: float = 0.9) -> Algorithm:
    """Recalled: delay-adaptive steps "Adaptive 1", a share of what delays leave.

    ::

        loop k: g of i arrives with delay tau_k
                gamma_k = alpha max(gamma' - sum_{j=k-tau_k}^{k-1} gamma_j, 0)
                x <- x - gamma_k g;  i starts at the new x

    gamma' is the step size: gamma_k / gamma' is the gradient's weight, whatever gamma'
    is.

    Source: Wu, Magnusson, Feyzmahdavian, Johansson 2022 (arXiv 2202.08550), recalled,
    not checked against the text. For homogeneous data.

    Args:
        alpha: 0 < alpha <= 1; the default is that of asgrad_jax.

    Raises:
        TypeError, ValueError: if alpha is not as described.

    Example:
        >>> wu_adaptive_1(0.5).transforms
        (StepBudget(alpha=0.5),)
    """
    alpha = check_number("wu_adaptive_1: alpha", alpha, above=0, maximum=1)
    return Algorithm(name="wu_adaptive_1", transforms=(StepBudget(alpha),))


@register("homogeneous")
def wu_adaptive_2() -> Algorithm:
    """Recalled: delay-adaptive steps "Adaptive 2", 1 / (tau + 1) where delays allow it.

    ::

        loop k: g of i arrives with delay tau_k;  gamma_k = gamma' / (tau_k + 1)
                if gamma_k > gamma' - sum_{j=k-tau_k}^{k-1} gamma_j: gamma_k = 0
                x <- x - gamma_k g;  i starts at the new x

    gamma' is the step size: gamma_k / gamma' is the gradient's weight, whatever gamma'
    is.

    Source: Wu, Magnusson, Feyzmahdavian, Johansson 2022 (arXiv 2202.08550), recalled,
    not checked against the text. For homogeneous data.

    Example:
        >>> wu_adaptive_2().transforms
        (StepBudget(alpha=None),)
    """
    return Algorithm(name="wu_adaptive_2", transforms=(StepBudget(None),))


@dataclasses.dataclass(frozen=True)
class RootDecay:
    """Multiplies weights by 1 / (1 + c sqrt(t + tau)), t = 1 at the first step."""

    c: float

    def __call__(self, schedule: Schedule) -> Schedule:
        t = schedule.version + 1.0
        factor = 1.0 / (1.0 + self.c * np.sqrt(t + schedule.delay))
        return dataclasses.replace(schedule, weight=schedule.weight * factor)


@register("homogeneous", knows="L and c")
def adadelay(c: float = 0.1) -> Algorithm:
    """Recalled: AdaDelay, whose steps shrink with the root of time and delay.

    ::

        loop t = 1, 2, ...: g of i arrives with delay tau
                            x <- x - g / (L + c' sqrt(t + tau));  i starts at the new x

    The step size is gamma = 1 / L, and c = c' / L, so that the gradient's weight is
    1 / (1 + c sqrt(t + tau)).

    Source: Sra, Yu, Li, Smola 2015 (arXiv 1508.05003), recalled, not checked against
    the text. For homogeneous data.

    Args:
        c: > 0; the default is that of asgrad_jax.

    Raises:
        TypeError, ValueError: if c is not as described.

    Example:
        >>> adadelay(0.5).transforms
        (RootDecay(c=0.5),)
    """
    c = check_number("adadelay: c", c, above=0)
    return Algorithm(name="adadelay", transforms=(RootDecay(c),))


@dataclasses.dataclass(frozen=True)
class InverseDelay:
    """Multiplies weights by 1 / max(tau, 1)."""

    def __call__(self, schedule: Schedule) -> Schedule:
        factor = 1.0 / np.maximum(schedule.delay, 1)
        return dataclasses.replace(schedule, weight=schedule.weight * factor)


@register("homogeneous")
def inverse_delay() -> Algorithm:
    """Recalled: steps divided by the delay, as in staleness-aware asynchronous SGD.

    ::

        loop: g of i arrives with delay tau;  x <- x - (gamma / max(tau, 1)) g
              i starts at the new x

    Source: Zhang, Gupta, Lian, Liu 2016 (arXiv 1511.05950), recalled, not checked
    against the text; fresh gradients keep the full step. For homogeneous data.

    Example:
        >>> inverse_delay().transforms
        (InverseDelay(),)
    """
    return Algorithm(name="inverse_delay", transforms=(InverseDelay(),))
