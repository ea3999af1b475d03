"""Schedules that share a compiled program, and the batches that they run in."""

import copy
import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from asgrad_jax._util.machine import usable_cores
from asgrad_jax._util.settings import fixed
from asgrad_jax.engine import cost
from asgrad_jax.engine import program as engine
from asgrad_jax.engine.arrival import Batching, Carry, ProgramKey
from asgrad_jax.engine.cost import (
    Width,
    Workload,
    choose_width,
    divide,
    segment_arrivals,
)
from asgrad_jax.engine.devices import PRECISIONS, abstract, default_batching
from asgrad_jax.engine.memory import (
    MemoryPlan,
    free_memory,
    host_bytes,
    memory_plan,
    raise_too_large,
)
from asgrad_jax.engine.rows import (
    ProgramShape,
    is_network,
    plan_all_slots,
    plan_shape,
    static_of,
)
from asgrad_jax.engine.server import asks, own_state, rule_numbers
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.experiments.folder import lane_config_keys, schedule_key
from asgrad_jax.problems.problem import gradient_cost
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.slots import SlotPlan


class Batch(NamedTuple):
    """Schedules and lanes that go through one compiled program together."""

    schedules: tuple[int, ...]
    lanes: slice


def workload(
    experiment: Experiment,
    schedules: Sequence[Schedule],
    lanes: int,
    batching: Batching,
) -> Workload:
    """Returns what is to be cut into calls and waves."""
    start = experiment.init_params
    return Workload(
        schedules=schedules,
        lanes=lanes,
        numbers=sum(np.size(leaf) for leaf in jax.tree.leaves(start)),
        itemsize=PRECISIONS[experiment.precision]().itemsize,
        cost_of=functools.partial(gradient_cost, experiment.problem),
        network=is_network(start),
        folds=experiment.server is not None
        or any(s.table is not None or s.accept is not None for s in schedules),
        record_every=experiment.record_every,
        batching=batching,
        kernels=experiment.kernels,
    )


class ProgramGroup:
    """Schedules that share one compiled program, and how they are cut into batches."""

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
        self.config_keys = lane_config_keys(hyper)
        self.hyper = {name: v.astype(self.dtype) for name, v in hyper.items()}
        numbers = [rule_numbers(s.server_rule) for s in schedules]
        self.rule_numbers = {
            name: np.array([own[name] for own in numbers], self.dtype)
            for name in numbers[0]
        }
        self.batching = experiment.batching or default_batching()
        self.work = workload(
            experiment, schedules, self.config_keys.shape[1], self.batching
        )
        cores = experiment.threads or usable_cores()
        self.division = divide(
            self.work,
            cores=cores * experiment.processes,
            take_turns=experiment.threads is None,
        )
        if experiment.processes > 1:  # a call has the cores of one of them
            self.division = self.division._replace(
                cores=min(self.division.cores, cores)
            )
        self.threads = math.ceil(self.division.threads / experiment.processes)
        lanes = self.division.lanes
        if experiment.width is None:
            self.waves = choose_width(self.work, lanes, self.division.cores)
        else:
            self.waves = Width(experiment.width)
        width = self.waves.width
        self.plans = self._plan_slots(width)
        self.batch, self.lanes = self._fit(lanes)
        self.shape = self._shape(self.lanes)
        self.static = self._static(self.shape)

    def _static(self, shape: ProgramShape) -> ProgramKey:
        experiment = self.experiment
        return static_of(
            shape,
            self.batching,
            experiment.server,
            experiment.metrics,
            self.cores,
            experiment.buffer,
            experiment.strides,
            experiment.init_params,
        )

    @property
    def cores(self) -> int:
        """Cores that may share one call's kernels; 0 without kernels."""
        return self.division.cores if self.experiment.kernels else 0

    @property
    def width(self) -> int:
        """Arrivals per wave."""
        return self.plans[0].width

    def _plan_slots(self, width: int) -> list[SlotPlan]:
        every = self.experiment.record_every
        return plan_all_slots(self.schedules, width=width, record_every=every)

    def _shape(self, lanes: int) -> ProgramShape:
        server = self.experiment.server
        numbers = tuple((name, ()) for name in (*self.hyper, *self.rule_numbers))

        def plan(segment_arrivals: int) -> ProgramShape:
            return plan_shape(
                self.schedules,
                self.plans,
                lanes,
                params=self.experiment.init_params,
                record_every=self.experiment.record_every,
                batching=self.batching,
                segment_arrivals=segment_arrivals,
                oldest=server is not None and asks(server, "max_delay", numbers),
            )

        whole = segment_arrivals(self.work, lanes, cost.LIMITS.segment_seconds)
        planned, turns = plan(whole), self.division.turns
        # Twice as often as they need to, because turns are not quite equal.
        turn = max(
            len(self.schedules[0]) // (2 * turns),
            segment_arrivals(self.work, lanes, cost.LIMITS.turn_seconds),
        )
        if turns > 1 and turn < whole:
            in_turns = plan(turn)
            if in_turns.fill > (1 - cost.LIMITS.padding) * planned.fill:
                return in_turns
        return planned

    def memory(self, batch: int, lanes: int, *, compiled: bool = True) -> MemoryPlan:
        """Returns what a call of `batch` schedules x `lanes` lanes needs."""
        shape = self._shape(lanes)
        return memory_plan(
            self.experiment.problem,
            self.experiment.init_params,
            shape,
            self._static(shape),
            [*self.hyper, *self.rule_numbers],
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
                finals=self._finals(shape) if self.experiment.finals else None,
            ),
            compiled=compiled,
        )

    def _finals(self, shape: ProgramShape) -> Any:
        """Returns the shapes of one lane's last iterate and server state."""
        start = abstract(self.experiment.init_params, self.dtype)
        if self.experiment.server is None:
            return start
        given = self.hyper | self.rule_numbers
        lane = {name: v[:1, None] for name, v in given.items()}
        begin = functools.partial(engine.start, static=self._static(shape))
        keys = np.zeros((1, 2), np.uint32)
        with fixed(x64=self.dtype().itemsize == 8):
            return start, own_state(jax.eval_shape(begin, start, lane, keys).opt_state)

    def _fit(self, lanes: int) -> tuple[int, int]:
        """Returns the largest schedules x lanes of one call that fit the budget."""
        asked = self.experiment.memory_budget
        budget = free_memory() if asked is None else asked
        batch = 1
        if self.batching == "vmap":
            batch = math.ceil(len(self.schedules) / self.experiment.processes)

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
                raise_too_large(self.memory(1, 1), budget)
        return batch, lanes

    def batches(self) -> list[Batch]:
        """Returns the batches that cover all schedules and lanes."""
        total = len(self.hyper["step_size"])
        return [
            Batch(
                tuple(range(first, min(first + self.batch, len(self.schedules)))),
                slice(lane, min(lane + self.lanes, total)),
            )
            for first in range(0, len(self.schedules), self.batch)
            for lane in range(0, total, self.lanes)
        ]

    def part(self, batch: Batch) -> "ProgramGroup":
        """Returns what another process needs for one batch, which is all of it there.

        What all batches share goes apart; `with_experiment` puts it back.
        """
        part: Any = copy.copy(self)
        for name in ("schedules", "plans", "seeds"):
            setattr(part, name, [getattr(self, name)[k] for k in batch.schedules])
        part.hyper = {name: v[batch.lanes] for name, v in self.hyper.items()}
        part.config_keys = self.config_keys[:, batch.lanes]
        part.experiment = part.work = part.static = None
        return part

    def with_experiment(self, experiment: Experiment) -> tuple["ProgramGroup", Batch]:
        """Returns a `part` with what it lacks, and the batch that is all of it."""
        self.experiment = experiment
        self.static = self._static(self.shape)
        everything = slice(0, self.config_keys.shape[1])
        return self, Batch(tuple(range(len(self.schedules))), everything)

    def key(self, k: int) -> str:
        """Returns the address of a schedule in the store."""
        return schedule_key(self.schedules[k].content_hash, self.seeds[k])

    def batch_key(self, batch: Batch, carry: Carry) -> str:
        """Returns the address of a batch's checkpoint: its lanes and exact program."""
        state = jax.tree.map(lambda x: (x.shape, str(x.dtype)), carry)
        exact = self.shape, self.batching, self.cores, state
        digest = hashlib.sha256(repr(exact).encode())
        for k in batch.schedules:
            digest.update(self.key(k).encode())
        digest.update(self.config_keys[:, batch.lanes].tobytes())
        return digest.hexdigest()[:32]

    def arrivals(self, segment: int) -> int:
        """Returns the real arrivals of one segment, padding left out."""
        shape = self.shape
        each = shape.blocks * shape.block * shape.record_every
        return max(0, min(shape.arrivals - segment * each, each))
