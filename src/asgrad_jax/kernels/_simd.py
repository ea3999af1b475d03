"""Vectors of lanes for kernels that XLA calls on a CPU, and what such kernels share.

Numba compiles the kernels, so no C compiler is needed; XLA calls them through its
foreign-function interface. Numba's loop vectoriser leaves loops over lanes scalar, so
the kernels work on a type of their own, `Lanes`: an LLVM vector with one number per
lane (or per feature of a single lane).
"""

import math
import threading
from collections.abc import Callable
from typing import Any

import jax
import numba.extending
import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.extending import models, register_model

from asgrad_jax._util.jit import keep_on_disk, warn_not_kept
from asgrad_jax.kernels._cost import MIDDLE, NARROW, WIDE

# Its declared type would make checkers ask for the typing context in every call.
intrinsic: Any = numba.extending.intrinsic


class Lanes(types.Type):
    """Numba type of `width` numbers of Numba type `scalar`, one per lane."""

    def __init__(self, scalar: types.Float, width: int):
        self.scalar, self.width = scalar, width
        element = ir.FloatType() if scalar.bitwidth == 32 else ir.DoubleType()
        self.ir_type = ir.VectorType(element, width)
        super().__init__(name=f"Lanes({scalar}, {width})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, lanes.ir_type)


class _Expression:
    """Arithmetic on a vector of lanes, written down while the kernel is compiled.

    Numbers mix in as constants. `a * b + c` may become one instruction that rounds
    once, where the machine has it.
    """

    def __init__(self, builder: ir.IRBuilder, lanes: Lanes, value: ir.Value):
        self.builder, self.lanes, self.value = builder, lanes, value

    def lift(self, number: float) -> "_Expression":
        constant = ir.Constant(self.lanes.ir_type, [number] * self.lanes.width)
        return _Expression(self.builder, self.lanes, constant)

    def _apply(self, name: str, left, right) -> "_Expression":
        left, right = (
            x if isinstance(x, _Expression) else self.lift(x) for x in (left, right)
        )
        emit = getattr(self.builder, name)
        value = emit(left.value, right.value, flags=("contract",))
        return _Expression(self.builder, self.lanes, value)

    def __add__(self, other):
        return self._apply("fadd", self, other)

    def __sub__(self, other):
        return self._apply("fsub", self, other)

    def __mul__(self, other):
        return self._apply("fmul", self, other)

    def __truediv__(self, other):
        return self._apply("fdiv", self, other)

    def __neg__(self):
        return self._apply("fsub", 0.0, self)

    def below(self, number: float, then, otherwise) -> "_Expression":
        """`then` in lanes below the number, `otherwise` elsewhere and for NaN."""
        return self._where("<", number, then, otherwise)

    def above(self, number: float, then, otherwise) -> "_Expression":
        """`then` in lanes above the number, `otherwise` elsewhere and for NaN."""
        return self._where(">", number, then, otherwise)

    def _where(self, sign: str, number: float, then, otherwise) -> "_Expression":
        then, otherwise = (
            x if isinstance(x, _Expression) else self.lift(x) for x in (then, otherwise)
        )
        test = self.builder.fcmp_ordered(sign, self.value, self.lift(number).value)
        value = self.builder.select(test, then.value, otherwise.value)
        return _Expression(self.builder, self.lanes, value)


_LARGEST = {32: 87.0, 64: 708.0}  # |x| up to which exp(x) is a normal number


def _exp(x: _Expression) -> _Expression:
    """exp(x) for |x| <= _LARGEST, to about two units in the last place; NaN stays NaN.

    exp(x) = 2^k exp(r), k the integer nearest x / ln 2, by a Taylor polynomial in
    |r| <= ln(2)/2.
    """
    bits = x.lanes.scalar.bitwidth
    fraction, bias, terms = (23, 127, 7) if bits == 32 else (52, 1023, 14)
    # ln 2 in two parts, the first so short that its product with k is exact.
    high = 0.693359375 if bits == 32 else 6.93147180369123816490e-01
    low = -2.12194440054690583e-4 if bits == 32 else 1.90821492927058770002e-10

    # Adding 1.5 * 2^fraction rounds to an integer and leaves it in the low bits.
    shifted = x * (1 / math.log(2)) + 1.5 * 2**fraction
    k = shifted - 1.5 * 2**fraction
    r = x - k * high - k * low
    power = r.lift(1 / math.factorial(terms - 1))
    for degree in range(terms - 2, -1, -1):
        power = power * r + 1 / math.factorial(degree)
    integer = ir.VectorType(ir.IntType(bits), x.lanes.width)
    whole = x.builder.bitcast(shifted.value, integer)
    for step, number in ((x.builder.add, bias), (x.builder.shl, fraction)):
        whole = step(whole, ir.Constant(integer, [number] * x.lanes.width))
    scale = x.builder.bitcast(whole, x.lanes.ir_type)
    return power * _Expression(x.builder, x.lanes, scale)


@intrinsic
def sigmoid_neg(typing_context, margin):
    """sigmoid(-margin) = 1 / (1 + exp(margin)).

    Values below about the smallest normal number are rounded up to it.
    """

    def emit(context, builder, signature, args):
        x = _Expression(builder, margin, args[0])
        largest = _LARGEST[margin.scalar.bitwidth]
        x = x.below(-largest, -largest, x)
        x = x.above(largest, largest, x)
        return (x.lift(1.0) / (_exp(x) + 1.0)).value

    return margin(margin), emit


def _exp_minus_abs(x: _Expression) -> _Expression:
    """exp(-|x|); values below the smallest normal number are rounded up to it."""
    largest = _LARGEST[x.lanes.scalar.bitwidth]
    y = x.below(0.0, x, -x)
    return _exp(y.below(-largest, -largest, y))


@intrinsic
def sigmoid_neg_of_softplus(typing_context, margin):
    """sigmoid(-margin), from the exponential that `softplus` of it needs too."""

    def emit(context, builder, signature, args):
        x = _Expression(builder, margin, args[0])
        e = _exp_minus_abs(x)
        return (x.below(0.0, 1.0, e) / (e + 1.0)).value

    return margin(margin), emit


@intrinsic
def softplus(typing_context, margin):
    """log(1 + exp(-margin)) = max(-margin, 0) + log(1 + e), e = exp(-|margin|).

    log(1 + e) = 2 artanh(s) with s = e / (2 + e) <= 1/3, by its series.
    """

    def emit(context, builder, signature, args):
        x = _Expression(builder, margin, args[0])
        e = _exp_minus_abs(x)
        s = e / (e + 2.0)
        square = s * s
        terms = 7 if margin.scalar.bitwidth == 32 else 16
        series = x.lift(1 / (2 * terms - 1))
        for k in range(terms - 2, -1, -1):
            series = series * square + 1 / (2 * k + 1)
        return (x.below(0.0, -x, 0.0) + s * 2.0 * series).value

    return margin(margin), emit


@intrinsic
def multiply_add(typing_context, factor, x, y):
    """factor * x + y for one number `factor` and lanes x and y."""

    def emit(context, builder, signature, args):
        zero = ir.Constant(ir.IntType(32), 0)
        undefined = ir.Constant(x.ir_type, ir.Undefined)
        first = builder.insert_element(undefined, args[0], zero)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), x.width), [0] * x.width)
        spread = builder.shuffle_vector(first, undefined, everywhere)
        a, b, c = (_Expression(builder, x, v) for v in (spread, args[1], args[2]))
        return (a * b + c).value

    return x(x.scalar, x, x), emit


@intrinsic
def multiply_add_lanes(typing_context, factor, x, y):
    """factor * x + y, lane by lane."""

    def emit(context, builder, signature, args):
        a, b, c = (_Expression(builder, x, value) for value in args)
        return (a * b + c).value

    return x(x, x, x), emit


def _zeros_of(size: int):
    @intrinsic
    def zeros(typing_context, pointer):
        """Lanes of zeros, of the type that the pointer points to."""
        lanes = Lanes(pointer.dtype, 8 * size // pointer.dtype.bitwidth)

        def emit(context, builder, signature, args):
            return ir.Constant(lanes.ir_type, [0.0] * lanes.width)

        return lanes(pointer), emit

    return zeros


narrow_zeros, middle_zeros, wide_zeros = (
    _zeros_of(size) for size in (NARROW, MIDDLE, WIDE)
)


@intrinsic
def width_of(typing_context, lanes):
    """Number of lanes."""

    def emit(context, builder, signature, args):
        return ir.Constant(ir.IntType(64), lanes.width)

    return types.int64(lanes), emit


def _address(builder, lanes, pointer, index):
    return builder.bitcast(builder.gep(pointer, [index]), lanes.ir_type.as_pointer())


def _emit_load(builder, lanes, pointer, index):
    loaded = builder.load(_address(builder, lanes, pointer, index))
    loaded.align = lanes.scalar.bitwidth // 8
    return loaded


def _emit_store(builder, lanes, pointer, index, value):
    address = _address(builder, lanes, pointer, index)
    builder.store(value, address).align = lanes.scalar.bitwidth // 8


@intrinsic
def load(typing_context, like, pointer, index):
    """Lanes like `like` from consecutive numbers."""

    def emit(context, builder, signature, args):
        return _emit_load(builder, like, *args[1:])

    return like(like, pointer, types.int64), emit


def _emit_prefetch(locality: int, when: str):
    @intrinsic
    def ask(typing_context, pointer, index):
        def emit(context, builder, signature, args):
            address, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [address, flag, flag, flag])
            prefetch = cgutils.get_or_insert_function(
                builder.module, kind, "llvm.prefetch"
            )
            at = builder.bitcast(builder.gep(args[0], [args[1]]), address)
            # To be read; for which caches; data.
            flags = (ir.Constant(flag, i) for i in (0, locality, 1))
            builder.call(prefetch, [at, *flags])
            return context.get_dummy_value()

        return types.void(pointer, types.int64), emit

    ask.__doc__ = f"Prefetches a number and its neighbours, {when}."
    return ask


prefetch = _emit_prefetch(3, "which are read at once")
prefetch_later = _emit_prefetch(2, "but not into the first cache yet")


@intrinsic
def store(typing_context, pointer, index, lanes):
    """Writes lanes to consecutive numbers."""

    def emit(context, builder, signature, args):
        _emit_store(builder, lanes, *args)
        return context.get_dummy_value()

    return types.void(pointer, types.int64, lanes), emit


def _interleaved(width):
    """Masks of two shuffles that interleave the halves of two vectors of lanes."""
    mixed = [k for j in range(width) for k in (j, width + j)]
    kind = ir.VectorType(ir.IntType(32), width)
    return [ir.Constant(kind, half) for half in (mixed[:width], mixed[width:])]


def _emit_load_rows(builder, lanes, pointer, index, stride):
    rows = []
    for _ in range(lanes.width):
        rows.append(_emit_load(builder, lanes, pointer, index))
        index = builder.add(index, stride)
    return rows


@intrinsic
def sums_of_tile(typing_context, like, source, at):
    """Lanes like `like`; lane i is the sum over j of source[at + i width + j].

    Two rows at a time become one, in which the halves of each are added up; so the
    rows get half as many, and in the end every number is the sum of one of them.
    """

    def emit(context, builder, signature, args):
        _, source, at = args
        step = ir.Constant(ir.IntType(64), like.width)
        rows = _emit_load_rows(builder, like, source, at, step)
        masks = _interleaved(like.width)
        while len(rows) > 1:
            half = len(rows) // 2
            rows = [
                builder.fadd(*(builder.shuffle_vector(a, b, mask) for mask in masks))
                for a, b in zip(rows[:half], rows[half:], strict=True)
            ]
        return rows[0]

    return like(like, source, types.int64), emit


@intrinsic
def _transpose_tile(typing_context, like, source, at, stride, target, to, step):
    """target[to + j step + i] = source[at + i stride + j] for i, j < lanes of `like`.

    With two halves of the rows interleaved, the highest bit of a number's column
    becomes the lowest of its row, and the other way round. Once per bit, that swaps
    rows and columns.
    """

    def emit(context, builder, signature, args):
        _, source, at, stride, target, to, step = args
        side = like.width
        rows = _emit_load_rows(builder, like, source, at, stride)
        masks = _interleaved(side)
        for _ in range(side.bit_length() - 1):
            pairs = zip(rows[: side // 2], rows[side // 2 :], strict=True)
            rows = [
                builder.shuffle_vector(a, b, mask) for a, b in pairs for mask in masks
            ]
        for row in rows:
            _emit_store(builder, like, target, to, row)
            to = builder.add(to, step)
        return context.get_dummy_value()

    count = types.int64
    return types.void(like, source, count, count, target, count, count), emit


@njit(error_model="numpy")
def transpose(tile, source, at, stride, target, to, step, rows, columns):
    """target[to + j step + i] = source[at + i stride + j] for i < rows, j < columns."""
    side = width_of(tile)
    for i in range(0, rows, side):
        for j in range(0, columns, side):
            a, b = at + i * stride + j, to + j * step + i
            if i + side <= rows and j + side <= columns:
                _transpose_tile(tile, source, a, stride, target, b, step)
            else:
                for k in range(min(side, rows - i)):
                    for m in range(min(side, columns - j)):
                        target[b + m * step + k] = source[a + k * stride + m]


# What XLA calls.


@intrinsic
def _pointer(typing_context, address, like):
    """The address as a pointer to numbers of the type of `like`."""
    pointer = types.CPointer(like)

    def emit(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.int64, like), emit


@njit(error_model="numpy")
def as_int64s(address):
    return _pointer(address, types.int64(0))


@intrinsic
def offset(typing_context, pointer, by):
    """The pointer to the number that lies `by` numbers further."""

    def emit(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), emit


@njit(error_model="numpy")
def buffer(buffers, index, like):
    """Data of an operand or result; XLA_FFI_Buffer is (size, ext, dtype, data, ...)."""
    return _pointer(as_int64s(buffers[index])[3], like)


@njit(error_model="numpy")
def dims_of(buffers, index):
    """Lengths of its axes; (..., rank, dims) end XLA_FFI_Buffer."""
    return as_int64s(as_int64s(buffers[index])[5])


# The version of XLA's interface that the places of words below were read from
# (xla/ffi/api/c_api.h, major and minor). XLA refuses a kernel whose version it does not
# serve any more, so a jaxlib that moves a word says so when the kernel is registered.
API_VERSION = 0, 2


@njit(error_model="numpy")
def answer_metadata(words, major, minor):
    """Answers XLA's question for the version of the interface; whether it was one.

    `words` are those of an XLA_FFI_CallFrame, read as 8-byte words: 1 extension, 2 api,
    7 number and 9 addresses of the operands, 12 and 14 of the results. XLA has checked
    shapes and types when it compiled.
    """
    if words[1] == 0 or as_int64s(words[1])[1] & 0xFFFFFFFF != 1:
        return False
    metadata = as_int64s(as_int64s(words[1])[3])
    metadata[3] = major | minor << 32
    metadata[4] = 0  # traits: none
    metadata[5] = 0  # the type of a state: unknown, for there is none
    return True


_lock = threading.Lock()
_targets: dict[tuple[str, np.dtype], tuple[str, object]] = {}


def target(name: str, dtype, handlers: dict[str, Callable]) -> str:
    """Returns XLA's name of a kernel for a dtype; it is compiled at its first use.

    Args:
        name: of the kernel.
        dtype: float32 or float64.
        handlers: by dtype, the functions that answer one XLA_FFI_CallFrame.
    """
    key = name, np.dtype(dtype)
    with _lock:
        if key not in _targets:
            handler = handlers[key[1].name]
            signature, kept = types.int64(types.int64), keep_on_disk(handler)
            try:
                compiled = cfunc(signature, cache=kept)(handler)
            except OSError:  # a full disk, or the folder has gone
                warn_not_kept()
                compiled = cfunc(signature)(handler)
            full = f"asgrad_{name}_{key[1].name}"
            jax.ffi.register_ffi_target(full, jax.ffi.pycapsule(compiled.address))
            _targets[key] = full, compiled  # XLA holds the bare address
        return _targets[key][0]
