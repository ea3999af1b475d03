"""A compiled CPU kernel: logistic losses and gradients of dense rows, many lanes.

One pass over the rows, four at a time, forms margins, residuals and gradients of 8, 16
or 32 float32 lanes held in vector registers (half as many in float64). Next to two
matrix products it saves the copy of the worker's shard, the stored margins and the
packing of operands.
"""

import functools

import jax
from numba import njit, types

from asgrad_jax.kernels._batching import batched_call, sum_parts
from asgrad_jax.kernels._cost import (
    PASS,
    dense_lanes_at_once,
    dense_seconds,
    one_by_one,
    threads_and_parts,
)
from asgrad_jax.kernels._dense_logistic_one import (
    LINE,
    Unit,
    add_rows_of_lane,
    prefetch_rows,
    row_at,
    scratch_of_lane,
    weight_at,
)
from asgrad_jax.kernels._simd import (
    as_int64s,
    buffer,
    dims_of,
    load,
    middle_zeros,
    multiply_add,
    narrow_zeros,
    offset,
    prefetch,
    sigmoid_neg,
    sigmoid_neg_of_softplus,
    softplus,
    store,
    target,
    transpose,
    wide_zeros,
    width_of,
)
from asgrad_jax.kernels._threads import (
    address_of,
    handle_call,
)

_PREFETCHED = 8192  # numbers of chosen rows that are prefetched at once
_CACHED = PASS.cached  # a plain number, for compiled code


@njit(error_model="numpy")
def _residual(zero, unit, margin, label, weight):
    """-b w sigmoid(-b a^T x)."""
    margin = multiply_add(label, margin, zero)
    if unit.with_loss:
        return multiply_add(-label * weight, sigmoid_neg_of_softplus(margin), zero)
    return multiply_add(-label * weight, sigmoid_neg(margin), zero)


@njit(error_model="numpy")
def _add_loss(total, zero, margin, label, weight):
    """Adds w log(1 + exp(-b a^T x))."""
    return multiply_add(weight, softplus(multiply_add(label, margin, zero)), total)


@njit(error_model="numpy")
def _add_rows(zero, unit, first, lanes):
    """Loss and gradient of lanes first..first+lanes-1.

    The lanes' parameters x and gradient g lie in the scratch space as [d, width], so
    that one number of a row meets all lanes in one load.
    """
    width, d, scratch = width_of(zero), unit.num_features, unit.scratch
    features, labels = unit.features, unit.labels
    x, g = 0, d * width
    for k in range(d):
        store(scratch, g + k * width, zero)
    tile = narrow_zeros(scratch)
    transpose(tile, unit.params, first * d, d, scratch, x, width, lanes, d)

    total = zero
    for top in range(unit.begin, unit.end, 4):
        p0, p1 = row_at(unit, top), row_at(unit, top + 1)
        p2, p3 = row_at(unit, top + 2), row_at(unit, top + 3)
        w0, w1 = weight_at(unit, top, p0), weight_at(unit, top + 1, p1)
        w2, w3 = weight_at(unit, top + 2, p2), weight_at(unit, top + 3, p3)

        prefetch_rows(unit, top)
        a0, a1, a2, a3 = p0 * d, p1 * d, p2 * d, p3 * d
        z0, z1, z2, z3 = zero, zero, zero, zero
        for k in range(d):
            at = load(zero, scratch, x + k * width)
            z0 = multiply_add(features[a0 + k], at, z0)
            z1 = multiply_add(features[a1 + k], at, z1)
            z2 = multiply_add(features[a2 + k], at, z2)
            z3 = multiply_add(features[a3 + k], at, z3)
        r0 = _residual(zero, unit, z0, labels[p0], w0)
        r1 = _residual(zero, unit, z1, labels[p1], w1)
        r2 = _residual(zero, unit, z2, labels[p2], w2)
        r3 = _residual(zero, unit, z3, labels[p3], w3)
        for k in range(d):
            sum_ = load(zero, scratch, g + k * width)
            sum_ = multiply_add(features[a0 + k], r0, sum_)
            sum_ = multiply_add(features[a1 + k], r1, sum_)
            sum_ = multiply_add(features[a2 + k], r2, sum_)
            sum_ = multiply_add(features[a3 + k], r3, sum_)
            store(scratch, g + k * width, sum_)
        if unit.with_loss:
            total = _add_loss(total, zero, z0, labels[p0], w0)
            # Beyond the end a loss may be infinite, and 0 times that is no loss.
            if top + 1 < unit.end:
                total = _add_loss(total, zero, z1, labels[p1], w1)
            if top + 2 < unit.end:
                total = _add_loss(total, zero, z2, labels[p2], w2)
            if top + 3 < unit.end:
                total = _add_loss(total, zero, z3, labels[p3], w3)

    if unit.with_loss:
        store(scratch, x, total)
        for lane in range(lanes):
            unit.loss[first + lane] = scratch[x + lane]
    transpose(tile, scratch, g, width, unit.gradient, first * d, d, d, lanes)


@njit(error_model="numpy")
def _prefetch_picked(unit):
    """Prefetches the chosen rows, which are scattered in memory, all at once."""
    rows = (
        min(unit.end - unit.begin, _PREFETCHED // unit.num_features)
        if unit.batch
        else 0
    )
    for position in range(unit.begin, unit.begin + rows):
        row = row_at(unit, position)
        prefetch(unit.labels, row)
        for k in range(0, unit.num_features, LINE):
            prefetch(unit.features, row * unit.num_features + k)


def _work(frame, number, thread, one):
    """One part of one entry, for numbers of the type of `one`."""
    words = as_int64s(frame)
    operands, results, integer = (
        as_int64s(words[9]),
        as_int64s(words[14]),
        types.int32(0),
    )
    lanes, d = dims_of(operands, 0)[1], dims_of(operands, 0)[2]
    batch = dims_of(operands, 2)[1]
    all_rows = dims_of(operands, 4)[0]
    parts, scratch = dims_of(results, 1)[1], dims_of(results, 2)
    with_loss = dims_of(results, 0)[2] > 0
    entry, part = number // parts, number % parts
    span = buffer(operands, 1, integer)
    start, num_counted = types.int64(span[3 * entry]), types.int64(span[3 * entry + 2])
    count = num_counted if batch > 0 else types.int64(span[3 * entry + 1]) - start
    far, next_start = all_rows * d > _CACHED, -1
    if far and batch == 0 and parts == 1:
        following = entry + 1 if entry + 1 < dims_of(operands, 0)[0] else entry
        next_start = types.int64(span[3 * following])
    unit = Unit(
        offset(buffer(operands, 0, one), entry * lanes * d),
        buffer(operands, 3, one),
        buffer(operands, 4, one),
        buffer(operands, 5, one),
        d,
        start,
        offset(buffer(operands, 2, integer), entry * batch),
        num_counted,
        count * part // parts,
        count * (part + 1) // parts,
        offset(buffer(results, 0, one), number * lanes if with_loss else 0),
        with_loss,
        offset(buffer(results, 1, one), number * lanes * d),
        offset(buffer(results, 2, one), thread * scratch[1] * scratch[2]),
        next_start,
    )
    if far:
        _prefetch_picked(unit)
    narrow, middle = narrow_zeros(unit.scratch), middle_zeros(unit.scratch)
    wide, at_once = wide_zeros(unit.scratch), scratch[2]
    first = 0
    while at_once == 1 and first < lanes:
        if d >= width_of(middle):
            add_rows_of_lane(middle, unit, first)
        else:
            add_rows_of_lane(narrow, unit, first)
        first += 1
    while first < lanes:
        some = min(lanes - first, at_once)
        if some > width_of(middle):
            _add_rows(wide, unit, first, some)
        elif some > width_of(narrow):
            _add_rows(middle, unit, first, some)
        else:
            _add_rows(narrow, unit, first, some)
        first += some


_work32 = address_of(_work, 3, types.float32)
_work64 = address_of(_work, 3, types.float64)


def _float32(frame):
    return handle_call(frame, _work32())


def _float64(frame):
    return handle_call(frame, _work64())


_HANDLERS = {"float32": _float32, "float64": _float64}


def dense_logistic(
    params: jax.Array,
    span: jax.Array,
    batch_rows: jax.Array,
    features: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    all_workers: bool,
    with_loss: bool,
    cores: int,
    shard_rows: int,
) -> tuple[jax.Array, jax.Array]:
    """Weighted logistic losses of dense rows and their gradients; CPU only.

    sum_j w_j log(1 + exp(-b_j a_j^T x)) for every lane x, over rows r0..r1-1, or over
    chosen rows, counted from r0, with w_j = 1/k. Under `vmap` over the first three
    arguments all batch entries go through in one call. Indices are not checked here:
    one that is out of range reads foreign memory.

    Args:
        params: [S, d], float32 or float64, as are features, labels, weights, results.
        span: int32 [3]: (r0, r1, k), k >= 1 where rows are chosen.
        batch_rows: int32 [b]: of which the first k count; [0] for all rows.
        features: [N, d].
        labels: [N] in {-1, +1}.
        weights: [N].
        all_workers: whether these are the rows of all workers.
        with_loss: whether the losses are wanted.
        cores: that may share the call.
        shard_rows: rows that one worker has at most.

    Returns:
        The losses [S] ([0] if not wanted) and the gradients [S, d].
    """
    entry = (params[None], span[None], batch_rows[None])
    loss, gradient = _call(all_workers, with_loss, cores, shard_rows)(
        *entry, features, labels, weights
    )
    return loss[0], gradient[0]


@functools.cache
def _call(all_workers: bool, with_loss: bool, cores: int, shard_rows: int):
    """Returns the kernel for params [B, S, d], span [B, 3] and batch_rows [B, b]."""

    def call(params, span, batch_rows, features, labels, weights):
        batch_entries, lanes, d = params.shape
        scratch = 2 * d, dense_lanes_at_once(lanes, d, params.dtype)
        if one_by_one(lanes, d, cores):
            scratch = scratch_of_lane(d, params.dtype), 1
        rows = labels.size if all_workers else batch_rows.shape[1] or shard_rows
        seconds = dense_seconds(
            lanes,
            rows,
            features.shape,
            batch_rows=batch_rows.shape[1] > 0,
            cores=cores,
            dtype=params.dtype,
        )
        threads, parts = threads_and_parts(
            cores, batch_entries=batch_entries, seconds=seconds, numbers=lanes * d
        )
        loss, gradient, _ = jax.ffi.ffi_call(
            target("dense_logistic", params.dtype, _HANDLERS),
            (
                jax.ShapeDtypeStruct(
                    (batch_entries, parts, lanes * with_loss), params.dtype
                ),
                jax.ShapeDtypeStruct((batch_entries, parts, lanes, d), params.dtype),
                jax.ShapeDtypeStruct((threads, *scratch), params.dtype),
            ),
        )(params, span, batch_rows, features, labels, weights)
        return sum_parts(loss), sum_parts(gradient)

    return batched_call(call)
