"""The log of a real cluster as a schedule."""

import numpy as np

from asgrad_jax._util.sizes import check_rows
from asgrad_jax.compute_times.traces import Trace, read_jobs, refuse_idle
from asgrad_jax.schedules.columns import job_numbers
from asgrad_jax.schedules.schedule import Schedule


def schedule_from_trace(
    path_or_rows: Trace, *, num_workers: int | None = None, gradients_per_step: int = 1
) -> Schedule:
    """Turns a log of jobs into the schedule of a server that ran them.

    Jobs arrive in the order of their ends (equal ends: of their starts, then of the
    log). After every `gradients_per_step` arrivals the server steps, along their mean
    gradient. A job reads the version made by the earlier arrivals with end <= its
    start: one that starts exactly when another arrives sees the step of that arrival.
    So `start` is when the job read the model; the jobs of one worker may overlap, where
    they wait in its queue.

    Args:
        path_or_rows: CSV, JSON or Parquet file with the columns worker, start, end
            (others are ignored), a data frame with them, or an array-like [J, 3] in
            that order. Workers are integers from 0; times are finite, in any one unit,
            from any origin (integers of any size, such as nanoseconds, are exact).
        num_workers: workers n; where left out, the largest worker + 1, and everybody
            must have a job.
        gradients_per_step: arrivals per server step.

    Returns:
        The schedule of all J jobs: weight 1/gradients_per_step, time = end - first
        start, job = that worker's earlier starts, concurrency_max from the times.
        Arrivals after the last step stay as rows without one.

    Raises:
        TypeError, ValueError: if an argument is not as described, a time lost digits,
            or an end is before its start; the message names the row (from 0).
        FileNotFoundError: if there is no such file.

    Example:
        >>> schedule = schedule_from_trace([[0, 1, 3.5], [1, 1, 4], [0, 3.5, 5]])
        >>> schedule.worker, schedule.read
        (array([0, 1, 0], dtype=int32), array([0, 0, 1], dtype=int32))
        >>> schedule.time
        array([2.5, 3. , 4. ])
    """
    gradients_per_step = check_rows(gradients_per_step, "gradients_per_step")
    worker, start, end, found = read_jobs(path_or_rows, num_workers)
    if num_workers is None:
        refuse_idle(worker, found, ", or give num_workers where it had none")
    rows = len(worker)
    job = np.empty(rows, np.int32)
    by_start = np.argsort(start, kind="stable")
    job[by_start] = job_numbers(worker[by_start])
    order = np.lexsort((start, end))  # stable, so what is left goes by the log
    start, end = start[order], end[order]
    arrival = np.arange(rows)
    # Only a job without any duration has later arrivals with end <= its start.
    seen = np.minimum(np.searchsorted(end, start, side="right"), arrival)
    started = np.searchsorted(np.sort(start), end, side="left")
    return Schedule.from_arrays(
        worker[order],
        seen // gradients_per_step,
        weight=np.full(rows, 1 / gradients_per_step),
        step=arrival % gradients_per_step == gradients_per_step - 1,
        job=job[order],
        time=end - start.min(),
        num_workers=found,
        concurrency_max=max(int((started - arrival).max()), 1),
        name="trace",
    )
