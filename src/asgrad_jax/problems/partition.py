"""Which worker owns which rows of the data, by a rule's name or a split."""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import (
    check_choice,
    check_count,
    raise_first,
    refuse_masked,
)
from asgrad_jax.problems import splits
from asgrad_jax.problems.split import Split

Rule = Literal["contiguous", "iid", "sorted", "dirichlet"]
Partition = Rule | Split


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
    - a `Split` of `ag.splits`, which has more rules.
    - an integer array [N]: the worker of each row, by hand (for rows of
      nobody see `ag.splits.assigned`).

    Args:
        labels: [N] array: the label of each row, read by `sorted` and `dirichlet`.
        num_workers: n, between 1 and N.
        how: one of the names above, a split or the array of worker numbers.
        alpha: concentration > 0, for `dirichlet` only.
        seed: seed of `iid` and `dirichlet`.
        drop_last: where n does not divide N, leave out the last N mod n rows of the
            file (for `contiguous`, `iid` and `sorted`) instead of raising.

    Raises:
        TypeError, ValueError: if an argument is not as described: a row count that n
            does not divide, a missing or superfluous `alpha`, worker numbers out of
            range, a split of other rows or workers, masked entries, or labels that are
            NaN for `dirichlet`.

    Example:
        >>> [rows.tolist() for rows in partition_rows([1, 0, 1, 0], 2, how="sorted")]
        [[1, 3], [0, 2]]
    """
    refuse_masked("labels", labels)
    labels = np.asarray(labels)
    named = isinstance(how, str)
    if not named and not isinstance(how, Split):
        how = _by_hand(how, labels, num_workers)
    if named:
        given = "a split, or an integer array with the worker of each row"
        check_choice("partition", how, get_args(Rule), other=given)
    if (alpha is not None) != (named and how == "dirichlet"):
        shown = f"partition={how!r}" if named else "a partition by hand"
        raise ValueError(
            "alpha must be given with partition='dirichlet' and with no other, got "
            f"alpha={alpha} with {shown}"
        )
    if isinstance(how, Split):
        return _checked(how, labels, num_workers).shards()
    n = num_workers
    if how == "dirichlet":
        split = splits.dirichlet(labels, n, alpha=alpha, seed=seed)  # type: ignore[arg-type]
    elif how == "iid":
        split = splits.iid(labels, n, seed=seed, drop_last=drop_last)
    elif how == "sorted":
        split = splits.sorted_by_label(labels, n, drop_last=drop_last)
    else:
        split = splits.contiguous(labels, n, drop_last=drop_last)
    return split.shards()


def _by_hand(owner: Any, labels: np.ndarray, num_workers: int) -> Split:
    refuse_masked("the partition", owner)
    workers, wanted = np.asarray(owner), (labels.shape[0],)
    if workers.shape != wanted:
        raise ValueError(
            f"a partition by hand must be an integer array of shape {wanted}, the "
            f"worker of each row, got shape {workers.shape} and dtype {workers.dtype}"
        )
    last = check_count("num_workers", num_workers) - 1
    raise_first(
        (workers < 0) | (workers > last),
        lambda i: f"partition[{i}] must be a worker in 0..{last}, got {workers[i]}",
    )
    return splits.assigned(workers, num_workers)


def _checked(split: Split, labels: np.ndarray, num_workers: int) -> Split:
    """The split, if it is one of these rows among n workers; or raises."""
    num_workers = check_count("num_workers", num_workers)
    if split.num_workers != num_workers:
        raise ValueError(
            f"num_workers must be {split.num_workers}, as in {split!r}, got "
            f"{num_workers}"
        )
    if split.num_rows != labels.shape[0]:
        raise ValueError(
            f"partition must be a split of the {labels.shape[0]} rows, got one of "
            f"{split.num_rows}"
        )
    if split.shift is not None:
        raise TypeError(
            "partition must be a split without a feature shift for a problem that is "
            f"not made of a matrix of features, got {split!r}; give "
            "split.shifted(features) as data and partition=split.unshifted()"
        )
    return split
