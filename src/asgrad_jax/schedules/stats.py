"""Delay, concurrency and share figures of a schedule."""

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asgrad_jax.schedules.columns import jobs_in_flight
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.slots import plan_slots, waves_at_records

_WIDTHS = (2, 4, 8, 16, 32, 64)


@dataclasses.dataclass(frozen=True, eq=False)
class ScheduleStats:
    """What a schedule looks like in numbers; `print` shows it as a table.

    Attributes:
        num_arrivals: rows A.
        num_steps: server steps T.
        num_workers: workers n.
        tau_max: largest delay of a row.
        tau_avg: mean over the delays of all rows and, where the jobs in flight at the
            end are known, their ages T - read (Koloskova, Stich, Jaggi, Def. 4, which
            counts unfinished jobs too); otherwise equal to delay_mean.
        delay_mean: mean delay of the rows alone.
        concurrency: int32 [A], jobs assigned and not yet arrived when row a arrives,
            this one included. Jobs assigned within one version's lifetime cannot be
            ordered from the columns, so where the server waits this is an upper bound,
            cut off at concurrency_max; discarded jobs are not in the columns and not
            counted.
        concurrency_max: largest number of jobs in flight, from the schedule.
        concurrency_mean: mean of `concurrency`.
        share: float64 [n], each worker's part of the rows; sums to 1.
        discarded: arrivals that are not rows.
        slots: iterates alive at once with one arrival per scan step (see `plan_slots`).
        waves: runs of consecutive arrivals whose gradients can be computed together,
            each as long as possible (see `wave_lengths`): no run needs more sequential
            steps.
        wave_fill: width W -> share of the places that hold an arrival where waves have
            at most W, for W = 2, 4, ..., 64. Records, at which waves end, are left out.
    """

    num_arrivals: int
    num_steps: int
    num_workers: int
    tau_max: int
    tau_avg: float
    delay_mean: float
    concurrency: NDArray[np.int32]
    concurrency_max: int
    concurrency_mean: float
    share: NDArray[np.float64]
    discarded: int
    slots: int
    waves: int
    wave_fill: dict[int, float]

    def __repr__(self) -> str:
        low, high = self.share.min(), self.share.max()
        widths = "/".join(str(width) for width in self.wave_fill)
        fills = "/".join(f"{100 * fill:.0f}" for fill in self.wave_fill.values()) + "%"
        return (
            f"arrivals     {self.num_arrivals:,}, {self.discarded:,} discarded\n"
            f"steps        {self.num_steps:,}\n"
            f"delay        mean {self.delay_mean:.4g} (in flight included "
            f"{self.tau_avg:.4g}), max {self.tau_max:,}\n"
            f"concurrency  mean {self.concurrency_mean:.4g}, "
            f"max {self.concurrency_max:,}\n"
            f"workers      {self.num_workers:,}, share {low:.2%} to {high:.2%} "
            f"(equal: {1 / self.num_workers:.2%})\n"
            f"slots        {self.slots:,} (ring buffer: {self.tau_max + 1:,})\n"
            f"waves        {self.waves:,} of {self.num_arrivals / self.waves:.3g} "
            f"arrivals each; filled to {fills} at width {widths}"
        )


class JobFigures(NamedTuple):
    """What theory and `ScheduleStats` alike count of a schedule's jobs."""

    delay: NDArray[np.int64]  # [A], of every row
    age: NDArray[np.int64]  # [J], T - read of the jobs in flight at the end
    concurrency: NDArray[np.int32]  # [A], as in `ScheduleStats`
    tau_avg: float  # mean over delays and ages
    share: NDArray[np.float64]  # [n], of the rows


def job_figures(schedule: Schedule) -> JobFigures:
    """Counts delays, ages, jobs in flight and each worker's rows.

    Args:
        schedule: a valid schedule; it is not validated again.

    Example:
        >>> job_figures(Schedule.from_arrays(worker=[0, 1], read=[0, 0])).tau_avg
        0.5
    """
    delay = schedule.delay.astype(np.int64)
    age = schedule.num_steps - schedule.in_flight_read.astype(np.int64)
    rows, n = len(delay), schedule.num_workers
    return JobFigures(
        delay=delay,
        age=age,
        concurrency=np.minimum(jobs_in_flight(schedule), schedule.concurrency_max),
        tau_avg=int(delay.sum() + age.sum()) / (rows + len(age)),
        share=np.bincount(schedule.worker, minlength=n) / rows,
    )


def schedule_stats(schedule: Schedule) -> ScheduleStats:
    """Computes the figures of a schedule in linear time.

    Args:
        schedule: any schedule; it is validated first.

    Returns:
        The figures.

    Raises:
        TypeError: as `Schedule.validate`.
        ValueError: as `Schedule.validate`.

    Example:
        >>> schedule = Schedule.from_arrays(
        ...     worker=[0, 1, 0], read=[0, 0, 1], in_flight_worker=[1, 0],
        ...     in_flight_read=[2, 3])
        >>> schedule_stats(schedule)
        arrivals     3, 0 discarded
        steps        3
        delay        mean 0.6667 (in flight included 0.6), max 1
        concurrency  mean 2, max 2
        workers      2, share 33.33% to 66.67% (equal: 50.00%)
        slots        2 (ring buffer: 2)
        waves        2 of 1.5 arrivals each; filled to 75/38/19/9/5/2% at width
        2/4/8/16/32/64
    """
    schedule.validate()
    jobs = job_figures(schedule)
    rows = len(schedule)

    def waves(width: int) -> int:
        return int(waves_at_records(schedule, width, None)[-1])

    return ScheduleStats(
        num_arrivals=rows,
        num_steps=schedule.num_steps,
        num_workers=schedule.num_workers,
        tau_max=int(jobs.delay.max()),
        tau_avg=jobs.tau_avg,
        delay_mean=float(jobs.delay.mean()),
        concurrency=jobs.concurrency,
        concurrency_max=schedule.concurrency_max,
        concurrency_mean=float(jobs.concurrency.mean()),
        share=jobs.share,
        discarded=schedule.discarded,
        slots=plan_slots(schedule).num_slots,
        waves=waves(rows),
        wave_fill={width: rows / (width * waves(width)) for width in _WIDTHS},
    )
