"""Compiled CPU kernels: how a wave reads the buffer, writes it and is folded in.

XLA's gathers, scatters and small products move one number at a time here, a nanosecond
or two for each of an iterate; vectors take a quarter of one.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from numba import njit, types

from asgrad_jax.kernels._simd import (
    API_VERSION,
    answer_metadata,
    as_int64s,
    buffer,
    dims_of,
    load,
    middle_zeros,
    multiply_add,
    multiply_add_lanes,
    store,
    target,
    width_of,
)

Array = np.ndarray | jax.Array

# Numbers of an iterate that stay in the first cache while a wave is folded in.
_NUMBERS = 1024
# Numbers of a lane from which on its step size is read once for all of them.
_MANY = 256


@njit(error_model="numpy")
def _copy(written, to, read, at, size):
    """Copies some numbers."""
    zero = middle_zeros(read)
    width = width_of(zero)
    whole = size - size % width
    for k in range(0, whole, width):
        store(written, to + k, load(zero, read, at + k))
    for k in range(whole, size):
        written[to + k] = read[at + k]


@njit(error_model="numpy")
def _take(operands, results, one):
    rows, index = buffer(operands, 0, one), buffer(operands, 1, types.int32(0))
    taken, dims = buffer(results, 0, one), dims_of(results, 0)
    for w in range(dims[0]):
        _copy(taken, w * dims[1], rows, types.int64(index[w]) * dims[1], dims[1])


@njit(error_model="numpy")
def _put(operands, results, one):
    index, new = buffer(operands, 1, types.int32(0)), buffer(operands, 2, one)
    rows, dims = buffer(results, 0, one), dims_of(operands, 2)
    for w in range(dims[0]):
        _copy(rows, types.int64(index[w]) * dims[1], new, w * dims[1], dims[1])


@njit(error_model="numpy")
def _collect(u, gradients, at, weight, first, end, old):
    """u = u + weight * g, or weight * g where there is no old u."""
    zero = middle_zeros(u)
    width = width_of(zero)
    whole = end - (end - first) % width
    for k in range(first, whole, width):
        before = load(zero, u, k) if old else zero
        store(u, k, multiply_add(weight, load(zero, gradients, at + k), before))
    for k in range(whole, end):
        u[k] = weight * gradients[at + k] + (u[k] if old else 0)


@njit(error_model="numpy")
def _step(x, u, gradients, at, weight, gain, each, rows, to, first, end, old):
    """x = x + gain * (u + weight * g), also into a row of the buffer.

    Every entry of `gain` belongs to `each` numbers: to one, or to all of a lane.
    """
    zero = middle_zeros(x)
    width = width_of(zero)
    begin = first
    while begin < end:
        until = end if each == 1 else min(end, (begin // each + 1) * each)
        whole = until - (until - begin) % width
        for k in range(begin, whole, width):
            before = load(zero, u, k) if old else zero
            direction = multiply_add(weight, load(zero, gradients, at + k), before)
            new = load(zero, x, k)
            if each == 1:
                new = multiply_add_lanes(load(zero, gain, k), direction, new)
            else:
                new = multiply_add(gain[k // each], direction, new)
            store(x, k, new)
            store(rows, to + k, new)
        for k in range(whole, until):
            direction = weight * gradients[at + k] + (u[k] if old else 0)
            x[k] = x[k] + gain[k // each] * direction
            rows[to + k] = x[k]
        begin = until


@njit(error_model="numpy")
def _fold(operands, results, one):
    integer, truth = types.int32(0), types.uint8(0)
    gradients, gain = buffer(operands, 3, one), buffer(operands, 4, one)
    weight, step = buffer(operands, 5, one), buffer(operands, 6, truth)
    slot = buffer(operands, 7, integer)
    rows, x, u = (
        buffer(results, 0, one),
        buffer(results, 1, one),
        buffer(results, 2, one),
    )
    collects = dims_of(results, 2)[0] > 0
    waves, numbers = dims_of(operands, 3)[0], dims_of(operands, 3)[1]
    each = numbers // dims_of(operands, 4)[0]
    for first in range(0, numbers, _NUMBERS):
        end = min(first + _NUMBERS, numbers)
        old = collects
        for w in range(waves):
            at, to = w * numbers, types.int64(slot[w]) * numbers
            if step[w]:
                _step(
                    x,
                    u,
                    gradients,
                    at,
                    weight[w],
                    gain,
                    each,
                    rows,
                    to,
                    first,
                    end,
                    old,
                )
                old = False
            elif collects and weight[w] != 0:
                _collect(u, gradients, at, weight[w], first, end, old)
                old = True
        if collects and not old:
            for k in range(first, end):
                u[k] = 0


@njit(error_model="numpy")
def _answer(frame, one):
    """Answers one XLA_FFI_CallFrame; the kernels differ in how many operands they have.

    Args:
        frame: its address.
        one: a number of the type of the leaves.
    """
    call = as_int64s(frame)
    if answer_metadata(call, *API_VERSION):
        return 0
    operands, results = as_int64s(call[9]), as_int64s(call[14])
    if call[7] == 2:
        _take(operands, results, one)
    elif call[7] == 3:
        _put(operands, results, one)
    else:
        _fold(operands, results, one)
    return 0


def _float32(frame):
    return _answer(frame, types.float32(0))


def _float64(frame):
    return _answer(frame, types.float64(0))


_HANDLERS = {"float32": _float32, "float64": _float64}


def _call(results, aliases: dict[int, int] | None = None):
    name = target("wave", jax.tree.leaves(results)[0].dtype, _HANDLERS)
    return jax.ffi.ffi_call(name, results, input_output_aliases=aliases)


def take_rows(rows: jax.Array, index: Array) -> jax.Array:
    """Returns rows[index], [W, ...].

    Args:
        rows: [R, ...], float32 or float64.
        index: int32 [W], not checked.

    Example:
        >>> take_rows(jnp.arange(6.0).reshape(3, 2), jnp.array([2, 0])).tolist()
        [[4.0, 5.0], [0.0, 1.0]]
    """
    shape = index.size, math.prod(rows.shape[1:])
    taken = _call(jax.ShapeDtypeStruct(shape, rows.dtype))(rows, index)
    return taken.reshape(index.size, *rows.shape[1:])


def put_rows(rows: jax.Array, index: Array, new: jax.Array) -> jax.Array:
    """Returns the rows with new ones at the indices, written in place inside a program.

    Args:
        rows: [R, ...], float32 or float64.
        index: int32 [W], not checked; of equal ones the last counts.
        new: [W, ...].

    Example:
        >>> put_rows(jnp.zeros((3, 2)), jnp.array([2]), jnp.ones((1, 2))).tolist()
        [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
    """
    # The rows keep their shape: XLA would copy what it has to reshape.
    return _call(_like(rows), {0: 0})(rows, index, new.reshape(index.size, -1))


def fold_wave(
    x: jax.Array,
    collected: jax.Array | None,
    rows: jax.Array,
    gradients: jax.Array,
    *,
    step_size: jax.Array,
    weight: jax.Array,
    step: jax.Array,
    write_slot: jax.Array,
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    """Takes a wave in under plain SGD, arrival by arrival.

    u = u + weight_j g_j; where step_j: x = x - step_size * u, u = 0, and x goes to the
    slot of the arrival. Arrivals of weight 0 that make no step do nothing.

    Args:
        x: [S, ...], the iterate of S lanes, float32 or float64 as all numbers are.
        collected: u like x; None where every arrival steps.
        rows: [R, S, ...], the buffer.
        gradients: [W, S, ...].
        step_size: [S].
        weight: [W].
        step: bool [W].
        write_slot: int32 [W], not checked.

    Returns:
        x, u and the buffer after the wave, in place inside a program.

    Example:
        >>> one = jnp.ones(1)
        >>> x, _, rows = fold_wave(
        ...     jnp.zeros((1, 1)), None, jnp.zeros((3, 1, 1)), jnp.ones((2, 1, 1)),
        ...     step_size=0.5 * one, weight=jnp.ones(2), step=jnp.array([True, True]),
        ...     write_slot=jnp.array([2, 0]))
        >>> x.tolist(), rows[:, 0, 0].tolist()
        ([[-1.0]], [-1.0, 0.0, -0.5])
    """
    gain = -step_size
    if math.prod(x.shape[1:]) < _MANY:
        gain = jnp.repeat(gain, math.prod(x.shape[1:]))
    u = jnp.zeros((0,), x.dtype) if collected is None else collected
    aliases = {0: 0, 2: 1} if collected is None else {0: 0, 1: 2, 2: 1}
    operands = gradients.reshape(write_slot.size, -1), gain, weight, step, write_slot
    rows, x, u = _call((_like(rows), _like(x), _like(u)), aliases)(
        rows, u, x, *operands
    )
    return x, None if collected is None else u, rows


def _like(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)
