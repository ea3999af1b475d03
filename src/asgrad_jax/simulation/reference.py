"""The event loop in plain Python: the meaning of an algorithm, and where to add one.

It runs any `EventAlgorithm`, and the declarative fields of `Algorithm` through
`DeclaredAlgorithm`; the compiled loop must give the same rows.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.checks import check_callable, check_number, check_numbers
from asgrad_jax.algorithms.algorithm import Rules
from asgrad_jax.algorithms.protocol import Decision, EventAlgorithm, Job, Server
from asgrad_jax.simulation.routing import alias_table, pick


class Events(NamedTuple):
    """What an event loop hands back: the columns, and how things stood at the end."""

    worker: list[int]
    job: list[int]
    read: list[int]
    weight: list[float]
    step: list[bool]
    time: list[float]
    computed: list[int]
    in_flight: list[Job]  # in the order of their assignment
    concurrency_max: int
    discarded: int


class NothingEnds(Exception):
    """All jobs in flight take for ever; `rows` gradients have been used so far."""

    def __init__(self, rows: int):
        super().__init__(rows)
        self.rows = rows


class Stalled(RuntimeError):
    """A run that cannot go on; `rows` gradients have been used so far."""

    def __init__(self, words: str, rows: int):
        super().__init__(words, rows)
        self.rows = rows

    def __str__(self) -> str:
        return self.args[0]


def run_events(
    algorithm: EventAlgorithm,
    end_of_job: Callable[[int, int, float, float], float],
    server: Server,
    *,
    num_gradients: int,
    ties_by_worker: bool = False,
) -> Events:
    """Runs the event rules until `num_gradients` gradients have been used.

    A job that is given up after the last row may still end its round: the loop goes on
    until that is known, so that a schedule is the beginning of every longer one.

    Args:
        algorithm: what decides; its answers are checked.
        end_of_job: (worker, k, start, assigned) -> end of that worker's job k, seconds;
            inf for a job that never ends and stays in flight. It was assigned then and
            is its worker's oldest job from the start on.
        server: a fresh server.
        num_gradients: rows wanted, >= 1.
        ties_by_worker: simultaneous arrivals come in the order of the workers, not of
            the assignments.

    Raises:
        TypeError, ValueError: if an answer of the algorithm makes no sense.
        Stalled: if no job is in flight, or gradients are discarded without end.
        NothingEnds: if all jobs in flight take for ever.
    """
    events = Events([], [], [], [], [], [], [], [], 0, 0)
    queues = [deque() for _ in range(server.num_workers)]  # head: the running job
    given = [deque() for _ in range(server.num_workers)]  # when, for each of these
    # Heap of (end, job number or, for ties by worker, worker; job). Stopped jobs stay
    # in it until they come up or are too many.
    running: list[tuple[float, int, Job]] = []
    assigned = [0] * server.num_workers
    num_jobs = concurrency_max = computed = discarded = in_a_row = 0

    def start_next(worker: int) -> None:
        job = queues[worker][0]
        end = end_of_job(worker, job.index, server.time, given[worker][0])
        # Sums, not a difference: rounding keeps their order, so that a job that lasts
        # exactly its limit is never given up.
        if limits is not None and end > server.time + limits[worker]:
            end = server.time + limits[worker]
            queues[worker][0] = job = job._replace(finished=False)
        tie = worker if ties_by_worker else job.number
        heapq.heappush(running, (end, tie, job))

    def is_running(job: Job) -> bool:
        queue = queues[job.worker]
        return bool(queue) and queue[0].number == job.number

    def stop(workers: Sequence[int]) -> None:
        for worker in _checked_workers(algorithm, "stop", workers, server.num_workers):
            server.in_flight -= len(queues[worker])
            queues[worker].clear()
            given[worker].clear()
        if len(running) > 2 * server.num_workers + 16:
            running[:] = [entry for entry in running if is_running(entry[2])]
            heapq.heapify(running)

    def assign(what: str, workers: Sequence[int]) -> None:
        nonlocal num_jobs, concurrency_max
        for worker in _checked_workers(algorithm, what, workers, server.num_workers):
            queues[worker].append(
                Job(num_jobs, worker, assigned[worker], server.version)
            )
            given[worker].append(server.time)
            num_jobs += 1
            assigned[worker] += 1
            server.in_flight += 1
            if len(queues[worker]) == 1:
                start_next(worker)
        concurrency_max = max(concurrency_max, server.in_flight)

    def so_far() -> Events:
        left = sorted(job for queue in queues for job in queue)
        return events._replace(
            in_flight=left, concurrency_max=concurrency_max, discarded=discarded
        )

    check_callable(f"{algorithm.name}: `start`", algorithm.start, "server")
    check_callable(f"{algorithm.name}: `arrive`", algorithm.arrive, "server", "job")
    first = algorithm.start(server)
    limits = _checked_limits(algorithm, server.num_workers)
    late = limits is not None or getattr(algorithm, "steps_late", False)
    assign("`start`", first)
    end: Events | None = None  # after the last row, while its step is not known
    while True:
        if len(events.worker) == num_gradients:
            if not late or events.step[-1]:
                return so_far()
            end = end or so_far()
        while running and not is_running(running[0][2]):
            heapq.heappop(running)
        if end and (not running or math.isinf(running[0][0])):
            return end
        if not running:
            raise Stalled(
                f"{algorithm.name}: no job is in flight after {len(events.worker)} of "
                f"{num_gradients} gradients; let `start` and `arrive` assign workers",
                len(events.worker),
            )
        if math.isinf(running[0][0]):
            raise NothingEnds(len(events.worker))
        server.time, _, job = heapq.heappop(running)
        worker = job.worker
        queues[worker].popleft()
        given[worker].popleft()
        server.in_flight -= 1
        computed += job.finished
        if queues[worker]:
            start_next(worker)
        decision = _checked_decision(algorithm, algorithm.arrive(server, job), job)
        if decision.stepped_at is not None:
            _step_late(algorithm, events, server, decision.stepped_at)
        if decision.weight is None:
            discarded += job.finished
            in_a_row += 1
            if decision.step:
                _step_late(algorithm, events, server, server.time)
            # Under the declared rules at most the jobs in flight at the last step can
            # be stale, so only a mistaken algorithm comes near this bound.
            if in_a_row > 1000 * (concurrency_max + 1):
                if end:
                    return end
                raise Stalled(
                    f"{algorithm.name}: the last {in_a_row} jobs were all discarded or "
                    "given up; it would go on for ever: let `arrive` accept some, or "
                    "give longer limits",
                    len(events.worker),
                )
        elif end:
            return end
        else:
            in_a_row = 0
            events.worker.append(worker)
            events.job.append(job.index)
            events.read.append(job.read)
            events.weight.append(decision.weight)
            events.step.append(decision.step)
            events.time.append(server.time)
            events.computed.append(computed)
            server.version += decision.step
        stop(decision.stop)
        assign("assign", decision.assign)


class DeclaredAlgorithm:
    """The declarative fields as an algorithm of this loop."""

    def __init__(self, name: str, rules: Rules, seed: int):
        self.name = name
        self.rules = rules
        self.accepted: list[int] = []  # workers of the gradients since the last step
        self.picks = worker_order(
            rules.order, rules.num_workers, seed, routing=rules.routing
        )

    def start(self, server: Server) -> list[int]:
        if self.rules.start is not None:
            return list(self.rules.start)
        if self.rules.one_each or self.rules.order == "same":
            return list(range(self.rules.concurrency))
        return [next(self.picks) for _ in range(self.rules.concurrency)]

    def arrive(self, server: Server, job: Job) -> Decision:
        rules = self.rules
        delay = server.version - job.read
        if rules.max_delay is not None and delay >= rules.max_delay:
            return Decision(weight=None, step=False, assign=self.next([job.worker]))
        self.accepted.append(job.worker)
        step = len(self.accepted) == rules.gradients_per_step
        batch = self.accepted
        if step:
            self.accepted = []
        if not rules.after_step:
            return Decision(step=step, assign=self.next([job.worker]))
        return Decision(step=step, assign=self.next(batch) if step else [])

    def next(self, arrived: list[int]) -> list[int]:
        """Returns one worker for each that arrived."""
        if self.rules.order == "same":
            return arrived
        return [next(self.picks) for _ in arrived]


def worker_order(
    order: str,
    num_workers: int,
    seed: int,
    *,
    routing: tuple[float, ...] | None = None,
) -> Iterator[int]:
    """Yields the workers in the order in which they are picked.

    Pick number p uses number p of the seed's order stream and no other.

    Args:
        order, routing: of an `Algorithm`, but "same" picks nothing.
        num_workers: n >= 1.
        seed: non-negative integer.

    Example:
        >>> picks = worker_order("shuffled", 4, seed=0)
        >>> sorted(next(picks) for _ in range(4))
        [0, 1, 2, 3]
    """
    n = num_workers
    key = random.stream_key(seed, random.ORDER_STREAM)
    table = alias_table(routing)
    workers = list(range(n))
    block = 0
    while True:
        if order == "random":
            for j in range(n):
                yield int(pick(key, block * n + j, n, table.keep, table.other))
        else:
            if order == "shuffled" or (order == "shuffle_once" and block == 0):
                # Fisher-Yates from the front: place j takes one of places j..n-1.
                for j in range(n):
                    other = j + random.uniform_int(key, block * n + j, n - j)
                    workers[j], workers[other] = workers[other], workers[j]
            yield from workers
        block += 1


def _step_late(
    algorithm: EventAlgorithm, events: Events, server: Server, time: float
) -> None:
    """Makes the step that follows the last row, at a time since then."""
    if not events.step or events.step[-1]:
        raise ValueError(
            f"{algorithm.name}: step must be False without a gradient since the "
            "last step, got True"
        )
    name = f"{algorithm.name}: stepped_at (between the last arrival and this one)"
    check_number(name, time, minimum=events.time[-1], maximum=server.time)
    events.step[-1] = True
    events.time[-1] = time
    server.version += 1


def _checked_limits(algorithm: EventAlgorithm, num_workers: int) -> Any:
    """Returns the longest duration of each worker's jobs, None where any is allowed."""
    limits = getattr(algorithm, "limits", None)
    if limits is not None:
        name = f"{algorithm.name}: limits"
        check_numbers(name, limits, ndim=1, size=num_workers, minimum=0)
    return limits


def _checked_workers(
    algorithm: EventAlgorithm, what: str, workers: Any, num_workers: int
) -> Sequence[int]:
    """The workers that `start`, or the field of a decision, names."""
    try:
        checked = list(workers)
    except TypeError:
        raise TypeError(
            f"{algorithm.name}: {what} must be a list of workers such as [0], got "
            f"{workers!r}"
        ) from None
    for worker in checked:
        known = isinstance(worker, (int, np.integer)) and 0 <= worker < num_workers
        if not known or isinstance(worker, bool):
            raise ValueError(
                f"{algorithm.name}: {what} must name workers in 0..{num_workers - 1}, "
                f"got {worker!r}"
            )
    return [int(worker) for worker in checked]


def _checked_decision(algorithm: EventAlgorithm, decision: Any, job: Job) -> Decision:
    if not isinstance(decision, Decision):
        raise TypeError(
            f"{algorithm.name}: `arrive` must return a Decision, got {decision!r}"
        )
    if not isinstance(decision.step, (bool, np.bool_)):
        raise TypeError(
            f"{algorithm.name}: step must be True or False, got {decision.step!r}"
        )
    if decision.weight is None:
        if decision.step and job.finished:
            raise ValueError(
                f"{algorithm.name}: step must be False with a discarded gradient "
                "(weight None), got True"
            )
    elif not job.finished:
        raise ValueError(
            f"{algorithm.name}: weight must be None for a job that was given up, which "
            f"has no gradient, got {decision.weight!r}"
        )
    else:
        check_number(f"{algorithm.name}: weight", decision.weight)
    return decision
