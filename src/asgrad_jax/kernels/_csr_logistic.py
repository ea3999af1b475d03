"""A compiled CPU kernel: logistic losses and gradients of sparse rows, many lanes.

One pass over the rows forms the margin, the residual and the gradient of 8, 16 or 32
float32 lanes held in vector registers (half as many in float64).
"""

import functools
from typing import NamedTuple

import jax
from numba import njit, types

from asgrad_jax.kernels._batching import batched_call, sum_parts
from asgrad_jax.kernels._cost import lanes_at_once, sparse_seconds, threads_and_parts
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
    Pointer,
    address_of,
    handle_call,
)

_ROW = 4  # nonzeros that take as long as the rest of a row
# Rows prefetched at once, and the numbers of a cache line in float32.
_PREFETCHED_ROWS, _LINE = 256, 16


class _Unit(NamedTuple):
    """What one unit of a call reads and writes: a part of the rows of an entry.

    Attributes:
        params: [S, d].
        num_features: d.
        first_worker: whose rows come first.
        last_worker: whose rows come last.
        row_starts: [n + 1].
        permutation: [N].
        inverse_permutation: [N].
        indptr: [N + 1].
        indices: [nonzeros].
        values: [nonzeros].
        labels: [N].
        weights: [N].
        batch_rows: inverse_permutation of rows within the shard.
        batch: how many of batch_rows count; 0 for all of the workers asked for.
        begin: first row of the part, counted from the workers' first or in the batch.
        end: the row after the last one.
        loss: [S].
        with_loss: whether it is wanted.
        gradient: [S, d].
        scratch: room to work in.
    """

    params: Pointer
    num_features: int
    first_worker: int
    last_worker: int
    row_starts: Pointer
    permutation: Pointer
    inverse_permutation: Pointer
    indptr: Pointer
    indices: Pointer
    values: Pointer
    labels: Pointer
    weights: Pointer
    batch_rows: Pointer
    batch: int
    begin: int
    end: int
    loss: Pointer
    with_loss: bool
    gradient: Pointer
    scratch: Pointer


@njit(error_model="numpy")
def _prefetch_picked(unit):
    """Prefetches the chosen rows, which are scattered in memory, all at once."""
    start = types.int64(unit.row_starts[unit.first_worker])
    last = (
        min(unit.end, unit.begin + _PREFETCHED_ROWS) if unit.batch > 0 else unit.begin
    )
    for position in range(unit.begin, last):
        place = types.int64(unit.batch_rows[position])
        prefetch(unit.permutation, start + place)
        prefetch(unit.labels, start + place)
    for position in range(unit.begin, last):
        place = types.int64(unit.batch_rows[position])
        prefetch(unit.indptr, start + types.int64(unit.permutation[start + place]))
    for position in range(unit.begin, last):
        row = start + types.int64(unit.permutation[start + unit.batch_rows[position]])
        for k in range(unit.indptr[row], unit.indptr[row + 1], _LINE):
            prefetch(unit.indices, types.int64(k))
            prefetch(unit.values, types.int64(k))


@njit(error_model="numpy")
def _row(unit, start, position, end):
    """Where a row's nonzeros begin and end, its label and weight; none from the end."""
    if position >= end:
        return 0, 0, unit.labels[0], unit.weights[0] * 0
    if unit.batch > 0:
        place = types.int64(unit.batch_rows[position])
        row, weight = (
            start + types.int64(unit.permutation[start + place]),
            1 / unit.batch,
        )
        place += start
    else:
        row = start + position
        place = types.int64(unit.inverse_permutation[row]) + start
        weight = unit.weights[place]
    return (
        types.int64(unit.indptr[row]),
        types.int64(unit.indptr[row + 1]),
        unit.labels[place],
        weight,
    )


@njit(error_model="numpy")
def _margin(zero, unit, begin, end, label):
    """b a^T x of one row."""
    width, scratch = width_of(zero), unit.scratch
    indices, values = unit.indices, unit.values
    # Two sums: an addition need not wait for the one before it.
    margin, other, k = zero, zero, begin
    while k + 1 < end:
        at = types.int64(indices[k]) * width
        margin = multiply_add(values[k], load(zero, scratch, at), margin)
        at = types.int64(indices[k + 1]) * width
        other = multiply_add(values[k + 1], load(zero, scratch, at), other)
        k += 2
    if k < end:
        at = types.int64(indices[k]) * width
        margin = multiply_add(values[k], load(zero, scratch, at), margin)
    return multiply_add(label, multiply_add(1, other, margin), zero)


@njit(error_model="numpy")
def _add_row(zero, unit, g, begin, end, residual):
    """Adds the row times its residual to the gradient."""
    width, scratch = width_of(zero), unit.scratch
    for k in range(begin, end):
        at = g + types.int64(unit.indices[k]) * width
        sum_ = multiply_add(unit.values[k], residual, load(zero, scratch, at))
        store(scratch, at, sum_)


@njit(error_model="numpy", inline="always")
def _take_four(zero, unit, g, start, top, end, total):
    """Adds four rows at once: their sigmoids need not wait for each other."""
    b0, e0, l0, w0 = _row(unit, start, top, end)
    b1, e1, l1, w1 = _row(unit, start, top + 1, end)
    b2, e2, l2, w2 = _row(unit, start, top + 2, end)
    b3, e3, l3, w3 = _row(unit, start, top + 3, end)
    z0 = _margin(zero, unit, b0, e0, l0)
    z1 = _margin(zero, unit, b1, e1, l1)
    z2 = _margin(zero, unit, b2, e2, l2)
    z3 = _margin(zero, unit, b3, e3, l3)
    if unit.with_loss:
        s0, s1 = sigmoid_neg_of_softplus(z0), sigmoid_neg_of_softplus(z1)
        s2, s3 = sigmoid_neg_of_softplus(z2), sigmoid_neg_of_softplus(z3)
        total = multiply_add(w0, softplus(z0), total)
        total = multiply_add(w1, softplus(z1), total)
        total = multiply_add(w2, softplus(z2), total)
        total = multiply_add(w3, softplus(z3), total)
    else:
        s0, s1, s2, s3 = (
            sigmoid_neg(z0),
            sigmoid_neg(z1),
            sigmoid_neg(z2),
            sigmoid_neg(z3),
        )
    _add_row(zero, unit, g, b0, e0, multiply_add(-l0 * w0, s0, zero))
    _add_row(zero, unit, g, b1, e1, multiply_add(-l1 * w1, s1, zero))
    _add_row(zero, unit, g, b2, e2, multiply_add(-l2 * w2, s2, zero))
    _add_row(zero, unit, g, b3, e3, multiply_add(-l3 * w3, s3, zero))
    return total


@njit(error_model="numpy", inline="always")
def _take_one(zero, unit, g, start, position, total):
    """Adds one row; its length, just seen, tells that of the loop that adds it."""
    begin, end, label, weight = _row(unit, start, position, position + 1)
    margin = _margin(zero, unit, begin, end, label)
    if unit.with_loss:
        total = multiply_add(weight, softplus(margin), total)
    residual = multiply_add(-label * weight, sigmoid_neg(margin), zero)
    _add_row(zero, unit, g, begin, end, residual)
    return total


@njit(error_model="numpy")
def _add_rows(zero, unit, first, lanes):
    """Loss and gradient of lanes first..first+lanes-1, at most as many as `zero` has.

    The lanes' parameters x and gradient g lie in the scratch space as [d, width], so
    that one nonzero meets all lanes in one load.
    """
    width, d, scratch = width_of(zero), unit.num_features, unit.scratch
    g = d * width
    for j in range(d if lanes == width else 0, 2 * d):
        store(scratch, j * width, zero)
    tile = narrow_zeros(scratch)
    transpose(tile, unit.params, first * d, d, scratch, 0, width, lanes, d)

    total, first_row = zero, types.int64(unit.row_starts[unit.first_worker])
    if unit.batch > 0:
        for position in range(unit.begin, unit.end):
            total = _take_one(zero, unit, g, first_row, position, total)
    else:
        for worker in range(unit.first_worker, unit.last_worker + 1):
            # The part's share of this worker's rows, which grow longer one by one.
            start = types.int64(unit.row_starts[worker])
            after = types.int64(unit.row_starts[worker + 1])
            begin = max(unit.begin, start - first_row) - (start - first_row)
            end = min(unit.end, after - first_row) - (start - first_row)
            for top in range(begin, end, 4):
                total = _take_four(zero, unit, g, start, top, end, total)

    if unit.with_loss:
        store(scratch, 0, total)
        for lane in range(lanes):
            unit.loss[first + lane] = scratch[lane]
    transpose(tile, scratch, g, width, unit.gradient, first * d, d, d, lanes)


@njit(error_model="numpy")
def _cut(indptr, first_row, count, part, parts):
    """The row where a part begins, counted from the first: the work is shared evenly.

    Long rows lie at the end of a shard.
    """
    if part == parts:
        return count
    begin = types.int64(indptr[first_row])
    work = types.int64(indptr[first_row + count]) - begin + count * _ROW
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        before = types.int64(indptr[first_row + middle]) - begin + middle * _ROW
        if before < work * part // parts:
            low = middle + 1
        else:
            high = middle
    return low


def _work(frame, number, thread, one):
    """One part of one entry, for numbers of the type of `one`."""
    words, integer = as_int64s(frame), types.int32(0)
    operands, results = as_int64s(words[9]), as_int64s(words[14])
    lanes, d = dims_of(operands, 0)[1], dims_of(operands, 0)[2]
    batch, parts = dims_of(operands, 2)[1], dims_of(results, 1)[1]
    with_loss, scratch = dims_of(results, 0)[2] > 0, dims_of(results, 2)
    entry, part = number // parts, number % parts
    workers = buffer(operands, 1, integer)
    worker, after = types.int64(workers[3 * entry]), types.int64(workers[3 * entry + 1])
    num_counted = types.int64(workers[3 * entry + 2])
    row_starts, indptr = buffer(operands, 3, integer), buffer(operands, 6, integer)
    begin, end = num_counted * part // parts, num_counted * (part + 1) // parts
    if batch == 0:
        first = types.int64(row_starts[worker])
        count = types.int64(row_starts[after]) - first
        begin = _cut(indptr, first, count, part, parts)
        end = _cut(indptr, first, count, part + 1, parts)
    unit = _Unit(
        offset(buffer(operands, 0, one), entry * lanes * d),
        d,
        worker,
        after - 1,
        row_starts,
        buffer(operands, 4, integer),
        buffer(operands, 5, integer),
        indptr,
        buffer(operands, 7, integer),
        buffer(operands, 8, one),
        buffer(operands, 9, one),
        buffer(operands, 10, one),
        offset(buffer(operands, 2, integer), entry * batch),
        num_counted,
        begin,
        end,
        offset(buffer(results, 0, one), number * lanes if with_loss else 0),
        with_loss,
        offset(buffer(results, 1, one), number * lanes * d),
        offset(buffer(results, 2, one), thread * scratch[1] * scratch[2]),
    )
    _prefetch_picked(unit)
    narrow, middle = narrow_zeros(unit.scratch), middle_zeros(unit.scratch)
    wide, first = wide_zeros(unit.scratch), 0
    while first < lanes:
        some = min(lanes - first, width_of(wide))
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


def csr_logistic(
    params: jax.Array,
    workers: jax.Array,
    batch_rows: jax.Array,
    row_starts: jax.Array,
    permutation: jax.Array,
    inverse_permutation: jax.Array,
    indptr: jax.Array,
    indices: jax.Array,
    values: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    all_workers: bool,
    with_loss: bool,
    cores: int,
    shard_rows: int,
) -> tuple[jax.Array, jax.Array]:
    """Weighted logistic losses of sparse rows and their gradients; CPU only.

    sum_j w_j log(1 + exp(-b_j a_j^T x)) for every lane x, over all rows of workers
    i0..i1-1, or over the chosen rows of worker i0 with w_j = 1/k. Under `vmap` over the
    first three arguments all batch entries go through in one call. Indices are not
    checked here: one that is out of range reads foreign memory.

    Args:
        params: [S, d], float32 or float64, as are values, labels, weights and results.
        workers: int32 [3]: (i0, i1, k), k >= 1 where rows are chosen.
        batch_rows: int32 [b]: rows of the worker's shard, of which the first k count;
            [0] for all of them.
        row_starts: int32 [n + 1]: the rows of worker i are row_starts[i], ...,
            row_starts[i + 1] - 1.
        permutation: int32 [N]: where each row of a shard, as batch_rows and as labels
            and weights have it, lies among these.
        inverse_permutation: int32 [N]: the other way round.
        indptr: int32 [N + 1]: where each row's nonzeros begin.
        indices: int32 [nonzeros]: their columns.
        values: [nonzeros].
        labels: [N] in {-1, +1}, worker after worker.
        weights: [N].
        all_workers: whether these are the rows of all workers.
        with_loss: whether the losses are wanted.
        cores: that may share the call.
        shard_rows: rows that one worker has at most.

    Returns:
        The losses [S] ([0] if not wanted) and the gradients [S, d].
    """
    entry = (params[None], workers[None], batch_rows[None])
    data = (
        row_starts,
        permutation,
        inverse_permutation,
        indptr,
        indices,
        values,
        labels,
        weights,
    )
    loss, gradient = _call(all_workers, with_loss, cores, shard_rows)(*entry, *data)
    return loss[0], gradient[0]


@functools.cache
def _call(all_workers: bool, with_loss: bool, cores: int, shard_rows: int):
    """Returns the kernel for params [B, S, d], workers [B, 3] and batch_rows [B, b]."""

    def call(params, workers, batch_rows, *data):
        _, _, _, indptr, _, values, _, _ = data
        batch_entries, lanes, d = params.shape
        all_rows = indptr.size - 1
        seconds = sparse_seconds(
            lanes,
            all_rows if all_workers else batch_rows.shape[1] or shard_rows,
            (all_rows, values.size),
            batch_rows=batch_rows.shape[1] > 0,
            dtype=params.dtype,
        )
        threads, parts = threads_and_parts(
            cores, batch_entries=batch_entries, seconds=seconds, numbers=lanes * d
        )
        scratch = threads, 2 * d, lanes_at_once(lanes, params.dtype)
        loss, gradient, _ = jax.ffi.ffi_call(
            target("csr_logistic", params.dtype, _HANDLERS),
            (
                jax.ShapeDtypeStruct(
                    (batch_entries, parts, lanes * with_loss), params.dtype
                ),
                jax.ShapeDtypeStruct((batch_entries, parts, lanes, d), params.dtype),
                jax.ShapeDtypeStruct(scratch, params.dtype),
            ),
        )(params, workers, batch_rows, *data)
        return sum_parts(loss), sum_parts(gradient)

    return batched_call(call)
