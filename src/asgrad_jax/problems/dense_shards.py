"""The logistic loss on the dense rows of n workers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax import kernels
from asgrad_jax.problems.problem import (
    RowPass,
    batch_weights,
    rows_at_once,
    sum_over_blocks,
    sum_over_shard,
)

Array = np.ndarray | jax.Array

# Largest number of margins (rows times lanes) that `_portable` holds at once, about: it
# bounds the memory. Smaller blocks measured no faster on a CPU.
_BLOCK = 2**20


def loss_terms(
    params: jax.Array,
    features: Array,
    labels: Array,
    weights: Array,
    *,
    row_starts: Array | None = None,
    shard_rows: int | None = None,
    worker: jax.Array | None = None,
    batch_rows: jax.Array | None = None,
    num_counted: jax.Array | None = None,
    with_loss: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Weighted sum of row losses and its gradient.

    sum_j w_j log(1 + exp(-b_j a_j^T x)), for every lane x. On a CPU a compiled kernel
    does it where it is faster, elsewhere (and for derivatives) matrix products. The
    losses are [S], or [0] if not wanted, the gradients [S, d].

    Args:
        params: [S, d].
        features: [n, m, d], or [N, d] with `row_starts`.
        labels: [n, m] or [N] in {-1, +1}.
        weights: [n, m] or [N]: w; 1/b for chosen rows instead.
        row_starts: int32 [n + 1]: where each worker's rows begin.
        shard_rows: m, static; to be given with `row_starts`.
        worker: int32 scalar, whose rows; None for those of all workers.
        batch_rows: int32 [b], rows of that worker's shard; None for all of them.
        num_counted: int32 scalar, how many of these count, first ones first; None: all.
        with_loss: whether the losses are wanted.
    """
    if shard_rows is None:
        shard_rows = int(features.shape[1])
    static = RowPass(
        worker is None,
        with_loss,
        kernels.cores_of_call(),
        shard_rows,
        num_counted is not None,
    )
    if batch_rows is None:
        batch_rows = jnp.zeros(0, jnp.int32)
    if num_counted is None:
        num_counted = jnp.int32(batch_rows.size)
    if worker is None:
        first, after = jnp.int32(0), jnp.int32(np.size(labels))
    elif row_starts is None:
        first = jnp.asarray(worker, jnp.int32) * jnp.int32(shard_rows)
        after = first + jnp.int32(shard_rows)
    else:
        first, after = (jnp.asarray(row_starts)[worker + i] for i in (0, 1))
    span = jnp.stack([first, after, num_counted])
    num_workers = np.shape(labels)[0] if row_starts is None else len(row_starts) - 1
    block = rows_at_once(np.size(labels), num_workers)
    data = (
        jnp.asarray(features).reshape(-1, params.shape[1]),
        *(jnp.asarray(leaf).reshape(-1) for leaf in (labels, weights)),
    )
    return _loss_terms(
        static, None if row_starts is None else block, params, span, batch_rows, *data
    )


def kernel_seconds(
    lanes: int, rows: int, shape: tuple[int, ...], *, batch_rows: bool
) -> float | None:
    """Returns the kernel's estimated seconds on one core; None where it is not used.

    Args:
        lanes: S.
        rows: that a gradient reads.
        shape: (n, m, d) of all rows.
        batch_rows: whether they are scattered in memory, as those of a mini-batch.
    """
    cores = kernels.cores_of_call()
    if not kernels.use_dense(lanes, shape[-1], cores):
        return None
    return kernels.dense_seconds(lanes, rows, shape, batch_rows=batch_rows, cores=cores)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _loss_terms(static, block, *arguments):
    portable = functools.partial(_portable, static, block)
    lanes, num_features = arguments[0].shape
    if not kernels.use_dense(lanes, num_features, static.cores):
        return portable(*arguments)
    kernel = functools.partial(
        kernels.dense_logistic,
        all_workers=static.all_workers,
        with_loss=static.with_loss,
        cores=static.cores,
        shard_rows=static.shard_rows,
    )
    return jax.lax.platform_dependent(*arguments, cpu=kernel, default=portable)


@_loss_terms.defjvp
def _derivative(static, block, primals, tangents):
    fixed = functools.partial(_portable, static, block, most=static.shard_rows)
    return jax.jvp(fixed, primals, tangents)


def _portable(
    static, block, params, span, batch_rows, features, labels, weights, *, most=None
):
    """The same sums from matrix products, on any device.

    `block` rows go through together where shards differ in size, None where they are
    stacked; `most` as for `sum_over_shard`.
    """
    data, m = (features, labels, weights), static.shard_rows
    if static.all_workers:
        together = m if block is None else block
        size = max(1, _BLOCK // (together * params.shape[0])) * together
        loss, gradient = sum_over_blocks(
            lambda rows: _of_rows(params, *rows), data, block=size
        )
    elif batch_rows.size:
        rows, label = (leaf[span[0] + batch_rows] for leaf in data[:2])
        num_counted = span[2] if static.short_batches else None
        weight = batch_weights(batch_rows.size, num_counted, label.dtype)
        loss, gradient = _of_rows(params, rows, label, weight)
    elif block is None:
        shard = (jax.lax.dynamic_slice_in_dim(leaf, span[0], m) for leaf in data)
        loss, gradient = _of_rows(params, *shard)
    else:

        def of_block(row, real):
            taken = jnp.where(real[:, None], features[row], 0)
            return _of_rows(
                params, taken, labels[row], jnp.where(real, weights[row], 0)
            )

        count = span[1] - span[0]
        loss, gradient = sum_over_shard(
            of_block, span[0], count, block=block, most=most
        )
    return loss if static.with_loss else loss[:0], gradient


def _of_rows(
    params: jax.Array, rows: Array, labels: Array, weight: Array
) -> tuple[jax.Array, jax.Array]:
    """Weighted sum of the row losses [S] and its gradient [S, d].

    Lanes are rows of `params` [S, d] and meet the rows [m, d] in two matrix products.
    Neither exp nor log overflows: margins of -113 occur at the paper's start.
    """
    margins = (params @ rows.T) * labels[None]
    losses = jax.nn.softplus(-margins) @ weight
    residual = jax.nn.sigmoid(-margins) * (-labels * weight)[None]
    return losses, residual @ rows
