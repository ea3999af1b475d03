"""Seconds until an eps-stationary point, for workers of fixed speed.

Worker i needs at most tau_i seconds per gradient, tau_1 <= ... <= tau_n, communication
is free, and the goal is the first x with E||grad f(x)||^2 <= eps. Orders are evaluated
with every hidden constant (the O, Omega, Theta) put to one: their ratios and their
scaling mean something, their absolute value does not. L is the smoothness of f, Delta
= f(x_0) - f*, sigma^2 the variance of one stochastic gradient.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_non_negative, check_positive
from asgrad_jax.theory.constants import Constants, as_constants
from asgrad_jax.theory.inputs import check_jobs, mean_durations, sorted_durations


class FastestWorkers(NamedTuple):
    """A time that is best over the number of workers used."""

    time: float  # seconds
    num_workers: int  # m*, the m that attains the minimum (the smallest such m)


@dataclass(frozen=True)
class TimesToEps:
    """The times of `time_to`, in seconds, with the workers worth using.

    All of them are proportional to L: they are too short where it is only estimated
    from below (`from_below`).

    Attributes:
        eps: the goal for the squared gradient norm.
        one_worker: SGD on the fastest worker alone (`one_worker_time`), shared data.
        minibatch: T_mini, all workers wait (`minibatch_time`).
        asynchronous: T_asgd, shared data (`asynchronous_time`).
        homogeneous: T_homog, the best for shared data (`optimal_homogeneous_time`).
        homogeneous_workers: m*, how many of the fastest workers attain T_homog.
        heterogeneous: T_heter, the best where every worker has its own data
            (`optimal_heterogeneous_time`).
        from_below: whether L is only estimated from below.
    """

    eps: float
    one_worker: float
    minibatch: float
    asynchronous: float
    homogeneous: float
    homogeneous_workers: int
    heterogeneous: float
    from_below: bool = False

    def __str__(self) -> str:
        rows = (
            ("fastest worker alone, shared data", self.one_worker, ""),
            ("mini-batch SGD, all workers wait", self.minibatch, ""),
            ("asynchronous SGD, shared data", self.asynchronous, ""),
            (
                "optimal, shared data (Rennala, Ringmaster)",
                self.homogeneous,
                f"  uses the {self.homogeneous_workers} fastest",
            ),
            ("optimal, own data (Malenia, Ringleader)", self.heterogeneous, ""),
        )
        lines = [f"{name:<44}{time:>12.4g} s{note}" for name, time, note in rows]
        if self.from_below:
            lines.append("L is only estimated from below: with the true L, longer")
        return "\n".join(lines)


def best_fastest(
    tau: NDArray[np.float64], steps: float, noisy: float
) -> FastestWorkers:
    """min_m ((1/m) sum_{i<=m} 1/tau_i)^{-1} (steps + noisy/m).

    Args:
        tau: float64[n], seconds per gradient, fastest first.
        steps: steps without noise.
        noisy: gradients that the noise costs.
    """
    m = np.arange(1, tau.size + 1)
    times = (steps * m + noisy) / np.cumsum(1 / tau)
    best = int(np.argmin(times))
    return FastestWorkers(float(times[best]), best + 1)


def slowest_and_mean(tau: NDArray[np.float64], steps: float, noisy: float) -> float:
    """tau_n steps + tau_avg noisy/n; arguments as in `best_fastest`."""
    return float(tau[-1] * steps + tau.mean() * noisy / tau.size)


def _steps(
    eps: float, smoothness: float, gap: float, noise_sq: float
) -> tuple[float, float]:
    """(L Delta/eps, sigma^2 L Delta/eps^2): the two counts in every order below."""
    check_positive(eps=eps, smoothness=smoothness, gap=gap)
    check_non_negative(noise_sq=noise_sq)
    steps = smoothness * gap / eps
    return steps, steps * noise_sq / eps


def one_worker_time(
    durations: ArrayLike,
    eps: float,
    noise_sq: float,
    *,
    smoothness: float,
    gap: float,
) -> float:
    """Order of the time of SGD on the fastest worker alone.

    tau_1 (L Delta/eps + sigma^2 L Delta/eps^2).

    Args:
        durations: float[n], seconds per gradient, any order, > 0.
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2 of one stochastic gradient, >= 0.
        smoothness: L of f, > 0.
        gap: Delta = f(x_0) - f*, > 0.

    Returns:
        Seconds, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> one_worker_time([1, 2], 1.0, 4.0, smoothness=1.0, gap=1.0)
        5.0

    Source: as compared in Tyurin, Richtarik 2305.12387 [V].
    """
    steps, noisy = _steps(eps, smoothness, gap, noise_sq)
    return float(sorted_durations(durations)[0] * (steps + noisy))


def minibatch_time(
    durations: ArrayLike,
    eps: float,
    noise_sq: float,
    *,
    smoothness: float,
    gap: float,
) -> float:
    """Order of the time of mini-batch SGD, in which all workers wait for the slowest.

    T_mini = tau_n (L Delta/eps + sigma^2 L Delta/(n eps^2)).

    Args:
        durations: float[n], seconds per gradient, any order, > 0.
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2 of one stochastic gradient, >= 0.
        smoothness: L of f, > 0.
        gap: Delta = f(x_0) - f*, > 0.

    Returns:
        Seconds, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> minibatch_time(range(1, 11), 1.0, 1.0, smoothness=1.0, gap=1.0)
        11.0

    Source: as compared in Tyurin, Richtarik 2305.12387 [V].
    """
    tau = sorted_durations(durations)
    steps, noisy = _steps(eps, smoothness, gap, noise_sq)
    return float(tau[-1] * (steps + noisy / tau.size))


def asynchronous_time(
    durations: ArrayLike,
    eps: float,
    noise_sq: float,
    *,
    smoothness: float,
    gap: float,
) -> float:
    """Order of the time of asynchronous SGD in its delay-adaptive analyses.

    T_asgd = ((1/n) sum_i 1/tau_i)^{-1} (L Delta/eps + sigma^2 L Delta/(n eps^2)), for
    workers that share one objective.

    Args:
        durations: float[n], seconds per gradient, any order, > 0.
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2 of one stochastic gradient, >= 0.
        smoothness: L of f, > 0.
        gap: Delta = f(x_0) - f*, > 0.

    Returns:
        Seconds, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> asynchronous_time([1, 1], 1.0, 2.0, smoothness=1.0, gap=1.0)
        2.0

    Source: Mishchenko, Bach, Even, Woodworth 2206.07638, as compared in Tyurin,
    Richtarik 2305.12387 [V].
    """
    tau = sorted_durations(durations)
    steps, noisy = _steps(eps, smoothness, gap, noise_sq)
    return float((steps + noisy / tau.size) / np.mean(1 / tau))


def optimal_homogeneous_time(
    durations: ArrayLike,
    eps: float,
    noise_sq: float,
    *,
    smoothness: float,
    gap: float,
) -> FastestWorkers:
    """Order of the best possible time where all workers share one objective.

    T_homog = min_m ((1/m) sum_{i<=m} 1/tau_i)^{-1} (L Delta/eps + sigma^2 L
    Delta/(m eps^2)); Rennala and Ringmaster attain it.

    Args:
        durations: float[n], seconds per gradient, any order, > 0.
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2 of one stochastic gradient, >= 0.
        smoothness: L of f, > 0.
        gap: Delta = f(x_0) - f*, > 0.

    Returns:
        `FastestWorkers`: seconds (hidden constant one) and m*, the number of fastest
        workers that attains the minimum.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> optimal_homogeneous_time(range(1, 11), 1.0, 1.0, smoothness=1.0, gap=1.0)
        FastestWorkers(time=2.0, num_workers=1)

    Source: Tyurin, Richtarik 2305.12387 [V].
    """
    tau = sorted_durations(durations)
    return best_fastest(tau, *_steps(eps, smoothness, gap, noise_sq))


def optimal_heterogeneous_time(
    durations: ArrayLike,
    eps: float,
    noise_sq: float,
    *,
    smoothness: float,
    gap: float,
) -> float:
    """Order of the best possible time where every worker has its own data.

    T_heter = tau_n L Delta/eps + ((1/n) sum_i tau_i) sigma^2 L Delta/(n eps^2); Malenia
    attains it, Ringleader too if its L is of the order of that of f.

    Args:
        durations: float[n], seconds per gradient, any order, > 0.
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2 of one stochastic gradient, >= 0.
        smoothness: L of f, > 0.
        gap: Delta = f(x_0) - f*, > 0.

    Returns:
        Seconds, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> optimal_heterogeneous_time(
        ...     range(1, 11), 1.0, 100.0, smoothness=1.0, gap=1.0
        ... )
        65.0

    Source: Tyurin, Richtarik 2305.12387 [V].
    """
    tau = sorted_durations(durations)
    return slowest_and_mean(tau, *_steps(eps, smoothness, gap, noise_sq))


def time_to(
    eps: float,
    compute_times: Any,
    problem: Any = None,
    *,
    smoothness: float | None = None,
    gap: float | None = None,
    noise_sq: float | None = None,
) -> TimesToEps:
    """Seconds to a squared gradient norm of eps: baselines and optimal methods.

    The orders of this module for one clock, hidden constants one. Random compute
    times enter by their means: the theory behind these orders has fixed times, so for
    heavy tails read them as a reference line.

    Args:
        eps: goal for the squared gradient norm, > 0.
        compute_times: a clock with `mean_durations` (float64[n], seconds), or the
            seconds per gradient of each worker, float[n].
        problem: a problem, or its `Constants`; gives what is not given below.
        smoothness: L of f, > 0.
        gap: Delta = f(x_0) - f*, > 0.
        noise_sq: sigma^2 of one stochastic gradient, >= 0.

    Returns:
        `TimesToEps`; print it for a table.

    Raises:
        TypeError: if the compute times tell no mean of each worker.
        ValueError: if a number is out of its range, or missing while no problem is
            given; if clock and problem differ in workers.

    Example:
        >>> times = time_to(1.0, range(1, 11), smoothness=1.0, gap=1.0, noise_sq=1.0)
        >>> times.minibatch, times.homogeneous, times.heterogeneous
        (11.0, 2.0, 10.55)

    Source: Tyurin, Richtarik 2305.12387 [V], the baselines as compared there.
    """
    if problem is not None and not isinstance(problem, Constants):
        check_jobs(problem)
    durations = mean_durations(
        compute_times, None if problem is None else problem.num_workers
    )
    from_below = False
    if problem is not None and None in (smoothness, gap, noise_sq):
        found = as_constants(problem)
        if smoothness is None:
            smoothness, from_below = found.smoothness, found.smooth.from_below
        gap = found.gap if gap is None else gap
        noise_sq = found.noise_sq if noise_sq is None else noise_sq
    if smoothness is None or gap is None or noise_sq is None:
        raise ValueError(
            "time_to needs smoothness, gap and noise_sq: give the three numbers, or a "
            "problem (or its theory.constants) as the third argument"
        )
    if gap != gap:
        raise ValueError(
            "no lower bound on f* is known for this problem: give gap=..., or numbers "
            "made by theory.constants(problem, lower_bound=...)"
        )
    common = {"smoothness": smoothness, "gap": gap}
    best = optimal_homogeneous_time(durations, eps, noise_sq, **common)
    return TimesToEps(
        eps=eps,
        one_worker=one_worker_time(durations, eps, noise_sq, **common),
        minibatch=minibatch_time(durations, eps, noise_sq, **common),
        asynchronous=asynchronous_time(durations, eps, noise_sq, **common),
        homogeneous=best.time,
        homogeneous_workers=best.num_workers,
        heterogeneous=optimal_heterogeneous_time(durations, eps, noise_sq, **common),
        from_below=from_below,
    )
