"""What the theorem of this project says for particular methods, before any run.

The measured deviations C^2, S^2, nu^2 of `theorem.bound` are replaced by bounds from
the heterogeneity zeta_i^2 = sup ||grad f_i - grad f||^2 alone. All of this is
docs/theorem.md, "What follows", tag [D]: this project's own, not to be quoted from a
paper.
"""

import math

from asgrad_jax._util.checks import check_count, check_non_negative, check_positive
from asgrad_jax.theory.bounds.own_theorem import DRIFT, GAP, NOISE, Bound, bound
from asgrad_jax.theory.inputs import whole_chunks


def in_flight_limit(zeta_sq_of_jobs: float, *, concurrency: int) -> float:
    """Upper bound on nu^2 from the heterogeneity of the workers alone.

    nu^2 <= (tau_C - 1) (1/T') sum_j l_j zeta_{k_j}^2, the delay-weighted heterogeneity.

    Args:
        zeta_sq_of_jobs: (1/T') sum_j l_j zeta_{k_j}^2, >= 0.
        concurrency: tau_C, >= 1.

    Returns:
        Bound on nu^2, squared gradient norm.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> in_flight_limit(2.0, concurrency=4)
        6.0

    Source: docs/theorem.md, "What follows" [D].
    """
    check_non_negative(zeta_sq_of_jobs=zeta_sq_of_jobs)
    check_count("concurrency", concurrency)
    return (concurrency - 1) * zeta_sq_of_jobs


def random_bound(
    step_size: float,
    num_jobs: int,
    *,
    smoothness: float,
    gap: float,
    noise_sq: float,
    zeta_sq: float,
    in_flight_sq: float,
) -> Bound:
    """The theorem for random assignment: the choice of a worker is one more noise.

    5 F_0/(gamma T') + 8 L gamma (sigma^2 + zeta^2) + 71 L^2 gamma^2 nu^2, in
    expectation over the assignments too. Exact where every job goes to a uniformly
    drawn worker; initial jobs, one per worker, are no draws (and cancel better).

    Args:
        step_size: gamma, > 0.
        num_jobs: T', >= 1.
        smoothness: L, common to the f_i, >= 0.
        gap: F_0 = f(x_0) - f*, >= 0.
        noise_sq: sigma^2, >= 0.
        zeta_sq: zeta^2, bound on (1/n) sum_i ||grad f_i - grad f||^2, >= 0.
        in_flight_sq: bound on nu^2, >= 0.

    Returns:
        `Bound`; zeta^2 is in its noise.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> random_bound(0.1, 100, smoothness=1.0, gap=2.0, noise_sq=0.25, zeta_sq=0.25,
        ...              in_flight_sq=0.0).total
        1.4

    Source: docs/theorem.md, "What follows" [D].
    """
    check_non_negative(noise_sq=noise_sq, zeta_sq=zeta_sq)
    return bound(
        step_size,
        num_jobs,
        smoothness=smoothness,
        gap=gap,
        noise_sq=noise_sq + zeta_sq,
        tau=1,
        chunk_sq=0.0,
        partial_sq=0.0,
        in_flight_sq=in_flight_sq,
    )


def shuffled_bound(
    step_size: float,
    num_jobs: int,
    *,
    num_workers: int,
    smoothness: float,
    gap: float,
    noise_sq: float,
    zeta_sq: float,
    in_flight_sq: float,
) -> Bound:
    """The theorem for shuffled assignment: whole permutations cancel.

    5 F_0/(gamma T') + 8 L gamma sigma^2 + 71 L^2 gamma^2 (n zeta^2/2 + nu^2), in
    expectation over the permutations, tau a multiple of n, chunks aligned with them.

    Args:
        step_size: gamma, > 0.
        num_jobs: T', a multiple of n.
        num_workers: n, >= 1.
        smoothness: L, common to the f_i, >= 0.
        gap: F_0 = f(x_0) - f*, >= 0.
        noise_sq: sigma^2, >= 0.
        zeta_sq: zeta^2, bound on (1/n) sum_i ||grad f_i - grad f||^2, >= 0.
        in_flight_sq: bound on nu^2, >= 0.

    Returns:
        `Bound`, with no bias.

    Raises:
        ValueError: if a number is out of its range, or T' no multiple of n.

    Example:
        >>> shuffled_bound(0.1, 100, num_workers=2, smoothness=1.0, gap=2.0,
        ...                noise_sq=0.5, zeta_sq=0.0, in_flight_sq=0.0).total
        1.4

    Source: docs/theorem.md, "What follows" [D]. A partial block of r of n has variance
    r(n - r)/(n - 1) zeta^2 <= n zeta^2/2 for n >= 2 (0 for n = 1).
    """
    check_count("num_workers", num_workers)
    check_non_negative(zeta_sq=zeta_sq)
    return bound(
        step_size,
        num_jobs,
        smoothness=smoothness,
        gap=gap,
        noise_sq=noise_sq,
        tau=num_workers,
        chunk_sq=0.0,
        partial_sq=num_workers * zeta_sq / 2,
        in_flight_sq=in_flight_sq,
    )


def cyclic_bound(
    step_size: float,
    num_jobs: int,
    *,
    num_workers: int,
    smoothness: float,
    gap: float,
    noise_sq: float,
    zeta_sq_max: float,
    in_flight_sq: float,
) -> Bound:
    """The theorem for one fixed permutation: cyclic, shuffle-once.

    C = 0 and S^2 <= n^2 zeta_max^2/4, chunks aligned with the cycle.

    Args:
        step_size: gamma, > 0.
        num_jobs: T', a multiple of n.
        num_workers: n, >= 1.
        smoothness: L, common to the f_i, >= 0.
        gap: F_0 = f(x_0) - f*, >= 0.
        noise_sq: sigma^2, >= 0.
        zeta_sq_max: bound on max_i ||grad f_i - grad f||^2, >= 0.
        in_flight_sq: bound on nu^2, >= 0.

    Returns:
        `Bound`, with no bias.

    Raises:
        ValueError: if a number is out of its range, or T' no multiple of n.

    Example:
        >>> cyclic_bound(0.1, 100, num_workers=2, smoothness=1.0, gap=2.0,
        ...              noise_sq=0.5, zeta_sq_max=0.0, in_flight_sq=0.0).total
        1.4

    Source: docs/theorem.md, "What follows" [D].
    """
    check_count("num_workers", num_workers)
    check_non_negative(zeta_sq_max=zeta_sq_max)
    return bound(
        step_size,
        num_jobs,
        smoothness=smoothness,
        gap=gap,
        noise_sq=noise_sq,
        tau=num_workers,
        chunk_sq=0.0,
        partial_sq=num_workers**2 * zeta_sq_max / 4,
        in_flight_sq=in_flight_sq,
    )


def pure_bound(
    step_size: float,
    num_jobs: int,
    *,
    num_workers: int,
    smoothness: float,
    gap: float,
    noise_sq: float,
    bias_sq: float,
    zeta_sq_max: float,
    in_flight_sq: float,
    tau: int,
) -> Bound:
    """The theorem for pure asynchronous SGD with fixed times: a bias that stays.

    C^2, S^2 <= 2 tau^2 B^2 + 8 n^2 zeta_max^2, and 32 instead of 8 in the chunk that
    holds the initial jobs; B bounds ||sum_i p_i grad f_i - grad f||, p_i worker i's
    share of the arrivals. No step size removes the 10 B^2 of the bias.

    Args:
        step_size: gamma, > 0.
        num_jobs: T' = K tau, >= 1.
        num_workers: n, >= 1.
        smoothness: L, common to the f_i, >= 0.
        gap: F_0 = f(x_0) - f*, >= 0.
        noise_sq: sigma^2, >= 0.
        bias_sq: B^2, >= 0; 0 for equal speeds.
        zeta_sq_max: bound on max_i ||grad f_i - grad f||^2, >= 0.
        in_flight_sq: bound on nu^2, >= 0.
        tau: chunk length, jobs, >= 1.

    Returns:
        `Bound`.

    Raises:
        ValueError: if a number is out of its range, or T' no multiple of tau.

    Example:
        >>> pure_bound(0.1, 100, num_workers=2, smoothness=1.0, gap=0.0, noise_sq=0.0,
        ...            bias_sq=0.25, zeta_sq_max=0.0, in_flight_sq=0.0, tau=10).bias
        2.5

    Source: docs/theorem.md, "What follows" [D].
    """
    check_count("num_workers", num_workers)
    check_non_negative(bias_sq=bias_sq, zeta_sq_max=zeta_sq_max)
    chunks = whole_chunks(num_jobs, tau)
    counting = (8 + 24 / chunks) * num_workers**2 * zeta_sq_max
    deviation = 2 * tau**2 * bias_sq + counting
    return bound(
        step_size,
        num_jobs,
        smoothness=smoothness,
        gap=gap,
        noise_sq=noise_sq,
        tau=tau,
        chunk_sq=deviation,
        partial_sq=deviation,
        in_flight_sq=in_flight_sq,
    )


def tuned_step_size(
    num_jobs: int,
    *,
    smoothness: float,
    gap: float,
    noise_sq: float,
    heterogeneity_sq: float,
    limit: float,
) -> float:
    """The step size that balances the theorem's terms.

    min{Gamma, sqrt(5 F_0/(8 L sigma^2 T')), (5 F_0/(71 L^2 H T'))^{1/3}}.

    Args:
        num_jobs: T', >= 1.
        smoothness: L, common to the f_i, > 0.
        gap: F_0, > 0.
        noise_sq: sigma^2, >= 0 (sigma^2 + zeta^2 for random).
        heterogeneity_sq: H = S^2 + nu^2 (nu^2 for random), >= 0.
        limit: Gamma, from `largest_step_size`, > 0.

    Returns:
        gamma.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> tuned_step_size(1000, smoothness=1.0, gap=1.6, noise_sq=1.0,
        ...                 heterogeneity_sq=0.0, limit=0.1)
        0.03162...

    Source: docs/theorem.md, "What follows" [D].
    """
    check_count("num_jobs", num_jobs)
    check_positive(smoothness=smoothness, gap=gap, limit=limit)
    check_non_negative(noise_sq=noise_sq, heterogeneity_sq=heterogeneity_sq)
    choices = [limit]
    if noise_sq > 0:
        choices.append(
            math.sqrt(GAP * gap / (NOISE * smoothness * noise_sq * num_jobs))
        )
    if heterogeneity_sq > 0:
        cost = DRIFT * smoothness**2 * heterogeneity_sq * num_jobs
        choices.append((GAP * gap / cost) ** (1 / 3))
    return min(choices)
