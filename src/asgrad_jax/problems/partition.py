"""Which worker owns which rows of the data."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import (
    check_choice,
    check_count,
    check_number,
    check_seed,
    raise_first,
    refuse_masked,
)

Partition = Literal["contiguous", "iid", "sorted", "dirichlet"]


def partition_rows(
    labels: ArrayLike,
    num_workers: int,
    *,
    how: Partition | ArrayLike = "contiguous",
    alpha: float | None = None,
    seed: int = 0,
    drop_last: bool = False,
) -> list[np.ndarray]:
    """Splits the rows 0..N-1 among n workers: n int64 arrays of at least one row.

    - `contiguous`: equal blocks of N/n rows in file order: worker 0 the first ones.
    - `iid`: equal blocks of a random permutation.
    - `sorted`: equal blocks of the rows sorted by label (stable): most workers see one
      class only.
    - `dirichlet`: for each class, the shares of the workers are drawn from
      Dirichlet(alpha, ..., alpha); small alpha means strong label skew. Shards have
      unequal sizes. A worker that got nothing receives one row of the then largest
      shard, so with many workers and small alpha the distribution is Dirichlet only up
      to that.
    - an integer array [N]: the worker of each row, by hand.

    Args:
        labels: [N] array: the label of each row, read by `sorted` and `dirichlet`.
        num_workers: n, between 1 and N.
        how: one of the names above or the array of worker numbers.
        alpha: concentration > 0, for `dirichlet` only.
        seed: seed of `iid` and `dirichlet`.
        drop_last: where n does not divide N, leave out the last N mod n rows of the
            file (for `contiguous`, `iid` and `sorted`) instead of raising.

    Raises:
        TypeError, ValueError: if an argument is not as described: a row count that n
            does not divide, a missing or superfluous `alpha`, worker numbers out of
            range, masked entries, or labels that are NaN for `dirichlet`.

    Example:
        >>> [rows.tolist() for rows in partition_rows([1, 0, 1, 0], 2, how="sorted")]
        [[1, 3], [0, 2]]
    """
    refuse_masked("labels", labels)
    refuse_masked("the partition", how)
    labels = np.asarray(labels)
    num_rows = labels.shape[0]
    num_workers = check_count("num_workers", num_workers)
    seed = check_seed(seed)
    if num_workers > num_rows:
        raise ValueError(
            f"num_workers must be at most {num_rows}, the number of rows, got "
            f"{num_workers}"
        )
    by_hand = not isinstance(how, str)
    if not by_hand:
        given = "an integer array with the worker of each row"
        check_choice("partition", how, get_args(Partition), other=given)
    if (alpha is not None) != (not by_hand and how == "dirichlet"):
        given = "a partition by hand" if by_hand else f"partition={how!r}"
        raise ValueError(
            "alpha must be given with partition='dirichlet' and with no other, got "
            f"alpha={alpha} with {given}"
        )
    if by_hand:
        return _by_worker_number(np.asarray(how), num_rows, num_workers)
    if how == "dirichlet":
        return _dirichlet(labels, num_workers, alpha, np.random.default_rng(seed))

    surplus = num_rows % num_workers
    if surplus and not drop_last:
        raise ValueError(
            f"num_workers must divide the {num_rows} rows, got {num_workers}; "
            f"drop_last=True leaves out the last {surplus} rows"
        )
    rows = np.arange(num_rows - surplus)
    if how == "iid":
        rows = np.random.default_rng(seed).permutation(rows)
    elif how == "sorted":
        rows = np.argsort(labels[: rows.size], kind="stable")
    return list(rows.reshape(num_workers, -1))


def _by_worker_number(
    owner: np.ndarray, num_rows: int, num_workers: int
) -> list[np.ndarray]:
    if owner.shape != (num_rows,) or not np.issubdtype(owner.dtype, np.integer):
        raise ValueError(
            f"a partition by hand must be an integer array of shape ({num_rows},), the "
            f"worker of each row, got shape {owner.shape} and dtype {owner.dtype}"
        )
    last = num_workers - 1
    raise_first(
        (owner < 0) | (owner > last),
        lambda i: f"partition[{i}] must be a worker in 0..{last}, got {owner[i]}",
    )
    return _shards_of(owner, num_workers)


def _dirichlet(
    labels: np.ndarray,
    num_workers: int,
    alpha: float | None,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    # Beyond that NumPy's shares are NaN; they were equal long before.
    alpha = check_number("alpha", alpha, above=0, maximum=1e300)
    raise_first(
        labels != labels,
        lambda i: (
            f"labels[{i}] must be a class with partition='dirichlet', got {labels[i]}"
        ),
    )
    owner = np.empty(labels.shape[0], np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(num_workers, alpha))
        cuts = np.rint(np.cumsum(shares)[:-1] * rows.size).astype(np.int64)
        for worker, part in enumerate(np.split(rows, cuts)):
            owner[part] = worker
    counts = np.bincount(owner, minlength=num_workers)
    for worker in np.flatnonzero(counts == 0):
        donor = np.argmax(counts)
        owner[rng.choice(np.flatnonzero(owner == donor))] = worker
        counts[donor] -= 1
        counts[worker] += 1
    return _shards_of(owner, num_workers)


def _shards_of(owner: np.ndarray, num_workers: int) -> list[np.ndarray]:
    """Rows of each worker in file order."""
    counts = np.bincount(owner, minlength=num_workers)
    if not counts.all():
        raise ValueError(
            f"every worker must have at least one row, got none for worker "
            f"{np.argmin(counts)}"
        )
    return np.split(np.argsort(owner, kind="stable"), np.cumsum(counts)[:-1])
