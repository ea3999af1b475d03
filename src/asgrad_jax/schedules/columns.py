"""Columns of a schedule: their types, and what is derived from them."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from asgrad_jax.schedules.schedule import Schedule

COLUMNS: dict[str, np.dtype] = {
    "worker": np.dtype(np.int32),
    "job": np.dtype(np.int32),
    "read": np.dtype(np.int32),
    "weight": np.dtype(np.float64),
    "step": np.dtype(np.bool_),
    "time": np.dtype(np.float64),
    "computed": np.dtype(np.int32),
}


def job_numbers(worker: NDArray[np.int32]) -> NDArray[np.int32]:
    """Numbers the rows of each worker, int32 [A], from 0 in row order: int32 [A].

    Example:
        >>> job_numbers(np.array([0, 1, 0, 0, 1]))
        array([0, 0, 1, 2, 1], dtype=int32)
    """
    numbers = np.arange(len(worker), dtype=np.int32)
    order = np.argsort(worker, kind="stable")
    grouped = worker[order]
    is_first = np.append(True, grouped[1:] != grouped[:-1])[: len(worker)]
    # In sorted order, a row's number is its distance from its worker's first row.
    first = np.maximum.accumulate(np.where(is_first, numbers, 0))
    result = np.empty_like(numbers)
    result[order] = numbers - first
    return result


def jobs_in_flight(schedule: "Schedule") -> NDArray[np.int32]:
    """Counts the jobs in flight at each arrival of a schedule, this one included.

    Row a counts the rows a' >= a with read[a'] <= version[a], and the jobs in flight at
    the end with such a read. Assignments within one version's lifetime cannot be told
    apart, so where the server waits this is an upper bound; a job whose gradient is
    discarded is not in the columns and not counted. The result is int32 [A].

    Example:
        >>> from asgrad_jax.schedules.schedule import Schedule
        >>> jobs_in_flight(Schedule.from_arrays(worker=[0, 1, 0], read=[0, 0, 1]))
        array([2, 2, 1], dtype=int32)
    """
    # Earlier rows read at most their own version, so they are all among the reads
    # <= version[a]: count those reads and take off the a rows that came before.
    reads = np.bincount(schedule.read, minlength=schedule.num_steps + 1)
    if len(schedule.in_flight_read):
        reads += np.bincount(schedule.in_flight_read, minlength=len(reads))
    assigned = np.cumsum(reads).astype(np.int32)
    return assigned[schedule.version] - np.arange(len(schedule), dtype=np.int32)
