"""What each theory says the step size should be; `step_size_rules` has the rules."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_callable, check_count, check_positive
from asgrad_jax.problems.problem import Problem
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.theory._inputs import check_pair
from asgrad_jax.theory.assignment import Assignment, assignment_order, rows_by_version
from asgrad_jax.theory.constants import Constants, constants_at_hand


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
            lines.append(f"{row.name:<25}{value:>11}  {row.reason}")
            lines.append(f"{'':<38}{row.source}")
        return "\n".join(lines)


class NotApplicable(Exception):
    """Raised by a rule that has no step size here; its text says why."""


@dataclass(frozen=True)
class RuleInputs:
    """What a rule looks at.

    Attributes:
        problem: a `Problem`.
        schedule: a `Schedule`.
        constants: of the problem, at its start.
        jobs: of the schedule, in assignment order.
        distance: int64[A], gradients received between a row's point and its arrival. It
            is the delay where every row steps; papers with one step per gradient mean
            this one.
        eps: goal for the squared gradient norm, or None.
        num_gradients: horizon T, or None.
    """

    problem: Problem
    schedule: Schedule
    constants: Constants
    jobs: Assignment
    distance: NDArray[np.int64]
    eps: float | None
    num_gradients: int | None

    @property
    def shared_objective(self) -> bool:
        """Whether the workers' gradients agree at the start, up to rounding."""
        found = self.constants.heterogeneity
        scale = found.grad_sq + found.zeta_sq_max
        return found.zeta_sq_max <= 1e-20 * max(scale, 1e-300)

    @property
    def smoothness(self) -> float:
        """L of f; refuses L = 0, by which no rule can divide."""
        return curved(self.constants.smoothness)

    @property
    def smoothness_max(self) -> float:
        """max_i L_i; refuses L = 0."""
        return curved(self.constants.smoothness_max)


def curved(smoothness: float) -> float:
    """Returns L > 0; `NotApplicable` for L = 0, where every step size will do."""
    if smoothness == 0:
        raise NotApplicable("L = 0: every step size will do")
    return smoothness


Rule = Callable[[RuleInputs], tuple[float, str]]
_RULES: dict[str, tuple[str, Rule]] = {}


def step_size_rule(name: str, source: str) -> Callable[[Rule], Rule]:
    """Registers a rule, which `step_sizes` asks from then on.

    Args:
        name: whose rule; one registered under the same name before is replaced.
        source: paper and provenance tag, see `bounds.TAGS`.

    Returns:
        A decorator for a function of `RuleInputs` that returns the step size as `run`
        takes it and what it rests on, in words, or raises `NotApplicable`. The step
        size must fall as L grows: where L is only estimated from below, it is shown as
        an upper limit.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> from asgrad_jax.schedules.schedule import Schedule
        >>> @step_size_rule("gradient descent", "any textbook [R]")
        ... def gradient_descent(inputs):
        ...     if inputs.jobs.concurrency > 1:
        ...         raise NotApplicable("for one job at a time")
        ...     return 1 / inputs.smoothness, "1/L"
        >>> schedule = Schedule.from_arrays(worker=[0, 1] * 8, read=range(16))
        >>> problem = quadratic(2, 3, smoothness=2.0, same_hessian=True)
        >>> found = step_sizes(problem, schedule)["gradient descent"]
        >>> found.step_size, found.reason
        (0.5, '1/L')
        >>> _ = _RULES.pop("gradient descent")
    """

    def register(rule: Rule) -> Rule:
        check_callable(f"the rule {name!r}", rule, "inputs")
        _RULES[name] = source, rule
        return rule

    return register


def step_sizes(
    problem: Problem,
    schedule: Schedule,
    *,
    eps: float | None = None,
    num_gradients: int | None = None,
    constants: Constants | None = None,
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
        constants: the problem's `theory.constants`, where they are at hand.

    Raises:
        TypeError: if something is not what it should be.
        ValueError: if a number is out of its range, problem and schedule differ in
            workers, or jobs make local steps.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> from asgrad_jax.schedules.schedule import Schedule
        >>> schedule = Schedule.from_arrays(worker=[0, 1] * 8, read=range(16))
        >>> found = step_sizes(quadratic(2, 3), schedule)
        >>> round(found["asgrad_jax theorem"].step_size, 6)
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
    inputs = RuleInputs(
        problem=problem,
        schedule=schedule,
        constants=constants_at_hand(problem, given=constants),
        jobs=assignment_order(schedule),
        distance=np.arange(step.size) - applied[schedule.read],
        eps=eps,
        num_gradients=num_gradients,
    )
    return StepSizes(
        tuple(_ask(inputs, name, *known) for name, known in _RULES.items())
    )


def _ask(inputs: RuleInputs, name: str, source: str, rule: Rule) -> StepSizeAdvice:
    try:
        found = rule(inputs)
    except NotApplicable as why:
        return StepSizeAdvice(name, None, str(why), source)
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(
            f"step-size rule {name!r} returned {found!r}; return (step size, words)"
        )
    value, reason = found
    if inputs.constants.smooth.from_below:
        # Every rule falls as L grows.
        reason = f"at most {value:.3g}: L is only estimated from below, no bound on it"
        return StepSizeAdvice(name, None, reason, source)
    return StepSizeAdvice(name, float(value), reason, source)
