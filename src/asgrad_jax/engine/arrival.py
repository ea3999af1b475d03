"""What one arrival is to the compiled trajectory, and how it is taken in."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding

from asgrad_jax.engine.server import Extra, Params, ServerFactory, server_step
from asgrad_jax.problems.problem import expand_trailing, lane_norm, scaled

StepBranch = Literal["always", "cond", "select"]
Batching = Literal["single", "vmap"]


Array = np.ndarray | jax.Array
Metric = tuple[str, Callable[..., jax.Array]]  # of one iterate, and the server's state


class TableRows(NamedTuple):
    """What arrivals do to a gradient table, leaves [..., W, *]; see `GradientTable`.

    Attributes:
        row: int32 [..., W], the arrival's own row.
        next_row: int32 [..., W], the row of the arrival after this one.
        gain: float [..., W, 2].
        carry: float [..., W, 2].
        keep: float [..., W].
        readout: float [..., W, 2].
        mix: float [..., W, 2, 2].
        drop: int32 [..., W, M], rows that leave the first accumulator before the
            arrival after this one, or None.
        dropped: float [..., W, M], 1 where there is such a row, else 0.
    """

    row: Array
    next_row: Array
    gain: Array
    carry: Array
    keep: Array
    readout: Array
    mix: Array
    drop: Array | None = None
    dropped: Array | None = None


class Rows(NamedTuple):
    """The arrivals as the scan eats them, every leaf [..., W].

    Attributes:
        worker: int32, whose data.
        job: int32, that worker's job number; names its mini-batch.
        read_slot: int32, where the iterate lies that the gradient is taken at.
        next_read: int32, that slot of the next arrival; None unless it is read ahead.
        write_slot: int32, where the new iterate goes; scratch if nobody reads it.
        weight: float, factor of the gradient in the direction; 0 for padding.
        step: bool, the server steps after this gradient.
        delay: int32, server steps between read and arrival.
        time: float, virtual time.
        clip: float, largest norm of the gradient; None where nothing is clipped.
        accept: float, largest distance moved since the read; None where all count.
        kept: bool, whether the gradient is not left out, whatever it is; None where
            none is.
        table: coefficients of remembered gradients, or None.
        max_delay: int32, the largest delay of the step's gradients; None unless the
            server asks.
        sample: what is random in the gradient, leaves [..., W, ...], once it is drawn.
    """

    worker: Array
    job: Array
    read_slot: Array
    next_read: Array | None
    write_slot: Array
    weight: Array
    step: Array
    delay: Array
    time: Array
    clip: Array | None = None
    accept: Array | None = None
    kept: Array | None = None
    table: TableRows | None = None
    max_delay: Array | None = None
    sample: Any = None


class Carry(NamedTuple):
    """The state of S lanes between two arrivals.

    Attributes:
        params: leaves [S, ...], the current iterate x_v.
        collected: leaves [S, ...], the weighted gradients since the last step; None
            where every arrival steps; with a table, [2, S, ...], its accumulators.
        opt_state: the server's state, leaves [S, ...]; None for plain SGD.
        steps: [] int32, v, server steps made so far; None for plain SGD.
        buffer: leaves [slots + 1, S, ...], the iterates still to be read; the last
            slot is scratch.
        table: leaves [rows, S, ...], the remembered gradients, or None.
        held: leaves [S, ...], the table's row of the next arrival. It is read after the
            last write and not before the next one: XLA would copy a table that is read
            for several results and then written, at every arrival.
        read: leaves [S, ...], the iterate that the next arrival reads, or None.
    """

    params: Params
    collected: Params | None
    opt_state: Any
    steps: jax.Array | None
    buffer: Params
    table: Params | None
    held: Params | None
    read: Params | None


class ProgramKey(NamedTuple):
    """What the compiled program depends on besides shapes; hashable.

    Attributes:
        step_branch: how a row without a server step is done. "always": there is none,
            no branch; "cond": a branch (right where schedules run one by one);
            "select": both sides, selected on the small arrays, and an unconditional
            write to the scratch slot (right under vmap, where a branch would become a
            select over the whole buffer).
        batching: "single" runs one schedule a call (several calls at once keep the
            cores of a CPU busy), "vmap" batches K of them.
        server: hyper-parameters -> optax transformation, or None for plain SGD.
        metrics: (name, params -> scalar) pairs, besides the problem's own.
        slots: iterates held, the scratch slot apart.
        table_rows: rows of the gradient table, the scratch row among them; 0 for
            methods without one.
        ahead: whether the iterate of the next arrival is read after the last write, not
            when it arrives; W = 1 only. With a table XLA would copy the buffer too.
        cores: of a CPU, how many may share one wave's gradients or one evaluation; 0
            where compiled kernels are switched off.
        stretch: waves of a record that reverse differentiation computes once more from
            a carry that it kept; 0: it keeps those at the start of segments; None: the
            program is not made for derivatives.
        buffer: type of the iterates held, None for that of the run.
        strides: (name, k) of the metrics that are computed at every k-th record and
            the last alone, whether the problem's or others.
        spread: how each leaf of x_0 is spread over devices, None for one that is not;
            empty where none is.
    """

    step_branch: StepBranch
    batching: Batching
    server: ServerFactory | None
    metrics: tuple[Metric, ...]
    slots: int
    table_rows: int
    ahead: bool
    cores: int
    stretch: int | None = None
    buffer: str | None = None
    strides: tuple[tuple[str, int], ...] = ()
    spread: tuple[NamedSharding | None, ...] = ()


def apply_arrival(static: ProgramKey, hyper, key, losses, carry: Carry, arrival):
    """Takes in one gradient and, where its row says so, makes the server step.

    The key is the server's, see `server_key`; losses are what `losses_told` returned.

    Returns:
        The carry, its buffer written if it has one, and the new iterate.
    """
    row, read, gradient = arrival
    gradient, accepted = _screen(carry.params, row, read, gradient)
    direction, collected, cleared = _collect(carry, row, gradient)
    table, held = _remember(static, carry, row, gradient)
    # The table has no part in a step.
    carry = carry._replace(table=None, held=None)

    def with_table(after: Carry):
        dropped = _drop(after.collected, row, table)
        after = after._replace(collected=dropped, table=table, held=held)
        return after, after.params

    def step():
        v = carry.steps
        extra = None
        if v is not None:
            own_key = jax.random.fold_in(key, v)
            most = row.max_delay
            if static.step_branch == "always":  # one gradient a step
                most = row.delay
            extra = Extra(row.delay, row.worker, row.time, v, own_key, read, most)
            extra = extra._replace(**losses(carry.params, read))
        stepped = server_step(
            static.server,
            hyper,
            direction,
            carry.opt_state,
            carry.params,
            extra,
            key,
        )
        if accepted is None:
            return stepped
        # A lane that turned the gradient down stays as it was.
        return _choose(accepted, stepped, (carry.params, carry.opt_state))

    def write(params):
        if carry.buffer is None:
            return None
        put = functools.partial(_put, static.batching, row.write_slot)
        return jax.tree.map(put, carry.buffer, params)

    def stepped():
        params, opt_state = step()
        return carry._replace(
            params=params,
            collected=cleared,
            opt_state=opt_state,
            steps=None if carry.steps is None else carry.steps + 1,
            buffer=write(params),
        )

    if static.step_branch == "always":
        if table is None:
            cleared = None
        return with_table(stepped())
    if static.step_branch == "cond":
        stay = carry._replace(collected=collected)
        return with_table(lax.cond(row.step, stepped, lambda: stay))
    params, opt_state = _choose(row.step, step(), (carry.params, carry.opt_state))
    collected = _choose(row.step, cleared, collected)
    # A row without a step has the scratch slot as its target.
    written = write(params)
    steps = None if carry.steps is None else carry.steps + row.step
    return with_table(
        carry._replace(
            params=params,
            collected=collected,
            opt_state=opt_state,
            steps=steps,
            buffer=written,
        )
    )


def _screen(params: Params, row: Rows, read: Params, gradient: Params):
    """Clips the gradient and says which lanes take it, [S] bool or None for all."""
    gradient = limit(row, gradient)
    if row.accept is None:
        return gradient, None
    moved, scale = scaled(jax.tree.map(jnp.subtract, params, read))
    accepted = scale * lane_norm(moved) <= row.accept
    nothing = jax.tree.map(jnp.zeros_like, gradient)
    return _choose(accepted, gradient, nothing), accepted


def limit(row: Rows, gradient: Params) -> Params:
    """Clips the gradient, and puts zeros where it is left out: 0 x inf is NaN."""
    if row.clip is not None:
        gradient = clip(gradient, row.clip)
    if row.kept is None:
        return gradient
    return _choose(
        jnp.asarray(row.kept), gradient, jax.tree.map(jnp.zeros_like, gradient)
    )


def clip(gradient: Params, largest: Array) -> Params:
    """Scales the lanes down whose gradient's norm is above the largest allowed."""
    quotients, scale = scaled(gradient)
    norm = lane_norm(quotients)
    # A norm may overflow where the gradient does not; so neither it nor a factor for
    # the gradient is formed.
    above, unit = scale * norm > largest, jnp.asarray(largest) / norm
    return jax.tree.map(
        lambda g, s: jnp.where(
            expand_trailing(above, g), expand_trailing(unit, g) * s, g
        ),
        gradient,
        quotients,
    )


def _collect(carry: Carry, row: Rows, gradient: Params):
    """Adds the gradient to what is collected.

    Returns:
        The direction of a server step made now, what is collected if there is none,
        and what is collected after one.
    """
    if row.table is None:
        direction = jax.tree.map(lambda g: row.weight * g, gradient)
        if carry.collected is not None:
            direction = jax.tree.map(jnp.add, carry.collected, direction)
        return direction, direction, jax.tree.map(jnp.zeros_like, direction)
    t = row.table

    def add(total, g, old):
        return total + jnp.multiply.outer(t.gain, g) + jnp.multiply.outer(t.carry, old)

    collected = jax.tree.map(add, carry.collected, gradient, carry.held)
    # Two terms each: a product with a 2 x 2 matrix would go through a slow dot.
    direction = jax.tree.map(
        lambda u: t.readout[0] * u[0] + t.readout[1] * u[1], collected
    )
    mixed = jax.tree.map(
        lambda u: jnp.stack([m[0] * u[0] + m[1] * u[1] for m in (t.mix[0], t.mix[1])]),
        collected,
    )
    return direction, collected, mixed


def _remember(static: ProgramKey, carry: Carry, row: Rows, gradient: Params):
    """Writes the arrival's row of the table, then reads that of the next arrival."""
    t = row.table
    if t is None:
        return None, None
    new = jax.tree.map(lambda old, g: t.keep * old + g, carry.held, gradient)
    put = functools.partial(_put, static.batching, t.row)
    table = jax.tree.map(put, carry.table, new)
    return table, jax.tree.map(lambda b: b[t.next_row], table)


def _put(batching: Batching, index: Array, rows: jax.Array, new: jax.Array):
    """Returns `rows` with another one at the index, written in place."""
    if batching == "single":
        # A scatter of one row takes three operations more, a third of a small step on a
        # CPU. Without the barrier the new row would be worked out twice.
        new = lax.optimization_barrier(new.astype(rows.dtype))
        return lax.dynamic_update_index_in_dim(rows, new, index, 0)
    return put_rows(rows, index, new)


def put_rows(rows: jax.Array, index: Array, new: jax.Array) -> jax.Array:
    """Returns `rows` with others at the index or indices, which must be within them."""
    return rows.at[index].set(new.astype(rows.dtype), mode="promise_in_bounds")


def _drop(collected: Params | None, row: Rows, table: Params | None):
    """Takes the rows that the next arrival drops out of the first accumulator."""
    t = row.table
    if t is None or t.drop is None or t.dropped is None:
        return collected
    return jax.tree.map(
        lambda u, b: u.at[0].add(-jnp.tensordot(t.dropped, b[t.drop], 1)),
        collected,
        table,
    )


def _choose(condition: jax.Array, new, old):
    """Returns `new` where the condition, a scalar or one per lane [S], holds."""

    def leaf(a, b):
        where = condition if condition.ndim == 0 else expand_trailing(condition, a)
        return jnp.where(where, a, b)

    return jax.tree.map(leaf, new, old)
