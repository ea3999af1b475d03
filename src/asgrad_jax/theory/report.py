"""One readable page: what theory says about a problem and a schedule."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from asgrad_jax._util.checks import check_positive
from asgrad_jax.problems.flat_arrays import local_table
from asgrad_jax.problems.problem import Problem
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.theory._inputs import ROUNDING, check_pair, mean_durations
from asgrad_jax.theory.assignment import assignment_order
from asgrad_jax.theory.certificate import Certificate, certificate, constant_weight
from asgrad_jax.theory.constants import Constants, constants_at_hand
from asgrad_jax.theory.correlation import CorrelationProfile, correlation_profile
from asgrad_jax.theory.delays import Delays, delays
from asgrad_jax.theory.predicted_times import PredictedTimes, predicted_times
from asgrad_jax.theory.step_sizes import StepSizes, step_sizes

_CHUNKS = 20  # that a verdict on bias rests on, where there are so many


@dataclass(frozen=True)
class Report:
    """The parts of a report; `print` shows the page.

    Attributes:
        title: the schedule in words.
        eps: goal for the squared gradient norm.
        constants: of the problem at its start.
        delays: of the schedule.
        profile: correlation profile at the start, at n, 2n, 4n, ... jobs and over all
            jobs.
        step_sizes: each theory's.
        times: seconds to eps, where compute times were given, F_0 > 0 and L > 0.
        certificate: of the step size, where one was given.
        plain: whether every gradient counts alike, as the profile assumes.
    """

    title: str
    eps: float
    constants: Constants
    delays: Delays
    profile: CorrelationProfile
    step_sizes: StepSizes
    times: PredictedTimes | None
    certificate: Certificate | None
    plain: bool

    def __str__(self) -> str:
        profile = self.profile
        table = [f"{'tau':>8}{'C^2/tau^2':>14}{'S^2':>14}"] + [
            f"{length:>8}{bias:>14.4g}{partial:>14.4g}"
            for length, bias, partial in zip(
                profile.chunk_lengths,
                profile.bias_sq[0],
                profile.partial_sq[0],
                strict=True,
            )
        ]
        sections = [
            ("Problem at its start", str(self.constants)),
            ("Schedule", f"{self.title}\n{self.delays}"),
            (
                "Does the order of workers average out? (at the start)",
                "\n".join(table)
                + f"\nnu^2 {profile.in_flight_sq[0]:.4g}, "
                + f"zeta^2 {profile.zeta_sq:.4g}\n"
                + self._reading(),
            ),
            (f"Step sizes (goal eps = {self.eps:.3g})", str(self.step_sizes)),
        ]
        if self.times is not None:
            sections.append(
                (f"Time to eps = {self.eps:.3g}, hidden constants one", str(self.times))
            )
        if self.certificate is not None:
            title = f"Certificate at {self.certificate.given}"
            sections.append((title, str(self.certificate)))
        return "\n\n".join(
            f"{head}\n{'-' * len(head)}\n{text}" for head, text in sections
        )

    def _reading(self) -> str:
        """Which of the three shapes of C^2/tau^2 this is."""
        zeta_sq = self.profile.zeta_sq
        if zeta_sq <= 1e-20 * max(self.constants.heterogeneity.grad_sq, 1e-300):
            return "The workers agree: their order does not matter."
        if not self.plain:
            return (
                "These numbers count every job once. This method weighs its gradients, "
                "clips them or keeps\na table of them: they do not tell whether its "
                "own direction is biased."
            )
        chunks, whole = self.profile.bias_sq[0][:-1], self.profile.bias_sq[0][-1]
        if np.all(chunks <= 1e-12 * zeta_sq):
            return "Whole chunks cancel: no bias, as for shuffled or cyclic orders."
        # The mean over the run against the scatter of the chunks around it, as in a t
        # test: about 1 if chunks are independent and unbiased, 9 once in 150 times.
        counts = self.profile.num_jobs // self.profile.chunk_lengths[:-1]
        used = max(0, int(np.count_nonzero(counts >= _CHUNKS)) - 1)
        if counts[used] * whole > 9 * max(chunks[used] - whole, 0.0):
            return (
                "C^2/tau^2 does not fall to zero: some workers are heard more often, "
                "and no step size removes that bias."
            )
        return (
            "C^2/tau^2 falls with tau: as far as this run can tell, the bias averages "
            "out over time."
        )


def report(
    problem: Problem,
    schedule: Schedule,
    *,
    step_size: float | None = None,
    eps: float | None = None,
    compute_times: Any = None,
    num_gradients: int | None = None,
    lower_bound: float | None = None,
    constants: Constants | None = None,
) -> Report:
    """Everything theory says about a problem and a schedule, on one page.

    Args:
        problem: a `Problem`; its start is the point where things are measured.
        schedule: a `Schedule`.
        step_size: certify this step size as well (replays the schedule).
        eps: as for `step_sizes`; a hundredth of its value at the start if left out.
        compute_times: as for `predicted_times`, for the times to eps.
        num_gradients: as for `step_sizes`; the schedule's rows where left out.
        lower_bound, constants: as for `certificate`.

    Raises:
        TypeError: if something is not what it should be.
        ValueError: if a number is out of its range, the schedule, the problem and the
            compute times differ in workers, jobs make local steps, or the start is a
            stationary point and no eps is given.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> from asgrad_jax.schedules.schedule import Schedule
        >>> schedule = Schedule.from_arrays(worker=[0, 1] * 8, read=range(16))
        >>> page = report(quadratic(2, 3), schedule, compute_times=[1.0, 2.0])
        >>> print(page)  # doctest: +ELLIPSIS
        Problem at its start
        --------------------
        ...
        Whole chunks cancel: no bias, as for shuffled or cyclic orders.
        ...
    """
    check_pair(problem, schedule)
    if compute_times is not None:
        compute_times = mean_durations(compute_times, problem.num_workers)
    known = constants_at_hand(problem, given=constants, lower_bound=lower_bound)
    if eps is None:
        eps = known.heterogeneity.grad_sq / 100
        if eps <= ROUNDING * known.smoothness**2:
            raise ValueError("the problem starts at a stationary point: give eps=...")
    check_positive(eps=eps)
    horizon = schedule.num_gradients if num_gradients is None else num_gradients
    n = problem.num_workers
    lengths = n * 2 ** np.arange(20)
    jobs = assignment_order(schedule)
    lengths = lengths[lengths <= max(n, jobs.num_jobs // 4)]
    lengths = lengths[lengths < jobs.num_jobs]
    # A single job stands in where there is not even one round of the workers.
    lengths = [*(lengths if lengths.size else [1]), jobs.num_jobs]
    return Report(
        title=repr(schedule),
        eps=eps,
        constants=known,
        delays=delays(schedule),
        profile=correlation_profile(jobs, local_table(problem), lengths),
        step_sizes=step_sizes(
            problem, schedule, eps=eps, num_gradients=horizon, constants=known
        ),
        times=predicted_times(eps, compute_times, known)
        if compute_times is not None and known.gap > 0 and known.smoothness > 0
        else None,
        certificate=None
        if step_size is None
        else certificate(problem, schedule, step_size, constants=known),
        plain=_counts_alike(schedule),
    )


def _counts_alike(schedule: Schedule) -> bool:
    try:
        constant_weight(schedule)
    except ValueError:
        return False
    return True
