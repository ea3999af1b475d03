"""One jitted call of the engine, taken apart: its arguments, its memory, its steps."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from asgrad_jax.engine import program as engine
from asgrad_jax.engine.arrival import Batching, Carry, ProgramKey, Rows
from asgrad_jax.engine.devices import cast, mesh_for, place
from asgrad_jax.engine.rows import plan_all_slots, plan_shape, schedule_rows, static_of
from asgrad_jax.problems.sampling import minibatch_key


class Segment(NamedTuple):
    """The arguments of `engine.advance` for whole schedules in one call.

    Attributes:
        problem: on the device.
        carry: at x_0; abstract, `start` makes it.
        rows: all arrivals.
        hyper: step sizes [K, S].
        keys: [K, 2].
        static: see `arrival.ProgramKey`.
        params: x_0.
    """

    problem: Any
    carry: Carry
    rows: Rows
    hyper: dict[str, np.ndarray]
    keys: np.ndarray
    static: ProgramKey
    params: np.ndarray

    def start(self) -> Carry:
        """Returns the carry at x_0."""
        return engine.start(self.params, self.hyper, self.keys, static=self.static)

    def advance(self, carry: Carry) -> Carry:
        """Runs all arrivals; the carry is donated."""
        arguments = (self.problem, carry, self.rows, self.hyper, self.keys)
        carry, _ = engine.advance(*arguments, static=self.static)
        return jax.block_until_ready(carry)

    def lower(self):
        """Traces and lowers the program, nothing is placed or run."""
        arguments = (self.problem, self.carry, self.rows, self.hyper, self.keys)
        return engine.advance.lower(*arguments, static=self.static)

    def own_bytes(self) -> int:
        """Returns the bytes of the call besides the data and the schedule's rows."""
        memory = self.lower().compile().memory_analysis()
        # Not the arguments' size: it leaves out the rows that the program ignores.
        carry = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(self.carry))
        fresh = memory.output_size_in_bytes - memory.alias_size_in_bytes
        return carry + fresh + memory.temp_size_in_bytes


def segment(
    problem,
    schedules,
    lanes: int,
    *,
    batching: Batching = "single",
    slots: int | None = None,
    width: int = 1,
    server=None,
) -> Segment:
    """Puts whole schedules into one call.

    Args:
        problem: on the host.
        schedules: K schedules; one for the batching "single".
        lanes: S.
        batching: see `arrival.ProgramKey`.
        slots: iterates held, where it shall be more than planned.
        width: arrivals per wave.
        server: hyper-parameters -> optax transformation.

    Returns:
        The call in float32, without records but at the ends.
    """
    every = len(schedules[0])
    plans = plan_all_slots(schedules, width=width, record_every=every)
    params = cast(problem.init_params(), np.float32)
    shape = plan_shape(
        schedules,
        plans,
        lanes,
        params=params,
        record_every=every,
        batching=batching,
    )
    shape = dataclasses.replace(shape, slots=slots or shape.slots)
    rows = [
        schedule_rows(s, p, shape, np.float32)
        for s, p in zip(schedules, plans, strict=True)
    ]
    static = static_of(shape, batching, server)
    mesh = mesh_for(batching, len(schedules), lanes)
    placed = place(problem, "float32", mesh)
    hyper = {"step_size": np.full((len(schedules), lanes), 0.01, np.float32)}
    keys = np.stack([minibatch_key(k) for k in range(len(schedules))])
    carry = jax.eval_shape(
        functools.partial(engine.start, static=static), params, hyper, keys
    )
    return Segment(
        placed,
        carry,
        jax.tree.map(lambda *x: np.stack([y[0] for y in x]), *rows),
        hyper,
        keys,
        static,
        params,
    )
