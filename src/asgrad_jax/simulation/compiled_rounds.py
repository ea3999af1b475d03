"""Round algorithms compiled: one job per worker, and a server that may stop it.

Row by row the same as `reference_rounds.py`, which is the place to read the rules. A
tournament tree over the workers finds the next arrival: unlike a heap it lets any
worker's entry change in place. As in `compiled.py`, a start that lacks a duration
stays on the list of starts and the kernel returns to the caller.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.jit import njit
from asgrad_jax.algorithms.round_algorithm import (
    UNTIL,
    RoundRules,
    checked_allocation,
    harmonic_reached,
)
from asgrad_jax.compute_times import _distributions, _speed_profile
from asgrad_jax.simulation.compiled import FastEvents, events_of, new_columns
from asgrad_jax.simulation.durations import DurationBlocks
from asgrad_jax.simulation.reference import NothingEnds, Stalled

_COUNT = UNTIL.index("count")
_HARMONIC = UNTIL.index("harmonic")

# What `_advance` returns; a positive number counts the starts that lack a duration.
_DONE = 0
_NOTHING_ENDS = -1
_ALLOCATE = -2
_HOPELESS = -3
_UNDECIDED = -4  # a job that is given up may still end the round of the last row
_DECIDED = -5  # it did not

_NOBODY = -1
_MOST = int(np.iinfo(np.int64).max)  # counts stay below 2^31
_harmonic_reached = njit(inline="always")(harmonic_reached)

_SERVER = np.dtype(
    [
        ("rows", np.int64),  # rows written
        ("version", np.int64),  # server steps
        ("computed", np.int64),  # arrivals, the discarded ones included
        ("jobs", np.int64),  # jobs assigned
        ("starts", np.int64),  # entries of the list of starts
        ("running", np.int64),  # jobs in flight
        ("most", np.int64),  # most jobs in flight at once
        ("begun", np.int64),  # rounds
        ("gradients", np.int64),  # of this round
        ("left", np.int64),  # jobs that may still start in this round
        ("without", np.int64),  # workers without a gradient in this round
        ("inverse", np.float64),  # sum of 1 / B_i over the others
        ("failures", np.int64),  # jobs given up or discarded in a row
        ("oldest", np.int64),  # worker with the job assigned first, or _NOBODY
        ("newest", np.int64),  # worker with the job assigned last, or _NOBODY
        ("time", np.float64),
        ("restart", np.bool_),  # everybody without a job is to start
        ("undecided", np.bool_),  # the last row may still get a step
    ]
)
_WORKER = np.dtype(
    [
        ("end", np.float64),  # of the running job; inf: none
        ("tie", np.int64),  # who is first at equal ends
        ("number", np.int64),  # of the running job, or _NOBODY
        ("began", np.float64),
        ("count", np.int64),  # gradients of this round
        ("left", np.int64),  # jobs it may still start in this round
        ("read", np.int32),  # version read by the running job
        ("job", np.int32),  # of the running job
        ("next", np.int32),  # worker with the job assigned next, or _NOBODY
        ("before", np.int32),  # worker with the job assigned before, or _NOBODY
        ("failed", np.bool_),  # the running job will be given up
    ]
)
_IDLE = np.int64(np.iinfo(np.int64).max)


class _Fields(NamedTuple):
    """The rules as numbers."""

    num_workers: int
    until: int
    gradients_per_step: int
    rationed: bool
    allocated: bool  # by the caller, at the start of every round
    quota: NDArray[np.int64]  # [n], in use where rationed
    limit: NDArray[np.float64]  # [n], or empty
    each: bool
    max_delay: int
    stop: bool


class _State(NamedTuple):
    """All that lives from one call of the kernel to the next. n workers, P >= n."""

    server: NDArray[np.void]  # [1] _SERVER
    workers: NDArray[np.void]  # [P] _WORKER
    tree: NDArray[np.int32]  # [P], winner below each inner node, the root is 1
    starts: NDArray[np.int32]  # [n] workers whose job is to be started
    total: NDArray[np.float64]  # [n] seconds of finished jobs
    jobs: NDArray[np.int64]  # [n] finished jobs


def run_rounds(
    name: str,
    rules: RoundRules,
    source: _distributions.Distribution | DurationBlocks,
    *,
    num_gradients: int,
) -> FastEvents:
    """Runs a round algorithm until `num_gradients` gradients are used; see `run_fast`.

    Raises besides TypeError and ValueError from the checks of an allocation, and
    Stalled if jobs are given up or discarded without end.
    """
    n = rules.num_workers
    fields = _Fields(
        num_workers=n,
        until=UNTIL.index(rules.until),
        gradients_per_step=min(rules.gradients_per_step, _MOST),
        rationed=rules.quota is not None or rules.allocation is not None,
        allocated=rules.allocation is not None,
        quota=np.zeros(n, np.int64) if rules.quota is None else rules.quota.copy(),
        limit=np.empty(0) if rules.limit is None else rules.limit.copy(),
        each=rules.each,
        max_delay=min(rules.max_delay, _MOST),
        stop=rules.stop,
    )
    state = end = _new_state(n)
    columns = new_columns(num_gradients)
    blocks = source if isinstance(source, DurationBlocks) else None

    def allocate() -> None:
        if rules.allocation is not None:
            allocated = rules.allocation.allocate(
                int(state.server["begun"][0]), state.total, state.jobs
            )
            fields.quota[:] = checked_allocation(name, allocated, rules)

    allocate()
    while True:
        distribution = (
            source.distribution() if isinstance(source, DurationBlocks) else source
        )
        code = _advance(fields, distribution, state, columns)
        if code > 0 and blocks is not None:
            for worker in state.starts[:code].tolist():
                blocks.refill(worker)
        elif code == _ALLOCATE:
            allocate()
        elif code == _UNDECIDED:
            # The kernel goes on; what it finds counts if the round ends at a limit.
            end = state._replace(
                server=state.server.copy(), workers=state.workers.copy()
            )
            state.server["undecided"] = True
        else:
            break
    if code == _DONE:
        end = state
    elif end is not state:
        code = _DONE
    if code == _NOTHING_ENDS:
        raise NothingEnds(int(state.server["rows"][0]))
    if code == _HOPELESS:
        raise Stalled(
            f"{name}: the last {int(state.server['failures'][0])} jobs were all given "
            "up or discarded; it would go on for ever: give a longer limit",
            int(state.server["rows"][0]),
        )
    owner = np.arange(len(end.workers), dtype=np.int32)
    most = int(end.server["most"][0])
    return events_of(columns, end.server, owner, end.workers, most)


def _new_state(n: int) -> _State:
    places = max(2, 1 << (n - 1).bit_length())
    workers = np.zeros(places, _WORKER)
    workers["end"] = np.inf
    workers["tie"] = _IDLE
    workers["number"] = _NOBODY
    workers["job"] = -1
    server = np.zeros(1, _SERVER)
    server["oldest"] = server["newest"] = _NOBODY
    server["begun"], server["restart"] = 1, True
    state = _State(
        server=server,
        workers=workers,
        tree=np.zeros(places, np.int32),
        starts=np.empty(n, np.int32),
        total=np.zeros(n),
        jobs=np.zeros(n, np.int64),
    )
    _rebuild(state.tree, workers)
    return state


@njit
def _advance(fields, distribution, state, columns):
    """Goes on until the columns are full or the caller is needed; see the codes."""
    # Arrays that are taken out of a tuple are counted each time: take them out once.
    server = state.server[0]
    workers, tree, starts = state.workers, state.tree, state.starts
    total, jobs = state.total, state.jobs
    quota, limit = fields.quota, fields.limit
    d_mean, d_values = distribution.mean, distribution.values
    d_offset, d_ready = distribution.offset, distribution.ready
    d_pieces, d_piece_offset = distribution.pieces, distribution.piece_offset
    column_worker, column_job, column_read = columns.worker, columns.job, columns.read
    column_step, column_time = columns.step, columns.time
    column_computed = columns.computed
    num_rows = column_worker.size
    n = fields.num_workers

    while True:
        if server.restart:
            _begin_round(fields, server, workers, starts, quota)
        lacking = 0
        many = 8 * server.starts > n
        for i in range(server.starts):
            worker = starts[i]
            k = workers[worker].job
            if distribution.kind == _distributions.SAMPLED and k >= d_ready[worker]:
                starts[lacking] = worker
                lacking += 1
                continue
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
            ticks = distribution.speed == _speed_profile.TICKS
            _start(server, workers, limit, worker, end, ticks)
            if not many:
                _replay(tree, workers, worker)
        if many:
            _rebuild(tree, workers)
        server.starts = lacking
        if lacking:
            return lacking
        full = server.rows == num_rows
        # A step ends the round, and the next one has no gradient yet.
        if full and (limit.size == 0 or server.gradients == 0):
            return _DONE
        if full and not server.undecided:
            return _UNDECIDED

        worker = np.int64(tree[1])
        if workers[worker].end == np.inf:
            return _NOTHING_ENDS
        if full and not workers[worker].failed:
            return _DECIDED
        server.time = workers[worker].end
        failed = workers[worker].failed
        stale = server.version - workers[worker].read >= fields.max_delay
        _clear(server, workers, worker)
        if not failed:
            server.computed += 1
        discarded = stale and not fields.stop
        if failed or discarded:
            server.failures += 1
            if server.failures > 1000 * (server.most + 1):
                return _HOPELESS
        if discarded:
            _assign(fields, server, workers, starts, worker)
            continue
        if not failed:
            server.failures = 0
            row = server.rows
            server.rows = row + 1
            column_worker[row] = worker
            column_job[row] = workers[worker].job
            column_read[row] = workers[worker].read
            column_step[row] = fields.each
            column_time[row] = server.time
            column_computed[row] = server.computed
            _count(fields, server, workers, worker)
            total[worker] += server.time - workers[worker].began
            jobs[worker] += 1

        if not _is_over(fields, server):
            if fields.each:
                server.version += 1
            if not fields.rationed or workers[worker].left > 0:
                _assign(fields, server, workers, starts, worker)
            else:
                _replay(tree, workers, worker)
            continue

        if server.gradients > 0:
            # A round that ends with a job given up takes its last gradient in now.
            column_step[server.rows - 1] = True
            column_time[server.rows - 1] = server.time
            server.version += 1
        server.begun += 1
        if not fields.stop:
            server.gradients = 0
            _reset_counts(fields, server, workers)
            _assign(fields, server, workers, starts, worker)
        elif fields.until == _COUNT and not fields.rationed and fields.max_delay > 1:
            _restart_stale(fields, server, workers, starts, worker)
        else:
            _replay(tree, workers, worker)
            if server.running:
                _clear_stale(fields, server, workers)
            server.restart = True
            if fields.allocated:
                return _ALLOCATE


@njit(forceinline=True)
def _begin_round(fields, server, workers, starts, quota):
    """Starts the counts anew and gives every idle worker with a quota a job."""
    server.restart = False
    server.gradients = 0
    server.inverse = 0.0
    server.left = 0
    if fields.rationed:
        for worker in range(fields.num_workers):
            workers[worker].left = quota[worker]
            server.left += quota[worker]
    _reset_counts(fields, server, workers)
    for worker in range(fields.num_workers):
        if workers[worker].number == _NOBODY and (
            not fields.rationed or workers[worker].left > 0
        ):
            _assign(fields, server, workers, starts, worker)


@njit(forceinline=True)
def _reset_counts(fields, server, workers):
    """No worker has a gradient in this round."""
    if fields.until == _HARMONIC:
        server.inverse = 0.0
        server.without = fields.num_workers
        for worker in range(fields.num_workers):
            workers[worker].count = 0


@njit(forceinline=True)
def _start(server, workers, limit, worker, end, ticks):
    """Starts the job of a worker, which ends then, or at the limit."""
    workers[worker].failed = False
    # Sums, not a difference: see `start_next` in reference.py.
    if limit.size and end > server.time + limit[worker]:
        workers[worker].failed = True
        end = server.time + limit[worker]
    workers[worker].began = server.time
    workers[worker].end = end
    workers[worker].tie = worker if ticks else workers[worker].number


@njit(forceinline=True)
def _count(fields, server, workers, worker):
    """Counts a gradient of the round."""
    server.gradients += 1
    if fields.until == _HARMONIC:
        count = workers[worker].count
        if count == 0:
            server.without -= 1
        else:
            server.inverse -= 1 / count
        workers[worker].count = count + 1
        server.inverse += 1 / (count + 1)


@njit(forceinline=True)
def _is_over(fields, server):
    """Whether the round has what it waits for."""
    if fields.until == _COUNT:
        return server.gradients == fields.gradients_per_step
    if fields.until == _HARMONIC:
        return server.without == 0 and _harmonic_reached(
            server.inverse, fields.gradients_per_step, fields.num_workers
        )
    return server.running == 0 and server.left == 0


@njit(forceinline=True)
def _restart_stale(fields, server, workers, starts, worker):
    """Gives a worker and those with stale jobs, the oldest, new ones."""
    server.gradients = 0
    starts[0] = worker
    victims = 1
    while (
        server.oldest != _NOBODY
        and server.version - workers[server.oldest].read >= fields.max_delay
    ):
        starts[victims] = server.oldest
        victims += 1
        _clear(server, workers, server.oldest)
    starts[:victims].sort()
    for i in range(victims):
        # It writes starts[i] again: the list is the one read here.
        _assign(fields, server, workers, starts, np.int64(starts[i]))


@njit(forceinline=True)
def _clear_stale(fields, server, workers):
    """Takes stale jobs away; the round that begins next starts them anew."""
    for other in range(fields.num_workers):
        if (
            workers[other].number != _NOBODY
            and server.version - workers[other].read >= fields.max_delay
        ):
            _clear(server, workers, other)


@njit(forceinline=True)
def _assign(fields, server, workers, starts, worker):
    """Gives an idle worker a job at the current version."""
    workers[worker].number = server.jobs
    workers[worker].read = server.version
    workers[worker].job += 1
    if fields.rationed:
        workers[worker].left -= 1
        server.left -= 1
    workers[worker].before = server.newest
    workers[worker].next = _NOBODY
    if server.newest == _NOBODY:
        server.oldest = worker
    else:
        workers[server.newest].next = worker
    server.newest = worker
    server.jobs += 1
    server.running += 1
    server.most = max(server.most, server.running)
    starts[server.starts] = worker
    server.starts += 1


@njit(forceinline=True)
def _clear(server, workers, worker):
    """Takes the worker's job away; the tree is to be brought up to date afterwards."""
    before, after = workers[worker].before, workers[worker].next
    if before == _NOBODY:
        server.oldest = after
    else:
        workers[before].next = after
    if after == _NOBODY:
        server.newest = before
    else:
        workers[after].before = before
    workers[worker].number = _NOBODY
    workers[worker].end = np.inf
    workers[worker].tie = _IDLE
    server.running -= 1


@njit(forceinline=True)
def _replay(tree, workers, worker):
    """Plays the worker's matches again, up to the root."""
    places = tree.size
    node = (places + worker) >> 1
    while node:
        tree[node] = _winner(tree, workers, node)
        node >>= 1


@njit
def _rebuild(tree, workers):
    """Plays all matches."""
    for node in range(tree.size - 1, 0, -1):
        tree[node] = _winner(tree, workers, node)


@njit(forceinline=True)
def _winner(tree, workers, node):
    places = tree.size
    left, right = 2 * node, 2 * node + 1
    a = left - places if left >= places else np.int64(tree[left])
    b = right - places if right >= places else np.int64(tree[right])
    end_a, end_b = workers[a].end, workers[b].end
    later = (end_b < end_a) | ((end_b == end_a) & (workers[b].tie < workers[a].tie))
    return b if later else a
