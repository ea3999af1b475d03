"""Columns of a schedule: types, conversion, and errors that name a row."""

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from asgrad_jax._util.checks import holds_bool, refuse_masked

if TYPE_CHECKING:
    from asgrad_jax.schedules.schedule import Schedule

COLUMNS: dict[str, np.dtype] = {
    "worker": np.dtype(np.int32),
    "draw": np.dtype(np.int32),
    "read": np.dtype(np.int32),
    "weight": np.dtype(np.float64),
    "step": np.dtype(np.bool_),
    "time": np.dtype(np.float64),
    "computed": np.dtype(np.int32),
}


def job_numbers(worker: NDArray[np.int32]) -> NDArray[np.int32]:
    """Numbers the rows of each worker from 0, in row order.

    Args:
        worker: int32 [A], the worker of each row.

    Returns:
        int32 [A], the earlier rows with the same worker.

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
    """Counts the jobs assigned and not yet arrived at each arrival, this one included.

    Row a counts the rows a' >= a with read[a'] <= version[a], and the jobs in flight at
    the end with such a read. Assignments within one version's lifetime cannot be told
    apart, so where the server waits this is an upper bound; a job whose gradient is
    discarded is not in the columns and not counted.

    Args:
        schedule: a valid schedule.

    Returns:
        int32 [A], jobs in flight.

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


def refuse(
    bad: NDArray[np.bool_],
    rule: Callable[[int], str],
    *,
    first: int = 0,
    what: str = "row",
) -> None:
    """Raises for the first True of `bad`, which starts at row `first`."""
    if bad.any():
        row = int(np.nonzero(bad)[0][0]) + first
        raise ValueError(f"{what} {row}: {rule(row)}")


def refuse_nonfinite(key: str, column: NDArray[np.float64]) -> None:
    """Raises for the first entry that is NaN or infinite."""
    refuse(~np.isfinite(column), lambda row: f"{key} {column[row]} is not finite")


def frozen(array: NDArray, dtype: DTypeLike) -> NDArray:
    """A read-only contiguous array, copied where its owner could still write to it."""
    result = array.astype(dtype, order="C", copy=array.flags.writeable)
    result.flags.writeable = False
    return result


def _array(key: str, values: ArrayLike, ndim: int | None = 1) -> NDArray:
    refuse_masked(key, values)
    try:
        array = np.asarray(values)
    except ValueError as error:  # nested lists of unequal lengths
        wanted = "a flat list of numbers" if ndim == 1 else "lists of equal lengths"
        raise ValueError(f"{key} must be {wanted}: {error}") from error
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{key} has shape {array.shape}, but must be {ndim}-d")
    return array if array.size else array.astype(np.int32)  # [] is float64 to NumPy


def _kind(array: NDArray, values: ArrayLike) -> str:
    return "bool" if holds_bool(values) else str(array.dtype)


def integers(key: str, values: ArrayLike, *, ndim: int = 1) -> NDArray[np.int32]:
    """Integers as read-only int32 (floats only where integral)."""
    array = _array(key, values, ndim)
    if array.dtype.kind not in "iuf" or holds_bool(values):
        raise TypeError(f"{key} must be integers, not {_kind(array, values)}")
    if array.dtype.kind == "f":
        refuse(
            ~(np.isfinite(array) & (array == np.rint(array))),
            lambda row: f"{key} {array[row]} is not an integer",
        )
    if array.dtype != np.int32:
        limits = np.iinfo(np.int32)
        refuse(
            (array < limits.min) | (array > limits.max),
            lambda row: f"{key} {array[row]} does not fit in 32 bits",
        )
    return frozen(array, np.int32)


def floats(key: str, values: ArrayLike, *, ndim: int | None = 1) -> NDArray[np.float64]:
    """Real numbers as read-only float64; ndim None: of any shape."""
    array = _array(key, values, ndim)
    if array.dtype.kind not in "iuf" or holds_bool(values):
        raise TypeError(f"{key} must be real numbers, not {_kind(array, values)}")
    return frozen(array, np.float64)


def booleans(key: str, values: ArrayLike) -> NDArray[np.bool_]:
    """A flat list of truth values (or 0 and 1) as read-only bool."""
    array = _array(key, values)
    if array.dtype.kind not in "biu":
        raise TypeError(f"{key} must be booleans, not {array.dtype}")
    if array.dtype.kind != "b":
        refuse(
            (array != 0) & (array != 1),
            lambda row: f"{key} {array[row]} is neither True nor False",
        )
    return frozen(array, np.bool_)


def integer(key: str, value: int) -> int:
    """A Python int, from anything that is an integer and no bool."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{key} must be an integer, not {value!r}") from None
