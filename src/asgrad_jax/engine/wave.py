"""A wave: the gradients of W arrivals computed together, then folded in.

`cost.choose_width` decides W.
"""

import functools

import chex
import jax
import jax.numpy as jnp
from jax import lax

from asgrad_jax import kernels
from asgrad_jax._util.transforms import step_aside
from asgrad_jax.engine.arrival import (
    Array,
    Carry,
    ProgramKey,
    Rows,
    apply_arrival,
    limit,
    put_rows,
)
from asgrad_jax.engine.server import Params, losses_told, server_key
from asgrad_jax.problems.problem import expand_trailing


def take_wave(static: ProgramKey, problem, key, hyper, carry: Carry, rows: Rows):
    """Computes the gradients of one wave and folds them in; a scan body."""
    gradients_of = functools.partial(_gradients, problem, key)
    if static.stretch is not None:  # or the rows of every mini-batch would be kept
        gradients_of = jax.checkpoint(gradients_of, prevent_cse=False)
    told = losses_told(static.server, hyper, lambda x: problem.metrics(x)["loss"])
    fold = functools.partial(apply_arrival, static, hyper, server_key(key), told)
    if rows.worker.shape[0] == 1:
        return _take_one(gradients_of, fold, carry, rows), None
    compiled = static.batching == "single" and kernels.use_buffer(
        carry.buffer, static.cores
    )
    take, put = _take, put_rows
    if compiled:
        take = step_aside(kernels.take_rows, _take)
        put = step_aside(kernels.put_rows, put_rows)
    reads = _read(take, rows.read_slot, carry)
    gradients = jax.vmap(gradients_of)(reads, rows)
    chex.assert_trees_all_equal_shapes_and_dtypes(gradients, reads)
    rows = rows._replace(sample=None)
    plain = static.server is None and rows.table is None and rows.accept is None
    if plain:
        gradients = jax.vmap(limit)(rows, gradients)
    if plain:
        fold = _fold_at_once
        if compiled:
            fold = step_aside(_fold_compiled, _fold_at_once)
        return fold(hyper, carry, rows, gradients), None
    buffer, carry = carry.buffer, carry._replace(buffer=None)
    # Where every operation is a launch, several arrivals share them: 2.6 times faster
    # under Adam on an H100.
    together = 8 if static.batching == "vmap" else 1
    arrivals = (rows, reads, gradients)
    carry, points = lax.scan(fold, carry, arrivals, unroll=together)
    # A wave reads before it writes, so the writes can wait until here. Only the scratch
    # slot is written more than once.
    buffer = jax.tree.map(lambda b, x: put(b, rows.write_slot, x), buffer, points)
    return carry._replace(buffer=buffer), None


def _take_one(gradients_of, fold, carry: Carry, rows: Rows) -> Carry:
    """Takes in a wave of one arrival; without vmap products stay two-dimensional."""
    row = jax.tree.map(lambda x: x[0], rows)
    read = carry.read
    if read is None:
        read = _read(_take, row.read_slot, carry)
    gradient = gradients_of(read, row)
    chex.assert_trees_all_equal_shapes_and_dtypes(gradient, read)
    carry, _ = fold(carry._replace(read=None), (row, read, gradient))
    if row.next_read is not None:
        carry = carry._replace(read=_read(_take, row.next_read, carry))
    return carry


def _gradients(problem, key, read: Params, row: Rows) -> Params:
    """Returns the gradients of one arrival, leaves [S, ...]."""
    sample = row.sample
    if sample is None:  # nothing is random, or it was too much to be sampled ahead
        sample = problem.sample(row.worker, row.job, key)
    return problem.gradients_with(read, row.worker, sample)


def _take(rows: jax.Array, index: Array) -> jax.Array:
    return rows[index]


def _read(take, index: Array, carry: Carry) -> Params:
    """Takes iterates out of the buffer, in the type of the run."""
    return jax.tree.map(
        lambda b, x: take(b, index).astype(x.dtype), carry.buffer, carry.params
    )


def _fold_compiled(hyper, carry: Carry, rows: Rows, gradients: Params) -> Carry:
    """Takes in a wave under plain SGD by a compiled kernel, which writes the buffer."""
    x, tree = jax.tree.flatten(carry.params)
    nothing = [None] * len(x)
    u = nothing if carry.collected is None else tree.flatten_up_to(carry.collected)
    fold = functools.partial(
        kernels.fold_wave,
        step_size=hyper["step_size"],
        weight=rows.weight,
        step=rows.step,
        write_slot=rows.write_slot,
    )
    others = (tree.flatten_up_to(t) for t in (carry.buffer, gradients))
    x, u, buffer = zip(*map(fold, x, u, *others), strict=True)
    collected = None if carry.collected is None else tree.unflatten(u)
    return carry._replace(
        params=tree.unflatten(x), collected=collected, buffer=tree.unflatten(buffer)
    )


def _fold_at_once(hyper, carry: Carry, rows: Rows, gradients: Params):
    """Takes in a wave under plain SGD, whose iterates are sums of what came before.

    x_j = x_0 - gamma * (u_0 + sum_{i <= j} weight_i g_i) after the j-th arrival, where
    that one made the server step; u_0 is what was collected before the wave.

    The buffer gets the iterates x_j, which are of no meaning where there was no step:
    those go to the scratch slot, the only one that is written more than once.
    """
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
        return x - expand_trailing(hyper["step_size"], x) * sums

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
    # Without a step nothing has happened: sums of padding after the last arrival are of
    # no meaning.
    params = jax.tree.map(
        lambda x, new: jnp.where(taken > 0, new[-1], x), carry.params, points
    )
    buffer = jax.tree.map(
        lambda b, x: put_rows(b, rows.write_slot, x[:-1]), carry.buffer, points
    )
    return carry._replace(params=params, collected=collected, buffer=buffer)
