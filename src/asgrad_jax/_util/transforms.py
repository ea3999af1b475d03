"""Functions that give way to others where JAX maps or differentiates them."""

from collections.abc import Callable
from typing import Any

import jax

Mapping = Callable[..., tuple[Any, Any]]


def step_aside(function: Callable, plain: Callable, mapped: Mapping | None = None):
    """Returns `function`, in whose place `plain` is differentiated and mapped.

    Args:
        function, plain: pytrees of arrays to a pytree of arrays, equal to rounding.
        mapped: a rule of `jax.custom_batching.custom_vmap`; it gets what is returned
            here in front of its other arguments. None maps `plain`.

    Example:
        >>> import jax.numpy as jnp
        >>> double = step_aside(lambda x: x + x, lambda x: 2 * x)
        >>> float(double(3.0)), float(jax.grad(double)(3.0))
        (6.0, 2.0)
        >>> mapped = str(jax.make_jaxpr(jax.vmap(double))(jnp.ones(1)))
        >>> " mul " in mapped, " add " in mapped
        (True, False)
    """
    batched = jax.custom_batching.custom_vmap(function)
    outer = jax.custom_jvp(batched)

    @batched.def_vmap
    def _(size, axes, *arguments):
        if mapped is not None:
            return mapped(outer, size, axes, *arguments)
        return map_plainly(plain, size, axes, *arguments)

    def derivative(primals, tangents):
        return _jvp(plain, primals, tangents)

    outer.defjvp(derivative, symbolic_zeros=True)
    return outer


def map_plainly(function: Callable, size: int, axes: Any, *arguments: Any):
    """Returns what `jax.vmap` gives, in the form of a rule of `custom_vmap`."""
    over = jax.tree.map(lambda b: 0 if b else None, tuple(axes))
    results = jax.vmap(function, over, axis_size=size)(*arguments)
    return results, jax.tree.map(lambda _: True, results)


def _jvp(function: Callable, primals: Any, tangents: Any):
    """`jax.jvp` with respect to those leaves alone whose tangent is not known as 0."""
    leaves, tree = jax.tree.flatten(primals)
    zero = jax.custom_derivatives.SymbolicZero
    along = jax.tree.leaves(tangents, is_leaf=lambda t: isinstance(t, zero))
    moves = [i for i, t in enumerate(along) if not isinstance(t, zero)]

    def of_moving(*values):
        every = list(leaves)
        for i, value in zip(moves, values, strict=True):
            every[i] = value
        return function(*jax.tree.unflatten(tree, every))

    return jax.jvp(of_moving, [leaves[i] for i in moves], [along[i] for i in moves])
