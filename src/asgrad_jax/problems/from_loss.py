"""A problem from any differentiable loss on any pytree of parameters."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import refuse_masked
from asgrad_jax._util.hashable import hashable
from asgrad_jax.problems.partition import Partition
from asgrad_jax.problems.problem import (
    GradientCost,
    Params,
    VmappedProblem,
    batch_weights,
    make_arrays_read_only,
    rows_at_once,
    sum_over_blocks,
    sum_over_shard,
    traced_shapes,
)
from asgrad_jax.problems.row_split import split_rows
from asgrad_jax.problems.sampling import MiniBatches, Sampling

Array = np.ndarray | jax.Array

# Rows that `metrics` evaluates at once per lane, about: it bounds the memory.
_METRICS_ROWS = 4096
# How many times more numbers there are in the matrices than in the rows of a gradient
# where the lanes of a CPU get copies of the rows: measured with 4 to 256 rows.
_LARGER = 2


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class LossProblem(MiniBatches, VmappedProblem):
    """A user's loss on data split over n workers; made by `from_loss`.

    With n workers, N rows, and m of them in the largest shard. Shards of (nearly) equal
    sizes are stacked and padded by repeating a row of their own, with weight 0; others
    lie worker after worker. See `RowSplit`.

    Attributes:
        start: pytree: x_0.
        data: pytree with leaves [n, m, ...], or [N, ...].
        loss: the user's function.
        per_row: whether `loss` returns one value per row or their mean.
        row_weight, counts, row_starts, scale, num_workers, shard_rows, batch_size,
            sampling, short_batches: as those of `LogisticRegression`.
    """

    start: Params
    data: Any
    row_weight: Array
    counts: Array
    row_starts: Array | None
    scale: Array | None
    loss: Callable[[Params, Any], jax.Array] = field(metadata=dict(static=True))
    per_row: bool = field(metadata=dict(static=True))
    num_workers: int = field(metadata=dict(static=True))
    shard_rows: int = field(metadata=dict(static=True))
    batch_size: int | None = field(metadata=dict(static=True))
    sampling: Sampling = field(metadata=dict(static=True))
    short_batches: bool = field(metadata=dict(static=True))

    def init_params(self) -> Params:
        """The start x_0: a pytree of NumPy arrays."""
        return jax.tree.map(np.array, self.start)

    def gradients_with(
        self, params: Params, worker: jax.Array, sample: jax.Array | None
    ) -> Params:
        """Stochastic gradients of n w_i f_i, i = worker, on these rows, per lane."""
        lanes = jax.tree.leaves(params)[0].shape[0]
        if sample is None and self.row_starts is not None:
            return self._gradients_of_shard(params, worker)
        if sample is None:
            batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[worker], self.data)
            weight = jnp.asarray(self.row_weight)[worker]
        else:
            batch = self._rows(worker, sample)
            weight = self._batch_weight(worker, sample.size)
        axes = (0, None, None)
        if self._replicate_batch(lanes):
            batch = jax.tree.map(
                lambda leaf: jnp.broadcast_to(leaf, (lanes, *leaf.shape)), batch
            )
            # XLA would see that they are the same rows, and merge the products again.
            batch = jax.lax.optimization_barrier(batch)
            axes = 0, 0, None
        return jax.vmap(jax.grad(self._value), axes)(params, batch, weight)

    def _rows(self, worker: jax.Array, rows: jax.Array) -> Any:
        """Rows of a worker's shard, by their numbers within it: leaves [b, ...]."""
        if self.row_starts is None:
            return jax.tree.map(lambda leaf: jnp.asarray(leaf)[worker, rows], self.data)
        place = jnp.asarray(self.row_starts)[worker] + rows
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[place], self.data)

    def _batch_weight(self, worker: jax.Array, size: int) -> jax.Array:
        """n w_i / k for the k rows of a sample that count, 0 behind them: [b]."""
        dtype = jnp.asarray(self.row_weight).dtype
        weight = batch_weights(size, self.picked(worker), dtype)
        if self.scale is None:
            return weight
        return jnp.asarray(self.scale)[worker] * weight

    def _gradients_of_shard(self, params: Params, worker: jax.Array) -> Params:
        """Full gradients, one per lane, of a shard among those of unequal sizes."""
        first, after = (jnp.asarray(self.row_starts)[worker + i] for i in (0, 1))

        def of_block(place, real):
            batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[place], self.data)
            weight = jnp.where(real, jnp.asarray(self.row_weight)[place], 0)
            gradient = jax.grad(self._value)
            return jax.vmap(gradient, (0, None, None))(params, batch, weight)

        block = rows_at_once(self.row_weight.size, self.num_workers)
        return sum_over_shard(of_block, first, after - first, block=block)

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
        if self.row_starts is not None and self.batch_size is None:
            return False
        rows = self.picks if self.batch_size else self.shard_rows
        numbers = rows * sum(
            math.prod(leaf.shape[self.row_weight.ndim :])
            for leaf in jax.tree.leaves(self.data)
        )
        few = _LARGER * numbers <= sum(map(np.size, params))
        return lanes > 1 and matrices and few and jax.default_backend() == "cpu"

    def lane_value_and_gradient(self, params: Params) -> tuple[jax.Array, Params]:
        """f(x) and its gradient at one lane's params."""
        n, m = self.num_workers, self.shard_rows

        def of_block(block):
            def summed(params):
                if self.row_starts is not None:
                    return self._value(params, *block)
                values = jax.vmap(self._value, in_axes=(None, 0, 0))(params, *block)
                return jnp.sum(values)

            return jax.value_and_grad(summed)(params)

        leaves = self.data, self.row_weight
        together = _METRICS_ROWS if self.row_starts is not None else _METRICS_ROWS // m
        total = sum_over_blocks(of_block, leaves, block=together)
        return jax.tree.map(lambda leaf: leaf / n, total)

    def local_gradients(self, params: Params) -> Params:
        """Full gradients of every n w_i f_i: a pytree with leaves [n, ...]."""
        if self.row_starts is not None:
            lane = jax.tree.map(lambda leaf: leaf[None], params)
            gradients = jax.lax.map(
                lambda worker: self._gradients_of_shard(lane, worker),
                jnp.arange(self.num_workers, dtype=jnp.int32),
            )
            return jax.tree.map(lambda leaf: leaf[:, 0], gradients)
        return jax.lax.map(
            lambda shard: jax.grad(self._value)(params, *shard),
            (self.data, self.row_weight),
            batch_size=max(1, _METRICS_ROWS // self.shard_rows),
        )

    def _value(self, params: Params, batch: Any, weight: jax.Array) -> jax.Array:
        """The weighted loss of a batch, in the dtype of the parameters."""
        dtype = jax.tree.leaves(params)[0].dtype
        losses = jnp.asarray(self.loss(params, batch), dtype)
        if self.per_row:
            return losses @ weight
        return losses if self.scale is None else losses * jnp.sum(weight)


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
    weights: Literal["rows"] | ArrayLike | None = None,
) -> LossProblem:
    """A problem from a loss: f(x) = sum_i w_i f_i(x), f_i the mean loss of shard i.

    w_i = 1/n unless `weights` says otherwise. Gradients are `jax.grad` of the loss,
    vectorised over the lanes. Memory and weights are as for `logistic_regression`.

    Args:
        loss: `loss(params, batch)` gives the losses of the rows [rows], or their mean
            (a scalar); `batch` is a pytree like `data` with fewer rows. It must be
            pure and traceable by JAX. Pass the same function object again to reuse
            what was compiled; a new lambda compiles anew. After a change of what it
            reads, make another function; of a callable object, another problem.
        init_params: pytree of floating arrays: x_0.
        data: pytree of arrays with N leading rows each.
        num_workers: n, at most N.
        batch_size, sampling, partition, alpha, partition_seed, drop_last, weights: as
            for `logistic_regression`.
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
    split = split_rows(
        _checked_labels(labels, partition, num_rows),
        num_workers,
        batch_size,
        sampling,
        weights=weights,
        how=partition,
        alpha=alpha,
        seed=partition_seed,
        drop_last=drop_last,
    )
    fewest, largest = int(split.counts.min()), split.shard_rows
    sizes = {largest, min(split.batch_size or largest, largest)}
    per_row = _returns_rows(loss, start, leaves, structure, sizes)
    if not per_row and fewest < largest:
        raise ValueError(
            "the loss must return one value per row for shards of different sizes "
            f"({fewest} to {largest} rows, of which some are masked), got their mean"
        )
    shards = [split.lay_out(leaf, padding=None) for leaf in leaves]
    problem = LossProblem(
        start=start,
        data=jax.tree.unflatten(structure, shards),
        loss=loss,
        per_row=per_row,
        num_workers=int(num_workers),
        **split.fields(),
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


def _returns_rows(
    loss: Callable, start: Params, leaves: list, structure: Any, sizes: set[int]
) -> bool:
    """Whether the loss returns one value per row (True) or a scalar (False)."""

    def abstract(shape, leaf):
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jax.ShapeDtypeStruct(shape, jnp.float32 if floating else leaf.dtype)

    params = jax.tree.map(lambda leaf: abstract(leaf.shape, leaf), start)
    answers = set()
    for rows in sizes:
        batch = jax.tree.unflatten(
            structure, [abstract((rows, *leaf.shape[1:]), leaf) for leaf in leaves]
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
