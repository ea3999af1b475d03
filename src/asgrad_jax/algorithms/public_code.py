"""What AsGrad's published code does where it differs from the written algorithms."""

import dataclasses
from collections import deque

import numpy as np

from asgrad_jax._util.checks import check_bool, check_choice
from asgrad_jax.algorithms.algorithm import Algorithm
from asgrad_jax.algorithms.protocol import Decision, Job, Server
from asgrad_jax.schedules.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class OthersData:
    """A job is computed on the data of the worker that had just finished."""

    def __call__(self, schedule: Schedule) -> Schedule:
        # A job that reads version v was given out at arrival v - 1.
        giver = schedule.worker[np.maximum(schedule.read - 1, 0)]
        worker = np.where(schedule.read > 0, giver, schedule.worker)
        return Schedule.from_arrays(
            worker,
            schedule.read,
            time=schedule.time,
            num_workers=schedule.num_workers,
            name=schedule.name,
        )


class StalledQueues:
    """Random or shuffled assignment whose queues wait for the worker's next job.

    A job for a busy worker joins its queue, and the worker stays idle after the job it
    has. It goes on, with its oldest job, when it is given another one while idle: fewer
    and fewer workers compute.

    Attributes:
        name: "public_code".
        order: "random" or "shuffled".
        others_data: as for `public_code`.
    """

    def __init__(self, order: str, *, others_data: bool):
        self.name = "public_code"
        self.order = order
        self.others_data = others_data

    def start(self, server: Server) -> range:
        """One job for every worker."""
        n = server.num_workers
        self.waiting = [deque() for _ in range(n)]  # versions of jobs not begun
        self.reads = [deque([0]) for _ in range(n)]  # of begun jobs, in turn
        self.busy = [True] * n
        self.left: list[int] = []  # of the present permutation
        self.rows: list[int] = []
        return range(n)

    def arrive(self, server: Server, job: Job) -> Decision:
        """The next worker gets a job; it begins only if that worker is idle."""
        self.rows.append(self.reads[job.worker].popleft())
        self.busy[job.worker] = False
        chosen = self._next(server)
        self.waiting[chosen].append(server.version + 1)
        if self.busy[chosen]:
            return Decision()
        self.busy[chosen] = True
        self.reads[chosen].append(self.waiting[chosen].popleft())
        return Decision(assign=[chosen])

    def _next(self, server: Server) -> int:
        if self.order == "random":
            return int(server.rng.integers(server.num_workers))
        if not self.left:
            self.left = server.rng.permutation(server.num_workers).tolist()
        return self.left.pop()

    @property
    def transforms(self) -> list:
        """Puts in the versions that jobs were given at, not those they began at."""
        return [self._with_reads, *([OthersData()] if self.others_data else [])]

    def _with_reads(self, schedule: Schedule) -> Schedule:
        return Schedule.from_arrays(
            schedule.worker,
            np.array(self.rows[: len(schedule)]),
            time=schedule.time,
            num_workers=schedule.num_workers,
            name=schedule.name,
        )


def public_code(
    order: str = "shuffled", *, others_data: bool = True, stalled_queues: bool = True
) -> Algorithm | StalledQueues:
    """Random or shuffled assignment as AsGrad's published code has it, quirk by quirk.

    Source: github Rustem-Islamov/AsGrad-public, commit 00ee5d9, read and run; the
    quirks are in its `assign_new_job`. With compute times `tick` the clock is that
    code's too. Without both quirks this is `random_async` or `shuffled_async`.

    Args:
        order: "random" or "shuffled".
        others_data: jobs are computed on the data of the worker that has just finished,
            not of the worker that was chosen.
        stalled_queues: see `StalledQueues`.

    Raises:
        ValueError: for another order.

    Example:
        >>> import asgrad_jax as ag
        >>> times = ag.compute_times.tick(range(1, 11), "fixed")
        >>> schedule = ag.simulate(public_code("random"), times, num_gradients=500)
        >>> clean = ag.simulate("random_async", times, num_gradients=500)
        >>> bool(schedule.time[-1] > 2 * clean.time[-1])  # few workers compute
        True
    """
    check_choice("public_code: order", order, ("random", "shuffled"))
    check_bool("public_code: others_data", others_data)
    check_bool("public_code: stalled_queues", stalled_queues)
    if stalled_queues:
        return StalledQueues(order, others_data=others_data)
    transforms = (OthersData(),) if others_data else ()
    return Algorithm(name="public_code", order=order, transforms=transforms)
