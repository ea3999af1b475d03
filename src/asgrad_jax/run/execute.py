"""Runs schedules x lanes: cut into calls that fit, spread, checkpointed, resumed."""

import concurrent.futures
import dataclasses
import hashlib
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from asgrad_jax.base.noise import noise_key
from asgrad_jax.plan.schedule import Schedule
from asgrad_jax.plan.slots import SlotPlan
from asgrad_jax.run import engine
from asgrad_jax.run.devices import (
    PRECISIONS,
    cast,
    default_layout,
    mesh_for,
    place,
    shard,
)
from asgrad_jax.run.layout import Shape, plan_all_slots, plan_shape, schedule_rows
from asgrad_jax.run.memory import (
    MemoryPlan,
    free_memory,
    host_bytes,
    memory_plan,
    refuse,
)
from asgrad_jax.run.server import Params, ServerFactory
from asgrad_jax.run.store import Store, schedule_key
from asgrad_jax.run.width import choose_width

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
# than that, all cores together do not do more than one. If schedules could take turns
# instead, splitting them has to pay for itself.
_FEWEST_ALONE, _FEWEST_SHARED = 8, 32
_CHECKPOINT_SHARE = 0.04  # of the time may go into checkpoints


class Outcome(NamedTuple):
    """What one schedule gave, on the host.

    Attributes:
        metrics: name -> [R + 1, S], the iterate's metrics at each record.
        finite: [R + 1, S] bool, whether every parameter and metric was finite.
        params: pytree with leaves [S, ...], the last iterate; None if not wanted.
    """

    metrics: dict[str, np.ndarray]
    finite: np.ndarray
    params: Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What every schedule and lane of a run shares.

    Attributes:
        problem: a problem on the host.
        params: x_0, leaves without a lane axis.
        record_every: arrivals between two records.
        server: hyper-parameters -> optax transformation; None is plain SGD.
        metrics: further (name, params -> scalar) pairs.
        precision: "float32" or "float64".
        width: arrivals per wave; None chooses.
        layout: how schedules share the device; None chooses.
        memory_budget: bytes; None is most of what is free.
        threads: calls at once on a CPU; None is one per core.
        finals: whether the last iterates are wanted.
    """

    problem: Any
    params: Params
    record_every: int
    server: ServerFactory | None = None
    metrics: tuple[tuple[str, Callable], ...] = ()
    precision: str = "float32"
    width: int | None = None
    layout: engine.Layout | None = None
    memory_budget: int | None = None
    threads: int | None = None
    finals: bool = True


class Call(NamedTuple):
    """Schedules and lanes that go through one compiled program together."""

    schedules: tuple[int, ...]
    lanes: slice


class Stopped(Exception):
    """The run was asked to stop; what is finished is kept."""


def execute(
    experiment: Experiment,
    schedules: Sequence[Schedule],
    seeds: Sequence[int],
    hyper: dict[str, np.ndarray],
    *,
    store: Store | None = None,
    only: Collection[int] | None = None,
    on_progress: Callable[[int], None] = lambda gradients: None,
) -> dict[int, Outcome]:
    """Runs every schedule with every lane, whatever the mix of methods.

    Schedules with and without a gradient table are compiled apart, so that the others
    do not pay for it; there is one program for each kind.

    Args:
        experiment: what all share.
        schedules: K schedules of the same length A.
        seeds: K seeds of the mini-batch noise.
        hyper: name -> [S] values, one per lane; `step_size` among them.
        store: where finished lanes and checkpoints go.
        only: the schedules that must run; None is all. The others count in the plan,
            so that a resumed run has the calls of the first.
        on_progress: called with the number of gradients just computed, over all lanes;
            from several threads, never at the same time.

    Returns:
        Outcomes by schedule.

    Raises:
        MemoryError: if not even one lane fits.
    """
    wanted = set(range(len(schedules)) if only is None else only)
    outcomes: dict[int, Outcome] = {}
    for chosen in _buckets(schedules):
        if wanted.intersection(chosen):
            bucket = _bucket(experiment, schedules, seeds, hyper, chosen)
            done = bucket.run(
                [i for i, k in enumerate(chosen) if k in wanted], store, on_progress
            )
            outcomes.update({chosen[i]: outcome for i, outcome in done.items()})
    return outcomes


def plan_calls(
    experiment: Experiment,
    schedules: Sequence[Schedule],
    seeds: Sequence[int],
    hyper: dict[str, np.ndarray],
) -> list[tuple[int, int, MemoryPlan]]:
    """Returns (calls, segments per call, memory of a call) per compiled program."""
    plans = []
    for chosen in _buckets(schedules):
        bucket = _bucket(experiment, schedules, seeds, hyper, chosen)
        memory = bucket.memory(bucket.batch, bucket.lanes)
        plans.append((len(bucket.calls()), bucket.shape.segments, memory))
    return plans


def _buckets(schedules: Sequence[Schedule]) -> list[list[int]]:
    """Returns the schedules without and with a gradient table, where there are any."""
    kinds = [
        [k for k, s in enumerate(schedules) if (s.table is not None) == with_table]
        for with_table in (False, True)
    ]
    return [chosen for chosen in kinds if chosen]


def _bucket(experiment, schedules, seeds, hyper, chosen) -> "Bucket":
    return Bucket(
        experiment, [schedules[k] for k in chosen], [seeds[k] for k in chosen], hyper
    )


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
        self.points = np.stack([hyper[name] for name in sorted(hyper)])
        self.hyper = {name: v.astype(self.dtype) for name, v in hyper.items()}
        self.layout = experiment.layout or default_layout()
        self.threads, parts, self.turns = 1, 1, 1
        if self.layout == "single":
            cores = experiment.threads or len(os.sched_getaffinity(0))
            lanes = len(hyper["step_size"])
            # Where schedules do not keep all cores busy, their lanes are split too.
            parts = cores // math.gcd(len(schedules), cores)
            few = len(schedules) < cores
            fewest = _FEWEST_ALONE if few else _FEWEST_SHARED
            parts = max(1, min(parts, lanes // fewest))
            calls = len(schedules) * parts
            self.threads = min(calls, cores)
            # JAX runs a call per core, first come, first served. If those that would be
            # left over are in the queue from the start, all take turns segment by
            # segment, and no core idles while the last ones run.
            if experiment.threads is None and cores < calls < 4 * cores:
                self.threads += calls % cores
                self.turns = cores // math.gcd(calls, cores)
        self.plans = self._plan_slots(experiment.width or self._choose_width(parts))
        self.batch, self.lanes = self._fit(parts)
        self.shape = self._shape(self.lanes)
        self.static = self._static(self.shape)

    def _static(self, shape: Shape) -> engine.Static:
        # The table has a scratch row of its own, for padding.
        return engine.Static(
            form=shape.form,
            layout=self.layout,
            server=self.experiment.server,
            metrics=self.experiment.metrics,
            slots=shape.slots,
            table_rows=shape.table_rows + 1 if shape.table_rows else 0,
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

    def _choose_width(self, parts: int) -> int:
        problem = self.experiment.problem
        data, params = self._sizes()
        lanes = math.ceil(len(self.hyper["step_size"]) / parts)
        batch = getattr(problem, "batch_size", None)
        # Problems that are not made of rows have no counts.
        shard = np.max(getattr(problem, "counts", 1))
        rows = min(batch or shard, shard)
        data *= rows / shard
        return choose_width(
            self.schedules,
            multiplications=lanes * max(data, rows * params),
            # The shard is gathered, read for two products and so are its copies; of the
            # iterates there are the read one, the gradient and the new one.
            numbers=5 * data + 6 * lanes * params,
            rows=hasattr(problem, "counts"),
            samples=batch is not None,
            folds=self.experiment.server is not None
            or any(s.table is not None or s.accept is not None for s in self.schedules),
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

    def _fit(self, parts: int) -> tuple[int, int]:
        """Returns the largest schedules x lanes of one call that fit the budget."""
        asked = self.experiment.memory_budget
        budget = free_memory() if asked is None else asked
        batch = len(self.schedules) if self.layout == "vmap" else 1
        lanes = math.ceil(len(self.hyper["step_size"]) / parts)

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

    def run(
        self,
        wanted: Collection[int],
        store: Store | None,
        on_progress: Callable[[int], None],
    ) -> dict[int, Outcome]:
        """Runs the calls of the wanted schedules and puts their lanes together."""
        calls = [c for c in self.calls() if any(k in wanted for k in c.schedules)]
        stop = threading.Event()
        lock = threading.Lock()

        def report(gradients: int) -> None:
            with lock:
                on_progress(gradients)

        def run_call(call: Call) -> list[Outcome]:
            # The x64 flag belongs to the thread, so every thread sets its own.
            with jax.enable_x64(self.experiment.precision == "float64"):
                return self._run_call(call, store, stop, report)

        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            futures = [pool.submit(run_call, call) for call in calls]
            try:
                done = [future.result() for future in futures]
            except BaseException:
                # Ctrl-C, or an error in one call: the others stop at their next
                # segment, with a checkpoint.
                stop.set()
                for future in futures:
                    future.cancel()
                raise
        parts: dict[int, list[Outcome]] = {}
        for call, outcomes in zip(calls, done, strict=True):
            for k, outcome in zip(call.schedules, outcomes, strict=True):
                parts.setdefault(k, []).append(outcome)
        return {k: _join(found) for k, found in parts.items()}

    def _run_call(
        self,
        call: Call,
        store: Store | None,
        stop: threading.Event,
        report: Callable[[int], None],
    ) -> list[Outcome]:
        shape, experiment = self.shape, self.experiment
        batch = len(call.schedules)
        hyper = {n: np.tile(v[call.lanes], (batch, 1)) for n, v in self.hyper.items()}
        lanes = hyper["step_size"].shape[1]
        rows = [
            schedule_rows(self.schedules[k], self.plans[k], shape, self.dtype)
            for k in call.schedules
        ]
        keys = np.stack([noise_key(self.seeds[k]) for k in call.schedules])
        mesh = mesh_for(self.layout, batch, lanes)
        problem = place(experiment.problem, experiment.precision, mesh)
        hyper = shard(hyper, mesh, "schedules", "lanes")
        keys = shard(keys, mesh, "schedules")
        carry, initial = engine.start(
            problem, cast(experiment.params, self.dtype), hyper, static=self.static
        )
        first = {str(k): np.tile(v, (batch, 1, lanes)) for k, v in initial.items()}
        parts: list[dict[str, np.ndarray]] = [first]
        done = 0
        key = self._call_key(call)
        checkpoint = store.restore(key) if store else None
        if checkpoint:
            done, carry_leaves, values = checkpoint
            carry = jax.device_put(
                jax.tree.unflatten(jax.tree.structure(carry), carry_leaves),
                jax.tree.map(lambda x: x.sharding, carry),
            )
            parts = [values]
            report(sum(self._arrivals(s) for s in range(done)) * batch * lanes)
        following = shard(_stack_segment(rows, done), mesh, "schedules")
        started, spent = time.monotonic(), 0.0
        for segment in range(done, shape.segments):
            if stop.is_set():
                raise Stopped
            carry, values = engine.advance(
                problem, carry, following, hyper, keys, static=self.static
            )
            if segment + 1 < shape.segments:  # while the device is busy
                following = _stack_segment(rows, segment + 1)
                following = shard(following, mesh, "schedules")
            parts.append(jax.device_get(values))
            report(self._arrivals(segment) * batch * lanes)
            last = segment + 1 == shape.segments
            now = time.monotonic()
            due = spent <= _CHECKPOINT_SHARE * (now - started) or stop.is_set()
            if store and not last and due:
                parts = [_concatenate(parts)]
                leaves = jax.device_get(jax.tree.leaves(carry))
                store.checkpoint(key, segment + 1, leaves, parts[0])
                spent += time.monotonic() - now
        values = {
            name: column[:, : shape.records + 1]
            for name, column in _concatenate(parts).items()
        }
        if store:
            for i, k in enumerate(call.schedules):
                store.finish(
                    self.key(k),
                    self.points[:, call.lanes],
                    {name: column[i] for name, column in values.items()},
                )
            store.forget(key)
        finals = jax.device_get(carry.params) if experiment.finals else None
        if self.layout == "single":
            finals = jax.tree.map(lambda x: x[None], finals)
        finite = values.pop("finite")
        return [
            Outcome(
                {name: column[i] for name, column in values.items()},
                finite[i],
                jax.tree.map(lambda x, i=i: x[i], finals),
            )
            for i in range(batch)
        ]

    def key(self, k: int) -> str:
        """Returns the address of a schedule in the store."""
        return schedule_key(self.schedules[k].content_hash, self.seeds[k])

    def _call_key(self, call: Call) -> str:
        """Returns the address of a call's checkpoint: its lanes and its exact shape."""
        digest = hashlib.sha256(repr((self.shape, self.layout)).encode())
        for k in call.schedules:
            digest.update(self.key(k).encode())
        digest.update(self.points[:, call.lanes].tobytes())
        return digest.hexdigest()[:32]

    def _arrivals(self, segment: int) -> int:
        """Returns the real arrivals of one segment, padding left out."""
        shape = self.shape
        each = shape.blocks * shape.block * shape.record_every
        return max(0, min(shape.arrivals - segment * each, each))


def _stack_segment(rows: Sequence[engine.Rows], segment: int) -> engine.Rows:
    return jax.tree.map(lambda *x: np.stack([y[segment] for y in x]), *rows)


def _concatenate(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Joins the records of successive segments, [K, R, S] each."""
    return {k: np.concatenate([part[k] for part in parts], axis=1) for k in parts[0]}


def _join(parts: Sequence[Outcome]) -> Outcome:
    """Joins the lanes of one schedule that went through in several calls."""
    if len(parts) == 1:
        return parts[0]
    return Outcome(
        {
            name: np.concatenate([p.metrics[name] for p in parts], axis=1)
            for name in parts[0].metrics
        },
        np.concatenate([p.finite for p in parts], axis=1),
        jax.tree.map(lambda *x: np.concatenate(x), *(p.params for p in parts)),
    )
