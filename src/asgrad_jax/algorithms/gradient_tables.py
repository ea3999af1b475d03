"""Methods whose server remembers the last gradient of every worker."""

import dataclasses

import numpy as np

from asgrad_jax._util.jit import njit
from asgrad_jax.algorithms.algorithm import Algorithm, Count
from asgrad_jax.algorithms.registry import method
from asgrad_jax.schedules.gradient_table import Table
from asgrad_jax.schedules.schedule import Schedule


def with_steps(schedule: Schedule, step: np.ndarray) -> Schedule:
    """Returns a schedule of pure asynchronous SGD with other server steps.

    Every worker starts anew at its own arrival, whether the server steps or not, so
    steps change what is read and nothing else.

    Args:
        schedule: every job a row, every arrival restarts its worker at once.
        step: bool [A].

    Returns:
        The schedule with these steps and the reads that follow from them.
    """
    read = np.empty(len(schedule), np.int32)
    last = np.zeros(schedule.num_workers, np.int32)
    _follow_reads(schedule.worker, step, read, last)
    return dataclasses.replace(
        schedule,
        step=step,
        read=read,
        in_flight_read=last[schedule.in_flight_worker],
    )


@njit
def _follow_reads(worker, step, read, last):
    """Writes the versions read, and the last one assigned to each worker."""
    version = 0
    for a in range(worker.size):
        i = worker[a]
        read[a] = last[i]
        version += step[a]
        last[i] = version


@dataclasses.dataclass(frozen=True)
class LastGradients:
    """The direction is the mean of all workers' last gradients, D_0 of the table.

    The server does not step before everybody has returned once.
    """

    def __call__(self, schedule: Schedule) -> Schedule:
        n = schedule.num_workers
        step = np.cumsum(schedule.draw == 0) == n
        table = Table.from_arrays(
            schedule.worker,
            num_rows=n,
            gain=(1.0 / n, 0.0),
            carry=(-1.0 / n, 0.0),
        )
        return dataclasses.replace(with_steps(schedule, step), table=table)


_IA2SGD = dict(
    unbiased=True,
    table=True,
    state="n x d table",
)


@method("het", **_IA2SGD)
def ia2sgd() -> Algorithm:
    """IA2SGD: every arrival steps with the mean of all workers' last gradients.

    ::

        all workers start at x_0 and compute there again and again, without a step,
            until everybody has returned; G_i = last gradient of i, m = (1/n) sum_i G_i
        loop: g of i arrives;  m <- m + (g - G_i) / n;  G_i <- g;  x <- x - gamma m
              i starts at the new x

    The arrival that completes the table makes the first step.

    Source: published code (class IAASGD). The same rule is DuDe-ASGD (Wang et al.,
    arXiv 2405.16966) and, with one local step, ACE ("immediate, non-buffered updates
    that use the latest information of all clients", abstract). het.

    Example:
        >>> ia2sgd().finish
        (LastGradients(),)
    """
    return Algorithm(name="ia2sgd", finish=(LastGradients(),))


@method("het", **_IA2SGD)
def dude_asgd() -> Algorithm:
    """DuDe-ASGD: every arrival steps with the mean of all workers' last gradients.

    ::

        loop: g of i arrives;  m <- m + (g - G_i) / n;  G_i <- g;  x <- x - gamma m
              i starts at the new x

    Source: Wang et al. (arXiv 2405.16966), as described in reviews: the rule of
    `ia2sgd`, warm-up included. het.

    Example:
        >>> dude_asgd().name
        'dude_asgd'
    """
    return dataclasses.replace(ia2sgd(), name="dude_asgd")


@method("het", **_IA2SGD)
def ace() -> Algorithm:
    """ACE with one local step: the mean of all clients' last gradients, at once.

    ::

        loop: g of i arrives;  m <- m + (g - G_i) / n;  G_i <- g;  x <- x - gamma m
              i starts at the new x

    Source: as described in its abstract ("immediate, non-buffered updates that use the
    latest information of all clients"): the rule of `ia2sgd`, warm-up included. het.

    Example:
        >>> ace().name
        'ace'
    """
    return dataclasses.replace(ia2sgd(), name="ace")


@dataclasses.dataclass(frozen=True)
class CachedBuffer:
    """The direction is h + (1/b) sum over the buffer of (g - h_i), b gradients each.

    Two accumulators: D_1 = (1/n) sum_i h_i with the cache as it is now, and D_0 = (1/b
    - 1/n) sum over the buffer of (g - h_i), emptied at every step. Before the step D_1
    exceeds the h at the start of the buffer by (1/n) sum (g - h_i), so D_0 + D_1 is h
    at the start of the buffer + (1/b) sum (g - h_i). A worker that is twice in a buffer
    brings g - h_i and then g' - g.
    """

    def __call__(self, schedule: Schedule) -> Schedule:
        n, mean = schedule.num_workers, float(schedule.weight[0])
        gain = np.array([mean - 1.0 / n, 1.0 / n])
        table = Table.from_arrays(
            schedule.worker,
            num_rows=n,
            gain=gain,
            carry=-gain,
            readout=(1.0, 1.0),
            mix=((0.0, 0.0), (0.0, 1.0)),
        )
        return dataclasses.replace(schedule, table=table)


@method("het", unbiased=True, table=True, state="n x d table, 2 d sums")
def ca2fl(wait: Count = "tenth", concurrency: Count | None = None) -> Algorithm:
    """CA2FL with one local step: FedBuff with a cache of every client's last gradient.

    ::

        loop: g of i arrives;  S <- S + (g - h_i);  h_i <- g
              if b gradients are in: x <- x - gamma (h + S / b)
                                     h <- (1/n) sum_j h_j;  S <- 0
              k ~ Uniform[n] gets a job at the current x

    Source: Wang, Cao, Wu, Chen, Chen (ICLR 2024), as in the published code: the cache
    changes at the arrival, h after the step, missing entries are 0, b is a tenth of the
    clients. With b = 1 it steps with h + (g - h_i), as SAGA does. het.

    Args:
        wait: b >= 1; the default is max(1, n // 10).
        concurrency: jobs in flight c >= 1; the default is n.

    Example:
        >>> ca2fl().resolve(50).wait
        5
    """
    return Algorithm(
        name="ca2fl",
        order="random",
        wait=wait,
        concurrency=concurrency,
        finish=(CachedBuffer(),),
    )
