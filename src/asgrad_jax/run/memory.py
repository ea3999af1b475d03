"""What a sweep will need in memory, before it runs."""

import dataclasses
import os

import jax
import numpy as np

from asgrad_jax.run.layout import Shape

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
        work: gradients, gathered iterates and a block of records being evaluated.
        schedules: K, schedules in one call.
        lanes: S, lanes per schedule in one call.
        calls: calls at the same time.
    """

    data: int
    buffer: int
    state: int
    table: int
    rows: int
    records: int
    work: int
    schedules: int
    lanes: int
    calls: int

    @property
    def per_call(self) -> int:
        """Bytes of one call, the shared data apart."""
        return (
            self.buffer + self.state + self.table + self.rows + self.records + self.work
        )

    @property
    def total(self) -> int:
        """Bytes of everything at once."""
        return self.data + self.calls * self.per_call

    def __str__(self) -> str:
        parts = ("buffer", "state", "table", "rows", "records", "work")
        lines = [f"{'data':10} {_text(self.data):>12}"]
        lines += [f"{part:10} {_text(getattr(self, part)):>12}" for part in parts]
        lines += [
            f"{'one call':10} {_text(self.per_call):>12}   "
            f"({self.schedules} schedules x {self.lanes} lanes)",
            f"{'total':10} {_text(self.total):>12}   ({self.calls} calls at once)",
        ]
        return "\n".join(lines)


def memory_plan(
    problem,
    params,
    shape: Shape,
    dtype,
    *,
    schedules: int,
    lanes: int,
    calls: int,
    num_metrics: int,
    opt_copies: float,
) -> MemoryPlan:
    """Adds up what a call needs.

    Args:
        problem: a problem on the host.
        params: x_0.
        shape: of the compiled call.
        dtype: floating type of the run.
        schedules: K in one call.
        lanes: S in one call.
        calls: calls at the same time.
        num_metrics: recorded columns.
        opt_copies: size of the optimizer state in copies of the parameters.

    Returns:
        The plan.
    """
    item = np.dtype(dtype).itemsize
    iterate = item * sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    lane = schedules * lanes * iterate
    data = sum(
        np.size(x) * (item if np.issubdtype(np.asarray(x).dtype, np.floating) else 4)
        for x in jax.tree.leaves(problem)
    )
    arrivals = shape.blocks * shape.block * shape.waves * shape.width
    columns = 21 + 2 * item + (shape.clip + shape.accept) * item
    if shape.table_rows:
        columns += 4 + 11 * item
    collected = 2 if shape.table_rows else 0 if shape.form == "always" else 1
    return MemoryPlan(
        data=int(data),
        buffer=(shape.slots + 1) * lane,
        state=int((1 + collected + opt_copies) * lane),
        table=(shape.table_rows + 1) * lane if shape.table_rows else 0,
        rows=schedules * arrivals * columns,
        records=(shape.records + 1) * schedules * lanes * (num_metrics * item + 1),
        # Iterates read and their gradients, the new iterate, one block of records.
        work=(2 * shape.width + 1 + 2 * shape.block) * lane,
        schedules=schedules,
        lanes=lanes,
        calls=calls,
    )


def free_memory() -> int:
    """Returns the bytes that a run may plan with on one device."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(_SHARE * (stats["bytes_limit"] - stats["bytes_in_use"]))
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError):
        pages = os.sysconf("SC_PHYS_PAGES") // 2
    return int(_SHARE * pages * os.sysconf("SC_PAGE_SIZE"))


def refuse(plan: MemoryPlan, budget: int) -> None:
    """Raises MemoryError if even this, the smallest call, does not fit."""
    if plan.total > budget:
        raise MemoryError(
            f"one lane needs {_text(plan.total)}, the budget is {_text(budget)}:\n"
            f"{plan}\nwhat helps: a lower concurrency or wait (fewer iterates in "
            "flight), float32, fewer records (a larger record_every), a smaller "
            "problem, or a larger memory_budget"
        )


def _text(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
