"""ACED: the mean of the last gradients that are not too old."""

import dataclasses

import numpy as np

from asgrad_jax._util.checks import check_count
from asgrad_jax._util.jit import njit
from asgrad_jax.algorithms.algorithm import Algorithm
from asgrad_jax.algorithms.gradient_tables import with_steps
from asgrad_jax.algorithms.registry import method
from asgrad_jax.schedules.gradient_table import Table
from asgrad_jax.schedules.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class RecentGradients:
    """The direction is the mean of the last gradients read at most `max_age` steps ago.

    The server does not step before everybody has returned once. D_1 is the sum of the
    gradients taken at x_0, which grow too old all at once: then it is no longer read
    out. D_0 is the sum of the others; of those one at most grows too old at an arrival,
    since every later iterate is read by one worker.

    Attributes:
        max_age: largest age in server steps; None = n.
    """

    max_age: int | None

    def __call__(self, schedule: Schedule) -> Schedule:
        n = schedule.num_workers
        max_age = n if self.max_age is None else self.max_age
        schedule = with_steps(schedule, np.cumsum(schedule.draw == 0) == n)
        rows, version = len(schedule), schedule.version
        gain, carry, count = np.zeros((rows, 2)), np.zeros((rows, 2)), np.zeros(rows)
        drop = np.full((rows, 1), -1, np.int32)
        _follow_ages(
            schedule.worker,
            schedule.read,
            version,
            n,
            max_age,
            gain,
            carry,
            count,
            drop[:, 0],
        )
        mean = np.where(count > 0, 1.0 / np.maximum(count, 1), 0.0)
        table = Table.from_arrays(
            schedule.worker,
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


@method("het", table=True, discards=True, knows="tau_algo", state="n x d table")
def aced(max_age: int | None = None) -> Algorithm:
    """ACED: every arrival steps with the mean of the last gradients not too old.

    ::

        warm-up as in ACE: everybody returns once at x_0
        loop at step t: g of i arrives;  G_i <- g
            A_t = workers whose G_j was started at most tau_algo steps ago
            x <- x - gamma (1/|A_t|) sum_{j in A_t} G_j   (no move if A_t is empty)
            i starts at the new x

    Source: as described in the abstract and reviews of ACE ("average only over clients
    whose cached gradient's start is within tau_algo iterations"). het, but biased
    towards the workers that are fast enough to be in A_t.

    Args:
        max_age: tau_algo >= 1 in server steps; the default is n.

    Raises:
        TypeError: if max_age is no integer.
        ValueError: if max_age is below 1.

    Example:
        >>> aced(max_age=5).finish
        (RecentGradients(max_age=5),)
    """
    if max_age is not None:
        max_age = check_count("aced: max_age", max_age)
    return Algorithm(name="aced", finish=(RecentGradients(max_age),))
