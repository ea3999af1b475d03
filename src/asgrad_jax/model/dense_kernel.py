"""A compiled CPU kernel: logistic losses and gradients of dense rows, many lanes.

One pass over the rows, four at a time, forms margins, residuals and gradients of 8, 16
or 32 float32 lanes held in vector registers (half as many in float64). Next to two
matrix products it saves the copy of the worker's shard, the stored margins and the
packing of operands.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numba import njit, types

from asgrad_jax.model.dense_lane_kernel import (
    add_rows_of_lane,
    place,
    scratch_of_lane,
    weight,
)
from asgrad_jax.model.lanes import (
    asked_for_metadata,
    buffer,
    dims_of,
    lanes_at_once,
    load,
    middle_zeros,
    multiply_add,
    narrow_zeros,
    register_width,
    slope,
    softplus,
    store,
    target,
    transpose,
    wide_zeros,
    width_of,
    words_at,
)

# Features up to which the iterates and gradients of the widest vector of lanes stay in
# the first cache.
_FEW_FEATURES = 96
# Where lanes go one by one, with vectors of features: at most so many lanes, and of so
# many features. With longer rows XLA's products of a matrix and a vector are as fast.
_FEW_LANES, _SHORTEST, _LONGEST = 4, 8, 256


def one_by_one(lanes: int, num_features: int) -> bool:
    """Whether so many lanes of so many features go through one by one."""
    return lanes <= _FEW_LANES and _SHORTEST <= num_features <= _LONGEST


@njit(error_model="numpy")
def _residual(zero, margin, label, weight):
    """-b w sigmoid(-b a^T x)."""
    margin = multiply_add(label, margin, zero)
    return multiply_add(-label * weight, slope(margin), zero)


@njit(error_model="numpy")
def _add_loss(total, zero, margin, label, weight):
    """Adds w log(1 + exp(-b a^T x))."""
    return multiply_add(weight, softplus(multiply_add(label, margin, zero)), total)


@njit(error_model="numpy")
def _add_rows(
    zero,
    entry,
    first,
    lanes,
    params,
    num_lanes,
    workers,
    picked,
    batch,
    features,
    labels,
    weights,
    num_rows,
    num_features,
    loss,
    gradient,
    scratch,
    with_loss,
):
    """Loss and gradient of lanes first..first+lanes-1 of one entry of the batch.

    The lanes' parameters x and gradient g lie in the scratch space as [d, width], so
    that one number of a row meets all lanes in one load.
    """
    width, d = width_of(zero), num_features
    x, g = 0, d * width
    for k in range(d):
        store(scratch, g + k * width, zero)
    tile, origin = narrow_zeros(params), (entry * num_lanes + first) * d
    transpose(tile, params, origin, d, scratch, x, width, lanes, d)

    start = types.int64(workers[2 * entry]) * num_rows
    end = types.int64(workers[2 * entry + 1]) * num_rows
    count = batch if batch > 0 else end - start
    total = zero
    for top in range(0, count, 4):
        p0 = start + place(top, count, picked, entry * batch, batch)
        p1 = start + place(top + 1, count, picked, entry * batch, batch)
        p2 = start + place(top + 2, count, picked, entry * batch, batch)
        p3 = start + place(top + 3, count, picked, entry * batch, batch)
        w0 = weight(top, count, weights, p0, batch)
        w1 = weight(top + 1, count, weights, p1, batch)
        w2 = weight(top + 2, count, weights, p2, batch)
        w3 = weight(top + 3, count, weights, p3, batch)

        a0, a1, a2, a3 = p0 * d, p1 * d, p2 * d, p3 * d
        z0, z1, z2, z3 = zero, zero, zero, zero
        for k in range(d):
            at = load(zero, scratch, x + k * width)
            z0 = multiply_add(features[a0 + k], at, z0)
            z1 = multiply_add(features[a1 + k], at, z1)
            z2 = multiply_add(features[a2 + k], at, z2)
            z3 = multiply_add(features[a3 + k], at, z3)
        r0 = _residual(zero, z0, labels[p0], w0)
        r1 = _residual(zero, z1, labels[p1], w1)
        r2 = _residual(zero, z2, labels[p2], w2)
        r3 = _residual(zero, z3, labels[p3], w3)
        for k in range(d):
            sum_ = load(zero, scratch, g + k * width)
            sum_ = multiply_add(features[a0 + k], r0, sum_)
            sum_ = multiply_add(features[a1 + k], r1, sum_)
            sum_ = multiply_add(features[a2 + k], r2, sum_)
            sum_ = multiply_add(features[a3 + k], r3, sum_)
            store(scratch, g + k * width, sum_)
        if with_loss:
            total = _add_loss(total, zero, z0, labels[p0], w0)
            total = _add_loss(total, zero, z1, labels[p1], w1)
            total = _add_loss(total, zero, z2, labels[p2], w2)
            total = _add_loss(total, zero, z3, labels[p3], w3)

    if with_loss:
        store(scratch, x, total)
        for lane in range(lanes):
            loss[entry * num_lanes + first + lane] = scratch[x + lane]
    transpose(tile, scratch, g, width, gradient, origin, d, d, lanes)


@njit(error_model="numpy")
def _handle(frame, one):
    """Answers one XLA_FFI_CallFrame."""
    words = words_at(frame)
    if asked_for_metadata(words):
        return 0
    operands, results, integer = words_at(words[9]), words_at(words[14]), types.int32(0)
    shape = dims_of(operands, 0)
    entries, num_lanes, num_features = shape[0], shape[1], shape[2]
    arguments = (
        buffer(operands, 0, one),  # params [B, S, d]
        num_lanes,
        buffer(operands, 1, integer),  # workers [B, 2]
        buffer(operands, 2, integer),  # picked [B, b] or [B, 0]
        dims_of(operands, 2)[1],
        buffer(operands, 3, one),  # features [n, m, d]
        buffer(operands, 4, one),  # labels [n, m]
        buffer(operands, 5, one),  # weights [n, m]
        dims_of(operands, 4)[1],
        num_features,
        buffer(results, 0, one),  # loss [B, S] or [B, 0]
        buffer(results, 1, one),  # gradient [B, S, d]
        buffer(results, 2, one),  # scratch [2 d, width] or [.., 1]
        dims_of(results, 0)[1] > 0,
    )
    narrow, middle = narrow_zeros(arguments[0]), middle_zeros(arguments[0])
    wide, at_once = wide_zeros(arguments[0]), dims_of(results, 2)[1]
    for entry in range(entries):
        first = 0
        while at_once == 1 and first < num_lanes:
            if num_features >= width_of(middle):
                add_rows_of_lane(middle, entry, first, *arguments)
            else:
                add_rows_of_lane(narrow, entry, first, *arguments)
            first += 1
        while first < num_lanes:
            lanes = min(num_lanes - first, at_once)
            if lanes > width_of(middle):
                _add_rows(wide, entry, first, lanes, *arguments)
            elif lanes > width_of(narrow):
                _add_rows(middle, entry, first, lanes, *arguments)
            else:
                _add_rows(narrow, entry, first, lanes, *arguments)
            first += lanes
    return 0


def _handlers(edition):
    # Numba's cache on disk knows a function by its closure too.
    def float32(frame):
        return _handle(frame, np.float32(edition))

    def float64(frame):
        return _handle(frame, np.float64(edition))

    return {"float32": float32, "float64": float64}


def dense_logistic(
    params: jax.Array,
    workers: jax.Array,
    picked: jax.Array,
    features: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    with_loss: bool,
) -> tuple[jax.Array, jax.Array]:
    """Weighted logistic losses of dense rows and their gradients; CPU only.

    sum_j w_j log(1 + exp(-b_j a_j^T x)) for every lane x, over all rows of workers
    i0..i1-1, or over the picked rows of worker i0 with w_j = 1/b. Under `vmap` over the
    first three arguments all entries go through in one call. Indices are not checked
    here: one that is out of range reads foreign memory.

    Args:
        params: [S, d], float32 or float64, as are features, labels, weights, results.
        workers: int32 [2]: (i0, i1).
        picked: int32 [b]: rows within the worker's shard; [0] for all of them.
        features: [n, m, d].
        labels: [n, m] in {-1, +1}.
        weights: [n, m].
        with_loss: whether the losses are wanted.

    Returns:
        The losses [S] ([0] if not wanted) and the gradients [S, d].
    """
    entry = (params[None], workers[None], picked[None])
    loss, gradient = _batched(with_loss)(*entry, features, labels, weights)
    return loss[0], gradient[0]


@functools.cache
def _batched(with_loss: bool):
    """Returns the kernel for params [B, S, d], workers [B, 2] and picked [B, b]."""

    @jax.custom_batching.custom_vmap
    def call(params, workers, picked, features, labels, weights):
        entries, lanes, d = params.shape
        at_once = lanes_at_once(lanes, params.dtype)
        if d > _FEW_FEATURES:
            at_once = min(at_once, register_width(params.dtype))
        scratch = 2 * d, at_once
        if one_by_one(lanes, d):
            scratch = scratch_of_lane(d, params.dtype), 1
        loss, gradient, _ = jax.ffi.ffi_call(
            target("dense_logistic", params.dtype, _handlers),
            (
                jax.ShapeDtypeStruct((entries, lanes * with_loss), params.dtype),
                jax.ShapeDtypeStruct(params.shape, params.dtype),
                jax.ShapeDtypeStruct(scratch, params.dtype),
            ),
        )(params, workers, picked, features, labels, weights)
        return loss, gradient

    @call.def_vmap
    def _(size, batched, *arguments):
        if any(batched[3:]):  # other data for every entry

            def one(i):
                pairs = zip(arguments, batched, strict=True)
                return call(*(x[i] if b else x for x, b in pairs))

            return lax.map(one, jnp.arange(size)), (True, True)

        def merged(x, batched):
            x = x if batched else jnp.broadcast_to(x, (size, *x.shape))
            return x.reshape(size * x.shape[1], *x.shape[2:])

        entries = map(merged, arguments[:3], batched[:3])
        results = call(*entries, *arguments[3:])
        apart = (x.reshape(size, x.shape[0] // size, *x.shape[1:]) for x in results)
        return tuple(apart), (True, True)

    return call
