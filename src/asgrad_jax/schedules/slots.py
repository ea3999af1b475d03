"""Where past iterates live: liveness-planned slots, and waves of arrivals."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_count, check_type
from asgrad_jax._util.jit import njit
from asgrad_jax.schedules.schedule import Schedule

_MOST_COLUMNS = 1 << 20  # of a plan, unless the schedule has more arrivals


@dataclasses.dataclass(frozen=True, eq=False)
class SlotPlan:
    """How a scan of W arrivals per step reads and writes past iterates.

    A version has a slot from the wave that writes it to the wave that reads it last.
    In a wave all reads happen first and then all writes, so a slot may be read and
    handed on in one wave. Index `num_slots` is the scratch slot: padding reads it, and
    whatever nobody reads later is written there.

    Attributes:
        width: W, largest number of arrivals in a wave.
        num_slots: largest number of iterates alive at once, the scratch slot apart.
        row: int32 [num_waves, W], row of the schedule; -1 for padding.
        read_slot: int32 [num_waves, W], slot of the iterate the row's gradient is
            taken at.
        write_slot: int32 [num_waves, W], slot of the iterate the row's step makes.
        record_end: int32 [num_records], waves completed when record r = 1, 2, ... is
            taken (record 0, the start, needs no wave).
        initial_slot: slot of version 0, which is there from the start.
    """

    width: int
    num_slots: int
    row: NDArray[np.int32]
    read_slot: NDArray[np.int32]
    write_slot: NDArray[np.int32]
    record_end: NDArray[np.int32]
    initial_slot: int

    @property
    def num_waves(self) -> int:
        """Sequential steps of the scan."""
        return len(self.row)

    @property
    def scratch(self) -> int:
        """Index of the scratch slot: the one after the planned slots."""
        return self.num_slots

    @property
    def fill(self) -> float:
        """Share of the waves' places that hold an arrival, A / (num_waves * W)."""
        return float(np.count_nonzero(self.row >= 0) / self.row.size)

    def __repr__(self) -> str:
        return (
            f"SlotPlan({self.num_waves:,} waves of width {self.width}, fill "
            f"{self.fill:.2f}, {self.num_slots:,} slots, "
            f"{len(self.record_end):,} records)"
        )


def plan_slots(
    schedule: Schedule, *, width: int = 1, record_every: int | None = None
) -> SlotPlan:
    """Plans waves and slots for a schedule, in linear time.

    A wave is a run of consecutive arrivals whose read versions all exist when it
    starts, read[a] <= version[first row of the wave], of at most W rows; it also ends
    at every record and at A. Slots are handed out greedily, the last one returned
    first, which uses exactly as many as there are iterates alive at once (after a
    wave). With W = 1 that never exceeds the jobs in flight, and larger W need no more.

    Args:
        schedule: any schedule; it is validated first.
        width: W >= 1.
        record_every: arrivals between records; None records only at A.

    Raises:
        TypeError, ValueError: if width or record_every is not an integer >= 1, or the
            schedule is invalid.

    Example:
        >>> schedule = Schedule.from_arrays(worker=[0, 1, 0, 1], read=[0, 0, 1, 2])
        >>> plan = plan_slots(schedule)
        >>> plan.num_slots, plan.read_slot[:, 0], plan.write_slot[:, 0]
        (2, array([0, 0, 1, 0], dtype=int32), array([1, 0, 2, 2], dtype=int32))
        >>> plan_slots(schedule, width=2).row
        array([[0, 1],
               [2, 3]], dtype=int32)
    """
    wanted = "an asgrad_jax.Schedule, such as ag.simulate(...) returns"
    check_type("schedule", schedule, Schedule, wanted)
    schedule.validate()
    width = check_count("width", width, maximum=max(len(schedule), _MOST_COLUMNS))
    starts, record_end = _cut(schedule, width, record_every)
    read, step = _readonly(schedule.read), _readonly(schedule.step)
    shape = (len(starts) - 1, width)
    row, read_slot, write_slot = (np.full(shape, -1, np.int32) for _ in range(3))
    last_read = _last_reads(read, schedule.num_steps)
    num_slots = _assign_slots(read, step, starts, last_read, row, read_slot, write_slot)
    read_slot[read_slot < 0] = num_slots
    write_slot[write_slot < 0] = num_slots
    return SlotPlan(
        width=width,
        num_slots=int(num_slots),
        row=row,
        read_slot=read_slot,
        write_slot=write_slot,
        record_end=record_end,
        initial_slot=0,  # row 0 can only read version 0, so it always has a slot
    )


def wave_lengths(
    schedule: Schedule, record_every: int | None = None, limit: int | None = None
) -> NDArray[np.int32]:
    """Lengths of the longest possible waves, int32 [num_waves], which sum to A.

    Args:
        schedule: any schedule; it is validated first.
        record_every: arrivals between records, where waves end too; None for none.
        limit: largest length; None for no limit.

    Raises:
        TypeError, ValueError: if record_every or limit is not an integer >= 1, or the
            schedule is invalid.

    Example:
        >>> schedule = Schedule.from_arrays(worker=[0, 1, 0, 1], read=[0, 0, 1, 2])
        >>> wave_lengths(schedule)
        array([2, 2], dtype=int32)
    """
    schedule.validate()
    limit = len(schedule) if limit is None else check_count("limit", limit)
    return np.diff(_cut(schedule, limit, record_every)[0])


def waves_at_records(
    schedule: Schedule, width: int, record_every: int | None
) -> NDArray[np.int32]:
    """Returns `record_end` of the plan of a valid schedule, without the rest of it."""
    return _cut(schedule, width, record_every)[1]


def _cut(schedule: Schedule, width: int, record_every: int | None):
    """First row of each wave, and A at the end; waves completed at each record."""
    boundaries = _boundaries(schedule, record_every)
    read, step = _readonly(schedule.read), _readonly(schedule.step)
    starts = _wave_starts(read, step, boundaries, width)
    return starts, np.searchsorted(starts, boundaries).astype(np.int32)


def _boundaries(schedule: Schedule, record_every: int | None) -> NDArray[np.int32]:
    """Arrivals completed at each record: multiples of record_every below A, and A."""
    rows = len(schedule)
    if record_every is None:
        return np.array([rows], np.int32)
    stride = min(check_count("record_every", record_every), rows)
    return np.append(np.arange(stride, rows, stride), rows).astype(np.int32)


def _readonly(column: NDArray) -> NDArray:
    """A read-only contiguous view: one type for Numba, so one compilation."""
    view = np.ascontiguousarray(column).view()
    view.flags.writeable = False
    return view


@njit
def _wave_starts(read, step, boundaries, width):
    """First row of each wave, and A at the end."""
    rows = read.size
    starts = np.empty(rows + 1, np.int32)
    waves = 0
    version = 0  # before row a
    started_at = 0  # version when the current wave started
    record = 0
    for a in range(rows):
        on_boundary = a == boundaries[record]
        if on_boundary:
            record += 1
        if (
            waves == 0
            or on_boundary
            or read[a] > started_at
            or a - starts[waves - 1] >= width
        ):
            starts[waves] = a
            waves += 1
            started_at = version
        version += step[a]
    starts[waves] = rows
    return starts[: waves + 1].copy()


def _last_reads(read: NDArray[np.int32], num_steps: int) -> NDArray[np.int32]:
    """Last row that reads each version; -1 where none does."""
    last_read = np.full(num_steps + 1, -1, np.int32)
    last_read[read] = np.arange(len(read))  # the last of equal indices stays
    return last_read


@njit
def _assign_slots(read, step, starts, last_read, row, read_slot, write_slot):
    """Fills the plan's arrays, leaving -1 for scratch, and counts the slots."""
    slot_of = np.full(last_read.size, -1, np.int32)
    free = np.empty(last_read.size, np.int32)  # a stack: reuse what is still in cache
    num_free = 0
    slot_of[0] = 0
    num_slots = 1
    version = 0
    for wave in range(starts.size - 1):
        first, end = starts[wave], starts[wave + 1]
        for a in range(first, end):
            row[wave, a - first] = a
            read_slot[wave, a - first] = slot_of[read[a]]
        for a in range(first, end):
            if last_read[read[a]] == a:
                free[num_free] = slot_of[read[a]]
                num_free += 1
        for a in range(first, end):
            if not step[a]:
                continue
            version += 1
            if last_read[version] < 0:
                continue
            if num_free > 0:
                num_free -= 1
                slot_of[version] = free[num_free]
            else:
                slot_of[version] = num_slots
                num_slots += 1
            write_slot[wave, a - first] = slot_of[version]
    return num_slots
