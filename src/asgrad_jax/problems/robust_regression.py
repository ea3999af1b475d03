"""Regression with losses that outliers move less: Huber's, and two nonconvex ones."""

from typing import Any, Literal, Unpack, get_args

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_choice
from asgrad_jax.problems.linear_models import (
    LinearModel,
    RowLoss,
    RowOptions,
    linear_model,
)
from asgrad_jax.problems.regularizers import Regularizer

Robust = Literal["huber", "geman_mcclure", "tukey"]


def _huber(scores: jax.Array, targets: jax.Array, width: Any) -> jax.Array:
    size = jnp.abs(scores - targets)
    inside = jnp.minimum(size, width)
    return inside * (size - inside / 2)


def _geman_mcclure(scores: jax.Array, targets: jax.Array, width: Any) -> jax.Array:
    square = jnp.square(scores - targets)
    return square / (2 * (1 + square / width**2))


def _tukey(scores: jax.Array, targets: jax.Array, width: Any) -> jax.Array:
    inside = jnp.minimum(jnp.square((scores - targets) / width), 1)
    return width**2 / 6 * (1 - (1 - inside) ** 3)


# The second derivatives lie in [0, 1], in [-1/4, 1] and in [-4/5, 1], whatever c is.
_LOSSES = {
    "huber": RowLoss("huber", _huber, 1.0),
    "geman_mcclure": RowLoss("geman_mcclure", _geman_mcclure, 1.0, convexity=-0.25),
    "tukey": RowLoss("tukey", _tukey, 1.0, convexity=-0.8),
}


def robust_regression(
    features: ArrayLike,
    targets: ArrayLike,
    num_workers: int,
    *,
    loss: Robust = "huber",
    width: float = 1.0,
    regularizer: str | Regularizer | None = None,
    strength: float = 0.0,
    **rows: Unpack[RowOptions],
) -> LinearModel:
    """Regression with a robust loss of the residuals r = a^T x - b; x_0 = 0.

    All are r^2 / 2 near 0, with 1 as the largest second derivative, so that L_i <=
    lambda_max(A_i' A_i) / m_i. With c the `width`:

    - `huber`: r^2 / 2 up to |r| = c, then c |r| - c^2 / 2: convex;
    - `geman_mcclure`: (r^2 / 2) / (1 + r^2 / c^2), which tends to c^2 / 2;
    - `tukey`: (c^2 / 6) (1 - (1 - r^2 / c^2)^3) up to |r| = c, then c^2 / 6.

    The last two are not convex: a far outlier has (nearly) no gradient.

    Args:
        features: [N, d]: the rows a.
        targets: [N]: b, which the partition "sorted" goes by.
        num_workers: n.
        loss: see above.
        width: c > 0, in units of the targets.
        regularizer, strength: as for `linear_model`.
        rows: `batch_size`, `sampling`, `partition`, `alpha`, `partition_seed`,
            `drop_last` and `weights`, as for `logistic_regression`.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> problem = robust_regression([[1.0], [1.0]], [0.0, 9.0], 2, loss="tukey")
        >>> abs(problem.local_gradients(problem.init_params())).tolist()
        [[0.0], [0.0]]

    Source: Huber 1964, Geman and McClure 1985, the biweight of Beaton and Tukey 1974,
    all as recalled [R].
    """
    check_choice("loss", loss, get_args(Robust))
    return linear_model(
        features,
        targets,
        num_workers,
        _LOSSES[loss],
        width=width,
        regularizer=regularizer,
        strength=strength,
        **rows,
    )
