"""What a user's loss takes, returns and depends on; its parameters and data."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.interpreters import partial_eval

from asgrad_jax._util.checks import refuse_masked
from asgrad_jax.problems.problem import Params, traced_shapes

FURTHER = ("key", "frozen")


def further_parameters(loss: Callable) -> set[str]:
    """Which of `key` and `frozen` a loss takes besides params and batch.

    Raises:
        TypeError: if it must be given something else.

    Example:
        >>> further_parameters(lambda params, batch, key: 0.0)
        {'key'}
        >>> further_parameters(lambda p, b: 0.0)
        set()
    """
    try:
        signature = inspect.signature(loss)
    except (TypeError, ValueError):  # some functions written in C have no signature
        return set()
    later = [*signature.parameters][2:]
    found = {name for name in FURTHER if name in later}
    try:
        signature.bind("params", "batch", **dict.fromkeys(found))
    except TypeError as error:
        raise TypeError(
            "loss must take (params, batch), and key where it draws random numbers, "
            f"and frozen where it has such parameters, got {signature}: {error}"
        ) from None
    return found


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
                "so that it would never change; leave it out of init_params and give "
                "it as `frozen`. Running statistics, such as those of BatchNorm, "
                "are not carried from job to job: use those of the batch, or LayerNorm "
                "or GroupNorm, which have none"
            )


def rows_affect_each_other(loss: Callable, start: Params, data: Any) -> bool:
    """Whether the loss of a batch is not made of losses of its rows, each by itself.

    As with statistics of the batch, of BatchNorm. It is run on up to 8 rows in float32.

    Args:
        loss: loss(params, batch), one value per row or their mean.
        start: pytree: x_0.
        data: pytree with leaves [N, ...].

    Example:
        >>> rows = np.arange(4.0)
        >>> rows_affect_each_other(lambda p, b: (b - jnp.mean(b)) * p, 1.0, rows)
        True
        >>> rows_affect_each_other(lambda p, b: jnp.mean(b * p), 1.0, rows)
        False
    """

    def placed(leaf):
        floating = jnp.issubdtype(np.asarray(leaf).dtype, jnp.floating)
        return jnp.asarray(leaf, jnp.float32) if floating else jnp.asarray(leaf)

    rows = min(8, jax.tree.leaves(data)[0].shape[0])
    start, some = jax.tree.map(placed, (start, jax.tree.map(lambda x: x[:rows], data)))

    @jax.jit
    def both(start, some):
        one_by_one = jax.tree.map(lambda x: x[:, None], some)
        alone = jax.vmap(lambda one: jnp.mean(loss(start, one)))(one_by_one)
        return loss(start, some), alone

    together, alone = both(start, some)
    if not together.ndim:
        alone = jnp.mean(alone)
    most = jnp.maximum(jnp.max(jnp.abs(alone)), jnp.max(jnp.abs(together)))
    return bool(jnp.max(jnp.abs(together - alone)) > 1e-3 * most)


def _abstract(start: Params, leaves: Sequence, structure: Any, rows: int) -> tuple:
    """Params, a batch of so many rows and a key, as `jax.ShapeDtypeStruct`."""

    def of(shape, leaf):
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jax.ShapeDtypeStruct(shape, jnp.float32 if floating else leaf.dtype)

    params = jax.tree.map(lambda leaf: of(leaf.shape, leaf), start)
    batch = [of((rows, *leaf.shape[1:]), leaf) for leaf in leaves]
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))
    return params, jax.tree.unflatten(structure, batch), key


def checked_param(leaf: Any) -> np.ndarray:
    """One array of parameters as float64, or raises.

    Example:
        >>> checked_param(np.float32(2)).dtype
        dtype('float64')
    """
    refuse_masked("init_params", leaf)
    array = np.asarray(leaf)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"init_params must be floating arrays, got one of dtype {array.dtype}; "
            "convert it to float, or close over it in the loss; of an Equinox module "
            "take eqx.partition(module, eqx.is_inexact_array)"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(
            "init_params must be finite, got NaN or infinite values in an array of "
            f"shape {array.shape}"
        )
    return array


def checked_frozen(leaf: Any) -> np.ndarray:
    """One array of what is not trained: float64, or integers as they are; or raises.

    Example:
        >>> checked_frozen(np.arange(2)).dtype
        dtype('int32')
    """
    return _checked_data("frozen", np.asarray(leaf)[None])[0]


def checked_labels(labels: Any, partition: Any, num_rows: int) -> np.ndarray:
    """Labels [N] for the partition, zeros where none are needed.

    Example:
        >>> checked_labels(None, "iid", 2)
        array([0., 0.])
    """
    if labels is None:
        if isinstance(partition, str) and partition in ("sorted", "dirichlet"):
            raise ValueError(
                f"labels must be given with partition={partition!r}, one per row"
            )
        return np.zeros(num_rows)
    refuse_masked("labels", labels)
    labels = np.asarray(labels)
    if labels.shape != (num_rows,):
        raise ValueError(
            f"labels must have shape ({num_rows},), one per row, got {labels.shape}"
        )
    return labels


def checked_leaves(data: Any) -> tuple[list[np.ndarray], Any]:
    """The arrays of a pytree of data, all with N rows, and its structure.

    Example:
        >>> leaves, _ = checked_leaves({"x": np.zeros((3, 2)), "class": np.arange(3)})
        >>> [leaf.dtype.name for leaf in leaves]
        ['int32', 'float64']
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(data)
    leaves = {f"data{jax.tree_util.keystr(path)}": leaf for path, leaf in paths}
    leaves = {name: _checked_data(name, leaf) for name, leaf in leaves.items()}
    if not leaves:
        raise TypeError("data must have arrays, got none")
    if len({len(leaf) for leaf in leaves.values()}) > 1:
        shown = ", ".join(f"{name}: {len(leaf)}" for name, leaf in leaves.items())
        raise ValueError(f"all data must have the same number of rows, got {shown}")
    return [*leaves.values()], structure


def _checked_data(name: str, leaf: Any) -> np.ndarray:
    """One data array in the form that the engine can place on a device."""
    if scipy.sparse.issparse(leaf):
        raise TypeError(
            f"{name} must be a dense array, got a sparse matrix; give toarray(), or "
            "use ag.logistic_regression, which has a sparse form"
        )
    refuse_masked(name, leaf)
    array = np.asarray(leaf)
    if array.ndim == 0 or array.shape[0] == 0:
        raise ValueError(
            f"{name} must have at least one row, got shape {array.shape}; give arrays, "
            "not lists, which are pytrees of their entries"
        )
    if jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got NaN or infinite values")
    elif array.dtype in (np.int64, np.uint64, np.uint32):
        limits = np.iinfo(np.int32)
        if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
            raise ValueError(f"{name} must be integers of 32 bits, got larger ones")
        array = array.astype(np.int32)
    elif not (np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_):
        raise TypeError(f"{name} must be numbers, got dtype {array.dtype}")
    return array
