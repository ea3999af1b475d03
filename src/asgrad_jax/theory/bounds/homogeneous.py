"""Gradients and rates where all workers share one objective."""

import math
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_count, check_number
from asgrad_jax.theory.bounds.arguments import Argument, non_negative
from asgrad_jax.theory.bounds.registry import GRADIENT_SQ, bound

_KOLOSKOVA = "Koloskova, Stich, Jaggi 2206.08307"
_BOUNDED = "||grad f(x)|| <= G everywhere"
_order = partial(
    bound,
    gives="gradients",
    goal=GRADIENT_SQ,
    data="homogeneous",
    constants="hidden, L = F_0 = 1",
    tag="V",
)
_rate = partial(bound, gives=GRADIENT_SQ, data="homogeneous", constants="hidden")
_birch = partial(
    bound,
    goal=GRADIENT_SQ,
    data="homogeneous",
    source="Birch SGD, master theorem",
    tag="V",
)


@_order(
    formula="sigma^2/eps^2 + sqrt(tau_C tau_max)/eps",
    conditions="one constant step size",
    source=f"{_KOLOSKOVA}, Theorem 6",
)
def constant_step_order(
    eps: float, noise_sq: float, *, concurrency: float, tau_max: float
) -> float:
    """Order of gradients for asynchronous SGD with a constant step.

    At constant concurrency tau_C may be replaced by tau_avg (Corollary 7).

    Example:
        >>> constant_step_order(0.5, 1.0, concurrency=4, tau_max=16)
        20.0
    """
    return noise_sq / eps**2 + math.sqrt(concurrency * tau_max) / eps


@_order(
    formula="sigma^2/eps^2 + tau_C G/eps^{3/2} + tau_C/eps",
    conditions=f"one constant step size, {_BOUNDED}",
    source=f"{_KOLOSKOVA}, Theorem 6",
)
def constant_step_bounded_order(
    eps: float, noise_sq: float, *, concurrency: float, gradient_bound: float
) -> float:
    """Order of gradients for a constant step when gradients are bounded: no tau_max.

    Example:
        >>> constant_step_bounded_order(1.0, 1.0, concurrency=4, gradient_bound=2.0)
        13.0
    """
    return noise_sq / eps**2 + concurrency * (gradient_bound / eps**1.5 + 1 / eps)


@_order(
    formula="sigma^2/eps^2 + tau_C/eps",
    conditions=(
        "gamma_t = gamma <= 1/(4L) for tau_t <= tau_C, and gamma_t < min{gamma, 1/(4 L "
        "tau_t)} otherwise"
    ),
    source=f"{_KOLOSKOVA}, Theorem 8",
)
def delay_adaptive_order(eps: float, noise_sq: float, *, concurrency: float) -> float:
    """Order of gradients when late gradients get a smaller step: no tau_max at all.

    Example:
        >>> delay_adaptive_order(0.5, 1.0, concurrency=4)
        12.0
    """
    return noise_sq / eps**2 + concurrency / eps


@_order(
    formula="sigma^2/eps^2 + tau_max/eps",
    conditions="one constant step size",
    source=f"as quoted by {_KOLOSKOVA}",
)
def earlier_constant_step_order(
    eps: float, noise_sq: float, *, tau_max: float
) -> float:
    """Order that was known before, governed by the largest delay alone.

    Example:
        >>> earlier_constant_step_order(0.5, 1.0, tau_max=16)
        36.0
    """
    return noise_sq / eps**2 + tau_max / eps


@_order(
    formula="sigma^2/eps^2 + n/eps",
    gives="gradients (n per server step)",
    source=f"as quoted by {_KOLOSKOVA}",
)
def minibatch_order(eps: float, noise_sq: float, *, num_workers: int) -> float:
    """Order of gradients for mini-batch SGD over all workers.

    Example:
        >>> minibatch_order(0.5, 1.0, num_workers=10)
        24.0
    """
    return noise_sq / eps**2 + num_workers / eps


@bound(
    formula="""
        asynchronous (1/n) sum_i Delta_i; mini-batch sum_i alpha_i Delta_i,
        alpha_i = (i^C - (i-1)^C)/n^C, Delta_1 <= ... <= Delta_n""",
    gives="seconds per C gradients",
    data="any",
    conditions="clients are drawn uniformly, with replacement",
    source=f"{_KOLOSKOVA}, Lemma 11",
    tag="V",
    returns="(asynchronous, mini-batch), seconds.",
    arguments={
        "durations": "Delta_i, float[n], seconds per gradient, any order, > 0.",
        "concurrency": Argument(
            "C, gradients in flight and per batch, >= 1.", check_count
        ),
    },
)
def seconds_per_gradients(
    durations: ArrayLike, concurrency: int
) -> tuple[float, float]:
    """Expected seconds per C gradients: asynchronous, and mini-batch.

    The mini-batch waits for the slowest of its C clients.

    Example:
        >>> seconds = [10.0] * 900 + [60.0] * 100
        >>> [round(time, 1) for time in seconds_per_gradients(seconds, 10)]
        [15.0, 42.6]
    """
    delta = np.asarray(durations)
    share = np.diff((np.arange(delta.size + 1) / delta.size) ** concurrency)
    return float(delta.mean()), float(share @ delta)


@_rate(
    formula="sqrt(L sigma^2 F_0/T) + (L F_0/T)^{2/3} [(n-1)^2 G^2]^{1/3} + L F_0/T",
    conditions="stochastic gradients of norm <= G, one constant step size",
    source="Otsuka et al. (THROTTLE), the limit q -> 1 in Theorem 1 and Remark 4",
    tag="V",
    arguments={"gradient_bound": "G, bound on the stochastic gradients' norm, >= 0."},
)
def bounded_gradient_rate(
    num_gradients: float,
    noise_sq: float,
    *,
    smoothness: float,
    gap: float,
    num_workers: int,
    gradient_bound: float,
) -> float:
    """Order of E||grad f||^2 for THROTTLE without restarts, bounded gradients.

    Its Remark 4 calls the rate similar, up to the 1/T term, to Theorem 2 of 2206.08307.

    Example:
        >>> bounded_gradient_rate(8, 2, smoothness=1, gap=1, num_workers=2,
        ...                       gradient_bound=1)
        0.875
    """
    rate = smoothness * gap / num_gradients
    drift = ((num_workers - 1) * gradient_bound) ** (2 / 3)
    return math.sqrt(rate * noise_sq) + rate ** (2 / 3) * drift + rate


@_rate(
    formula="L n F_0/T + sqrt(L sigma^2 F_0/T)",
    conditions="delay-adaptive step sizes",
    source="recalled from Mishchenko, Bach, Even, Woodworth 2206.07638",
    tag="R",
)
def delay_adaptive_rate(
    num_gradients: float,
    noise_sq: float,
    *,
    smoothness: float,
    gap: float,
    num_workers: int,
) -> float:
    """Recalled order of E||grad f||^2 for delay-adaptive steps, smooth objectives.

    Heterogeneous data add a neighbourhood of order zeta^2.

    Example:
        >>> delay_adaptive_rate(8, 2.0, smoothness=1.0, gap=1.0, num_workers=4)
        1.0
    """
    rate = smoothness * gap / num_gradients
    return num_workers * rate + math.sqrt(rate * noise_sq)


@_birch(
    formula="gamma = min{1/(2L), 1/(2RL), eps/(4 sigma^2 L)}",
    gives="step size",
    conditions="the gradient's point is at a tree distance <= R from the iterate",
)
def tree_step_size(
    eps: float, noise_sq: float, *, smoothness: float, tree_distance: int
) -> float:
    """Step size of the computation-tree analysis of asynchronous SGD.

    Example:
        >>> tree_step_size(0.1, 0.0, smoothness=1.0, tree_distance=5)
        0.1
    """
    limit = 1 / (2 * smoothness * max(1, tree_distance))
    return min(limit, eps / (4 * noise_sq * smoothness)) if noise_sq > 0 else limit


@_birch(
    formula="K >= 4 (R+1) L F_0/eps + 8 sigma^2 L F_0/eps^2",
    gives="K, gradients",
    goal="(1/K) sum_k E||grad f(x_k)||^2, a mean of squared norms",
    conditions="the step size of `tree_step_size`",
)
def tree_gradients(
    eps: float, noise_sq: float, *, smoothness: float, gap: float, tree_distance: int
) -> float:
    """Gradients after which the tree analysis guarantees eps, constants included.

    Example:
        >>> tree_gradients(1.0, 1.0, smoothness=1.0, gap=1.0, tree_distance=0)
        12.0
    """
    steps = smoothness * gap / eps
    return 4 * (tree_distance + 1) * steps + 8 * steps * noise_sq / eps


@_rate(
    formula="tau_q/(q T) + sigma/sqrt(q T)",
    constants="hidden, L = F_0 = 1",
    source="as described in the abstract of Attia, Gaash, Koren 2408.07503",
    tag="A",
    arguments={
        "tau_q": Argument(
            "q-quantile of the delays, server steps, >= 0.", non_negative
        ),
        "q": Argument("in (0, 1].", partial(check_number, above=0, maximum=1)),
    },
)
def delay_quantile_rate(
    num_gradients: float, noise_sq: float, *, tau_q: float, q: float
) -> float:
    """Order of E||grad f||^2 for asynchronous mini-batching: a quantile, not tau_max.

    Example:
        >>> delay_quantile_rate(8, 4.0, tau_q=4, q=0.5)
        2.0
    """
    useful = q * num_gradients
    return tau_q / useful + math.sqrt(noise_sq / useful)
