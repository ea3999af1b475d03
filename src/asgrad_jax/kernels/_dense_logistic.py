"""A compiled CPU kernel: logistic losses and gradients of dense rows, many lanes.

One pass over the rows, four at a time, forms margins, residuals and gradients of 8, 16
or 32 float32 lanes held in vector registers (half as many in float64). Next to two
matrix products it saves the copy of the worker's shard, the stored margins and the
packing of operands.
"""

import functools
import math

import jax
from numba import njit, types

from asgrad_jax.kernels._dense_logistic_one import (
    LINE,
    Unit,
    add_rows_of_lane,
    ask_for_rows,
    row_at,
    scratch_of_lane,
    weight_at,
)
from asgrad_jax.kernels._simd import (
    ask_for,
    buffer,
    dims_of,
    lanes_at_once,
    load,
    middle_zeros,
    moved,
    multiply_add,
    narrow_zeros,
    register_width,
    relative_cost,
    slope,
    slope_of_softplus,
    softplus,
    store,
    target,
    transpose,
    wide_zeros,
    width_of,
    words_at,
)
from asgrad_jax.kernels._threads import (
    CACHED,
    added_up,
    address_of,
    answer,
    over_entries,
    seats_and_parts,
)

# Features up to which the iterates and gradients of the widest vector of lanes stay in
# the first cache.
_FEW_FEATURES = 96
# Where lanes go one by one, with vectors of features: at most so many lanes, and of so
# many features. With longer rows XLA's products of a matrix and a vector are as fast,
# on one core.
_FEW_LANES, _SHORTEST, _LONGEST, _LONGEST_SHARED = 4, 8, 256, 4096
_ASKED = 8192  # numbers of picked rows that the memory is asked for at once
# Per number of a row: of a lane by itself, of a register of them, and of a picked row
# that no cache holds.
_LANE_SECONDS, _SECONDS, _MISSED = 1.3e-10, 7.4e-10, 7e-10


def one_by_one(lanes: int, num_features: int, cores: int) -> bool:
    """Whether so many lanes of so many features go through one by one."""
    longest = _LONGEST if cores == 1 else _LONGEST_SHARED
    return lanes <= _FEW_LANES and _SHORTEST <= num_features <= longest


def _at_once(lanes: int, num_features: int, dtype) -> int:
    """Returns how many lanes go through together, where they do."""
    most = lanes_at_once(lanes, dtype)
    return most if num_features <= _FEW_FEATURES else min(most, register_width(dtype))


def pass_seconds(
    lanes: int,
    rows: int,
    shape: tuple[int, ...],
    *,
    picked: bool,
    cores: int,
    dtype="float32",
) -> float:
    """Returns how long one core takes for the gradients of so many lanes, about.

    Args:
        lanes: S.
        rows: that a gradient reads.
        shape: (n, m, d) of all rows.
        picked: whether they lie here and there.
        cores: that may share the call.
        dtype: of the numbers.
    """
    num_features = shape[-1]
    numbers = rows * num_features
    missed = numbers * _MISSED if picked and math.prod(shape) > CACHED else 0.0
    if one_by_one(lanes, num_features, cores):
        return lanes * numbers * _LANE_SECONDS + missed
    at_once = _at_once(lanes, num_features, dtype)
    return relative_cost(lanes, at_once, dtype) * numbers * _SECONDS + missed


@njit(error_model="numpy")
def _residual(zero, unit, margin, label, weight):
    """-b w sigmoid(-b a^T x)."""
    margin = multiply_add(label, margin, zero)
    if unit.with_loss:
        return multiply_add(-label * weight, slope_of_softplus(margin), zero)
    return multiply_add(-label * weight, slope(margin), zero)


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

        ask_for_rows(unit, top)
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
def _ask_for_picked(unit):
    """Asks the memory for picked rows, all at once: they lie here and there."""
    rows = min(unit.end - unit.begin, _ASKED // unit.num_features) if unit.batch else 0
    for position in range(unit.begin, unit.begin + rows):
        row = row_at(unit, position)
        ask_for(unit.labels, row)
        for k in range(0, unit.num_features, LINE):
            ask_for(unit.features, row * unit.num_features + k)


def _work(frame, number, seat, one):
    """One part of one entry, for numbers of the type of `one`."""
    words = words_at(frame)
    operands, results, integer = words_at(words[9]), words_at(words[14]), types.int32(0)
    lanes, d = dims_of(operands, 0)[1], dims_of(operands, 0)[2]
    batch = dims_of(operands, 2)[1]
    n, rows_of_shard = dims_of(operands, 4)[0], dims_of(operands, 4)[1]
    parts, scratch = dims_of(results, 1)[1], dims_of(results, 2)
    with_loss = dims_of(results, 0)[2] > 0
    entry, part = number // parts, number % parts
    workers = buffer(operands, 1, integer)
    start = types.int64(workers[2 * entry]) * rows_of_shard
    rows = types.int64(workers[2 * entry + 1]) * rows_of_shard - start
    count = batch if batch > 0 else rows
    far, next_start = n * rows_of_shard * d > CACHED, -1
    if far and batch == 0 and parts == 1:
        following = entry + 1 if entry + 1 < dims_of(operands, 0)[0] else entry
        next_start = types.int64(workers[2 * following]) * rows_of_shard
    unit = Unit(
        moved(buffer(operands, 0, one), entry * lanes * d),
        buffer(operands, 3, one),
        buffer(operands, 4, one),
        buffer(operands, 5, one),
        d,
        start,
        moved(buffer(operands, 2, integer), entry * batch),
        batch,
        count * part // parts,
        count * (part + 1) // parts,
        moved(buffer(results, 0, one), number * lanes if with_loss else 0),
        with_loss,
        moved(buffer(results, 1, one), number * lanes * d),
        moved(buffer(results, 2, one), seat * scratch[1] * scratch[2]),
        next_start,
    )
    if far:
        _ask_for_picked(unit)
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


def _handlers(edition):
    def float32(frame):
        return answer(frame, _work32(), edition)

    def float64(frame):
        return answer(frame, _work64(), edition)

    return {"float32": float32, "float64": float64}


def dense_logistic(
    params: jax.Array,
    workers: jax.Array,
    picked: jax.Array,
    features: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    whole: bool,
    with_loss: bool,
    cores: int,
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
        whole: whether these are the rows of all workers.
        with_loss: whether the losses are wanted.
        cores: that may share the call.

    Returns:
        The losses [S] ([0] if not wanted) and the gradients [S, d].
    """
    entry = (params[None], workers[None], picked[None])
    loss, gradient = _call(whole, with_loss, cores)(*entry, features, labels, weights)
    return loss[0], gradient[0]


@functools.cache
def _call(whole: bool, with_loss: bool, cores: int):
    """Returns the kernel for params [B, S, d], workers [B, 2] and picked [B, b]."""

    def call(params, workers, picked, features, labels, weights):
        entries, lanes, d = params.shape
        scratch = 2 * d, _at_once(lanes, d, params.dtype)
        if one_by_one(lanes, d, cores):
            scratch = scratch_of_lane(d, params.dtype), 1
        rows = labels.size if whole else picked.shape[1] or labels.shape[1]
        seconds = pass_seconds(
            lanes,
            rows,
            features.shape,
            picked=picked.shape[1] > 0,
            cores=cores,
            dtype=params.dtype,
        )
        seats, parts = seats_and_parts(
            cores, entries=entries, seconds=seconds, numbers=lanes * d
        )
        loss, gradient, _ = jax.ffi.ffi_call(
            target("dense_logistic", params.dtype, _handlers),
            (
                jax.ShapeDtypeStruct((entries, parts, lanes * with_loss), params.dtype),
                jax.ShapeDtypeStruct((entries, parts, lanes, d), params.dtype),
                jax.ShapeDtypeStruct((seats, *scratch), params.dtype),
            ),
        )(params, workers, picked, features, labels, weights)
        return added_up(loss), added_up(gradient)

    return over_entries(call)
