"""Seconds to a small gradient, for workers of fixed speed.

Worker i needs at most tau_i seconds per gradient, tau_1 <= ... <= tau_n; communication
is free.
"""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax.theory.bounds.arguments import Argument, non_negative
from asgrad_jax.theory.bounds.registry import GRADIENT_SQ, bound

_TYURIN = "Tyurin, Richtarik 2305.12387, as restated in another paper"
_BRIDGING = 'Tyurin, "Bridging the gap ..."'
_BASELINE = "as compared in Tyurin, Richtarik 2305.12387, as restated in another paper"
_VALUE_GAP = "f(x) - f*"
_MU = Argument("mu of f, 0 <= mu <= L; 0 means convex only.", non_negative)


class FastestWorkers(NamedTuple):
    """Seconds, best over the number of workers used, and the smallest such number."""

    time: float
    num_workers: int


_BEST = (
    "`FastestWorkers`: seconds, hidden constant one, and m*, the number of fastest\n"
    "workers that attains the minimum."
)


def best_fastest(
    tau: NDArray[np.float64], steps: float, noisy: float
) -> FastestWorkers:
    """min_m ((1/m) sum_{i<=m} 1/tau_i)^{-1} (steps + noisy/m), tau ascending."""
    m = np.arange(1, tau.size + 1)
    times = (steps * m + noisy) / np.cumsum(1 / tau)
    best = int(np.argmin(times))
    return FastestWorkers(float(times[best]), best + 1)


def _slowest_and_mean(tau: NDArray[np.float64], steps: float, noisy: float) -> float:
    """tau_n steps + tau_avg noisy/n, tau ascending."""
    return float(tau[-1] * steps + tau.mean() * noisy / tau.size)


def _counts(
    durations: ArrayLike, eps: float, noise_sq: float, smoothness: float, gap: float
) -> tuple[NDArray[np.float64], float, float]:
    """tau, L F_0/eps and sigma^2 L F_0/eps^2, of which the orders below are made."""
    steps = smoothness * gap / eps
    return np.asarray(durations), steps, steps * noise_sq / eps


_time = partial(bound, gives="seconds", goal=GRADIENT_SQ, constants="hidden", tag="V")
_convex_time = partial(
    bound,
    goal=_VALUE_GAP,
    constants="hidden",
    tag="V",
    arguments={"strong_convexity": _MU},
)


@_time(
    formula="tau_1 (L F_0/eps + sigma^2 L F_0/eps^2)",
    data="homogeneous",
    source=_BASELINE,
)
def one_worker_time(
    durations: ArrayLike, eps: float, noise_sq: float, *, smoothness: float, gap: float
) -> float:
    """Order of the time of SGD on the fastest worker alone.

    Example:
        >>> one_worker_time([1, 2], 1.0, 4.0, smoothness=1.0, gap=1.0)
        5.0
    """
    tau, steps, noisy = _counts(durations, eps, noise_sq, smoothness, gap)
    return float(tau[0] * (steps + noisy))


@_time(
    formula="T_mini = tau_n (L F_0/eps + sigma^2 L F_0/(n eps^2))",
    data="any",
    source=_BASELINE,
)
def minibatch_time(
    durations: ArrayLike, eps: float, noise_sq: float, *, smoothness: float, gap: float
) -> float:
    """Order of the time of mini-batch SGD, in which all workers wait for the slowest.

    Example:
        >>> minibatch_time(range(1, 11), 1.0, 1.0, smoothness=1.0, gap=1.0)
        11.0
    """
    tau, steps, noisy = _counts(durations, eps, noise_sq, smoothness, gap)
    return float(tau[-1] * (steps + noisy / tau.size))


@_time(
    formula="T_asgd = ((1/n) sum_i 1/tau_i)^{-1} (L F_0/eps + sigma^2 L F_0/(n eps^2))",
    data="homogeneous",
    source=f"Mishchenko, Bach, Even, Woodworth 2206.07638, {_BASELINE}",
)
def asynchronous_time(
    durations: ArrayLike, eps: float, noise_sq: float, *, smoothness: float, gap: float
) -> float:
    """Order of the time of asynchronous SGD in its delay-adaptive analyses.

    Example:
        >>> asynchronous_time([1, 1], 1.0, 2.0, smoothness=1.0, gap=1.0)
        2.0
    """
    tau, steps, noisy = _counts(durations, eps, noise_sq, smoothness, gap)
    return float((steps + noisy / tau.size) / np.mean(1 / tau))


@_time(
    formula="""
        T_homog = min_m ((1/m) sum_{i<=m} 1/tau_i)^{-1}
                        (L F_0/eps + sigma^2 L F_0/(m eps^2))""",
    gives="seconds, and m*",
    data="homogeneous",
    source=_TYURIN,
    returns=_BEST,
)
def optimal_homogeneous_time(
    durations: ArrayLike, eps: float, noise_sq: float, *, smoothness: float, gap: float
) -> FastestWorkers:
    """Order of the best possible time where all workers share one objective.

    Rennala and Ringmaster attain it.

    Example:
        >>> optimal_homogeneous_time(range(1, 11), 1.0, 1.0, smoothness=1.0, gap=1.0)
        FastestWorkers(time=2.0, num_workers=1)
    """
    return best_fastest(*_counts(durations, eps, noise_sq, smoothness, gap))


@_time(
    formula="T_heter = tau_n L F_0/eps + ((1/n) sum_i tau_i) sigma^2 L F_0/(n eps^2)",
    data="heterogeneous",
    source=_TYURIN,
)
def optimal_heterogeneous_time(
    durations: ArrayLike, eps: float, noise_sq: float, *, smoothness: float, gap: float
) -> float:
    """Order of the best possible time where every worker has its own objective.

    Malenia attains it, Ringleader too if its L is of the order of that of f.

    Example:
        >>> optimal_heterogeneous_time(range(1, 11), 1, 100, smoothness=1, gap=1)
        65.0
    """
    return _slowest_and_mean(*_counts(durations, eps, noise_sq, smoothness, gap))


def _convex_steps(
    eps: float, noise_sq: float, smoothness: float, distance: float, mu: float
) -> tuple[float, float]:
    if mu > smoothness:
        raise ValueError(
            f"strong_convexity must be at most smoothness {smoothness}, got {mu}: mu "
            "<= L always"
        )
    if mu > 0:
        return math.sqrt(smoothness / mu), noise_sq / (eps * mu)
    return (
        math.sqrt(smoothness / eps) * distance,
        noise_sq * distance**2 / eps**2,
    )


@_convex_time(
    formula="""
        min_m ((1/m) sum_{i<=m} 1/tau_i)^{-1}
              (sqrt(L) R/sqrt(eps) + sigma^2 R^2/(m eps^2))
        mu > 0: the bracket is sqrt(L/mu) + sigma^2/(m eps mu)""",
    gives="seconds, and m*",
    data="homogeneous",
    conditions="f convex; for mu > 0 strongly convex, and up to logarithms",
    source=_TYURIN,
    returns=_BEST,
)
def convex_homogeneous_time(
    durations: ArrayLike,
    eps: float,
    noise_sq: float,
    *,
    smoothness: float,
    distance: float,
    strong_convexity: float = 0.0,
) -> FastestWorkers:
    """Order of the best time to f(x) - f* <= eps for one shared convex objective.

    Example:
        >>> convex_homogeneous_time([1, 1], 1.0, 2.0, smoothness=1.0, distance=1.0)
        FastestWorkers(time=2.0, num_workers=2)
    """
    steps = _convex_steps(eps, noise_sq, smoothness, distance, strong_convexity)
    return best_fastest(np.asarray(durations), *steps)


@_convex_time(
    formula="""
        tau_n sqrt(L) R/sqrt(eps) + tau_avg sigma^2 R^2/(n eps^2)
        mu > 0: tau_n sqrt(L/mu) + tau_avg sigma^2/(n eps mu)""",
    gives="seconds",
    data="heterogeneous",
    conditions=(
        "f convex; for mu > 0 strongly convex, and up to logarithms; tau_avg the mean "
        "of the tau_i"
    ),
    source=(
        f"{_BRIDGING}, equation 5 and Theorem E.4; the strongly convex form by "
        "reduction there"
    ),
)
def convex_heterogeneous_time(
    durations: ArrayLike,
    eps: float,
    noise_sq: float,
    *,
    smoothness: float,
    distance: float,
    strong_convexity: float = 0.0,
) -> float:
    """Order of the best time to f(x) - f* <= eps, convex, every worker its own data.

    Example:
        >>> convex_heterogeneous_time([1, 3], 1.0, 2.0, smoothness=1.0, distance=1.0)
        5.0
    """
    steps = _convex_steps(eps, noise_sq, smoothness, distance, strong_convexity)
    return _slowest_and_mean(np.asarray(durations), *steps)


@_time(
    formula="Omega(tau_avg sigma^2/(n mu^2 eps))",
    goal="the squared distance E||x - x*||^2",
    data="heterogeneous",
    conditions=(
        "small eps only, eps <= c beta^2/(mu^2 n^2); any first-order similarity "
        "delta_1 > 0, second-order similarity delta_2 = 0; tau_avg the mean of the "
        "tau_i"
    ),
    source=f"{_BRIDGING}, Theorem 2.3",
)
def similarity_lower_bound(
    durations: ArrayLike, eps: float, noise_sq: float, *, strong_convexity: float
) -> float:
    """Order of the time that no similarity of the f_i can save.

    Similar workers do not beat T_heter. Whether eps is small enough is not checked: c
    and beta are those of the theorem.

    Example:
        >>> similarity_lower_bound([1, 3], 1.0, 2.0, strong_convexity=1.0)
        2.0
    """
    tau = np.asarray(durations)
    return float(tau.mean() * noise_sq / (tau.size * strong_convexity**2 * eps))
