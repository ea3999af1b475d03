"""One call of a kernel shared by the cores of a CPU.

A call is a batch of entries, [B, ...], cut into units that do not depend on each other.
The calling thread and tasks in XLA's own pool of threads claim them one by one. So
results do not depend on who does what, and nobody waits for a task that has not begun:
calls cannot block each other, however busy the pool is.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, compiler

from asgrad_jax.kernels._simd import (
    API_VERSION,
    answer_metadata,
    as_int64s,
    dims_of,
    intrinsic,
)

Pointer = Any  # of compiled code, to numbers

# What the compiled code is made of.

_WORD, _BYTES = ir.IntType(64), ir.IntType(8).as_pointer()
# A block of words that outlives the call, for tasks that begin when it is over. First
# an XLA_FFI_ThreadPool_Schedule_Args, then words that are counted up, in cache lines of
# their own: those who may still look at the block, units claimed, units done, threads.
_CONTEXT, _TASK, _DATA, _WORK, _FRAME, _UNITS = 2, 3, 4, 5, 6, 7
_USERS, _CLAIMED, _DONE, _JOINED, _WORDS = 8, 16, 24, 32, 40
# Words of XLA_FFI_CallFrame and of XLA_FFI_Api, see xla/ffi/api/c_api.h.
_API, _EXECUTION_CONTEXT, _NUM_RESULTS, _RESULTS, _SCHEDULE = 2, 3, 12, 14, 17


@intrinsic
def _add(typing_context, words, index, amount):
    """Adds to a word in one indivisible step; returns what was there."""

    def emit(context, builder, signature, args):
        address = builder.gep(args[0], [args[1]])
        return builder.atomic_rmw("add", address, args[2], "seq_cst")

    return types.int64(words, types.int64, types.int64), emit


@intrinsic
def _peek(typing_context, words, index):
    """A word that others write."""

    def emit(context, builder, signature, args):
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "seq_cst", 8)

    return types.int64(words, types.int64), emit


@intrinsic
def _allocate(typing_context, size):
    """The address of `size` bytes, 0 if there are none."""

    def emit(context, builder, signature, args):
        kind = ir.FunctionType(_BYTES, [_WORD])
        malloc = cgutils.get_or_insert_function(builder.module, kind, "malloc")
        return builder.ptrtoint(builder.call(malloc, args), _WORD)

    return types.int64(types.int64), emit


@intrinsic
def _free(typing_context, address):
    """Gives the bytes back."""

    def emit(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [_BYTES])
        free = cgutils.get_or_insert_function(builder.module, kind, "free")
        builder.call(free, [builder.inttoptr(args[0], _BYTES)])
        return context.get_dummy_value()

    return types.void(types.int64), emit


@intrinsic
def _schedule(typing_context, function, argument):
    """Calls the C function at an address, which takes one and returns one."""

    def emit(context, builder, signature, args):
        kind = ir.FunctionType(_WORD, [_WORD]).as_pointer()
        return builder.call(builder.inttoptr(args[0], kind), [args[1]])

    return types.int64(types.int64, types.int64), emit


@intrinsic
def _do(typing_context, work, frame, unit, thread):
    """Calls `work` by its address, see `address_of`."""

    def emit(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [_WORD] * 3).as_pointer()
        builder.call(builder.inttoptr(args[0], kind), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), emit


def address_of(function: Callable[..., None], words: int, *kinds: types.Type) -> Any:
    """Returns an intrinsic: the address of `function` as a C function of some words.

    Numba would compile a function anew in each one that calls it; by its address it is
    compiled once.

    Args:
        function: Python function to be compiled.
        words: how many int64 numbers it takes first.
        kinds: of further numbers that it takes, which are 0 and only tell it the type.
            They also tell its compiled forms apart, which a closure would not.
    """
    inner = types.void(*[types.int64] * words, *kinds)

    @intrinsic
    def address(typing_context):
        def emit(context, builder, signature, args):
            flags: Any = compiler.Flags()
            flags.error_model = "numpy"
            compiled = context.compile_subroutine(builder, function, inner, flags=flags)
            callee = context.declare_function(builder.module, compiled.fndesc)
            kind = ir.FunctionType(ir.VoidType(), [_WORD] * words)
            outer = ir.Function(builder.module, kind, f"{callee.name}.outer")
            outer.linkage = "internal"
            body = ir.IRBuilder(outer.append_basic_block())
            zeros = [context.get_constant_null(kind) for kind in kinds]
            context.call_conv.call_function(
                body, callee, inner.return_type, inner.args, [*outer.args, *zeros]
            )
            body.ret_void()
            return builder.ptrtoint(outer, _WORD)

        return types.int64(), emit

    return address


@njit(error_model="numpy")
def _leave(address):
    """Whoever leaves last gives the block back."""
    if _add(as_int64s(address), _USERS, -1) == 1:
        _free(address)


@njit(error_model="numpy")
def _take_part(address):
    """Claims units until none is left."""
    block = as_int64s(address)
    thread = _add(block, _JOINED, 1)
    unit = _add(block, _CLAIMED, 1)
    while unit < block[_UNITS]:
        _do(block[_WORK], block[_FRAME], unit, thread)
        _add(block, _DONE, 1)
        unit = _add(block, _CLAIMED, 1)


def _task(address):
    _take_part(address)
    _leave(address)


_address_of_task = address_of(_task, 1)


@njit(error_model="numpy")
def handle_call(frame, work):
    """Answers one XLA_FFI_CallFrame.

    The results of the call end with the gradients [B, P, ...], whose parts are the
    units, and the scratch space [threads, ...].

    Args:
        frame: its address.
        work: address of a function (frame, unit, thread), see `address_of`. `thread`
            tells those apart that work at the same time.
    """
    call = as_int64s(frame)
    if answer_metadata(call, *API_VERSION):
        return 0
    results, last = as_int64s(call[_RESULTS]), call[_NUM_RESULTS] - 1
    units = dims_of(results, last - 1)[0] * dims_of(results, last - 1)[1]
    helpers = min(dims_of(results, last)[0], units) - 1
    address = _allocate(8 * _WORDS) if helpers > 0 else 0
    if address == 0:
        for unit in range(units):
            _do(work, frame, unit, 0)
        return 0
    block = as_int64s(address)
    for i in range(_WORDS):
        block[i] = 0
    block[0], block[_CONTEXT] = 8 * (_DATA + 1), call[_EXECUTION_CONTEXT]
    block[_TASK], block[_DATA] = _address_of_task(), address
    block[_WORK], block[_FRAME], block[_UNITS] = work, frame, units
    block[_USERS] = helpers + 1
    schedule = as_int64s(call[_API])[_SCHEDULE]
    for _ in range(helpers):
        if _schedule(schedule, address) != 0:  # an error: do without the helper
            _leave(address)
    _take_part(address)
    while _peek(block, _DONE) < units:
        pass
    _leave(address)
    return 0
