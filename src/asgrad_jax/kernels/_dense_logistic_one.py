"""Logistic loss and gradient of dense rows for one lane, compiled for a CPU.

Vectors hold features here, where `_dense_logistic` has lanes. Some rows at a time,
which stay in the first cache, give their margins, then their residuals, then their part
of the gradient: the steps of different rows do not wait for each other.
"""

from typing import NamedTuple

from numba import njit, types

from asgrad_jax.kernels._cost import register_width
from asgrad_jax.kernels._simd import (
    load,
    multiply_add,
    multiply_add_lanes,
    prefetch_later,
    sigmoid_neg,
    sigmoid_neg_of_softplus,
    softplus,
    store,
    sums_of_tile,
    width_of,
)
from asgrad_jax.kernels._threads import Pointer

# Numbers of all rows that go through together, and how many vectors their margins fill.
_NUMBERS, _MARGINS = 6144, 8
LINE = 16  # numbers of a cache line in float32
_AHEAD = 32  # rows that are prefetched before they are needed


def scratch_of_lane(num_features: int, dtype) -> int:
    """Returns how many numbers `add_rows_of_lane` needs.

    x and g, their last vectors filled up, a tile, a vector each of labels and weights,
    and the margins.
    """
    width = register_width(dtype)
    padded = -(-num_features // width) * width
    return 2 * padded + width * width + 2 * width + _MARGINS * width


class Unit(NamedTuple):
    """What one unit of a call reads and writes: a part of the rows of an entry.

    Attributes:
        params: [S, d].
        features: [N, d].
        labels: [N].
        weights: [N].
        num_features: d.
        start: the shard's first row in [N].
        batch_rows: rows within the shard.
        batch: how many of batch_rows count; 0 for all of the shard.
        begin: first row of the part, counted within the shard or the batch.
        end: the row after the last one.
        loss: [S].
        with_loss: whether it is wanted.
        gradient: [S, d].
        scratch: room to work in.
        next_start: first row of what is computed next, in [N]; -1 where nothing is
            to be asked for before.
    """

    params: Pointer
    features: Pointer
    labels: Pointer
    weights: Pointer
    num_features: int
    start: int
    batch_rows: Pointer
    batch: int
    begin: int
    end: int
    loss: Pointer
    with_loss: bool
    gradient: Pointer
    scratch: Pointer
    next_start: int


@njit(error_model="numpy")
def row_at(unit, position):
    """A row's place in [N]; rows beyond the last one are the last one again."""
    position = min(position, unit.end - 1)
    if unit.batch > 0:
        return unit.start + types.int64(unit.batch_rows[position])
    return unit.start + position


@njit(error_model="numpy")
def weight_at(unit, position, row):
    """A row's weight, 0 beyond the last one."""
    weight = 1 / unit.batch if unit.batch > 0 else unit.weights[row]
    return weight if position < unit.end else 0.0


@njit(error_model="numpy")
def prefetch_rows(unit, position):
    """Asks the memory for four rows that come soon, of the next entry after ours."""
    if unit.next_start < 0:
        return
    row = unit.start + position + _AHEAD
    if position + _AHEAD >= unit.end:
        row += unit.next_start - unit.start - unit.end
    for k in range(0, 4 * unit.num_features, LINE):
        prefetch_later(unit.features, row * unit.num_features + k)


@njit(error_model="numpy")
def _four_rows(unit, position):
    """Where four rows begin in the features."""
    d = unit.num_features
    return (
        row_at(unit, position) * d,
        row_at(unit, position + 1) * d,
        row_at(unit, position + 2) * d,
        row_at(unit, position + 3) * d,
    )


@njit(error_model="numpy")
def add_rows_of_lane(zero, unit, lane):
    """Loss and gradient of one lane; d >= width.

    The last vector of a row ends where the row does, so it overlaps the one before it;
    the iterate has zeros there, and the gradient the same numbers twice.
    """
    width, d, scratch = width_of(zero), unit.num_features, unit.scratch
    features, with_loss = unit.features, unit.with_loss
    padded = -(-d // width) * width
    x, g, tile = 0, padded, 2 * padded
    b, w = tile + width * width, tile + width * width + width
    margins = w + width
    # Where the last vector begins: in the scratch space and in a row.
    last, tail = padded - width, d - width
    for v in range(0, padded, width):
        store(scratch, x + v, load(zero, unit.params, lane * d + min(v, tail)))
        store(scratch, g + v, zero)
    for k in range(last, last + padded - d):
        scratch[x + k] = 0

    together = width * min(max(_NUMBERS // (width * d), 1), _MARGINS)
    total = zero
    for top in range(unit.begin, unit.end, together):
        rows = min(together, unit.end - top)
        for first in range(0, rows, width):
            for i in range(0, width, 4):
                prefetch_rows(unit, top + first + i)
                a0, a1, a2, a3 = _four_rows(unit, top + first + i)
                z0, z1, z2, z3 = zero, zero, zero, zero
                for v in range(0, padded, width):
                    k, at = min(v, tail), load(zero, scratch, x + v)
                    z0 = multiply_add_lanes(load(zero, features, a0 + k), at, z0)
                    z1 = multiply_add_lanes(load(zero, features, a1 + k), at, z1)
                    z2 = multiply_add_lanes(load(zero, features, a2 + k), at, z2)
                    z3 = multiply_add_lanes(load(zero, features, a3 + k), at, z3)
                store(scratch, tile + i * width, z0)
                store(scratch, tile + (i + 1) * width, z1)
                store(scratch, tile + (i + 2) * width, z2)
                store(scratch, tile + (i + 3) * width, z3)
            store(scratch, margins + first, sums_of_tile(zero, scratch, tile))

        for first in range(0, rows, width):
            # A whole vector of neighbours is loaded as it is.
            if unit.batch == 0 and top + first + width <= unit.end:
                label = load(zero, unit.labels, unit.start + top + first)
                share = load(zero, unit.weights, unit.start + top + first)
            else:
                for i in range(width):
                    if top + first + i >= unit.end:
                        scratch[margins + first + i] = 0  # 0 times infinity is no loss
                    row = row_at(unit, top + first + i)
                    scratch[b + i] = unit.labels[row]
                    scratch[w + i] = weight_at(unit, top + first + i, row)
                label, share = load(zero, scratch, b), load(zero, scratch, w)
            margin = load(zero, scratch, margins + first)
            margin = multiply_add_lanes(label, margin, zero)
            if with_loss:
                total = multiply_add_lanes(share, softplus(margin), total)
                residual = multiply_add_lanes(
                    share, sigmoid_neg_of_softplus(margin), zero
                )
            else:
                residual = multiply_add_lanes(share, sigmoid_neg(margin), zero)
            residual = multiply_add_lanes(label, residual, zero)
            store(scratch, margins + first, residual)

        for i in range(0, rows, 4):
            a0, a1, a2, a3 = _four_rows(unit, top + i)
            r0, r1 = -scratch[margins + i], -scratch[margins + i + 1]
            r2, r3 = -scratch[margins + i + 2], -scratch[margins + i + 3]
            for v in range(0, padded, width):
                k, sum_ = min(v, tail), load(zero, scratch, g + v)
                sum_ = multiply_add(r0, load(zero, features, a0 + k), sum_)
                sum_ = multiply_add(r1, load(zero, features, a1 + k), sum_)
                sum_ = multiply_add(r2, load(zero, features, a2 + k), sum_)
                sum_ = multiply_add(r3, load(zero, features, a3 + k), sum_)
                store(scratch, g + v, sum_)

    if with_loss:
        store(scratch, tile, total)
        sum_ = scratch[tile]
        for i in range(1, width):
            sum_ += scratch[tile + i]
        unit.loss[lane] = sum_
    for v in range(0, padded, width):
        store(unit.gradient, lane * d + min(v, tail), load(zero, scratch, g + v))
