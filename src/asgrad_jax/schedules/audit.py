"""Does everybody who has work keep working? Schedules whose workers stop, found out.

A valid schedule may still come from a simulator with a fault, or from a cluster in
which hardly anybody runs. The checks look at the columns alone, with conservative
thresholds: what they report is worth a look, and a healthy schedule gives nothing.
"""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asgrad_jax.schedules.schedule import Schedule

_WINDOW = 10  # rows per worker in a window
_AWAY = 100  # times n rows, and times its usual gap, until a worker counts as starved
_FEW = 0.1  # of the workers that could have a job


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something wrong with a schedule.

    Attributes:
        kind: "collapse" (few workers run) or "starvation" (one with a job is stuck).
        row: where it starts, from 0.
        message: what was seen.
    """

    kind: str
    row: int
    message: str

    def __str__(self) -> str:
        return f"{self.kind} from row {self.row} on: {self.message}"


def audit(schedule: Schedule) -> list[Finding]:
    """Looks for running workers that collapse or starve.

    Collapse, with windows of 10 n rows:
    (a) fewer than half as many workers arrive in a window as in the first one, in at
        least two windows and until the end;
    (b) on average over a window, fewer than a tenth of the workers that could have a
        job, min(n, concurrency), have one (where the jobs in flight are known);
    (c) queues stall. A job that waits behind another of its worker should start when
        that one is done. Here about fifty or more such jobs in a row (25 + 4 ln A, not
        most of them of one worker) arrived only after their worker had been given yet
        another job, as in AsGrad's published code, where a queued job sleeps until then
        and soon a single worker runs. With queues that run by themselves that happens
        to about half of these jobs. (Only where every arrival steps, which tells when a
        job was assigned.)
    Discarded gradients are not in the columns, so with them (a) and (b) are left out.
    Starvation: at the end a worker has had a job, without an arrival, for more than
    100 n rows and more than 100 times its own usual (median) gap. Heavy-tailed compute
    times do that too; then it is the truth about the run. At most one finding per kind
    of collapse and one per starving worker comes back, by row.

    Args:
        schedule: a valid schedule.

    Raises:
        TypeError, ValueError: as `Schedule.validate`.

    Example:
        >>> from asgrad_jax.compute_times import death, fixed
        >>> from asgrad_jax.simulation.simulate import simulate
        >>> times = death(fixed([1.0, 1.0, 1.0]), 50.0, workers=[2])
        >>> print(audit(simulate("pure_async", times, num_gradients=1000))[0])
        starvation from row 150 on: worker 2 has a job and does not arrive any more ...
    """
    schedule.validate()
    jobs = _jobs_by_worker(schedule)
    found = [
        *_fewer_arrive(schedule),
        *_few_have_jobs(schedule, jobs),
        *_queues_stall(schedule, jobs),
        *_starved(schedule, jobs),
    ]
    return sorted(found, key=lambda finding: finding.row)


class _Jobs(NamedTuple):
    """All known jobs, worker by worker, those in flight last. J of them."""

    worker: NDArray[np.int64]
    row: NDArray[np.int64]  # where it arrives; A: not at all
    before: NDArray[np.int64]  # the worker's arrival before that, or -1
    # Assigned after row `first` at the earliest and row `last` at the latest; -1: at
    # the start. They differ where the server waits.
    first: NDArray[np.int64]
    last: NDArray[np.int64]


def _jobs_by_worker(schedule: Schedule) -> _Jobs:
    rows = len(schedule)
    worker = np.concatenate([schedule.worker, schedule.in_flight_worker])
    read = np.concatenate([schedule.read, schedule.in_flight_read])
    row = np.minimum(np.arange(len(worker)), rows)
    order = np.argsort(worker, kind="stable")
    worker, read, row = worker[order].astype(np.int64), read[order], row[order]
    steps = np.flatnonzero(schedule.step)
    made = np.concatenate([[-1], steps])  # version v is made by row made[v]
    first = made[read]
    last = np.concatenate([steps - 1, [rows - 1]])[read]
    before = np.full(len(row), -1)
    same = worker[1:] == worker[:-1]
    before[1:][same] = np.minimum(row[:-1][same], rows - 1)
    return _Jobs(worker, row, before, first, np.maximum(first, last))


def _fewer_arrive(schedule: Schedule) -> Iterator[Finding]:
    n = schedule.num_workers
    size = _WINDOW * n
    windows = len(schedule) // size
    if windows < 2 or schedule.discarded:
        return
    pair = np.arange(windows * size) // size * n + schedule.worker[: windows * size]
    arriving = np.count_nonzero(
        np.bincount(pair, minlength=windows * n).reshape(windows, n), axis=1
    )
    enough = np.flatnonzero(2 * arriving >= arriving[0])
    first = int(enough[-1]) + 1
    if windows - first < 2:
        return
    yield Finding(
        "collapse",
        first * size,
        f"{arriving[first]} workers arrive in {size} rows, {arriving[0]} did in the "
        "first ones",
    )


def _few_have_jobs(schedule: Schedule, jobs: _Jobs) -> Iterator[Finding]:
    able = min(schedule.num_workers, schedule.concurrency_max)
    size = _WINDOW * schedule.num_workers
    rows = len(schedule)
    if not len(schedule.in_flight_worker) or rows < size or schedule.discarded:
        return
    # A worker gets busy when a job comes after its last arrival, until its next one.
    # The earliest time counts: where the server waits, workers seem busy too long.
    since = np.maximum(jobs.first, jobs.before) + 1
    change = np.zeros(rows + 2, np.int64)
    np.add.at(change, np.minimum(since, rows), 1)
    np.add.at(change, np.minimum(jobs.row, rows) + 1, -1)
    # Jobs in flight of one worker, all until the end, count once.
    extra = (jobs.row == rows) & np.append(False, jobs.worker[1:] == jobs.worker[:-1])
    extra &= np.append(False, jobs.row[:-1] == rows)
    np.add.at(change, np.minimum(since[extra], rows), -1)
    busy = np.cumsum(change)[:rows]
    windows = rows // size
    mean = busy[: windows * size].reshape(windows, size).mean(axis=1)
    few = np.flatnonzero(mean < _FEW * able)
    if not few.size:
        return
    yield Finding(
        "collapse",
        int(few[0]) * size,
        f"only {mean[few[0]]:.1f} of {able} workers have a job, on average over {size} "
        "rows; the jobs pile up there",
    )


def _queues_stall(schedule: Schedule, jobs: _Jobs) -> Iterator[Finding]:
    rows = len(schedule)
    assigned = jobs.first  # after this row exactly, since every row steps
    key = jobs.worker * (rows + 2) + assigned + 1
    in_order = (np.diff(key) >= 0).all()  # each worker takes its jobs in turn
    if not schedule.step.all() or not in_order:
        return
    queued = np.flatnonzero((jobs.row < rows) & (assigned < jobs.before))
    since, until = jobs.before[queued], jobs.row[queued]
    # The worker's first job that was assigned at or after its arrival before.
    later = np.searchsorted(key, jobs.worker[queued] * (rows + 2) + since + 1)
    later = np.minimum(later, len(key) - 1)
    woken = (jobs.worker[later] == jobs.worker[queued]) & (assigned[later] >= since)
    woken &= assigned[later] < until
    if not len(schedule.in_flight_worker):
        # Versions that nobody reads were given to jobs in flight, nobody knows whose.
        unread = np.ones(rows + 1, bool)
        unread[schedule.read] = False
        made = np.flatnonzero(unread) - 1
        sure = woken | (np.searchsorted(made, since) == np.searchsorted(made, until))
        queued, woken = queued[sure], woken[sure]
    order = np.argsort(jobs.row[queued])
    queued, woken = queued[order], woken[order]
    edges = np.flatnonzero(np.diff(woken, prepend=False, append=False))
    enough = 25.0 + 4.0 * np.log(rows)
    for start, stop in edges.reshape(-1, 2).tolist():
        owners = jobs.worker[queued[start:stop]]
        number = stop - start
        if number >= enough and 2 * np.bincount(owners).max() <= number:
            yield Finding(
                "collapse",
                int(jobs.row[queued[start]]),
                f"the next {number} jobs that waited in a queue all arrived only after "
                "their worker was given another one; queues do not run by themselves, "
                "so ever fewer workers run",
            )
            return


def _starved(schedule: Schedule, jobs: _Jobs) -> Iterator[Finding]:
    rows = len(schedule)
    bounds = np.searchsorted(jobs.worker, np.arange(schedule.num_workers + 1))
    since = np.maximum(jobs.last, jobs.before) + 1
    stuck = np.flatnonzero(jobs.row == rows)
    _, at = np.unique(jobs.worker[stuck], return_index=True)
    for j in stuck[at]:  # the first job in flight of each worker that has any
        away = rows - since[j]
        if away <= _AWAY * schedule.num_workers:
            continue
        mine = slice(bounds[jobs.worker[j]], j)
        gaps = jobs.row[mine] + 1 - since[mine]
        if len(gaps) and away <= _AWAY * np.median(gaps):
            continue
        yield Finding(
            "starvation",
            int(since[j]),
            f"worker {jobs.worker[j]} has a job and does not arrive any more in the "
            f"last {away} rows",
        )
