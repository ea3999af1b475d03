"""Splits: which worker owns which rows, as values that problems and figures take.

Public as `ag.splits`. Every maker takes the labels of the rows first, for those that
read them and for `ag.plot.split`; where there are none, the number of rows will do.
Random ones follow their seed alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import (
    check_bool,
    check_count,
    check_number,
    check_seed,
    raise_first,
    refuse_masked,
)
from asgrad_jax.problems.feature_shift import checked_shift
from asgrad_jax.problems.shifted_rows import shift_features
from asgrad_jax.problems.split import Split, made, of_owner

__all__ = [
    "assigned",
    "by_column",
    "classes_per_worker",
    "contiguous",
    "dirichlet",
    "feature_shift",
    "iid",
    "quantity_skew",
    "shift_features",
    "sorted_by_label",
]

# Beyond that NumPy's shares are NaN; they were equal long before.
_MOST_ALPHA = 1e300


def contiguous(
    labels: ArrayLike | int, num_workers: int, *, drop_last: bool = False
) -> Split:
    """Equal blocks of N/n rows in file order: worker 0 the first ones.

    Args:
        labels: [N], one per row, or the number of rows N.
        num_workers: n, between 1 and N.
        drop_last: where n does not divide N, leave out the last N mod n rows of the
            file instead of raising.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> contiguous(5, 2, drop_last=True).shards()
        [array([0, 1]), array([2, 3])]
    """
    labels, num_rows = _checked(labels, num_workers)
    used = _even(num_rows, num_workers, drop_last)
    return _equal("contiguous", np.arange(used), num_workers, num_rows, labels)


def iid(
    labels: ArrayLike | int,
    num_workers: int,
    *,
    seed: int = 0,
    drop_last: bool = False,
) -> Split:
    """Equal blocks of a random permutation; arguments as for `contiguous`.

    Example:
        >>> iid(1000, 4, seed=1)
        Split(iid: 4 workers with 250 rows each)
    """
    labels, num_rows = _checked(labels, num_workers)
    used = _even(num_rows, num_workers, drop_last)
    rows = np.random.default_rng(check_seed(seed)).permutation(np.arange(used))
    return _equal("iid", rows, num_workers, num_rows, labels)


def sorted_by_label(
    labels: ArrayLike, num_workers: int, *, drop_last: bool = False
) -> Split:
    """Equal blocks of the rows in the order of their labels; most see one class.

    Any numbers will do: sorted by a feature, workers differ by that feature (their
    labels then follow as they do in the data). Equal ones stay in file order. Arguments
    are those of `contiguous`.

    Example:
        >>> sorted_by_label([1, 0, 1, 0], 2).shards()
        [array([1, 3]), array([0, 2])]
    """
    labels, num_rows = _checked(_needed(labels), num_workers)
    used = _even(num_rows, num_workers, drop_last)
    rows = np.argsort(labels[:used], kind="stable")
    return _equal("sorted", rows, num_workers, num_rows, labels)


def dirichlet(
    labels: ArrayLike,
    num_workers: int,
    *,
    alpha: float,
    min_rows: int = 1,
    balanced: bool = False,
    seed: int = 0,
) -> Split:
    """Label skew: shares drawn from a Dirichlet distribution, stronger for small alpha.

    Two forms are in use. By default the workers' shares of each class are drawn from
    Dirichlet(alpha, ..., alpha), so that sizes differ too. With `balanced` every worker
    has N // n rows, and the shares of the classes among them are drawn from
    Dirichlet(alpha p), alpha p_c = alpha C N_c / N, as long as the classes last: the
    last workers get what is left.

    Args:
        labels: [N], classes.
        num_workers: n.
        alpha: concentration, in (0, 1e300].
        min_rows: rows that every worker has at least. Those with fewer get random rows
            of the then largest one, so with many workers and small alpha the
            distribution is Dirichlet only up to that.
        balanced: see above.
        seed: of the draws.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> labels = np.repeat(np.arange(10), 100)
        >>> dirichlet(labels, 20, alpha=0.1, min_rows=5)
        Split(dirichlet(0.1): 20 workers with 7 to 140 rows)
        >>> dirichlet(labels, 20, alpha=0.1, balanced=True)
        Split(dirichlet(0.1): 20 workers with 50 rows each)

    Source: by class Yurochkin et al. 2019 (arXiv 1905.12022), balanced Hsu et al. 2019
    (arXiv 1909.06335), both as recalled [R].
    """
    labels, _ = _checked(_needed(labels), num_workers)
    alpha = check_number("alpha", alpha, above=0, maximum=_MOST_ALPHA)
    check_bool("balanced", balanced)
    rng = np.random.default_rng(check_seed(seed))
    raise_first(
        labels != labels,
        lambda i: (
            f"labels[{i}] must be a class with partition='dirichlet', got {labels[i]}"
        ),
    )
    deal = _even_shares if balanced else _shares_of_classes
    owner = deal(labels, num_workers, alpha, rng)
    _fill_up(owner, num_workers, min_rows, rng)
    return of_owner(f"dirichlet({alpha:g})", owner, num_workers, labels)


def _shares_of_classes(
    labels: NDArray, num_workers: int, alpha: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    owner = np.empty(labels.shape[0], np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(num_workers, alpha))
        cuts = np.rint(np.cumsum(shares)[:-1] * rows.size).astype(np.int64)
        for worker, part in enumerate(np.split(rows, cuts)):
            owner[part] = worker
    return owner


def _even_shares(
    labels: NDArray, num_workers: int, alpha: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    owner = np.full(labels.shape[0], -1)
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    classes = [rng.permutation(rows) for rows in classes]
    sizes = np.array([len(rows) for rows in classes])
    left, prior = sizes.copy(), alpha * len(sizes) * sizes / sizes.sum()
    for worker in range(num_workers):
        shares = rng.dirichlet(prior)
        lacking = labels.shape[0] // num_workers
        while lacking:
            open_shares = np.where(left > 0, shares, 0)
            if not open_shares.any():
                open_shares = left
            wanted = rng.multinomial(lacking, open_shares / open_shares.sum())
            for k, size in enumerate(np.minimum(wanted, left)):
                owner[classes[k][left[k] - size : left[k]]] = worker
                left[k] -= size
                lacking -= size
    return owner


def _fill_up(
    owner: NDArray[np.int64], num_workers: int, min_rows: int, rng: np.random.Generator
) -> None:
    """Gives rows of the largest worker to those with fewer than `min_rows`."""
    most = len(owner) // num_workers
    min_rows = check_count("min_rows", min_rows, maximum=most)
    counts = np.bincount(owner[owner >= 0], minlength=num_workers)
    for worker in np.flatnonzero(counts < min_rows):
        while counts[worker] < min_rows:
            donor = np.argmax(counts)
            owner[rng.choice(np.flatnonzero(owner == donor))] = worker
            counts[donor] -= 1
            counts[worker] += 1


def classes_per_worker(
    labels: ArrayLike, num_workers: int, *, classes: int, seed: int = 0
) -> Split:
    """Every worker has rows of so many classes, exactly; a class is shared equally.

    Each class goes to equally many workers, up to one. n times `classes` must reach the
    number of classes C, or some would belong to nobody.

    Args:
        labels: [N], classes.
        num_workers: n.
        classes: of each worker, 1..C.
        seed: of who gets which.

    Raises:
        TypeError, ValueError: if an argument is not as described, or a class has fewer
            rows than workers who share it.

    Example:
        >>> split = classes_per_worker(np.repeat(np.arange(10), 40), 20, classes=2)
        >>> (split.table() > 0).sum(axis=1).tolist() == [2] * 20
        True

    Source: the two classes per client of McMahan et al. 2017 (arXiv 1602.05629), there
    dealt as two blocks of the sorted rows.
    """
    labels, _ = _checked(_needed(labels), num_workers)
    names, index = np.unique(labels, return_inverse=True)
    classes = check_count("classes", classes, maximum=len(names))
    if num_workers * classes < len(names):
        raise ValueError(
            f"num_workers * classes must be at least {len(names)}, the number of "
            f"classes, got {num_workers * classes}"
        )
    rng = np.random.default_rng(check_seed(seed))
    owners: list[list[int]] = [[] for _ in names]
    for worker in range(num_workers):
        # The classes with the fewest owners, ties at random: all counts stay equal.
        owned = np.array([len(o) for o in owners], float)
        order = np.lexsort((rng.random(len(names)), owned))
        for k in order[:classes]:
            owners[k].append(worker)
    owner = np.empty(labels.shape[0], np.int64)
    for k, mine in enumerate(owners):
        rows = rng.permutation(np.flatnonzero(index == k))
        if len(rows) < len(mine):
            raise ValueError(
                f"class {names[k]} must have a row for each of its {len(mine)} "
                f"workers, got {len(rows)}; take fewer workers or classes"
            )
        for worker, part in zip(mine, np.array_split(rows, len(mine)), strict=True):
            owner[part] = worker
    return of_owner(f"{classes} classes each", owner, num_workers, labels)


def quantity_skew(
    labels: ArrayLike | int,
    num_workers: int,
    *,
    alpha: float,
    min_rows: int = 1,
    seed: int = 0,
) -> Split:
    """Sizes drawn from Dirichlet(alpha, ..., alpha); the rows of each are iid.

    Arguments are those of `dirichlet`; labels may be the number of rows.

    Example:
        >>> quantity_skew(1000, 5, alpha=0.5, min_rows=10)
        Split(quantity skew(0.5): 5 workers with 48 to 448 rows)
    """
    labels, num_rows = _checked(labels, num_workers)
    alpha = check_number("alpha", alpha, above=0, maximum=_MOST_ALPHA)
    rng = np.random.default_rng(check_seed(seed))
    owner = _shares_of_classes(np.zeros(num_rows), num_workers, alpha, rng)
    _fill_up(owner, num_workers, min_rows, rng)
    return of_owner(f"quantity skew({alpha:g})", owner, num_workers, labels)


def by_column(
    values: ArrayLike, *, labels: ArrayLike | None = None, min_rows: int = 1
) -> Split:
    """Natural clients: a worker for every value of a column, such as a user's name.

    Args:
        values: [N]: the client of each row, numbers or texts.
        labels: [N], for `ag.plot.split`.
        min_rows: clients with fewer rows are left out, rows and all.

    Returns:
        The split; its `clients` say which value each worker stands for.

    Raises:
        TypeError, ValueError: if an argument is not as described, or nobody is left.

    Example:
        >>> split = by_column(["ann", "bob", "ann", "eve"], min_rows=1)
        >>> split.clients.tolist(), split.counts.tolist()
        (['ann', 'bob', 'eve'], [2, 1, 1])
    """
    refuse_masked("values", values)
    column = np.asarray(values)
    if column.ndim != 1 or not column.size:
        raise ValueError(f"values must be a flat list, got shape {column.shape}")
    raise_first(column != column, lambda i: f"values[{i}] must be a client, got NaN")
    min_rows = check_count("min_rows", min_rows)
    clients, owner = np.unique(column, return_inverse=True)
    kept = np.bincount(owner) >= min_rows
    if not kept.any():
        raise ValueError(
            f"min_rows must leave a client, got {min_rows} with at most "
            f"{np.bincount(owner).max()} rows each"
        )
    owner = np.where(kept, np.cumsum(kept) - 1, -1)[owner]
    given, _ = _checked(column.size if labels is None else labels, 1)
    _same_length("labels", given, column.size)
    return of_owner("by column", owner, int(kept.sum()), given, clients[kept])


def assigned(
    owner: ArrayLike, num_workers: int | None = None, *, labels: ArrayLike | None = None
) -> Split:
    """A split by hand: the worker of each row, -1 for nobody.

    Args:
        owner: int [N].
        num_workers: n; the largest number in `owner` plus one where it is left out.
        labels: [N], for `ag.plot.split`.

    Raises:
        TypeError, ValueError: if an argument is not as described, or a worker has no
            row.

    Example:
        >>> assigned([1, 0, -1, 1]).shards()
        [array([1]), array([0, 3])]
    """
    refuse_masked("the partition", owner)
    workers = np.asarray(owner)
    if workers.ndim != 1 or not np.issubdtype(workers.dtype, np.integer):
        raise ValueError(
            "a partition by hand must be an integer array [N], the worker of each row, "
            f"got shape {workers.shape} and dtype {workers.dtype}"
        )
    if num_workers is None:
        num_workers = max(int(workers.max(initial=0)) + 1, 1)
    given, _ = _checked(workers.size if labels is None else labels, num_workers)
    _same_length("labels", given, workers.size)
    last = num_workers - 1
    raise_first(
        (workers < -1) | (workers > last),
        lambda i: (
            f"partition[{i}] must be a worker in 0..{last}, or -1 for nobody, got "
            f"{workers[i]}"
        ),
    )
    return of_owner("by hand", workers, num_workers, given)


def feature_shift(
    labels: ArrayLike | int,
    num_workers: int,
    *,
    offset: float = 0.0,
    scale: float = 0.0,
    noise: float = 0.0,
    rotation: float = 0.0,
    seed: int = 0,
    drop_last: bool = False,
) -> Split:
    """Rows as for `iid`, and every worker sees its features in a way of its own.

    A row a of worker i becomes (R_i a) * exp(scale z_i) + offset u_i + s_i e, see
    `shift_features`. Problems that have a matrix of features (the linear models,
    `logistic_regression`, `mlp`) take it as it is; for others give
    `split.shifted(features)` and `partition=split.unshifted()`.

    Args:
        labels: [N], one per row, or the number of rows N.
        num_workers: n, between 1 and N.
        offset, scale, noise, rotation: >= 0.
        seed: of rows and shifts.
        drop_last: as for `contiguous`.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> split = feature_shift(1000, 4, offset=0.5, rotation=0.3)
        >>> split
        Split(feature shift(offset 0.5, rotation 0.3): 4 workers with 250 rows each)
        >>> split.shifted(np.zeros((1000, 2))).std() > 0.1
        np.True_
    """
    shift = checked_shift(
        offset=offset, scale=scale, noise=noise, rotation=rotation, seed=seed
    )
    rows = iid(labels, num_workers, seed=seed, drop_last=drop_last)
    return replace(rows, name=f"feature shift({shift})", shift=shift)


def _needed(labels: ArrayLike | int) -> ArrayLike:
    if isinstance(labels, int | np.integer):
        raise TypeError(f"labels must be one per row, got the number {labels}")
    return labels


def _checked(labels: ArrayLike | int, num_workers: Any) -> tuple[Any, int]:
    """Labels [N], None where only N is given, and N; checks n too."""
    if isinstance(labels, int | np.integer):
        given, num_rows = None, check_count("labels", labels)
    else:
        refuse_masked("labels", labels)
        given = np.asarray(labels)
        if given.ndim != 1:
            raise ValueError(f"labels must be a flat list, got shape {given.shape}")
        num_rows = given.shape[0]
    num_workers = check_count("num_workers", num_workers)
    if num_workers > num_rows:
        raise ValueError(
            f"num_workers must be at most {num_rows}, the number of rows, got "
            f"{num_workers}"
        )
    return given, num_rows


def _same_length(name: str, values: Sequence | NDArray | None, num_rows: int) -> None:
    if values is not None and len(values) != num_rows:
        raise ValueError(f"{name} must have {num_rows} rows, got {len(values)}")


def _even(num_rows: int, num_workers: int, drop_last: bool) -> int:
    """How many rows n equal blocks have."""
    surplus = num_rows % num_workers
    if surplus and not check_bool("drop_last", drop_last):
        raise ValueError(
            f"num_workers must divide the {num_rows} rows, got {num_workers}; "
            f"drop_last=True leaves out the last {surplus} rows"
        )
    return num_rows - surplus


def _equal(
    name: str, rows: NDArray, num_workers: int, num_rows: int, labels: Any
) -> Split:
    counts = np.full(num_workers, rows.size // num_workers)
    return made(name, rows, counts, num_rows, labels)


def __dir__() -> list[str]:
    """What is offered by completion: not what this file imports."""
    return sorted(__all__)
