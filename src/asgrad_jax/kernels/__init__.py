"""Compiled CPU kernels, and the only module of theirs that other packages import.

Five functions: `csr_logistic` and `dense_logistic` pass over rows of data,
`take_rows`, `put_rows` and `fold_wave` move iterates between a wave and the buffer.
Numba compiles them; it is imported with the first use.

ASGRAD_KERNELS=0 in the environment turns them off, and `kernels=False` of `ag.run` and
`ag.sweep` does for one call: then plain JAX computes the same numbers to rounding.
"""

import contextlib
import contextvars
import os
from collections.abc import Generator
from typing import Any

import jax
import numpy as np

from asgrad_jax._util.jit import switched_off
from asgrad_jax._util.settings import on_cpu
from asgrad_jax.kernels import _cost
from asgrad_jax.kernels._cost import PASS as PASS
from asgrad_jax.kernels._cost import PassCost as PassCost
from asgrad_jax.kernels._cost import dense_seconds as dense_seconds
from asgrad_jax.kernels._cost import shared_seconds as shared_seconds
from asgrad_jax.kernels._cost import sparse_seconds as sparse_seconds

Array = np.ndarray | jax.Array

VARIABLE = "ASGRAD_KERNELS"

_cores: contextvars.ContextVar[int | None] = contextvars.ContextVar(
    "cores", default=None
)


def switched_on() -> bool:
    """Whether the environment allows compiled kernels.

    NUMBA_DISABLE_JIT=1, which leaves Numba without a compiler, turns them off too.

    Raises:
        ValueError: if the variable is set to anything but 0 and 1.
    """
    if switched_off():
        return False
    given = os.environ.get(VARIABLE, "1")
    if given not in ("0", "1"):
        raise ValueError(
            f"{VARIABLE} must be 0 (no compiled kernels) or 1, got {given!r}"
        )
    return given == "1"


@contextlib.contextmanager
def cores_per_call(cores: int) -> Generator[None, None, None]:
    """What is traced inside may share each kernel call among so many cores.

    Args:
        cores: 0 turns the kernels off.

    Example:
        >>> with cores_per_call(2):
        ...     cores_of_call()
        2
    """
    token = _cores.set(cores)
    try:
        yield
    finally:
        _cores.reset(token)


def cores_of_call() -> int:
    """Returns how many cores may share a call, 0 where kernels are off.

    Ask before JAX traces anything: it may reuse what it traced for other cores.
    """
    cores = _cores.get()
    return int(switched_on()) if cores is None else cores


def use_dense(lanes: int, num_features: int, cores: int) -> bool:
    """Whether the compiled pass over dense rows takes so many lanes.

    Args:
        lanes: S.
        num_features: d.
        cores: what `cores_of_call` gave.
    """
    # XLA could not split it over devices.
    one_cpu = on_cpu() and jax.local_device_count() == 1
    return cores > 0 and one_cpu and _cost.dense_pass_pays(lanes, num_features, cores)


def use_buffer(tree: Any, cores: int) -> bool:
    """Whether the kernels of the buffer can hold the leaves: floats on a CPU.

    Example:
        >>> use_buffer({"x": np.ones(3)}, 1), use_buffer(np.ones(3, int), 1)
        (True, False)
    """
    possible = cores > 0 and on_cpu()
    kinds = (np.float32, np.float64)
    return possible and all(leaf.dtype in kinds for leaf in jax.tree.leaves(tree))


def csr_logistic(
    *arguments: jax.Array,
    all_workers: bool,
    with_loss: bool,
    cores: int,
    shard_rows: int,
):
    """Logistic losses and gradients of sparse rows; see `_csr_logistic`."""
    from asgrad_jax.kernels import _csr_logistic

    return _csr_logistic.csr_logistic(
        *arguments,
        all_workers=all_workers,
        with_loss=with_loss,
        cores=cores,
        shard_rows=shard_rows,
    )


def dense_logistic(
    *arguments: jax.Array,
    all_workers: bool,
    with_loss: bool,
    cores: int,
    shard_rows: int,
):
    """Logistic losses and gradients of dense rows; see `_dense_logistic`."""
    from asgrad_jax.kernels import _dense_logistic

    return _dense_logistic.dense_logistic(
        *arguments,
        all_workers=all_workers,
        with_loss=with_loss,
        cores=cores,
        shard_rows=shard_rows,
    )


def take_rows(rows: jax.Array, index: Array) -> jax.Array:
    """Returns rows[index]; see `_buffer`."""
    from asgrad_jax.kernels import _buffer

    return _buffer.take_rows(rows, index)


def put_rows(rows: jax.Array, index: Array, new: jax.Array) -> jax.Array:
    """Returns rows with new ones at the indices, in place; see `_buffer`."""
    from asgrad_jax.kernels import _buffer

    return _buffer.put_rows(rows, index, new)


def fold_wave(x, collected, rows, gradients, **columns):
    """Takes a wave in under plain SGD, arrival by arrival; see `_buffer`."""
    from asgrad_jax.kernels import _buffer

    return _buffer.fold_wave(x, collected, rows, gradients, **columns)
