"""Measured times of a real cluster: logs of jobs, and a column of delays per worker."""

import os
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from asgrad_jax.plan.basic_clocks import empirical
from asgrad_jax.plan.clock import ComputeTimes
from asgrad_jax.plan.clock_registry import family
from asgrad_jax.plan.columns import integer, integers, job_numbers, refuse
from asgrad_jax.plan.schedule import Schedule
from asgrad_jax.plan.trace_files import read_table

# A file with columns of these names (CSV, JSON, Parquet), a data frame, or rows of
# three.
Trace: TypeAlias = "str | os.PathLike[str] | pd.DataFrame | ArrayLike"

_COLUMNS = ("worker", "start", "end")


def schedule_from_trace(
    path_or_rows: Trace, *, num_workers: int | None = None, wait: int = 1
) -> Schedule:
    """Turns a log of jobs into the schedule of a server that ran them.

    Jobs arrive in the order of their ends (equal ends: of their starts, then of the
    log). After every `wait` arrivals the server steps, along their mean gradient. A
    job reads the version made by the earlier arrivals with end <= its start: one that
    starts exactly when another arrives sees the step of that arrival.

    Args:
        path_or_rows: CSV, JSON or Parquet file with the columns worker, start, end
            (others are ignored), a data frame with them, or an array-like [J, 3] in
            that order.
            Workers are integers from 0; times are finite, in any one unit, from any
            origin.
        num_workers: workers n; the largest worker + 1 where left out.
        wait: arrivals per server step.

    Returns:
        The schedule of all J jobs: weight 1/wait, time = end - first start, draw =
        that worker's earlier starts, concurrency_max from the times. Arrivals after
        the last step stay as rows without one.

    Raises:
        TypeError: if wait or num_workers is not an integer.
        ValueError: if a column is missing, there are no rows, or a row has a missing
            or non-finite number, a worker that is not an integer in 0..n-1, or an end
            before its start; the message names the row (from 0, header excluded).
        FileNotFoundError: if there is no such file.

    Example:
        >>> schedule = schedule_from_trace([[0, 1, 3.5], [1, 1, 4], [0, 3.5, 5]])
        >>> schedule.worker, schedule.read
        (array([0, 1, 0], dtype=int32), array([0, 0, 1], dtype=int32))
        >>> schedule.time
        array([2.5, 3. , 4. ])
    """
    wait = integer("wait", wait)
    if wait < 1:
        raise ValueError(f"wait is {wait}, must be at least 1")
    worker, start, end, num_workers = _jobs(path_or_rows, num_workers)
    rows = len(worker)
    draw = np.empty(rows, np.int32)
    by_start = np.argsort(start, kind="stable")
    draw[by_start] = job_numbers(worker[by_start])
    order = np.lexsort((start, end))  # stable, so what is left goes by the log
    start, end = start[order], end[order]
    arrival = np.arange(rows)
    # Only a job without any duration has later arrivals with end <= its start.
    seen = np.minimum(np.searchsorted(end, start, side="right"), arrival)
    started = np.searchsorted(np.sort(start), end, side="left")
    return Schedule.from_arrays(
        worker[order],
        seen // wait,
        weight=np.full(rows, 1 / wait),
        step=arrival % wait == wait - 1,
        draw=draw[order],
        time=end - start.min(),
        num_workers=num_workers,
        concurrency_max=max(int((started - arrival).max()), 1),
        name="trace",
    )


def trace_durations(
    path_or_rows: Trace, num_workers: int | None = None
) -> list[NDArray[np.float64]]:
    """Lists each worker's job durations, in the order in which its jobs started.

    Args:
        path_or_rows: the log, as for `schedule_from_trace`.
        num_workers: workers n; the largest worker + 1 where left out.

    Returns:
        n arrays, float64 [jobs of worker i], end - start in the log's unit.

    Raises:
        TypeError: if num_workers is not an integer.
        ValueError: as `schedule_from_trace`, and if a worker has no job.
        FileNotFoundError: if there is no such file.

    Example:
        >>> trace_durations([[0, 0.0, 2.0], [1, 0.0, 3.0], [0, 2.0, 2.5]])
        [array([2. , 0.5]), array([3.])]
    """
    worker, start, end, num_workers = _jobs(path_or_rows, num_workers)
    jobs = np.bincount(worker, minlength=num_workers)
    if not jobs.all():
        idle = int(np.argmin(jobs))
        raise ValueError(
            f"worker {idle} of {num_workers} has no job in the trace, so nothing is "
            "known of its durations; renumber the workers 0, 1, ... or lower "
            "num_workers"
        )
    order = np.lexsort((start, worker))
    return np.split((end - start)[order], np.cumsum(jobs)[:-1])


def column_durations(
    path_or_frame: str | os.PathLike[str] | pd.DataFrame,
) -> list[NDArray[np.float64]]:
    """Lists each worker's durations from a table with one column per worker.

    The layout of published delay measurements: a header with the workers' names, and in
    row k the k-th measured duration of each. Columns may end early: empty cells at
    their end are left out.

    Args:
        path_or_frame: CSV, JSON or Parquet file, or a data frame.

    Returns:
        n arrays, float64 [measurements of worker i], in the order of the columns.

    Raises:
        ValueError: if there is no row, a column has no name, no entry or a gap, or an
            entry is no finite number >= 0; the message names column and row.
        FileNotFoundError: if there is no such file.

    Example:
        >>> column_durations(pd.DataFrame({"fast": [1, 1.5], "slow": [4.0, None]}))
        [array([1. , 1.5]), array([4.])]
    """
    frame = path_or_frame
    if not isinstance(frame, pd.DataFrame):
        frame = read_table(frame)
    if frame.empty:
        raise ValueError("the table has no rows; give at least one per worker")
    names = [str(name) for name in frame.columns]
    if names[0].startswith("Unnamed:"):
        raise ValueError(
            "the first column has no name, as when row numbers are written too; write "
            "the table without them (pandas: index=False)"
        )
    given = _numbers(np.array(names, object))
    n = len(names)
    counted = [*range(n)], [*range(1, n + 1)]
    if np.isfinite(given).all() and given.tolist() not in counted:
        raise ValueError(
            f"the header is {', '.join(names[:3])}, ..., which are numbers; the first "
            "line must name the workers"
        )
    return [_column(name, frame.iloc[:, j]) for j, name in enumerate(names)]


def _column(name: str, column: pd.Series) -> NDArray[np.float64]:
    present = np.flatnonzero(column.notna())
    if not present.size:
        raise ValueError(f"column {name!r} has no entry; leave the worker out")
    given = column.to_numpy(object)[: present[-1] + 1]
    values = _numbers(given)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0.0)))
    if bad.size:
        raise ValueError(
            f"column {name!r}, row {bad[0]}: {given[bad[0]]!r} is no duration; give "
            "finite numbers >= 0"
        )
    return values


def _trace_example(make, num_workers):
    return make([(i, 0.0, 1.0 + i) for i in range(num_workers)])


@family(example=_trace_example)
def trace(
    path_or_rows: Trace, layout: str = "jobs", *, num_workers: int | None = None
) -> ComputeTimes:
    """Draws with replacement from the durations that each worker had in a trace.

    Args:
        path_or_rows: as for `trace_durations` ("jobs") or `column_durations`.
        layout: "jobs" (rows of worker, start, end) or "columns" (one per worker).
        num_workers: workers n, for "jobs"; the largest worker + 1 where left out.

    Returns:
        The compute times, an `empirical` law that holds the durations themselves.

    Raises:
        TypeError, ValueError, FileNotFoundError: as those functions and `empirical`.

    Example:
        >>> trace([[0, 0.0, 2.0], [1, 0.0, 3.0], [0, 2.0, 2.5]])
        empirical(2 workers, mean 1.25..3)
    """
    if layout == "jobs":
        return empirical(trace_durations(path_or_rows, num_workers))
    if layout != "columns":
        raise ValueError(f"layout is {layout!r}; known: 'jobs', 'columns'")
    if num_workers is not None:
        raise ValueError("num_workers is given by the columns; leave it out")
    if not isinstance(path_or_rows, (str, os.PathLike, pd.DataFrame)):
        raise TypeError("layout 'columns' needs a file or a data frame")
    return empirical(column_durations(path_or_rows))


def _jobs(
    path_or_rows: Trace, num_workers: int | None
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64], int]:
    """Worker, start and end of every job in the log's order, checked, and n."""
    frame = _frame(path_or_rows)
    if missing := [key for key in _COLUMNS if key not in frame.columns]:
        raise ValueError(
            f"the trace has no column {missing[0]!r}; it needs {', '.join(_COLUMNS)} "
            f"and has {', '.join(map(str, frame.columns)) or 'none'}"
        )
    if frame.empty:
        raise ValueError("the trace has no rows; give at least one job")
    numbers = {}
    for key in _COLUMNS:
        given = frame[key].to_numpy(object)
        values = _numbers(given)
        refuse(
            ~np.isfinite(values),
            lambda row, given=given, key=key: (
                f"{key} is {given[row]!r}, must be a finite number"
            ),
        )
        numbers[key] = values
    worker = integers("worker", numbers["worker"])
    start, end = numbers["start"], numbers["end"]
    if num_workers is None:
        num_workers = int(worker.max()) + 1
    num_workers = integer("num_workers", num_workers)
    refuse(
        (worker < 0) | (worker >= num_workers),
        lambda row: f"worker {worker[row]}, but workers are 0..{num_workers - 1}",
    )
    refuse(end < start, lambda row: f"end {end[row]} is before start {start[row]}")
    return worker, start, end, num_workers


def _numbers(given: NDArray[np.object_]) -> NDArray[np.float64]:
    """Converts entry by entry, exactly; NaN for what is no number."""
    try:
        return given.astype(np.float64)
    except (TypeError, ValueError):
        return np.array([_number(value) for value in given])


def _number(value: object) -> float:
    try:
        return float(value)  # pyrefly: ignore[bad-argument-type]
    except (TypeError, ValueError):
        return np.nan


def _frame(path_or_rows: Trace) -> pd.DataFrame:
    if isinstance(path_or_rows, pd.DataFrame):
        return path_or_rows
    if isinstance(path_or_rows, (str, os.PathLike)):
        return read_table(path_or_rows)
    try:
        rows = np.asarray(path_or_rows)
    except ValueError as error:  # ragged
        raise ValueError(
            f"trace rows need three numbers each: worker, start, end ({error})"
        ) from error
    if rows.size == 0:
        rows = rows.reshape(0, len(_COLUMNS))
    if rows.ndim != 2 or rows.shape[1] != len(_COLUMNS):
        raise ValueError(
            f"trace rows have shape {rows.shape}, must be [jobs, 3]: worker, start, end"
        )
    return pd.DataFrame(rows, columns=list(_COLUMNS))
