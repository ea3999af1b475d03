"""What a sweep will need in memory, before it runs."""

import dataclasses
import functools
import math
from collections.abc import Collection, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from asgrad_jax._util.machine import available_memory
from asgrad_jax._util.settings import devices, fixed, on_cpu
from asgrad_jax.engine import program as engine
from asgrad_jax.engine.arrival import ProgramKey, Rows, TableRows
from asgrad_jax.engine.devices import mesh_for, run_type, sharding, spread_of
from asgrad_jax.engine.rows import ProgramShape
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.slots import SlotPlan

_AXES = "schedules", "lanes"  # of a mesh
_SHARE = 0.8  # of the free memory that a run may plan with


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """Bytes that one compiled call needs, part by part.

    Attributes:
        data: the problem's arrays, shared by all calls.
        buffer: iterates in flight, the scratch slot included.
        state: current iterate, collected gradients, optimizer state.
        table: remembered gradients.
        rows: schedule columns of one segment.
        records: recorded metrics.
        work: intermediate results: iterates read, gradients and what they are computed
            from (margins, activations, gathered rows), a block of records being
            evaluated; what the compiled program asks for.
        host: where the device is a CPU: schedules, their rows laid out, and results.
        schedules: K, schedules in one call.
        lanes: S, lanes per schedule in one call.
        calls: calls at the same time.
        devices: over which the user has spread arrays of the problem or of x_0; the
            bytes are those on each, but for `host`.
    """

    data: int
    buffer: int
    state: int
    table: int
    rows: int
    records: int
    work: int
    host: int
    schedules: int
    lanes: int
    calls: int
    devices: int = 1

    @property
    def per_call(self) -> int:
        """Bytes of one call, the shared data apart."""
        return (
            self.buffer + self.state + self.table + self.rows + self.records + self.work
        )

    @property
    def total(self) -> int:
        """Bytes of everything at once."""
        return self.data + self.calls * self.per_call + self.host

    def __str__(self) -> str:
        parts = ("buffer", "state", "table", "rows", "records", "work")
        lines = [f"{'data':10} {_text(self.data):>12}"]
        lines += [f"{part:10} {_text(getattr(self, part)):>12}" for part in parts]
        lines += [
            f"{'one call':10} {_text(self.per_call):>12}   "
            f"(schedules: {self.schedules}, lanes: {self.lanes})",
            f"{'host':10} {_text(self.host):>12}",
            f"{'total':10} {_text(self.total):>12}   (calls at once: {self.calls})",
        ]
        if self.devices > 1:
            lines.insert(0, f"on each of {self.devices} devices:")
        return "\n".join(lines)


def memory_plan(
    problem,
    params,
    shape: ProgramShape,
    static: ProgramKey,
    hyper: Collection[str],
    dtype,
    *,
    schedules: int,
    lanes: int,
    calls: int,
    host: int = 0,
    compiled: bool = True,
) -> MemoryPlan:
    """Adds up what a call needs, by the shapes of its arguments.

    Args:
        problem: a problem on the host.
        params: x_0.
        shape: of the compiled call.
        static: of the compiled call.
        hyper: names of the hyper-parameters.
        dtype: floating type of the run.
        schedules: K in one call.
        lanes: S in one call.
        calls: calls at the same time.
        host: bytes besides the calls, where the device's memory is the host's.
        compiled: whether the call is compiled to find `work`, which is 0 otherwise.
            The run uses the same program and does not compile it again.

    Returns:
        The plan.
    """
    arguments = jax.tree.flatten((problem, params))
    shapes = tuple(
        (np.shape(x), np.dtype(getattr(x, "dtype", type(x))), spread_of(x))
        for x in arguments[0]
    )
    parts = _call_parts(
        arguments[1],
        shapes,
        shape,
        static,
        tuple(hyper),
        np.dtype(dtype),
        schedules,
        lanes,
        compiled,
    )
    spread = {d for *_, where in shapes if where is not None for d in where.device_set}
    return MemoryPlan(
        **parts,
        host=host,
        schedules=schedules,
        lanes=lanes,
        calls=calls,
        devices=max(1, len(spread)),
    )


@functools.lru_cache(maxsize=256)  # several milliseconds each, as long as a short run
def _call_parts(
    treedef,
    shapes: tuple[tuple[tuple[int, ...], np.dtype, NamedSharding | None], ...],
    shape: ProgramShape,
    static: ProgramKey,
    hyper: tuple[str, ...],
    dtype: np.dtype,
    schedules: int,
    lanes: int,
    compiled: bool,
) -> dict[str, int]:
    """Returns the bytes of a call by part; shapes are those of (problem, params)."""
    mesh = mesh_for(static.batching, schedules, lanes)
    spread = any(where is not None for *_, where in shapes)  # by the user
    bytes_of = _bytes_on_each if spread else _bytes
    with fixed(x64=dtype.itemsize == 8):
        leaves = [_as_placed(*leaf, dtype, mesh) for leaf in shapes]
        problem, params = jax.tree.unflatten(treedef, leaves)
        each = {n: _spread((schedules, lanes), dtype, mesh, *_AXES) for n in hyper}
        keys = _spread((schedules, 2), np.uint32, mesh, *_AXES[:1])
        start = engine.start.lower(params, each, keys, static=static)
        carry = start.out_info
        first = jax.eval_shape(
            functools.partial(
                engine.first_values,
                metrics=static.metrics,
                cores=min(static.cores, 1),
            ),
            problem,
            params,
        )
        rows = abstract_rows(shape, schedules, dtype, mesh)
        work = 0
        if compiled:
            if mesh is not None or spread:
                # The carry lies where `start` leaves it.
                where = start.compile().output_shardings
                carry = jax.tree.map(_placed_at, carry, where)
            due = _abstract_due(shape, static)
            call = engine.advance.lower(
                problem, carry, rows, each, keys, due, static=static
            )
            analysis = call.compile().memory_analysis()
            if analysis is None:  # this backend does not tell
                copies = 2 * shape.width + 1 + 2 * shape.block
                work = copies * _bytes(carry.params)
            else:
                work = analysis.temp_size_in_bytes * (mesh.size if mesh else 1)
    per_record = sum(x.dtype.itemsize for x in first.values())
    per_record += dtype.itemsize * len(engine.with_state(static.metrics))
    return dict(
        data=bytes_of(problem),
        buffer=bytes_of(carry.buffer),
        state=bytes_of(carry._replace(buffer=None, table=None)),
        table=bytes_of(carry.table),
        rows=_bytes(rows),
        records=(shape.records + 1) * schedules * lanes * per_record,
        work=work,
    )


def host_bytes(
    schedules: Sequence[Schedule],
    plans: Sequence[SlotPlan],
    shape: ProgramShape,
    dtype,
    *,
    lanes: int,
    calls: int,
    num_metrics: int,
    finals: Any,
) -> int:
    """Returns what the host holds besides the calls; 0 unless it is the device.

    Args:
        schedules: all of them.
        plans: their slots.
        shape: of the compiled calls.
        dtype: floating type of the run.
        lanes: S, of all calls.
        calls: calls at the same time.
        num_metrics: recorded columns, `finite` apart.
        finals: shapes of what is kept of a lane at the end, None for nothing.

    Returns:
        Bytes of the schedules and their slots, of the rows laid out for whole calls,
        and of the results: metrics once gathered and once labelled, last iterates.
    """
    if not on_cpu():
        return 0
    known = sum(s.nbytes for s in schedules)
    known += sum(p.row.nbytes + p.read_slot.nbytes + p.write_slot.nbytes for p in plans)
    rows = shape.segments * _bytes(abstract_rows(shape, 1, dtype))
    column = num_metrics * np.dtype(dtype).itemsize + 1
    each = 2 * (shape.records + 1) * column + _bytes(finals)
    results = len(schedules) * lanes * each
    return known + calls * rows + results


def abstract_rows(
    shape: ProgramShape, schedules: int, dtype, mesh: Mesh | None = None
) -> Rows:
    """Returns the shapes and types of one segment of `schedule_rows`, K of them."""
    lead = (schedules, shape.blocks, shape.block, shape.waves, shape.width)

    def column(dtype, *tail: int) -> Any:
        return _spread((*lead, *tail), dtype, mesh, *_AXES[:1])

    integer, real = column(np.int32), column(dtype)
    table = None
    if shape.table_rows:
        pair = column(dtype, 2)
        table = TableRows(
            row=integer,
            next_row=integer,
            gain=pair,
            carry=pair,
            keep=real,
            readout=pair,
            mix=column(dtype, 2, 2),
            drop=column(np.int32, shape.drops) if shape.drops else None,
            dropped=column(dtype, shape.drops) if shape.drops else None,
        )
    return Rows(
        worker=integer,
        job=integer,
        read_slot=integer,
        next_read=integer if shape.ahead else None,
        write_slot=integer,
        weight=real,
        step=column(np.bool_),
        delay=integer,
        time=real,
        clip=real if shape.clip else None,
        accept=real if shape.accept else None,
        kept=column(np.bool_) if shape.leave else None,
        table=table,
        max_delay=integer if shape.oldest else None,
    )


def _abstract_due(shape: ProgramShape, static: ProgramKey) -> Any:
    """The shapes of one segment of `due_records`."""
    strides = {k for _, k in static.strides}
    one = jax.ShapeDtypeStruct((shape.blocks, shape.block), np.bool_)
    return dict.fromkeys(strides, one) or None


def _spread(shape, dtype, mesh: Mesh | None, *axes: str) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding(mesh, *axes))


def _as_placed(size, own, where, dtype, mesh: Mesh | None) -> jax.ShapeDtypeStruct:
    """The shape of an array of the problem's or of x_0 as a call gets it."""
    if where is None:
        return _spread(size, run_type(own, dtype), mesh)
    return jax.ShapeDtypeStruct(size, run_type(own, dtype), sharding=where)


def _placed_at(x, where) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)


def _bytes(tree) -> int:
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _bytes_on_each(tree) -> int:
    """Bytes on each device of arrays that lie on several."""

    def size(x) -> int:
        where = getattr(x, "sharding", None)
        return math.prod(x.shape if where is None else where.shard_shape(x.shape))

    return sum(size(x) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def free_memory() -> int:
    """Returns the bytes that a run may plan with on one device."""
    stats = devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(_SHARE * (stats["bytes_limit"] - stats["bytes_in_use"]))
    return int(_SHARE * available_memory())


_HELP = {
    "data": "a smaller problem",
    "buffer": "a lower concurrency, that is fewer iterates in flight",
    "state": "a server with less state",
    "table": "fewer workers, or a method without remembered gradients",
    "rows": "a smaller record_every, that is shorter segments",
    "records": "a larger record_every, that is fewer records",
    "work": "a smaller problem or mini-batch",
    "host": "fewer seeds, algorithms or compute times at once (a folder collects the "
    "results), or fewer gradients",
}


def raise_too_large(plan: MemoryPlan, budget: float) -> None:
    """Raises MemoryError if even this, the smallest call, does not fit."""
    if plan.total > budget:
        most = max(_HELP, key=lambda part: getattr(plan, part))
        raise MemoryError(
            f"calls of one lane need {_text(plan.total)} with all that comes besides, "
            f"the budget is {_text(budget)}:\n{plan}\n{most} takes most; what helps: "
            f"{_HELP[most]}; else float32, if it is not, or a larger memory_budget"
        )


def _text(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
