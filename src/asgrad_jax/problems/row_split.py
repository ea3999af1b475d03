"""How the rows of n workers lie in memory, and how much each worker counts."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_choice, check_numbers
from asgrad_jax.problems.partition import partition_rows
from asgrad_jax.problems.sampling import Sampling, check_batch

# Shards are stacked, the shorter ones padded, up to this factor of memory. Beyond it
# all rows lie one after the other.
_PADDING = 1.25


class RowSplit(NamedTuple):
    """Rows split among n workers, with what a problem on them has to know.

    Shards of (nearly) equal sizes are stacked as [n, m, ...], m the rows of the largest
    one; others lie worker after worker as [N, ...], so that memory follows the data.

    Attributes:
        rows: int64 [N]: the data's row numbers, worker after worker.
        counts: int32 [n]: m_i, the rows of each shard.
        row_weight: float64 [n, m] or [N]: n w_i / m_i, and 0 for padding.
        row_starts: int32 [n + 1]: where the rows of each worker begin among [N]; None
            where shards are stacked.
        scale: float64 [n]: n w_i; None where all workers count equally.
        shard_rows: m.
        batch_size: b or None.
        sampling: how mini-batches are drawn.
        short_batches: whether batches of some shard have fewer than b rows.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int32]
    row_weight: NDArray[np.float64]
    row_starts: NDArray[np.int32] | None
    scale: NDArray[np.float64] | None
    shard_rows: int
    batch_size: int | None
    sampling: Sampling
    short_batches: bool

    def fields(self) -> dict[str, Any]:
        """What `MiniBatches` asks a problem to have."""
        return {k: v for k, v in self._asdict().items() if k != "rows"}

    def shards(self) -> list[NDArray[np.int64]]:
        """The data's row numbers of each worker."""
        return np.split(self.rows, np.cumsum(self.counts)[:-1])

    def lay_out(self, data: Any, padding: float | None) -> np.ndarray:
        """Rows [N, ...] of the data as [n, m, ...] or [N, ...]; a dense copy.

        Args:
            data: array, or SciPy sparse matrix.
            padding: number in the padding; None repeats the shard's last row.
        """
        if self.row_starts is not None:
            return _dense(data[self.rows])
        position = np.arange(self.shard_rows)
        starts = np.cumsum(self.counts) - self.counts
        last = self.counts[:, None] - 1
        index = starts[:, None] + np.minimum(position, last)
        taken = _dense(data[self.rows[index.reshape(-1)]])
        taken = taken.reshape(*index.shape, *taken.shape[1:])
        if padding is not None:
            taken[position > last] = padding
        return taken


def _dense(taken: Any) -> np.ndarray:
    return taken.toarray() if scipy.sparse.issparse(taken) else taken


def split_rows(
    labels: np.ndarray,
    num_workers: int,
    batch_size: int | None,
    sampling: Sampling,
    *,
    weights: str | ArrayLike | None = None,
    padding: float | None = None,
    **partition: Any,
) -> RowSplit:
    """Splits rows among workers who draw mini-batches from them.

    Args:
        labels: of the rows, as for `partition_rows`.
        num_workers: n.
        batch_size: as for `check_batch`.
        sampling: as for `check_batch`.
        weights: as for `worker_scale`.
        padding: factor of memory up to which unequal shards are padded and stacked; a
            quarter more at most where it is left out.
        partition: further arguments of `partition_rows`.

    Raises:
        TypeError, ValueError: if an argument is not as described there.

    Example:
        >>> split = split_rows(np.zeros(5), 2, None, "reshuffled", how=[0, 1, 1, 0, 1])
        >>> split.row_weight
        array([[0.5       , 0.5       , 0.        ],
               [0.33333333, 0.33333333, 0.33333333]])
        >>> split_rows(np.zeros(4), 2, None, "reshuffled", how=[0, 1, 1, 1]).row_starts
        array([0, 1, 4], dtype=int32)
    """
    shards = partition_rows(labels, num_workers, **partition)
    counts = np.array([len(shard) for shard in shards], np.int32)
    rows = np.concatenate(shards)
    if rows.size >= 2**31:
        raise ValueError(f"there must be fewer than 2**31 rows, got {rows.size}")
    batch_size = check_batch(batch_size, counts, how=sampling)
    scale = worker_scale(weights, len(counts), counts)
    most = int(counts.max())
    stacked = most * len(counts) <= (padding or _PADDING) * rows.size
    each = 1 / counts if scale is None else scale / counts
    if stacked:
        row_weight = np.where(np.arange(most) < counts[:, None], each[:, None], 0.0)
    else:
        row_weight = np.repeat(each, counts)
    short = batch_size is not None and min(batch_size, most) > counts.min()
    return RowSplit(
        rows=rows,
        counts=counts,
        row_weight=row_weight,
        row_starts=None if stacked else np.cumsum([0, *counts]).astype(np.int32),
        scale=scale,
        shard_rows=most,
        batch_size=batch_size,
        sampling=sampling,
        short_batches=bool(short and sampling != "with_replacement"),
    )


def worker_scale(
    weights: str | ArrayLike | None,
    num_workers: int,
    counts: NDArray[np.int32] | None = None,
) -> NDArray[np.float64] | None:
    """Returns n w_i for the weights of f = sum_i w_i f_i, None where all are 1/n.

    Args:
        weights: None (equal), "rows" (w_i = m_i / N) or n numbers > 0, of which only
            the ratios matter: they are divided by their sum.
        num_workers: n.
        counts: m_i; None for problems without rows.

    Raises:
        TypeError, ValueError: if the weights are something else, or so unequal that
            float32 has no number for one.

    Example:
        >>> worker_scale([1, 3], 2)
        array([0.5, 1.5])
        >>> worker_scale("rows", 2, np.array([4, 4])) is None
        True
    """
    if weights is None:
        return None
    if isinstance(weights, str):
        known = [] if counts is None else ["rows"]
        check_choice("weights", weights, known, other="one number per worker, or None")
        numbers = np.asarray(counts, np.float64)
    else:
        numbers = check_numbers(
            "weights", weights, ndim=1, size=num_workers, above=0, finite=True
        )
    if (numbers == numbers[0]).all():
        return None
    numbers = numbers / numbers.max()
    scale = numbers / numbers.mean()
    if scale.min() < np.finfo(np.float32).tiny:
        raise ValueError(
            "weights must not be so unequal that float32 has no number for one, got "
            f"a smallest share of {scale.min() / num_workers:.3g}"
        )
    return scale
