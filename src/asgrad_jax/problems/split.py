"""A split: which worker owns which rows, as a value."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_numbers, make_read_only
from asgrad_jax.problems.feature_shift import FeatureShift


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a data set given to n workers, each of whom has at least one.

    Attributes:
        name: how it was made, for figures.
        rows: int64 [M], read-only: row numbers, worker after worker.
        counts: int64 [n], read-only: m_i, the rows of each worker.
        num_rows: N >= M, the rows of the data; N - M of them belong to nobody.
        labels: [N]; None where only their number was given.
        clients: [n]: the value that each worker stands for, for `by_column`.
        shift: how each worker sees its features, for `feature_shift`.

    Example:
        >>> import asgrad_jax as ag
        >>> split = ag.splits.contiguous([1, 0, 1, 0], 2)
        >>> split
        Split(contiguous: 2 workers with 2 rows each)
        >>> split.owner.tolist(), split.table().tolist()
        ([0, 0, 1, 1], [[1, 1], [1, 1]])
    """

    name: str
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    num_rows: int
    labels: NDArray[Any] | None = None
    clients: NDArray[Any] | None = None
    shift: FeatureShift | None = None

    @property
    def num_workers(self) -> int:
        """Number of workers n."""
        return len(self.counts)

    @property
    def owner(self) -> NDArray[np.int64]:
        """The worker of each row, [N]; -1 for a row that belongs to nobody."""
        owner = np.full(self.num_rows, -1)
        owner[self.rows] = np.repeat(np.arange(self.num_workers), self.counts)
        return owner

    def shards(self) -> list[NDArray[np.int64]]:
        """The row numbers of each worker."""
        return np.split(self.rows, np.cumsum(self.counts)[:-1])

    def table(self, labels: ArrayLike | None = None) -> NDArray[np.int64]:
        """How many rows of each class every worker has, [n, C], classes ascending.

        Raises:
            TypeError, ValueError: without labels, or for another number of them.
        """
        given = self.labels if labels is None else np.asarray(labels)
        if given is None:
            raise TypeError("labels must be given: the split was made without")
        if given.shape != (self.num_rows,):
            raise ValueError(
                f"labels must have shape ({self.num_rows},), got {given.shape}"
            )
        classes, index = np.unique(given, return_inverse=True)
        worker = np.repeat(np.arange(self.num_workers), self.counts)
        place = worker * len(classes) + index[self.rows]
        size = self.num_workers * len(classes)
        return np.bincount(place, minlength=size).reshape(-1, len(classes))

    def shifted(self, features: ArrayLike) -> NDArray[np.float64]:
        """Features [N, d] as the workers see them, a copy; the same without a shift.

        Raises:
            TypeError, ValueError: unless they are a matrix of finite numbers, one row
                for each of the split.
        """
        matrix = check_numbers("features", features, ndim=2, finite=True, bools=True)
        if len(matrix) != self.num_rows:
            raise ValueError(
                f"features must have {self.num_rows} rows, got {len(matrix)}"
            )
        if self.shift is None:
            return matrix.copy()
        return self.shift.apply(matrix, self.rows, self.counts)

    def unshifted(self) -> "Split":
        """The same rows, without a shift of the features."""
        return replace(self, shift=None)

    def __repr__(self) -> str:
        low, high = int(self.counts.min()), int(self.counts.max())
        sizes = f"{low} rows each" if low == high else f"{low} to {high} rows"
        return f"Split({self.name}: {self.num_workers} workers with {sizes})"


def of_owner(
    name: str,
    owner: NDArray[np.int64],
    num_workers: int,
    labels: Any,
    clients: Any = None,
) -> Split:
    """The split in which each worker has its rows in file order; -1 is nobody.

    Raises:
        ValueError: if a worker has no row.

    Example:
        >>> of_owner("by hand", np.array([1, 0, 1]), 2, None).shards()
        [array([1]), array([0, 2])]
    """
    kept = np.flatnonzero(owner >= 0)
    counts = np.bincount(owner[kept], minlength=num_workers)
    if not counts.all():
        raise ValueError(
            f"every worker must have at least one row, got none for worker "
            f"{np.argmin(counts)}"
        )
    rows = kept[np.argsort(owner[kept], kind="stable")]
    return made(name, rows, counts, owner.size, labels, clients)


def made(
    name: str,
    rows: NDArray,
    counts: NDArray,
    num_rows: int,
    labels: Any,
    clients: Any = None,
) -> Split:
    """The split of these fields, in arrays that nobody can write to.

    Example:
        >>> made("one", np.arange(3), np.array([3]), 3, None).counts.flags.writeable
        False
    """
    kept = None if labels is None else make_read_only(labels)
    rows, counts = make_read_only(rows, np.int64), make_read_only(counts, np.int64)
    return Split(name, rows, counts, num_rows, kept, clients)
