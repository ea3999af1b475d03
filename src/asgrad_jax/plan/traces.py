"""Job logs of a real cluster: rows of `worker,start,end`."""

import os
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from asgrad_jax.plan.columns import integer, integers, job_numbers, refuse
from asgrad_jax.plan.schedule import Schedule

# A CSV file with a header that has these names, a data frame, or rows of three.
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
        path_or_rows: CSV file with the columns worker, start, end (others are
            ignored), a data frame with them, or an array-like [J, 3] in that order.
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
        return _read_csv(path_or_rows)
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


def _read_csv(path: str | os.PathLike[str]) -> pd.DataFrame:
    try:
        # As text: older pandas parse floats an ulp off, enough to break a tie.
        frame = pd.read_csv(path, skipinitialspace=True, dtype=str)
    except ValueError as error:  # empty, ragged, not text
        raise ValueError(f"{os.fspath(path)} is not a CSV trace: {error}") from error
    # pandas takes a surplus first field for row names and shifts the columns.
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(
            f"{os.fspath(path)} is not a CSV trace: its rows have more fields than its "
            "header has names"
        )
    return frame
