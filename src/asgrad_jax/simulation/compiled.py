"""The event loop compiled: the declarative fields at millions of arrivals per second.

Row by row the same as `reference.py`, which is the place to read the rules. Running
jobs are in a 4-ary heap over (end, job number); the jobs of a worker, the running one
first, form a linked list through a pool of `concurrency` records; columns are written
in place. A user's sampler cannot be called from here: a start that lacks a duration
stays on the list of starts, the kernel returns, the caller draws a block and calls
again.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.jit import njit
from asgrad_jax.algorithms.algorithm import ORDERS, Rules
from asgrad_jax.compute_times import _distributions, _speed_profile
from asgrad_jax.schedules.columns import COLUMNS
from asgrad_jax.simulation import routing
from asgrad_jax.simulation.durations import DurationBlocks
from asgrad_jax.simulation.reference import NothingEnds

_SAME = ORDERS.index("same")
_RANDOM = ORDERS.index("random")
_SHUFFLED = ORDERS.index("shuffled")
_SHUFFLE_ONCE = ORDERS.index("shuffle_once")

_NONE = -1
_NO_LIMIT = int(np.iinfo(np.int64).max)
_NOTHING_ENDS = -1  # what `_advance` returns when no running job ever ends

_SERVER = np.dtype(
    [
        ("rows", np.int64),  # rows written
        ("version", np.int64),  # server steps
        ("computed", np.int64),  # arrivals, the discarded ones included
        ("batch", np.int64),  # gradients accepted since the last step
        ("jobs", np.int64),  # jobs assigned
        ("picks", np.int64),  # picks from the order
        ("running", np.int64),  # entries of the heap
        ("starts", np.int64),  # entries of the list of starts
        ("free", np.int64),  # first free job record
        ("time", np.float64),
        ("vacant", np.bool_),  # the root of the heap waits for a successor
    ]
)
_WORKER = np.dtype(
    [
        ("started", np.int32),  # jobs started so far
        ("first", np.int32),  # record of the running job, or _NONE
        ("last", np.int32),  # record of the job assigned last
    ]
)
_JOB = np.dtype(
    [
        ("number", np.int64),  # place in the order of assignment; -1: a free record
        ("read", np.int32),  # version at assignment
        ("next", np.int32),  # the worker's next job, or the next free record
    ]
)
_RUNNING = np.dtype(
    [
        ("end", np.float64),
        # Who is first at equal ends: of the job (arrivals fit an int32), or worker.
        ("number", np.uint32),
        ("worker", np.int32),
    ]
)


class _Fields(NamedTuple):
    """The rules as numbers."""

    order: int
    concurrency: int
    gradients_per_step: int
    after_step: bool
    one_each: bool
    max_delay: int
    key: np.uint64  # of the order's stream
    start: NDArray[np.int32]  # [c] workers of the first jobs, or empty
    keep: NDArray[np.float64]  # alias table of "random", or empty
    other: NDArray[np.int32]


class _State(NamedTuple):
    """All that lives from one call of the kernel to the next. n workers, c jobs."""

    server: NDArray[np.void]  # [1] _SERVER
    workers: NDArray[np.void]  # [n] _WORKER
    jobs: NDArray[np.void]  # [c] _JOB
    heap: NDArray[np.void]  # [min(n, c)] _RUNNING
    starts: NDArray[np.int32]  # [min(n, c)] workers whose first job is to be started
    batch: NDArray[np.int32]  # [c] workers accepted since the last step (after_step)
    permutation: NDArray[np.int32]  # [n] of the shuffled orders


class _Overlap(NamedTuple):
    """What is kept besides where stages overlap; None else, which compiles apart."""

    assigned: NDArray[np.float64]  # [c] seconds, when the server gave the jobs away
    done: NDArray[np.float64]  # [n, 3] seconds, when the last job left each stage


class Columns(NamedTuple):
    """The columns of a schedule that the event loop writes, [A] each."""

    worker: NDArray[np.int32]
    job: NDArray[np.int32]
    read: NDArray[np.int32]
    step: NDArray[np.bool_]
    time: NDArray[np.float64]
    computed: NDArray[np.int32]


class FastEvents(NamedTuple):
    """What the compiled loop hands back; arrays as in `Schedule`."""

    columns: Columns
    in_flight_worker: NDArray[np.int32]  # [J], in the order of assignment
    in_flight_read: NDArray[np.int32]  # [J]
    discarded: int
    concurrency_max: int


def run_fast(
    rules: Rules,
    source: _distributions.Distribution | DurationBlocks,
    seed: int,
    *,
    num_gradients: int,
) -> FastEvents:
    """Runs the event rules until `num_gradients` gradients have been used.

    Args:
        rules: of the algorithm.
        source: a built-in distribution with its key, or the blocks of a user's sampler.
        seed: non-negative integer, for the order.
        num_gradients: rows wanted, 1 <= A < 2^31.

    Raises:
        TypeError, ValueError: from the checks of a user's sampler.
        OverflowError: if more gradients arrive than an int32 counts.
        NothingEnds: if all jobs in flight take for ever.
    """
    table = routing.alias_table(rules.routing)
    fields = _Fields(
        order=ORDERS.index(rules.order),
        concurrency=rules.concurrency,
        # Counts stay below 2^31, so a limit that no int64 holds is no limit.
        gradients_per_step=min(rules.gradients_per_step, _NO_LIMIT),
        after_step=rules.after_step,
        one_each=rules.one_each,
        max_delay=min(rules.max_delay or _NO_LIMIT, _NO_LIMIT),
        key=random.stream_key(seed, random.ORDER_STREAM),
        start=np.array(rules.start or (), np.int32),
        keep=table.keep,
        other=table.other,
    )
    state = _new_state(rules)
    overlap = _overlap(rules, source)
    columns = new_columns(num_gradients)
    if isinstance(source, DurationBlocks):
        while (
            lacking := _advance(fields, source.distribution(), state, columns, overlap)
        ) > 0:
            for worker in state.starts[:lacking].tolist():
                source.refill(worker)
    else:
        lacking = _advance(fields, source, state, columns, overlap)
    if lacking == _NOTHING_ENDS:
        raise NothingEnds(int(state.server["rows"][0]))

    owner = _owners(state.workers, state.jobs)
    return events_of(columns, state.server, owner, state.jobs, rules.concurrency)


def new_columns(num_gradients: int) -> Columns:
    """Returns columns to be written."""
    return Columns(*(np.empty(num_gradients, COLUMNS[key]) for key in Columns._fields))


def events_of(
    columns: Columns,
    server: NDArray[np.void],
    owner: NDArray[np.int32],
    jobs: NDArray[np.void],
    concurrency_max: int,
) -> FastEvents:
    """Returns the end of a run; `jobs` have numbers (-1: none), reads and owners."""
    computed = int(server["computed"][0])
    if computed > np.iinfo(np.int32).max:
        raise OverflowError(
            f"{computed} gradients arrived, discarded ones included; a schedule counts "
            "up to 2^31 - 1: ask for fewer gradients"
        )
    left = np.flatnonzero(jobs["number"] >= 0)
    left = left[np.argsort(jobs["number"][left])]
    return FastEvents(
        columns=columns,
        in_flight_worker=owner[left],
        in_flight_read=jobs["read"][left],
        discarded=computed - len(columns.worker),
        concurrency_max=concurrency_max,
    )


def _overlap(
    rules: Rules, source: _distributions.Distribution | DurationBlocks
) -> _Overlap | None:
    if getattr(source, "kind", None) != _distributions.STAGES:
        return None
    return _Overlap(np.zeros(rules.concurrency), np.zeros((rules.num_workers, 3)))


def _new_state(rules: Rules) -> _State:
    n, c = rules.num_workers, rules.concurrency
    workers = np.zeros(n, _WORKER)
    workers["first"] = workers["last"] = _NONE
    jobs = np.zeros(c, _JOB)
    jobs["number"] = -1
    jobs["next"] = np.arange(1, c + 1)  # all records are free
    return _State(
        server=np.zeros(1, _SERVER),
        workers=workers,
        jobs=jobs,
        heap=np.zeros(min(n, c), _RUNNING),
        starts=np.empty(min(n, c), np.int32),
        batch=np.empty(c, np.int32),
        permutation=np.arange(n, dtype=np.int32),
    )


@njit
def _owners(workers, jobs):
    """Returns the worker of every job record in use."""
    owner = np.full(jobs.size, np.int32(_NONE))
    for worker in range(workers.size):
        record = workers[worker].first
        while record != _NONE:
            owner[record] = worker
            record = jobs[record].next
    return owner


@njit
def _advance(fields, distribution, state, columns, overlap):
    """Goes on until the columns are full (returns 0) or starts lack durations (> 0).

    Returns _NOTHING_ENDS if the next arrival is at infinity.
    """
    # Arrays that are taken out of a tuple are counted each time: take them out once.
    server = state.server[0]
    workers, jobs, heap = state.workers, state.jobs, state.heap
    starts, batch, permutation = state.starts, state.batch, state.permutation
    d_mean, d_values = distribution.mean, distribution.values
    d_offset, d_ready = distribution.offset, distribution.ready
    d_pieces, d_piece_offset = distribution.pieces, distribution.piece_offset
    column_worker, column_job, column_read = columns.worker, columns.job, columns.read
    column_step, column_time = columns.step, columns.time
    column_computed = columns.computed
    num_rows = column_worker.size
    keep, other = fields.keep, fields.other

    if server.jobs == 0:
        for i in range(fields.concurrency):
            worker = i
            if fields.start.size:
                worker = np.int64(fields.start[i])
            elif not (fields.one_each or fields.order == _SAME):
                worker = _pick(
                    fields.order, fields.key, server.picks, permutation, keep, other
                )
                server.picks += 1
            _assign(server, workers, jobs, starts, overlap, worker)

    while True:
        # Start the jobs that have become the first of their worker.
        lacking = 0
        for i in range(server.starts):
            worker = starts[i]
            k = workers[worker].started
            if distribution.kind == _distributions.SAMPLED and k >= d_ready[worker]:
                starts[lacking] = worker
                lacking += 1
                continue
            workers[worker].started = k + 1
            if overlap is not None:
                end = _distributions.end_of_stages(
                    distribution.key,
                    d_values,
                    d_offset,
                    overlap.done,
                    worker,
                    k,
                    overlap.assigned[workers[worker].first],
                    server.time,
                )
            else:
                work = _distributions.draw_duration(
                    distribution.kind,
                    distribution.key,
                    d_mean,
                    distribution.shape,
                    d_values,
                    d_offset,
                    worker,
                    k,
                )
                end = _speed_profile.end_time(
                    distribution.speed,
                    distribution.period,
                    d_pieces,
                    d_piece_offset,
                    worker,
                    server.time,
                    work,
                )
            number = np.uint32(jobs[workers[worker].first].number)
            if distribution.speed == _speed_profile.TICKS:
                number = np.uint32(worker)
            if server.vacant:
                server.vacant = False
                _sift_down(heap, server.running, end, number, worker)
            else:
                _sift_up(heap, server.running, end, number, worker)
                server.running += 1
        server.starts = lacking
        if lacking:
            return lacking
        if server.vacant:
            server.vacant = False
            server.running -= 1
            last = server.running
            if last > 0:
                tail = heap[last]
                _sift_down(heap, last, tail.end, tail.number, tail.worker)
        if server.rows == num_rows:
            return 0

        if heap[0].end == np.inf:
            return _NOTHING_ENDS

        # The next arrival leaves the root vacant: the next start takes its place.
        arrived = np.int64(heap[0].worker)
        server.time = heap[0].end
        server.vacant = True
        server.computed += 1
        record = workers[arrived].first
        read = jobs[record].read
        workers[arrived].first = jobs[record].next
        jobs[record].number = -1
        jobs[record].next = server.free
        server.free = record
        if workers[arrived].first != _NONE:
            starts[server.starts] = arrived
            server.starts += 1

        accepted = server.version - read < fields.max_delay
        assign = 1
        if accepted:
            row = server.rows
            server.rows = row + 1
            column_worker[row] = arrived
            column_job[row] = workers[arrived].started - 1  # first in, first out
            column_read[row] = read
            column_time[row] = server.time
            column_computed[row] = server.computed
            if fields.after_step:
                batch[server.batch] = arrived
            server.batch += 1
            step = server.batch == fields.gradients_per_step
            column_step[row] = step
            if step:
                server.version += 1
                server.batch = 0
            if fields.after_step:
                assign = fields.gradients_per_step if step else 0

        for i in range(assign):
            if fields.order != _SAME:
                worker = _pick(
                    fields.order, fields.key, server.picks, permutation, keep, other
                )
                server.picks += 1
            elif fields.after_step and accepted:
                worker = np.int64(batch[i])
            else:
                worker = arrived
            _assign(server, workers, jobs, starts, overlap, worker)


@njit(forceinline=True)
def _assign(server, workers, jobs, starts, overlap, worker):
    """Gives `worker` a job at the current version, behind those it has."""
    record = server.free
    server.free = jobs[record].next
    jobs[record].next = _NONE
    jobs[record].read = server.version
    jobs[record].number = server.jobs
    if overlap is not None:
        overlap.assigned[record] = server.time
    server.jobs += 1
    if workers[worker].first == _NONE:
        workers[worker].first = record
        starts[server.starts] = worker
        server.starts += 1
    else:
        jobs[workers[worker].last].next = record
    workers[worker].last = record


@njit(forceinline=True)
def _pick(order, key, p, permutation, keep, other):
    """Returns pick p of the order; it uses random number p of the stream only."""
    n = permutation.size
    if order == _RANDOM:
        return routing.pick(key, p, n, keep, other)
    j = p % n
    if order == _SHUFFLED or (order == _SHUFFLE_ONCE and p < n):
        # One step of Fisher-Yates, just in time; it goes on from the last permutation.
        swap = j + random.uniform_int(key, p, n - j)
        chosen = permutation[swap]
        permutation[swap] = permutation[j]
        permutation[j] = chosen
    return np.int64(permutation[j])


@njit(forceinline=True)
def _sift_up(heap, size, end, number, worker):
    """Adds an entry to a heap of `size` entries."""
    place = size
    while place > 0:
        parent = (place - 1) >> 2
        if not _before(end, number, heap[parent].end, heap[parent].number):
            break
        _copy(heap, place, parent)
        place = parent
    heap[place].end = end
    heap[place].number = number
    heap[place].worker = worker


@njit(forceinline=True)
def _sift_down(heap, size, end, number, worker):
    """Puts an entry into a heap of `size` entries whose root is vacant."""
    place = 0
    while True:
        child = 4 * place + 1
        if child + 3 < size:
            # Two pairs and their winners, written so that no branch is mispredicted.
            first = _earlier(heap, child, child + 1)
            second = _earlier(heap, child + 2, child + 3)
            best = _earlier(heap, first, second)
        elif child < size:
            best = child
            for other in range(child + 1, size):
                best = _earlier(heap, best, other)
        else:
            break
        if not _before(heap[best].end, heap[best].number, end, number):
            break
        _copy(heap, place, best)
        place = best
    heap[place].end = end
    heap[place].number = number
    heap[place].worker = worker


@njit(forceinline=True)
def _earlier(heap, a, b):
    later = _before(heap[b].end, heap[b].number, heap[a].end, heap[a].number)
    return b if later else a


@njit(forceinline=True)
def _before(end_a, number_a, end_b, number_b):
    # Simultaneous arrivals come in the order of assignment (ticks: of the workers).
    return (end_a < end_b) | ((end_a == end_b) & (number_a < number_b))


@njit(forceinline=True)
def _copy(heap, place, source):
    heap[place].end = heap[source].end
    heap[place].number = heap[source].number
    heap[place].worker = heap[source].worker
