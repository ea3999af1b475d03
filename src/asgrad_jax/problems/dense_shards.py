"""The logistic loss on the dense rows of n workers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax.kernels import _dense_logistic as dense_kernel
from asgrad_jax.kernels._threads import cores_of_call
from asgrad_jax.problems.problem import rows_asked_for, sum_over_blocks

Array = np.ndarray | jax.Array

# Largest number of margins (rows times lanes) that `_portable` holds at once, about: it
# bounds the memory. Smaller blocks measured no faster on a CPU.
_BLOCK = 2**20
# Lanes from which on the kernel is faster than XLA's products of vectors, where it does
# not take them one by one.
_FEWEST_LANES = 3


def loss_terms(
    params: jax.Array,
    features: Array,
    labels: Array,
    weights: Array,
    *,
    worker: jax.Array | None = None,
    picked: jax.Array | None = None,
    with_loss: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Weighted sum of row losses and its gradient.

    sum_j w_j log(1 + exp(-b_j a_j^T x)), for every lane x. On a CPU the compiled kernel
    of `dense_kernel` does it, elsewhere (and for derivatives) matrix products.

    Args:
        params: [S, d].
        features: [n, m, d].
        labels: [n, m] in {-1, +1}.
        weights: [n, m]: w; 1/b for picked rows instead.
        worker: int32 scalar, whose rows; None for those of all workers.
        picked: int32 [b], rows of that worker's shard; None for all of them.
        with_loss: whether the losses are wanted.

    Returns:
        The losses [S] ([0] if not wanted) and the gradients [S, d].
    """
    workers, picked = rows_asked_for(features.shape[0], worker, picked)
    data = (jnp.asarray(leaf) for leaf in (features, labels, weights))
    return _loss_terms(
        worker is None, with_loss, cores_of_call(), params, workers, picked, *data
    )


def one_pass(lanes: int, num_features: int, cores: int) -> bool:
    """Whether so many lanes of so many features go to the kernel."""
    # Elsewhere it need not even be compiled, and XLA could not split it over devices.
    on_one_cpu = jax.default_backend() == "cpu" and jax.local_device_count() == 1
    return on_one_cpu and (
        lanes >= _FEWEST_LANES or dense_kernel.one_by_one(lanes, num_features, cores)
    )


def pass_seconds(
    lanes: int, rows: int, shape: tuple[int, ...], *, picked: bool
) -> float | None:
    """Returns the kernel's seconds on one core, about; None where it is not used.

    Args:
        lanes: S.
        rows: that a gradient reads.
        shape: (n, m, d) of all rows.
        picked: whether they lie here and there.
    """
    cores = cores_of_call()
    if not one_pass(lanes, shape[-1], cores):
        return None
    return dense_kernel.pass_seconds(lanes, rows, shape, picked=picked, cores=cores)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _loss_terms(whole, with_loss, cores, *arguments):
    portable = functools.partial(_portable, whole, with_loss)
    lanes, num_features = arguments[0].shape
    if not one_pass(lanes, num_features, cores):
        return portable(*arguments)
    kernel = functools.partial(
        dense_kernel.dense_logistic, whole=whole, with_loss=with_loss, cores=cores
    )
    return jax.lax.platform_dependent(*arguments, cpu=kernel, default=portable)


@_loss_terms.defjvp
def _derivative(whole, with_loss, _, primals, tangents):
    return jax.jvp(functools.partial(_portable, whole, with_loss), primals, tangents)


def _portable(whole, with_loss, params, workers, picked, features, labels, weights):
    """The same sums from matrix products, on any device."""
    _, m, d = features.shape
    data = features, labels, weights
    if whole:

        def of_block(block):
            rows, labels, weight = block
            rows = rows.reshape(-1, d)
            return _of_rows(params, rows, labels.reshape(-1), weight.reshape(-1))

        size = _BLOCK // (m * params.shape[0])
        loss, gradient = sum_over_blocks(of_block, data, block=size)
    elif picked.size:
        rows, label = (leaf[workers[0], picked] for leaf in data[:2])
        weight = jnp.full_like(label, 1 / picked.size)
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
