"""The convergence theorem of asgrad_jax, and what it says for particular methods.

It holds for any asynchronous method with one constant weight per gradient: pure,
random, shuffled, cyclic, waiting, mini-batch, FedBuff without local steps. Jobs are
numbered in assignment order; job t of worker k_t is computed at z_t, the server's
iterate when it was given out; A_t are the jobs applied before, I_t those given out and
not applied; tau_C = 1 + max|I_t|; l_j is the flight length of job j, l_max the largest.
Take a chunk length tau and T' = K tau jobs. The f_i are L-smooth, f >= f*, the
schedule does not depend on the noise, which has mean zero given the past and variance
<= sigma^2.

If L gamma tau <= 1/8 and L gamma sqrt((tau_C - 1) l_max) <= 1/16, then

    (1/T') sum_t E||grad f(z_t)||^2 <= 5 F_0/(gamma T') + 8 L gamma sigma^2
        + (5/tau^2) C^2 + 71 L^2 gamma^2 (S^2 + nu^2),

where C^2, S^2, nu^2 are the squared deviations of `correlation`, measured at the chunk
starts of the virtual sequence and at the z_t. For particular methods they are replaced
by bounds from the heterogeneity zeta_i^2 = sup ||grad f_i - grad f||^2 alone.

Source: docs/theorem.md, tag [D], with a full proof. It has the shape that is
generally recalled of the theorem of AsGrad (Islamov, Safaryan, Alistarh 2310.20452),
but its statement and constants are asgrad_jax's: do not quote it as AsGrad's.
"""

import math
from dataclasses import dataclass
from functools import partial

from asgrad_jax._util.checks import check_count
from asgrad_jax.theory.bounds.arguments import Argument, non_negative, positive
from asgrad_jax.theory.bounds.registry import bound

# The theorem's constants, named so that tests can break them one by one.
GAP, NOISE, BIAS, DRIFT = 5.0, 8.0, 5.0, 71.0
CHUNK_LIMIT, FLIGHT_LIMIT = 1 / 8, 1 / 16

_LIMITS = "L gamma tau <= 1/8 and L gamma sqrt((tau_C - 1) l_max) <= 1/16"
_CONDITIONS = f"{_LIMITS} (not checked here), one constant weight per gradient"
_FOLLOWS = 'docs/theorem.md, "What follows"'
_LEFT_SIDE = "bound on (1/T') sum_t E||grad f(z_t)||^2, the mean squared gradient norm"
THEOREM_ARGUMENTS = {
    "step_size": Argument("gamma times the weight of a gradient, > 0.", positive),
    "num_jobs": Argument("T' = K tau, >= 1.", check_count),
    "smoothness": Argument("L, common to the f_i, >= 0.", non_negative),
    "gap": Argument("F_0 = f(x_0) - f*, >= 0.", non_negative),
    "chunk_length": Argument("tau, jobs, >= 1.", check_count),
    "chunk_sq": Argument("C^2, >= 0.", non_negative),
    "partial_sq": Argument("S^2, >= 0.", non_negative),
    "in_flight_sq": Argument("nu^2, or a bound on it, >= 0.", non_negative),
    "bias_sq": Argument("B^2, >= 0; 0 for equal speeds.", non_negative),
    "concurrency": Argument("tau_C, >= 1.", check_count),
    "flight_max": Argument("l_max, jobs, >= 0.", non_negative),
}
CURVED = Argument("L, common to the f_i, > 0.", positive)
_PERMUTED = {
    **THEOREM_ARGUMENTS,
    "num_jobs": Argument("T', a multiple of n.", check_count),
}
_theorem = partial(
    bound,
    gives=_LEFT_SIDE,
    data="heterogeneous",
    source=_FOLLOWS,
    tag="D",
    arguments=THEOREM_ARGUMENTS,
)


@dataclass(frozen=True)
class BoundTerms:
    """An upper bound on the mean squared gradient norm, term by term.

    Attributes:
        optimisation: 5 F_0/(gamma T'), what the start costs.
        noise: 8 L gamma sigma^2.
        bias: (5/tau^2) C^2, what a chunk's mean gradient misses.
        order: 71 L^2 gamma^2 S^2, from the order inside chunks.
        staleness: 71 L^2 gamma^2 nu^2, from the jobs in flight.
    """

    optimisation: float
    noise: float
    bias: float
    order: float
    staleness: float

    @property
    def total(self) -> float:
        """The bound: sum of the five terms."""
        return self.optimisation + self.noise + self.bias + self.order + self.staleness


_TERMS = "`BoundTerms`; its `total` is the bound."


def whole_chunks(num_jobs: int, chunk_length: int) -> int:
    """K = T'/tau, the number of chunks; ValueError unless they are whole."""
    chunks, rest = divmod(num_jobs, chunk_length)
    if rest:
        below = f"{chunks * chunk_length} or " if chunks else ""
        raise ValueError(
            f"num_jobs must be a multiple of the chunk length {chunk_length} (or of "
            f"the number of workers), got {num_jobs}; give "
            f"{below}{(chunks + 1) * chunk_length} jobs"
        )
    return chunks


@bound(
    formula="min{1/(8 L tau), 1/(16 L sqrt((tau_C - 1) l_max))}",
    gives="step size gamma, times the weight of a gradient if that is not one",
    data="any",
    conditions="one constant weight per gradient",
    source="docs/theorem.md, the theorem's conditions",
    tag="D",
    arguments={**THEOREM_ARGUMENTS, "smoothness": CURVED},
)
def largest_step_size(
    smoothness: float, *, concurrency: int, flight_max: int, chunk_length: int = 1
) -> float:
    """The largest step size for which the theorem of asgrad_jax holds.

    Example:
        >>> largest_step_size(1.0, concurrency=5, flight_max=16)
        0.0078125
    """
    limit = CHUNK_LIMIT / (smoothness * chunk_length)
    stale = math.sqrt((concurrency - 1) * flight_max)
    return min(limit, FLIGHT_LIMIT / (smoothness * stale)) if stale else limit


@_theorem(
    formula="""
        5 F_0/(gamma T') + 8 L gamma sigma^2 + (5/tau^2) C^2
        + 71 L^2 gamma^2 (S^2 + nu^2)""",
    data="any",
    conditions=_CONDITIONS,
    source="docs/theorem.md",
    returns=_TERMS,
)
def theorem_bound(
    step_size: float,
    num_jobs: int,
    *,
    smoothness: float,
    gap: float,
    noise_sq: float,
    chunk_length: int,
    chunk_sq: float,
    partial_sq: float,
    in_flight_sq: float,
) -> BoundTerms:
    """Right side of the theorem of asgrad_jax.

    Example:
        >>> theorem_bound(0.1, 100, smoothness=1, gap=2, noise_sq=0.5, chunk_length=1,
        ...               chunk_sq=0, partial_sq=0, in_flight_sq=0).total
        1.4
    """
    whole_chunks(num_jobs, chunk_length)
    curvature = DRIFT * (smoothness * step_size) ** 2
    return BoundTerms(
        optimisation=GAP * gap / (step_size * num_jobs),
        noise=NOISE * smoothness * step_size * noise_sq,
        bias=BIAS * chunk_sq / chunk_length**2,
        order=curvature * partial_sq,
        staleness=curvature * in_flight_sq,
    )


@_theorem(
    formula="nu^2 <= (tau_C - 1) (1/T') sum_j l_j zeta_{k_j}^2",
    gives="bound on nu^2, squared gradient norm",
    arguments={
        **THEOREM_ARGUMENTS,
        "zeta_sq_of_jobs": Argument(
            "(1/T') sum_j l_j zeta_{k_j}^2, >= 0.", non_negative
        ),
    },
)
def in_flight_limit(zeta_sq_of_jobs: float, *, concurrency: int) -> float:
    """Upper bound on nu^2 from the heterogeneity, weighted with flight lengths.

    Example:
        >>> in_flight_limit(2.0, concurrency=4)
        6.0
    """
    return (concurrency - 1) * zeta_sq_of_jobs


@_theorem(
    formula="5 F_0/(gamma T') + 8 L gamma (sigma^2 + zeta^2) + 71 L^2 gamma^2 nu^2",
    conditions=f"{_CONDITIONS}; in expectation over the assignments too",
    returns="`BoundTerms`; zeta^2 is in its noise.",
)
def random_bound(
    step_size: float,
    num_jobs: int,
    *,
    smoothness: float,
    gap: float,
    noise_sq: float,
    zeta_sq: float,
    in_flight_sq: float,
) -> BoundTerms:
    """The theorem for random assignment: the choice of a worker is one more noise.

    Exact where every job goes to a uniformly drawn worker; initial jobs, one per
    worker, are not draws (and cancel better).

    Example:
        >>> random_bound(0.1, 100, smoothness=1.0, gap=2.0, noise_sq=0.25, zeta_sq=0.25,
        ...              in_flight_sq=0.0).total
        1.4
    """
    return theorem_bound(
        step_size,
        num_jobs,
        smoothness=smoothness,
        gap=gap,
        noise_sq=noise_sq + zeta_sq,
        chunk_length=1,
        chunk_sq=0.0,
        partial_sq=0.0,
        in_flight_sq=in_flight_sq,
    )


@_theorem(
    formula="""
        5 F_0/(gamma T') + 8 L gamma sigma^2 + 71 L^2 gamma^2 (n zeta^2/2 + nu^2)""",
    conditions=(
        f"{_CONDITIONS}; in expectation over the permutations, tau = n, chunks aligned "
        "with them"
    ),
    returns="`BoundTerms`, with no bias.",
    arguments=_PERMUTED,
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
) -> BoundTerms:
    """The theorem for shuffled assignment: whole permutations cancel.

    A partial block of r of n has variance r(n - r)/(n - 1) zeta^2 <= n zeta^2/2 for n
    >= 2 (0 for n = 1).

    Example:
        >>> shuffled_bound(0.1, 100, num_workers=2, smoothness=1.0, gap=2.0,
        ...                noise_sq=0.5, zeta_sq=0.0, in_flight_sq=0.0).total
        1.4
    """
    return theorem_bound(
        step_size,
        num_jobs,
        smoothness=smoothness,
        gap=gap,
        noise_sq=noise_sq,
        chunk_length=num_workers,
        chunk_sq=0.0,
        partial_sq=num_workers * zeta_sq / 2,
        in_flight_sq=in_flight_sq,
    )


@_theorem(
    formula="""
        5 F_0/(gamma T') + 8 L gamma sigma^2
        + 71 L^2 gamma^2 (n^2 zeta_max^2/4 + nu^2)""",
    conditions=f"{_CONDITIONS}; tau = n, chunks aligned with the cycle",
    returns="`BoundTerms`, with no bias.",
    arguments=_PERMUTED,
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
) -> BoundTerms:
    """The theorem for one fixed permutation: cyclic, shuffle-once.

    C = 0 and S^2 <= n^2 zeta_max^2/4.

    Example:
        >>> cyclic_bound(0.1, 100, num_workers=2, smoothness=1.0, gap=2.0,
        ...              noise_sq=0.5, zeta_sq_max=0.0, in_flight_sq=0.0).total
        1.4
    """
    return theorem_bound(
        step_size,
        num_jobs,
        smoothness=smoothness,
        gap=gap,
        noise_sq=noise_sq,
        chunk_length=num_workers,
        chunk_sq=0.0,
        partial_sq=num_workers**2 * zeta_sq_max / 4,
        in_flight_sq=in_flight_sq,
    )


@_theorem(
    formula="""
        5 F_0/(gamma T') + 8 L gamma sigma^2 + (5/tau^2) C^2
        + 71 L^2 gamma^2 (C^2 + nu^2),
        C^2 = 2 tau^2 B^2 + (8 + 24/K) n^2 zeta_max^2""",
    conditions=f"{_CONDITIONS}; fixed compute times, all workers busy",
    returns=_TERMS,
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
    chunk_length: int,
) -> BoundTerms:
    """The theorem for pure asynchronous SGD with fixed times: a bias that stays.

    C^2, S^2 <= 2 tau^2 B^2 + 8 n^2 zeta_max^2, and 32 instead of 8 in the chunk that
    holds the initial jobs; B bounds ||sum_i p_i grad f_i - grad f||, p_i worker i's
    share of the arrivals. No step size removes the 10 B^2 of the bias.

    Example:
        >>> pure_bound(0.1, 100, num_workers=2, smoothness=1, gap=0, noise_sq=0,
        ...     bias_sq=0.25, zeta_sq_max=0, in_flight_sq=0, chunk_length=10).bias
        2.5
    """
    chunks = whole_chunks(num_jobs, chunk_length)
    counting = (8 + 24 / chunks) * num_workers**2 * zeta_sq_max
    deviation = 2 * chunk_length**2 * bias_sq + counting
    return theorem_bound(
        step_size,
        num_jobs,
        smoothness=smoothness,
        gap=gap,
        noise_sq=noise_sq,
        chunk_length=chunk_length,
        chunk_sq=deviation,
        partial_sq=deviation,
        in_flight_sq=in_flight_sq,
    )


@_theorem(
    formula="min{Gamma, sqrt(5 F_0/(8 L sigma^2 T')), (5 F_0/(71 L^2 H T'))^{1/3}}",
    gives="step size gamma",
    data="any",
    arguments={
        "num_jobs": THEOREM_ARGUMENTS["num_jobs"],
        "smoothness": CURVED,
        "noise_sq": "sigma^2, >= 0 (sigma^2 + zeta^2 for random).",
        "heterogeneity_sq": Argument(
            "H = S^2 + nu^2 (nu^2 for random), >= 0.", non_negative
        ),
        "limit": Argument("Gamma, from `largest_step_size`, > 0.", positive),
    },
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
    """The step size that balances the terms of the theorem of asgrad_jax.

    Example:
        >>> tuned_step_size(1000, smoothness=1.0, gap=1.6, noise_sq=1.0,
        ...                 heterogeneity_sq=0.0, limit=0.1)
        0.03162...
    """
    choices = [limit]
    if noise_sq > 0:
        choices.append(
            math.sqrt(GAP * gap / (NOISE * smoothness * noise_sq * num_jobs))
        )
    if heterogeneity_sq > 0:
        cost = DRIFT * smoothness**2 * heterogeneity_sq * num_jobs
        choices.append((GAP * gap / cost) ** (1 / 3))
    return min(choices)
