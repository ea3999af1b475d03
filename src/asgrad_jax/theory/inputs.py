"""Checks of the problems, schedules and clocks that the theory is asked about."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_count, check_numbers
from asgrad_jax.problems.local_steps import LocalSteps
from asgrad_jax.problems.problem import check_is_problem

# What the theory reads of every schedule; tests and users may bring their own class.
_COLUMNS = (
    "worker",
    "read",
    "step",
    "in_flight_worker",
    "in_flight_read",
    "num_workers",
)


def check_jobs(problem: Any) -> None:
    """Raises unless the jobs of a problem return gradients grad f_i + noise.

    Jobs of several local steps do not: the mean of what they return is no gradient of
    f_i, and how far it is from one is no variance.

    Raises:
        TypeError: if it is no problem.
        ValueError: if its jobs make local steps.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> check_jobs(quadratic(2, 3))
    """
    check_is_problem(problem)
    if isinstance(problem, LocalSteps):
        raise ValueError(
            "jobs of ag.local_steps return a sum of gradients at moving points; this "
            "theory is for jobs that return one gradient of f_i plus noise of mean "
            "zero. Ask about the problem inside (problem.problem): it has the same f"
        )


def check_schedule(schedule: Any) -> None:
    """Raises TypeError unless `schedule` has the columns of one.

    Example:
        >>> from asgrad_jax.schedules.schedule import Schedule
        >>> check_schedule(Schedule.from_arrays([0, 1], [0, 0]))
    """
    if not all(hasattr(schedule, name) for name in _COLUMNS):
        raise TypeError(
            f"schedule must be an asgrad_jax.Schedule, got {type(schedule).__name__}; "
            "make one with ag.simulate(...) or ag.Schedule.from_arrays(...)"
        )


def check_pair(problem: Any, schedule: Any) -> None:
    """Raises unless the theory covers the problem's jobs and both have n workers.

    Raises:
        TypeError: if one of them is something else.
        ValueError: if they differ in workers, or the jobs make local steps.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> from asgrad_jax.schedules.schedule import Schedule
        >>> check_pair(quadratic(2, 3), Schedule.from_arrays([0, 1], [0, 0]))
    """
    check_jobs(problem)
    check_schedule(schedule)
    if schedule.num_workers != problem.num_workers:
        raise ValueError(
            f"the schedule has {schedule.num_workers} workers, the problem "
            f"{problem.num_workers}; build both for the same number of workers "
            "(Schedule.from_arrays takes num_workers=...)"
        )


def schedule_list(schedules: Any) -> list[Any]:
    """One schedule, or any iterable of them, as a list of at least one.

    Raises:
        TypeError: if something in it is no schedule.
        ValueError: if it is empty.

    Example:
        >>> from asgrad_jax.schedules.schedule import Schedule
        >>> len(schedule_list(Schedule.from_arrays([0], [0]) for _ in range(3)))
        3
    """
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
    """Mean seconds per gradient of each worker.

    Args:
        compute_times: a clock with `mean_durations`, or float[n], seconds.
        num_workers: n of the problem, where there is one.

    Returns:
        float64[n], seconds, in the order of the workers.

    Raises:
        TypeError: if they are neither.
        ValueError: if a mean is masked or not finite and above zero, or n differs.

    Example:
        >>> mean_durations(range(1, 4))
        array([1., 2., 3.])
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
            f"compute_times has {means.size} workers, the problem {num_workers}; build "
            "both for the same number of workers"
        )
    return means


def whole_chunks(num_jobs: int, tau: int) -> int:
    """Number of chunks in a horizon that is made of whole ones.

    Args:
        num_jobs: T', >= 1.
        tau: chunk length, jobs, >= 1.

    Returns:
        K = T'/tau.

    Raises:
        TypeError: if a number is no whole number.
        ValueError: if one is below 1, or T' is no multiple of tau.

    Example:
        >>> whole_chunks(100, 20)
        5
    """
    check_count("num_jobs", num_jobs)
    check_count("tau", tau)
    chunks, rest = divmod(num_jobs, tau)
    if rest:
        below = f"{chunks * tau} or " if chunks else ""
        raise ValueError(
            f"num_jobs = {num_jobs} is no multiple of the chunk length {tau} (tau, or "
            "the number of workers), but the theorem needs whole chunks; give "
            f"{below}{(chunks + 1) * tau} jobs"
        )
    return chunks


def sorted_durations(durations: ArrayLike) -> NDArray[np.float64]:
    """Seconds per gradient of each worker, checked and sorted, fastest first.

    Args:
        durations: float[n], seconds, every one finite and above zero.

    Returns:
        float64[n], seconds, ascending: tau_1 <= ... <= tau_n.

    Raises:
        TypeError: if they are not real numbers.
        ValueError: if it is not a non-empty vector of finite positive numbers.

    Example:
        >>> sorted_durations([3, 1, 2])
        array([1., 2., 3.])
    """
    array = check_numbers("durations", durations, ndim=1, above=0, finite=True)
    return np.sort(array)
