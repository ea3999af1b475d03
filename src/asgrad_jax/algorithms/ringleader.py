"""Ringleader ASGD: two tables of means, rounds of exactly n steps."""

import dataclasses

import numpy as np

from asgrad_jax._util.jit import njit
from asgrad_jax.algorithms.algorithm import Algorithm
from asgrad_jax.algorithms.gradient_tables import with_steps
from asgrad_jax.algorithms.registry import register
from asgrad_jax.schedules.gradient_table import GradientTable
from asgrad_jax.schedules.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class RoundTables:
    """Steps and table of Ringleader, from the workers in the order of their arrival.

    Row i + n (k mod 2) of the table is worker i's sum of gradients for round k; D_0 is
    the mean of the current round's means and D_1 that of the next round's so far.
    """

    def __call__(self, schedule: Schedule) -> Schedule:
        n, rows = schedule.num_workers, len(schedule)
        step = np.zeros(rows, np.bool_)
        row = np.empty(rows, np.int32)
        keep = np.zeros(rows)
        gain = np.zeros((rows, 2))
        carry = np.zeros((rows, 2))
        last = np.zeros(rows, np.bool_)
        _rounds(schedule.worker, n, step, row, keep, gain, carry, last)
        # At the end of a round the next round's accumulator becomes the current one.
        stay, move = np.eye(2), np.array([[0.0, 1.0], [0.0, 0.0]])
        table = GradientTable.from_arrays(
            row,
            num_rows=2 * n,
            gain=gain,
            carry=carry,
            keep=keep,
            mix=np.where(last[:, None, None], move, stay) if last.any() else stay,
        )
        return dataclasses.replace(with_steps(schedule, step), table=table)


@njit
def _rounds(worker, n, step, row, keep, gain, carry, last):
    current = np.zeros(n, np.int64)  # gradients of each worker for this round
    following = np.zeros(n, np.int64)  # and for the next one
    pending = np.ones(n, np.bool_)  # phase 2: those that still owe a step
    missing = n  # workers without a gradient for this round
    steps = 0  # of this round
    parity = 0
    for a in range(worker.size):
        i = worker[a]
        collecting = missing > 0
        mine = collecting or pending[i]
        count = current[i] if mine else following[i]
        row[a] = i + n * (parity if mine else 1 - parity)
        # From the mean of `count` gradients to that of one more, G_i being their sum.
        column = 0 if mine else 1
        gain[a, column] = 1.0 / (n * (count + 1))
        if count > 0:
            keep[a] = 1.0
            carry[a, column] = (1.0 / (count + 1) - 1.0 / count) / n
        if not mine:
            following[i] = count + 1
            continue
        current[i] = count + 1
        if collecting:
            if count == 0:
                missing -= 1
            if missing > 0:
                continue
        step[a] = True
        pending[i] = False
        steps += 1
        if steps == n:
            last[a] = True
            steps = 0
            parity = 1 - parity
            missing = 0
            for j in range(n):
                current[j] = following[j]
                following[j] = 0
                pending[j] = True
                missing += current[j] == 0


@register(
    "heterogeneous",
    bounded_delay=True,
    unbiased=True,
    table=True,
    state="2 n x d tables",
)
def ringleader() -> Algorithm:
    """Ringleader ASGD: rounds of n steps, each with the mean of workers' means.

    ::

        phase 1: every g of i goes into the mean G_i of this round; i starts at the same
                 x; until everybody has a gradient in this round
        phase 2: x <- x - gamma (1/n) sum_i G_i; the last one to arrive starts there
                 S = all other workers;  g of i arrives:
                   i in S:     it goes into G_i, x <- x - gamma (1/n) sum_i G_i,
                               i leaves S and starts at the new x
                   i not in S: it goes into i's mean for the next round; i starts at x
                 until S is empty: n steps in all
        the next round begins with the means collected for it

    No gradient is thrown away, no worker idles, and delays are at most 2 n - 2.

    Source: Maranjyan and Richtarik 2025 (arXiv 2509.22860), as in the published code
    (class RingleaderASGD of `ringmaster-lmo`); the delay bound and the recommended step
    min(1 / (8 n L), eps B / (10 L sigma^2)) confirmed in the text. For heterogeneous
    data too.

    Example:
        >>> ringleader().name
        'ringleader'
    """
    return Algorithm(name="ringleader", transforms=(RoundTables(),))
