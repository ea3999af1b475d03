"""Linear least squares."""

from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax.problems.linear_models import (
    LinearModel,
    RowLoss,
    RowOptions,
    linear_model,
)
from asgrad_jax.problems.regularizers import Regularizer


def _half_square(scores: jax.Array, targets: jax.Array, width: Any) -> jax.Array:
    del width
    return jnp.square(scores - targets) / 2


SQUARED = RowLoss("least squares", _half_square, 1.0, convexity=1.0)


def least_squares(
    features: ArrayLike,
    targets: ArrayLike,
    num_workers: int,
    *,
    regularizer: str | Regularizer | None = None,
    strength: float = 0.0,
    **rows: Unpack[RowOptions],
) -> LinearModel:
    """Least squares: f_i(x) = (1/2m_i) ||A_i x - b_i||^2 + strength r(x); x_0 = 0.

    L_i = lambda_max(A_i' A_i) / m_i and mu are exact without regulariser and with "l2"
    (r(x) = ||x||^2); `optimum` has the minimiser.

    Args:
        features: [N, d]: the rows of all A_i.
        targets: [N]: b, which the partition "sorted" goes by.
        num_workers: n.
        regularizer, strength: as for `linear_model`.
        rows: `batch_size`, `sampling`, `partition`, `alpha`, `partition_seed`,
            `drop_last` and `weights`, as for `logistic_regression`.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> problem = least_squares(np.eye(4), [1.0, 2.0, 3.0, 4.0], 2)
        >>> round(problem.smoothness().of_f, 12), optimum(problem).tolist()
        (0.25, [1.0, 2.0, 3.0, 4.0])
    """
    options = dict(regularizer=regularizer, strength=strength)
    return linear_model(features, targets, num_workers, SQUARED, **options, **rows)  # type: ignore[arg-type]


def optimum(problem: LinearModel) -> np.ndarray:
    """The minimiser of least squares without regulariser or with "l2", float64 [d].

    Of several, the shortest.

    Raises:
        ValueError: for another problem.

    Example:
        >>> rows, values = np.eye(2), [1, 2]
        >>> optimum(least_squares(rows, values, 1, regularizer="l2", strength=0.5))
        array([0.33333333, 0.66666667])
    """
    kind = type(problem).__name__
    squared = isinstance(problem, LinearModel) and problem.row_loss is SQUARED
    if not squared or problem.regularizer not in (None, "l2"):
        raise ValueError(
            "problem must be least squares without regulariser or with 'l2', got "
            f"{kind}"
        )
    weighted = [(*problem.shard(i), c) for i, c in enumerate(problem.worker_factors())]
    n = problem.num_workers
    roots = [np.sqrt(c / (n * len(b))) for _, b, c in weighted]
    rows = [k * a for k, (a, _, _) in zip(roots, weighted, strict=True)]
    values = [k * b for k, (_, b, _) in zip(roots, weighted, strict=True)]
    if problem.regularizer:
        d = rows[0].shape[1]
        rows.append(np.sqrt(2 * float(problem.strength)) * np.eye(d))
        values.append(np.zeros(d))
    return np.linalg.lstsq(np.concatenate(rows), np.concatenate(values))[0]
