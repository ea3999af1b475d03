"""How long the compiled passes over rows take, and how calls are shared by threads.

Every number here was measured; `benchmarks/fit_cost.py` measures them again. A pass is
as fast at half or twice any of them: they only decide who does what.
"""

import math
from typing import NamedTuple

import numpy as np


class PassCost(NamedTuple):
    """Seconds of the compiled passes on one core, and the limits of their forms.

    Attributes:
        sparse: seconds per nonzero, of one register of lanes.
        dense: seconds per number of a row, of one register of lanes.
        dense_lane: seconds per number of a row, of a lane that goes through by itself.
        missed_row: further seconds of a sparse row that no cache holds.
        missed_number: further seconds of a number of a dense row that no cache holds.
        cached: numbers that a shared cache holds.
        entry: seconds of work that a thread must find in whole batch entries.
        part: seconds of work that a thread must find in a part of an entry's rows,
        summed: and further seconds for each number of the gradients, for those of the
            parts are added up.
        sharing: seconds that sharing a call takes.
        uneven: factor of the seconds of a shared call, because threads do not end
            together.
    """

    sparse: float = 1.8e-9
    dense: float = 7.4e-10
    dense_lane: float = 1.3e-10
    missed_row: float = 9e-8
    missed_number: float = 7e-10
    cached: int = 2**22
    entry: float = 5e-6
    part: float = 2.5e-6
    summed: float = 2e-9
    sharing: float = 2e-6
    uneven: float = 1.15


PASS = PassCost()

# Bytes of a vector of lanes: half, one or two of the largest registers there are; and
# what a pass costs with each, next to one register.
NARROW, MIDDLE, WIDE = 32, 64, 128
_VECTOR_COST = {NARROW: 0.8, MIDDLE: 1.0, WIDE: 1.75}
# Features up to which the iterates and gradients of the widest vector of lanes stay in
# the first cache.
_FEW_FEATURES = 96
# Where lanes go one by one, with vectors of features: at most so many lanes, and of so
# many features. With longer rows XLA's products of a matrix and a vector are as fast,
# on one core.
_FEW_LANES, _SHORTEST, _LONGEST, _LONGEST_SHARED = 4, 8, 256, 4096
# Lanes from which on a pass is faster than XLA's products of vectors, where it does
# not take the lanes one by one.
_FEWEST_LANES = 3


def lanes_at_once(lanes: int, dtype) -> int:
    """Returns the width of the smallest vector with all lanes, or of the largest."""
    size = np.dtype(dtype).itemsize
    fit = [width for width in (NARROW, MIDDLE) if lanes * size <= width]
    return [*fit, WIDE][0] // size


def relative_cost(lanes: int, at_once: int, dtype) -> float:
    """Returns the time of all lanes next to that of one register's.

    Example:
        >>> relative_cost(16, 16, "float32"), relative_cost(40, 8, "float32")
        (1.0, 4.0)
    """
    size = at_once * np.dtype(dtype).itemsize
    return math.ceil(lanes / at_once) * _VECTOR_COST[size]


def register_width(dtype) -> int:
    """Returns how many numbers the largest registers hold, if they have 64 bytes."""
    return MIDDLE // np.dtype(dtype).itemsize


def one_by_one(lanes: int, num_features: int, cores: int) -> bool:
    """Whether so many lanes of so many features go through one by one."""
    longest = _LONGEST if cores == 1 else _LONGEST_SHARED
    return lanes <= _FEW_LANES and _SHORTEST <= num_features <= longest


def dense_lanes_at_once(lanes: int, num_features: int, dtype) -> int:
    """Returns how many lanes of dense rows go through together, where they do."""
    most = lanes_at_once(lanes, dtype)
    return most if num_features <= _FEW_FEATURES else min(most, register_width(dtype))


def dense_pass_pays(lanes: int, num_features: int, cores: int) -> bool:
    """Whether the compiled pass over dense rows is faster than two products."""
    return lanes >= _FEWEST_LANES or one_by_one(lanes, num_features, cores)


def sparse_seconds(
    lanes: int, rows: int, shape: tuple[int, int], *, batch_rows: bool, dtype="float32"
) -> float:
    """Returns the estimated seconds of one gradient over sparse rows on one core.

    Args:
        lanes: S.
        rows: that a gradient reads.
        shape: rows and nonzeros of all workers.
        batch_rows: whether the rows are scattered in memory, as those of a mini-batch.
        dtype: of the numbers.
    """
    all_rows, nonzeros = shape
    missed = (
        rows * PASS.missed_row if batch_rows and 2 * nonzeros > PASS.cached else 0.0
    )
    cost = relative_cost(lanes, lanes_at_once(lanes, dtype), dtype)
    return cost * rows * nonzeros / all_rows * PASS.sparse + missed


def dense_seconds(
    lanes: int,
    rows: int,
    shape: tuple[int, ...],
    *,
    batch_rows: bool,
    cores: int,
    dtype="float32",
) -> float:
    """Returns the estimated seconds of one gradient over dense rows on one core.

    Args:
        lanes: S.
        rows: that a gradient reads.
        shape: (..., d) of all rows.
        batch_rows: whether the rows are scattered in memory, as those of a mini-batch.
        cores: that may share the call.
        dtype: of the numbers.
    """
    num_features = shape[-1]
    numbers = rows * num_features
    far = batch_rows and math.prod(shape) > PASS.cached
    missed = numbers * PASS.missed_number if far else 0.0
    if one_by_one(lanes, num_features, cores):
        return lanes * numbers * PASS.dense_lane + missed
    at_once = dense_lanes_at_once(lanes, num_features, dtype)
    return relative_cost(lanes, at_once, dtype) * numbers * PASS.dense + missed


def threads_and_parts(
    cores: int, *, batch_entries: int, seconds: float, numbers: int
) -> tuple[int, int]:
    """Returns how many threads may work on a call, and parts of each entry's rows.

    Args:
        cores: that may share the call.
        batch_entries: B of the call.
        seconds: of one entry on one core, estimated.
        numbers: of one entry's gradients.

    Example:
        >>> threads_and_parts(4, batch_entries=1, seconds=1e-3, numbers=300)
        (4, 4)
        >>> threads_and_parts(4, batch_entries=9, seconds=3e-6, numbers=300)
        (4, 1)
    """
    most = int(seconds / (PASS.part + numbers * PASS.summed))
    parts = max(1, min(math.ceil(cores / batch_entries), most))
    least = PASS.part if parts > 1 else PASS.entry
    threads = min(cores, batch_entries * parts, int(batch_entries * seconds / least))
    return max(1, threads), parts


def shared_seconds(
    cores: int, *, batch_entries: int, seconds: float, numbers: int
) -> float:
    """Returns the estimated seconds of a call; arguments as in `threads_and_parts`.

    Example:
        >>> shared_seconds(1, batch_entries=3, seconds=1.0, numbers=300)
        3.0
        >>> round(shared_seconds(2, batch_entries=3, seconds=1.0, numbers=300), 3)
        1.725
    """
    threads, _ = threads_and_parts(
        cores, batch_entries=batch_entries, seconds=seconds, numbers=numbers
    )
    if threads == 1:
        return batch_entries * seconds
    return PASS.uneven * batch_entries * seconds / threads + PASS.sharing
