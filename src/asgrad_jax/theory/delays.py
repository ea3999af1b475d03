"""Delays, concurrency and worker frequencies of schedules, as the theory counts."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_numbers
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.stats import DelayStats, delay_stats
from asgrad_jax.theory._inputs import schedule_list
from asgrad_jax.theory.assignment import assignment_order


@dataclasses.dataclass(frozen=True, eq=False)
class Delays(DelayStats):
    """Delay figures of one schedule, or of Q schedules with a leading axis Q.

    Those of `DelayStats` and more. Delays and ages are counted in server steps, flight
    lengths in jobs. Jobs in flight at the end count with their age T - read where the
    schedule knows them.

    Attributes:
        delay: int64 [A], of every row.
        flight_length: int64 [A], l_j: jobs given out while j was not yet applied.
        tau_avg_per_worker: float64 [n], tau_avg of each worker's jobs; 0 for a worker
            that never had one.
        total_age: sum of all delays and ages; exactly (m - 1) T when m jobs are in
            flight at all times and every row steps.
        flight_max: l_max, the jobs in flight at the end included.
    """

    delay: NDArray[np.int64]
    flight_length: NDArray[np.int64]
    tau_avg_per_worker: NDArray[np.float64]
    total_age: Any
    flight_max: Any

    @property
    def imbalance(self) -> Any:
        """Largest |p_i - 1/n|: how unequally workers are heard."""
        return np.abs(self.share - 1 / self.share.shape[-1]).max(axis=-1)

    @property
    def unbalanced_age(self) -> Any:
        """total_age - (m - 1) T with m the largest concurrency.

        Zero exactly if m jobs are in flight at all times and every row steps: what one
        job waits longer, another waits less.
        """
        return self.total_age - (self.concurrency_max - 1) * self.num_steps

    def quantile(self, q: ArrayLike) -> Any:
        """tau_q: the smallest delay that at least a fraction q of the rows keep to.

        Args:
            q: one number or a vector, each in (0, 1].

        Returns:
            int64, of the shape of q, schedules first where there are several.

        Raises:
            ValueError: if a q is outside (0, 1].

        Example:
            >>> schedule = Schedule.from_arrays([0, 1, 0, 1], [0, 0, 0, 0])
            >>> delays(schedule).quantile([0.5, 1.0])
            array([1, 3])
        """
        fractions = check_numbers("q", q, above=0, maximum=1)
        found = np.quantile(self.delay, fractions, axis=-1, method="inverted_cdf")
        return np.moveaxis(found, 0, -1) if fractions.ndim else found

    def __str__(self) -> str:
        if np.ndim(self.tau_max):
            return f"delays of {len(self.tau_max)} schedules"
        median, most = self.quantile([0.5, 0.95])
        return (
            f"delay        mean {self.delay.mean():.4g} (in flight included "
            f"{self.tau_avg:.4g}), median {median}, 95% {most}, max {self.tau_max}\n"
            f"concurrency  mean {self.concurrency_mean:.4g}, "
            f"max {self.concurrency_max}\n"
            f"flight       mean {self.flight_length.mean():.4g}, "
            f"max {self.flight_max} jobs\n"
            f"share        {self.share.min():.2%} to {self.share.max():.2%} "
            f"(equal: {1 / self.share.size:.2%})"
        )


def delays(schedules: Schedule | Iterable[Schedule]) -> Delays:
    """Delay statistics of a schedule, or of many at once.

    Args:
        schedules: a `Schedule`, or an iterable of Q with equal numbers of rows and
            workers; then every field of the result has a leading axis Q.

    Raises:
        TypeError: if something is not a schedule.
        ValueError: if the iterable is empty or its schedules differ in size.

    Example:
        >>> schedule = Schedule.from_arrays(worker=[0, 1, 0, 1], read=[0, 0, 1, 2],
        ...     in_flight_worker=[0, 1], in_flight_read=[3, 4])
        >>> found = delays(schedule)
        >>> int(found.tau_max), int(found.total_age), int(found.unbalanced_age)
        (1, 4, 0)
        >>> delays([schedule, schedule]).share.shape
        (2, 2)
    """
    if isinstance(schedules, Schedule):
        return _of_one(schedules)
    many = schedule_list(schedules)
    sizes = {(item.num_gradients, item.num_workers) for item in many}
    if len(sizes) > 1:
        raise ValueError(
            "schedules must have equal numbers of (rows, workers), got "
            f"{sorted(sizes)}; call delays once for each size"
        )
    parts = [_of_one(item) for item in many]
    return Delays(
        **{
            field.name: np.stack([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(Delays)
        }
    )


def _of_one(schedule: Schedule) -> Delays:
    n = schedule.num_workers
    fields, delay, age = delay_stats(schedule)
    jobs = assignment_order(schedule)
    worker = np.concatenate([schedule.worker, schedule.in_flight_worker])
    every = np.concatenate([delay, age])
    counts = np.bincount(worker, minlength=n)
    sums = np.bincount(worker, weights=every, minlength=n)
    flight = np.empty(jobs.num_jobs, np.int64)
    flight[jobs.row] = jobs.flight
    return Delays(
        **fields,
        delay=delay,
        flight_length=flight[: len(schedule)],
        tau_avg_per_worker=sums / np.maximum(counts, 1),
        total_age=int(every.sum()),
        flight_max=jobs.flight_max,
    )
