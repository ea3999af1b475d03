"""The compiled trajectory: a scan over arrivals with a buffer of iterates in flight.

For one schedule and S lanes (hyper-parameters that share it), with slots planned ahead:

    for a in 0..A-1:
        g   = problem.gradients(buffer[read_slot[a]], worker[a], draw[a])
        u   = u + weight[a] * g
        if step[a]:
            x, opt_state = server(u, opt_state, x);  u = 0
            buffer[write_slot[a]] = x

The arrivals go through in waves of W: the W iterates are gathered, their gradients
computed together and folded in one after the other. W = 1 is the loop above.

Shape letters: K schedules, S lanes of one schedule, W arrivals of a wave, N waves
between two records, B records in a block, M blocks in a segment.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from asgrad_jax.run.server import (
    Extra,
    Params,
    ServerFactory,
    init_server,
    server_step,
)

Form = Literal["always", "cond", "select"]
Layout = Literal["map", "vmap"]


class Rows(NamedTuple):
    """The arrivals as the scan eats them, every leaf [..., W].

    Attributes:
        worker: int32, whose data.
        draw: int32, that worker's job number; names its mini-batch.
        read_slot: int32, where the iterate lies that the gradient is taken at.
        write_slot: int32, where the new iterate goes; scratch if nobody reads it.
        weight: float, factor of the gradient in the direction; 0 for padding.
        step: bool, the server steps after this gradient.
        delay: int32, server steps between read and arrival.
        time: float, virtual time.
    """

    worker: jax.Array
    draw: jax.Array
    read_slot: jax.Array
    write_slot: jax.Array
    weight: jax.Array
    step: jax.Array
    delay: jax.Array
    time: jax.Array


class Carry(NamedTuple):
    """The state of S lanes between two arrivals.

    Attributes:
        params: leaves [S, ...], the current iterate x_v.
        direction: leaves [S, ...], the gradients collected since the last step; None
            where every arrival steps.
        opt_state: the server's state, leaves [S, ...]; None for plain SGD.
        buffer: leaves [slots + 1, S, ...], the iterates still to be read; the last
            slot is scratch.
    """

    params: Params
    direction: Params | None
    opt_state: Any
    buffer: Params


class Static(NamedTuple):
    """What the compiled program depends on besides shapes; hashable.

    Attributes:
        form: how a row without a server step is done. "always": there is none, no
            branch; "cond": a branch (right where schedules are mapped one by one);
            "select": both sides, selected on the small arrays, and an unconditional
            write to the scratch slot (right under vmap, where a branch would become a
            select over the whole buffer).
        layout: "map" runs schedules one after the other, "vmap" batches them.
        server: hyper-parameters -> optax transformation, or None for plain SGD.
        metrics: (name, params -> scalar) pairs, besides the problem's own.
    """

    form: Form
    layout: Layout
    server: ServerFactory | None
    metrics: tuple[tuple[str, Callable], ...]


def evaluate(problem, params: Params, metrics) -> dict[str, jax.Array]:
    """Returns the metrics of S iterates, [S] each, and `finite`: whether all is."""
    values = dict(problem.metrics(params))
    for name, function in metrics:
        values[name] = jax.vmap(function)(params)
    # Norms overflow before the iterate does: whatever is recorded counts.
    finite = [
        jnp.isfinite(leaf).reshape(leaf.shape[0], -1).all(axis=1)
        for leaf in jax.tree.leaves((params, values))
    ]
    values["finite"] = functools.reduce(jnp.logical_and, finite)
    return values


@functools.partial(jax.jit, static_argnames=("static", "slots"))
def start(problem, params, hyper, *, static: Static, slots: int):
    """Returns the carry of K schedules x S lanes at x_0 and the metrics of x_0.

    Args:
        problem: the problem on the device.
        params: x_0, leaves [...] without lane axes.
        hyper: name -> [K, S].
        static: see `Static`.
        slots: number of slots, the scratch slot apart.

    Returns:
        A `Carry` with leaves [K, ...] and a dict of scalars.
    """
    lanes = next(iter(hyper.values())).shape[1]
    first = jax.tree.map(lambda x: x[None], params)

    def one(hyper):
        x = jax.tree.map(lambda x: jnp.repeat(x, lanes, axis=0), first)
        collected = None if static.form == "always" else jax.tree.map(jnp.zeros_like, x)
        buffer = jax.tree.map(lambda x: jnp.repeat(x[None], slots + 1, axis=0), x)
        return Carry(x, collected, init_server(static.server, hyper, x), buffer)

    values = evaluate(problem, first, static.metrics)
    return jax.vmap(one)(hyper), {k: v[0] for k, v in values.items()}


@functools.partial(jax.jit, static_argnames="static", donate_argnames="carry")
def advance(problem, carry: Carry, rows: Rows, hyper, key_data, *, static: Static):
    """Runs one segment of K schedules x S lanes.

    Args:
        problem: the problem on the device.
        carry: leaves [K, ...]; donated.
        rows: leaves [K, M, B, N, W].
        hyper: name -> [K, S].
        key_data: [K, 2] uint32, the key of each schedule's noise.
        static: see `Static`.

    Returns:
        The new carry, and name -> [K, M * B, S] metrics at the end of each record.
    """

    def one(args):
        carry, rows, hyper, key_data = args
        key = jax.random.wrap_key_data(key_data, impl="threefry2x32")
        fold = functools.partial(_fold, static, hyper)
        wave = functools.partial(_wave, problem, key, fold)

        def record(carry, rows):
            carry, _ = lax.scan(wave, carry, rows)
            return carry, carry.params

        def block(carry, rows):
            carry, points = lax.scan(record, carry, rows)
            size = rows.worker.shape[0]
            # A block of records is evaluated at once: its iterates become columns of
            # one matrix product with the whole data.
            flat = jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), points)
            values = evaluate(problem, flat, static.metrics)
            return carry, {k: v.reshape(size, -1) for k, v in values.items()}

        carry, values = lax.scan(block, carry, rows)
        return carry, {k: v.reshape((-1, *v.shape[2:])) for k, v in values.items()}

    args = (carry, rows, hyper, key_data)
    return jax.vmap(one)(args) if static.layout == "vmap" else lax.map(one, args)


def _wave(problem, key, fold, carry: Carry, rows: Rows):
    """Computes the gradients of one wave and folds them in; a scan body."""
    width = rows.worker.shape[0]
    if width == 1:
        # One arrival: no vmap, so that the products stay two-dimensional.
        row = jax.tree.map(lambda x: x[0], rows)
        read = jax.tree.map(lambda b: b[row.read_slot], carry.buffer)
        gradient = problem.gradients(read, row.worker, row.draw, key)
        return fold(carry, row, gradient), None
    read = jax.tree.map(lambda b: b[rows.read_slot], carry.buffer)
    gradients = jax.vmap(problem.gradients, in_axes=(0, 0, 0, None))(
        read, rows.worker, rows.draw, key
    )
    carry, _ = lax.scan(
        lambda c, args: (fold(c, *args), None), carry, (rows, gradients)
    )
    return carry, None


def _fold(static: Static, hyper, carry: Carry, row: Rows, gradient: Params) -> Carry:
    """Adds one arrived gradient and, where the row says so, makes the server step."""
    direction = jax.tree.map(lambda g: row.weight * g, gradient)
    if carry.direction is not None:
        direction = jax.tree.map(jnp.add, carry.direction, direction)

    def step():
        return server_step(
            static.server,
            hyper,
            direction,
            carry.opt_state,
            carry.params,
            Extra(row.delay, row.worker, row.time),
        )

    def write(params):
        return jax.tree.map(
            lambda b, x: b.at[row.write_slot].set(x, mode="promise_in_bounds"),
            carry.buffer,
            params,
        )

    if static.form == "always":
        params, opt_state = step()
        return Carry(params, None, opt_state, write(params))

    cleared = jax.tree.map(jnp.zeros_like, direction)
    if static.form == "cond":

        def stepped():
            params, opt_state = step()
            return Carry(params, cleared, opt_state, write(params))

        return lax.cond(row.step, stepped, lambda: carry._replace(direction=direction))

    def choose(new, old):
        return jax.tree.map(lambda a, b: jnp.where(row.step, a, b), new, old)

    params, opt_state = choose(step(), (carry.params, carry.opt_state))
    # A row without a step has the scratch slot as its target.
    return Carry(params, choose(cleared, direction), opt_state, write(params))
