"""When the server steps and who may go on: rules beyond a count of gradients."""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from asgrad_jax._util.checks import check_count, check_number
from asgrad_jax.algorithms.algorithm import (
    Algorithm,
    Count,
    resolve_count,
)
from asgrad_jax.algorithms.delay_aware import declared
from asgrad_jax.algorithms.event_method import EventMethod, EventRules
from asgrad_jax.algorithms.protocol import Decision, Job, Server
from asgrad_jax.algorithms.registry import register
from asgrad_jax.algorithms.round_algorithm import RoundAlgorithm
from asgrad_jax.schedules.columns import jobs_in_flight
from asgrad_jax.schedules.schedule import Schedule


@register("homogeneous", waits=True, state="d sum")
def k_async(gradients_per_step: Count = "half") -> Algorithm:
    """Recalled: K-async SGD, steps with gradients of the first K workers, which wait.

    ::

        loop: collect g_1..g_K from any workers, which idle meanwhile
              x <- x - (gamma / K) sum_j g_j;  these K workers start at the new x,
              the others go on with their jobs

    Source: Dutta et al. 2018 (arXiv 1803.01113), recalled, not checked against the
    text: the rule of `pure_waiting`. For homogeneous data.

    Args:
        gradients_per_step: K, 1 <= K <= n; the default is max(1, n // 2).

    Example:
        >>> k_async(5).restart
        'after_step'
    """
    return Algorithm(
        name="k_async", gradients_per_step=gradients_per_step, restart="after_step"
    )


@register("homogeneous", state="d sum")
def k_batch_async(gradients_per_step: Count = "half") -> Algorithm:
    """Recalled: K-batch-async SGD, steps with K gradients while everybody goes on.

    ::

        loop: g of i arrives;  i starts at the current x
              after K gradients: x <- x - (gamma / K) sum of them

    Source: Dutta et al. 2018 (arXiv 1803.01113), recalled, not checked against the
    text. For homogeneous data.

    Args:
        gradients_per_step: K >= 1; the default is max(1, n // 2).

    Example:
        >>> k_batch_async(5).restart
        'immediately'
    """
    return Algorithm(name="k_batch_async", gradients_per_step=gradients_per_step)


@dataclasses.dataclass(frozen=True)
class ConstantDelay:
    """Every gradient is read exactly tau steps ago, or at x_0 in the first tau steps.

    Which workers have the tau + 1 jobs in flight at the end is not decided: they are
    taken from those in flight before, in turn.
    """

    delay: Count

    def __call__(self, schedule: Schedule) -> Schedule:
        n, steps = schedule.num_workers, schedule.num_steps
        tau = resolve_count("constant_delay", "delay", self.delay, n) or 0
        read = np.maximum(schedule.version - tau, 0).astype(np.int32)
        ends = np.maximum(np.arange(steps - tau, steps + 1), 0).astype(np.int32)
        given = schedule.in_flight_worker
        workers = np.resize(given if len(given) else np.zeros(1, np.int32), tau + 1)
        schedule = dataclasses.replace(
            schedule, read=read, in_flight_worker=workers, in_flight_read=ends
        )
        most = int(jobs_in_flight(schedule).max())
        return dataclasses.replace(schedule, concurrency_max=most)


@register("heterogeneous", bounded_delay=True, unbiased=True, knows="tau")
def constant_delay(
    delay: Count = "half", inner: Algorithm | RoundAlgorithm | None = None
) -> Algorithm | RoundAlgorithm:
    """Delayed SGD: every gradient is exactly tau steps old, as theory often assumes.

    ::

        loop t = 0, 1, ...: i_t as the inner algorithm says
                            x_{t+1} = x_t - gamma g_{i_t}(x_{max(t - tau, 0)})

    Who arrives, and when, is that of the inner algorithm, random asynchronous SGD with
    uniform picks unless told otherwise; only the iterates read are other ones.

    Source: the model of constant delays, as in Arjevani, Shamir, Srebro 2020 (arXiv
    1806.10188), recalled, not checked against the text. For heterogeneous data too, if
    the inner algorithm is.

    Args:
        delay: tau >= 1; the default is max(1, n // 2).
        inner: steps with every gradient; the default is `random_async`.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> constant_delay(3).transforms
        (ConstantDelay(delay=3),)
    """
    name = "constant_delay"
    resolve_count(name, "delay", delay, 1)
    inner = Algorithm(name=name, order="random") if inner is None else inner
    inner = declared(name, inner)
    rules = (*inner.transforms, ConstantDelay(delay))
    return dataclasses.replace(inner, name=name, transforms=rules)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StaleSynchronous(EventMethod):
    """The rule of `stale_synchronous`.

    Attributes:
        slack: s >= 0.
    """

    slack: int

    def start(self, server: Server) -> range:
        """Gives everybody a job."""
        vars(self).update(delivered=[0] * server.num_workers, waiting=[])
        return range(server.num_workers)

    def arrive(self, server: Server, job: Job) -> Decision:
        """Steps, and lets those go on who are not too far ahead."""
        del server
        count, waiting = vars(self)["delivered"], vars(self)["waiting"]
        count[job.worker] += 1
        waiting.append(job.worker)
        most = min(count) + self.slack
        free = [i for i in waiting if count[i] <= most]
        waiting[:] = [i for i in waiting if count[i] > most]
        return Decision(assign=free)


@register("heterogeneous", bounded_delay=True, unbiased=True, waits=True, knows="s")
def stale_synchronous(slack: int = 3) -> StaleSynchronous:
    """Recalled: stale synchronous parallel (SSP), nobody is more than s rounds ahead.

    ::

        c_i = gradients that worker i has delivered
        loop: g of i arrives;  x <- x - gamma g;  c_i <- c_i + 1
              every idle worker j with c_j <= min_k c_k + s starts at the new x

    Those that waited longest start first. s = 0 waits for everybody after each round,
    a large s is pure asynchronous SGD.

    Source: Ho et al. 2013 (NeurIPS), recalled, not checked against the text, with one
    gradient per clock. For heterogeneous data too: all workers are heard equally often.

    Args:
        slack: s >= 0; the default is that of asgrad_jax.

    Raises:
        TypeError, ValueError: if s is not as described.

    Example:
        >>> stale_synchronous(2).slack
        2
    """
    slack = check_count("stale_synchronous: slack", slack, minimum=0)
    return StaleSynchronous(name="stale_synchronous", slack=slack)


@dataclasses.dataclass(frozen=True)
class MeanOfStep:
    """Sets weights to 1 / b, b the gradients of the row's own server step."""

    def __call__(self, schedule: Schedule) -> Schedule:
        version = schedule.version
        return dataclasses.replace(schedule, weight=1.0 / np.bincount(version)[version])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quorum(EventMethod):
    """The rule of `quorum`.

    Attributes:
        workers: q >= 1.
    """

    workers: Count

    def resolve(self, num_workers: int) -> EventRules:
        """Returns what it is for n workers; ValueError if there are fewer than q."""
        most = resolve_count(self.name, "workers", self.workers, num_workers)
        check_count(f"{self.name}: workers", most, maximum=num_workers)
        return EventRules(num_workers)

    def start(self, server: Server) -> range:
        """Gives everybody a job."""
        n = server.num_workers
        self.resolve(n)
        wanted = resolve_count(self.name, "workers", self.workers, n)
        vars(self).update(heard=set(), wanted=wanted)
        return range(n)

    def arrive(self, server: Server, job: Job) -> Decision:
        """Collects, and steps once enough different workers were heard."""
        del server
        heard = vars(self)["heard"]
        heard.add(job.worker)
        step = len(heard) == vars(self)["wanted"]
        if step:
            heard.clear()
        return Decision(step=step, assign=[job.worker])


@register("homogeneous", state="d sum")
def quorum(workers: Count = "half") -> Quorum:
    """Steps with the mean of what is there once q different workers have answered.

    ::

        loop: g of i arrives, into the buffer;  i starts at the current x
              when the buffer has gradients of q workers:
                  x <- x - gamma (mean of the buffer);  empty it

    Fast workers may be in the buffer several times; with q = n everybody is in it.

    Source: a waiting rule of asgrad_jax, made of common parts. For homogeneous data.

    Args:
        workers: q, 1 <= q <= n; the default is max(1, n // 2).

    Raises:
        TypeError, ValueError: if q is not as described.

    Example:
        >>> quorum(3).workers
        3
    """
    resolve_count("quorum", "workers", workers, 1)
    return Quorum(name="quorum", workers=workers, transforms=(MeanOfStep(),))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deadline(EventMethod):
    """The rule of `deadline`.

    Attributes:
        seconds: the period > 0; None: the time until n gradients have come.
    """

    seconds: float | None
    steps_late: ClassVar[bool] = True  # a step may be known only at the next arrival

    def start(self, server: Server) -> range:
        """Gives everybody a job."""
        period = math.inf if self.seconds is None else self.seconds
        vars(self).update(period=period, end=period, collected=0, arrivals=0)
        return range(server.num_workers)

    def arrive(self, server: Server, job: Job) -> Decision:
        """Says whether the server stepped since the last arrival."""
        state = vars(self)
        late = None
        if server.time > state["end"]:
            late = state["end"] if state["collected"] else None
            rounds = math.ceil(server.time / state["period"])
            state.update(end=rounds * state["period"], collected=0)
        state["collected"] += 1
        state["arrivals"] += 1
        enough = state["arrivals"] >= server.num_workers and server.time > 0
        if state["period"] == math.inf and enough:
            state.update(period=server.time, end=server.time)
        return Decision(step=False, stepped_at=late, assign=[job.worker])


@register("homogeneous", knows="a period, or measures it", state="d sum")
def deadline(seconds: float | None = None) -> Deadline:
    """Steps every t seconds with the mean of what has arrived since.

    ::

        at time t, 2 t, 3 t, ...: x <- x - gamma (mean of the buffer);  empty it
                                  (no step if it is empty)
        g of i arrives, into the buffer;  i starts at the current x

    A gradient that arrives exactly at a deadline is in it.

    Source: a waiting rule of asgrad_jax, made of common parts. For homogeneous data.

    Args:
        seconds: t > 0; None takes the virtual time of the n-th arrival.

    Raises:
        TypeError, ValueError: if t is not as described.

    Example:
        >>> deadline(2.5).seconds
        2.5
    """
    if seconds is not None:
        seconds = check_number("deadline: seconds", seconds, above=0)
    return Deadline(name="deadline", seconds=seconds, transforms=(MeanOfStep(),))
