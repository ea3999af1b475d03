"""How many gradients the papers' theorems ask for when all workers share one objective.

One function per statement. An *order* puts every constant hidden in its O to one, and
where the source leaves out L and F_0 the number is in their unit (L = F_0 = 1), so
orders may be compared with each other, never with a measured count. Provenance tags:
[V] read in the paper, [A] from an abstract or review, [R] recalled. Only [V] may be
quoted as a theorem.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_count, check_non_negative, check_positive
from asgrad_jax.theory.inputs import sorted_durations


def constant_step_order(
    eps: float, noise_sq: float, *, concurrency: float, tau_max: float
) -> float:
    """Order of gradients for asynchronous SGD with a constant step.

    sigma^2/eps^2 + sqrt(tau_C tau_max)/eps. At constant concurrency tau_C may be
    replaced by tau_avg (Cor. 7).

    Args:
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        concurrency: tau_C, largest number of jobs in flight, > 0.
        tau_max: largest delay, server steps, >= 0.

    Returns:
        Gradients, L = F_0 = 1, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> constant_step_order(0.5, 1.0, concurrency=4, tau_max=16)
        20.0

    Source: Koloskova, Stich, Jaggi 2206.08307, Theorem 6 [V].
    """
    check_positive(eps=eps, concurrency=concurrency)
    check_non_negative(noise_sq=noise_sq, tau_max=tau_max)
    return noise_sq / eps**2 + math.sqrt(concurrency * tau_max) / eps


def constant_step_bounded_order(
    eps: float, noise_sq: float, *, concurrency: float, gradient_bound: float
) -> float:
    """Order of gradients for a constant step when gradients are bounded: no tau_max.

    sigma^2/eps^2 + tau_C G/eps^{3/2} + tau_C/eps.

    Args:
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        concurrency: tau_C, largest number of jobs in flight, > 0.
        gradient_bound: G with ||grad f(x)|| <= G everywhere, >= 0.

    Returns:
        Gradients, L = F_0 = 1, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> constant_step_bounded_order(1.0, 1.0, concurrency=4, gradient_bound=2.0)
        13.0

    Source: Koloskova, Stich, Jaggi 2206.08307, Theorem 6 [V].
    """
    check_positive(eps=eps, concurrency=concurrency)
    check_non_negative(noise_sq=noise_sq, gradient_bound=gradient_bound)
    return noise_sq / eps**2 + concurrency * (gradient_bound / eps**1.5 + 1 / eps)


def delay_adaptive_order(eps: float, noise_sq: float, *, concurrency: float) -> float:
    """Order of gradients when late gradients get a smaller step: no tau_max at all.

    sigma^2/eps^2 + tau_C/eps, with gamma_t = gamma for tau_t <= tau_C and less than
    min{gamma, 1/(4 L tau_t)} otherwise, gamma <= 1/(4L).

    Args:
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        concurrency: tau_C, largest number of jobs in flight, > 0.

    Returns:
        Gradients, L = F_0 = 1, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> delay_adaptive_order(0.5, 1.0, concurrency=4)
        12.0

    Source: Koloskova, Stich, Jaggi 2206.08307, Theorem 8 [V].
    """
    check_positive(eps=eps, concurrency=concurrency)
    check_non_negative(noise_sq=noise_sq)
    return noise_sq / eps**2 + concurrency / eps


def earlier_constant_step_order(
    eps: float, noise_sq: float, *, tau_max: float
) -> float:
    """Order that was known before, governed by the largest delay alone.

    sigma^2/eps^2 + tau_max/eps.

    Args:
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        tau_max: largest delay, server steps, >= 0.

    Returns:
        Gradients, L = F_0 = 1, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> earlier_constant_step_order(0.5, 1.0, tau_max=16)
        36.0

    Source: as quoted by Koloskova, Stich, Jaggi 2206.08307 [V].
    """
    check_positive(eps=eps)
    check_non_negative(noise_sq=noise_sq, tau_max=tau_max)
    return noise_sq / eps**2 + tau_max / eps


def minibatch_order(eps: float, noise_sq: float, *, num_workers: int) -> float:
    """Order of gradients for mini-batch SGD over all workers.

    sigma^2/eps^2 + n/eps.

    Args:
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        num_workers: n, >= 1.

    Returns:
        Gradients (n per server step), L = F_0 = 1, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> minibatch_order(0.5, 1.0, num_workers=10)
        24.0

    Source: as quoted by Koloskova, Stich, Jaggi 2206.08307 [V].
    """
    check_positive(eps=eps)
    check_non_negative(noise_sq=noise_sq)
    check_count("num_workers", num_workers)
    return noise_sq / eps**2 + num_workers / eps


def seconds_per_gradients(
    durations: ArrayLike, concurrency: int
) -> tuple[float, float]:
    """Expected seconds per `concurrency` gradients: asynchronous, and mini-batch.

    Asynchronous with uniformly drawn clients (1/n) sum_i Delta_i; mini-batch of C
    uniformly drawn clients sum_i alpha_i Delta_i, alpha_i = (i^C - (i-1)^C)/n^C with
    Delta_1 <= ... <= Delta_n (the slowest of C draws).

    Args:
        durations: float[n], seconds per gradient, any order, > 0.
        concurrency: C, gradients in flight and per batch, >= 1.

    Returns:
        (asynchronous, mini-batch), seconds.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> clock = [10.0] * 900 + [60.0] * 100
        >>> [round(seconds, 1) for seconds in seconds_per_gradients(clock, 10)]
        [15.0, 42.6]

    Source: Koloskova, Stich, Jaggi 2206.08307, Lemma 11 [V].
    """
    delta = sorted_durations(durations)
    check_count("concurrency", concurrency)
    share = np.diff((np.arange(delta.size + 1) / delta.size) ** concurrency)
    return float(delta.mean()), float(share @ delta)


def bounded_gradient_rate(
    num_gradients: float,
    noise_sq: float,
    *,
    smoothness: float,
    gap: float,
    num_workers: int,
    gradient_bound: float,
) -> float:
    """Order of E||grad f||^2 after T gradients, constant step, bounded gradients.

    sqrt(L sigma^2 Delta/T) + (L Delta/T)^{2/3} [(n-1)^2 G^2]^{1/3} + L Delta/T.

    Args:
        num_gradients: T, > 0.
        noise_sq: sigma^2, >= 0.
        smoothness: L of f, > 0.
        gap: Delta = f(x_0) - f*, > 0.
        num_workers: n, >= 1.
        gradient_bound: G, bound on the stochastic gradients' norm, >= 0.

    Returns:
        Squared gradient norm, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> bounded_gradient_rate(
        ...     8, 2.0, smoothness=1.0, gap=1.0, num_workers=2, gradient_bound=1.0
        ... )
        0.875

    Source: Mishchenko, Bach, Even, Woodworth 2206.07638, Theorem 2, as restated in a
    paper at hand [V: its Remark 4].
    """
    check_positive(num_gradients=num_gradients, smoothness=smoothness, gap=gap)
    check_non_negative(noise_sq=noise_sq, gradient_bound=gradient_bound)
    check_count("num_workers", num_workers)
    rate = smoothness * gap / num_gradients
    drift = ((num_workers - 1) * gradient_bound) ** (2 / 3)
    return math.sqrt(rate * noise_sq) + rate ** (2 / 3) * drift + rate


def delay_adaptive_rate(
    num_gradients: float,
    noise_sq: float,
    *,
    smoothness: float,
    gap: float,
    num_workers: int,
) -> float:
    """Recalled order of E||grad f||^2 for delay-adaptive steps, smooth objectives.

    L M Delta/K + sqrt(L sigma^2 Delta/K); heterogeneous data add a neighbourhood of
    order zeta^2.

    Args:
        num_gradients: K, > 0.
        noise_sq: sigma^2, >= 0.
        smoothness: L of f, > 0.
        gap: Delta = f(x_0) - f*, > 0.
        num_workers: M, >= 1.

    Returns:
        Squared gradient norm, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> delay_adaptive_rate(8, 2.0, smoothness=1.0, gap=1.0, num_workers=4)
        1.0

    Source: recalled [R] from Mishchenko, Bach, Even, Woodworth 2206.07638; not checked
    against its text.
    """
    check_positive(num_gradients=num_gradients, smoothness=smoothness, gap=gap)
    check_non_negative(noise_sq=noise_sq)
    check_count("num_workers", num_workers)
    rate = smoothness * gap / num_gradients
    return num_workers * rate + math.sqrt(rate * noise_sq)


def tree_step_size(
    eps: float, noise_sq: float, *, smoothness: float, tree_distance: int
) -> float:
    """Step size of the computation-tree analysis of asynchronous SGD.

    gamma = min{1/(2L), 1/(2RL), eps/(4 sigma^2 L)}, where R bounds the tree distance
    between the iterate and the point of the gradient: 0 for plain SGD, B - 1 for
    Rennala, threshold - 1 for Ringmaster. One shared objective.

    Args:
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        smoothness: L of f, > 0.
        tree_distance: R, >= 0.

    Returns:
        gamma.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> tree_step_size(0.1, 0.0, smoothness=1.0, tree_distance=5)
        0.1

    Source: Birch SGD, master theorem as stated in its abstract and reviews [A].
    """
    check_positive(eps=eps, smoothness=smoothness)
    check_non_negative(noise_sq=noise_sq, tree_distance=tree_distance)
    limits = [1 / (2 * smoothness * max(1, tree_distance))]
    if noise_sq > 0:
        limits.append(eps / (4 * noise_sq * smoothness))
    return min(limits)


def tree_gradients(
    eps: float, noise_sq: float, *, smoothness: float, gap: float, tree_distance: int
) -> float:
    """Gradients after which the tree analysis guarantees eps, constants included.

    (1/K) sum_k E||grad f(x_k)||^2 <= eps for all K >= 4 (R+1) L Delta/eps + 8 sigma^2
    L Delta/eps^2, with `tree_step_size`.

    Args:
        eps: goal for the squared gradient norm, > 0.
        noise_sq: sigma^2, >= 0.
        smoothness: L of f, > 0.
        gap: Delta = f(x_0) - f*, > 0.
        tree_distance: R, >= 0.

    Returns:
        K, gradients.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> tree_gradients(1.0, 1.0, smoothness=1.0, gap=1.0, tree_distance=0)
        12.0

    Source: Birch SGD, master theorem as stated in its abstract and reviews [A].
    """
    check_positive(eps=eps, smoothness=smoothness, gap=gap)
    check_non_negative(noise_sq=noise_sq, tree_distance=tree_distance)
    steps = smoothness * gap / eps
    return 4 * (tree_distance + 1) * steps + 8 * steps * noise_sq / eps


def delay_quantile_rate(
    num_gradients: float, noise_sq: float, *, tau_q: float, q: float
) -> float:
    """Order of E||grad f||^2 for asynchronous mini-batching: a quantile, not tau_max.

    tau_q/(q T) + sigma/sqrt(q T), tau_q the q-quantile of the delays.

    Args:
        num_gradients: T, > 0.
        noise_sq: sigma^2, >= 0.
        tau_q: q-quantile of the delays, server steps, >= 0.
        q: 0 < q <= 1.

    Returns:
        Squared gradient norm, L = F_0 = 1, hidden constant one.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> delay_quantile_rate(8, 4.0, tau_q=4, q=0.5)
        2.0

    Source: as described in the abstract of Attia, Gaash, Koren 2408.07503 [A].
    """
    check_positive(num_gradients=num_gradients, q=q)
    check_non_negative(noise_sq=noise_sq, tau_q=tau_q)
    if q > 1:
        raise ValueError(f"q must lie in (0, 1], got {q!r}")
    useful = q * num_gradients
    return tau_q / useful + math.sqrt(noise_sq / useful)
