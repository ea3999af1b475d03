"""What the papers' theorems say when every worker has its own objective.

Conventions and provenance tags as in `rates`: orders have hidden constants one, and
only [V] may be quoted as a theorem. The theorem of this project is in `theorem`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import (
    check_count,
    check_non_negative,
    check_numbers,
    check_positive,
)
from asgrad_jax.theory.bounds.times import minibatch_time, optimal_heterogeneous_time
from asgrad_jax.theory.inputs import sorted_durations


def random_async_order(
    eps: float,
    noise_sq: float,
    zeta_sq_per_worker: ArrayLike,
    *,
    tau_avg_per_worker: ArrayLike,
    tau_avg: float,
    tau_max: float,
) -> float:
    """Order of gradients for random asynchronous SGD, any delays.

    (sigma^2 + zeta^2)/eps^2 + sqrt(tau_avg (1/n) sum_i zeta_i^2 tau_avg^i)/eps^{3/2} +
    sqrt(tau_avg tau_max)/eps.

    Args:
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        zeta_sq_per_worker: zeta_i^2, float[n], >= 0.
        tau_avg_per_worker: mean delay of each worker's gradients, float[n], >= 0.
        tau_avg: mean delay, in-flight jobs included, server steps, >= 0.
        tau_max: largest delay, server steps, >= 0.

    Returns:
        Gradients, L = F_0 = 1, hidden constant one.

    Raises:
        ValueError: if a number is out of its range or the lengths differ.

    Example:
        >>> random_async_order(
        ...     1.0, 1.0, [1.0], tau_avg_per_worker=[4.0], tau_avg=4.0, tau_max=4.0
        ... )
        10.0

    Source: Koloskova, Stich, Jaggi 2206.08307, Theorem 10 [V].
    """
    check_positive(eps=eps)
    check_non_negative(noise_sq=noise_sq, tau_avg=tau_avg, tau_max=tau_max)
    zeta_sq = _vector("zeta_sq_per_worker", zeta_sq_per_worker)
    tau = _vector("tau_avg_per_worker", tau_avg_per_worker)
    if tau.size != zeta_sq.size:
        raise ValueError(
            f"{zeta_sq.size} workers in zeta_sq_per_worker but {tau.size} in "
            "tau_avg_per_worker"
        )
    drift = math.sqrt(tau_avg * float(np.mean(zeta_sq * tau)))
    return (
        (noise_sq + float(zeta_sq.mean())) / eps**2
        + drift / eps**1.5
        + math.sqrt(tau_avg * tau_max) / eps
    )


def random_async_bounded_order(
    eps: float,
    noise_sq: float,
    zeta_sq: float,
    *,
    tau_avg: float,
    gradient_bound: float,
) -> float:
    """Order of gradients for random asynchronous SGD with bounded gradients.

    (sigma^2 + zeta^2)/eps^2 + tau_avg G/eps^{3/2} + tau_avg/eps.

    Args:
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        zeta_sq: zeta^2 = (1/n) sum_i zeta_i^2, >= 0.
        tau_avg: mean delay, in-flight jobs included, server steps, >= 0.
        gradient_bound: G, >= 0.

    Returns:
        Gradients, L = F_0 = 1, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> random_async_bounded_order(1.0, 1.0, 1.0, tau_avg=4.0, gradient_bound=1.0)
        10.0

    Source: Koloskova, Stich, Jaggi 2206.08307, Theorem 10 [V].
    """
    check_positive(eps=eps)
    check_non_negative(
        noise_sq=noise_sq,
        zeta_sq=zeta_sq,
        tau_avg=tau_avg,
        gradient_bound=gradient_bound,
    )
    return (
        (noise_sq + zeta_sq) / eps**2
        + tau_avg * gradient_bound / eps**1.5
        + tau_avg / eps
    )


def fedbuff_order(
    eps: float,
    noise_sq: float,
    zeta_sq: float,
    *,
    tau_max: float,
    gradient_bound: float,
) -> float:
    """Order of gradients for FedBuff, which assumes that finishers are uniform.

    (sigma^2 + zeta^2)/eps^2 + (zeta^2 + 1) tau_max G^2/eps.

    Args:
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        zeta_sq: zeta^2, >= 0.
        tau_max: largest delay, server steps, >= 0.
        gradient_bound: G, >= 0.

    Returns:
        Gradients, L = F_0 = 1, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> fedbuff_order(1.0, 1.0, 1.0, tau_max=2.0, gradient_bound=1.0)
        6.0

    Source: as restated by Koloskova, Stich, Jaggi 2206.08307 [V].
    """
    check_positive(eps=eps)
    check_non_negative(
        noise_sq=noise_sq,
        zeta_sq=zeta_sq,
        tau_max=tau_max,
        gradient_bound=gradient_bound,
    )
    return (noise_sq + zeta_sq) / eps**2 + (zeta_sq + 1) * tau_max * (
        gradient_bound**2 / eps
    )


def clipped_order(
    norm_goal: float, noise_sq: float, zeta_sq: float = 0.0, *, concurrency: float
) -> float:
    """Order of gradients for clipped asynchronous SGD; the goal is the norm itself.

    (sigma^2 + zeta^2)/e^4 + (sigma + zeta) tau_C/e^3 + tau_C/e^2, up to logarithms, no
    tau_max; e bounds ||grad f||, not its square. zeta = 0 for shared data.

    Args:
        norm_goal: e, goal for the gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        zeta_sq: zeta^2, >= 0.
        concurrency: tau_C, > 0.

    Returns:
        Gradients, L = F_0 = 1, hidden constant and logarithms one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> clipped_order(1.0, 1.0, concurrency=4)
        9.0

    Source: as described in the abstract of Erickson, Johansson 2606.13287 [A].
    """
    check_positive(norm_goal=norm_goal, concurrency=concurrency)
    check_non_negative(noise_sq=noise_sq, zeta_sq=zeta_sq)
    sigma_zeta = math.sqrt(noise_sq) + math.sqrt(zeta_sq)
    return (
        (noise_sq + zeta_sq) / norm_goal**4
        + sigma_zeta * concurrency / norm_goal**3
        + concurrency / norm_goal**2
    )


def gradient_table_step_size(
    num_gradients: float,
    *,
    smoothness: float,
    gap: float,
    num_workers: int,
    tau_max: float,
) -> float:
    """Step size of IA2SGD/DuDe, which averages the last gradient of every worker.

    eta = (1/2) sqrt(n Delta/(L tau_max T)), for T >= 1024 L Delta n tau_max.

    Args:
        num_gradients: T, > 0.
        smoothness: L, > 0.
        gap: Delta = F(w_0) - F*, > 0.
        num_workers: n, >= 1.
        tau_max: largest model delay, > 0.

    Returns:
        eta.

    Raises:
        ValueError: if a number is out of its range, or T is below the horizon that the
            theorem asks for.

    Example:
        >>> gradient_table_step_size(
        ...     4096, smoothness=1.0, gap=1.0, num_workers=1, tau_max=4
        ... )
        0.00390625

    Source: Wang et al. 2405.16966, Theorem 1 as described in reviews [A].
    """
    check_positive(
        num_gradients=num_gradients, smoothness=smoothness, gap=gap, tau_max=tau_max
    )
    check_count("num_workers", num_workers)
    horizon = 1024 * smoothness * gap * num_workers * tau_max
    if num_gradients < horizon:
        raise ValueError(
            f"the step size needs at least 1024 L Delta n tau_max = {horizon:g} "
            f"gradients, got {num_gradients:g}"
        )
    return 0.5 * math.sqrt(num_workers * gap / (smoothness * tau_max * num_gradients))


def ringleader_step_size(
    eps: float,
    noise_sq: float,
    *,
    smoothness: float,
    num_workers: int,
    harmonic_batch: float = 1.0,
) -> float:
    """Step size of Ringleader ASGD.

    gamma = min{1/(8 n L), eps B/(10 L sigma^2)}, L the constant in ||grad f(x) - (1/n)
    sum_i grad f_i(y_i)||^2 <= (L^2/n) sum_i ||x - y_i||^2, B = inf_k ((1/n) sum_i
    1/b_i^k)^{-1} the harmonic mean of the table's counts.

    Args:
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        smoothness: L of the gradient table, > 0; `Smoothness.table` bounds it above.
        num_workers: n, >= 1.
        harmonic_batch: B, >= 1.

    Returns:
        gamma.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> ringleader_step_size(0.1, 0.0, smoothness=1.0, num_workers=2)
        0.0625

    Source: as described in the abstract and reviews of Maranjyan, Richtarik
    2509.22860 [A].
    """
    check_positive(eps=eps, smoothness=smoothness)
    check_non_negative(noise_sq=noise_sq)
    check_positive(harmonic_batch=harmonic_batch)
    if harmonic_batch < 1:
        raise ValueError(
            f"harmonic_batch = {harmonic_batch:g}: a mean of counts is at least 1"
        )
    check_count("num_workers", num_workers)
    limits = [1 / (8 * num_workers * smoothness)]
    if noise_sq > 0:
        limits.append(eps * harmonic_batch / (10 * smoothness * noise_sq))
    return min(limits)


def ringleader_time_order(
    durations: ArrayLike, eps: float, noise_sq: float, *, smoothness: float, gap: float
) -> float:
    """Order of Ringleader's time: optimal when its L is of the order of that of f.

    (L Delta/eps)(tau_n + tau_avg sigma^2/(n eps)).

    Args:
        durations: float[n], seconds per gradient, any order, > 0.
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        smoothness: L of the gradient table, > 0.
        gap: Delta = f(x_0) - f*, > 0.

    Returns:
        Seconds, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> ringleader_time_order([1, 3], 1.0, 2.0, smoothness=1.0, gap=1.0)
        5.0

    Source: as described in the abstract of Maranjyan, Richtarik 2509.22860 [A].
    """
    return optimal_heterogeneous_time(
        durations, eps, noise_sq, smoothness=smoothness, gap=gap
    )


def gradient_table_time_order(
    durations: ArrayLike, eps: float, noise_sq: float, *, smoothness: float, gap: float
) -> float:
    """Order of the time of IA2SGD and of naive mini-batch SGD.

    (L_f Delta/eps)(tau_n + tau_n sigma^2/(n eps)): the noise term pays the slowest
    worker where Ringleader pays the average one.

    Args:
        durations: float[n], seconds per gradient, any order, > 0.
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        smoothness: L_f, > 0.
        gap: Delta = f(x_0) - f*, > 0.

    Returns:
        Seconds, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> gradient_table_time_order([1, 3], 1.0, 2.0, smoothness=1.0, gap=1.0)
        6.0

    Source: as described in the abstract of Maranjyan, Richtarik 2509.22860 [A]; for
    IA2SGD it says "similar order".
    """
    return minibatch_time(durations, eps, noise_sq, smoothness=smoothness, gap=gap)


def rescaled_noise_time(
    durations: ArrayLike, eps: float, noise_sq: float, *, smoothness: float, gap: float
) -> float:
    """Order of the seconds that noise costs Rescaled ASGD (gamma_i = gamma tau_i).

    L Delta sigma^2 tau_avg/(n eps^2): per second the drift is gamma n grad f and the
    noise gamma^2 sigma^2 n tau_avg. It is the second term of the lower bound T_heter.

    Args:
        durations: float[n], seconds per gradient, any order, > 0.
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        smoothness: L of f, > 0.
        gap: Delta = f(x_0) - f*, > 0.

    Returns:
        Seconds, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> rescaled_noise_time([1, 3], 1.0, 2.0, smoothness=1.0, gap=1.0)
        2.0

    Source: a consistency check of this project [D]; the claim of Mahran, Maranjyan,
    Richtarik 2605.13434 is known from its abstract only.
    """
    tau = sorted_durations(durations)
    check_positive(eps=eps, smoothness=smoothness, gap=gap)
    check_non_negative(noise_sq=noise_sq)
    return float(smoothness * gap * noise_sq * tau.mean() / (tau.size * eps**2))


def synchronous_restart_rate(
    num_rounds: float,
    noise_sq: float,
    *,
    smoothness: float,
    gap: float,
    num_workers: int,
) -> float:
    """Order of E||grad f||^2 for THROTTLE when repeats in a round count for nothing.

    sqrt(L sigma^2 Delta/(|G| R)) + L Delta/R, the limit q -> infinity.

    Args:
        num_rounds: R, > 0.
        noise_sq: sigma^2, >= 0.
        smoothness: L of f, > 0.
        gap: Delta = f(x_0) - f*, > 0.
        num_workers: |G|, the workers that return honest gradients, >= 1.

    Returns:
        Squared gradient norm, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> synchronous_restart_rate(
        ...     1, 4.0, smoothness=1.0, gap=1.0, num_workers=4
        ... )
        2.0

    Source: Otsuka et al. (THROTTLE), Theorem 1 and Remarks 3-4 [V].
    """
    check_positive(num_rounds=num_rounds, smoothness=smoothness, gap=gap)
    check_non_negative(noise_sq=noise_sq)
    check_count("num_workers", num_workers)
    rate = smoothness * gap / num_rounds
    return math.sqrt(rate * noise_sq / num_workers) + rate


def _vector(name: str, values: ArrayLike) -> np.ndarray:
    return check_numbers(name, values, ndim=1, minimum=0, finite=True)
