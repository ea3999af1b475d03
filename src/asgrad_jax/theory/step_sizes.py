"""What each theory says the step size should be, for one problem and schedule."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from asgrad_jax._util.checks import ceil_of, check_count, check_positive
from asgrad_jax.algorithms.gradient_tables import LastGradients
from asgrad_jax.algorithms.ringleader import RoundTables
from asgrad_jax.problems.flat_arrays import local_table
from asgrad_jax.theory.assignment import Assignment, assignment_order, rows_by_version
from asgrad_jax.theory.bounds.heterogeneous import (
    gradient_table_step_size,
    ringleader_step_size,
)
from asgrad_jax.theory.bounds.homogeneous import tree_step_size
from asgrad_jax.theory.bounds.own_theorem import largest_step_size
from asgrad_jax.theory.bounds.special_cases import tuned_step_size
from asgrad_jax.theory.certificate import check_plain, constant_weight
from asgrad_jax.theory.constants import Constants, constants_at_hand
from asgrad_jax.theory.correlation import correlation_profile
from asgrad_jax.theory.inputs import check_pair


@dataclass(frozen=True)
class StepSizeAdvice:
    """One theory's step size, or why it has none here.

    Attributes:
        name: whose rule.
        step_size: as `run` takes it, or None where the theory does not apply.
        reason: what it rests on, or why it does not apply.
        source: paper and provenance tag.
    """

    name: str
    step_size: float | None
    reason: str
    source: str


@dataclass(frozen=True)
class StepSizes:
    """The rules that were asked, in a fixed order; iterate, index by name, or print."""

    rows: tuple[StepSizeAdvice, ...]

    def __iter__(self) -> Iterator[StepSizeAdvice]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> StepSizeAdvice:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r}; known: {', '.join(row.name for row in self.rows)}")

    @property
    def applicable(self) -> dict[str, float]:
        """Rule -> step size, of the rules that apply."""
        return {
            row.name: row.step_size for row in self.rows if row.step_size is not None
        }

    def __str__(self) -> str:
        lines = []
        for row in self.rows:
            value = "-" if row.step_size is None else f"{row.step_size:.4g}"
            lines.append(f"{row.name:<22}{value:>11}  {row.reason}")
            lines.append(f"{'':<35}{row.source}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Facts:
    """What the rules look at."""

    problem: Any
    schedule: Any
    numbers: Constants
    jobs: Assignment
    # int64[A]: gradients received between a row's point and its arrival. It is the
    # delay where every row steps; papers with one step per gradient mean this one.
    distance: np.ndarray
    eps: float | None
    num_gradients: int | None

    @property
    def shared_objective(self) -> bool:
        found = self.numbers.heterogeneity
        scale = found.grad_sq + found.zeta_sq_max
        return found.zeta_sq_max <= 1e-20 * max(scale, 1e-300)

    @property
    def smoothness(self) -> float:
        """L of f; refuses L = 0, by which no rule can divide."""
        return _curved(self.numbers.smoothness)

    @property
    def smoothness_max(self) -> float:
        """max_i L_i; refuses L = 0."""
        return _curved(self.numbers.smoothness_max)


class _NotHere(Exception):
    """Why a rule does not apply."""


def step_sizes(
    problem: Any,
    schedule: Any,
    *,
    eps: float | None = None,
    num_gradients: int | None = None,
    numbers: Constants | None = None,
) -> StepSizes:
    """Lists what each theory recommends, with the reason where it does not apply.

    Constants are those at the problem's start. Step sizes are as `run` takes them: the
    rows' weights (1/b for a mean of b) are divided out. Every rule divides by L: where
    L is only estimated from below, as for `from_loss`, none gives a number.

    Args:
        problem: a `Problem`.
        schedule: a `Schedule`.
        eps: goal for the squared gradient norm, > 0; rules that need it say so.
        num_gradients: horizon T, >= 1; rules that need it say so.
        numbers: the problem's `constants`, where they are at hand.

    Returns:
        `StepSizes`; print it for a table.

    Raises:
        TypeError: if something is not what it should be.
        ValueError: if a number is out of its range, problem and schedule differ in
            workers, or jobs make local steps.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> from asgrad_jax.schedules.schedule import Schedule
        >>> schedule = Schedule.from_arrays(worker=[0, 1] * 8, read=range(16))
        >>> found = step_sizes(quadratic(2, 3), schedule)
        >>> round(found["this project"].step_size, 6)
        0.0625
        >>> found["delay-adaptive"].step_size is None
        True
    """
    check_pair(problem, schedule)
    if eps is not None:
        check_positive(eps=eps)
    if num_gradients is not None:
        check_count("num_gradients", num_gradients)
    step = np.asarray(schedule.step)
    applied = rows_by_version(step)
    facts = _Facts(
        problem=problem,
        schedule=schedule,
        numbers=constants_at_hand(problem, numbers=numbers),
        jobs=assignment_order(schedule),
        distance=np.arange(step.size) - applied[schedule.read],
        eps=eps,
        num_gradients=num_gradients,
    )
    return StepSizes(tuple(_ask(facts, *rule) for rule in _RULES))


def _ask(
    facts: _Facts, name: str, source: str, rule: Callable[[_Facts], tuple[float, str]]
) -> StepSizeAdvice:
    try:
        value, reason = rule(facts)
    except _NotHere as why:
        return StepSizeAdvice(name, None, str(why), source)
    if facts.numbers.smooth.from_below:
        # Every rule falls as L grows.
        reason = f"at most {value:.3g}: L is only estimated from below, no bound on it"
        return StepSizeAdvice(name, None, reason, source)
    return StepSizeAdvice(name, value, reason, source)


def _theorem_limit(facts: _Facts) -> tuple[float, str]:
    weight = _one_weight(facts)
    if not facts.numbers.batch_independent:
        raise _NotHere("batches of a reshuffled epoch depend on each other")
    n = facts.jobs.num_workers
    limit = largest_step_size(
        facts.smoothness_max,
        concurrency=facts.jobs.concurrency,
        flight_max=facts.jobs.flight_max,
        tau=min(n, facts.jobs.num_jobs),
    )
    return limit / weight, (
        f"largest certified one, chunks of n = {n} jobs, tau_C = "
        f"{facts.jobs.concurrency}, l_max = {facts.jobs.flight_max}"
    )


def _theorem_tuned(facts: _Facts) -> tuple[float, str]:
    limit, _ = _theorem_limit(facts)
    weight = constant_weight(facts.schedule)
    if facts.num_gradients is None:
        raise _NotHere("needs the horizon: num_gradients=...")
    gap = _gap(facts)
    n = min(facts.jobs.num_workers, facts.jobs.num_jobs)
    profile = correlation_profile(facts.jobs, local_table(facts.problem), tau=[n])
    spread = float(profile.partial_sq[0, 0] + profile.in_flight_sq[0])
    value = tuned_step_size(
        facts.num_gradients,
        smoothness=facts.smoothness_max,
        gap=gap,
        noise_sq=facts.numbers.noise_sq,
        heterogeneity_sq=spread,
        limit=limit * weight,
    )
    return value / weight, (
        f"balances the bound's terms with S^2 + nu^2 = {spread:.3g} at x_0 (a guide, "
        "not a certificate)"
    )


def _delay_adaptive(facts: _Facts) -> tuple[float, str]:
    """The paper caps gamma by 1/(4L) and tunes it; its rate needs order 1/(L tau_C)."""
    _shared(facts)
    _refuse(check_plain, facts.schedule)
    concurrency = facts.schedule.concurrency_max
    weights = np.asarray(facts.schedule.weight)
    late = int(facts.distance.max())
    limit = 1 / (4 * facts.smoothness * concurrency)
    if late <= concurrency:
        return limit / _one_weight(facts), (
            f"1/(4 L tau_C), tau_C = {concurrency}: no delay exceeds tau_C"
        )
    if np.all(weights == weights[0]):
        raise _NotHere(
            f"delays reach {late} > tau_C = {concurrency}: late gradients need smaller "
            "weights (algorithm delay_adaptive)"
        )
    counted = weights > 0
    allowed = limit * concurrency / np.maximum(facts.distance, concurrency)
    return float(np.min(allowed[counted] / weights[counted])), (
        f"1/(4 L tau_C) up to delay tau_C = {concurrency}, 1/(4 L tau) beyond"
    )


def _tree(facts: _Facts) -> tuple[float, str]:
    _shared(facts)
    weight = _one_weight(facts)
    eps = _eps(facts)
    value = tree_step_size(
        eps,
        facts.numbers.noise_sq,
        smoothness=facts.smoothness,
        tree_distance=int(facts.distance.max()),
    )
    return value / weight, f"tree distance R = {facts.distance.max()}"


def _fresh(facts: _Facts) -> tuple[float, str]:
    if int(np.max(facts.schedule.delay)) > 0:
        raise _NotHere("only for methods whose every gradient is taken at the iterate")
    weight = _one_weight(facts)
    ends = np.flatnonzero(np.asarray(facts.schedule.step))
    sizes = np.diff(ends, prepend=-1)
    if ends.size == 0 or np.any(sizes != sizes[0]):
        raise _NotHere("the server's steps have different numbers of gradients")
    batch = int(sizes[0])
    if not facts.shared_objective:
        n = facts.jobs.num_workers
        whole = np.asarray(facts.schedule.worker)[: ends.size * batch]
        counts = [
            np.bincount(row, minlength=n) for row in whole.reshape(ends.size, batch)
        ]
        if np.any(np.asarray(counts) != batch / n):
            raise _NotHere(
                f"zeta^2 = {facts.numbers.zeta_sq:.3g} > 0 and not every step hears "
                "every worker equally"
            )
    noise_sq = facts.numbers.noise_sq
    value = 1 / facts.smoothness
    if noise_sq > 0:
        value = min(value, _eps(facts) * batch / (2 * facts.smoothness * noise_sq))
    return value / (weight * batch), f"min{{1/L, eps S/(2 L sigma^2)}}, S = {batch}"


def _ringmaster(facts: _Facts) -> tuple[float, str]:
    _shared(facts)
    weight = _one_weight(facts)
    eps = _eps(facts)
    noise_sq, smooth = facts.numbers.noise_sq, facts.smoothness
    try:
        threshold = max(1, ceil_of("sigma^2/eps", noise_sq / eps))
    except ValueError as why:
        raise _NotHere(str(why)) from None
    late = int(facts.distance.max())
    if late >= threshold:
        raise _NotHere(
            f"its threshold R = {threshold} would discard this schedule's delays of up "
            f"to {late} (algorithm ringmaster, max_delay={threshold})"
        )
    limits = [1 / (2 * threshold * smooth)]
    if noise_sq > 0:
        limits.append(eps / (4 * smooth * noise_sq))
    return min(limits) / weight, f"R = max{{1, ceil(sigma^2/eps)}} = {threshold}"


def _ringleader(facts: _Facts) -> tuple[float, str]:
    _made_by(facts, RoundTables(), "ringleader")
    value = ringleader_step_size(
        _eps(facts),
        facts.numbers.noise_sq,
        smoothness=_curved(facts.numbers.smooth.table),
        num_workers=facts.jobs.num_workers,
    )
    return value, "harmonic batch B = 1 (a single gradient per worker and round)"


def _gradient_table(facts: _Facts) -> tuple[float, str]:
    _made_by(facts, LastGradients(), "ia2sgd, dude_asgd, ace")
    if facts.num_gradients is None:
        raise _NotHere("needs the horizon: num_gradients=...")
    late = max(1, int(np.max(facts.schedule.delay)))
    try:
        value = gradient_table_step_size(
            facts.num_gradients,
            smoothness=facts.smoothness,
            gap=_gap(facts),
            num_workers=facts.jobs.num_workers,
            tau_max=late,
        )
    except ValueError as why:
        raise _NotHere(str(why)) from None
    return value, f"tau_max = {late}"


def _shared(facts: _Facts) -> None:
    if not facts.shared_objective:
        raise _NotHere(
            f"assumes one shared objective, but zeta^2 = {facts.numbers.zeta_sq:.3g}"
        )


def _one_weight(facts: _Facts) -> float:
    return _refuse(constant_weight, facts.schedule)


def _refuse(check: Callable[[Any], Any], schedule: Any) -> Any:
    try:
        return check(schedule)
    except ValueError as why:
        raise _NotHere(str(why)) from None


def _made_by(facts: _Facts, method: Callable[[Any], Any], names: str) -> None:
    """Refuses schedules whose steps and table are not those that the method makes."""
    schedule = facts.schedule
    if schedule.table is None:
        raise _NotHere(f"for methods with a table of gradients ({names})")
    # A method changes nothing more on a schedule of its own.
    if method(schedule) != schedule:
        raise _NotHere(f"for the table of {names}; this one has another direction")


def _curved(smoothness: float) -> float:
    if smoothness == 0:
        raise _NotHere("L = 0: every step size will do")
    return smoothness


def _eps(facts: _Facts) -> float:
    if facts.eps is None:
        raise _NotHere("needs the goal: eps=...")
    return facts.eps


def _gap(facts: _Facts) -> float:
    if math.isnan(facts.numbers.gap):
        raise _NotHere(
            "no lower bound on f* is known: numbers=theory.constants(problem, "
            "lower_bound=...)"
        )
    if not facts.numbers.gap > 0:
        raise _NotHere(f"needs F_0 > 0, have {facts.numbers.gap:g}")
    return facts.numbers.gap


_RULES: tuple[tuple[str, str, Callable[[_Facts], tuple[float, str]]], ...] = (
    ("this project", "docs/theorem.md [D]", _theorem_limit),
    ("this project, tuned", "docs/theorem.md [D]", _theorem_tuned),
    (
        "delay-adaptive",
        "Koloskova, Stich, Jaggi 2206.08307, Theorem 8 [V], with the size [D]",
        _delay_adaptive,
    ),
    ("computation tree", "Birch SGD, abstract and reviews [A]", _tree),
    ("fresh gradients", "Tyurin, Richtarik 2305.12387, recalled [R]", _fresh),
    (
        "Ringmaster",
        "Maranjyan, Tyurin, Richtarik 2501.16168, recalled [R]",
        _ringmaster,
    ),
    (
        "Ringleader",
        "Maranjyan, Richtarik 2509.22860, abstract and reviews [A]",
        _ringleader,
    ),
    ("IA2SGD, DuDe", "Wang et al. 2405.16966, reviews [A]", _gradient_table),
)
