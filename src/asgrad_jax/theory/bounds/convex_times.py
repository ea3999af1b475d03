"""Best times for convex objectives and workers of fixed speed, and a lower bound.

As in `times`, orders are evaluated with every hidden constant put to one.
"""

import math

from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_non_negative, check_positive
from asgrad_jax.theory.bounds.times import (
    FastestWorkers,
    best_fastest,
    slowest_and_mean,
)
from asgrad_jax.theory.inputs import sorted_durations


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

    min_m ((1/m) sum_{i<=m} 1/tau_i)^{-1} (sqrt(L) R/sqrt(eps) + sigma^2 R^2/(m eps^2));
    with mu > 0 the bracket is sqrt(L/mu) + sigma^2/(m eps mu), up to logarithms.

    Args:
        durations: float[n], seconds per gradient, any order, > 0.
        eps: goal for f(x) - f*, > 0.
        noise_sq: sigma^2 of one stochastic gradient, >= 0.
        smoothness: L of f, > 0.
        distance: R = ||x_0 - x*||, > 0.
        strong_convexity: mu of f, 0 <= mu <= L; 0 means convex only.

    Returns:
        `FastestWorkers`: seconds (hidden constant one) and m*.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> convex_homogeneous_time([1, 1], 1.0, 2.0, smoothness=1.0, distance=1.0)
        FastestWorkers(time=2.0, num_workers=2)

    Source: Tyurin, Richtarik 2305.12387 [V].
    """
    tau = sorted_durations(durations)
    steps = _convex_steps(eps, noise_sq, smoothness, distance, strong_convexity)
    return best_fastest(tau, *steps)


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

    tau_n sqrt(L) R/sqrt(eps) + tau_avg sigma^2 R^2/(n eps^2); with mu > 0
    tau_n sqrt(L/mu) + tau_avg sigma^2/(n eps mu), up to logarithms.

    Args:
        durations: float[n], seconds per gradient, any order, > 0.
        eps: goal for f(x) - f*, > 0.
        noise_sq: sigma^2 of one stochastic gradient, >= 0.
        smoothness: L of f, > 0.
        distance: R = ||x_0 - x*||, > 0.
        strong_convexity: mu of f, 0 <= mu <= L; 0 means convex only.

    Returns:
        Seconds, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> convex_heterogeneous_time([1, 3], 1.0, 2.0, smoothness=1.0, distance=1.0)
        5.0

    Source: Tyurin, Richtarik 2305.12387 [V].
    """
    tau = sorted_durations(durations)
    steps = _convex_steps(eps, noise_sq, smoothness, distance, strong_convexity)
    return slowest_and_mean(tau, *steps)


def _convex_steps(
    eps: float, noise_sq: float, smoothness: float, distance: float, mu: float
) -> tuple[float, float]:
    check_positive(eps=eps, smoothness=smoothness, distance=distance)
    check_non_negative(noise_sq=noise_sq, strong_convexity=mu)
    if mu > smoothness:
        raise ValueError(
            f"strong_convexity {mu} exceeds smoothness {smoothness}; mu <= L always"
        )
    if mu > 0:
        return math.sqrt(smoothness / mu), noise_sq / (eps * mu)
    return (
        math.sqrt(smoothness / eps) * distance,
        noise_sq * distance**2 / eps**2,
    )


def similarity_lower_bound(
    durations: ArrayLike, eps: float, noise_sq: float, *, strong_convexity: float
) -> float:
    """Order of the time that no similarity of the f_i can save.

    Omega(tau_avg sigma^2/(n mu^2 eps)) for any first-order similarity delta_1 > 0 and
    second-order similarity delta_2 = 0: similar workers do not beat T_heter.

    Args:
        durations: float[n], seconds per gradient, any order, > 0.
        eps: goal for the squared distance to the optimum, > 0.
        noise_sq: sigma^2 of one stochastic gradient, >= 0.
        strong_convexity: mu of f, > 0.

    Returns:
        Seconds, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> similarity_lower_bound([1, 3], 1.0, 2.0, strong_convexity=1.0)
        2.0

    Source: Theorem 2.3 [V] of a paper on similarity whose name was not kept; look for
    its statement before you quote it.
    """
    tau = sorted_durations(durations)
    check_positive(eps=eps, strong_convexity=strong_convexity)
    check_non_negative(noise_sq=noise_sq)
    return float(tau.mean() * noise_sq / (tau.size * strong_convexity**2 * eps))
