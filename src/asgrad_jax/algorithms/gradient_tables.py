"""Methods whose server remembers the last gradient of every worker."""

import dataclasses

import numpy as np

from asgrad_jax._util.checks import check_count
from asgrad_jax._util.jit import njit
from asgrad_jax.algorithms.algorithm import Algorithm, Count
from asgrad_jax.algorithms.registry import register
from asgrad_jax.schedules.gradient_table import GradientTable
from asgrad_jax.schedules.schedule import Schedule


def with_steps(schedule: Schedule, step: np.ndarray) -> Schedule:
    """Returns a schedule of pure asynchronous SGD with other server steps.

    Every worker starts anew at its own arrival, whether the server steps or not, so
    steps, bool [A], change what is read and nothing else.
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


def after_warm_up(schedule: Schedule) -> np.ndarray:
    """Returns where the server steps, bool [A]: once every worker had returned before.

    Example:
        >>> after_warm_up(Schedule.from_arrays(worker=[0, 0, 1, 0], read=[0, 1, 0, 2]))
        array([False, False, False,  True])
    """
    first = schedule.job == 0
    return np.cumsum(first) - first == schedule.num_workers


@dataclasses.dataclass(frozen=True)
class LastGradients:
    """The direction is the mean of all workers' last gradients, D_0 of the table.

    The server does not step before everybody has returned once.
    """

    def __call__(self, schedule: Schedule) -> Schedule:
        n = schedule.num_workers
        step = after_warm_up(schedule)
        gain, carry = (1.0 / n, 0.0), (-1.0 / n, 0.0)
        table = GradientTable.from_arrays(
            schedule.worker, num_rows=n, gain=gain, carry=carry
        )
        return dataclasses.replace(with_steps(schedule, step), table=table)


_IA2SGD = dict(unbiased=True, table=True, state="n x d table")


@register("heterogeneous", **_IA2SGD)
def ia2sgd() -> Algorithm:
    """IA2SGD: every arrival steps with the mean of all workers' last gradients.

    ::

        all workers start at x_0 and compute there again and again, without a step,
            until everybody has returned; G_i = last gradient of i, m = (1/n) sum_i G_i
        loop: g of i arrives;  m <- m + (g - G_i) / n;  G_i <- g;  x <- x - gamma m
              i starts at the new x

    The arrival that completes the table makes no step: the next one makes the first.

    Source: published code (class IAASGD of `ringmaster-lmo`). The same rule is
    `dude_asgd` and, with one local step, `ace`. For heterogeneous data too.

    Example:
        >>> ia2sgd().transforms
        (LastGradients(),)
    """
    return Algorithm(name="ia2sgd", transforms=(LastGradients(),))


@register("heterogeneous", **_IA2SGD)
def dude_asgd() -> Algorithm:
    """DuDe-ASGD: every arrival steps with the mean of all workers' last gradients.

    ::

        loop: g of i arrives;  m <- m + (g - G_i) / n;  G_i <- g;  x <- x - gamma m
              i starts at the new x

    Source: Wang et al. (arXiv 2405.16966), as described in reviews: the rule of
    `ia2sgd`, warm-up included. For heterogeneous data too.

    Example:
        >>> dude_asgd().name
        'dude_asgd'
    """
    return dataclasses.replace(ia2sgd(), name="dude_asgd")


@register("heterogeneous", **_IA2SGD)
def ace() -> Algorithm:
    """ACE with one local step: the mean of all clients' last gradients, at once.

    ::

        loop: g of i arrives;  m <- m + (g - G_i) / n;  G_i <- g;  x <- x - gamma m
              i starts at the new x

    Source: recalled from reviews, not checked against the text: the rule of `ia2sgd`,
    warm-up included. For heterogeneous data too.

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
        table = GradientTable.from_arrays(
            schedule.worker,
            num_rows=n,
            gain=gain,
            carry=-gain,
            readout=(1.0, 1.0),
            mix=((0.0, 0.0), (0.0, 1.0)),
        )
        return dataclasses.replace(schedule, table=table)


@register("heterogeneous", unbiased=True, table=True, state="n x d table, 2 d sums")
def ca2fl(
    gradients_per_step: Count = "tenth", concurrency: Count | None = None
) -> Algorithm:
    """CA2FL with one local step: FedBuff with a cache of every client's last gradient.

    ::

        loop: g of i arrives;  S <- S + (g - h_i);  h_i <- g
              if b gradients are in: x <- x - gamma (h + S / b)
                                     h <- (1/n) sum_j h_j;  S <- 0
              k ~ Uniform[n] gets a job at the current x

    Source: Wang, Cao, Wu, Chen, Chen (ICLR 2024), as in the published code: the cache
    changes at the arrival, h after the step, missing entries are 0, b is a tenth of the
    clients. With b = 1 it steps with h + (g - h_i), as SAGA does. For heterogeneous
    data too.

    Args:
        gradients_per_step: b >= 1; the default is max(1, n // 10).
        concurrency: jobs in flight c >= 1; the default is n.

    Example:
        >>> ca2fl().resolve(50).gradients_per_step
        5
    """
    return Algorithm(
        name="ca2fl",
        order="random",
        gradients_per_step=gradients_per_step,
        concurrency=concurrency,
        transforms=(CachedBuffer(),),
    )


@dataclasses.dataclass(frozen=True)
class RecentGradients:
    """The direction is the mean of the last gradients read at most `max_age` steps ago.

    The server does not step before everybody has returned once. D_1 is the sum of the
    gradients taken at x_0, which grow too old all at once: then it is no longer read
    out. D_0 is the sum of the others; of those one at most grows too old at an arrival,
    since every later iterate is read by one worker.

    Attributes:
        max_age: largest age in server steps; None = no limit.
    """

    max_age: int | None

    def __call__(self, schedule: Schedule) -> Schedule:
        n = schedule.num_workers
        schedule = with_steps(schedule, after_warm_up(schedule))
        rows, version = len(schedule), schedule.version
        max_age = rows if self.max_age is None else self.max_age
        gain, carry, count = np.zeros((rows, 2)), np.zeros((rows, 2)), np.zeros(rows)
        drop = np.full((rows, 1), -1, np.int32)
        worker, read, last = schedule.worker, schedule.read, drop[:, 0]
        _follow_ages(worker, read, version, n, max_age, gain, carry, count, last)
        mean = np.where(count > 0, 1.0 / np.maximum(count, 1), 0.0)
        table = GradientTable.from_arrays(
            worker,
            gain=gain,
            carry=carry,
            readout=np.stack([mean, np.where(version <= max_age, mean, 0.0)], axis=1),
            num_rows=n,
            drop=drop if (drop >= 0).any() else None,
        )
        return dataclasses.replace(schedule, table=table)


@njit
def _follow_ages(worker, read, version, n, max_age, gain, carry, count, drop):
    """Follows which last gradients are young enough, arrival by arrival."""
    start = np.full(n, -1, np.int64)  # version read by the last gradient, -1: not in
    reader = np.full(version[-1] + 1, -1, np.int64)  # who is in with it (not for 0)
    active, at_start = 0, 0  # gradients that are in, those of version 0 among them
    for a in range(worker.size):
        i, v = worker[a], version[a]
        if start[i] >= 0:
            carry[a, 1 if start[i] == 0 else 0] = -1.0
            active -= 1
            if start[i] == 0:
                at_start -= 1
            else:
                reader[start[i]] = -1
            start[i] = -1
        if v - read[a] <= max_age:
            gain[a, 1 if read[a] == 0 else 0] = 1.0
            active += 1
            start[i] = read[a]
            if read[a] == 0:
                at_start += 1
            else:
                reader[read[a]] = i
        # After the start every arrival steps, so one version grows too old at a time.
        old = v - max_age - 1
        if old == 0 and at_start > 0:
            active -= at_start
            at_start = 0
            for j in range(n):
                if start[j] == 0:
                    start[j] = -1
        elif old > 0 and reader[old] >= 0:
            drop[a] = reader[old]
            start[reader[old]] = -1
            reader[old] = -1
            active -= 1
        count[a] = active


@register(
    "heterogeneous",
    table=True,
    discards=True,
    knows="tau_algo or nothing",
    state="n x d table",
)
def aced(max_age: int | None = None) -> Algorithm:
    """ACED: every arrival steps with the mean of the last gradients not too old.

    ::

        warm-up as in ACE: everybody returns once at x_0
        loop at step t: g of i arrives;  G_i <- g
            A_t = workers whose G_j was started at most tau_algo steps ago
            x <- x - gamma (1/|A_t|) sum_{j in A_t} G_j   (no move if A_t is empty)
            i starts at the new x

    Without a limit, the default, everybody is in A_t and it is `ace`. With one, workers
    whose gradients arrive later than that never count, and the method goes to a
    stationary point of the mean of the others' f_i, which may be further from those of
    f than the one of pure asynchronous SGD.

    Source: the delay-aware variant of ACE, recalled from reviews and not checked
    against the text; the default is that of asgrad_jax. For heterogeneous data too, if
    the limit is above the delays of the slowest worker.

    Args:
        max_age: tau_algo >= 1 in server steps; None = no limit.

    Raises:
        TypeError, ValueError: if max_age is not an integer >= 1.

    Example:
        >>> aced(max_age=5).transforms
        (RecentGradients(max_age=5),)
    """
    if max_age is not None:
        max_age = check_count("aced: max_age", max_age)
    return Algorithm(name="aced", transforms=(RecentGradients(max_age),))
