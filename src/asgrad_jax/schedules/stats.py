"""Delay, concurrency and share figures of a schedule."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asgrad_jax.schedules.columns import jobs_in_flight
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.slots import plan_slots, waves_at_records

_WIDTHS = (2, 4, 8, 16, 32, 64)


@dataclasses.dataclass(frozen=True, eq=False)
class DelayStats:
    """Delays, jobs in flight and worker shares: what theory counts of a schedule too.

    Attributes:
        num_gradients: rows A.
        num_steps: server steps T.
        num_workers: workers n.
        tau_max: largest delay of a row.
        tau_avg: mean over the delays of all rows and, where the jobs in flight at the
            end are known, their ages T - read, all of them counted: the sum over A +
            (jobs in flight). Definition 4 of Koloskova, Stich, Jaggi divides the same
            sum by T + |C_T| - 1, without the job given out at the last step, whose age
            is 0. Equal to delay_mean where no job in flight is known.
        delay_mean: mean delay of the rows alone.
        concurrency: int32 [A], jobs in flight when row a arrives, by `jobs_in_flight`,
            cut off at concurrency_max; jobs whose gradient was discarded are not rows
            and are not counted.
        concurrency_max: largest number of jobs in flight, from the schedule.
        concurrency_mean: mean of `concurrency`.
        share: float64 [n], each worker's part of the rows; sums to 1.
    """

    num_gradients: Any
    num_steps: Any
    num_workers: Any
    tau_max: Any
    tau_avg: Any
    delay_mean: Any
    concurrency: NDArray[np.int32]
    concurrency_max: Any
    concurrency_mean: Any
    share: NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class ScheduleStats(DelayStats):
    """What a schedule looks like in numbers; `print` shows it as a table.

    Attributes:
        discarded: arrivals that are not rows.
        slots: iterates alive at once with one arrival per scan step (see `plan_slots`).
        waves: runs of consecutive arrivals whose gradients can be computed together,
            each as long as possible (see `wave_lengths`): no run needs more sequential
            steps.
        wave_fill: width W -> share of the places that hold an arrival where waves have
            at most W, for W = 2, 4, ..., 64. Records, at which waves end, are left out.

    Further attributes are those of `DelayStats`.
    """

    discarded: int
    slots: int
    waves: int
    wave_fill: dict[int, float]

    def __repr__(self) -> str:
        low, high = self.share.min(), self.share.max()
        widths = "/".join(str(width) for width in self.wave_fill)
        fills = "/".join(f"{100 * fill:.0f}" for fill in self.wave_fill.values()) + "%"
        gone = f" used, {self.discarded:,} more discarded" if self.discarded else ""
        return (
            f"arrivals     {self.num_gradients:,}{gone}\n"
            f"steps        {self.num_steps:,}\n"
            f"delay        mean {self.delay_mean:.4g} (in flight included "
            f"{self.tau_avg:.4g}), max {self.tau_max:,}\n"
            f"concurrency  mean {self.concurrency_mean:.4g}, "
            f"max {self.concurrency_max:,}{' (of these)' if self.discarded else ''}\n"
            f"workers      {self.num_workers:,}, share {low:.2%} to {high:.2%} "
            f"(equal: {1 / self.num_workers:.2%})\n"
            f"slots        {self.slots:,} (ring buffer: {self.tau_max + 1:,})\n"
            f"waves        {self.waves:,} of {self.num_gradients / self.waves:.3g} "
            f"arrivals each; filled to {fills} at width {widths}"
        )


def delay_stats(
    schedule: Schedule,
) -> tuple[dict[str, Any], NDArray[np.int64], NDArray[np.int64]]:
    """Counts delays, ages, jobs in flight and each worker's rows of a valid schedule.

    Returns the fields of `DelayStats`; the delay of every row, int64 [A]; the age
    T - read of every job in flight at the end.

    Example:
        >>> fields, delay, age = delay_stats(
        ...     Schedule.from_arrays(worker=[0, 1], read=[0, 0]))
        >>> fields["tau_avg"], delay, age
        (0.5, array([0, 1]), array([], dtype=int64))
    """
    delay = schedule.delay.astype(np.int64)
    age = schedule.num_steps - schedule.in_flight_read.astype(np.int64)
    rows, n = len(delay), schedule.num_workers
    concurrency = np.minimum(jobs_in_flight(schedule), schedule.concurrency_max)
    fields = dict(
        num_gradients=rows,
        num_steps=schedule.num_steps,
        num_workers=n,
        tau_max=int(delay.max()),
        tau_avg=int(delay.sum() + age.sum()) / (rows + len(age)),
        delay_mean=float(delay.mean()),
        concurrency=concurrency,
        concurrency_max=schedule.concurrency_max,
        concurrency_mean=float(concurrency.mean()),
        share=np.bincount(schedule.worker, minlength=n) / rows,
    )
    return fields, delay, age


def schedule_stats(schedule: Schedule) -> ScheduleStats:
    """Computes the figures of a schedule in linear time.

    Args:
        schedule: any schedule; it is validated first.

    Raises:
        TypeError, ValueError: as `Schedule.validate`.

    Example:
        >>> schedule = Schedule.from_arrays(
        ...     worker=[0, 1, 0], read=[0, 0, 1], in_flight_worker=[1, 0],
        ...     in_flight_read=[2, 3])
        >>> schedule_stats(schedule)
        arrivals     3
        steps        3
        delay        mean 0.6667 (in flight included 0.6), max 1
        concurrency  mean 2, max 2
        workers      2, share 33.33% to 66.67% (equal: 50.00%)
        slots        2 (ring buffer: 2)
        waves        2 of 1.5 arrivals each; filled to 75/38/19/9/5/2% at width
        2/4/8/16/32/64
    """
    schedule.validate()
    fields, _, _ = delay_stats(schedule)
    rows = len(schedule)

    def waves(width: int) -> int:
        return int(waves_at_records(schedule, width, None)[-1])

    return ScheduleStats(
        **fields,
        discarded=schedule.discarded,
        slots=plan_slots(schedule).num_slots,
        waves=waves(rows),
        wave_fill={width: rows / (width * waves(width)) for width in _WIDTHS},
    )
