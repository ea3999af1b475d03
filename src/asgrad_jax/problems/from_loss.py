"""A problem from any differentiable loss on any pytree of parameters."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_number
from asgrad_jax._util.hashable import hashable
from asgrad_jax._util.settings import on_cpu
from asgrad_jax.problems.constants import LowerBound
from asgrad_jax.problems.loss_checks import (
    check_reached,
    checked_frozen,
    checked_labels,
    checked_leaves,
    checked_param,
    further_parameters,
    returns_rows,
    rows_affect_each_other,
)
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
)
from asgrad_jax.problems.row_split import split_rows
from asgrad_jax.problems.sampling import MiniBatches, Sampling

Array = np.ndarray | jax.Array

# Folded into a run's key for the keys of losses; no worker has this number.
_LOSS_KEY = 0xD60F0077
_DRAWS = (
    "the loss draws random numbers (its argument key), and f is what it is with one "
    "fixed key"
)
_COUPLED = (
    "rows of a batch affect each other (as with statistics of the batch, of BatchNorm),"
    " so that gradients of mini-batches are not those of f in the mean"
)
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
        draws: whether `loss` takes a random key.
        frozen: pytree that the loss takes as `frozen`; None without.
        least: a number below all losses, None where none is known.
        row_weight, counts, row_starts, scale, num_workers, shard_rows, batch_size,
            sampling, short_batches: as those of `LogisticRegression`.
    """

    start: Params
    data: Any
    frozen: Any
    row_weight: Array
    counts: Array
    row_starts: Array | None
    scale: Array | None
    loss: Callable[..., jax.Array] = field(metadata=dict(static=True))
    per_row: bool = field(metadata=dict(static=True))
    draws: bool = field(metadata=dict(static=True))
    least: float | None = field(metadata=dict(static=True))
    num_workers: int = field(metadata=dict(static=True))
    shard_rows: int = field(metadata=dict(static=True))
    batch_size: int | None = field(metadata=dict(static=True))
    sampling: Sampling = field(metadata=dict(static=True))
    short_batches: bool = field(metadata=dict(static=True))

    def init_params(self) -> Params:
        """The start x_0: a pytree of NumPy arrays."""
        return jax.tree.map(np.array, self.start)

    @property
    def gradient_bias(self) -> str:
        """Why theory refuses losses that draw random numbers, else empty.

        And losses of mini-batches whose rows affect each other.
        """
        if self.draws or self.batch_size is None:
            return _DRAWS if self.draws else ""
        rows = self._rows_of_one_worker()
        coupled = rows_affect_each_other(self._call, self.start, rows)
        return _COUPLED if coupled else ""

    def lower_bound(self) -> LowerBound | None:
        """The number below all losses that `from_loss` was told."""
        return None if self.least is None else LowerBound(self.least)

    def sample(self, worker: jax.Array, job: jax.Array, key: jax.Array) -> Any:
        """The rows of a mini-batch, int32 [b], or None for full gradients.

        Where the loss takes a key, a pair of these and the job's key as uint32 [2].
        """
        rows = super().sample(worker, job, key)
        if not self.draws:
            return rows
        for number in (_LOSS_KEY, worker, job):
            key = jax.random.fold_in(key, number)
        return rows, jax.random.key_data(key)

    def gradients_with(self, params: Params, worker: jax.Array, sample: Any) -> Params:
        """Stochastic gradients of n w_i f_i, i = worker, on these rows, per lane."""
        lanes = jax.tree.leaves(params)[0].shape[0]
        sample, key = sample if self.draws else (sample, None)
        if sample is None and self.row_starts is not None:
            return _gradients_of_shard(self, params, worker, key)
        if sample is None:
            batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[worker], self.data)
            weight = jnp.asarray(self.row_weight)[worker]
        else:
            batch = self._rows(worker, sample)
            weight = self._batch_weight(worker, sample.size)
        axes = (0, None, None, None)
        if self._replicate_batch(lanes):
            batch = jax.tree.map(
                lambda leaf: jnp.broadcast_to(leaf, (lanes, *leaf.shape)), batch
            )
            # XLA would see that they are the same rows, and merge the products again.
            batch = jax.lax.optimization_barrier(batch)
            axes = 0, 0, None, None
        return jax.vmap(jax.grad(self._value), axes)(params, batch, weight, key)

    def _rows(self, worker: jax.Array, rows: jax.Array) -> Any:
        """Rows of a worker's shard, by their numbers within it: leaves [b, ...]."""
        if self.row_starts is None:
            return jax.tree.map(lambda leaf: jnp.asarray(leaf)[worker, rows], self.data)
        place = jnp.asarray(self.row_starts)[worker] + rows
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[place], self.data)

    def _batch_weight(self, worker: jax.Array, size: int) -> jax.Array:
        """n w_i / k for the k rows of a sample that count, 0 behind them: [b]."""
        dtype = jnp.asarray(self.row_weight).dtype
        weight = batch_weights(size, self.num_counted(worker), dtype)
        if self.scale is None:
            return weight
        return jnp.asarray(self.scale)[worker] * weight

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
        # XLA has no fast convolution for kernels of each lane with inputs of their own,
        # and products of patches of images that all lanes share are one product.
        axes, params = self.row_weight.ndim, jax.tree.leaves(self.start)
        matrices = max(map(np.ndim, params)) == 2
        images = any(np.ndim(x) > axes + 1 for x in jax.tree.leaves(self.data))
        if self.row_starts is not None and self.batch_size is None:
            return False
        rows = self.picks if self.batch_size else self.shard_rows
        numbers = rows * sum(
            math.prod(leaf.shape[axes:]) for leaf in jax.tree.leaves(self.data)
        )
        few = _LARGER * numbers <= sum(map(np.size, params))
        return lanes > 1 and matrices and not images and few and on_cpu()

    def lane_value_and_gradient(self, params: Params) -> tuple[jax.Array, Params]:
        """f(x) and its gradient at one lane's params."""
        n, flat = self.num_workers, self.row_starts is not None
        size = np.shape(self.row_weight)[0]
        numbers = jnp.arange(size, dtype=jnp.int32) if self.draws else None

        def of_shard(params, data, weight, number):
            return self._value(params, data, weight, _folded(self._fixed_key(), number))

        def of_block(block):
            def summed(params):
                if flat:
                    data, weight, number = block
                    number = number if number is None else number[0]
                    return of_shard(params, data, weight, number)
                values = jax.vmap(of_shard, in_axes=(None, 0, 0, 0))(params, *block)
                return jnp.sum(values)

            return jax.value_and_grad(summed)(params)

        together = _METRICS_ROWS if flat else _METRICS_ROWS // self.shard_rows
        leaves = self.data, self.row_weight, numbers
        total = sum_over_blocks(of_block, leaves, block=together)
        return jax.tree.map(lambda leaf: leaf / n, total)

    def local_gradients(self, params: Params) -> Params:
        """Full gradients of every n w_i f_i: a pytree with leaves [n, ...]."""
        workers = jnp.arange(self.num_workers, dtype=jnp.int32)
        if self.row_starts is not None:
            lane = jax.tree.map(lambda leaf: leaf[None], params)

            def of_worker(worker):
                key = _folded(self._fixed_key(), worker)
                return _gradients_of_shard(self, lane, worker, key)

            gradients = jax.lax.map(of_worker, workers)
            return jax.tree.map(lambda leaf: leaf[:, 0], gradients)

        def of_shard(shard):
            data, weight, number = shard
            key = _folded(self._fixed_key(), number)
            return jax.grad(self._value)(params, data, weight, key)

        return jax.lax.map(
            of_shard,
            (self.data, self.row_weight, workers if self.draws else None),
            batch_size=max(1, _METRICS_ROWS // self.shard_rows),
        )

    def _fixed_key(self) -> np.ndarray | None:
        """Data of `jax.random.key(0)`, for what is no job; None without random loss."""
        return np.zeros(2, np.uint32) if self.draws else None

    def _call(self, params: Params, batch: Any, key: Any = None) -> jax.Array:
        """The user's loss with what it takes besides."""
        further = {} if self.frozen is None else {"frozen": self.frozen}
        if key is not None:
            further["key"] = jax.random.wrap_key_data(key, impl="threefry2x32")
        return self.loss(params, batch, **further)

    def _rows_of_one_worker(self) -> Any:
        """The rows of worker 0, a pytree with leaves [m_0, ...]."""
        count = int(self.counts[0])
        flat = self.row_starts is not None
        return jax.tree.map(
            lambda leaf: leaf[:count] if flat else leaf[0, :count], self.data
        )

    def _value(
        self, params: Params, batch: Any, weight: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        """The weighted loss of a batch, in the dtype of the parameters."""
        dtype = jax.tree.leaves(params)[0].dtype
        losses = jnp.asarray(self._call(params, batch, key), dtype)
        if self.per_row:
            return losses @ weight
        return losses if self.scale is None else losses * jnp.sum(weight)


def _gradients_in_blocks(
    problem: LossProblem,
    params: Params,
    worker: jax.Array,
    key: jax.Array | None,
    *,
    most: int | None = None,
) -> Params:
    """Full gradients, one per lane, of a shard among those of unequal sizes.

    `most` as for `sum_over_shard`.
    """
    starts = jnp.asarray(problem.row_starts)
    first, after = starts[worker], starts[worker + 1]

    def of_block(place, real):
        batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[place], problem.data)
        weight = jnp.where(real, jnp.asarray(problem.row_weight)[place], 0)
        gradient = jax.vmap(jax.grad(problem._value), (0, None, None, None))
        return gradient(params, batch, weight, _folded(key, place[0]))

    block = rows_at_once(np.size(problem.row_weight), problem.num_workers)
    return sum_over_shard(of_block, first, after - first, block=block, most=most)


_gradients_of_shard = jax.custom_jvp(_gradients_in_blocks)


@_gradients_of_shard.defjvp
def _derivative(primals, tangents):
    fixed = functools.partial(_gradients_in_blocks, most=primals[0].shard_rows)
    return jax.jvp(fixed, primals, tangents)


def _folded(key: Array | None, number: jax.Array | None) -> jax.Array | None:
    """Data of a key, uint32 [2], with a number folded in; None where there is none."""
    if key is None or number is None:
        return None
    whole = jax.random.wrap_key_data(jnp.asarray(key), impl="threefry2x32")
    return jax.random.key_data(jax.random.fold_in(whole, number))


def from_loss(
    loss: Callable[..., jax.Array],
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
    frozen: Any = None,
    lower_bound: float | None = None,
) -> LossProblem:
    """A problem from a loss: f(x) = sum_i w_i f_i(x), f_i the mean loss of shard i.

    w_i = 1/n unless `weights` says otherwise. Gradients are `jax.grad` of the loss,
    vectorised over the lanes. Memory and weights are as for `logistic_regression`.

    A loss(params, batch, key) that draws random numbers, as for dropout, gets a key for
    each job, a function of the run's seed, the worker and its job number, and the same
    in every lane. Draw numbers with the leading axis of the batch, so that every row
    has its own. Metrics and full gradients of all workers use keys derived from
    `jax.random.key(0)`, one for each block of rows: the same numbers at every record.
    For values without dropout use a metric of your own.

    Args:
        loss: `loss(params, batch)` gives the losses of the rows [rows], or their mean
            (a scalar); `batch` is a pytree like `data` with fewer rows. A third
            parameter that is called `key` gets a random key, see below. It must be
            pure and traceable by JAX. Pass the same function object again to reuse
            what was compiled; a new lambda compiles anew. After a change of what it
            reads, make another function; of a callable object, another problem.
        init_params: pytree of floating arrays: x_0. The loss must depend on all of
            them in a way that has a derivative.
        data: pytree of arrays with N leading rows each.
        num_workers: n, at most N.
        batch_size, sampling, partition, alpha, partition_seed, drop_last, weights: as
            for `logistic_regression`.
        labels: [N], what "sorted" and "dirichlet" go by.
        frozen: pytree of arrays that the loss takes as `frozen` and that never change:
            parts of a network that are not trained. Unlike arrays that the loss closes
            over they are no constants of the compiled program.
        lower_bound: a number <= every loss, such as 0, for theory; None if not known.

    Returns:
        The problem. Integer data are kept as integers (64-bit and uint32 ones as
        int32), floating data follow the dtype of the run.

    Raises:
        TypeError: for parameters or data that are not numeric arrays.
        ValueError: for leaves of different length, NaN or infinite values, a loss that
            returns anything but a floating scalar or [rows], a mean loss with shards of
            different size, parameters that no gradient reaches (it would be 0
            everywhere), and what `partition_rows` and `check_batch` refuse.

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
    further = further_parameters(loss)
    draws, loss = "key" in further, hashable(loss)
    if ("frozen" in further) != (frozen is not None):
        raise TypeError(
            "frozen must be given where the loss takes it, and only there, got "
            f"{'a loss without that parameter' if frozen is not None else 'None'}"
        )
    if frozen is not None:
        frozen = jax.tree.map(checked_frozen, frozen)
    if lower_bound is not None:
        lower_bound = check_number("lower_bound", lower_bound)

    def traced(params, batch, key):
        given = dict(key=key, frozen=jax.tree.map(jnp.asarray, frozen))
        return loss(params, batch, **{name: given[name] for name in further})

    start = jax.tree.map(checked_param, init_params)
    if not jax.tree.leaves(start):
        raise TypeError("init_params must have arrays, got none")
    leaves, structure = checked_leaves(data)
    num_rows = leaves[0].shape[0]
    split = split_rows(
        checked_labels(labels, partition, num_rows),
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
    per_row = returns_rows(traced, start, leaves, structure, sizes)
    check_reached(traced, start, leaves, structure, min(sizes))
    if not per_row and fewest < largest:
        raise ValueError(
            "the loss must return one value per row for shards of different sizes "
            f"({fewest} to {largest} rows, of which some are masked), got their mean"
        )
    if per_row and not draws and fewest < largest:
        rows = jax.tree.unflatten(structure, leaves)
        if rows_affect_each_other(lambda p, b: traced(p, b, None), start, rows):
            raise ValueError(
                "the loss of a row must depend on that row alone for shards of "
                f"different sizes ({fewest} to {largest} rows, of which some are "
                "masked), got one that changes with the rest of the batch, as with "
                "BatchNorm; take LayerNorm or GroupNorm, or shards of equal sizes"
            )
    shards = [split.lay_out(leaf, padding=None) for leaf in leaves]
    problem = LossProblem(
        start=start,
        data=jax.tree.unflatten(structure, shards),
        frozen=frozen,
        loss=loss,
        per_row=per_row,
        draws=draws,
        least=lower_bound,
        num_workers=int(num_workers),
        **split.fields(),
    )
    return make_arrays_read_only(problem)
