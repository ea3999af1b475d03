"""A problem from any differentiable loss on any pytree of parameters."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import refuse_masked
from asgrad_jax._util.hashable import hashable
from asgrad_jax._util.settings import on_cpu
from asgrad_jax.problems.partition import Partition
from asgrad_jax.problems.problem import (
    GradientCost,
    Params,
    VmappedProblem,
    make_arrays_read_only,
    sum_over_blocks,
    traced_shapes,
)
from asgrad_jax.problems.sampling import MiniBatches, Sampling, split_rows

# Rows that `metrics` evaluates at once per lane, about: it bounds the memory.
_METRICS_ROWS = 4096
# How many times more numbers there are in the matrices than in the rows of a gradient
# where the lanes of a CPU get copies of the rows: measured with 4 to 256 rows.
_LARGER = 2


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class LossProblem(MiniBatches, VmappedProblem):
    """A user's loss on data split over n workers; made by `from_loss`.

    With n workers and m rows in the largest shard; shorter shards are padded by
    repeating a row of their own, with weight 0.

    Attributes:
        start: pytree: x_0.
        data: pytree with leaves [n, m, ...].
        loss: the user's function.
        per_row: whether `loss` returns one value per row or their mean.
        row_weight, counts, num_workers, batch_size, sampling: as those of
            `LogisticRegression`.
    """

    start: Params
    data: Any
    row_weight: np.ndarray | jax.Array
    counts: np.ndarray | jax.Array
    loss: Callable[[Params, Any], jax.Array] = field(metadata=dict(static=True))
    per_row: bool = field(metadata=dict(static=True))
    num_workers: int = field(metadata=dict(static=True))
    batch_size: int | None = field(metadata=dict(static=True))
    sampling: Sampling = field(metadata=dict(static=True))

    def init_params(self) -> Params:
        """The start x_0: a pytree of NumPy arrays."""
        return jax.tree.map(np.array, self.start)

    def gradients_with(
        self, params: Params, worker: jax.Array, sample: jax.Array | None
    ) -> Params:
        """Stochastic gradients of f_worker on these rows, one per lane."""
        batch_rows = slice(None) if sample is None else sample
        batch = jax.tree.map(
            lambda leaf: jnp.asarray(leaf)[worker, batch_rows], self.data
        )
        weight = jnp.asarray(self.row_weight)[worker]
        if self.batch_size is not None:
            weight = jnp.full(self.batch_size, 1 / self.batch_size, weight.dtype)
        axes, lanes = (0, None, None), jax.tree.leaves(params)[0].shape[0]
        if self._replicate_batch(lanes):
            batch = jax.tree.map(
                lambda leaf: jnp.broadcast_to(leaf, (lanes, *leaf.shape)), batch
            )
            # XLA would see that they are the same rows, and merge the products again.
            batch = jax.lax.optimization_barrier(batch)
            axes = 0, 0, None
        return jax.vmap(jax.grad(self._value), axes)(params, batch, weight)

    def cost(self, lanes: int) -> GradientCost:
        """What a gradient takes, the loss being a product of rows and parameters."""
        copies = self._replicate_batch(lanes)
        return super().cost(lanes)._replace(copies_rows=copies)

    def _replicate_batch(self, lanes: int) -> bool:
        """Whether each of so many lanes gets a copy of the rows of a gradient.

        The products of a CPU merge lanes that share their rows into one, for which
        their matrices have to be transposed, and the gradients back; in a wave XLA
        takes a nanosecond for each of their numbers. Where the rows are few next to the
        matrices, products of each lane by itself are faster.
        """
        params = jax.tree.leaves(self.start)
        # XLA has no fast convolution for kernels of each lane with inputs of their own.
        matrices = max(map(np.ndim, params)) == 2
        rows = self.batch_size or self.row_weight.shape[1]
        numbers = rows * sum(
            math.prod(leaf.shape[2:]) for leaf in jax.tree.leaves(self.data)
        )
        few = _LARGER * numbers <= sum(map(np.size, params))
        return lanes > 1 and matrices and few and on_cpu()

    def lane_value_and_gradient(self, params: Params) -> tuple[jax.Array, Params]:
        """f(x) and its gradient at one lane's params."""
        n, m = self.row_weight.shape

        def of_block(block):
            def summed(params):
                values = jax.vmap(self._value, in_axes=(None, 0, 0))(params, *block)
                return jnp.sum(values)

            return jax.value_and_grad(summed)(params)

        total = sum_over_blocks(
            of_block, (self.data, self.row_weight), block=_METRICS_ROWS // m
        )
        return jax.tree.map(lambda leaf: leaf / n, total)

    def local_gradients(self, params: Params) -> Params:
        """Full gradients of every f_i: a pytree with leaves [n, ...]."""
        return jax.lax.map(
            lambda shard: jax.grad(self._value)(params, *shard),
            (self.data, self.row_weight),
            batch_size=max(1, _METRICS_ROWS // self.row_weight.shape[1]),
        )

    def _value(self, params: Params, batch: Any, weight: jax.Array) -> jax.Array:
        """The mean loss of a batch, in the dtype of the parameters."""
        dtype = jax.tree.leaves(params)[0].dtype
        losses = jnp.asarray(self.loss(params, batch), dtype)
        return losses @ weight if self.per_row else losses


def from_loss(
    loss: Callable[[Params, Any], jax.Array],
    init_params: Params,
    data: Any,
    num_workers: int,
    *,
    batch_size: int | None = None,
    sampling: Sampling = "without_replacement",
    partition: Partition | ArrayLike = "contiguous",
    labels: ArrayLike | None = None,
    alpha: float | None = None,
    partition_seed: int = 0,
    drop_last: bool = False,
) -> LossProblem:
    """A problem from a loss: f(x) = (1/n) sum_i f_i(x), f_i the mean loss of shard i.

    Gradients are `jax.grad` of the loss, vectorised over the lanes.

    Args:
        loss: `loss(params, batch)` gives the losses of the rows [rows], or their mean
            (a scalar); `batch` is a pytree like `data` with fewer rows. It must be
            pure and traceable by JAX. Pass the same function object again to reuse
            what was compiled; a new lambda compiles anew. After a change of what it
            reads, make another function; of a callable object, another problem.
        init_params: pytree of floating arrays: x_0.
        data: pytree of arrays with N leading rows each.
        num_workers: n, at most N.
        batch_size, sampling, partition, alpha, partition_seed, drop_last: as for
            `logistic_regression`.
        labels: [N], what "sorted" and "dirichlet" go by.

    Returns:
        The problem. Integer data are kept as integers (64-bit and uint32 ones as
        int32), floating data follow the dtype of the run.

    Raises:
        TypeError: for parameters or data that are not numeric arrays.
        ValueError: for leaves of different length, NaN or infinite values, a loss that
            returns anything but a floating scalar or [rows], a mean loss with shards of
            different size, and what `partition_rows` and `check_batch` refuse.

    Example:
        A two-layer network on the two-class digits, mini-batches of 16:

        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from asgrad_jax.datasets import digits_binary
        >>> def loss(params, batch):
        ...     features, labels = batch
        ...     hidden = jax.nn.relu(features @ params["in"])
        ...     return jax.nn.softplus(-labels * (hidden @ params["out"]))  # per row
        >>> rng = np.random.default_rng(0)
        >>> start = {"in": rng.normal(0, 0.1, (65, 8)), "out": rng.normal(0, 0.1, 8)}
        >>> features, labels = digits_binary()
        >>> problem = from_loss(loss, start, (features, labels), num_workers=10,
        ...                     batch_size=16, partition="sorted", labels=labels,
        ...                     drop_last=True)
        >>> lanes = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), start)
        >>> problem.metrics(lanes)["loss"].shape
        (2,)
    """
    loss = hashable(loss)
    start = jax.tree.map(_checked_param, init_params)
    if not jax.tree.leaves(start):
        raise TypeError("init_params must have arrays, got none")
    leaves, structure = _checked_leaves(data)
    num_rows = leaves[0].shape[0]
    rows, weight, batch_size = split_rows(
        _checked_labels(labels, partition, num_rows),
        num_workers,
        batch_size,
        sampling,
        how=partition,
        alpha=alpha,
        seed=partition_seed,
        drop_last=drop_last,
    )
    counts = np.array([len(shard) for shard in rows], np.int32)
    largest = int(counts.max())
    owned = np.stack([np.resize(shard, largest) for shard in rows])  # repeats rows
    shards = jax.tree.unflatten(structure, [leaf[owned] for leaf in leaves])
    per_row = _returns_rows(loss, start, shards, {largest, batch_size or largest})
    if not per_row and counts.min() < largest:
        raise ValueError(
            "the loss must return one value per row for shards of different sizes "
            f"({counts.min()} to {largest} rows; the padding is masked), got their mean"
        )
    problem = LossProblem(
        start=start,
        data=shards,
        row_weight=weight,
        counts=counts,
        loss=loss,
        per_row=per_row,
        num_workers=int(num_workers),
        batch_size=batch_size,
        sampling=sampling,
    )
    return make_arrays_read_only(problem)


def _checked_param(leaf: Any) -> np.ndarray:
    refuse_masked("init_params", leaf)
    array = np.asarray(leaf)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"init_params must be floating arrays, got one of dtype {array.dtype}; "
            "convert it to float, or close over it in the loss"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(
            "init_params must be finite, got NaN or infinite values in an array of "
            f"shape {array.shape}"
        )
    return array


def _checked_labels(labels: Any, partition: Any, num_rows: int) -> np.ndarray:
    """Labels [N] for the partition, zeros where none are needed."""
    if labels is None:
        if isinstance(partition, str) and partition in ("sorted", "dirichlet"):
            raise ValueError(
                f"labels must be given with partition={partition!r}, one per row"
            )
        return np.zeros(num_rows)
    refuse_masked("labels", labels)
    labels = np.asarray(labels)
    if labels.shape != (num_rows,):
        raise ValueError(
            f"labels must have shape ({num_rows},), one per row, got {labels.shape}"
        )
    return labels


def _checked_leaves(data: Any) -> tuple[list[np.ndarray], Any]:
    """The arrays of a pytree of data, all with N rows, and its structure."""
    paths, structure = jax.tree_util.tree_flatten_with_path(data)
    leaves = {f"data{jax.tree_util.keystr(path)}": leaf for path, leaf in paths}
    leaves = {name: _checked_data(name, leaf) for name, leaf in leaves.items()}
    if not leaves:
        raise TypeError("data must have arrays, got none")
    if len({len(leaf) for leaf in leaves.values()}) > 1:
        shown = ", ".join(f"{name}: {len(leaf)}" for name, leaf in leaves.items())
        raise ValueError(f"all data must have the same number of rows, got {shown}")
    return [*leaves.values()], structure


def _checked_data(name: str, leaf: Any) -> np.ndarray:
    """One data array in the form that the engine can place on a device."""
    if scipy.sparse.issparse(leaf):
        raise TypeError(
            f"{name} must be a dense array, got a sparse matrix; give toarray(), or "
            "use ag.logistic_regression, which has a sparse form"
        )
    refuse_masked(name, leaf)
    array = np.asarray(leaf)
    if array.ndim == 0 or array.shape[0] == 0:
        raise ValueError(
            f"{name} must have at least one row, got shape {array.shape}; give arrays, "
            "not lists, which are pytrees of their entries"
        )
    if jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got NaN or infinite values")
    elif array.dtype in (np.int64, np.uint64, np.uint32):
        limits = np.iinfo(np.int32)
        if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
            raise ValueError(f"{name} must be integers of 32 bits, got larger ones")
        array = array.astype(np.int32)
    elif not (np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_):
        raise TypeError(f"{name} must be numbers, got dtype {array.dtype}")
    return array


def _returns_rows(loss: Callable, start: Params, shards: Any, sizes: set[int]) -> bool:
    """Whether the loss returns one value per row (True) or a scalar (False)."""

    def abstract(shape, leaf):
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jax.ShapeDtypeStruct(shape, jnp.float32 if floating else leaf.dtype)

    params = jax.tree.map(lambda leaf: abstract(leaf.shape, leaf), start)
    answers = set()
    for rows in sizes:
        batch = jax.tree.map(
            lambda leaf, rows=rows: abstract((rows, *leaf.shape[2:]), leaf), shards
        )
        result = traced_shapes("the loss", loss, params, batch)
        shape = getattr(result, "shape", None)
        if shape not in ((), (rows,)) or not jnp.issubdtype(result.dtype, jnp.floating):
            raise ValueError(
                f"loss(params, batch) with {rows} rows must return a floating scalar or"
                f" an array of shape ({rows},), got {result}"
            )
        answers.add(shape == (rows,))
    if len(answers) > 1:
        raise ValueError(
            "the loss must return one value per row for all batch sizes or for none, "
            "got it for some"
        )
    return answers.pop()
