"""An event loop and schedules for the theory tests, independent of the package's own.

Written to be read: one heap, FIFO queues, a job keeps the version current when it was
assigned. It also returns the true assignment order, which the package has to recover.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field

import numpy as np


@dataclass
class HandSchedule:
    """The columns that the theory reads."""

    worker: np.ndarray
    read: np.ndarray
    step: np.ndarray
    weight: np.ndarray
    in_flight_worker: np.ndarray
    in_flight_read: np.ndarray
    num_workers: int
    assigned_worker: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    name: str = "by hand"

    @property
    def version(self):
        return np.cumsum(self.step) - self.step

    @property
    def delay(self):
        return self.version - self.read

    @property
    def num_steps(self):
        return int(self.step.sum())

    @property
    def num_gradients(self):
        return len(self.worker)


def speeds(kind, n, rng):
    if kind == "equal":
        return np.ones(n)
    if kind == "linear":
        return np.arange(1, n + 1.0)
    if kind == "sqrt":
        return np.sqrt(np.arange(1, n + 1.0))
    if kind == "straggler":
        return np.append(np.ones(n - 1), 30.0)
    return rng.permutation(1.5 ** np.arange(n))  # geometric


def duration(law, mean, rng):
    if law == "fixed":
        return mean
    if law == "exponential":
        return rng.exponential(mean)
    if law == "half_normal":
        return abs(rng.normal(mean, mean)) + 1
    if law == "pareto":
        return mean * (1 + rng.pareto(1.2))
    return rng.uniform(0, 2 * mean)


def simulate(method, means, num_rows, *, law="fixed", gradients_per_step=1, seed=0):
    """Pure, random, shuffled or cyclic with one job per worker at the start."""
    rng = np.random.default_rng(seed)
    n = len(means)
    queue = [deque() for _ in range(n)]
    heap, permutation = [], []
    version, number, pending = 0, 0, []
    columns = {"worker": [], "read": [], "step": []}
    assigned = []

    def begin(worker, now):
        job, read = queue[worker][0]
        heapq.heappush(
            heap, (now + duration(law, means[worker], rng), job, read, worker)
        )

    def assign(worker, now):
        nonlocal number
        queue[worker].append((number, version))
        assigned.append(worker)
        number += 1
        if len(queue[worker]) == 1:
            begin(worker, now)

    def pick(finished):
        nonlocal permutation
        if method == "pure":
            return finished
        if method == "random":
            return int(rng.integers(n))
        if not permutation:
            order = rng.permutation(n) if method == "shuffled" else np.arange(n)
            permutation = list(order)
        return int(permutation.pop(0))

    for worker in range(n):
        assign(worker, 0.0)
    while len(columns["worker"]) < num_rows:
        now, _, read, worker = heapq.heappop(heap)
        queue[worker].popleft()
        if queue[worker]:
            begin(worker, now)
        pending.append(worker)
        stepping = len(pending) == gradients_per_step
        columns["worker"].append(worker)
        columns["read"].append(read)
        columns["step"].append(stepping)
        if stepping:
            version += 1
            for done in pending:
                assign(pick(done), now)
            pending = []
    left = [(job, read, w) for w in range(n) for job, read in queue[w]]
    left.sort()
    return HandSchedule(
        worker=np.array(columns["worker"], np.int32),
        read=np.array(columns["read"], np.int32),
        step=np.array(columns["step"], bool),
        weight=np.full(num_rows, 1.0 / gradients_per_step),
        in_flight_worker=np.array([w for _, _, w in left], np.int32),
        in_flight_read=np.array([read for _, read, _ in left], np.int32),
        num_workers=n,
        assigned_worker=np.array(assigned, np.int32),
    )
