"""The compiled trajectory: a scan over arrivals with a buffer of iterates in flight.

For one schedule and S lanes (hyper-parameters that share it), with slots planned ahead:

    for a in 0..A-1:
        g   = problem.gradients(buffer[read_slot[a]], worker[a], job[a])
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
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from asgrad_jax.engine.arrival import Carry, Metric, ProgramKey, Rows
from asgrad_jax.engine.server import (
    Params,
    init_server,
    own_state,
    server_key,
    takes,
)
from asgrad_jax.engine.wave import take_wave
from asgrad_jax.kernels import cores_per_call
from asgrad_jax.problems.sampling import presample, waves_presampled


def evaluate(
    problem, params: Params, metrics, opt_state, without: Collection[str] = ()
) -> dict[str, jax.Array]:
    """Returns the metrics of S iterates, [S] each; some see the server's state too.

    Among them `finite`: whether the iterate and the problem's metrics are. A user's own
    metric may be undefined where the run is well. Metrics named in `without` are left
    out, and XLA does not compute what only they need.
    """
    found = problem.metrics(params)
    values = {name: value for name, value in found.items() if name not in without}
    # A loss overflows before the iterate does.
    finite = [
        jnp.isfinite(leaf).all(axis=tuple(range(1, leaf.ndim)))
        for leaf in jax.tree.leaves((params, values))
    ]
    values["finite"] = functools.reduce(jnp.logical_and, finite)
    dtype = values["loss"].dtype
    own = tuple(metric for metric in metrics if metric[0] not in without)
    return values | _own_values(params, own, opt_state, dtype)


def _now_and_then(static: ProgramKey, problem, points, state, due):
    """Returns the metrics with strides at B records, name -> [B, S], 0 where not due.

    Args:
        static: see `ProgramKey`.
        problem: the problem on the device.
        points: iterates, leaves [B, S, ...].
        state: the server's, likewise; None where no metric sees it.
        due: stride -> [B] bool, whether the record has its metrics.
    """

    def record(given):
        params, state, due = given
        found = {}
        for k, now in due.items():
            names = [name for name, stride in static.strides if stride == k]

            def values(names=names):
                every = evaluate(problem, params, static.metrics, state)
                return {n: every[n].astype(every["loss"].dtype) for n in names}

            nothing = jax.tree.map(
                lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(values)
            )
            if jax.sharding.get_abstract_mesh().manual_axes:
                nothing = _varying(nothing, params)
            found |= lax.cond(now, values, lambda nothing=nothing: nothing)
        return found

    return lax.map(record, (points, state, due))


def _own_values(params: Params, metrics, opt_state, dtype) -> dict[str, jax.Array]:
    """Returns the user's own metrics of S iterates, [S] each."""
    found, opt_state = {}, own_state(opt_state)
    for name, function in metrics:
        if takes(function, "state"):
            value = jax.vmap(lambda x, s, f=function: f(x, state=s))(params, opt_state)
        else:
            value = jax.vmap(function)(params)
        if jnp.issubdtype(value.dtype, jnp.floating):  # files know no bfloat16
            value = value.astype(dtype)
        found[name] = value
    return found


def with_state(metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    """Returns the metrics that see the server's state besides the iterate."""
    return tuple(metric for metric in metrics if takes(metric[1], "state"))


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


@functools.partial(jax.jit, static_argnames=("metrics", "cores"))
@_exact
def first_values(problem, params, *, metrics: tuple[Metric, ...], cores: int):
    """Returns the metrics of x_0, name -> scalar, those without the server's state.

    Args:
        problem: the problem on the device.
        params: x_0, leaves [...] without lane axes.
        metrics, cores: see `ProgramKey`.
    """
    metrics = tuple(metric for metric in metrics if not takes(metric[1], "state"))
    with cores_per_call(cores):
        lane = jax.tree.map(lambda x: x[None], params)
        values = evaluate(problem, lane, metrics, None)
    return {k: v[0] for k, v in values.items()}


@functools.partial(jax.jit, static_argnames="static")
def first_values_with_state(carry: Carry, *, static: ProgramKey):
    """Returns the metrics at the start that see the server's state, name -> [K, S].

    Args:
        carry: what `start` returned.
        static: see `ProgramKey`.
    """

    def one(params, opt_state):
        dtype = jnp.result_type(float)
        return _own_values(params, with_state(static.metrics), opt_state, dtype)

    if static.batching == "vmap":
        return jax.vmap(one)(carry.params, carry.opt_state)
    values = one(carry.params, carry.opt_state)
    return {k: v[None] for k, v in values.items()}


@functools.partial(jax.jit, static_argnames="static")
def start(params, hyper, key_data, *, static: ProgramKey) -> Carry:
    """Returns the carry of K schedules x S lanes at x_0.

    Args:
        params: x_0, leaves [...] without lane axes.
        hyper: name -> [K, S].
        key_data: [K, 2] uint32, the key of each schedule's noise.
        static: see `ProgramKey`.

    Returns:
        Leaves [K, ...], or [...] in the batching "single".
    """
    lanes = next(iter(hyper.values())).shape[1]
    x = jax.tree.map(lambda x: jnp.repeat(x[None], lanes, axis=0), params)
    one = functools.partial(_start_one, static, x)
    if static.batching == "vmap":
        return jax.vmap(one)(hyper, key_data)
    return one({k: v[0] for k, v in hyper.items()}, key_data[0])


def _start_one(static: ProgramKey, params, hyper, key_data) -> Carry:
    """Returns the carry of one schedule's S lanes.

    Here x_0 and hyper-parameters have leaves [S, ...], key_data is [2].
    """

    def zeros(x, *leading: int):
        return jax.tree.map(lambda x: jnp.zeros((*leading, *x.shape), x.dtype), x)

    x = _spread_like_start(static, params, params)
    held = jax.tree.map(lambda x: x.astype(static.buffer or x.dtype), x)
    buffer = jax.tree.map(lambda x: jnp.repeat(x[None], static.slots + 1, axis=0), held)
    read = None
    if static.ahead:
        read = jax.tree.map(lambda b, x: b.astype(x.dtype), held, x)
    table, held, collected = None, None, None
    if static.table_rows:
        table, held = zeros(x, static.table_rows), zeros(x)
        collected = zeros(x, 2)
    elif static.step_branch != "always":
        collected = zeros(x)
    opt_state, steps = None, None
    if static.server is not None:
        key = server_key(_key(key_data))
        opt_state = init_server(static.server, hyper, x, key)
        steps = jnp.int32(0)
    carry = Carry(x, collected, opt_state, steps, buffer, table, held, read)
    return _spread_like_start(static, carry, params)


def _spread_like_start(static: ProgramKey, tree, params):
    """Spreads arrays over devices that are the iterates' shapes, or stacks of them.

    Without it XLA is free to have all zeros of a start on every device.
    """
    if not static.spread:
        return tree
    known = {}
    for x, where in zip(jax.tree.leaves(params), static.spread, strict=True):
        if where is not None:
            known[x.shape] = where

    def leaf(x):
        for lead in range(x.ndim):
            where = known.get(x.shape[lead:])
            if where is not None:
                spec = PartitionSpec(*[None] * (lead + 1), *where.spec)
                spread = NamedSharding(where.mesh, spec)
                return lax.with_sharding_constraint(x, spread)
        return x

    return jax.tree.map(leaf, tree)


def _key(key_data: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(key_data, impl="threefry2x32")


@functools.partial(jax.jit, static_argnames="static", donate_argnames="carry")
@_exact
def advance(
    problem, carry: Carry, rows: Rows, hyper, key_data, due=None, *, static: ProgramKey
):
    """Runs one segment of K schedules x S lanes.

    Args:
        problem: the problem on the device.
        carry: what `start` or the last segment returned; donated.
        rows: leaves [K, M, B, N, W].
        hyper: name -> [K, S].
        key_data: [K, 2] uint32, the key of each schedule's noise.
        due: stride k -> [M, B] bool, the records with the metrics of `static.strides`;
            None where there are none.
        static: see `ProgramKey`.

    Returns:
        The new carry, and name -> [K, M * B, S] metrics at the end of each record; 0
        where one is not due.
    """

    def one(carry, segment):
        return _segment(
            static, problem, carry, *segment, due=due, schedules=len(key_data)
        )

    segment = (rows, hyper, key_data)
    with cores_per_call(static.cores):
        if static.batching == "vmap":
            return jax.vmap(one)(carry, segment)
        # The carry of a single schedule has no schedule axis: adding one would copy
        # the whole buffer in and out.
        carry, values = one(carry, jax.tree.map(lambda x: x[0], segment))
    return carry, {k: v[None] for k, v in values.items()}


def _segment(
    static: ProgramKey, problem, carry, rows, hyper, key_data, due, *, schedules
):
    """Runs one segment of one schedule's S lanes, of so many schedules in a call.

    The rows have leaves [M, B, N, W], hyper [S, ...], key_data [2]; due is None or has
    leaves [M, B], see `advance`.

    Returns:
        The new carry, and name -> [M * B, S] metrics at the end of each record.
    """
    key = _key(key_data)
    wave = functools.partial(take_wave, static, problem, key, hyper)
    values_of = functools.partial(
        evaluate, problem, metrics=static.metrics, without=dict(static.strides)
    )
    sometimes = functools.partial(_now_and_then, static, problem)

    def fitting(function, rows):
        return function(problem, key, rows.worker, rows.job, schedules=schedules)

    def sample(rows):
        if rows.sample is not None:
            return rows
        return rows._replace(sample=fitting(presample, rows))

    def part(carry, rows):
        return lax.scan(wave, carry, sample(rows))

    if static.stretch is not None:
        values_of = jax.checkpoint(values_of, prevent_cse=False)
        sometimes = jax.checkpoint(sometimes, prevent_cse=False)
    if static.stretch:
        part = jax.checkpoint(part, prevent_cse=False)

    def record(carry, rows):
        waves = at_once = len(rows.worker)
        if rows.sample is None:
            at_once = fitting(waves_presampled, rows)
        if static.stretch:
            at_once = min(at_once, static.stretch)
        whole = waves - waves % at_once
        if at_once < whole:
            parts = jax.tree.map(
                lambda x: x[:whole].reshape(-1, at_once, *x.shape[1:]), rows
            )
            carry, _ = lax.scan(part, carry, parts)
            rows = jax.tree.map(lambda x: x[whole:], rows)
        if len(rows.worker):
            carry, _ = part(carry, rows)
        state = carry.opt_state if with_state(static.metrics) else None
        return carry, (carry.params, state)

    def block(carry, given):
        rows, due = given
        carry, points = lax.scan(record, carry, sample(rows))
        size = rows.worker.shape[0]
        # A block of records is evaluated at once: its iterates become columns of one
        # matrix product with the whole data.
        flat, state = jax.tree.map(lambda x: lax.collapse(x, 0, 2), points)
        values = values_of(flat, opt_state=state)
        values = {k: v.reshape(size, -1) for k, v in values.items()}
        if due is not None:
            values |= sometimes(*points, due)
        return carry, values

    carry, values = lax.scan(block, carry, (sample(rows), due))
    return carry, {k: v.reshape((-1, *v.shape[2:])) for k, v in values.items()}


@_exact
def trajectory(
    problem, params, hyper, key_data, rows: Rows, due=None, *, static: ProgramKey
):
    """Runs one schedule from x_0 to its end: a pure function, not compiled by itself.

    Reverse differentiation keeps the carry at the start of every stretch of
    `static.stretch` waves of a record, or of every segment where that is 0, and
    computes the rest again.

    Args:
        problem: the problem on the device.
        params: x_0, leaves [S, ...].
        hyper: name -> [S, ...].
        key_data: [2] uint32, the key of the noise.
        rows: leaves [segments, M, B, N, W].
        due: as for `advance`, leaves [segments, M, B].
        static: see `ProgramKey`.

    Returns:
        The last carry, the metrics of x_0 (name -> [S]), and name ->
        [segments * M * B, S] metrics at the end of each record.
    """
    split = bool(jax.sharding.get_abstract_mesh().manual_axes)
    if split:  # what is compiled for a CPU knows nothing of a mesh
        static = static._replace(cores=0)
    with cores_per_call(static.cores):
        carry = _start_one(static, params, hyper, key_data)
        if split:
            carry = _varying(carry, (params, hyper, key_data, rows))
        first = evaluate(problem, carry.params, static.metrics, carry.opt_state)

        def segment(carry, given):
            rows, due = given
            return _segment(
                static, problem, carry, rows, hyper, key_data, due, schedules=1
            )

        if not static.stretch:
            segment = jax.checkpoint(segment, prevent_cse=False)
        carry, values = lax.scan(segment, carry, (rows, due))
    return carry, first, {k: v.reshape((-1, *v.shape[2:])) for k, v in values.items()}


def _varying(tree, inputs):
    """Types arrays as different on the devices of a `shard_map` where inputs are.

    A scan asks that its carry begins with the type that it ends with.
    """
    leaves = jax.tree.leaves(inputs)
    never = functools.reduce(jnp.logical_or, (jnp.ravel(x)[0] == 0 for x in leaves))
    never = never & False
    return jax.tree.map(lambda x: jnp.where(never, x, x), tree)


#: `advance` for `jax.debug_nans`, which computes a call that made a NaN once more.
_traced: Any = advance
advance_without_donation = jax.jit(_traced.__wrapped__, static_argnames="static")
