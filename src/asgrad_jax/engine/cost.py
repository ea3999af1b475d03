"""How many arrivals go through together: the width of the waves."""

from collections.abc import Sequence
from typing import NamedTuple

from asgrad_jax.engine.arrival import Layout
from asgrad_jax.engine.rows import padded_waves
from asgrad_jax.kernels._threads import seconds_shared
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.slots import waves_at_records


class Cost(NamedTuple):
    """What one step of the scan takes on a kind of device, in seconds.

    Attributes:
        step: of one arrival, its arithmetic apart.
        wave: of a wave of any width, its arithmetic apart, in steps.
        entry: of each arrival of each schedule, its arithmetic apart.
        alone: of each number of an iterate that goes through by itself.
        moved: of each number of an iterate that goes through in a wave.
        near: numbers of the iterates of a wave that a core's fast caches have room
            for, next to their gradients.
        far: of a number in a wave, if there are more.
        transposed: of each number of a network's matrices in a wave of several lanes.
        fold: of an arrival of a wave that is folded in by itself, in all schedules.
        multiplication: of one multiplication, where a problem does not know better.
        number: of reading or writing one number.
        batched: factor of the arithmetic in a wave.
        widths: that are worth a try.
    """

    step: float
    wave: float
    entry: float
    alone: float
    moved: float
    near: int
    far: float
    transposed: float
    fold: float
    multiplication: float
    number: float
    batched: float
    widths: tuple[int, ...]


# Fitted to the tables of waves in benchmarks/README.md, on the careful side. On a CPU
# the products of a wave run one after the other, and those with a whole shard are
# slower, for the shards are gathered first; not so where a compiled pass over the rows
# takes the place of the products. There waves of small iterates save steps of the scan,
# and those of large ones leave the cache. On a GPU every step costs launches.
_CPU_PASS = Cost(
    step=0.25e-6,
    wave=8,
    entry=0.6e-6,
    alone=0.97e-9,
    moved=0.5e-9,
    near=2**14,
    far=1.05e-9,
    transposed=0,
    fold=1e-6,
    multiplication=0,
    number=0,
    batched=1,
    widths=(4, 8, 16, 32),
)
_CPU_FULL = Cost(
    step=4e-6,
    wave=1.5,
    entry=0,
    alone=0,
    moved=0,
    near=0,
    far=0,
    transposed=1e-9,
    fold=1e-6,
    multiplication=0.25e-9,
    number=0,
    batched=1.9,
    widths=(4, 8),
)
_CPU_BATCH = _CPU_FULL._replace(multiplication=0.14e-9, batched=1.25, widths=(4, 8, 16))
# Networks whose lanes have rows of their own, so that nothing has to be transposed.
_CPU_APART = _CPU_BATCH._replace(
    alone=0.8e-9,
    moved=0.4e-9,
    near=2**19,
    far=0.5e-9,
    transposed=0,
    multiplication=0.1e-9,
    batched=1,
    widths=(2, 4, 8),
)
_GPU = Cost(
    step=12e-6,
    wave=1.6,
    entry=0.2e-6,
    alone=0,
    moved=0,
    near=0,
    far=0,
    transposed=0,
    fold=5e-6,
    multiplication=8e-14,
    number=1.4e-12,
    batched=1,
    widths=(2, 4, 8, 16, 32, 64),
)
_GAIN = 1.03  # expected of waves before they are taken
# Seconds that they must save: the shape of the program then depends on the schedule, so
# the next one may have to be compiled.
_WORTH = 0.3
_SOME = 4  # schedules that are asked how they fill waves


def choose_width(
    schedules: Sequence[Schedule],
    *,
    multiplications: float,
    data: float,
    iterates: int,
    rows: bool,
    pass_seconds: float | None,
    cores: int,
    samples: bool,
    folds: bool,
    networks: bool,
    apart: bool,
    record_every: int,
    layout: Layout,
) -> int:
    """Returns the number of arrivals per wave that should be fastest; 1 is common.

    The time of a run is modelled as (waves) x (cost of a step + W x cost of a
    gradient), and the schedules say how many waves there are. Short runs have W = 1.

    Args:
        schedules: K schedules of the same length.
        multiplications: of one arrival's gradients in all lanes, about.
        data: numbers of the rows that they read.
        iterates: numbers of the iterates in all lanes.
        rows: whether gradients go over rows of data; if not, a step may cost next to
            nothing on a CPU, and waves would lose.
        pass_seconds: of one arrival's gradients on one core of a CPU, about, where
            they are one compiled pass over rows; else None.
        cores: of a CPU that may share such passes.
        samples: whether gradients draw mini-batches.
        folds: whether arrivals are folded in one by one, as under Adam or with a table.
        networks: whether several lanes have matrices of their own.
        apart: whether each of these has its own copy of the rows.
        record_every: arrivals between two records, at which waves end.
        layout: how schedules share the device.

    Returns:
        W, a power of two.
    """
    if layout == "vmap":
        cost, batch = _GPU, len(schedules)
    elif rows:
        cost, batch = _CPU_BATCH if samples else _CPU_FULL, 1
        if pass_seconds is not None:
            cost = _CPU_PASS
        elif apart and not folds:
            cost = _CPU_APART
    else:
        return 1
    # The rows are gathered, read for two products and so are their copies; of the
    # iterates there are the read one, the gradient and the new one.
    numbers = 5 * data + 6 * iterates
    arithmetic = multiplications * cost.multiplication + numbers * cost.number

    def gradients(width: int) -> float:
        """Time of a wave's gradients."""
        if pass_seconds is None:
            return width * arithmetic
        return seconds_shared(
            cores, entries=width, seconds=pass_seconds, numbers=iterates
        )

    def seconds(width: int, fill: float) -> float:
        """Time per arrival and schedule."""
        if width == 1:
            entry = cost.entry + cost.alone * iterates
            return cost.step / batch + entry + gradients(1)
        wave = cost.wave * cost.step / width + (cost.fold if folds else 0)
        moved = cost.moved if width * iterates <= cost.near else cost.far
        moved += cost.transposed * networks
        entry = cost.entry + moved * iterates
        entry += cost.batched * gradients(width) / width
        return (wave / batch + entry) / fill

    alone = seconds(1, 1.0)
    runs = len(schedules) * len(schedules[0])
    best, chosen = min(alone / _GAIN, alone - _WORTH / runs), 1
    for width in cost.widths:
        if seconds(width, 1.0) >= best:
            continue
        fill = _fill(schedules, width, record_every)
        if (expected := seconds(width, fill)) < best:
            best, chosen = expected, width
    return chosen


def _fill(schedules: Sequence[Schedule], width: int, record_every: int) -> float:
    """Share of the places of waves that hold an arrival, by some of the schedules."""
    some = schedules[:: -(-len(schedules) // _SOME)]
    ends = [waves_at_records(s, width, record_every) for s in some]
    waves = padded_waves(ends, width, record_every)
    return len(schedules[0]) / (len(ends[0]) * waves * width)
