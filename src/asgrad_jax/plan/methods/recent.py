"""ACED: the mean of the last gradients that are not too old."""

import dataclasses

import numpy as np
from numba import njit

from asgrad_jax.plan.algorithm import Algorithm
from asgrad_jax.plan.methods.tables import with_steps
from asgrad_jax.plan.registry import method
from asgrad_jax.plan.schedule import Schedule
from asgrad_jax.plan.table import Table


@dataclasses.dataclass(frozen=True)
class RecentGradients:
    """The direction is the mean of the last gradients read at most `max_age` steps ago.

    The server does not step before everybody has returned once.

    Attributes:
        max_age: largest age in server steps; None = n.
    """

    max_age: int | None

    def __call__(self, schedule: Schedule) -> Schedule:
        n = schedule.num_workers
        max_age = n if self.max_age is None else self.max_age
        schedule = with_steps(schedule, np.cumsum(schedule.draw == 0) == n)
        rows = len(schedule)
        gain, carry, count = np.zeros(rows), np.zeros(rows), np.zeros(rows, np.int64)
        dropped = np.full(rows, -1, np.int32)  # workers, in order
        drops = np.zeros(rows, np.int64)  # how many of them at each arrival
        _follow_ages(
            schedule.worker,
            schedule.read,
            schedule.version,
            n,
            max_age,
            gain,
            carry,
            count,
            dropped,
            drops,
        )
        drop = np.full((rows, drops.max()), -1, np.int32)
        drop[np.arange(drop.shape[1]) < drops[:, None]] = dropped[: drops.sum()]
        zero = np.zeros(rows)
        mean = np.where(count > 0, 1.0 / np.maximum(count, 1), 0.0)
        table = Table.from_arrays(
            schedule.worker,
            gain=np.stack([gain, zero], axis=1),
            carry=np.stack([carry, zero], axis=1),
            readout=np.stack([mean, zero], axis=1),
            num_rows=n,
            drop=drop if drops.any() else None,
        )
        return dataclasses.replace(schedule, table=table)


@njit(cache=True, nogil=True)
def _follow_ages(worker, read, version, n, max_age, gain, carry, count, dropped, drops):
    """Follows which last gradients are young enough, arrival by arrival."""
    start = np.full(n, -1, np.int64)  # version read by the last gradient, -1: not in
    first = np.full(version[-1] + 1, -1, np.int64)  # newest worker in by version read
    after = np.full(n, -1, np.int64)  # the next one with the same version
    active, total = 0, 0
    for a in range(worker.size):
        i, v = worker[a], version[a]
        if start[i] >= 0:
            carry[a] = -1.0
            active -= 1
            # Out of the list of its version.
            j = first[start[i]]
            if j == i:
                first[start[i]] = after[i]
            else:
                while after[j] != i:
                    j = after[j]
                after[j] = after[i]
            start[i] = -1
        if v - read[a] <= max_age:
            gain[a] = 1.0
            active += 1
            start[i] = read[a]
            after[i] = first[read[a]]
            first[read[a]] = i
        # After the start every arrival steps, so one version grows too old at a time.
        old = v - max_age - 1
        if old >= 0:
            j = first[old]
            while j >= 0:
                dropped[total] = j
                total += 1
                drops[a] += 1
                start[j] = -1
                active -= 1
                j = after[j]
            first[old] = -1
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
        ValueError: if max_age is below 1.

    Example:
        >>> aced(max_age=5).finish
        (RecentGradients(max_age=5),)
    """
    if max_age is not None and (not isinstance(max_age, int) or max_age < 1):
        raise ValueError(f"max_age is {max_age!r}; give an integer >= 1, or None for n")
    return Algorithm(name="aced", finish=(RecentGradients(max_age),))
