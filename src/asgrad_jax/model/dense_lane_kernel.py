"""Logistic loss and gradient of dense rows for one lane, compiled for a CPU.

Vectors hold features here, where `dense_kernel` has lanes. Some rows at a time, which
stay in the first cache, give their margins, then their residuals, then their part of
the gradient: the steps of different rows do not wait for each other.
"""

from numba import njit, types

from asgrad_jax.model.lanes import (
    load,
    multiply_add,
    multiply_add_lanes,
    register_width,
    slope,
    softplus,
    store,
    sums_of_tile,
    width_of,
)

# Numbers of all rows that go through together, and how many vectors their margins fill.
_NUMBERS, _MARGINS = 6144, 8


def scratch_of_lane(num_features: int, dtype) -> int:
    """Returns how many numbers `add_rows_of_lane` needs.

    x and g, their last vectors filled up, a tile, a vector each of labels and weights,
    and the margins.
    """
    width = register_width(dtype)
    padded = -(-num_features // width) * width
    return 2 * padded + width * width + 2 * width + _MARGINS * width


@njit(error_model="numpy")
def place(position, count, picked, drawn, batch):
    """A row's place in the shard; rows beyond the last one are the last one again."""
    position = min(position, count - 1)
    return types.int64(picked[drawn + position]) if batch > 0 else position


@njit(error_model="numpy")
def weight(position, count, weights, place, batch):
    """A row's weight, 0 beyond the last one."""
    weight = 1 / batch if batch > 0 else weights[place]
    return weight if position < count else 0.0


@njit(error_model="numpy")
def _four_rows(first, start, count, picked, drawn, batch, d):
    """Where four rows begin in the features."""
    return (
        (start + place(first, count, picked, drawn, batch)) * d,
        (start + place(first + 1, count, picked, drawn, batch)) * d,
        (start + place(first + 2, count, picked, drawn, batch)) * d,
        (start + place(first + 3, count, picked, drawn, batch)) * d,
    )


@njit(error_model="numpy")
def add_rows_of_lane(
    zero,
    entry,
    lane,
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
    """Loss and gradient of one lane of one entry of the batch; d >= width.

    The last vector of a row ends where the row does, so it overlaps the one before it;
    the iterate has zeros there, and the gradient the same numbers twice.
    """
    width, d = width_of(zero), num_features
    padded = -(-d // width) * width
    x, g, tile = 0, padded, 2 * padded
    b, w = tile + width * width, tile + width * width + width
    margins = w + width
    # Where the last vector begins: in the scratch space and in a row.
    last, tail = padded - width, d - width
    origin = (entry * num_lanes + lane) * d
    for v in range(0, padded, width):
        store(scratch, x + v, load(zero, params, origin + min(v, tail)))
        store(scratch, g + v, zero)
    for k in range(last, last + padded - d):
        scratch[x + k] = 0

    start = types.int64(workers[2 * entry]) * num_rows
    end = types.int64(workers[2 * entry + 1]) * num_rows
    count = batch if batch > 0 else end - start
    drawn = entry * batch
    together = width * min(max(_NUMBERS // (width * d), 1), _MARGINS)
    total = zero
    for top in range(0, count, together):
        rows = min(together, count - top)
        for first in range(0, rows, width):
            for i in range(0, width, 4):
                a0, a1, a2, a3 = _four_rows(
                    top + first + i, start, count, picked, drawn, batch, d
                )
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
            if batch == 0 and top + first + width <= count:
                label = load(zero, labels, start + top + first)
                share = load(zero, weights, start + top + first)
            else:
                for i in range(width):
                    position = top + first + i
                    p = start + place(position, count, picked, drawn, batch)
                    scratch[b + i] = labels[p]
                    scratch[w + i] = weight(position, count, weights, p, batch)
                label, share = load(zero, scratch, b), load(zero, scratch, w)
            margin = load(zero, scratch, margins + first)
            margin = multiply_add_lanes(label, margin, zero)
            if with_loss:
                total = multiply_add_lanes(share, softplus(margin), total)
            residual = multiply_add_lanes(share, slope(margin), zero)
            residual = multiply_add_lanes(label, residual, zero)
            store(scratch, margins + first, residual)

        for i in range(0, rows, 4):
            a0, a1, a2, a3 = _four_rows(top + i, start, count, picked, drawn, batch, d)
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
        loss[entry * num_lanes + lane] = sum_
    for v in range(0, padded, width):
        store(gradient, origin + min(v, tail), load(zero, scratch, g + v))
