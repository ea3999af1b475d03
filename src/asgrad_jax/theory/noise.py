"""sigma_i^2(x) = E||g_i - grad f_i(x)||^2, over the batch or added noise of one job."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax._util.checks import check_count
from asgrad_jax._util.settings import fixed
from asgrad_jax.problems.constants import NoiseVariance, known_noise
from asgrad_jax.problems.flat_arrays import (
    Folding,
    double,
    flat_params,
    flat_rows,
    local_table,
)
from asgrad_jax.problems.problem import Problem
from asgrad_jax.theory._inputs import check_jobs


def noise_variance(
    problem: Problem, params: Any = None, *, draws: int = 256, seed: int = 0
) -> NoiseVariance:
    """sigma_i^2 at a point: exact where the problem has a closed form.

    Full local gradients have none, quadratics have what was added, and for mini-batches
    of a logistic loss see `problems.batch_variance`. A problem without a closed form
    (see `problems.KnownConstants`) is measured by `monte_carlo_noise`.

    Args:
        problem: a `Problem`.
        params: pytree like `problem.init_params()`, which is the default.
        draws: mini-batches per worker, where there is no closed form.
        seed: seed of these.

    Raises:
        TypeError: if it is not a problem, or its own method returns something else.
        ValueError: if params do not fit, or the jobs make local steps.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> noise_variance(quadratic(2, 3, noise=0.5)).per_worker
        array([0.25, 0.25])
    """
    check_jobs(problem)
    n = int(problem.num_workers)
    points = np.repeat(flat_params(problem, params)[None], n, axis=0)
    points = Folding.of(problem).fold(points)
    exact = known_noise(problem, points, np.arange(n, dtype=np.int32))
    if exact is not None:
        return NoiseVariance(exact, np.zeros(n), True)
    return monte_carlo_noise(problem, params, draws=draws, seed=seed)


def monte_carlo_noise(
    problem: Problem, params: Any = None, *, draws: int = 256, seed: int = 0
) -> NoiseVariance:
    """sigma_i^2 at a point from independent draws of every worker's gradient.

    Arguments and errors are those of `noise_variance`, `draws` >= 2. The keys are a
    stream of this function alone.
    """
    check_jobs(problem)
    check_count("draws", draws, minimum=2)
    point = flat_params(problem, params)
    table = local_table(problem, params)
    # The words that `jax.random.key` makes of a seed, whatever JAX's settings are.
    words = np.array([seed >> 32 & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)
    with fixed(x64=True):
        squares = np.asarray(
            _noise_squares(
                Folding.of(problem), draws, double(problem), point, table, words
            )
        )
    return NoiseVariance(
        squares.mean(axis=1), squares.std(axis=1, ddof=1) / np.sqrt(draws), False
    )


@partial(jax.jit, static_argnums=(0, 1))
def _noise_squares(
    folding: Folding, draws: int, problem: Problem, point: Any, table: Any, words: Any
) -> jax.Array:
    """||g - grad f_i||^2, [n, draws]."""
    # Keys, not job numbers, tell the draws apart: batches of one reshuffled epoch would
    # depend on each other.
    key = jax.random.wrap_key_data(words, impl="threefry2x32")
    keys = jax.random.split(key, draws)
    lane = folding.lane(point)

    def one_worker(given: tuple[jax.Array, jax.Array]) -> jax.Array:
        worker, local = given

        def one_draw(key: jax.Array) -> jax.Array:
            sample = problem.sample(worker, jnp.int32(0), key)
            drawn = flat_rows(problem.gradients_with(lane, worker, sample))[0]
            return jnp.sum((drawn - local) ** 2)

        return jax.lax.map(one_draw, keys)

    workers = jnp.arange(table.shape[0], dtype=jnp.int32)
    return jax.lax.map(one_worker, (workers, table))
