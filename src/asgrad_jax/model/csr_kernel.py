"""A compiled CPU kernel: logistic losses and gradients of sparse rows, many lanes.

One pass over the rows forms the margin, the residual and the gradient of 8, 16 or 32
float32 lanes held in vector registers (half as many in float64).
"""

import jax
import numpy as np
from numba import njit, types

from asgrad_jax.model.lanes import (
    asked_for_metadata,
    buffer,
    dims_of,
    lanes_at_once,
    load,
    middle_zeros,
    multiply_add,
    narrow_zeros,
    slope,
    softplus,
    store,
    target,
    transpose,
    wide_zeros,
    width_of,
    words_at,
)


@njit(error_model="numpy")
def _add_rows(
    zero,
    first,
    lanes,
    params,
    workers,
    picked,
    batch,
    row_starts,
    indptr,
    indices,
    values,
    labels,
    weights,
    num_rows,
    num_features,
    loss,
    gradient,
    scratch,
    with_loss,
):
    """Loss and gradient of lanes first..first+lanes-1, at most as many as `zero` has.

    The lanes' parameters x and gradient g lie in the scratch space as [d, width], so
    that one nonzero meets all lanes in one load.
    """
    width = width_of(zero)
    x, g = 0, num_features * width
    for j in range(2 * num_features):
        store(scratch, j * width, zero)
    tile, origin = narrow_zeros(params), first * num_features
    transpose(
        tile, params, origin, num_features, scratch, x, width, lanes, num_features
    )

    total = zero
    for worker in range(workers[0], workers[1]):
        start = types.int64(row_starts[worker])
        count = batch if batch > 0 else row_starts[worker + 1] - start
        for position in range(count):
            place = types.int64(picked[position]) if batch > 0 else position
            begin = types.int64(indptr[start + place])
            end = types.int64(indptr[start + place + 1])
            place += types.int64(worker) * num_rows
            label = labels[place]
            weight = 1 / batch if batch > 0 else weights[place]

            # Two sums: an addition need not wait for the one before it.
            margin, other, k = zero, zero, begin
            while k + 1 < end:
                at = x + types.int64(indices[k]) * width
                margin = multiply_add(values[k], load(zero, scratch, at), margin)
                at = x + types.int64(indices[k + 1]) * width
                other = multiply_add(values[k + 1], load(zero, scratch, at), other)
                k += 2
            if k < end:
                at = x + types.int64(indices[k]) * width
                margin = multiply_add(values[k], load(zero, scratch, at), margin)
            margin = multiply_add(label, multiply_add(1, other, margin), zero)
            residual = multiply_add(-label * weight, slope(margin), zero)
            for k in range(begin, end):
                at = g + types.int64(indices[k]) * width
                sum_ = multiply_add(values[k], residual, load(zero, scratch, at))
                store(scratch, at, sum_)
            if with_loss:
                total = multiply_add(weight, softplus(margin), total)

    if with_loss:
        store(scratch, x, total)
        for lane in range(lanes):
            loss[first + lane] = scratch[x + lane]
    transpose(
        tile, scratch, g, width, gradient, origin, num_features, num_features, lanes
    )


@njit(error_model="numpy")
def _handle(frame, one):
    """Answers one XLA_FFI_CallFrame."""
    words = words_at(frame)
    if asked_for_metadata(words):
        return 0
    operands, results, integer = words_at(words[9]), words_at(words[14]), types.int32(0)
    num_lanes, num_features = dims_of(operands, 0)[0], dims_of(operands, 0)[1]
    arguments = (
        buffer(operands, 0, one),  # params [S, d]
        buffer(operands, 1, integer),  # workers [2]
        buffer(operands, 2, integer),  # picked [b] or [0]
        dims_of(operands, 2)[0],
        buffer(operands, 3, integer),  # row_starts [n + 1]
        buffer(operands, 4, integer),  # indptr [N + 1]
        buffer(operands, 5, integer),  # indices [nonzeros]
        buffer(operands, 6, one),  # values [nonzeros]
        buffer(operands, 7, one),  # labels [n, m]
        buffer(operands, 8, one),  # weights [n, m]
        dims_of(operands, 7)[1],
        num_features,
        buffer(results, 0, one),  # loss [S] or [0]
        buffer(results, 1, one),  # gradient [S, d]
        buffer(results, 2, one),  # scratch
        dims_of(results, 0)[0] > 0,
    )
    narrow, middle = narrow_zeros(arguments[0]), middle_zeros(arguments[0])
    wide = wide_zeros(arguments[0])
    first = 0
    while first < num_lanes:
        lanes = min(num_lanes - first, width_of(wide))
        if lanes > width_of(middle):
            _add_rows(wide, first, lanes, *arguments)
        elif lanes > width_of(narrow):
            _add_rows(middle, first, lanes, *arguments)
        else:
            _add_rows(narrow, first, lanes, *arguments)
        first += lanes
    return 0


def _handlers(edition):
    # Numba's cache on disk knows a function by its closure too.
    def float32(frame):
        return _handle(frame, np.float32(edition))

    def float64(frame):
        return _handle(frame, np.float64(edition))

    return {"float32": float32, "float64": float64}


def csr_logistic(
    params: jax.Array,
    workers: jax.Array,
    picked: jax.Array,
    row_starts: jax.Array,
    indptr: jax.Array,
    indices: jax.Array,
    values: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    with_loss: bool,
) -> tuple[jax.Array, jax.Array]:
    """Weighted logistic losses of sparse rows and their gradients; CPU only.

    sum_j w_j log(1 + exp(-b_j a_j^T x)) for every lane x, over all rows of workers
    i0..i1-1, or over the picked rows of each with w_j = 1/b. Indices are not checked
    here: one that is out of range reads foreign memory.

    Args:
        params: [S, d], float32 or float64, as are values, labels, weights and results.
        workers: int32 [2]: (i0, i1).
        picked: int32 [b]: rows within the worker's shard; [0] for all of them.
        row_starts: int32 [n + 1]: the rows of worker i are row_starts[i], ...,
            row_starts[i + 1] - 1.
        indptr: int32 [N + 1]: where each row's nonzeros begin.
        indices: int32 [nonzeros]: their columns.
        values: [nonzeros].
        labels: [n, m] in {-1, +1}.
        weights: [n, m].
        with_loss: whether the losses are wanted.

    Returns:
        The losses [S] ([0] if not wanted) and the gradients [S, d].
    """
    lanes, num_features = params.shape
    at_once = lanes_at_once(lanes, params.dtype)
    call = jax.ffi.ffi_call(
        target("csr_logistic", params.dtype, _handlers),
        (
            jax.ShapeDtypeStruct((lanes if with_loss else 0,), params.dtype),
            jax.ShapeDtypeStruct(params.shape, params.dtype),
            jax.ShapeDtypeStruct((2, num_features, at_once), params.dtype),
        ),
        vmap_method="sequential",
    )
    loss, gradient, _ = call(
        params,
        workers,
        picked,
        row_starts,
        indptr,
        indices,
        values,
        labels,
        weights,
    )
    return loss, gradient
