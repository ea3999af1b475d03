"""The cost model: how lanes, waves and calls share a device, and why.

The numbers that choose W, lanes and calls stand in the tables at the top, but for those
of the compiled passes, which are `kernels.PASS`. They are estimates that choose
between ways to compute the same thing: a wrong one costs time and changes no result
beyond rounding. `benchmarks/fit_cost.py` measures them again.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from asgrad_jax import kernels
from asgrad_jax.engine.arrival import Batching
from asgrad_jax.engine.rows import even_part, padded_waves
from asgrad_jax.problems.problem import GradientCost
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.slots import waves_at_records


class StepCost(NamedTuple):
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
        multiplication: of one multiplication, where the gradients are not one compiled
            pass.
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
_CPU_FULL = StepCost(
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
STEP = {
    "cpu, compiled pass": StepCost(
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
    ),
    "cpu, all rows": _CPU_FULL,
    "cpu, mini-batches": _CPU_BATCH,
    # Networks whose lanes have rows of their own, so that nothing is transposed.
    "cpu, copied rows": _CPU_BATCH._replace(
        alone=0.8e-9,
        moved=0.4e-9,
        near=2**19,
        far=0.5e-9,
        transposed=0,
        multiplication=0.1e-9,
        batched=1,
        widths=(2, 4, 8),
    ),
    "gpu": StepCost(
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
    ),
}


class Limits(NamedTuple):
    """Where one way to cut a run begins to pay.

    Attributes:
        wave_gain: factor expected of waves before they are taken.
        wave_seconds: that they must save: the shape of the program then depends on the
            schedule, so the next one may have to be compiled.
        asked: schedules that are asked how they fill waves.
        segment_seconds: of a jitted call: short enough to stop and to report, long
            enough to hide the call.
        turn_seconds: of the segments of calls that take turns, at least.
        segments: of a run, at most.
        padding: share that turns may add.
        fewest_alone: lanes of a part, where there are fewer schedules than cores;
            networks have no such limit.
        fewest_shared: lanes of a part, where there are as many: with fewer, all cores
            together do not do more than one.
        part_seconds: of a step that another part of the lanes must save.
        iterate_bytes: of one call's lanes that a core's own cache keeps, next to their
            gradients and those read and written.
        vector: lanes of a compiled pass over rows, at least.
        single: seconds per step and operations per second of a core of a CPU; only the
            segments depend on them.
        vmap: the same of a GPU.
    """

    wave_gain: float = 1.03
    wave_seconds: float = 0.3
    asked: int = 4
    segment_seconds: float = 0.5
    turn_seconds: float = 0.01
    segments: int = 64
    padding: float = 0.05
    fewest_alone: int = 8
    fewest_shared: int = 32
    part_seconds: float = 5e-7
    iterate_bytes: int = 2**19
    vector: int = 8
    single: tuple[float, float] = (5e-6, 2e10)
    vmap: tuple[float, float] = (2e-5, 1e13)


LIMITS = Limits()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
    """What is to be cut into calls and waves.

    Attributes:
        schedules: K schedules of the same length A.
        lanes: S, on each schedule.
        numbers: of one iterate.
        itemsize: bytes of a number.
        cost_of: lanes -> what the gradients of one arrival take.
        network: whether there are matrices among the parameters.
        folds: whether arrivals are folded in one by one, as under Adam or with a table.
        record_every: arrivals between two records, at which waves end.
        batching: how schedules share the device.
        kernels: whether compiled kernels are allowed.
    """

    schedules: Sequence[Schedule]
    lanes: int
    numbers: int
    itemsize: int
    cost_of: Callable[[int], GradientCost]
    network: bool
    folds: bool
    record_every: int
    batching: Batching
    kernels: bool = True

    def cost(self, lanes: int, cores: int) -> GradientCost:
        """Returns what the gradients of an arrival take if so many cores share them."""
        with kernels.cores_per_call(cores if self.kernels else 0):
            return self.cost_of(lanes)


class Division(NamedTuple):
    """How schedules and lanes share the cores of a CPU.

    Attributes:
        lanes: that go through one call together.
        threads: calls that run at the same time.
        cores: that share the compiled kernels of one call.
        turns: in which the calls of one thread go on segment by segment; 1: one by one.
        why: in words.
    """

    lanes: int
    threads: int = 1
    cores: int = 1
    turns: int = 1
    why: str = "one call for all lanes of a batch of schedules"


def divide(work: Workload, *, cores: int, take_turns: bool) -> Division:
    """Returns how the schedules and lanes of a run are spread over cores.

    Args:
        work: the run.
        cores: of the CPU, that may be used.
        take_turns: whether calls that would be left over may take turns with others.
    """
    if work.batching != "single":
        return Division(lanes=work.lanes)
    lanes, why = _lanes_of_a_call(work, cores)
    calls = len(work.schedules) * math.ceil(work.lanes / lanes)
    threads, turns = min(calls, cores), 1
    shared = cores // threads
    # JAX runs a call per core, first come, first served. If those that would be left
    # over are in the queue from the start, all take turns segment by segment, and no
    # core idles while the last ones run.
    if take_turns and cores < calls < 4 * cores:
        threads += calls % cores
        turns = cores // math.gcd(calls, cores)
    return Division(lanes, threads, shared, turns, why)


def _lanes_of_a_call(work: Workload, cores: int) -> tuple[int, str]:
    """Returns how many lanes of a schedule go through together on a CPU, and why."""
    number, lanes = len(work.schedules), work.lanes
    # Where schedules do not keep all cores busy, their lanes are split.
    parts = cores // math.gcd(number, cores)
    fewest = LIMITS.fewest_shared
    if number < cores:
        fewest = 1 if work.network else LIMITS.fewest_alone
    parts = max(1, min(parts, lanes // fewest))
    compiled = work.cost(lanes, 1).kernel_seconds is not None
    if number < cores and compiled:
        parts = _parts_of_lanes(work, cores)
    even = math.ceil(lanes / parts)
    # And where their iterates would not stay in the cache.
    bytes_each = max(1, work.numbers) * work.itemsize
    least = LIMITS.vector if compiled else 1
    limit = max(least, int(LIMITS.iterate_bytes // bytes_each))
    # Not those of networks, which do much with each number: 1.3 times faster whole.
    if even > limit and not work.network:
        why = f"the iterates of {limit} lanes stay in a core's cache"
        return even_part(lanes, limit), why
    if parts > 1:
        few = "one schedule leaves" if number == 1 else f"{number} schedules leave"
        return even, f"{few} cores idle, so lanes are split"
    return even, "all lanes of a schedule read the same rows"


def _parts_of_lanes(work: Workload, cores: int) -> int:
    """Returns in how many calls the lanes of a schedule take the least time.

    A call that has several cores for itself shares its passes among them, and more
    calls than cores take turns. Few lanes fill registers badly, so that half of them
    take more than half of the time.
    """
    number, lanes = len(work.schedules), work.lanes
    alone = STEP["cpu, compiled pass"].alone
    best, chosen = math.inf, 1
    for parts in range(1, min(cores // math.gcd(number, cores), lanes) + 1):
        some, calls = math.ceil(lanes / parts), number * parts
        seconds = work.cost(some, 1).kernel_seconds
        if seconds is None:
            break
        numbers = some * work.numbers
        seconds = alone * numbers + kernels.shared_seconds(
            max(1, cores // calls), batch_entries=1, seconds=seconds, numbers=numbers
        )
        seconds *= max(1, calls / cores)
        if seconds < best - LIMITS.part_seconds:
            best, chosen = seconds, parts
    return chosen


class Width(NamedTuple):
    """How many arrivals go through together, and what was expected of each choice.

    Attributes:
        width: W, a power of two; 1 is common.
        kind: key of the table `STEP`, "" where nothing was to be decided.
        seconds: width -> estimated seconds per arrival and schedule.
        fill: width -> share of the places of waves that hold an arrival.
        why: in words.
    """

    width: int
    kind: str = ""
    seconds: Mapping[int, float] = MappingProxyType({})
    fill: Mapping[int, float] = MappingProxyType({})
    why: str = "given by the caller"


def choose_width(work: Workload, lanes: int, cores: int) -> Width:
    """Returns the number of arrivals per wave that should be fastest.

    The time of a run is modelled as (waves) x (cost of a step + W x cost of a
    gradient), and the schedules say how many waves there are. Short runs have W = 1.

    Args:
        work: the run.
        lanes: of one call.
        cores: of a CPU that may share the compiled passes of a call.
    """
    cost = work.cost(lanes, cores)
    kind = _kind(work, cost)
    if kind is None:
        why = "a gradient without rows of data is too short on a CPU for waves to gain"
        return Width(1, why=why)
    step, batch = STEP[kind], len(work.schedules) if kind == "gpu" else 1

    def seconds(width: int, fill: float) -> float:
        return _seconds_per_arrival(work, cost, step, lanes, cores, batch, width) / fill

    alone = seconds(1, 1.0)
    runs = len(work.schedules) * len(work.schedules[0])
    most = min(alone / LIMITS.wave_gain, alone - LIMITS.wave_seconds / runs)
    found, fills, chosen, best = {1: alone}, {1: 1.0}, 1, most
    for width in step.widths:
        found[width] = seconds(width, 1.0)
        if found[width] >= best:
            continue
        fills[width] = _fill(work, width)
        found[width] = seconds(width, fills[width])
        if found[width] < best:
            best, chosen = found[width], width
    why = f"waves of {chosen} should take {best / alone:.2f} of single arrivals"
    if chosen == 1:
        saved = (alone - min(found.values())) * runs
        why = "no wave is expected to be faster"
        if saved > 0:
            why = f"waves would save {saved:.2g} s of the run at most, too little"
    return Width(chosen, kind, found, fills, why)


def _kind(work: Workload, cost: GradientCost) -> str | None:
    """Returns the row of the table `STEP`, None where waves are not worth a thought."""
    if work.batching == "vmap":
        return "gpu"
    if not cost.rows:
        return None
    if cost.kernel_seconds is not None:
        return "cpu, compiled pass"
    if cost.copies_rows and not work.folds:
        return "cpu, copied rows"
    return "cpu, mini-batches" if cost.scattered else "cpu, all rows"


def _seconds_per_arrival(
    work: Workload,
    cost: GradientCost,
    step: StepCost,
    lanes: int,
    cores: int,
    batch: int,
    width: int,
) -> float:
    """Returns the estimated seconds of an arrival of each schedule in full waves."""
    iterates = lanes * work.numbers
    # The rows are gathered, read for two products and so are their copies; of the
    # iterates there are the read one, the gradient and the new one.
    numbers = 5 * cost.data + 6 * iterates
    gradients = width * (
        cost.multiplications * step.multiplication + numbers * step.number
    )
    if cost.kernel_seconds is not None and work.batching == "single":
        gradients = kernels.shared_seconds(
            cores, batch_entries=width, seconds=cost.kernel_seconds, numbers=iterates
        )
    if width == 1:
        return step.step / batch + step.entry + step.alone * iterates + gradients
    wave = step.wave * step.step / width + (step.fold if work.folds else 0)
    moved = step.moved if width * iterates <= step.near else step.far
    moved += step.transposed * (lanes > 1 and work.network)
    entry = step.entry + moved * iterates + step.batched * gradients / width
    return wave / batch + entry


def _fill(work: Workload, width: int) -> float:
    """Share of the places of waves that hold an arrival, by some of the schedules."""
    some = work.schedules[:: -(-len(work.schedules) // LIMITS.asked)]
    ends = [waves_at_records(s, width, work.record_every) for s in some]
    waves = padded_waves(ends, width, work.record_every)
    return len(work.schedules[0]) / (len(ends[0]) * waves * width)


def segment_arrivals(work: Workload, lanes: int, wanted: float) -> int:
    """Returns how many arrivals take about the wanted seconds; a rough estimate."""
    cost = work.cost(lanes, 1)
    step, operations = LIMITS.single if work.batching == "single" else LIMITS.vmap
    batch = len(work.schedules) if work.batching == "vmap" else 1
    seconds = step + 4 * batch * lanes * (cost.data + work.numbers) / operations
    fewest = len(work.schedules[0]) // LIMITS.segments
    return max(1, int(wanted / seconds), fewest)
