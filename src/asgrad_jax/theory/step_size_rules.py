"""The step-size rules of the package: one function per theory."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from asgrad_jax._util.checks import ceil_of
from asgrad_jax.algorithms.gradient_tables import LastGradients
from asgrad_jax.algorithms.ringleader import RoundTables
from asgrad_jax.problems.flat_arrays import local_table
from asgrad_jax.theory.bounds.heterogeneous import (
    gradient_table_step_size,
    ringleader_step_size,
)
from asgrad_jax.theory.bounds.homogeneous import tree_step_size
from asgrad_jax.theory.bounds.own_theorem import largest_step_size, tuned_step_size
from asgrad_jax.theory.certificate import check_plain, constant_weight
from asgrad_jax.theory.correlation import correlation_profile
from asgrad_jax.theory.step_sizes import (
    NotApplicable,
    RuleInputs,
    curved,
    step_size_rule,
)


@step_size_rule("asgrad_jax theorem", "docs/theorem.md [D]")
def _theorem_limit(inputs: RuleInputs) -> tuple[float, str]:
    weight = _one_weight(inputs)
    if not inputs.constants.independent_noise:
        raise NotApplicable("batches of a reshuffled epoch depend on each other")
    n = inputs.jobs.num_workers
    limit = largest_step_size(
        inputs.smoothness_max,
        concurrency=inputs.jobs.concurrency,
        flight_max=inputs.jobs.flight_max,
        chunk_length=min(n, inputs.jobs.num_jobs),
    )
    return limit / weight, (
        f"largest certified one, chunks of n = {n} jobs, tau_C = "
        f"{inputs.jobs.concurrency}, l_max = {inputs.jobs.flight_max}"
    )


@step_size_rule("asgrad_jax theorem, tuned", "docs/theorem.md [D]")
def _theorem_tuned(inputs: RuleInputs) -> tuple[float, str]:
    limit, _ = _theorem_limit(inputs)
    weight = constant_weight(inputs.schedule)
    if inputs.num_gradients is None:
        raise NotApplicable("needs the horizon: num_gradients=...")
    gap = _gap(inputs)
    n = min(inputs.jobs.num_workers, inputs.jobs.num_jobs)
    profile = correlation_profile(inputs.jobs, local_table(inputs.problem), [n])
    spread = float(profile.partial_sq[0, 0] + profile.in_flight_sq[0])
    value = tuned_step_size(
        inputs.num_gradients,
        smoothness=inputs.smoothness_max,
        gap=gap,
        noise_sq=inputs.constants.noise_sq,
        heterogeneity_sq=spread,
        limit=limit * weight,
    )
    return value / weight, (
        f"balances the bound's terms with S^2 + nu^2 = {spread:.3g} at x_0 (a guide, "
        "not a certificate)"
    )


@step_size_rule(
    "delay-adaptive",
    "Koloskova, Stich, Jaggi 2206.08307, Theorem 8 [V], with the size [D]",
)
def _delay_adaptive(inputs: RuleInputs) -> tuple[float, str]:
    """The paper caps gamma by 1/(4L) and tunes it; its rate needs order 1/(L tau_C)."""
    _shared(inputs)
    _refuse(check_plain, inputs.schedule)
    concurrency = inputs.schedule.concurrency_max
    weights = np.asarray(inputs.schedule.weight)
    late = int(inputs.distance.max())
    limit = 1 / (4 * inputs.smoothness * concurrency)
    if late <= concurrency:
        return limit / _one_weight(inputs), (
            f"1/(4 L tau_C), tau_C = {concurrency}: no delay exceeds tau_C"
        )
    if np.all(weights == weights[0]):
        raise NotApplicable(
            f"delays reach {late} > tau_C = {concurrency}: late gradients need smaller "
            "weights (algorithm delay_adaptive)"
        )
    counted = weights > 0
    allowed = limit * concurrency / np.maximum(inputs.distance, concurrency)
    return float(np.min(allowed[counted] / weights[counted])), (
        f"1/(4 L tau_C) up to delay tau_C = {concurrency}, 1/(4 L tau) beyond"
    )


@step_size_rule("computation tree", "Birch SGD, master theorem [V]")
def _tree(inputs: RuleInputs) -> tuple[float, str]:
    _shared(inputs)
    weight = _one_weight(inputs)
    eps = _eps(inputs)
    value = tree_step_size(
        eps,
        inputs.constants.noise_sq,
        smoothness=inputs.smoothness,
        tree_distance=int(inputs.distance.max()),
    )
    return value / weight, f"tree distance R = {inputs.distance.max()}"


@step_size_rule("fresh gradients", "Tyurin, Richtarik 2305.12387, recalled [R]")
def _fresh(inputs: RuleInputs) -> tuple[float, str]:
    """Recalled rule of Rennala and Malenia: min{1/L, eps S/(2 L sigma^2)}."""
    if int(np.max(inputs.schedule.delay)) > 0:
        raise NotApplicable(
            "only for methods whose every gradient is taken at the iterate"
        )
    weight = _one_weight(inputs)
    ends = np.flatnonzero(np.asarray(inputs.schedule.step))
    sizes = np.diff(ends, prepend=-1)
    if ends.size == 0 or np.any(sizes != sizes[0]):
        raise NotApplicable("the server's steps have different numbers of gradients")
    batch = int(sizes[0])
    if not inputs.shared_objective:
        n = inputs.jobs.num_workers
        whole = np.asarray(inputs.schedule.worker)[: ends.size * batch]
        counts = [
            np.bincount(row, minlength=n) for row in whole.reshape(ends.size, batch)
        ]
        if np.any(np.asarray(counts) != batch / n):
            raise NotApplicable(
                f"zeta^2 = {inputs.constants.zeta_sq:.3g} > 0 and not every step hears "
                "every worker equally"
            )
    noise_sq = inputs.constants.noise_sq
    value = 1 / inputs.smoothness
    if noise_sq > 0:
        value = min(value, _eps(inputs) * batch / (2 * inputs.smoothness * noise_sq))
    return value / (weight * batch), f"min{{1/L, eps S/(2 L sigma^2)}}, S = {batch}"


@step_size_rule("Ringmaster", "Maranjyan, Tyurin, Richtarik 2501.16168, recalled [R]")
def _ringmaster(inputs: RuleInputs) -> tuple[float, str]:
    """Recalled rule: min{1/(2 R L), eps/(4 L sigma^2)}, R the threshold."""
    _shared(inputs)
    weight = _one_weight(inputs)
    eps = _eps(inputs)
    noise_sq, smooth = inputs.constants.noise_sq, inputs.smoothness
    threshold = max(1, _refuse(ceil_of, "sigma^2/eps", noise_sq / eps))
    late = int(inputs.distance.max())
    if late >= threshold:
        raise NotApplicable(
            f"its threshold R = {threshold} would discard this schedule's delays of up "
            f"to {late} (algorithm ringmaster, max_delay={threshold})"
        )
    limits = [1 / (2 * threshold * smooth)]
    if noise_sq > 0:
        limits.append(eps / (4 * smooth * noise_sq))
    return min(limits) / weight, f"R = max{{1, ceil(sigma^2/eps)}} = {threshold}"


@step_size_rule("Ringleader", "Maranjyan, Richtarik 2509.22860 [V]")
def _ringleader(inputs: RuleInputs) -> tuple[float, str]:
    _made_by(inputs, RoundTables(), "ringleader")
    value = ringleader_step_size(
        _eps(inputs),
        inputs.constants.noise_sq,
        smoothness=curved(inputs.constants.smooth.table),
        num_workers=inputs.jobs.num_workers,
    )
    return value, "harmonic batch B = 1 (a single gradient per worker and round)"


@step_size_rule("IA2SGD, DuDe", "Wang et al. 2405.16966, Theorem 1 [V]")
def _gradient_table(inputs: RuleInputs) -> tuple[float, str]:
    _made_by(inputs, LastGradients(), "ia2sgd, dude_asgd, ace")
    if inputs.num_gradients is None:
        raise NotApplicable("needs the horizon: num_gradients=...")
    late = max(1, int(np.max(inputs.schedule.delay)))
    value = _refuse(
        gradient_table_step_size,
        inputs.num_gradients,
        smoothness=inputs.smoothness,
        gap=_gap(inputs),
        num_workers=inputs.jobs.num_workers,
        tau_max=late,
    )
    return value, f"tau_max = {late}"


def _shared(inputs: RuleInputs) -> None:
    if not inputs.shared_objective:
        raise NotApplicable(
            f"assumes one shared objective, but zeta^2 = {inputs.constants.zeta_sq:.3g}"
        )


def _one_weight(inputs: RuleInputs) -> float:
    return _refuse(constant_weight, inputs.schedule)


def _refuse(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    try:
        return function(*given, **named)
    except ValueError as why:
        raise NotApplicable(str(why)) from None


def _made_by(inputs: RuleInputs, method: Callable[[Any], Any], names: str) -> None:
    """Refuses schedules whose steps and table are not those that the method makes."""
    schedule = inputs.schedule
    if schedule.table is None:
        raise NotApplicable(f"for methods with a table of gradients ({names})")
    # A method leaves a schedule that it made as it is.
    if method(schedule) != schedule:
        raise NotApplicable(f"for the table of {names}; this one has another direction")


def _eps(inputs: RuleInputs) -> float:
    if inputs.eps is None:
        raise NotApplicable("needs the goal: eps=...")
    return inputs.eps


def _gap(inputs: RuleInputs) -> float:
    if math.isnan(inputs.constants.gap):
        raise NotApplicable(
            "no lower bound on f* is known: constants=theory.constants(problem, "
            "lower_bound=...)"
        )
    if not inputs.constants.gap > 0:
        raise NotApplicable(f"needs F_0 > 0, have {inputs.constants.gap:g}")
    return inputs.constants.gap
