"""Smoothness and strong convexity of a problem, and how sure the numbers are."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax._util.checks import check_count, check_seed
from asgrad_jax._util.settings import fixed
from asgrad_jax.problems.constants import Smoothness, known_smoothness
from asgrad_jax.problems.flat_arrays import Folding, double, flat_params, flat_rows
from asgrad_jax.problems.problem import Problem


def smoothness(problem: Problem, params: Any = None) -> Smoothness:
    """L of f and of every f_i, with how certain they are.

    Args:
        problem: a `Problem`; where it has no `smoothness(params)` that knows the answer
            (see `problems.KnownConstants`), `estimate_smoothness` gives one.
        params: where to estimate, for problems without a global bound; pytree like
            `problem.init_params()`, which is the default.

    Raises:
        TypeError: if it is not a problem, or its own method returns something else.
        ValueError: if params do not fit.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> found = smoothness(quadratic(3, 4, mu=0.5, smoothness=2.0))
        >>> found.per_worker.round(6), found.certainty
        (array([2., 2., 2.]), 'exact')
    """
    flat_params(problem, params)
    known = known_smoothness(problem, params)
    return estimate_smoothness(problem, params) if known is None else known


def estimate_smoothness(
    problem: Problem, params: Any = None, *, steps: int = 20, seed: int = 0
) -> Smoothness:
    """L near a point by power iteration on the Hessian of f: a lower estimate only.

    Every step also gives ||H_i v|| for each worker, whose largest value is a lower
    estimate of L_i. Curvature elsewhere may be larger: take the largest over the points
    of a trajectory.

    Args:
        problem: a `Problem` whose gradients can be differentiated.
        params: as for `smoothness`.
        steps: power iterations, >= 1.
        seed: seed of the first direction.

    Returns:
        `Smoothness` with certainty "lower estimate" and strong convexity 0.
    """
    check_count("steps", steps)
    check_seed(seed)
    point = flat_params(problem, params)
    direction = np.random.default_rng(seed).standard_normal(point.size)
    with fixed(x64=True):
        whole, parts = _power_iteration(
            Folding.of(problem), steps, double(problem), point, direction
        )
        return Smoothness(
            of_f=float(whole),
            per_worker=np.asarray(parts),
            strong_convexity=0.0,
            certainty="lower estimate",
        )


@partial(jax.jit, static_argnums=(0, 1))
def _power_iteration(
    folding: Folding, steps: int, problem: Problem, point: Any, direction: Any
) -> tuple[jax.Array, jax.Array]:
    def table(at: jax.Array) -> jax.Array:
        return flat_rows(problem.local_gradients(folding.fold(at)))

    def step(
        carry: tuple[jax.Array, jax.Array, jax.Array], _: None
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], None]:
        vector, whole, parts = carry
        vector = vector / jnp.linalg.norm(vector)
        images = jax.jvp(table, (point,), (vector,))[1]
        image = images.mean(axis=0)
        whole = jnp.maximum(whole, jnp.linalg.norm(image))
        parts = jnp.maximum(parts, jnp.linalg.norm(images, axis=1))
        # A direction of no curvature at all would end as 0/0; stay where we are.
        vector = jnp.where(jnp.linalg.norm(image) > 0, image, vector)
        return (vector, whole, parts), None

    start = (direction, jnp.zeros(()), jnp.zeros(problem.num_workers))
    (_, whole, parts), _ = jax.lax.scan(step, start, None, length=steps)
    return whole, parts
