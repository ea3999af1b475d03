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
import numpy as np
from jax import lax

from asgrad_jax.model.cores import cores_per_call
from asgrad_jax.model.draw_ahead import draw_ahead
from asgrad_jax.run.server import (
    Extra,
    Params,
    ServerFactory,
    init_server,
    server_step,
)

Form = Literal["always", "cond", "select"]
Layout = Literal["single", "vmap"]


Array = np.ndarray | jax.Array
Metric = tuple[str, Callable[[Params], jax.Array]]  # of one iterate


class TableRows(NamedTuple):
    """What the arrivals do to a gradient table, every leaf [..., W, *]; see `Table`.

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
        draw: int32, that worker's job number; names its mini-batch.
        read_slot: int32, where the iterate lies that the gradient is taken at.
        next_read: int32, that slot of the next arrival; None unless it is read ahead.
        write_slot: int32, where the new iterate goes; scratch if nobody reads it.
        weight: float, factor of the gradient in the direction; 0 for padding.
        step: bool, the server steps after this gradient.
        delay: int32, server steps between read and arrival.
        time: float, virtual time.
        clip: float, largest norm of the gradient; None where nothing is clipped.
        accept: float, largest distance moved since the read; None where all count.
        table: coefficients of remembered gradients, or None.
        sample: what is random in the gradient, leaves [..., W, ...], once it is drawn.
    """

    worker: Array
    draw: Array
    read_slot: Array
    next_read: Array | None
    write_slot: Array
    weight: Array
    step: Array
    delay: Array
    time: Array
    clip: Array | None = None
    accept: Array | None = None
    table: TableRows | None = None
    sample: Any = None


class Carry(NamedTuple):
    """The state of S lanes between two arrivals.

    Attributes:
        params: leaves [S, ...], the current iterate x_v.
        collected: leaves [S, ...], the weighted gradients since the last step; None
            where every arrival steps; with a table, [2, S, ...], its accumulators.
        opt_state: the server's state, leaves [S, ...]; None for plain SGD.
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
    buffer: Params
    table: Params | None
    held: Params | None
    read: Params | None


class Static(NamedTuple):
    """What the compiled program depends on besides shapes; hashable.

    Attributes:
        form: how a row without a server step is done. "always": there is none, no
            branch; "cond": a branch (right where schedules run one by one); "select":
            both sides, selected on the small arrays, and an unconditional write to the
            scratch slot (right under vmap, where a branch would become a select over
            the whole buffer).
        layout: "single" runs one schedule a call (several calls at once keep the cores
            of a CPU busy), "vmap" batches K of them.
        server: hyper-parameters -> optax transformation, or None for plain SGD.
        metrics: (name, params -> scalar) pairs, besides the problem's own.
        slots: iterates held, the scratch slot apart.
        table_rows: rows of the gradient table; 0 for methods without one.
        ahead: whether the iterate of the next arrival is read after the last write, not
            when it arrives; W = 1 only. With a table XLA would copy the buffer too.
        cores: of a CPU, how many may share one wave's gradients or one evaluation.
    """

    form: Form
    layout: Layout
    server: ServerFactory | None
    metrics: tuple[Metric, ...]
    slots: int
    table_rows: int
    ahead: bool
    cores: int


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


def _exact(function):
    """Traces a function such that float32 products are float32 products.

    GPUs would round the factors to TF32, an error of 3e-4. A user's own setting of
    `jax_default_matmul_precision` stands.
    """

    @functools.wraps(function)
    def traced(*args, **kwargs):
        flags: Any = jax.config
        chosen = flags.jax_default_matmul_precision or "float32"
        with jax.default_matmul_precision(chosen):
            return function(*args, **kwargs)

    return traced


@functools.partial(jax.jit, static_argnames="metrics")
@_exact
def first_values(problem, params, *, metrics: tuple[Metric, ...]):
    """Returns the metrics of x_0, name -> scalar.

    Args:
        problem: the problem on the device.
        params: x_0, leaves [...] without lane axes.
        metrics: see `Static`.
    """
    values = evaluate(problem, jax.tree.map(lambda x: x[None], params), metrics)
    return {k: v[0] for k, v in values.items()}


@functools.partial(jax.jit, static_argnames="static")
def start(params, hyper, *, static: Static) -> Carry:
    """Returns the carry of K schedules x S lanes at x_0.

    Args:
        params: x_0, leaves [...] without lane axes.
        hyper: name -> [K, S].
        static: see `Static`.

    Returns:
        Leaves [K, ...], or [...] in the layout "single".
    """
    lanes = next(iter(hyper.values())).shape[1]

    def zeros(x, *leading: int):
        return jax.tree.map(lambda x: jnp.zeros((*leading, *x.shape), x.dtype), x)

    def one(hyper):
        x = jax.tree.map(lambda x: jnp.repeat(x[None], lanes, axis=0), params)
        buffer = jax.tree.map(
            lambda x: jnp.repeat(x[None], static.slots + 1, axis=0), x
        )
        table, held, collected = None, None, None
        if static.table_rows:
            table, held = zeros(x, static.table_rows), zeros(x)
            collected = zeros(x, 2)
        elif static.form != "always":
            collected = zeros(x)
        read = x if static.ahead else None
        opt_state = init_server(static.server, hyper, x)
        return Carry(x, collected, opt_state, buffer, table, held, read)

    if static.layout == "vmap":
        return jax.vmap(one)(hyper)
    return one({k: v[0] for k, v in hyper.items()})


@functools.partial(jax.jit, static_argnames="static", donate_argnames="carry")
@_exact
def advance(problem, carry: Carry, rows: Rows, hyper, key_data, *, static: Static):
    """Runs one segment of K schedules x S lanes.

    Args:
        problem: the problem on the device.
        carry: what `start` or the last segment returned; donated.
        rows: leaves [K, M, B, N, W].
        hyper: name -> [K, S].
        key_data: [K, 2] uint32, the key of each schedule's noise.
        static: see `Static`.

    Returns:
        The new carry, and name -> [K, M * B, S] metrics at the end of each record.
    """

    def one(carry, segment):
        rows, hyper, own_key = segment
        key = jax.random.wrap_key_data(own_key, impl="threefry2x32")
        wave = functools.partial(_wave, static, problem, key, hyper)

        def draw(rows):
            if rows.sample is not None:
                return rows
            arrivals = rows.worker, rows.draw
            samples = draw_ahead(problem, key, *arrivals, schedules=len(key_data))
            return rows._replace(sample=samples)

        def record(carry, rows):
            carry, _ = lax.scan(wave, carry, draw(rows))
            return carry, carry.params

        def block(carry, rows):
            carry, points = lax.scan(record, carry, draw(rows))
            size = rows.worker.shape[0]
            # A block of records is evaluated at once: its iterates become columns of
            # one matrix product with the whole data.
            flat = jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), points)
            values = evaluate(problem, flat, static.metrics)
            return carry, {k: v.reshape(size, -1) for k, v in values.items()}

        carry, values = lax.scan(block, carry, draw(rows))
        return carry, {k: v.reshape((-1, *v.shape[2:])) for k, v in values.items()}

    segment = (rows, hyper, key_data)
    with cores_per_call(static.cores):
        if static.layout == "vmap":
            return jax.vmap(one)(carry, segment)
        # The carry of a single schedule has no schedule axis: adding one would copy
        # the whole buffer in and out.
        carry, values = one(carry, jax.tree.map(lambda x: x[0], segment))
    return carry, {k: v[None] for k, v in values.items()}


def _wave(static: Static, problem, key, hyper, carry: Carry, rows: Rows):
    """Computes the gradients of one wave and folds them in; a scan body."""
    fold = functools.partial(_fold, static, hyper)
    if rows.worker.shape[0] == 1:
        # One arrival: no vmap, so that the products stay two-dimensional.
        row = jax.tree.map(lambda x: x[0], rows)
        read = carry.read
        if read is None:
            read = jax.tree.map(lambda b: b[row.read_slot], carry.buffer)
        gradient = _gradients(problem, key, read, row)
        carry, _ = fold(carry._replace(read=None), (row, read, gradient))
        if row.next_read is not None:
            ahead = jax.tree.map(lambda b: b[row.next_read], carry.buffer)
            carry = carry._replace(read=ahead)
        return carry, None
    reads = jax.tree.map(lambda b: b[rows.read_slot], carry.buffer)
    gradients = jax.vmap(functools.partial(_gradients, problem, key))(reads, rows)
    rows = rows._replace(sample=None)
    buffer, carry = carry.buffer, carry._replace(buffer=None)
    if static.server is None and rows.table is None and rows.accept is None:
        carry, points = _fold_at_once(hyper, carry, rows, gradients)
    else:
        # Where every operation is a launch, several arrivals share them: 2.6 times
        # faster under Adam on an H100.
        together = 8 if static.layout == "vmap" else 1
        arrivals = (rows, reads, gradients)
        carry, points = lax.scan(fold, carry, arrivals, unroll=together)
    # A wave reads before it writes, so the writes can wait until here. Only the scratch
    # slot is written more than once.
    buffer = jax.tree.map(
        lambda b, x: b.at[rows.write_slot].set(x, mode="promise_in_bounds"),
        buffer,
        points,
    )
    return carry._replace(buffer=buffer), None


def _gradients(problem, key, read: Params, row: Rows) -> Params:
    """Returns the gradients of one arrival, leaves [S, ...]."""
    if row.sample is None:
        return problem.gradients(read, row.worker, row.draw, key)
    return problem.gradients_with(read, row.worker, row.sample)


def _fold_at_once(hyper, carry: Carry, rows: Rows, gradients: Params):
    """Takes in a wave under plain SGD, whose iterates are sums of what came before.

    x_j = x_0 - gamma * (u_0 + sum_{i <= j} weight_i g_i) after the j-th arrival, where
    that one made the server step; u_0 is what was collected before the wave.

    Returns:
        The carry, and the iterates x_j, leaves [W, S, ...], of no meaning where there
        was no step.
    """
    if rows.clip is not None:
        gradients = jax.vmap(_clip)(gradients, rows.clip)
    place = jnp.arange(rows.worker.shape[0])
    taken = jnp.max(jnp.where(rows.step, place + 1, 0))  # by the last step of the wave
    # Which arrivals, and whether u_0, belong to each x_j, to the iterate after the wave
    # and to what is then collected: [W + 2, W] and [W + 2].
    share = jnp.concatenate(
        [place <= place[:, None], (place < taken)[None], (place >= taken)[None]]
    )
    share = share * rows.weight
    with_old = jnp.append(jnp.ones_like(place), jnp.stack([taken > 0, taken == 0]))

    def descend(x, sums):
        return x - _per_lane(hyper["step_size"], x) * sums

    sums = jax.tree.map(lambda g: jnp.tensordot(share, g, 1), gradients)
    collected = carry.collected
    if collected is not None:
        sums = jax.tree.map(
            lambda s, u: s + jnp.multiply.outer(with_old.astype(s.dtype), u),
            sums,
            collected,
        )
        collected = jax.tree.map(lambda s: s[-1], sums)
    points = jax.tree.map(lambda x, s: descend(x, s[:-1]), carry.params, sums)
    params = jax.tree.map(lambda x: x[-1], points)
    points = jax.tree.map(lambda x: x[:-1], points)
    return carry._replace(params=params, collected=collected), points


def _fold(static: Static, hyper, carry: Carry, arrival):
    """Takes in one gradient and, where its row says so, makes the server step.

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
        stepped = server_step(
            static.server,
            hyper,
            direction,
            carry.opt_state,
            carry.params,
            Extra(row.delay, row.worker, row.time),
        )
        if accepted is None:
            return stepped
        # A lane that turned the gradient down stays as it was.
        return _choose(accepted, stepped, (carry.params, carry.opt_state))

    def write(params):
        if carry.buffer is None:
            return None
        put = functools.partial(_put, static.layout, row.write_slot)
        return jax.tree.map(put, carry.buffer, params)

    def stepped():
        params, opt_state = step()
        return Carry(params, cleared, opt_state, write(params), None, None, carry.read)

    if static.form == "always":
        if table is None:
            cleared = None
        return with_table(stepped())
    if static.form == "cond":
        stay = carry._replace(collected=collected)
        return with_table(lax.cond(row.step, stepped, lambda: stay))
    params, opt_state = _choose(row.step, step(), (carry.params, carry.opt_state))
    collected = _choose(row.step, cleared, collected)
    # A row without a step has the scratch slot as its target.
    written = write(params)
    return with_table(
        Carry(params, collected, opt_state, written, None, None, carry.read)
    )


def _screen(params: Params, row: Rows, read: Params, gradient: Params):
    """Clips the gradient and says which lanes take it, [S] bool or None for all."""
    if row.clip is not None:
        gradient = _clip(gradient, row.clip)
    if row.accept is None:
        return gradient, None
    moved = jax.tree.map(jnp.subtract, params, read)
    accepted = _lane_norm(moved) <= row.accept
    nothing = jax.tree.map(jnp.zeros_like, gradient)
    return _choose(accepted, gradient, nothing), accepted


def _clip(gradient: Params, largest: Array) -> Params:
    """Scales the lanes down whose gradient's norm is above the largest allowed."""
    norm = _lane_norm(gradient)
    scale = jnp.where(norm > largest, largest / norm, 1)
    return jax.tree.map(lambda g: _per_lane(scale, g) * g, gradient)


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


def _remember(static: Static, carry: Carry, row: Rows, gradient: Params):
    """Writes the arrival's row of the table, then reads that of the next arrival."""
    t = row.table
    if t is None:
        return None, None
    new = jax.tree.map(lambda old, g: t.keep * old + g, carry.held, gradient)
    put = functools.partial(_put, static.layout, t.row)
    table = jax.tree.map(put, carry.table, new)
    return table, jax.tree.map(lambda b: b[t.next_row], table)


def _put(layout: Layout, index: Array, rows: jax.Array, new: jax.Array):
    """Returns `rows` with another one at the index, written in place."""
    if layout == "single":
        # A scatter of one row takes three operations more, a third of a small step on a
        # CPU. Without the barrier the new row would be worked out twice.
        new = lax.optimization_barrier(new)
        return lax.dynamic_update_index_in_dim(rows, new, index, 0)
    return rows.at[index].set(new, mode="promise_in_bounds")


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


def _lane_norm(tree: Params) -> jax.Array:
    """Returns the Euclidean norm of every lane over all leaves [S, ...], [S]."""
    return jnp.sqrt(
        sum(jnp.square(x).reshape(x.shape[0], -1).sum(1) for x in jax.tree.leaves(tree))
    )


def _per_lane(values: jax.Array, like: jax.Array) -> jax.Array:
    """Returns [S] values shaped to multiply [S, ...]."""
    return values.reshape((-1,) + (1,) * (like.ndim - 1))


def _choose(condition: jax.Array, new, old):
    """Returns `new` where the condition, a scalar or one per lane [S], holds."""

    def leaf(a, b):
        where = condition if condition.ndim == 0 else _per_lane(condition, a)
        return jnp.where(where, a, b)

    return jax.tree.map(leaf, new, old)
