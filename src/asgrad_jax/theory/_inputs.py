"""Checks of the problems, schedules and compute times that theory is asked about."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_numbers
from asgrad_jax.problems.problem import check_is_problem

# What theory reads of every schedule; tests and users may bring their own class.
_COLUMNS = (
    "worker",
    "read",
    "step",
    "in_flight_worker",
    "in_flight_read",
    "num_workers",
)


# Squares of float64 gradients that differ from zero by rounding alone lie below this
# times L^2, where the numbers of a problem are around one; the machine decides on them.
ROUNDING = 1e-26


def check_jobs(problem: Any) -> None:
    """Raises unless the jobs of a problem return gradients grad f_i + noise.

    Jobs of several local steps do not: the mean of what they return is not a gradient
    of f_i, and how far it is from one is not a variance. Their `gradient_bias` says so.
    """
    check_is_problem(problem)
    if bias := getattr(problem, "gradient_bias", ""):
        raise ValueError(
            f"{bias}; this theory is for jobs that return one gradient of f_i plus "
            "noise of mean zero"
        )


def check_schedule(schedule: Any) -> None:
    """Raises TypeError unless `schedule` has the columns of one."""
    if not all(hasattr(schedule, name) for name in _COLUMNS):
        raise TypeError(
            f"schedule must be an asgrad_jax.Schedule, got {type(schedule).__name__}; "
            "make one with ag.simulate(...) or ag.Schedule.from_arrays(...)"
        )


def check_pair(problem: Any, schedule: Any) -> None:
    """Raises unless the theory covers the problem's jobs and both have n workers."""
    check_jobs(problem)
    check_schedule(schedule)
    if schedule.num_workers != problem.num_workers:
        raise ValueError(
            f"the schedule must have the problem's {problem.num_workers} workers, got "
            f"{schedule.num_workers}; build both for the same number of workers "
            "(Schedule.from_arrays takes num_workers=...)"
        )


def schedule_list(schedules: Any) -> list[Any]:
    """One schedule, or any iterable of them, as a list of at least one; or raises."""
    one = isinstance(schedules, str) or not np.iterable(schedules)
    found = [schedules] if one or hasattr(schedules, "worker") else list(schedules)
    if not found:
        raise ValueError("give at least one schedule, got none")
    for schedule in found:
        check_schedule(schedule)
    return found


def mean_durations(
    compute_times: Any, num_workers: int | None = None
) -> NDArray[np.float64]:
    """Mean seconds per gradient of each worker, float64[n]; or raises.

    Args:
        compute_times: compute times with `mean_durations`, or float[n], seconds.
        num_workers: n of the problem, where there is one.
    """
    given = getattr(compute_times, "mean_durations", compute_times)
    try:
        means = check_numbers("compute_times", given)
    except TypeError:
        means = np.empty(())
    if means.ndim != 1 or means.size == 0:
        raise TypeError(
            "compute_times must give the mean seconds per gradient of each worker: one "
            "of ag.compute_times, a list of numbers, or an object with such a list as "
            f"its attribute mean_durations; got {type(compute_times).__name__}"
        )
    check_numbers("mean_durations", means, above=0, finite=True)
    if num_workers is not None and means.size != num_workers:
        raise ValueError(
            f"compute_times must have the problem's {num_workers} workers, got "
            f"{means.size}; build both for the same number of workers"
        )
    return means
