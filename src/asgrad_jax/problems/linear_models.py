"""Losses of a_j^T x: regression and classification by linear models, with constants."""

from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import (
    check_callable,
    check_number,
    check_numbers,
    check_type,
)
from asgrad_jax._util.settings import fixed
from asgrad_jax.problems.constants import LowerBound, Smoothness, batch_variance
from asgrad_jax.problems.eigenvalues import mean_gram_eigenvalues, one_blas_thread
from asgrad_jax.problems.from_loss import LossProblem
from asgrad_jax.problems.partition import Partition
from asgrad_jax.problems.problem import Params, make_arrays_read_only
from asgrad_jax.problems.regularizers import (
    Regularizer,
    find_regularizer,
    stored_form,
)
from asgrad_jax.problems.row_split import split_rows
from asgrad_jax.problems.sampling import Sampling
from asgrad_jax.problems.shifted_rows import take_shift

Array = np.ndarray | jax.Array

_SCORES = 2**20  # rows times points that `noise_variance` holds at once
_EIGEN = 1024  # features up to which the smallest eigenvalue is found


class RowOptions(TypedDict, total=False):
    """What ready problems on rows take besides, as `logistic_regression` has it."""

    batch_size: int | None
    sampling: Sampling
    partition: Partition | ArrayLike
    alpha: float | None
    partition_seed: int
    drop_last: bool
    weights: Literal["rows"] | ArrayLike | None


@dataclass(frozen=True)
class RowLoss:
    """A loss phi(s, b) of the scores s = a^T x of a row and its target b.

    Attributes:
        name: in messages.
        value: (scores [m] or [m, C], targets [m], width) -> [m], with jax.numpy.
        curvature: a number >= every |eigenvalue| of phi's Hessian in s, everywhere.
        convexity: a number <= every eigenvalue of it; negative where phi is not convex.
        lower_bound: a number <= phi.

    Example:
        >>> logcosh = RowLoss(
        ...     "log cosh", lambda s, b, width: jnp.log(jnp.cosh(s - b)), 1.0)
        >>> problem = linear_model(np.eye(4), np.arange(4.0), 2, logcosh)
        >>> problem.smoothness().per_worker
        array([0.5, 0.5])
    """

    name: str
    value: Any
    curvature: float
    convexity: float = 0.0
    lower_bound: float = 0.0

    def __post_init__(self) -> None:
        check_callable("value", self.value, "scores", "targets", "width")
        check_number("convexity", self.convexity)
        check_number("curvature", self.curvature, minimum=abs(self.convexity))
        check_number("lower_bound", self.lower_bound)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class LinearModel(LossProblem):
    """f_i(x) = (1/m_i) sum_j phi(a_j^T x, b_j) + strength r(x) on n workers.

    Made by `linear_model`, and by makers that choose phi. Attributes are those of
    `LossProblem`, with data = (features, targets), and:

    Attributes:
        strength: scalar float: factor of the regulariser.
        width: scalar float: what phi takes as such.
        row_loss: phi.
        regularizer: r: "nonconvex", "l2", None or a `Regularizer`.
    """

    strength: Array
    width: Array
    row_loss: RowLoss = field(metadata=dict(static=True))
    regularizer: str | Regularizer | None = field(metadata=dict(static=True))

    def smoothness(self, params: Any = None) -> Smoothness | None:
        """L_i <= n w_i (curvature lambda_max(A_i' A_i / m_i) + strength sup|r''|).

        Exact for least squares without regulariser or with "l2"; None where the
        regulariser's curvature is not known.
        """
        r, phi = find_regularizer(self.regularizer), self.row_loss
        if r.smoothness is None:
            return None
        shards = [self.shard(i)[0] for i in range(self.num_workers)]
        scale = self.worker_factors()
        per_worker, whole, certain = mean_gram_eigenvalues(shards, scale)
        strength = float(self.strength)
        high, low = strength * r.smoothness, strength * r.convexity
        constant = phi.convexity == phi.curvature
        if constant:
            low += phi.curvature * _smallest(shards, scale)
        else:
            low += min(phi.convexity, 0.0) * whole
        exact = constant and self.regularizer in (None, "l2")
        sure = "exact" if exact else "upper bound"
        return Smoothness(
            of_f=phi.curvature * whole + high,
            per_worker=phi.curvature * per_worker + high * scale,
            strong_convexity=max(0.0, low),
            certainty=sure if certain else "probable upper bound",
        )

    def noise_variance(self, params: Params, worker: np.ndarray) -> np.ndarray:
        """sigma_i^2 of mini-batches of worker [N] at points [N, ...], closed form."""
        if self.batch_size is None:
            return np.zeros(len(worker))
        found = np.empty(len(worker))
        points = np.asarray(params, np.float64)
        with one_blas_thread():
            for i in np.unique(worker):
                rows, targets = self.shard(i)
                lengths = np.sum(rows**2, axis=1)
                mine = np.flatnonzero(worker == i)
                block = max(1, _SCORES // (len(rows) * points[0].size))
                for low in range(0, mine.size, block):
                    at = mine[low : low + block]
                    scores = np.tensordot(points[at], rows, axes=(1, 1))
                    scores = np.moveaxis(scores, -1, 1)  # [N, m] or [N, m, C]
                    slopes = self._slopes(scores, targets)
                    mean = np.tensordot(slopes, rows, axes=(1, 0)) / len(rows)
                    squares = np.square(slopes).reshape(*slopes.shape[:2], -1).sum(-1)
                    variance = squares @ lengths / len(rows)
                    variance -= np.square(mean).reshape(len(at), -1).sum(1)
                    # Rounding may leave a variance of -1e-17 where it is zero.
                    variance = np.maximum(variance, 0.0)
                    found[at] = batch_variance(
                        variance, len(rows), self.batch_size, self.sampling
                    )
        return found * self.worker_factors()[worker] ** 2

    gradient_bias = ""  # rows are by themselves

    def lower_bound(self) -> LowerBound | None:
        """The least value of phi; None where the regulariser has no known bound."""
        lowest = find_regularizer(self.regularizer).lower_bound
        if lowest is None:
            return None
        return LowerBound(self.row_loss.lower_bound + float(self.strength) * lowest)

    def _slopes(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """d phi / d s at scores [N, m] or [N, m, C], in float64."""
        with fixed(x64=True):
            width = np.float64(self.width)

            def summed(scores):
                value = self.row_loss.value
                return jnp.sum(jax.vmap(value, (0, None, None))(scores, targets, width))

            return np.asarray(jax.grad(summed)(jnp.asarray(scores)))

    def worker_factors(self) -> NDArray[np.float64]:
        """n w_i, [n]."""
        equal = self.scale is None
        return np.ones(self.num_workers) if equal else np.asarray(self.scale, float)

    def shard(self, worker: int) -> tuple[NDArray[np.float64], np.ndarray]:
        """The rows and targets that a worker owns."""
        count = int(self.counts[worker])
        if self.row_starts is None:
            index = worker, slice(count)
        else:
            first = int(self.row_starts[worker])
            index = slice(first, first + count)
        features, targets = self.data
        return np.asarray(features[index], np.float64), np.asarray(targets[index])

    def _value(
        self, params: Params, batch: Any, weight: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        """The weighted loss of a batch, regulariser included."""
        features, targets = batch
        losses = self.row_loss.value(features @ params, targets, self.width)
        r = find_regularizer(self.regularizer).value(params.reshape(1, -1))[0]
        return losses @ weight + self.strength * r * jnp.sum(weight)


def linear_model(
    features: ArrayLike,
    targets: ArrayLike,
    num_workers: int,
    row_loss: RowLoss,
    *,
    classes: int | None = None,
    width: float = 1.0,
    regularizer: str | Regularizer | None = None,
    strength: float = 0.0,
    **rows: Unpack[RowOptions],
) -> LinearModel:
    """A linear model with a loss of your own, in one matrix product for all lanes.

    Args:
        features: [N, d], dense; add a column of ones for an intercept.
        targets: [N]: b_j, finite numbers, or integers 0..C-1 with `classes`. They are
            also what the partitions "sorted" and "dirichlet" go by.
        num_workers: n.
        row_loss: phi, see `RowLoss`.
        classes: C, where a row has C scores and x is a matrix [d, C]; None for [d].
        width: passed to phi, > 0.
        regularizer: "nonconvex", "l2", None, a registered name or a `Regularizer`.
        strength: factor of the regulariser, >= 0.
        rows: `batch_size`, `sampling`, `partition`, `alpha`, `partition_seed`,
            `drop_last` and `weights`, as for `logistic_regression`.

    Returns:
        The problem. It starts at x_0 = 0.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> square = RowLoss("square", lambda s, b, width: (s - b) ** 2, 2.0, 2.0)
        >>> problem = linear_model(np.eye(4), np.ones(4), 2, square)
        >>> problem.metrics(problem.init_params()[None])["loss"].tolist()
        [1.0]
    """
    check_type("row_loss", row_loss, RowLoss, "a RowLoss")
    if scipy.sparse.issparse(features):
        raise TypeError(
            "features must be a dense array, got a sparse matrix; give toarray(), or "
            "use ag.logistic_regression, which has a sparse form"
        )
    matrix = check_numbers("features", features, ndim=2, finite=True, bools=True)
    if 0 in matrix.shape:
        raise ValueError(f"features must not be empty, got shape {matrix.shape}")
    numbers = check_numbers("targets", targets, ndim=1, finite=True, bools=True)
    if len(numbers) != len(matrix):
        raise ValueError(
            f"targets must have one number per row, {len(matrix)}, got {len(numbers)}"
        )
    if "partition" in rows:
        matrix, rows["partition"] = take_shift(matrix, rows["partition"])
    split = _split(numbers, num_workers, **rows)
    kept = numbers if classes is None else numbers.astype(np.int32)
    problem = LinearModel(
        start=np.zeros((matrix.shape[1], *([] if classes is None else [classes]))),
        data=tuple(split.lay_out(leaf, padding=None) for leaf in (matrix, kept)),
        frozen=None,
        loss=row_loss.value,
        per_row=True,
        draws=False,
        least=row_loss.lower_bound,
        num_workers=int(num_workers),
        strength=np.asarray(check_number("strength", strength, minimum=0)),
        width=np.asarray(check_number("width", width, above=0)),
        row_loss=row_loss,
        regularizer=stored_form(regularizer),
        **split.fields(),
    )
    return make_arrays_read_only(problem)


def _split(
    labels: np.ndarray,
    num_workers: int,
    *,
    batch_size: int | None = None,
    sampling: Sampling = "without_replacement",
    partition: Partition | ArrayLike = "contiguous",
    alpha: float | None = None,
    partition_seed: int = 0,
    drop_last: bool = False,
    weights: Literal["rows"] | ArrayLike | None = None,
) -> Any:
    return split_rows(
        labels,
        num_workers,
        batch_size,
        sampling,
        weights=weights,
        how=partition,
        alpha=alpha,
        seed=partition_seed,
        drop_last=drop_last,
    )


def _smallest(shards: list[np.ndarray], scale: NDArray[np.float64]) -> float:
    """lambda_min of the mean of c_i A_i' A_i / m_i; 0 where it is not worth finding."""
    d = shards[0].shape[1]
    if d > _EIGEN:
        return 0.0
    pairs = zip(shards, scale, strict=True)
    gram = sum((c / len(rows) * (rows.T @ rows) for rows, c in pairs), np.zeros((d, d)))
    return max(0.0, float(np.linalg.eigvalsh(gram / len(shards))[0]))
