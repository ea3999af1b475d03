"""Runs schedules x lanes: spread over the cores, checkpointed, resumed."""

import concurrent.futures
import dataclasses
import operator
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from asgrad_jax._util.settings import fixed, looks_back, of_this_thread
from asgrad_jax.engine import program as engine
from asgrad_jax.engine.arrival import Carry, Rows
from asgrad_jax.engine.cost import Division, Width
from asgrad_jax.engine.devices import (
    cast,
    from_saved,
    mesh_for,
    on_host,
    place,
    shard,
    to_saved,
)
from asgrad_jax.engine.memory import MemoryPlan
from asgrad_jax.engine.rows import due_records, record_is_due, schedule_rows
from asgrad_jax.engine.server import Params, own_state, ruled
from asgrad_jax.experiments.calls import Batch, ProgramGroup
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.experiments.folder import Store
from asgrad_jax.problems.sampling import minibatch_key
from asgrad_jax.schedules.schedule import Schedule

# Work that a checkpoint must save at least, and share of the time that all may take.
_CHECKPOINT_SECONDS, _CHECKPOINT_SHARE = 1.0, 0.02


class Outcome(NamedTuple):
    """What one schedule gave, on the host.

    Attributes:
        metrics: name -> [R + 1, S], the iterate's metrics at each record; NaN where
            one with a stride is not computed.
        finite: [R + 1, S] bool, whether every parameter and every metric of the
            problem was finite; a user's own metric may be otherwise.
        params: pytree with leaves [S, ...], the last iterate; None if not wanted.
        state: pytree with leaves [S, ...], the server's last state; None likewise, and
            under plain SGD.
    """

    metrics: dict[str, np.ndarray]
    finite: np.ndarray
    params: Params
    state: Any


#: Runs the batches of a group that have missing lanes, [K, S]; outcomes by schedule.
RunGroup = Callable[
    [ProgramGroup, np.ndarray, Store | None, Callable[[int], None]], dict[int, Outcome]
]


class Stop(Protocol):
    """Says whether calls are to end at their next segment, as threading.Event does."""

    def is_set(self) -> bool: ...


class Stopped(Exception):
    """The run was asked to stop; what is finished is kept."""


def execute(
    experiment: Experiment,
    schedules: Sequence[Schedule],
    seeds: Sequence[int],
    hyper: dict[str, np.ndarray],
    *,
    store: Store | None = None,
    missing: np.ndarray | None = None,
    on_progress: Callable[[int], None] = lambda gradients: None,
    run_group: RunGroup | None = None,
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
        missing: [K, S] bool, the lanes of each schedule that must run; None is all.
            The others count in the plan, so that a resumed run has the calls of the
            first; a call without any missing lane is left out.
        on_progress: called with the number of gradients just computed, over all missing
            lanes; from several threads, never at the same time.
        run_group: what runs the calls of a program; None is this process.

    Returns:
        Outcomes by schedule.

    Raises:
        MemoryError: if not even one lane fits.
    """
    if missing is None:
        missing = np.ones((len(schedules), len(hyper["step_size"])), bool)
    outcomes: dict[int, Outcome] = {}
    for chosen in _by_program(schedules):
        if missing[chosen].any():
            group = _group(experiment, schedules, seeds, hyper, chosen)
            run = run_group or _run_group
            done = run(group, missing[chosen], store, on_progress)
            outcomes.update({chosen[i]: outcome for i, outcome in done.items()})
    return outcomes


_NO_ROOM = "the memory budget has no room for more"


class ProgramPlan(NamedTuple):
    """How the schedules of one compiled program would be run, and why.

    Attributes:
        calls: of the program.
        segments: jitted calls in each.
        division: of the cores.
        waves: how many arrivals go through together.
        memory: of a call.
    """

    calls: int
    segments: int
    division: Division
    waves: Width
    memory: MemoryPlan

    def __str__(self) -> str:
        each = " each" * (self.calls > 1)
        d, w = self.division, self.waves
        cut = f"{counted(self.calls, 'call')} of {counted(self.segments, 'segment')}"
        lines = [
            f"{cut}{each}",
            f"  {counted(d.lanes, 'lane')} in a call: {d.why}",
            f"  {counted(d.threads, 'call')} at once, {counted(d.cores, 'core')} each",
            f"  waves of W = {w.width}: {w.why}",
        ]
        if w.seconds:
            tried = (f"W = {k} {1e6 * s:.3g}" for k, s in w.seconds.items())
            lines.append(f"    microseconds per arrival ({w.kind}): {', '.join(tried)}")
        return "\n".join([*lines, str(self.memory)])


def counted(number: int, what: str) -> str:
    """Returns a number with its noun.

    Example:
        >>> counted(1, "call"), counted(1200, "lane")
        ('1 call', '1,200 lanes')
    """
    return f"{number:,} {what}{'s' * (number != 1)}"


def plan_programs(
    experiment: Experiment,
    schedules: Sequence[Schedule],
    seeds: Sequence[int],
    hyper: dict[str, np.ndarray],
) -> list[ProgramPlan]:
    """Returns how each compiled program of a run would be cut into calls."""
    plans = []
    for chosen in _by_program(schedules):
        group = _group(experiment, schedules, seeds, hyper, chosen)
        division, waves = group.division, group.waves
        if group.lanes < division.lanes:
            division = division._replace(lanes=group.lanes, why=_NO_ROOM)
        if group.width < waves.width:
            waves = waves._replace(width=group.width, why=_NO_ROOM)
        plans.append(
            ProgramPlan(
                calls=len(group.batches()),
                segments=group.shape.segments,
                division=division._replace(threads=group.threads),
                waves=waves,
                memory=group.memory(group.batch, group.lanes),
            )
        )
    return plans


def _by_program(schedules: Sequence[Schedule]) -> list[list[int]]:
    """Returns the schedules without and with a gradient table, where there are any.

    Those with the same rule for the server are together: its numbers may differ.
    """
    kinds: dict[Any, list[int]] = {}
    for k, s in enumerate(schedules):
        rule = ruled(None, s.server_rule)
        kinds.setdefault((s.table is not None, rule), []).append(k)
    order = sorted(kinds, key=lambda kind: (kind[1] is not None, kind[0]))
    return [kinds[kind] for kind in order]


def _group(experiment, schedules, seeds, hyper, chosen) -> ProgramGroup:
    server = ruled(experiment.server, schedules[chosen[0]].server_rule)
    return ProgramGroup(
        dataclasses.replace(experiment, server=server),
        [schedules[k] for k in chosen],
        [seeds[k] for k in chosen],
        hyper,
    )


def wanted_batches(group: ProgramGroup, missing: np.ndarray) -> list[Batch]:
    """Returns the batches that have a missing lane."""
    return [b for b in group.batches() if missing[list(b.schedules), b.lanes].any()]


def _run_group(
    group: ProgramGroup,
    missing: np.ndarray,
    store: Store | None,
    on_progress: Callable[[int], None],
) -> dict[int, Outcome]:
    """Runs the batches with missing lanes and puts the lanes of schedules together."""
    batches = wanted_batches(group, missing)
    first = first_values(group)
    carried = of_this_thread()
    stop = threading.Event()
    lock = threading.Lock()
    raised: list[BaseException] = []

    def report(gradients: int) -> None:
        with lock:
            try:
                on_progress(gradients)
            except BaseException as error:
                # A failing progress callback must not kill the worker before it writes
                # its checkpoint.
                raised.append(error)
                stop.set()

    def run_one(batch: Batch) -> list[Outcome]:
        # JAX's settings belong to a thread, so every thread sets its own.
        with carried(), fixed(x64=group.experiment.precision == "float64"):
            wanted = int(missing[list(batch.schedules), batch.lanes].sum())
            return run_batch(group, batch, wanted, first, store, stop, report)

    done: list[list[Outcome]] = []
    with concurrent.futures.ThreadPoolExecutor(group.threads) as pool:
        futures = [pool.submit(run_one, batch) for batch in batches]
        try:
            # In the order of their ends, so that an error is seen at once.
            for future in concurrent.futures.as_completed(futures):
                future.result()
            done = [future.result() for future in futures]
        except BaseException:
            # Ctrl-C, or an error in one batch: the others stop at their next
            # segment, with a checkpoint.
            stop.set()
            for future in futures:
                future.cancel()
            if not raised:
                raise
    if raised:
        raise raised[0]
    return join_batches(batches, done)


def join_batches(
    batches: Sequence[Batch], outcomes: Sequence[list[Outcome]]
) -> dict[int, Outcome]:
    """Puts the lanes of each schedule together that went through several batches."""
    parts: dict[int, list[Outcome]] = {}
    for batch, done in zip(batches, outcomes, strict=True):
        for k, outcome in zip(batch.schedules, done, strict=True):
            parts.setdefault(k, []).append(outcome)
    return {k: _join(found) for k, found in parts.items()}


def first_values(group: ProgramGroup) -> dict[str, np.ndarray]:
    """Returns the metrics of x_0, which all lanes share, [] each."""
    metrics = group.experiment.metrics
    with fixed(x64=group.experiment.precision == "float64"):
        _, problem, params = _placed(group, group.batch)
        values = engine.first_values(
            problem, params, metrics=metrics, cores=min(group.cores, 1)
        )
        return jax.device_get(values)


def _placed(group: ProgramGroup, batch: int) -> tuple[Mesh | None, Any, Params]:
    """Returns the devices of a call of `batch` schedules, and problem and x_0 there."""
    experiment = group.experiment
    mesh = mesh_for(group.batching, batch, group.lanes)
    problem = place(experiment.problem, experiment.precision, mesh)
    return mesh, problem, shard(cast(experiment.init_params, group.dtype), mesh)


def run_batch(
    group: ProgramGroup,
    batch: Batch,
    wanted: int,
    first: dict[str, np.ndarray],
    store: Store | None,
    stop: Stop,
    report: Callable[[int], None],
) -> list[Outcome]:
    """Runs one batch segment by segment, from its checkpoint if there is one.

    What it computes counts for its wanted lanes only; others may be there already.
    """
    segments = group.shape.segments
    mesh, problem, hyper, keys, carry = _inputs(group, batch)
    rows = [
        schedule_rows(group.schedules[k], group.plans[k], group.shape, group.dtype)
        for k in batch.schedules
    ]
    size = (len(batch.schedules), 1, group.lanes)
    parts = [{name: np.full(size, value) for name, value in first.items()}]
    if engine.with_state(group.static.metrics):
        of_state = engine.first_values_with_state(carry, static=group.static)
        parts[0] |= {k: v[:, None] for k, v in jax.device_get(of_state).items()}
    for name, _ in group.static.strides:
        parts[0][name] = parts[0][name].astype(group.dtype)
    due_at = due_records(group.shape, group.static.strides)
    done = 0
    key = group.batch_key(batch, carry)
    if store and (checkpoint := store.restore(key)):
        done, saved, values = checkpoint
        carry = from_saved(carry, saved)
        parts = [values]
        report(sum(group.arrivals(s) for s in range(done)) * wanted)
    following = shard(_stack_segment(rows, done), mesh, "schedules")
    advance = engine.advance_without_donation if looks_back() else engine.advance
    started = saved_at = time.monotonic()
    spent = 0.0
    for segment in range(done, segments):
        if stop.is_set():
            raise Stopped
        carry, values = advance(
            problem,
            carry,
            following,
            hyper,
            keys,
            jax.tree.map(operator.itemgetter(segment), due_at),
            static=group.static,
        )
        if segment + 1 < segments:  # while the device is busy
            following = _stack_segment(rows, segment + 1)
            following = shard(following, mesh, "schedules")
        parts.append(jax.device_get(values))
        report(group.arrivals(segment) * wanted)
        last = segment + 1 == segments
        now = time.monotonic()
        due = now - saved_at >= _CHECKPOINT_SECONDS
        due &= spent <= _CHECKPOINT_SHARE * (now - started)
        if store and not last and (due or stop.is_set()):
            parts = [_concatenate(parts)]
            store.checkpoint(key, segment + 1, to_saved(carry), parts[0])
            saved_at = time.monotonic()
            spent += saved_at - now
    outcomes = _outcomes(group, batch, _concatenate(parts), carry)
    if store:
        for k, outcome in zip(batch.schedules, outcomes, strict=True):
            store.save_lanes(
                group.key(k),
                group.config_keys[:, batch.lanes],
                {**outcome.metrics, "finite": outcome.finite},
            )
        store.forget(key)
    return outcomes


def _inputs(group: ProgramGroup, batch: Batch):
    """Returns the devices of a batch, and what its program takes: on the devices."""
    # The last batch of a schedule may have fewer lanes: it is filled up with the last
    # one, or it would be another program.
    lanes = len(group.hyper["step_size"][batch.lanes])
    taken = np.minimum(np.arange(group.lanes), lanes - 1)
    schedules = len(batch.schedules)
    hyper = {
        name: np.tile(values[batch.lanes][taken], (schedules, 1))
        for name, values in group.hyper.items()
    }
    for name, values in group.rule_numbers.items():
        hyper[name] = np.repeat(
            values[list(batch.schedules), None], group.lanes, axis=1
        )
    keys = np.stack([minibatch_key(group.seeds[k]) for k in batch.schedules])
    mesh, problem, params = _placed(group, schedules)
    hyper = shard(hyper, mesh, "schedules", "lanes")
    keys = shard(keys, mesh, "schedules")
    carry = engine.start(params, hyper, keys, static=group.static)
    return mesh, problem, hyper, keys, carry


def _outcomes(
    group: ProgramGroup, batch: Batch, values: dict[str, np.ndarray], carry: Carry
) -> list[Outcome]:
    """Returns the outcome of every schedule of a batch, padding cut off."""
    lanes = len(group.hyper["step_size"][batch.lanes])
    values = {
        name: column[:, : group.shape.records + 1, :lanes]
        for name, column in values.items()
    }
    records = np.arange(group.shape.records + 1)
    for name, stride in group.static.strides:
        due = record_is_due(records, records[-1], stride)
        values[name] = np.where(due[:, None], values[name], np.nan)
    finals = (None, None)
    if group.experiment.finals:
        finals = on_host((carry.params, own_state(carry.opt_state)))
    if group.batching == "single":
        finals = jax.tree.map(lambda x: x[None], finals)
    finite = values.pop("finite")
    return [
        Outcome(
            {name: column[i] for name, column in values.items()},
            finite[i],
            *jax.tree.map(lambda x, i=i: x[i, :lanes], finals),
        )
        for i in range(len(batch.schedules))
    ]


def _stack_segment(rows: Sequence[Rows], segment: int) -> Rows:
    return jax.tree.map(lambda *x: np.stack([y[segment] for y in x]), *rows)


def _concatenate(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Joins the records of successive segments, [K, R, S] each."""
    return {k: np.concatenate([part[k] for part in parts], axis=1) for k in parts[0]}


def _join(parts: Sequence[Outcome]) -> Outcome:
    """Joins the lanes of one schedule that went through in several batches."""
    if len(parts) == 1:
        return parts[0]
    return Outcome(
        {
            name: np.concatenate([p.metrics[name] for p in parts], axis=1)
            for name in parts[0].metrics
        },
        np.concatenate([p.finite for p in parts], axis=1),
        *jax.tree.map(
            lambda *x: np.concatenate(x), *((p.params, p.state) for p in parts)
        ),
    )
