"""The convergence theorem of this project, as functions of plain numbers.

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
starts of the virtual sequence and at the z_t.

Source: docs/theorem.md, tag [D], with a full proof. It has the shape that is
generally recalled of the theorem of AsGrad (Islamov, Safaryan, Alistarh 2310.20452),
but its statement and constants are this project's own: do not quote it as AsGrad's.
"""

import math
from dataclasses import dataclass

from asgrad_jax._util.checks import check_count, check_non_negative, check_positive
from asgrad_jax.theory.inputs import whole_chunks

# The theorem's constants, named so that tests can break them one by one.
GAP, NOISE, BIAS, DRIFT = 5.0, 8.0, 5.0, 71.0
CHUNK_LIMIT, FLIGHT_LIMIT = 1 / 8, 1 / 16


@dataclass(frozen=True)
class Bound:
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


def largest_step_size(
    smoothness: float, *, concurrency: int, flight_max: int, tau: int = 1
) -> float:
    """The largest step size for which the theorem holds.

    min{1/(8 L tau), 1/(16 L sqrt((tau_C - 1) l_max))}.

    Args:
        smoothness: L, common to the f_i, > 0.
        concurrency: tau_C, >= 1.
        flight_max: l_max, >= 0.
        tau: chunk length, jobs, >= 1.

    Returns:
        gamma (times the weight of a gradient, if that is not one).

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> largest_step_size(1.0, concurrency=5, flight_max=16)
        0.0078125

    Source: docs/theorem.md [D], conditions of this project's theorem.
    """
    check_positive(smoothness=smoothness)
    check_count("concurrency", concurrency)
    check_count("tau", tau)
    check_non_negative(flight_max=flight_max)
    limit = CHUNK_LIMIT / (smoothness * tau)
    stale = math.sqrt((concurrency - 1) * flight_max)
    return min(limit, FLIGHT_LIMIT / (smoothness * stale)) if stale else limit


def bound(
    step_size: float,
    num_jobs: int,
    *,
    smoothness: float,
    gap: float,
    noise_sq: float,
    tau: int,
    chunk_sq: float,
    partial_sq: float,
    in_flight_sq: float,
) -> Bound:
    """Right side of the theorem; whether its conditions hold is not looked at here.

    5 F_0/(gamma T') + 8 L gamma sigma^2 + (5/tau^2) C^2 + 71 L^2 gamma^2 (S^2 + nu^2).

    Args:
        step_size: gamma, > 0.
        num_jobs: T' = K tau, >= 1.
        smoothness: L, common to the f_i, >= 0.
        gap: F_0 = f(x_0) - f*, >= 0.
        noise_sq: sigma^2, >= 0.
        tau: chunk length, jobs, >= 1.
        chunk_sq: C^2, >= 0.
        partial_sq: S^2, >= 0.
        in_flight_sq: nu^2, >= 0.

    Returns:
        `Bound`.

    Raises:
        ValueError: if a number is out of its range, or T' no multiple of tau.

    Example:
        >>> bound(0.1, 100, smoothness=1.0, gap=2.0, noise_sq=0.5, tau=1,
        ...       chunk_sq=0.0, partial_sq=0.0, in_flight_sq=0.0).total
        1.4

    Source: docs/theorem.md [D], this project's theorem.
    """
    check_positive(step_size=step_size)
    whole_chunks(num_jobs, tau)
    check_non_negative(
        smoothness=smoothness,
        gap=gap,
        noise_sq=noise_sq,
        chunk_sq=chunk_sq,
        partial_sq=partial_sq,
        in_flight_sq=in_flight_sq,
    )
    curvature = DRIFT * (smoothness * step_size) ** 2
    return Bound(
        optimisation=GAP * gap / (step_size * num_jobs),
        noise=NOISE * smoothness * step_size * noise_sq,
        bias=BIAS * chunk_sq / tau**2,
        order=curvature * partial_sq,
        staleness=curvature * in_flight_sq,
    )
