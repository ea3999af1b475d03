"""What a user's loss takes, returns and depends on, found by tracing alone."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from asgrad_jax.problems.problem import Params, traced_shapes


def takes_key(loss: Callable) -> bool:
    """Whether a loss has a parameter `key` besides those for params and batch.

    Raises:
        TypeError: if it must be given something else.

    Example:
        >>> takes_key(lambda params, batch, key: 0.0), takes_key(lambda p, b: 0.0)
        (True, False)
    """
    try:
        signature = inspect.signature(loss)
    except (TypeError, ValueError):  # some functions written in C have no signature
        return False
    found = signature.parameters.get("key")
    key = found is not None and [*signature.parameters].index("key") >= 2
    try:
        signature.bind("params", "batch", **({"key": "key"} if key else {}))
    except TypeError as error:
        raise TypeError(
            "loss must take (params, batch), or (params, batch, key) where it draws "
            f"random numbers, got {signature}: {error}"
        ) from None
    return key


def returns_rows(
    loss: Callable, start: Params, leaves: Sequence, structure: Any, sizes: set[int]
) -> bool:
    """Whether a loss(params, batch, key) returns one value per row, or a scalar.

    Args:
        loss: traced, never run.
        start: pytree: x_0.
        leaves: arrays of the data, [N, ...].
        structure: the data's pytree.
        sizes: rows of the batches to try.

    Raises:
        TypeError, ValueError: if it cannot be traced, or returns anything else.
    """
    answers = set()
    for rows in sizes:
        arguments = _abstract(start, leaves, structure, rows)
        result = traced_shapes("the loss", loss, *arguments)
        shape = getattr(result, "shape", None)
        if shape not in ((), (rows,)) or not jnp.issubdtype(result.dtype, jnp.floating):
            raise ValueError(
                f"loss(params, batch) with {rows} rows must return a floating scalar or"
                f" an array of shape ({rows},), got {result}"
            )
        answers.add(shape == (rows,))
    if len(answers) > 1:
        raise ValueError(
            "the loss must return one value per row for all batch sizes or for none, "
            "got it for some"
        )
    return answers.pop()


def check_reached(
    loss: Callable, start: Params, leaves: Sequence, structure: Any, rows: int
) -> None:
    """Raises ValueError for a leaf of the parameters that no gradient ever reaches.

    The gradient is traced, and what it does not need is cut away: where nothing is left
    that depends on parameters or data, it is a constant. A gradient that happens to
    vanish at x_0 is no error.

    Args:
        loss: loss(params, batch, key).
        start: pytree: x_0.
        leaves: arrays of the data, [N, ...].
        structure: the data's pytree.
        rows: of a batch.
    """

    def gradients(params, batch, key):
        return jax.grad(lambda params: jnp.sum(loss(params, batch, key)))(params)

    arguments = _abstract(start, leaves, structure, rows)
    try:
        jaxpr = jax.make_jaxpr(gradients)(*arguments).jaxpr
    except Exception as error:
        error.add_note("This came from the gradient of the loss.")
        raise
    outputs = len(jaxpr.outvars)

    def is_constant(k: int) -> bool:
        used = [i == k for i in range(outputs)]
        return not any(partial_eval.dce_jaxpr(jaxpr, used)[1])

    constant = [is_constant(k) for k in range(outputs)]
    if not any(constant):
        return
    # What depends on nothing is the same at any point, at zeros too.
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), arguments[:2])
    values = jax.tree.leaves(jax.jit(gradients)(*zeros, jax.random.key(0)))
    paths = jax.tree_util.tree_flatten_with_path(start)[0]
    for (path, leaf), alone, value in zip(paths, constant, values, strict=True):
        if alone and np.size(leaf) and not np.any(np.asarray(value)):
            raise ValueError(
                f"init_params{jax.tree_util.keystr(path)} must reach the loss, got an "
                f"array of shape {np.shape(leaf)} whose gradient is zero everywhere, "
                "so that it would never change; leave it out of init_params and close "
                "over it in the loss. Running statistics, such as those of BatchNorm, "
                "are not carried from job to job: use those of the batch, or LayerNorm "
                "or GroupNorm, which have none"
            )


def _abstract(start: Params, leaves: Sequence, structure: Any, rows: int) -> tuple:
    """Params, a batch of so many rows and a key, as `jax.ShapeDtypeStruct`."""

    def of(shape, leaf):
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jax.ShapeDtypeStruct(shape, jnp.float32 if floating else leaf.dtype)

    params = jax.tree.map(lambda leaf: of(leaf.shape, leaf), start)
    batch = [of((rows, *leaf.shape[1:]), leaf) for leaf in leaves]
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))
    return params, jax.tree.unflatten(structure, batch), key
