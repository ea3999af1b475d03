"""Measured times of a real cluster: logs of jobs, and a column of delays per worker."""

import numbers
import operator
import os
import reprlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import (
    check_choice,
    check_count,
    check_integers,
    raise_first,
    to_float,
)
from asgrad_jax._util.tables import check_distinct, is_frame, read_table
from asgrad_jax.compute_times.base import ComputeTimes
from asgrad_jax.compute_times.basic import empirical
from asgrad_jax.compute_times.registry import register

if TYPE_CHECKING:
    import pandas as pd

# A file with columns of these names (CSV, JSON, Parquet), a data frame, or rows of
# three.
Trace: TypeAlias = "str | os.PathLike[str] | pd.DataFrame | ArrayLike"

_COLUMNS = ("worker", "start", "end")
_HINTS = {
    "worker": "; number the workers from 0, for example with pandas.factorize",
    "start": "; give times as numbers, such as seconds",
    "end": "; give times as numbers, such as seconds",
}
_EXACT = 2**53  # float64 holds every integer up to here
_MOST_WORKERS = 2**31 - 1  # workers are int32


def trace_durations(
    path_or_rows: Trace, num_workers: int | None = None
) -> list[NDArray[np.float64]]:
    """Lists each worker's job durations, in the order in which its jobs started.

    They are n arrays, float64 [jobs of worker i], end - start in the log's unit.

    Args:
        path_or_rows: the log, as for `schedule_from_trace`.
        num_workers: workers n; the largest worker + 1 where left out.

    Raises:
        TypeError: if num_workers is not an integer.
        ValueError: as `schedule_from_trace`, and if a worker has no job.
        FileNotFoundError: if there is no such file.

    Example:
        >>> trace_durations([[0, 0.0, 2.0], [1, 0.0, 3.0], [0, 2.0, 2.5]])
        [array([2. , 0.5]), array([3.])]
    """
    worker, start, end, num_workers = read_jobs(path_or_rows, num_workers)
    refuse_idle(worker, num_workers, "; nothing is known of its durations")
    jobs = np.bincount(worker)
    order = np.lexsort((start, worker))
    return np.split((end - start)[order], np.cumsum(jobs)[:-1])


def column_durations(
    path_or_frame: "str | os.PathLike[str] | pd.DataFrame",
) -> list[NDArray[np.float64]]:
    """Lists each worker's durations, float64, from a table with a column per worker.

    The layout of published delay measurements: a header with the workers' names, and in
    row k the k-th measured duration of each. Columns may end early: empty cells at
    their end are left out. A header of numbers looks like a row of durations: 0, ...,
    n-1 and 1, ..., n are taken for names, all others are refused.

    Args:
        path_or_frame: CSV, JSON or Parquet file, or a data frame.

    Raises:
        ValueError: if there is no row, a column has no name, no entry or a gap, or an
            entry is no finite number >= 0; the message names column and row.
        FileNotFoundError: if there is no such file.

    Example:
        >>> import pandas as pd
        >>> column_durations(pd.DataFrame({"fast": [1, 1.5], "slow": [4.0, None]}))
        [array([1. , 1.5]), array([4.])]
    """
    frame = path_or_frame
    if not is_frame(frame):
        frame = read_table(frame)
    if frame.empty:
        raise ValueError("the table must have at least one row, got none")
    names = [str(name) for name in frame.columns]
    check_distinct(names)
    if names[0].startswith("Unnamed:"):
        raise ValueError(
            "the first column must have a name, got none, as when row numbers are "
            "written too; write the table without them (pandas: index=False)"
        )
    given = _numbers(np.array(names, object))
    n = len(names)
    counted = [*range(n)], [*range(1, n + 1)]
    if np.isfinite(given).all() and given.tolist() not in counted:
        raise ValueError(
            "the first line must name the workers, got numbers, "
            f"{', '.join(names[:3])}, ..."
        )
    return [_column(name, frame.iloc[:, j]) for j, name in enumerate(names)]


def _column(name: str, column: "pd.Series") -> NDArray[np.float64]:
    present = np.flatnonzero(column.notna())
    if not present.size:
        raise ValueError(
            f"column {name!r} must have at least one entry, got none; leave the worker "
            "out"
        )
    given = column.to_numpy(object)[: present[-1] + 1]
    values = _numbers(given)
    raise_first(
        ~(np.isfinite(values) & (values >= 0.0)),
        lambda row: (
            f"column {name!r}, row {row}: a duration must be a finite number >= 0, got "
            f"{reprlib.repr(given[row])}"
        ),
    )
    return values


def _trace_example(make, num_workers):
    return make([(i, 0.0, 1.0 + i) for i in range(num_workers)])


@register(example=_trace_example)
def trace(
    path_or_rows: Trace, layout: str = "jobs", *, num_workers: int | None = None
) -> ComputeTimes:
    """Draws with replacement from the durations that each worker had in a trace.

    It is an `empirical` distribution that holds the durations themselves.

    Args:
        path_or_rows: as for `trace_durations` ("jobs") or `column_durations`.
        layout: "jobs" (rows of worker, start, end) or "columns" (one per worker).
        num_workers: workers n, for "jobs"; the largest worker + 1 where left out.

    Raises:
        TypeError, ValueError, FileNotFoundError: as those functions and `empirical`.

    Example:
        >>> trace([[0, 0.0, 2.0], [1, 0.0, 3.0], [0, 2.0, 2.5]])
        empirical(2 workers, mean 1.25..3)
    """
    check_choice("layout", layout, ("jobs", "columns"))
    if layout == "jobs":
        return empirical(trace_durations(path_or_rows, num_workers))
    if num_workers is not None:
        raise ValueError(
            "num_workers must be left out with layout 'columns', whose columns count "
            f"the workers, got {num_workers!r}"
        )
    if not (isinstance(path_or_rows, str | os.PathLike) or is_frame(path_or_rows)):
        raise TypeError(
            "the table must be a file or a data frame with layout 'columns', got "
            f"{reprlib.repr(path_or_rows)}"
        )
    return empirical(column_durations(path_or_rows))


def read_jobs(
    path_or_rows: Trace, num_workers: int | None
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64], int]:
    """Worker, start and end of every job in the log's order, checked, and n."""
    frame = _frame(path_or_rows)
    if missing := [key for key in _COLUMNS if key not in frame.columns]:
        raise ValueError(
            f"the trace must have the columns {', '.join(_COLUMNS)}, got "
            f"{', '.join(map(repr, frame.columns)) or 'none'}, without {missing[0]!r}"
            f"{_cause([str(name) for name in frame.columns])}"
        )
    check_distinct(frame.columns)
    if frame.empty:
        raise ValueError("the trace must have at least one job, got none")
    given = {key: frame[key].to_numpy(object) for key in _COLUMNS}
    values = {key: _numbers(column) for key, column in given.items()}
    for key, column in given.items():
        raise_first(
            ~np.isfinite(values[key]),
            lambda row, key=key, column=column: (
                f"row {row}: {key} must be a finite number, got "
                f"{reprlib.repr(column[row])}"
                f"{'' if isinstance(column[row], numbers.Real) else _HINTS[key]}"
            ),
        )
    worker = check_integers("worker", values["worker"])
    if num_workers is None:
        num_workers = int(worker.max()) + 1
    check_count("num_workers", num_workers)
    if num_workers > _MOST_WORKERS:
        raise ValueError(
            f"num_workers must be at most {_MOST_WORKERS}, got {num_workers}; number "
            "the workers from 0"
        )
    raise_first(
        (worker < 0) | (worker >= num_workers),
        lambda row: (
            f"row {row}: worker must be in 0..{num_workers - 1}, got {worker[row]}"
        ),
    )
    start, end = values["start"], values["end"]
    if max(np.abs(start).max(), np.abs(end).max()) > _EXACT:
        start, end = _shifted(given["start"], given["end"])
    raise_first(
        end < start,
        lambda row: (
            f"row {row}: end must be at least the start, {given['start'][row]}, got "
            f"{given['end'][row]}"
        ),
    )
    return worker, start, end, num_workers


def _cause(names: list[str]) -> str:
    """What may be wrong with a header, in words, or nothing."""
    if len(names) == 1 and any(mark in names[0] for mark in ";\t |"):
        return "; separate the columns by commas"
    if {name.strip().lower() for name in names} >= set(_COLUMNS):
        return "; write the names as they are here, in small letters"
    if np.isfinite(_numbers(np.array(names, object))).all():
        return "; the first line must be a header, worker,start,end"
    return ""


def refuse_idle(worker: NDArray[np.int32], num_workers: int, hint: str) -> None:
    """Raises where one of the workers has no job: a log that counts from 1, say."""
    known = np.unique(worker)
    if len(known) < num_workers:
        gaps = np.flatnonzero(known != np.arange(len(known)))
        idle = int(gaps[0]) if gaps.size else len(known)
        raise ValueError(
            "workers must be numbered from 0 without gaps, got no job of worker "
            f"{idle} of {num_workers} ({len(known)} workers have jobs, the largest "
            f"number is {known[-1]}); number them anew, say with pandas.factorize{hint}"
        )


def _shifted(*columns: NDArray[np.object_]) -> Iterable[NDArray[np.float64]]:
    """Large times from the smallest on, exactly: time stamps in nanoseconds, say."""
    try:
        exact = [[_integer(value) for value in column] for column in columns]
    except (TypeError, ValueError):
        exact = []
    origin = min(map(min, exact), default=0)
    if not exact or max(map(max, exact)) - origin > _EXACT:
        raise ValueError(
            "times must be at most 2**53 (about 9e15), or integers that span less, got "
            "larger ones, which lose digits; subtract the first start, or use a larger "
            "unit"
        )
    return [np.array([t - origin for t in column], np.float64) for column in exact]


def _integer(value: Any) -> int:
    return int(value) if isinstance(value, str) else operator.index(value)


def _numbers(given: NDArray[np.object_]) -> NDArray[np.float64]:
    """Converts entry by entry, exactly; NaN for what is no number."""
    text = "".join(value for value in given if isinstance(value, str))
    try:
        # Python reads 1_000, and the digits of other scripts, as numbers.
        if "_" in text or not text.isascii() or bool in set(map(type, given)):
            raise ValueError
        return given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.array([_number(value) for value in given])


def _number(value: Any) -> float:
    if isinstance(value, bool) or (
        isinstance(value, str) and ("_" in value or not value.isascii())
    ):
        return np.nan
    try:
        return to_float(value)
    except (TypeError, ValueError):
        return np.nan


def _frame(path_or_rows: Trace) -> "pd.DataFrame":
    if is_frame(path_or_rows):
        return path_or_rows
    if isinstance(path_or_rows, (str, os.PathLike)):
        return read_table(path_or_rows)
    rows = path_or_rows
    if not isinstance(rows, np.ndarray):
        rows = np.array(rows, object)  # each entry as it is: integers stay exact
    if rows.size == 0:
        rows = rows.reshape(0, len(_COLUMNS))
    if rows.ndim != 2 or rows.shape[1] != len(_COLUMNS):
        raise ValueError(
            "trace rows must have shape [jobs, 3] (worker, start, end), got "
            f"{list(rows.shape)}"
        )
    import pandas as pd

    return pd.DataFrame(rows, columns=list(_COLUMNS))
