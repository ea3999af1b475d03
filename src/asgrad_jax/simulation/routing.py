"""Workers drawn with given probabilities, one random number per draw."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.jit import njit


class AliasTable(NamedTuple):
    """Walker's alias table of n probabilities; empty arrays mean uniform.

    Attributes:
        keep: float64 [n] or [0], probability of staying with a uniformly drawn worker.
        other: int32 [n] or [0], the worker taken otherwise.
    """

    keep: NDArray[np.float64]
    other: NDArray[np.int32]


def alias_table(probabilities: tuple[float, ...] | None) -> AliasTable:
    """Returns Walker's table (Vose's construction) of positive numbers with sum 1.

    Equal probabilities keep every draw, so they give the same workers as none at all.

    Example:
        >>> table = alias_table((0.25, 0.75))
        >>> table.keep.tolist(), table.other.tolist()
        ([0.5, 1.0], [1, 1])
    """
    if probabilities is None:
        return AliasTable(np.empty(0), np.empty(0, np.int32))
    share = np.array(probabilities)
    n = share.size
    share = share * (n / share.sum())
    share[np.abs(share - 1) < 1e-12] = 1.0
    keep, other = np.ones(n), np.arange(n, dtype=np.int32)
    small = [i for i in range(n) if share[i] < 1]
    large = [i for i in range(n) if share[i] > 1]
    while small and large:
        low, high = small.pop(), large[-1]
        keep[low], other[low] = share[low], high
        share[high] -= 1 - share[low]
        if share[high] < 1:
            small.append(large.pop())
    return AliasTable(keep, other)  # what rounding leaves over stays with itself


@njit
def pick(key, p, n, keep, other):
    """Returns draw p of the stream: a worker in 0..n-1 by the alias table."""
    worker = random.uniform_int(key, p, n)
    if keep.size and random.uniform(random.bits(key, p), 0) >= keep[worker]:
        return np.int64(other[worker])
    return worker
