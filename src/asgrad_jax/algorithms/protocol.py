"""What a user-defined method looks like: `start` and `arrive`, for the event loop."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np


class Job(NamedTuple):
    """One gradient computation given to a worker."""

    number: int  # place in the order of assignment, over all workers
    worker: int  # 0..n-1
    index: int  # jobs this worker was given before
    read: int  # version of the iterate when the job was assigned
    finished: bool = True  # False: given up at the worker's time limit, no gradient


class Decision(NamedTuple):
    """What the server does with a gradient that has arrived."""

    weight: float | None = 1.0  # factor in the direction; None discards the gradient
    step: bool = True  # whether the server steps after adding it
    assign: Sequence[int] = ()  # workers to give a job, at the version after the step
    stop: Sequence[int] = ()  # workers that first abandon all the jobs they have
    stepped_at: float | None = None  # seconds: the server stepped then, see below


class Server:
    """What an algorithm may look at.

    Attributes:
        num_workers: workers n.
        version: server steps so far, before the gradient that has just arrived.
        time: virtual time, seconds.
        in_flight: jobs assigned and not arrived; the arrived one no longer counts.
        rng: generator of the algorithm's own, seeded by the seed of the run.
    """

    def __init__(self, num_workers: int, rng: np.random.Generator):
        self.num_workers = num_workers
        self.version = 0
        self.time = 0.0
        self.in_flight = 0
        self.rng = rng


@runtime_checkable
class EventAlgorithm(Protocol):
    """An algorithm for the Python event loop; `simulate` takes any such object.

    `simulate` works on a deep copy, so an object may keep its state in attributes and
    set it up in `start` or `__init__`. Three more attributes are read where an object
    has them: `limits`, seconds [n] after which a job is given up (it then arrives with
    `finished=False` and must be discarded; with step=True the server steps all the
    same, on what it has collected; the loop goes on past the last row until it is known
    whether that happens), `steps_late`, whether decisions may have `stepped_at`, and
    `transforms`, functions Schedule -> Schedule that fill in what is known only
    afterwards, such as weights.

    Example:
        Stale gradients are thrown away; otherwise the next job goes to the worker that
        has had the fewest.

        >>> from asgrad_jax.compute_times import fixed
        >>> from asgrad_jax.simulation.simulate import simulate
        >>> class LeastUsed:
        ...     name = "least_used"
        ...     def __init__(self, limit):
        ...         self.limit = limit
        ...     def start(self, server):
        ...         self.picks = [1] * server.num_workers
        ...         return range(server.num_workers)
        ...     def arrive(self, server, job):
        ...         if server.version - job.read >= self.limit:
        ...             return Decision(weight=None, step=False, assign=[job.worker])
        ...         rarest = self.picks.index(min(self.picks))
        ...         self.picks[rarest] += 1
        ...         return Decision(assign=[rarest])
        >>> schedule = simulate(LeastUsed(3), fixed([1.0, 2.0]), num_gradients=4)
        >>> schedule.worker
        array([0, 1, 0, 0], dtype=int32)
    """

    name: str

    def start(self, server: Server) -> Sequence[int]:
        """Returns the workers that get the first jobs, at version 0."""
        ...

    def arrive(self, server: Server, job: Job) -> Decision:
        """Returns what becomes of the gradient of `job`, which has just arrived.

        Its delay is server.version - job.read. Jobs that a decision stops cost time and
        a draw of their workers' noise, nothing else. `stepped_at` says that the server
        stepped at that time, before this arrival, on what it had collected: an
        algorithm with the attribute `steps_late = True` may do so.
        """
        ...
