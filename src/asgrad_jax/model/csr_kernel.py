"""A compiled CPU kernel: logistic losses and gradients of sparse rows, many lanes.

One pass over the rows forms the margin, the residual and the gradient of 8, 16 or 32
float32 lanes held in vector registers (half as many in float64). Numba compiles it, so
no C compiler is needed; XLA calls it through its foreign-function interface.

Numba's loop vectoriser leaves these loops scalar, so the kernel works on a type of its
own, `_Lanes`: an LLVM vector with one number per lane. Everything compiled is in this
file, because Numba's cache on disk looks at no other.
"""

import math
import threading
from typing import Any

import jax
import numba.extending
import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.extending import models, register_model

# Its declared type would make checkers ask for the typing context in every call.
intrinsic: Any = numba.extending.intrinsic

# A vector of lanes.


class _Lanes(types.Type):
    """Numba type of `width` numbers of Numba type `scalar`, one per lane."""

    def __init__(self, scalar: types.Float, width: int):
        self.scalar, self.width = scalar, width
        element = ir.FloatType() if scalar.bitwidth == 32 else ir.DoubleType()
        self.ir_type = ir.VectorType(element, width)
        super().__init__(name=f"Lanes({scalar}, {width})")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, lanes.ir_type)


class _Expression:
    """Arithmetic on a vector of lanes, written down while the kernel is compiled.

    Numbers mix in as constants. `a * b + c` may become one instruction that rounds
    once, where the machine has it.
    """

    def __init__(self, builder: ir.IRBuilder, lanes: _Lanes, value: ir.Value):
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
        then, otherwise = (
            x if isinstance(x, _Expression) else self.lift(x) for x in (then, otherwise)
        )
        test = self.builder.fcmp_ordered("<", self.value, self.lift(number).value)
        value = self.builder.select(test, then.value, otherwise.value)
        return _Expression(self.builder, self.lanes, value)


def _exp_minus_abs(x: _Expression) -> _Expression:
    """exp(-|x|), to about one unit in the last place; NaN stays NaN.

    exp(y) = 2^k exp(r), k the integer nearest y / ln 2, by a Taylor polynomial in
    |r| <= ln(2)/2. Values below the smallest normal number are rounded up to it.
    """
    single = x.lanes.scalar.bitwidth == 32
    fraction, bias, terms = (23, 127, 8) if single else (52, 1023, 14)
    smallest = -87.0 if single else -708.0
    # ln 2 in two parts, the first so short that its product with k is exact.
    high = 0.693359375 if single else 6.93147180369123816490e-01
    low = -2.12194440054690583e-4 if single else 1.90821492927058770002e-10

    y = x.below(0.0, x, -x)
    y = y.below(smallest, smallest, y)
    # Adding 1.5 * 2^fraction rounds to an integer and leaves it in the low bits.
    shifted = y * (1 / math.log(2)) + 1.5 * 2**fraction
    k = shifted - 1.5 * 2**fraction
    r = y - k * high - k * low
    power = r.lift(1 / math.factorial(terms - 1))
    for degree in range(terms - 2, -1, -1):
        power = power * r + 1 / math.factorial(degree)
    integer = ir.VectorType(ir.IntType(x.lanes.scalar.bitwidth), x.lanes.width)
    bits = x.builder.bitcast(shifted.value, integer)
    for step, number in ((x.builder.add, bias), (x.builder.shl, fraction)):
        bits = step(bits, ir.Constant(integer, [number] * x.lanes.width))
    scale = x.builder.bitcast(bits, x.lanes.ir_type)
    return power * _Expression(x.builder, x.lanes, scale)


@intrinsic
def _slope(typing_context, margin):
    """sigmoid(-margin)."""

    def emit(context, builder, signature, args):
        x = _Expression(builder, margin, args[0])
        e = _exp_minus_abs(x)
        return (x.below(0.0, 1.0, e) / (e + 1.0)).value

    return margin(margin), emit


@intrinsic
def _softplus(typing_context, margin):
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
def _multiply_add(typing_context, factor, x, y):
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


def _zeros_of(size: int):
    @intrinsic
    def zeros(typing_context, pointer):
        """Lanes of zeros, of the type that the pointer points to."""
        lanes = _Lanes(pointer.dtype, 8 * size // pointer.dtype.bitwidth)

        def emit(context, builder, signature, args):
            return ir.Constant(lanes.ir_type, [0.0] * lanes.width)

        return lanes(pointer), emit

    return zeros


# Bytes: half, one or two of the largest registers there are. Each size costs a third
# to two thirds more time than the one before, for twice the lanes.
_NARROW, _MIDDLE, _WIDE = 32, 64, 128
_narrow, _middle, _wide = (_zeros_of(size) for size in (_NARROW, _MIDDLE, _WIDE))


@intrinsic
def _width(typing_context, lanes):
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
def _load(typing_context, like, pointer, index):
    """Lanes like `like` from consecutive numbers."""

    def emit(context, builder, signature, args):
        return _emit_load(builder, like, *args[1:])

    return like(like, pointer, types.int64), emit


@intrinsic
def _store(typing_context, pointer, index, lanes):
    """Writes lanes to consecutive numbers."""

    def emit(context, builder, signature, args):
        _emit_store(builder, lanes, *args)
        return context.get_dummy_value()

    return types.void(pointer, types.int64, lanes), emit


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
        rows = []
        for _ in range(side):
            rows.append(_emit_load(builder, like, source, at))
            at = builder.add(at, stride)
        mixed = [k for j in range(side) for k in (j, side + j)]
        masks = [
            ir.Constant(ir.VectorType(ir.IntType(32), side), half)
            for half in (mixed[:side], mixed[side:])
        ]
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
def _transpose(tile, source, at, stride, target, to, step, rows, columns):
    """target[to + j step + i] = source[at + i stride + j] for i < rows, j < columns."""
    side = _width(tile)
    for i in range(0, rows, side):
        for j in range(0, columns, side):
            a, b = at + i * stride + j, to + j * step + i
            if i + side <= rows and j + side <= columns:
                _transpose_tile(tile, source, a, stride, target, b, step)
            else:
                for k in range(min(side, rows - i)):
                    for m in range(min(side, columns - j)):
                        target[b + m * step + k] = source[a + k * stride + m]


# The pass over the rows.


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
    width = _width(zero)
    x, g = 0, num_features * width
    for j in range(2 * num_features):
        _store(scratch, j * width, zero)
    tile, origin = _narrow(params), first * num_features
    _transpose(
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
                margin = _multiply_add(values[k], _load(zero, scratch, at), margin)
                at = x + types.int64(indices[k + 1]) * width
                other = _multiply_add(values[k + 1], _load(zero, scratch, at), other)
                k += 2
            if k < end:
                at = x + types.int64(indices[k]) * width
                margin = _multiply_add(values[k], _load(zero, scratch, at), margin)
            margin = _multiply_add(label, _multiply_add(1, other, margin), zero)
            residual = _multiply_add(-label * weight, _slope(margin), zero)
            for k in range(begin, end):
                at = g + types.int64(indices[k]) * width
                sum_ = _multiply_add(values[k], residual, _load(zero, scratch, at))
                _store(scratch, at, sum_)
            if with_loss:
                total = _multiply_add(weight, _softplus(margin), total)

    if with_loss:
        _store(scratch, x, total)
        for lane in range(lanes):
            loss[first + lane] = scratch[x + lane]
    _transpose(
        tile, scratch, g, width, gradient, origin, num_features, num_features, lanes
    )


# What XLA calls.


@intrinsic
def _pointer(typing_context, address, like):
    """The address as a pointer to numbers of the type of `like`."""
    pointer = types.CPointer(like)

    def emit(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.int64, like), emit


@njit(error_model="numpy")
def _words(address):
    return _pointer(address, types.int64(0))


@njit(error_model="numpy")
def _buffer(buffers, index, like):
    """Data of an operand or result; XLA_FFI_Buffer is (size, ext, dtype, data, ...)."""
    return _pointer(_words(buffers[index])[3], like)


@njit(error_model="numpy")
def _sizes(buffers, index):
    """Lengths of its axes; (..., rank, dims) end XLA_FFI_Buffer."""
    return _words(_words(buffers[index])[5])


@njit(error_model="numpy")
def _handle(frame, one):
    """Answers one XLA_FFI_CallFrame, read as 8-byte words; see xla/ffi/api/c_api.h.

    Words of the frame: 1 extension, 2 api, 7 number and 9 addresses of the operands,
    12 and 14 of the results. XLA has checked shapes and types when it compiled.
    """
    words = _words(frame)
    if words[1] != 0 and _words(words[1])[1] & 0xFFFFFFFF == 1:
        # Asked for its metadata: the version of the interface, that of the caller
        # (what is read here has been in place since the first one).
        metadata = _words(_words(words[1])[3])
        metadata[3] = _words(words[2])[4]
        metadata[4] = 0
        return 0
    operands, results, integer = _words(words[9]), _words(words[14]), types.int32(0)
    num_lanes, num_features = _sizes(operands, 0)[0], _sizes(operands, 0)[1]
    arguments = (
        _buffer(operands, 0, one),  # params [S, d]
        _buffer(operands, 1, integer),  # workers [2]
        _buffer(operands, 2, integer),  # picked [b] or [0]
        _sizes(operands, 2)[0],
        _buffer(operands, 3, integer),  # row_starts [n + 1]
        _buffer(operands, 4, integer),  # indptr [N + 1]
        _buffer(operands, 5, integer),  # indices [nonzeros]
        _buffer(operands, 6, one),  # values [nonzeros]
        _buffer(operands, 7, one),  # labels [n, m]
        _buffer(operands, 8, one),  # weights [n, m]
        _sizes(operands, 7)[1],
        num_features,
        _buffer(results, 0, one),  # loss [S] or [0]
        _buffer(results, 1, one),  # gradient [S, d]
        _buffer(results, 2, one),  # scratch
        _sizes(results, 0)[0] > 0,
    )
    narrow, middle = _narrow(arguments[0]), _middle(arguments[0])
    wide = _wide(arguments[0])
    first = 0
    while first < num_lanes:
        lanes = min(num_lanes - first, _width(wide))
        if lanes > _width(middle):
            _add_rows(wide, first, lanes, *arguments)
        elif lanes > _width(narrow):
            _add_rows(middle, first, lanes, *arguments)
        else:
            _add_rows(narrow, first, lanes, *arguments)
        first += lanes
    return 0


def _float32(frame):
    return _handle(frame, np.float32(1))


def _float64(frame):
    return _handle(frame, np.float64(1))


_lock = threading.Lock()
_targets: dict[np.dtype, tuple[str, object]] = {}


def _target(dtype: np.dtype) -> str:
    """XLA's name of the kernel for a dtype, compiled at its first use."""
    with _lock:
        if dtype not in _targets:
            handler = {"float32": _float32, "float64": _float64}[dtype.name]
            compiled = cfunc(types.int64(types.int64), cache=True)(handler)
            name = f"asgrad_csr_logistic_{dtype.name}"
            jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(compiled.address))
            _targets[dtype] = name, compiled  # XLA holds the bare address
        return _targets[dtype][0]


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
    itemsize = params.dtype.itemsize
    sizes = [size for size in (_NARROW, _MIDDLE) if lanes * itemsize <= size]
    at_once = [*sizes, _WIDE][0] // itemsize
    call = jax.ffi.ffi_call(
        _target(np.dtype(params.dtype)),
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
