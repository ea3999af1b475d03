"""Matrix factorisation: two thin matrices whose product has the known entries."""

from dataclasses import dataclass
from typing import Any, Unpack

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import (
    check_count,
    check_integers,
    check_number,
    check_numbers,
    check_seed,
    raise_first,
)
from asgrad_jax.problems.from_loss import LossProblem, from_loss
from asgrad_jax.problems.linear_models import RowOptions


def matrix_factorization(
    rows: ArrayLike,
    columns: ArrayLike,
    values: ArrayLike,
    num_workers: int,
    *,
    rank: int,
    shape: tuple[int, int] | None = None,
    strength: float = 0.0,
    seed: int = 0,
    **options: Unpack[RowOptions],
) -> LossProblem:
    """Matrix factorisation from known entries M_jk: not convex, not globally smooth.

    f_i(U, V) is the mean over the worker's entries (j, k) of

        (u_j^T v_k - M_jk)^2 / 2 + (strength / 2) (||u_j||^2 + ||v_k||^2).

    Args:
        rows, columns: integers [N]: j and k of each known entry.
        values: [N]: M_jk.
        num_workers: n.
        rank: r, columns of U and V.
        shape: (p, q) of M; the largest j and k plus one where left out.
        strength: of the penalty, >= 0, per entry.
        seed: of the start: entries ~ N(0, 1/r), as U = V = 0 is a saddle.
        options: `batch_size`, `sampling`, `partition`, `alpha`, `partition_seed`,
            `drop_last` and `weights`, as for `logistic_regression`. "sorted" goes by
            the rows j: each worker then has users of its own. So does
            `partition=ag.splits.by_column(rows)`, with a worker for every user.

    Returns:
        The problem; its parameters are {"left": U [p, r], "right": V [q, r]}.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> problem = matrix_factorization(
        ...     [0, 0, 1, 1], [0, 1, 0, 1], [1.0, 2.0, 2.0, 4.0], 2, rank=1)
        >>> {k: v.shape for k, v in problem.init_params().items()}
        {'left': (2, 1), 'right': (2, 1)}
    """
    j, p = _indices("rows", rows, None if shape is None else shape[0])
    k, q = _indices("columns", columns, None if shape is None else shape[1])
    entries = check_numbers("values", values, ndim=1, finite=True)
    if not len(j) == len(k) == len(entries):
        raise ValueError(
            "rows, columns and values must have one number per entry, got "
            f"{len(j)}, {len(k)} and {len(entries)}"
        )
    rank = check_count("rank", rank)
    rng = np.random.default_rng(check_seed(seed))
    start = {
        name: rng.normal(0, rank**-0.5, (size, rank))
        for name, size in (("left", p), ("right", q))
    }
    loss = _EntryLoss(check_number("strength", strength, minimum=0))
    data = {"row": j, "column": k, "value": entries}
    return from_loss(
        loss, start, data, num_workers, labels=j, lower_bound=0.0, **options
    )


@dataclass(frozen=True)
class _EntryLoss:
    """One loss for each known entry."""

    strength: float

    def __call__(self, params, batch):
        u = params["left"][batch["row"]]
        v = params["right"][batch["column"]]
        error = jnp.sum(u * v, axis=1) - batch["value"]
        penalty = jnp.sum(u * u + v * v, axis=1)
        return (error**2 + self.strength * penalty) / 2


def _indices(name: str, given: ArrayLike, size: Any) -> tuple[np.ndarray, int]:
    index = check_integers(name, given)
    if size is None:
        size = int(index.max(initial=0)) + 1
    size = check_count(f"the matrix's number of {name}", size)
    raise_first(
        (index < 0) | (index >= size),
        lambda i: f"{name}[{i}] must be in 0..{size - 1}, got {index[i]}",
    )
    return index, size
