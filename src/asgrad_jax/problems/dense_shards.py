"""The logistic loss on the dense rows of n workers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax import kernels
from asgrad_jax.problems.problem import sum_over_blocks, workers_and_rows

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
    worker: jax.Array | None = None,
    batch_rows: jax.Array | None = None,
    with_loss: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Weighted sum of row losses and its gradient.

    sum_j w_j log(1 + exp(-b_j a_j^T x)), for every lane x. On a CPU a compiled kernel
    does it where it is faster, elsewhere (and for derivatives) matrix products. The
    losses are [S], or [0] if not wanted, the gradients [S, d].

    Args:
        params: [S, d].
        features: [n, m, d].
        labels: [n, m] in {-1, +1}.
        weights: [n, m]: w; 1/b for chosen rows instead.
        worker: int32 scalar, whose rows; None for those of all workers.
        batch_rows: int32 [b], rows of that worker's shard; None for all of them.
        with_loss: whether the losses are wanted.
    """
    workers, batch_rows = workers_and_rows(features.shape[0], worker, batch_rows)
    data = (jnp.asarray(leaf) for leaf in (features, labels, weights))
    static = worker is None, with_loss, kernels.cores_of_call()
    return _loss_terms(*static, params, workers, batch_rows, *data)


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


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _loss_terms(all_workers, with_loss, cores, *arguments):
    portable = functools.partial(_portable, all_workers, with_loss)
    lanes, num_features = arguments[0].shape
    if not kernels.use_dense(lanes, num_features, cores):
        return portable(*arguments)
    kernel = functools.partial(
        kernels.dense_logistic,
        all_workers=all_workers,
        with_loss=with_loss,
        cores=cores,
    )
    return jax.lax.platform_dependent(*arguments, cpu=kernel, default=portable)


@_loss_terms.defjvp
def _derivative(all_workers, with_loss, _, primals, tangents):
    return jax.jvp(
        functools.partial(_portable, all_workers, with_loss), primals, tangents
    )


def _portable(
    all_workers, with_loss, params, workers, batch_rows, features, labels, weights
):
    """The same sums from matrix products, on any device."""
    _, m, d = features.shape
    data = features, labels, weights
    if all_workers:

        def of_block(block):
            rows, labels, weight = block
            rows = rows.reshape(-1, d)
            return _of_rows(params, rows, labels.reshape(-1), weight.reshape(-1))

        size = _BLOCK // (m * params.shape[0])
        loss, gradient = sum_over_blocks(of_block, data, block=size)
    elif batch_rows.size:
        rows, label = (leaf[workers[0], batch_rows] for leaf in data[:2])
        weight = jnp.full_like(label, 1 / batch_rows.size)
        loss, gradient = _of_rows(params, rows, label, weight)
    else:
        shard = (
            jax.lax.dynamic_index_in_dim(leaf, workers[0], keepdims=False)
            for leaf in data
        )
        loss, gradient = _of_rows(params, *shard)
    return loss if with_loss else loss[:0], gradient


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
