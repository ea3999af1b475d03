"""A problem's gradients as plain float64 arrays, for host code.

Parameters of any pytree become one vector of d numbers. Everything runs in float64,
whatever JAX's default: theory compares small differences.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.settings import fixed
from asgrad_jax.problems.problem import check_is_problem

# Beyond this the squares of sums of gradients might overflow.
_LARGEST = 1e140


def flat_params(problem: Any, params: Any = None) -> NDArray[np.float64]:
    """Parameters as one vector, float64[d], leaves in tree order; the start where None.

    Raises:
        TypeError: if it is not a problem.
        ValueError: if the structure or a shape differs from the problem's own, or an
            entry is not finite.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> flat_params(quadratic(2, 3))
        array([0., 0., 0.])
    """
    check_is_problem(problem)
    expected = problem.init_params()
    given = expected if params is None else params
    shapes = [jax.tree.map(np.shape, tree) for tree in (expected, given)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"params have shapes {shapes[1]}, the problem's have {shapes[0]}; see "
            "problem.init_params()"
        )
    leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(given)]
    flat = np.concatenate(leaves)
    if not np.isfinite(flat).all():
        raise ValueError(
            f"params hold {np.count_nonzero(~np.isfinite(flat))} values that are not "
            "finite"
        )
    return flat


class Folding(NamedTuple):
    """How a flat vector folds back into a pytree; static under `jit`."""

    structure: Any  # jax PyTreeDef
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, problem: Any) -> "Folding":
        """The folding of a problem's parameters; TypeError if it is not a problem."""
        check_is_problem(problem)
        leaves, structure = jax.tree.flatten(problem.init_params())
        return cls(structure, tuple(np.shape(leaf) for leaf in leaves))

    def fold(self, flat: Any) -> Any:
        """Vectors [..., d] of NumPy or JAX as the pytree with leaves [..., *]."""
        leaves, first = [], 0
        for shape in self.shapes:
            last = first + math.prod(shape)
            leaves.append(flat[..., first:last].reshape(*flat.shape[:-1], *shape))
            first = last
        return jax.tree.unflatten(self.structure, leaves)

    def lane(self, flat: jax.Array) -> Any:
        """A vector [d] as the pytree with a lane axis of 1."""
        return self.fold(flat[None])


def flat_rows(tree: Any) -> jax.Array:
    """A pytree of leaves [n, ...] as one array [n, d], leaves in tree order.

    Example:
        >>> flat_rows({"a": jnp.ones((2, 1)), "b": jnp.zeros((2, 1, 2))}).shape
        (2, 3)
    """
    leaves = jax.tree.leaves(tree)
    return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def local_gradients(problem: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise-free gradients of every worker, float64[N, n, d], at points float64[N, d].

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> local_gradients(quadratic(2, 3), np.zeros((5, 3))).shape
        (5, 2, 3)
    """
    with fixed(x64=True):
        points = np.asarray(points, np.float64)
        folding = Folding.of(problem)
        return np.asarray(_local_gradients(folding, double(problem), points))


@partial(jax.jit, static_argnums=0)
def _local_gradients(folding: Folding, problem: Any, points: jax.Array) -> jax.Array:
    def at(point: jax.Array) -> jax.Array:
        return flat_rows(problem.local_gradients(folding.fold(point)))

    # Several points at once turn matrix-vector into matrix products.
    return jax.lax.map(at, points, batch_size=16)


def local_table(problem: Any, params: Any = None) -> NDArray[np.float64]:
    """Noise-free gradients of every worker at one point or the start, float64[n, d].

    ValueError if params do not fit, or a gradient is not finite.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> local_table(quadratic(2, 3)).shape
        (2, 3)
    """
    point = flat_params(problem, params)
    return gradient_table(local_gradients(problem, point[None])[0])


def gradient_table(gradients: Any) -> NDArray[np.float64]:
    """Local gradients float[n, d], or a pytree with leaves [n, ...], as float64[n, d].

    Raises:
        ValueError: if there is no leaf, the leading sizes differ, or an entry is not
            finite or too large to be squared.

    Example:
        >>> gradient_table({"a": np.ones((2, 1)), "b": np.zeros((2, 1, 2))})
        array([[1., 0., 0.],
               [1., 0., 0.]])
    """
    leaves = [np.asarray(leaf, dtype=np.float64) for leaf in jax.tree.leaves(gradients)]
    if not leaves or any(leaf.ndim == 0 for leaf in leaves):
        raise ValueError("gradients must be [n, d], or a pytree with leaves [n, ...]")
    sizes = {len(leaf) for leaf in leaves}
    if len(sizes) > 1:
        raise ValueError(f"the leaves of gradients differ in workers: {sorted(sizes)}")
    table = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if bad.size:
        raise ValueError(f"the gradient of worker {bad[0]} is not finite")
    if np.max(np.abs(table), initial=0) > _LARGEST:
        raise ValueError(
            f"gradients of up to {np.abs(table).max():.3g} are too large: squares of "
            "their sums overflow in float64; scale the problem down"
        )
    return table


def loss_at(problem: Any, params: Any = None) -> float:
    """f at one point (the start if None), regulariser included, in float64.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> loss_at(quadratic(2, 3))
        0.0
    """
    with fixed(x64=True):
        point = flat_params(problem, params)
        return float(_loss(Folding.of(problem), double(problem), point))


@partial(jax.jit, static_argnums=0)
def _loss(folding: Folding, problem: Any, point: jax.Array) -> jax.Array:
    return problem.metrics(folding.lane(point))["loss"][0]


def double(problem: Any) -> Any:
    """The problem with every floating leaf in float64 (use it under x64)."""

    def cast(leaf: Any) -> Any:
        array = np.asarray(leaf)
        return array.astype(np.float64) if array.dtype.kind == "f" else array

    return jax.tree.map(cast, problem)
