"""The event loop compiled: the declarative fields at millions of arrivals per second.

Row by row the same as `event_loop.py`, which is the place to read the rules. Running
jobs are in a 4-ary heap over (end, job number); the jobs of a worker, the running one
first, form a linked list through a pool of `concurrency` records; columns are written
in place. A user's sampler cannot be called from here: a start that lacks a duration is
set aside, the kernel returns, the caller draws a block and calls again.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from asgrad_jax.plan import laws, random
from asgrad_jax.plan.algorithm import ORDERS, Rules
from asgrad_jax.plan.durations import DurationBlocks

_SAME = ORDERS.index("same")
_RANDOM = ORDERS.index("random")
_SHUFFLED = ORDERS.index("shuffled")
_SHUFFLE_ONCE = ORDERS.index("shuffle_once")

_NONE = np.int32(-1)
_NO_LIMIT = np.iinfo(np.int64).max

# Places in `State.count`.
_ROWS = 0  # rows written
_VERSION = 1  # server steps
_COMPUTED = 2  # arrivals, the discarded ones included
_DISCARDED = 3
_BATCH = 4  # gradients accepted since the last step
_JOBS = 5  # jobs assigned
_PICKS = 6  # picks from the order
_RUNNING = 7  # jobs in the heap
_HOLE = 8  # 1 while the root of the heap waits for a successor
_SET_ASIDE = 9  # workers that lack a duration
_FREE = 10  # head of the list of free job records
_COUNTS = 11


class _Fields(NamedTuple):
    """The rules as numbers."""

    order: int
    concurrency: int
    wait: int
    after_step: bool
    one_each: bool
    max_delay: int
    key: np.uint64  # of the order's stream


class _State(NamedTuple):
    """All that lives from one call of the kernel to the next. n workers, c jobs."""

    count: NDArray[np.int64]  # [_COUNTS]
    clock: NDArray[np.float64]  # [1] virtual time
    started: NDArray[np.int32]  # [n] jobs started
    head: NDArray[np.int32]  # [n] record of the running job, or _NONE
    tail: NDArray[np.int32]  # [n] record of the job assigned last
    permutation: NDArray[np.int32]  # [n] of the shuffled orders
    read: NDArray[np.int32]  # [c] version at assignment
    following: NDArray[np.int32]  # [c] next job of the worker, or next free record
    number: NDArray[np.int64]  # [c] job number, -1 when the record is free
    end: NDArray[np.float64]  # [min(n, c)] heap: end of the running job
    runner: NDArray[np.int32]  # [min(n, c)] heap: its worker
    batch: NDArray[np.int32]  # [c] workers accepted since the last step
    set_aside: NDArray[np.int32]  # [min(n, c)] workers that lack a duration


class _Columns(NamedTuple):
    worker: NDArray[np.int32]
    draw: NDArray[np.int32]
    read: NDArray[np.int32]
    step: NDArray[np.bool_]
    time: NDArray[np.float64]
    computed: NDArray[np.int32]


class FastEvents(NamedTuple):
    """What the compiled loop hands back; arrays as in `Schedule`."""

    columns: _Columns  # [A]
    in_flight_worker: NDArray[np.int32]  # [J], in the order of assignment
    in_flight_read: NDArray[np.int32]  # [J]
    discarded: int


def run_fast(
    rules: Rules,
    source: laws.Law | DurationBlocks,
    seed: int,
    *,
    num_gradients: int,
) -> FastEvents:
    """Runs the event rules until `num_gradients` gradients have been used.

    Args:
        rules: of the algorithm.
        source: a built-in law with its key, or the blocks of a user's sampler.
        seed: non-negative integer, for the order.
        num_gradients: rows wanted, 1 <= A < 2^31.

    Returns:
        The columns and the state at the end.

    Raises:
        ValueError: from the checks of a user's sampler.
        OverflowError: if a count or the virtual time leaves its range.
    """
    fields = _Fields(
        order=ORDERS.index(rules.order),
        concurrency=rules.concurrency,
        wait=rules.wait,
        after_step=rules.after_step,
        one_each=rules.one_each,
        max_delay=_NO_LIMIT if rules.max_delay is None else rules.max_delay,
        key=random.stream_key(seed, random.ORDER_STREAM),
    )
    state = _new_state(rules)
    columns = _Columns(
        worker=np.empty(num_gradients, np.int32),
        draw=np.empty(num_gradients, np.int32),
        read=np.empty(num_gradients, np.int32),
        step=np.empty(num_gradients, np.bool_),
        time=np.empty(num_gradients, np.float64),
        computed=np.empty(num_gradients, np.int32),
    )
    if isinstance(source, DurationBlocks):
        _advance(fields, source.law(), state, columns)
        while state.count[_SET_ASIDE]:
            for worker in state.set_aside[: state.count[_SET_ASIDE]]:
                source.refill(int(worker))
            _advance(fields, source.law(), state, columns)
    else:
        _advance(fields, source, state, columns)

    if state.count[_COMPUTED] > np.iinfo(np.int32).max:
        raise OverflowError(
            f"{state.count[_COMPUTED]} gradients arrived, discarded ones included; a "
            "schedule counts up to 2^31 - 1: ask for fewer gradients"
        )
    records = np.flatnonzero(state.number >= 0)
    records = records[np.argsort(state.number[records])]
    return FastEvents(
        columns=columns,
        in_flight_worker=_owners(state)[records],
        in_flight_read=state.read[records],
        discarded=int(state.count[_DISCARDED]),
    )


def _new_state(rules: Rules) -> _State:
    n, c = rules.num_workers, rules.concurrency
    running = min(n, c)
    following = np.arange(1, c + 1, dtype=np.int32)  # all records are free
    following[-1] = _NONE
    return _State(
        count=np.zeros(_COUNTS, np.int64),
        clock=np.zeros(1),
        started=np.zeros(n, np.int32),
        head=np.full(n, _NONE),
        tail=np.full(n, _NONE),
        permutation=np.arange(n, dtype=np.int32),
        read=np.zeros(c, np.int32),
        following=following,
        number=np.full(c, -1, np.int64),
        end=np.empty(running),
        runner=np.empty(running, np.int32),
        batch=np.empty(c, np.int32),
        set_aside=np.empty(running, np.int32),
    )


@njit(cache=True, nogil=True)
def _owners(state):
    owner = np.full(state.read.size, _NONE)
    for worker in range(state.head.size):
        record = state.head[worker]
        while record != _NONE:
            owner[record] = worker
            record = state.following[record]
    return owner


@njit(cache=True, nogil=True)
def _advance(fields, law, state, columns):
    """Goes on until the columns are full or a start lacks a duration."""
    count = state.count
    if count[_JOBS] == 0:
        for i in range(fields.concurrency):
            if fields.one_each or fields.order == _SAME:
                _assign(fields, law, state, i)
            else:
                _assign(fields, law, state, _pick(fields, state))
    else:
        waiting = count[_SET_ASIDE]
        count[_SET_ASIDE] = 0
        for i in range(waiting):
            _start(law, state, state.set_aside[i])
        _close_hole(state)

    num_rows = columns.worker.size
    while count[_SET_ASIDE] == 0 and count[_ROWS] < num_rows:
        worker = state.runner[0]
        now = state.end[0]
        state.clock[0] = now
        count[_HOLE] = 1
        count[_COMPUTED] += 1

        record = state.head[worker]
        read = state.read[record]
        state.head[worker] = state.following[record]
        state.following[record] = count[_FREE]
        state.number[record] = -1
        count[_FREE] = record
        draw = state.started[worker] - 1  # first in, first out
        if state.head[worker] != _NONE:
            _start(law, state, worker)

        if count[_VERSION] - read >= fields.max_delay:
            count[_DISCARDED] += 1
            _assign_after(fields, law, state, worker)
        else:
            row = count[_ROWS]
            columns.worker[row] = worker
            columns.draw[row] = draw
            columns.read[row] = read
            columns.time[row] = now
            columns.computed[row] = count[_COMPUTED]
            count[_ROWS] = row + 1
            if fields.after_step:
                state.batch[count[_BATCH]] = worker
            count[_BATCH] += 1
            step = count[_BATCH] == fields.wait
            columns.step[row] = step
            if step:
                count[_VERSION] += 1
                count[_BATCH] = 0
            if not fields.after_step:
                _assign_after(fields, law, state, worker)
            elif step:
                for i in range(fields.wait):
                    _assign_after(fields, law, state, state.batch[i])
        if count[_SET_ASIDE] == 0:
            _close_hole(state)


@njit(cache=True, nogil=True)
def _assign_after(fields, law, state, arrived):
    if fields.order == _SAME:
        _assign(fields, law, state, arrived)
    else:
        _assign(fields, law, state, _pick(fields, state))


@njit(cache=True, nogil=True)
def _pick(fields, state):
    """Returns the next worker of the order; pick p uses random number p only."""
    n = state.permutation.size
    p = state.count[_PICKS]
    state.count[_PICKS] = p + 1
    if fields.order == _RANDOM:
        return random.uniform_int(fields.key, p, n)
    j = p % n
    if fields.order == _SHUFFLED or (fields.order == _SHUFFLE_ONCE and p < n):
        # One step of Fisher-Yates, just in time; it goes on from the last permutation.
        other = j + random.uniform_int(fields.key, p, n - j)
        chosen = state.permutation[other]
        state.permutation[other] = state.permutation[j]
        state.permutation[j] = chosen
    return np.int64(state.permutation[j])


@njit(cache=True, nogil=True)
def _assign(fields, law, state, worker):
    count = state.count
    record = count[_FREE]
    count[_FREE] = state.following[record]
    state.following[record] = _NONE
    state.read[record] = count[_VERSION]
    state.number[record] = count[_JOBS]
    count[_JOBS] += 1
    if state.head[worker] == _NONE:
        state.head[worker] = record
        state.tail[worker] = record
        _start(law, state, worker)
    else:
        state.following[state.tail[worker]] = record
        state.tail[worker] = record


@njit(cache=True, nogil=True)
def _start(law, state, worker):
    """Starts the first job of `worker`, or sets it aside for lack of a duration."""
    count = state.count
    k = state.started[worker]
    if law.kind == laws.SAMPLED and k >= law.ready[worker]:
        state.set_aside[count[_SET_ASIDE]] = worker
        count[_SET_ASIDE] += 1
        return
    state.started[worker] = k + 1
    end = state.clock[0] + laws.draw_duration(law, worker, k)
    if count[_HOLE]:
        count[_HOLE] = 0
        _sift_down(state, end, worker)
        return
    place = count[_RUNNING]
    count[_RUNNING] = place + 1
    while place > 0:
        parent = (place - 1) >> 2
        if not _before(state, end, worker, state.end[parent], state.runner[parent]):
            break
        state.end[place] = state.end[parent]
        state.runner[place] = state.runner[parent]
        place = parent
    state.end[place] = end
    state.runner[place] = worker


@njit(cache=True, nogil=True)
def _close_hole(state):
    """Fills the root with the last entry of the heap, if no start has filled it."""
    count = state.count
    if count[_HOLE]:
        count[_HOLE] = 0
        last = count[_RUNNING] - 1
        count[_RUNNING] = last
        if last > 0:
            _sift_down(state, state.end[last], state.runner[last])


@njit(cache=True, nogil=True)
def _sift_down(state, end, worker):
    """Puts (end, worker) into the heap, whose root is vacant."""
    size = state.count[_RUNNING]
    place = 0
    while True:
        child = 4 * place + 1
        if child >= size:
            break
        best = child
        for other in range(child + 1, min(child + 4, size)):
            if _before(
                state,
                state.end[other],
                state.runner[other],
                state.end[best],
                state.runner[best],
            ):
                best = other
        if not _before(state, state.end[best], state.runner[best], end, worker):
            break
        state.end[place] = state.end[best]
        state.runner[place] = state.runner[best]
        place = best
    state.end[place] = end
    state.runner[place] = worker


@njit(cache=True, nogil=True)
def _before(state, end_a, worker_a, end_b, worker_b):
    if end_a != end_b:
        return end_a < end_b
    # Simultaneous: the job that was assigned first; the running job heads its list.
    return state.number[state.head[worker_a]] < state.number[state.head[worker_b]]
