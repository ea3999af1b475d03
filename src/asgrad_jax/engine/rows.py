"""How schedules become the rectangular arrays that the compiled scan eats."""

import concurrent.futures
import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import numpy as np

from asgrad_jax._util.machine import usable_cores
from asgrad_jax.engine.arrival import (
    Batching,
    Metric,
    ProgramKey,
    Rows,
    StepBranch,
    TableRows,
)
from asgrad_jax.engine.devices import is_spread, spread_of
from asgrad_jax.engine.server import Params, ServerFactory
from asgrad_jax.schedules.gradient_table import GradientTable
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.slots import SlotPlan, plan_slots

# Columns of one evaluated block of records: enough to make the product with the whole
# data a matrix product, few enough to keep its activations in the cache. Many
# parameters make a product of any block: it shall not need more room than the buffer.
_BLOCK_COLUMNS, _BLOCK_NUMBERS = 32, 2**20


@dataclasses.dataclass(frozen=True)
class ProgramShape:
    """The sizes that every schedule of one compiled program shares.

    Attributes:
        arrivals: A, gradients per schedule.
        record_every: arrivals between two records.
        records: R, records after the one at arrival 0.
        width: W, arrivals per wave.
        waves: N, waves between two records.
        block: B, records evaluated together.
        blocks: M, blocks per segment.
        segments: jitted calls per schedule.
        slots: iterates held, the scratch slot apart.
        step_branch: see `arrival.ProgramKey`.
        ahead: see `arrival.ProgramKey`.
        table_rows: rows of the gradient table, 0 without one.
        drops: largest number of further rows that an arrival drops.
        clip: whether any gradient is clipped.
        accept: whether any gradient may be turned down.
        leave: whether any gradient has weight 0.
        oldest: whether the server asks for the largest delay of a step.
    """

    arrivals: int
    record_every: int
    records: int
    width: int
    waves: int
    block: int
    blocks: int
    segments: int
    slots: int
    step_branch: StepBranch
    ahead: bool
    table_rows: int
    drops: int
    clip: bool
    accept: bool
    leave: bool
    # Not shown, as there are checkpoints named by shapes from before it was there.
    oldest: bool = dataclasses.field(default=False, repr=False)

    @property
    def fill(self) -> float:
        """Share of the computed gradients that are arrivals, not padding."""
        calls = self.segments * self.blocks * self.block
        return self.arrivals / (calls * self.waves * self.width)


def record_gradients(arrivals: int, record_every: int) -> np.ndarray:
    """Returns the number of gradients at each record, [R + 1] int64.

    Example:
        >>> record_gradients(7, 3)
        array([0, 3, 6, 7])
    """
    return np.append(np.arange(0, arrivals, record_every), arrivals)


def even_part(total: int, limit: int) -> int:
    """Returns the size of equal parts of `total`, at most `limit`, with little padding.

    Example:
        >>> even_part(100, 32), even_part(101, 32), even_part(500, 3)
        (25, 26, 3)
    """
    limit = min(total, limit)
    divisor = next(size for size in range(limit, 0, -1) if total % size == 0)
    even = math.ceil(total / math.ceil(total / limit))
    # A larger part with a little padding beats an exact one.
    little = -total % limit <= total / 100
    if little and 4 * divisor < 3 * limit:
        return limit
    return divisor if 2 * divisor > limit else even


def _on_grid(size: int) -> int:
    """Rounds up by at most an eighth, so that similar schedules share one program.

    Example:
        >>> [_on_grid(size) for size in (7, 9, 17, 963)]
        [7, 9, 18, 1024]
    """
    grid = 1 << max(0, size.bit_length() - 4)
    return -(-size // grid) * grid


def plan_all_slots(
    schedules: Sequence[Schedule], *, width: int, record_every: int
) -> list[SlotPlan]:
    """Returns `plan_slots` of every schedule, found on all cores."""
    plan = functools.partial(plan_slots, width=width, record_every=record_every)
    if len(schedules) == 1:
        return [plan(schedules[0])]
    with concurrent.futures.ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(plan, schedules))


def padded_waves(record_ends: Sequence[np.ndarray], width: int, every: int) -> int:
    """Returns N, waves between two records that are enough for every schedule.

    Args:
        record_ends: of each schedule, waves completed at each record.
        width: W.
        every: arrivals between two records.
    """
    waves = max(int(np.diff(end, prepend=0).max()) for end in record_ends)
    # Waves that are not full differ by schedule.
    return _on_grid(waves) if waves * width > every else waves


def is_network(params: Params) -> bool:
    """Whether there are matrices among the parameters, so that each lane has its own.

    Example:
        >>> is_network(np.ones(2)), is_network({"in": np.ones((3, 2))})
        (False, True)
    """
    return any(np.ndim(leaf) > 1 for leaf in jax.tree.leaves(params))


def plan_shape(
    schedules: Sequence[Schedule],
    plans: Sequence[SlotPlan],
    lanes: int,
    *,
    params: Params,
    record_every: int,
    batching: Batching,
    segment_arrivals: int | None = None,
    most_evaluated: int | None = None,
    oldest: bool = False,
) -> ProgramShape:
    """Plans the shape that holds the slots and waves of every schedule.

    Args:
        schedules: K schedules of the same length A.
        plans: their slots, all for the same width and records.
        lanes: S.
        params: x_0, leaves without a lane axis.
        record_every: arrivals between two records.
        batching: decides how rows without a step are done, see `arrival.ProgramKey`.
        segment_arrivals: about how many arrivals one jitted call covers; None is all.
        most_evaluated: largest number of records in a block; None chooses.
        oldest: see `ProgramShape`.

    Returns:
        The shape.
    """
    arrivals, width = len(schedules[0]), plans[0].width
    records = len(record_gradients(arrivals, record_every)) - 1
    waves = padded_waves([p.record_end for p in plans], width, record_every)

    numbers = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    columns = min(_BLOCK_COLUMNS, _BLOCK_NUMBERS // max(1, numbers))
    at_once = max(1, columns // lanes)
    block = even_part(records, min(at_once, most_evaluated or at_once))
    num_blocks = math.ceil(records / block)
    per_record = arrivals / records
    limit = num_blocks
    if segment_arrivals is not None:
        limit = max(1, int(segment_arrivals / (per_record * block)))
    blocks = even_part(num_blocks, limit)
    segments = math.ceil(num_blocks / blocks)

    total_rows = segments * blocks * block * waves * width
    always = total_rows == arrivals and all(s.step.all() for s in schedules)
    step_branch: StepBranch = (
        "always" if always else "cond" if batching == "single" else "select"
    )
    table_rows = max(s.table.num_rows if s.table else 0 for s in schedules)
    # The products of a CPU want their matrices transposed: of an iterate that lies by
    # itself that is a fast copy, of a slot of the buffer a slow loop.
    transposed = batching == "single" and is_network(params)
    ahead = width == 1 and (table_rows > 0 or transposed)
    slots = max(p.num_slots for p in plans)
    in_flight = max(int(s.concurrency_max) for s in schedules)
    slots = max(slots, min(_on_grid(slots), in_flight))
    return ProgramShape(
        arrivals,
        record_every,
        records,
        width,
        waves,
        block,
        blocks,
        segments,
        slots,
        step_branch,
        ahead,
        table_rows,
        max(_drops(s.table).shape[1] for s in schedules),
        any(s.clip is not None for s in schedules),
        any(s.accept is not None for s in schedules),
        any(s.table is None and not s.weight.all() for s in schedules),
        oldest,
    )


def static_of(
    shape: ProgramShape,
    batching: Batching,
    server: ServerFactory | None = None,
    metrics: tuple[Metric, ...] = (),
    cores: int = 1,
    buffer: str | None = None,
    strides: tuple[tuple[str, int], ...] = (),
    params: Params = None,
) -> ProgramKey:
    """Returns what the program for a shape depends on, see `arrival.ProgramKey`."""
    return ProgramKey(
        step_branch=shape.step_branch,
        batching=batching,
        server=server,
        metrics=metrics,
        slots=shape.slots,
        # The table has a scratch row of its own, for padding.
        table_rows=shape.table_rows + 1 if shape.table_rows else 0,
        ahead=shape.ahead,
        cores=cores,
        buffer=buffer,
        strides=strides,
        spread=tuple(map(spread_of, jax.tree.leaves(params)))
        if is_spread(params)
        else (),
    )


def record_is_due(number: np.ndarray, last: int, stride: int) -> np.ndarray:
    """Whether records have the metrics of a stride: every k-th has them, and the last.

    Example:
        >>> record_is_due(np.arange(6), last=5, stride=3).tolist()
        [True, False, False, True, False, True]
    """
    return (number % stride == 0) | (number == last)


def due_records(
    shape: ProgramShape, strides: tuple[tuple[str, int], ...]
) -> dict[int, np.ndarray] | None:
    """Returns stride -> [segments, M, B] bool, the records that have its metrics."""
    if not strides:
        return None
    size = (shape.segments, shape.blocks, shape.block)
    number = np.arange(1, math.prod(size) + 1).reshape(size)
    last = shape.records
    return {k: record_is_due(number, last, k) for k in sorted({k for _, k in strides})}


def schedule_rows(
    schedule: Schedule, plan: SlotPlan, shape: ProgramShape, dtype
) -> Rows:
    """Lays one schedule out as rows with leaves [segments, M, B, N, W].

    Args:
        schedule: A arrivals.
        plan: its slots and waves.
        shape: the shape shared with the other schedules.
        dtype: floating type of weights and times.

    Returns:
        NumPy rows; padding has weight 0, makes no step and is never accepted. It
        repeats the first arrival of its wave, or of the next one that has any: another
        gradient might be infinite, and zero times that is not zero. After the last
        arrival nothing counts any more.
    """
    target = (shape.segments, shape.blocks, shape.block, shape.waves, shape.width)
    # wave_of[r, j]: the j-th wave of record r, or -1.
    first = np.concatenate([[0], plan.record_end[:-1]])
    wave_of = np.full((math.prod(target[:3]), shape.waves), -1, np.int64)
    offsets = np.arange(shape.waves)
    inside = offsets < np.diff(plan.record_end, prepend=0)[:, None]
    wave_of[: shape.records] = np.where(inside, first[:, None] + offsets, -1)

    def by_wave(values: np.ndarray, padding: int) -> np.ndarray:
        padded = np.concatenate([values, np.full((1, shape.width), padding)])
        return padded[wave_of].reshape(target).astype(np.int32)

    row = by_wave(plan.row, -1)
    real = row >= 0
    # The scratch slot of the shape is the last one, however few this schedule needs.
    read_slot, write_slot = (
        np.where(slot == plan.num_slots, shape.slots, slot).astype(np.int32)
        for slot in (
            by_wave(plan.read_slot, plan.num_slots),
            by_wave(plan.write_slot, plan.num_slots),
        )
    )

    def column(values: np.ndarray, padding, dtype) -> np.ndarray:
        taken = values[row].astype(dtype)
        taken[~real] = padding
        return taken

    begun = real[..., :1].reshape(-1)
    # Of every wave, the first one from there on with an arrival.
    place = np.where(begun, np.arange(begun.size), begun.size)
    place = np.minimum.accumulate(place[::-1])[::-1].reshape(*target[:-1], 1)

    def repeated(values: np.ndarray, after: int) -> np.ndarray:
        """Values of the arrivals, in padding those of the arrival it repeats."""
        first = np.append(values[..., 0].reshape(-1), after)
        return np.where(real, values, first[place]).astype(np.int32)

    def ahead(values: np.ndarray, last: int) -> np.ndarray:
        """What the arrival after each one has; `last` after the last."""
        flat = values.reshape(math.prod(target), -1)
        last_row = np.full_like(flat[:1], last)
        return np.concatenate([flat[1:], last_row]).reshape(values.shape)

    def table_rows(table: GradientTable) -> TableRows:
        drops = np.full((len(schedule), shape.drops), -1, np.int32)
        own = _drops(table)
        drops[:, : own.shape[1]] = own
        drop = ahead(column(drops, -1, np.int32), -1)
        place = column(table.row, shape.table_rows, np.int32)
        # Padding adds nothing and leaves the accumulators; its gradient would go into
        # the table, so it has a row of its own there.
        return TableRows(
            row=place,
            next_row=ahead(place, shape.table_rows),
            gain=column(table.gain, 0.0, dtype),
            carry=column(table.carry, 0.0, dtype),
            keep=column(table.keep, 0.0, dtype),
            readout=column(table.readout, 0.0, dtype),
            mix=column(table.mix, 0.0, dtype),
            drop=np.maximum(drop, 0) if shape.drops else None,
            dropped=(drop >= 0).astype(dtype) if shape.drops else None,
        )

    read_slot = repeated(read_slot, shape.slots)
    return Rows(
        worker=repeated(schedule.worker[row], 0),
        job=repeated(schedule.job[row], 0),
        read_slot=read_slot,
        next_read=ahead(read_slot, shape.slots) if shape.ahead else None,
        write_slot=write_slot,
        weight=column(schedule.weight, 0.0, dtype),
        step=column(schedule.step, False, bool),
        delay=column(schedule.delay, 0, np.int32),
        time=column(schedule.time, 0.0, dtype),
        clip=column(_or_inf(schedule.clip, schedule), np.inf, dtype)
        if shape.clip
        else None,
        accept=column(_or_inf(schedule.accept, schedule), -1.0, dtype)
        if shape.accept
        else None,
        kept=column(schedule.weight != 0, False, bool) if shape.leave else None,
        table=table_rows(schedule.table) if schedule.table else None,
        max_delay=column(_step_delay(schedule), 0, np.int32) if shape.oldest else None,
    )


def _step_delay(schedule: Schedule) -> np.ndarray:
    """Returns the largest delay so far of the gradients of each row's step, [A]."""
    delay = schedule.delay.astype(np.int64)
    # Every step's numbers are above those of the steps before.
    base = schedule.version * (delay.max() + 1)
    return np.maximum.accumulate(delay + base) - base


def _drops(table: GradientTable | None) -> np.ndarray:
    """Returns the rows that arrivals drop, [A, M]; M is 0 where none does."""
    if table is None or table.drop is None:
        return np.zeros((0 if table is None else len(table.row), 0), np.int32)
    return table.drop


def _or_inf(values: np.ndarray | None, schedule: Schedule) -> np.ndarray:
    return np.full(len(schedule), np.inf) if values is None else values
