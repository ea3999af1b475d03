"""Logistic regression over n workers, with its own gradient."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_choice, check_number, check_numbers
from asgrad_jax.datasets import labels_to_signs
from asgrad_jax.problems import dense_shards as dense
from asgrad_jax.problems.constants import LowerBound, Smoothness, batch_variance
from asgrad_jax.problems.eigenvalues import (
    mean_gram_eigenvalues,
    one_blas_thread,
    worker_rows,
)
from asgrad_jax.problems.partition import Partition
from asgrad_jax.problems.problem import GradientCost, lane_norm, make_arrays_read_only
from asgrad_jax.problems.regularizers import (
    Regularizer,
    find_regularizer,
    stored_form,
)
from asgrad_jax.problems.row_split import split_rows
from asgrad_jax.problems.sampling import MiniBatches, Sampling
from asgrad_jax.problems.shifted_rows import take_shift
from asgrad_jax.problems.sparse_shards import SparseShards, prefer_sparse

Array = np.ndarray | jax.Array
Storage = Literal["auto", "dense", "sparse"]

_MARGINS = 2**20  # margins (rows times points) that `noise_variance` holds at once


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class LogisticRegression(MiniBatches):
    """Logistic regression split over n workers; made by `logistic_regression`.

    With n workers, N rows, m of them in the largest shard, and d features. Dense shards
    of (nearly) equal sizes are stacked, with padding of weight 0; others lie worker
    after worker, as sparse rows always do. See `RowSplit`.

    Attributes:
        features: [n, m, d] or [N, d] float: rows a_ij; or `SparseShards`.
        labels: [n, m] or [N] float: b_ij in {-1, +1}.
        row_weight: [n, m] or [N] float: n w_i / m_i, 0 in the padding.
        counts: [n] int32: m_i, the rows of each shard.
        row_starts: [n + 1] int32: where the rows of each worker begin among [N]; None
            where they are stacked.
        scale: [n] float: n w_i; None where all workers count equally.
        strength: scalar float: factor of the regulariser.
        num_workers: n.
        shard_rows: m.
        batch_size: rows per mini-batch, None for full local gradients.
        sampling: how mini-batches are drawn.
        short_batches: whether batches of some shard have fewer rows.
        regularizer: "nonconvex", "l2", None or a `Regularizer`.
    """

    features: Array | SparseShards
    labels: Array
    row_weight: Array
    counts: Array
    row_starts: Array | None
    scale: Array | None
    strength: Array
    num_workers: int = field(metadata=dict(static=True))
    shard_rows: int = field(metadata=dict(static=True))
    batch_size: int | None = field(metadata=dict(static=True))
    sampling: Sampling = field(metadata=dict(static=True))
    short_batches: bool = field(metadata=dict(static=True))
    regularizer: str | Regularizer | None = field(metadata=dict(static=True))

    def init_params(self) -> np.ndarray:
        """The start of the paper's experiments: ones [d], float64."""
        return np.ones(self.features.shape[-1])

    def gradients_with(
        self, params: jax.Array, worker: jax.Array, sample: jax.Array | None
    ) -> jax.Array:
        """Stochastic gradients of n w_i f_i, i = worker, on these rows, [S, d]."""
        _, gradient = self._loss_terms(
            params,
            worker=worker,
            batch_rows=sample,
            num_counted=self.num_counted(worker),
            with_loss=False,
        )
        strength = self.strength
        if self.scale is not None:
            scale = jnp.asarray(self.scale)[worker]
            # The weights of all rows of a shard have the scale in them.
            gradient = gradient if sample is None else scale * gradient
            strength = scale * strength
        regularizer = find_regularizer(self.regularizer)
        return gradient + strength * regularizer.gradient(params)

    def metrics(self, params: jax.Array) -> dict[str, jax.Array]:
        """Loss and gradient norm of f, each [S]; see `Problem.metrics`."""
        n = self.num_workers
        losses, gradients = self._loss_terms(params)
        r = find_regularizer(self.regularizer)
        return {
            "loss": losses / n + self.strength * r.value(params),
            "grad_norm": lane_norm(gradients / n + self.strength * r.gradient(params)),
        }

    def local_gradients(self, params: jax.Array) -> jax.Array:
        """Full gradients of every n w_i f_i at one point x [d]: [n, d]."""

        def of_worker(worker):
            return self._loss_terms(params[None], worker=worker, with_loss=False)[1]

        workers = jnp.arange(self.num_workers, dtype=jnp.int32)
        if isinstance(self.features, SparseShards) or self.row_starts is not None:
            gradients = jax.lax.map(of_worker, workers)
        else:
            gradients = jax.vmap(of_worker)(workers)
        regularizer = find_regularizer(self.regularizer).gradient(params)
        added = (self.strength * regularizer)[None]
        if self.scale is not None:
            added = jnp.asarray(self.scale)[:, None] * added
        return gradients[:, 0] + added

    def cost(self, lanes: int) -> GradientCost:
        """What a gradient takes; on a CPU it may be one compiled pass over the rows."""
        cost = super().cost(lanes)
        if isinstance(self.features, SparseShards):
            ask = self.features.kernel_seconds
            seconds = ask(lanes, cost.rows, batch_rows=cost.scattered)
        else:
            shape = self.features.shape
            seconds = dense.kernel_seconds(
                lanes, cost.rows, shape, batch_rows=cost.scattered
            )
        return cost._replace(kernel_seconds=seconds)

    def smoothness(self, params: Any = None) -> Smoothness | None:
        """L_i <= n w_i (lambda_max(A_i' A_i)/(4 m_i) + strength sup|r''|), everywhere.

        None where the regulariser's curvature is not known.
        """
        r = find_regularizer(self.regularizer)
        if r.smoothness is None:
            return None
        shards = [worker_rows(self, i)[0] for i in range(self.num_workers)]
        scale = None if self.scale is None else np.asarray(self.scale, np.float64)
        per_worker, whole, certain = mean_gram_eigenvalues(shards, scale)
        high, low = (float(self.strength) * c for c in (r.smoothness, r.convexity))
        of_worker = high if scale is None else high * scale
        return Smoothness(
            of_f=whole / 4 + high,
            per_worker=per_worker / 4 + of_worker,
            strong_convexity=max(0.0, low),  # and not -0.0 without a regulariser
            certainty="upper bound" if certain else "probable upper bound",
        )

    def noise_variance(self, params: np.ndarray, worker: np.ndarray) -> np.ndarray:
        """sigma_i^2 of mini-batches of worker [N] at points [N, d], [N], closed form.

        `batch_variance` of the row gradients; the regulariser is the same for every row
        and adds none.
        """
        if self.batch_size is None:
            return np.zeros(len(worker))
        from scipy.special import expit

        found = np.empty(len(worker))
        with one_blas_thread():
            for i in np.unique(worker):
                rows, labels = worker_rows(self, i)
                count, labels = len(labels), labels[:, None]
                lengths = np.asarray((rows**2).sum(axis=1))
                mine = np.flatnonzero(worker == i)
                block = max(1, _MARGINS // count)
                for low in range(0, mine.size, block):
                    at = mine[low : low + block]
                    residual = expit(-labels * (rows @ params[at].T))
                    mean = rows.T @ (residual * labels) / count
                    squares = lengths @ residual**2 / count
                    # Rounding may leave a variance of -1e-17 where it is zero.
                    variance = np.maximum(squares - np.sum(mean**2, axis=0), 0.0)
                    found[at] = batch_variance(
                        variance, count, self.batch_size, self.sampling
                    )
        if self.scale is not None:
            found *= np.asarray(self.scale, np.float64)[worker] ** 2
        return found

    def lower_bound(self) -> LowerBound | None:
        """Losses are above 0; None where no lower bound of the regulariser is known."""
        lowest = find_regularizer(self.regularizer).lower_bound
        return None if lowest is None else LowerBound(float(self.strength) * lowest)

    def _loss_terms(self, params: jax.Array, **options) -> tuple[jax.Array, jax.Array]:
        """Weighted row losses [S] and their gradients [S, d], unregularised."""
        labels, row_weight = self.labels, self.row_weight
        if isinstance(self.features, SparseShards):
            return self.features.loss_terms(params, labels, row_weight, **options)
        return dense.loss_terms(
            params,
            self.features,
            labels,
            row_weight,
            row_starts=self.row_starts,
            shard_rows=self.shard_rows,
            **options,
        )


def logistic_regression(
    features: ArrayLike | scipy.sparse.spmatrix | scipy.sparse.sparray,
    labels: ArrayLike,
    num_workers: int,
    *,
    regularizer: str | Regularizer | None = "nonconvex",
    strength: float = 0.1,
    batch_size: int | None = None,
    sampling: Sampling = "without_replacement",
    partition: Partition | ArrayLike = "contiguous",
    alpha: float | None = None,
    partition_seed: int = 0,
    drop_last: bool = False,
    weights: Literal["rows"] | ArrayLike | None = None,
    storage: Storage = "auto",
) -> LogisticRegression:
    """Logistic regression whose rows are spread over n workers.

    f(x) = sum_i w_i f_i(x), w_i = 1/n unless `weights` says otherwise,
    f_i(x) = (1/m_i) sum_j log(1 + exp(-b_ij a_ij^T x)) + strength * r(x), with
    r(x) = sum_j x_j^2 / (1 + x_j^2) (`nonconvex`), sum_j x_j^2 (`l2`), 0 (None) or the
    function of a `Regularizer`.
    Without `weights` workers count equally, however many rows they own: the problem of
    the AsGrad experiments (arXiv 2310.20452, as read in the authors' published code).

    Memory follows the rows, however unequal the shards are. A job of worker i gives the
    gradient of n w_i f_i, so that f is the mean of what the workers give: see
    `KnownConstants.weights`.

    Args:
        features: [N, d] array or SciPy sparse matrix, one row a_j per sample.
        labels: [N]: {-1, +1}, {0, 1} or {1, 2}; the smaller label counts as -1.
        num_workers: n, at most N.
        regularizer: "nonconvex", "l2", None, a name given to `register_regularizer`, or
            a `Regularizer`.
        strength: factor of the regulariser, >= 0.
        batch_size: b <= N, rows per stochastic gradient, drawn from the worker's own
            shard; None for full local gradients. A worker with m_i < b rows takes the
            mean over all of its m_i rows, but "with_replacement", which draws b anyway.
        sampling: "without_replacement" (within a batch), "with_replacement" or
            "reshuffled" (epochs); see `batch_indices`. Unused for full gradients.
        partition: "contiguous", "iid", "sorted", "dirichlet" or the worker of each row;
            see `partition_rows`.
        alpha: concentration of the "dirichlet" partition.
        partition_seed: seed of the partition (not of the mini-batches, which follow the
            run's).
        drop_last: leave out surplus rows where n does not divide N.
        weights: None (w_i = 1/n), "rows" (w_i = m_i / N: every row counts the same), or
            n numbers > 0, which are divided by their sum.
        storage: "dense", "sparse", or "auto": sparse for SciPy matrices with less than
            15% nonzeros if the default backend is a CPU (asking starts the backend).
            Results do not depend on it beyond rounding.

    Raises:
        TypeError, ValueError: if an argument is not as described: features that are not
            a matrix of finite real numbers, labels of other classes, lengths that
            differ, more workers than rows, rows that n does not divide.

    Example:
        >>> import numpy as np
        >>> features = np.array([[1.0, 2.0], [0.5, -1.0], [2.0, 0.0], [-1.0, 1.0]])
        >>> problem = logistic_regression(features, [0, 1, 1, 0], num_workers=2)
        >>> problem.features.shape, problem.labels.tolist()
        ((2, 2, 2), [[-1.0, 1.0], [1.0, -1.0]])
        >>> metrics = problem.metrics(problem.init_params()[None])
        >>> f"{float(metrics['loss'][0]):.4f}"
        '1.3107'
    """
    regularizer = stored_form(regularizer)
    strength = check_number("strength", strength, minimum=0)
    check_choice("storage", storage, get_args(Storage))
    matrix = _checked(features)
    if storage == "auto":
        sparse = scipy.sparse.issparse(matrix) and prefer_sparse(matrix)
    else:
        sparse = storage == "sparse"
    signs = labels_to_signs(labels)
    if signs.shape[0] != matrix.shape[0]:
        raise ValueError(
            f"{matrix.shape[0]} rows of features but {signs.shape[0]} labels; "
            "give one label per row"
        )
    matrix, partition = take_shift(matrix, partition)
    split = split_rows(
        signs,
        num_workers,
        batch_size,
        sampling,
        weights=weights,
        padding=1.0 if sparse else None,  # sparse rows have no padding
        how=partition,
        alpha=alpha,
        seed=partition_seed,
        drop_last=drop_last,
    )
    if sparse:
        shards = SparseShards.from_rows(scipy.sparse.csr_array(matrix), split.shards())
    else:
        shards = split.lay_out(matrix, padding=0.0)
    problem = LogisticRegression(
        features=shards,
        labels=split.lay_out(signs, padding=1.0),
        strength=np.asarray(strength, np.float64),
        num_workers=int(num_workers),
        regularizer=regularizer,
        **split.fields(),
    )
    return make_arrays_read_only(problem)


def _checked(features: Any) -> Any:
    """Features as a finite float64 matrix [N, d]: an array, or CSR if sparse."""
    if np.iscomplexobj(features):
        raise ValueError("features must be real numbers, got complex ones")
    matrix = _as_float64(features)
    sparse = scipy.sparse.issparse(matrix)
    values = matrix.data if sparse else matrix
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            "features must be a matrix with a row per sample and at least one column, "
            f"got shape {matrix.shape}; reshape a single feature to (N, 1)"
        )
    if not np.isfinite(values).all():
        place = np.argwhere(~np.isfinite(values))[0]
        if sparse:
            row = np.searchsorted(matrix.indptr, place[0], side="right") - 1
            place = np.array([row, matrix.indices[place[0]]])
        row, column = place
        raise ValueError(
            f"features[{row}, {column}] is {matrix[row, column]}; remove or fill in "
            "rows with missing or infinite values"
        )
    return matrix


def _as_float64(features: Any) -> Any:
    if not scipy.sparse.issparse(features):
        return check_numbers("features", features, bools=True)
    matrix = scipy.sparse.csr_array(features, dtype=np.float64)
    matrix.check_format(full_check=True)  # the compiled kernel trusts the indices
    if not matrix.has_canonical_format:
        matrix = matrix.copy()  # it may be the user's
        matrix.sum_duplicates()
    return matrix
