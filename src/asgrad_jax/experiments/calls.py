"""Schedules that share a compiled program, and how they are cut into calls that fit."""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from asgrad_jax._util.machine import usable_cores
from asgrad_jax.engine.arrival import Carry, Static
from asgrad_jax.engine.cost import choose_width
from asgrad_jax.engine.devices import PRECISIONS, default_layout
from asgrad_jax.engine.memory import (
    MemoryPlan,
    free_memory,
    host_bytes,
    memory_plan,
    refuse,
)
from asgrad_jax.engine.rows import (
    Shape,
    even_part,
    is_network,
    plan_all_slots,
    plan_shape,
    static_of,
)
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.experiments.folder import lane_points, schedule_key
from asgrad_jax.kernels._threads import cores_per_call, seconds_shared
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.slots import SlotPlan

# A segment should last about this long, by the estimate of `_segment_arrivals`: short
# enough to stop and to report, long enough to hide the call.
_SEGMENT_SECONDS = 0.5
# Seconds per step and operations per second: one core of a CPU, and a GPU. Only the
# segments depend on them.
_SPEED = {"single": (5e-6, 2e10), "vmap": (2e-5, 1e13)}
_MOST_SEGMENTS = 64
_TURN_SECONDS = 0.01  # of calls that take turns, at least, by the same estimate
_MOST_PADDING = 0.05  # that turns may add
# Fewest lanes of a part, where schedules are split over the cores of a CPU: with fewer
# than that, all cores together do not do more than one, but for networks. Passes over
# rows say how long they take: with what the rest of a step takes for each number of the
# iterates, another part must save so many seconds of a step. If schedules could take
# turns instead, splitting them has to pay for itself.
_MOVED, _SAVED = 3e-10, 5e-7
_FEWEST_ALONE, _FEWEST_SHARED = 8, 32
# Bytes of the iterates of one call's lanes that a core's own cache keeps, next to
# their gradients and those read and written.
_ITERATES = 2**19
_VECTOR = 8  # lanes of a compiled pass over rows, at least


class Call(NamedTuple):
    """Schedules and lanes that go through one compiled program together."""

    schedules: tuple[int, ...]
    lanes: slice


class Bucket:
    """Schedules that share one compiled program, and how they are cut into calls."""

    def __init__(
        self,
        experiment: Experiment,
        schedules: Sequence[Schedule],
        seeds: Sequence[int],
        hyper: dict[str, np.ndarray],
    ):
        self.experiment = experiment
        self.schedules = schedules
        self.seeds = seeds
        self.dtype = PRECISIONS[experiment.precision]
        self.points = lane_points(hyper)
        self.hyper = {name: v.astype(self.dtype) for name, v in hyper.items()}
        self.layout = experiment.layout or default_layout()
        self.threads, lanes, self.turns = 1, self.points.shape[1], 1
        self.cores = 1  # that share the compiled passes of one call
        if self.layout == "single":
            cores = experiment.threads or usable_cores()
            lanes = self._lanes_of_a_call(cores)
            calls = len(schedules) * math.ceil(self.points.shape[1] / lanes)
            self.threads = min(calls, cores)
            self.cores = cores // self.threads
            # JAX runs a call per core, first come, first served. If those that would be
            # left over are in the queue from the start, all take turns segment by
            # segment, and no core idles while the last ones run.
            if experiment.threads is None and cores < calls < 4 * cores:
                self.threads += calls % cores
                self.turns = cores // math.gcd(calls, cores)
        width = experiment.width or self._choose_width(lanes)
        self.plans = self._plan_slots(width)
        self.batch, self.lanes = self._fit(lanes)
        self.shape = self._shape(self.lanes)
        self.static = self._static(self.shape)

    def _static(self, shape: Shape) -> Static:
        experiment = self.experiment
        return static_of(
            shape,
            self.layout,
            experiment.server,
            experiment.metrics,
            self.cores,
        )

    @property
    def width(self) -> int:
        """Arrivals per wave."""
        return self.plans[0].width

    def _plan_slots(self, width: int) -> list[SlotPlan]:
        every = self.experiment.record_every
        return plan_all_slots(self.schedules, width=width, record_every=every)

    def _shape(self, lanes: int) -> Shape:
        def plan(segment_arrivals: int) -> Shape:
            return plan_shape(
                self.schedules,
                self.plans,
                lanes,
                params=self.experiment.params,
                record_every=self.experiment.record_every,
                layout=self.layout,
                segment_arrivals=segment_arrivals,
            )

        whole = self._segment_arrivals(lanes, _SEGMENT_SECONDS)
        planned = plan(whole)
        # Twice as often as they need to, because turns are not quite equal.
        turn = max(
            len(self.schedules[0]) // (2 * self.turns),
            self._segment_arrivals(lanes, _TURN_SECONDS),
        )
        if self.turns > 1 and turn < whole:
            in_turns = plan(turn)
            if in_turns.fill > (1 - _MOST_PADDING) * planned.fill:
                return in_turns
        return planned

    def _lanes_of_a_call(self, cores: int) -> int:
        """Returns how many lanes of a schedule go through together on a CPU."""
        lanes = self.points.shape[1]
        # Where schedules do not keep all cores busy, their lanes are split.
        parts = cores // math.gcd(len(self.schedules), cores)
        fewest = _FEWEST_SHARED
        if len(self.schedules) < cores:
            fewest = 1 if is_network(self.experiment.params) else _FEWEST_ALONE
        parts = max(1, min(parts, lanes // fewest))
        if len(self.schedules) < cores and self._pass_seconds(lanes) is not None:
            parts = self._parts_of_lanes(cores)
        even = math.ceil(lanes / parts)
        # And where their iterates would not stay in the cache.
        iterate = max(1, self._sizes()[1]) * self.dtype().itemsize
        at_once = _VECTOR if hasattr(self.experiment.problem, "pass_seconds") else 1
        limit = max(at_once, int(_ITERATES // iterate))
        return even if even <= limit else even_part(lanes, limit)

    def _pass_seconds(self, lanes: int) -> float | None:
        """Returns seconds of a gradient, if it is one compiled pass over rows."""
        ask = getattr(self.experiment.problem, "pass_seconds", None)
        with cores_per_call(self.cores):
            return None if ask is None else ask(lanes)

    def _parts_of_lanes(self, cores: int) -> int:
        """Returns in how many calls the lanes of a schedule take the least time.

        A call that has several cores for itself shares its passes among them, and more
        calls than cores take turns. Few lanes fill registers badly, so that half of
        them take more than half of the time.
        """
        number, lanes = len(self.schedules), self.points.shape[1]
        best, chosen = math.inf, 1
        for parts in range(1, min(cores // math.gcd(number, cores), lanes) + 1):
            some, calls = math.ceil(lanes / parts), number * parts
            if (alone := self._pass_seconds(some)) is None:
                break
            numbers = some * self._sizes()[1]
            seconds = _MOVED * numbers + seconds_shared(
                max(1, cores // calls), entries=1, seconds=alone, numbers=numbers
            )
            seconds *= max(1, calls / cores)
            if seconds < best - _SAVED:
                best, chosen = seconds, parts
        return chosen

    def _read(self) -> tuple[int, float]:
        """Returns how many rows one gradient reads, and how many numbers, about."""
        problem = self.experiment.problem
        # Problems that are not made of rows have no counts.
        shard = np.max(getattr(problem, "counts", 1))
        rows = min(getattr(problem, "batch_size", None) or shard, shard)
        return rows, self._sizes()[0] * rows / shard

    def _choose_width(self, lanes: int) -> int:
        problem, params = self.experiment.problem, self._sizes()[1]
        rows, data = self._read()
        apart = getattr(problem, "lanes_apart", None)
        return choose_width(
            self.schedules,
            multiplications=lanes * max(data, rows * params),
            data=data,
            iterates=lanes * params,
            rows=hasattr(problem, "counts"),
            pass_seconds=self._pass_seconds(lanes),
            cores=self.cores,
            samples=getattr(problem, "batch_size", None) is not None,
            folds=self.experiment.server is not None
            or any(s.table is not None or s.accept is not None for s in self.schedules),
            networks=lanes > 1 and is_network(self.experiment.params),
            apart=apart is not None and apart(lanes),
            record_every=self.experiment.record_every,
            layout=self.layout,
        )

    def _sizes(self) -> tuple[float, int]:
        """Returns numbers in the data of one worker, about, and in the parameters."""
        problem, params = self.experiment.problem, self.experiment.params
        data = sum(np.size(x) for x in jax.tree.leaves(problem)) / problem.num_workers
        return data, sum(np.size(x) for x in jax.tree.leaves(params))

    def _segment_arrivals(self, lanes: int, wanted: float) -> int:
        """Returns how many arrivals take about the wanted seconds; a rough estimate."""
        data, params = self._sizes()
        step, operations = _SPEED[self.layout]
        batch = len(self.schedules) if self.layout == "vmap" else 1
        seconds = step + 4 * batch * lanes * (data + params) / operations
        fewest = len(self.schedules[0]) // _MOST_SEGMENTS
        return max(1, int(wanted / seconds), fewest)

    def memory(self, batch: int, lanes: int, *, compiled: bool = True) -> MemoryPlan:
        """Returns what a call of `batch` schedules x `lanes` lanes needs."""
        shape = self._shape(lanes)
        return memory_plan(
            self.experiment.problem,
            self.experiment.params,
            shape,
            self._static(shape),
            self.hyper,
            self.dtype,
            schedules=batch,
            lanes=lanes,
            calls=self.threads,
            host=host_bytes(
                self.schedules,
                self.plans,
                shape,
                self.dtype,
                lanes=len(self.hyper["step_size"]),
                calls=self.threads * batch,
                num_metrics=2 + len(self.experiment.metrics),
                finals=self.experiment.params if self.experiment.finals else None,
            ),
            compiled=compiled,
        )

    def _fit(self, lanes: int) -> tuple[int, int]:
        """Returns the largest schedules x lanes of one call that fit the budget."""
        asked = self.experiment.memory_budget
        budget = free_memory() if asked is None else asked
        batch = len(self.schedules) if self.layout == "vmap" else 1

        def too_large() -> bool:
            # Compiling takes a while, so what only a program tells is asked for last.
            return any(
                self.memory(batch, lanes, compiled=compiled).total > budget
                for compiled in (False, True)
            )

        while too_large():
            # Lanes share a schedule's data, so schedules are split first.
            if batch > 1:
                batch = math.ceil(batch / 2)
            elif lanes > 1:
                lanes = math.ceil(lanes / 2)
            elif self.threads > 1:
                self.threads -= 1
            elif self.width > 1 and self.experiment.width is None:
                self.plans = self._plan_slots(1)
            else:
                refuse(self.memory(1, 1), budget)
        return batch, lanes

    def calls(self) -> list[Call]:
        """Returns the calls that cover all schedules and lanes."""
        total = len(self.hyper["step_size"])
        return [
            Call(
                tuple(range(first, min(first + self.batch, len(self.schedules)))),
                slice(lane, min(lane + self.lanes, total)),
            )
            for first in range(0, len(self.schedules), self.batch)
            for lane in range(0, total, self.lanes)
        ]

    def key(self, k: int) -> str:
        """Returns the address of a schedule in the store."""
        return schedule_key(self.schedules[k].content_hash, self.seeds[k])

    def call_key(self, call: Call, carry: Carry) -> str:
        """Returns the address of a call's checkpoint: its lanes and exact program."""
        state = jax.tree.map(lambda x: (x.shape, str(x.dtype)), carry)
        exact = self.shape, self.layout, self.cores, state
        digest = hashlib.sha256(repr(exact).encode())
        for k in call.schedules:
            digest.update(self.key(k).encode())
        digest.update(self.points[:, call.lanes].tobytes())
        return digest.hexdigest()[:32]

    def arrivals(self, segment: int) -> int:
        """Returns the real arrivals of one segment, padding left out."""
        shape = self.shape
        each = shape.blocks * shape.block * shape.record_every
        return max(0, min(shape.arrivals - segment * each, each))
