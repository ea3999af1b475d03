"""Multinomial logistic regression."""

from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_count, check_integers, raise_first
from asgrad_jax.problems.linear_models import (
    LinearModel,
    RowLoss,
    RowOptions,
    linear_model,
)
from asgrad_jax.problems.regularizers import Regularizer


def cross_entropy(scores: jax.Array, classes: jax.Array) -> jax.Array:
    """-log softmax(scores)[class] of each row.

    Args:
        scores: [..., C].
        classes: integers [...] in 0..C-1.

    Example:
        >>> cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))
        Array([1.3862944, 1.3862944], dtype=float32)
    """
    # Compared instead of gathered: the derivative of a gather is a slow scatter.
    number = jax.lax.broadcasted_iota(classes.dtype, scores.shape, scores.ndim - 1)
    hot = classes[..., None] == number
    chosen = jnp.sum(jnp.where(hot, scores, 0), axis=-1)
    return jax.nn.logsumexp(scores, axis=-1) - chosen


def checked_classes(
    labels: ArrayLike, classes: int | None
) -> tuple[NDArray[np.int32], int]:
    """Labels 0..C-1 as int32 [N], and C, the largest plus one where None; or raises.

    Example:
        >>> checked_classes([2, 0], None)
        (array([2, 0], dtype=int32), 3)
    """
    given = check_integers("labels", labels)
    if classes is None:
        classes = max(int(given.max(initial=0)) + 1, 2)
    classes = check_count("classes", classes, minimum=2)
    raise_first(
        (given < 0) | (given >= classes),
        lambda i: f"labels[{i}] must be in 0..{classes - 1}, got {given[i]}",
    )
    return given, classes


def _softmax(scores: jax.Array, targets: jax.Array, width: Any) -> jax.Array:
    del width
    return cross_entropy(scores, targets)


# The Hessian diag(p) - pp' has no eigenvalue above 1/2.
SOFTMAX = RowLoss("softmax", _softmax, 0.5)


def multinomial_logistic(
    features: ArrayLike,
    labels: ArrayLike,
    num_workers: int,
    *,
    classes: int | None = None,
    regularizer: str | Regularizer | None = None,
    strength: float = 0.0,
    **rows: Unpack[RowOptions],
) -> LinearModel:
    """Multinomial logistic regression: f_i is the mean of log sum_c exp(s_c) - s_b.

    s = X^T a are the C scores of a row. L_i <= lambda_max(A_i' A_i) / (2 m_i), plus the
    regulariser's.

    Args:
        features: [N, d], dense; add a column of ones for intercepts.
        labels: [N], integers 0..C-1.
        num_workers: n.
        classes: C; the largest label plus one where it is left out.
        regularizer, strength: as for `linear_model`.
        rows: `batch_size`, `sampling`, `partition`, `alpha`, `partition_seed`,
            `drop_last` and `weights`, as for `logistic_regression`.

    Returns:
        The problem. Parameters are X [d, C], and it starts at 0: all classes alike.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> import asgrad_jax as ag
        >>> pixels, digits = ag.datasets.digits()
        >>> problem = multinomial_logistic(pixels, digits, 20, batch_size=16,
        ...     partition=ag.splits.dirichlet(digits, 20, alpha=0.1))
        >>> problem.init_params().shape
        (65, 10)
        >>> f"{problem.metrics(problem.init_params()[None])['loss'][0]:.4f}"
        '2.3026'
    """
    numbers, classes = checked_classes(labels, classes)
    return linear_model(
        features,
        numbers.astype(np.float64),
        num_workers,
        SOFTMAX,
        classes=classes,
        regularizer=regularizer,
        strength=strength,
        **rows,
    )
