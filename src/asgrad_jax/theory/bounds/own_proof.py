"""The five inequalities from which the theorem of asgrad_jax follows."""

from typing import NamedTuple

from asgrad_jax._util.checks import check_type
from asgrad_jax.theory.bounds.own_theorem import THEOREM_ARGUMENTS
from asgrad_jax.theory.bounds.registry import bound
from asgrad_jax.theory.measures import RunMeasures


class Inequality(NamedTuple):
    """One step of the proof: `left` <= `right`, both per job."""

    name: str
    left: float
    right: float


@bound(
    formula="""
        (1) A <= 2F_0/gamma + 2 C^2 T'/tau^2 + 2Q + (4/3)N
        (2) Q <= 2P + 2R
        (3) R <= h^2((4/3)A + (3/2)Q) + 4W + hN
        (4) M <= (3/2)A + 3Q
        (5) P <= 4vM + 4V + 2 N2""",
    gives="five inequalities, both sides divided by T'",
    data="any",
    conditions="L gamma tau <= 1/8, one constant weight per gradient",
    source="docs/theorem.md, the proof",
    tag="D",
    returns="Five `Inequality`, in the order of the proof.",
    arguments={
        **THEOREM_ARGUMENTS,
        "measures": "`RunMeasures`: expectations, or one run without noise.",
    },
)
def proof_inequalities(
    measures: RunMeasures,
    *,
    step_size: float,
    smoothness: float,
    gap: float,
    noise_sq: float,
    chunk_length: int,
    num_jobs: int,
    concurrency: int,
    flight_max: int,
) -> tuple[Inequality, ...]:
    """The five inequalities from which the theorem is combined, left and right.

    A, M, Q, P, R are the sums of the measured means over T' jobs (Q, P, R times L^2), h
    = L gamma tau, v = L^2 gamma^2 (tau_C - 1) l_max, N = L gamma T' sigma^2, W, V = L^2
    gamma^2 T' (S^2, nu^2) and N2 = L^2 gamma^2 (tau_C - 1) T' sigma^2.

    Example:
        >>> zero = RunMeasures(*[0.0] * 8)
        >>> rows = proof_inequalities(zero, step_size=0.1, smoothness=1.0, gap=1.0,
        ...     noise_sq=0.0, chunk_length=1, num_jobs=10, concurrency=1, flight_max=0)
        >>> rows[0]
        Inequality(name='descent over a chunk', left=0.0, right=2.0)
    """
    check_type("measures", measures, RunMeasures, "a `RunMeasures`")
    curvature = smoothness**2
    a, m = measures.start_grad_sq, measures.grad_sq
    q, p, r = (
        curvature * value
        for value in (measures.drift_sq, measures.stale_sq, measures.spread_sq)
    )
    h = smoothness * step_size * chunk_length
    step_sq = curvature * step_size**2
    v = step_sq * (concurrency - 1) * flight_max
    noise = smoothness * step_size * noise_sq
    stale_noise = step_sq * (concurrency - 1) * noise_sq
    order = step_sq * measures.partial_sq
    stale = step_sq * measures.in_flight_sq
    descent = (
        2 * gap / (step_size * num_jobs)
        + 2 * measures.chunk_sq / chunk_length**2
        + 2 * q
        + 4 / 3 * noise
    )
    drift = h**2 * (4 / 3 * a + 3 / 2 * q) + 4 * order + h * noise
    return (
        Inequality("descent over a chunk", a, descent),
        Inequality("triangle through the virtual sequence", q, 2 * p + 2 * r),
        Inequality("drift inside a chunk", r, drift),
        Inequality("smoothness", m, 1.5 * a + 3 * q),
        Inequality("staleness", p, 4 * v * m + 4 * stale + 2 * stale_noise),
    )
