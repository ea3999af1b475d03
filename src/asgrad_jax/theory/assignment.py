"""A schedule in assignment order, which is the order the theory counts in.

Job t is the t-th gradient computation that was given out, initial jobs first. Rows of a
schedule are in order of arrival; a job was given out when its read version was current,
so sorting by read version recovers the order. Where several jobs read one version (the
initial ones, and all jobs of a waiting method), the true order among them cannot be
told from the columns; they are taken in order of arrival, those still in flight at the
end last. Every such choice is a valid numbering for the theorem: what was applied
before job t has a smaller read version in any case. One thing is lost: where a shuffled
method waits for b gradients and b does not divide n, the jobs of one version belong to
two permutations, so chunks of n jobs in this order are not the permutations.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asgrad_jax.theory._inputs import check_schedule


@dataclass(frozen=True)
class Assignment:
    """The jobs of a schedule in assignment order, J = rows + jobs in flight at the end.

    A_t is the set of jobs that the server applied before job t was given out, I_t =
    {0..t-1} without A_t the jobs given out and not yet applied. Gradients that were
    discarded are not jobs here.

    Attributes:
        worker: int32[J], k_t, whose objective.
        read: int32[J], version of the iterate z_t, nondecreasing.
        row: int64[J], the schedule's row of this job; rows >= A (the number of rows)
            are the jobs in flight at the end.
        applied: int64[J], |A_t|; A_t are exactly the schedule's first |A_t| rows.
        flight: int64[J], l_j = how many later jobs were given out while j was out.
        num_workers: n.
    """

    worker: NDArray[np.int32]
    read: NDArray[np.int32]
    row: NDArray[np.int64]
    applied: NDArray[np.int64]
    flight: NDArray[np.int64]
    num_workers: int

    @property
    def num_jobs(self) -> int:
        """J."""
        return len(self.worker)

    @property
    def in_flight(self) -> NDArray[np.int64]:
        """|I_t|, int64[J]: jobs given out before t and not yet applied."""
        return np.arange(self.num_jobs) - self.applied

    @property
    def concurrency(self) -> int:
        """tau_C = 1 + max_t |I_t|."""
        return 1 + int(self.in_flight.max())

    @property
    def flight_max(self) -> int:
        """l_max = max_j l_j."""
        return int(self.flight.max())

    def applied_sums(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over A_t, for every t, of rows that belong to the jobs: [J, d] each."""
        arrival = np.argsort(self.row, kind="stable")
        return prefix_sums(rows[arrival])[self.applied]

    def first(self, num_jobs: int) -> "Assignment":
        """The first 1 <= num_jobs <= J jobs alone, as if the run had ended with them.

        Raises:
            ValueError: if there are not that many.
        """
        if not 1 <= num_jobs <= self.num_jobs:
            raise ValueError(
                f"num_jobs must lie in 1..{self.num_jobs}, got {num_jobs!r}"
            )
        cut = slice(num_jobs)
        later = num_jobs - 1 - np.arange(num_jobs)
        return Assignment(
            worker=self.worker[cut],
            read=self.read[cut],
            row=self.row[cut],
            applied=self.applied[cut],
            flight=np.minimum(self.flight[cut], later),
            num_workers=self.num_workers,
        )


def prefix_sums(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of the first 0, 1, ..., T rows: float64[T, d] -> float64[T + 1, d]."""
    return np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])


def rows_by_version(step: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many rows the server had applied when each version came to be.

    Example:
        >>> rows_by_version(np.array([False, True, True, False]))
        array([0, 2, 3])
    """
    return np.concatenate([[0], np.flatnonzero(step) + 1]).astype(np.int64)


def assignment_order(schedule: Any) -> Assignment:
    """Puts the jobs of a schedule in the order in which they were given out.

    Args:
        schedule: a `Schedule`: `worker`, `read`, `step` of length A, and, where known,
            `in_flight_worker`, `in_flight_read` of the jobs that never arrived.

    Raises:
        TypeError: if it is not a schedule.
        ValueError: if the schedule has no rows, or a row reads a version that does not
            exist yet.

    Example:
        >>> from asgrad_jax.schedules.schedule import Schedule
        >>> schedule = Schedule.from_arrays([0, 0, 0], [0, 1, 2], num_workers=2,
        ...     in_flight_worker=[1], in_flight_read=[0])
        >>> jobs = assignment_order(schedule)
        >>> jobs.worker, jobs.applied, jobs.flight
        (array([0, 1, 0, 0], dtype=int32), array([0, 0, 1, 2]), array([1, 2, 0, 0]))
    """
    check_schedule(schedule)
    step = np.asarray(schedule.step, dtype=bool)
    if step.size == 0:
        raise ValueError("the schedule is empty: there is no job to put in order")
    version = np.cumsum(step) - step
    row_read = np.asarray(schedule.read, dtype=np.int32)
    late = np.flatnonzero((row_read > version) | (row_read < 0))
    if late.size:
        raise ValueError(
            f"row {late[0]} reads version {row_read[late[0]]}, but versions "
            f"0..{version[late[0]]} exist there; call schedule.validate()"
        )
    worker = np.append(schedule.worker, schedule.in_flight_worker).astype(np.int32)
    read = np.append(row_read, schedule.in_flight_read).astype(np.int32)
    rows_applied = rows_by_version(step)
    row = np.argsort(read, kind="stable")
    read = read[row]
    applied = rows_applied[read]
    # Job j leaves I_t at the first t whose iterate contains it, at the end otherwise.
    t = np.arange(read.size)
    leaves = np.full(read.size, read.size)
    arrived = row < step.size
    contained_in = np.append(version + 1, 0)[np.where(arrived, row, -1)]
    leaves[arrived] = np.searchsorted(read, contained_in[arrived], side="left")
    return Assignment(
        worker=worker[row],
        read=read,
        row=row,
        applied=applied,
        flight=leaves - t - 1,
        num_workers=int(schedule.num_workers),
    )
