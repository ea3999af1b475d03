"""The theorem of `bounds.own_theorem` on the user's own problem and schedule."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_count, check_number, check_seed
from asgrad_jax.problems.constants import known_noise
from asgrad_jax.problems.flat_arrays import Folding, flat_params, local_gradients
from asgrad_jax.problems.problem import Problem
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.theory._inputs import check_pair
from asgrad_jax.theory.assignment import Assignment, assignment_order
from asgrad_jax.theory.bounds.own_proof import Inequality
from asgrad_jax.theory.bounds.own_proof import proof_inequalities as inequalities_of
from asgrad_jax.theory.bounds.own_theorem import (
    CHUNK_LIMIT,
    FLIGHT_LIMIT,
    BoundTerms,
    theorem_bound,
)
from asgrad_jax.theory.constants import Constants, constants_at_hand
from asgrad_jax.theory.measures import RunMeasures, average, measure
from asgrad_jax.theory.replay import replay


@dataclass(frozen=True)
class Condition:
    """One condition of the theorem on this run."""

    name: str
    holds: bool
    detail: str


@dataclass(frozen=True)
class Certificate:
    """What the theorem says about one run, and what was measured.

    Attributes:
        conditions: the theorem's conditions; the bound is a bound only if all hold.
        caveats: where a number is an estimate rather than a bound, or wrong.
        terms: the right side, term by term.
        measured: means along the run; `measured.grad_sq` is the left side.
        step_size: gamma times the weight of one gradient.
        weight: of one gradient in a server step.
        chunk_length: tau, jobs.
        num_jobs: T', jobs in whole chunks.
        concurrency: tau_C of these jobs.
        flight_max: l_max of these jobs.
        smoothness: the L used, common to the f_i.
        gap: F_0.
        noise_sq: the sigma^2 used.
    """

    conditions: tuple[Condition, ...]
    caveats: tuple[str, ...]
    terms: BoundTerms
    measured: RunMeasures
    step_size: float
    weight: float
    chunk_length: int
    num_jobs: int
    concurrency: int
    flight_max: int
    smoothness: float
    gap: float
    noise_sq: float

    @property
    def given(self) -> str:
        """The step size of the server, and what it is for one gradient, in words."""
        server = f"step size {self.step_size / self.weight:.4g}"
        if self.weight == 1:
            return server
        return f"{server} ({self.step_size:.4g} per gradient)"

    @property
    def valid(self) -> bool:
        """Whether every condition holds, and the run does not disprove the bound."""
        return all(c.holds for c in self.conditions) and not self.disproved

    @property
    def disproved(self) -> bool:
        """Whether a run without noise lies above the terms: an assumption is false."""
        # Rounding leaves about 1e-18 where everything is zero.
        limit = self.terms.total * (1 + 1e-9) + 1e-18
        return self.noise_sq == 0 and self.measured.grad_sq > limit

    @property
    def bound(self) -> float:
        """The bound on (1/T') sum_t E||grad f(z_t)||^2; inf if a condition fails."""
        return self.terms.total if self.valid else math.inf

    @property
    def inequalities(self) -> tuple[Inequality, ...]:
        """The five inequalities of the proof on this run, see `proof_inequalities`."""
        names = ("step_size", "smoothness", "gap", "noise_sq", "chunk_length")
        names += ("num_jobs", "concurrency", "flight_max")
        return inequalities_of(self.measured, **{n: getattr(self, n) for n in names})

    def __str__(self) -> str:
        terms = self.terms
        lines = [
            f"{'holds' if c.holds else 'FAILS':<7}{c.name}: {c.detail}"
            for c in self.conditions
        ]
        lines += [f"note   {caveat}" for caveat in self.caveats]
        rows = (
            ("5 F_0/(gamma T')", terms.optimisation, "the start"),
            ("8 L gamma sigma^2", terms.noise, "mini-batch noise"),
            ("5 C^2/tau^2", terms.bias, "bias of a chunk"),
            ("71 L^2 gamma^2 S^2", terms.order, "order inside a chunk"),
            ("71 L^2 gamma^2 nu^2", terms.staleness, "jobs in flight"),
        )
        lines += [f"{name:<22}{value:>11.4g}  {why}" for name, value, why in rows]
        if self.valid:
            lines.append(f"{'bound':<22}{self.bound:>11.4g}")
        else:
            why = "the notes say why" if self.disproved else "a condition fails"
            lines.append(f"{'no bound':<22}{'':>11}  ({why})")
        lines.append(
            f"{'measured':<22}{self.measured.grad_sq:>11.4g}  mean squared gradient "
            f"norm over {self.num_jobs} jobs"
        )
        return "\n".join(lines)


def certificate(
    problem: Problem,
    schedule: Schedule,
    step_size: float,
    *,
    chunk_length: int | None = None,
    params: Any = None,
    constants: Constants | None = None,
    noise_sq: float | None = None,
    lower_bound: float | None = None,
    seeds: Sequence[int] = (0,),
) -> Certificate:
    """Checks the theorem's conditions on a run and returns its bound, term by term.

    The schedule is replayed in float64, and C^2, S^2 and nu^2 are measured along it. L
    is the largest L_i; where it is only estimated from below, as for `from_loss`,
    nothing is certified. With full local gradients and a known f* (or lower bound) the
    result is a certificate up to rounding; with noise, sigma^2 is the largest variance
    met along the runs where the problem has it in closed form, and the expectations are
    means over `seeds`.

    Args:
        problem: a `Problem`.
        schedule: a `Schedule` with one weight for all rows and no gradient table.
        step_size: gamma > 0 as given to `run`; the rows' weight is multiplied in.
        chunk_length: tau, jobs; `longest_chunk` where left out.
        params: x_0, a pytree like `problem.init_params()`, which is the default.
        constants: the problem's `theory.constants` at x_0, where they are at hand.
        noise_sq: sigma^2, where you know a bound; measured where left out.
        lower_bound: a number <= f*, for models without a known one; it takes the place
            of the one in `constants`.
        seeds: seeds of the mini-batch noise, one run each, as those of `run`.

    Raises:
        TypeError: if something is not what it should be.
        ValueError: if a number is out of its range, the weights differ, the schedule
            has a gradient table or other workers than the problem, jobs make local
            steps, the run diverges, or no lower bound on f* is known.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> from asgrad_jax.schedules.schedule import Schedule
        >>> schedule = Schedule.from_arrays(worker=[0, 1] * 8, read=range(16))
        >>> found = certificate(quadratic(2, 3), schedule, 0.05)
        >>> found.valid, found.chunk_length, bool(found.measured.grad_sq <= found.bound)
        (True, 2, True)

    Source: docs/theorem.md [D].
    """
    check_pair(problem, schedule)
    step_size = check_number("step_size", step_size, above=0)
    seeds = _checked_seeds(seeds)
    sigma_sq = check_number("noise_sq", 0 if noise_sq is None else noise_sq, minimum=0)
    weight = constant_weight(schedule)
    gamma = step_size * weight
    known = _bounded_constants(problem, params, constants, lower_bound)
    jobs = assignment_order(schedule)
    if chunk_length is None:
        chunk_length = longest_chunk(gamma, known.smoothness_max, jobs)
    check_count("chunk_length", chunk_length, maximum=jobs.num_jobs)
    kept = jobs.first(jobs.num_jobs // chunk_length * chunk_length)
    start = flat_params(problem, params)
    runs = []
    for seed in seeds:
        gradients = replay(problem, schedule, step_size, start, seed=seed)[jobs.row]
        runs.append(
            _measured(problem, jobs, gradients, start, step_size, weight, chunk_length)
        )
        if noise_sq is None:
            noise = _noise_along(problem, known, kept, gradients, start, gamma)
            sigma_sq = max(sigma_sq, noise)
    measured = average(runs)
    common = {
        "smoothness": known.smoothness_max,
        "gap": known.gap,
        "noise_sq": sigma_sq,
        "num_jobs": kept.num_jobs,
        "chunk_length": chunk_length,
    }
    order = ("chunk_sq", "partial_sq", "in_flight_sq")
    squares = {name: getattr(measured, name) for name in order}
    terms = theorem_bound(gamma, **common, **squares)
    found = Certificate(
        conditions=_conditions(gamma, chunk_length, kept, known),
        caveats=(),
        terms=terms,
        measured=measured,
        step_size=gamma,
        weight=weight,
        concurrency=kept.concurrency,
        flight_max=kept.flight_max,
        **common,
    )
    caveats = _caveats(found, known, noise_sq is None, len(seeds))
    return replace(found, caveats=tuple(caveats))


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    found = [check_seed(seed, "seeds") for seed in np.atleast_1d(seeds).tolist()]
    if not found:
        raise ValueError("seeds must have at least one seed, got none")
    return found


def _bounded_constants(
    problem: Problem, params: Any, given: Constants | None, lower_bound: float | None
) -> Constants:
    known = constants_at_hand(problem, params, given=given, lower_bound=lower_bound)
    if math.isnan(known.gap):
        raise ValueError(
            "no lower bound on f* is known for this problem: give lower_bound=..., a "
            "number <= f(x) for all x"
        )
    return known


def _measured(
    problem: Problem,
    jobs: Assignment,
    gradients: NDArray[np.float64],
    start: NDArray[np.float64],
    step_size: float,
    weight: float,
    chunk_length: int,
) -> RunMeasures:
    """The measures of one run; a run that diverged is refused with a sentence."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = measure(
            jobs,
            gradients,
            start,
            step_size=step_size * weight,
            chunk_length=chunk_length,
            local_gradients=lambda points: local_gradients(problem, points),
        )
    if not np.isfinite(astuple(found)).all():
        raise ValueError(
            f"the run diverged at step_size = {step_size:g}: nothing to certify; give "
            "a smaller one"
        )
    return found


def constant_weight(schedule: Schedule) -> float:
    """The one weight of all gradients, which the theorem asks for.

    Raises:
        ValueError: if weights differ or are not above zero, or `check_plain` raises.
    """
    check_plain(schedule)
    weights = np.asarray(schedule.weight)
    if not (np.all(weights == weights[0]) and weights[0] > 0):
        raise ValueError(
            "the theorem needs one weight > 0 for all gradients; this schedule's lie "
            f"between {weights.min():g} and {weights.max():g}"
        )
    return float(weights[0])


def check_plain(schedule: Schedule) -> None:
    """Raises unless the server adds gradients times weights and does nothing else."""
    if schedule.table is not None:
        raise ValueError("the theorem does not cover methods with a table of gradients")
    if schedule.server_rule is not None:
        rule = schedule.server_rule.name
        raise ValueError(f"the theorem does not cover the server of `{rule}`")
    for column in ("clip", "accept"):
        limit = getattr(schedule, column)
        if limit is not None and np.any(np.isfinite(limit)):
            raise ValueError(
                f"the theorem does not cover methods that look at values (`{column}`)"
            )


def longest_chunk(step_size: float, smoothness: float, jobs: Assignment) -> int:
    """A long chunk tau that the step size allows, a multiple of n if there is one.

    As few chunks as the longest allowed one asks for, then of equal length: the jobs
    after the last whole chunk are lost. It is 1 where no chunk satisfies the condition.
    `step_size` is gamma times the weight of one gradient.
    """
    drift = smoothness * step_size  # of one job; 0 where L = 0
    allowed = CHUNK_LIMIT / drift * (1 + 1e-12) if drift else math.inf
    longest = max(1, int(min(allowed, jobs.num_jobs)))
    even = jobs.num_jobs // -(-jobs.num_jobs // longest)
    n = jobs.num_workers
    return even // n * n if even >= n else even


def _conditions(
    gamma: float, chunk_length: int, jobs: Assignment, known: Constants
) -> tuple[Condition, ...]:
    drift = known.smoothness_max * gamma * chunk_length
    flights = (jobs.concurrency - 1) * jobs.flight_max
    stale = known.smoothness_max * gamma * math.sqrt(flights)
    rounding = 1 + 1e-12
    return (
        Condition(
            "L gamma tau <= 1/8",
            drift <= CHUNK_LIMIT * rounding,
            f"{drift:.4g} (tau = {chunk_length})",
        ),
        Condition(
            "L gamma sqrt((tau_C - 1) l_max) <= 1/16",
            stale <= FLIGHT_LIMIT * rounding,
            f"{stale:.4g} (tau_C = {jobs.concurrency}, l_max = {jobs.flight_max})",
        ),
        Condition(
            "noise has mean zero given the past",
            known.independent_noise,
            "full gradients or independent batches"
            if known.independent_noise
            else "batches of a reshuffled epoch depend on each other",
        ),
        Condition(
            "L bounds the curvature from above",
            not known.smooth.from_below,
            "only estimated from below: whether the others hold is not known"
            if known.smooth.from_below
            else known.smooth.certainty,
        ),
    )


def _caveats(
    found: Certificate, known: Constants, noise_measured: bool, runs: int
) -> Iterator[str]:
    if known.smooth.certainty == "probable upper bound":
        yield "L bounds from above with probability 1 - 1e-6"
    if noise_measured and not known.noise.exact:
        yield "sigma^2 is a Monte Carlo estimate at x_0"
    if found.noise_sq > 0:
        yield f"expectations over the noise are means over {runs} run(s)"
    if found.disproved:
        yield (
            "measured is above the sum of the terms: L, the lower bound on f* or a "
            "condition is false here"
        )


def _noise_along(
    problem: Problem,
    known: Constants,
    jobs: Assignment,
    gradients: NDArray[np.float64],
    start: NDArray[np.float64],
    gamma: float,
) -> float:
    """The largest exact sigma_i^2 of a run; that at x_0 where there is no formula."""
    if known.noise.largest == 0:
        return known.noise.largest
    z = start - gamma * jobs.applied_sums(gradients[: jobs.num_jobs])
    found = known_noise(problem, Folding.of(problem).fold(z), jobs.worker)
    return known.noise.largest if found is None else float(found.max())
