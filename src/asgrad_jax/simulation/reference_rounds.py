"""Round algorithms in the readable event loop; the compiled one gives equal rows."""

import numpy as np

from asgrad_jax.algorithms.protocol import Decision, Job, Server
from asgrad_jax.algorithms.round_algorithm import (
    RoundRules,
    checked_allocation,
    harmonic_reached,
)


class DeclaredRounds:
    """The fields of a `RoundAlgorithm` as an algorithm of the event loop.

    Attributes:
        limits: [n] seconds after which the loop gives a job up, or None.
    """

    def __init__(self, name: str, rules: RoundRules):
        self.name = name
        self.rules = rules
        self.limits = None if rules.limit is None else rules.limit.tolist()
        n = rules.num_workers
        self.round_number = 0
        self.counts = [0] * n  # gradients of this round
        self.left: list[int]  # jobs that a worker may still start in this round
        self.reads: dict[int, int] = {}  # versions read by the running jobs
        self.began = [0.0] * n  # when the running jobs began
        self.total = np.zeros(n)  # seconds of finished jobs
        self.jobs = np.zeros(n, np.int64)  # finished jobs
        self.gradients = 0  # of this round
        self.inverse = 0.0  # sum of 1 / B_i over the workers with a gradient

    def start(self, server: Server) -> list[int]:
        self.new_round()
        return self.assign(server, 0, self.idle())

    def arrive(self, server: Server, job: Job) -> Decision:
        rules, worker = self.rules, job.worker
        del self.reads[worker]
        if not rules.stop and server.version - job.read >= rules.max_delay:
            again = self.assign(server, server.version, [worker])
            return Decision(weight=None, step=False, assign=again)
        if job.finished:
            self.count(worker)
            self.total[worker] += server.time - self.began[worker]
            self.jobs[worker] += 1
        over = self.round_is_over()
        if over:
            step = self.gradients > 0
            stopped = self.stale(server.version + step)
            for other in stopped:
                del self.reads[other]
            self.new_round()
            again = self.idle() if rules.stop else [worker]
        else:
            step = rules.each
            stopped = []
            again = [worker] if self.left[worker] > 0 else []
        version = server.version + step
        return Decision(
            weight=1.0 if job.finished else None,
            step=step,
            stop=stopped,
            assign=self.assign(server, version, again),
        )

    def count(self, worker: int) -> None:
        if self.counts[worker]:
            self.inverse -= 1 / self.counts[worker]
        self.counts[worker] += 1
        self.inverse += 1 / self.counts[worker]
        self.gradients += 1

    def round_is_over(self) -> bool:
        rules = self.rules
        if rules.until == "count":
            return self.gradients == rules.gradients_per_step
        if rules.until == "quota":
            return not self.reads and not any(self.left)
        return min(self.counts) > 0 and harmonic_reached(
            self.inverse, rules.gradients_per_step, rules.num_workers
        )

    def stale(self, version: int) -> list[int]:
        """Returns the workers whose running jobs are stopped at `version`."""
        if not self.rules.stop:
            return []
        return [
            worker
            for worker, read in self.reads.items()
            if version - read >= self.rules.max_delay
        ]

    def new_round(self) -> None:
        n = self.rules.num_workers
        self.round_number += 1
        self.counts = [0] * n
        self.gradients = 0
        self.inverse = 0.0
        quota = self.rules.quota
        if self.rules.allocation is not None:
            allocated = self.rules.allocation.allocate(
                self.round_number, self.total, self.jobs
            )
            quota = checked_allocation(self.name, allocated, self.rules)
        # Without a quota a worker may always go on.
        self.left = [1] * n if quota is None else quota.tolist()
        self.rationed = quota is not None

    def idle(self) -> list[int]:
        """Returns the workers that have no job and may start one."""
        return [
            worker
            for worker in range(self.rules.num_workers)
            if worker not in self.reads and self.left[worker] > 0
        ]

    def assign(self, server: Server, version: int, workers: list[int]) -> list[int]:
        for worker in workers:
            self.reads[worker] = version
            self.began[worker] = server.time
            if self.rationed:
                self.left[worker] -= 1
        return workers
