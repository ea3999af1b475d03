"""Variance of a worker's stochastic gradient at one point.

sigma_i^2(x) = E||g_i - grad f_i(x)||^2 over the mini-batch (or the added noise) of one
job. Closed form where the sampling allows it, else by Monte Carlo.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.special
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_count
from asgrad_jax.problems.flat_arrays import (
    Layout,
    double,
    flat_params,
    flat_rows,
    local_table,
)
from asgrad_jax.problems.logistic import LogisticRegression
from asgrad_jax.problems.quadratic import Quadratic
from asgrad_jax.theory.inputs import check_jobs
from asgrad_jax.theory.rows import one_blas_thread, worker_rows

_BLOCK = 2**20  # margins (rows times points) held at once


class NoiseVariance(NamedTuple):
    """sigma_i^2 of every worker at one point."""

    per_worker: NDArray[np.float64]  # [n], squared gradient norm
    standard_error: NDArray[np.float64]  # [n], 0 where `exact`
    exact: bool  # closed form, else Monte Carlo

    @property
    def largest(self) -> float:
        """sigma^2 = max_i sigma_i^2, what the theorems ask for."""
        return float(self.per_worker.max())


def noise_variance(
    problem: Any, params: Any = None, *, draws: int = 256, seed: int = 0
) -> NoiseVariance:
    """sigma_i^2 at a point: exact where a closed form exists.

    Full local gradients have none; quadratics have what was added; for a batch of b of
    m rows of a logistic loss, with V the population variance of the row gradients,
    sigma_i^2 = V/b (with replacement) or (V/b)(m - b)/(m - 1) (without; reshuffled
    epochs have the same marginal law, but successive batches of an epoch depend on each
    other). Other problems: `monte_carlo_noise`.

    Args:
        problem: a `Problem`.
        params: pytree like `problem.init_params()`, which is the default.
        draws: mini-batches per worker, where there is no closed form.
        seed: seed of these.

    Returns:
        `NoiseVariance`.

    Raises:
        TypeError: if it is no problem.
        ValueError: if params do not fit, or the jobs make local steps.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> noise_variance(quadratic(2, 3, noise=0.5)).per_worker
        array([0.25, 0.25])
    """
    check_jobs(problem)
    n = int(problem.num_workers)
    if getattr(problem, "batch_size", 0) is None:
        return NoiseVariance(np.zeros(n), np.zeros(n), True)
    if isinstance(problem, Quadratic):
        size = problem.start.shape[0] if problem.noise_form == "common" else 1
        value = 0.0 if problem.noise_form == "none" else float(problem.noise) ** 2
        return NoiseVariance(np.full(n, value * size), np.zeros(n), True)
    if isinstance(problem, LogisticRegression):
        points = np.repeat(flat_params(problem, params)[None], n, axis=0)
        found = logistic_noise(problem, points, np.arange(n, dtype=np.int32))
        return NoiseVariance(found, np.zeros(n), True)
    return monte_carlo_noise(problem, params, draws=draws, seed=seed)


def logistic_noise(
    problem: LogisticRegression,
    points: NDArray[np.float64],
    workers: NDArray[np.int32],
) -> NDArray[np.float64]:
    """sigma_i^2 of mini-batches of a logistic loss at N points, closed form.

    The regulariser is the same for every row and adds none.

    Args:
        problem: logistic regression with a batch size.
        points: float64[N, d].
        workers: int32[N], whose batches at each point.

    Returns:
        float64[N], squared gradient norm.

    Raises:
        ValueError: if the problem has no batch size.

    Example:
        >>> from asgrad_jax.problems.logistic import logistic_regression
        >>> problem = logistic_regression(np.eye(4), [1, -1, 1, -1], 2, batch_size=1)
        >>> logistic_noise(problem, np.zeros((2, 4)), np.arange(2, dtype=np.int32))
        array([0.125, 0.125])
    """
    size = problem.batch_size
    if size is None:
        raise ValueError("the problem takes full local gradients: there is no noise")
    found = np.empty(len(points))
    with one_blas_thread():
        for worker in np.unique(workers):
            rows = worker_rows(problem, worker)
            count = rows.shape[0]
            labels = np.asarray(problem.labels, np.float64)[worker, :count, None]
            lengths = np.asarray((rows**2).sum(axis=1))
            mine = np.flatnonzero(workers == worker)
            block = max(1, _BLOCK // count)
            for low in range(0, mine.size, block):
                at = mine[low : low + block]
                slope = scipy.special.expit(-labels * (rows @ points[at].T))
                mean = rows.T @ (slope * labels) / count
                squares = lengths @ slope**2 / count
                # Rounding may leave a variance of -1e-17 where it is zero.
                found[at] = np.maximum(squares - np.sum(mean**2, axis=0), 0.0)
            if problem.sampling != "with_replacement":
                found[mine] *= (count - size) / max(count - 1, 1)
    return found / size


def monte_carlo_noise(
    problem: Any, params: Any = None, *, draws: int = 256, seed: int = 0
) -> NoiseVariance:
    """sigma_i^2 at a point from independent draws of every worker's gradient.

    Args:
        problem: any `Problem`.
        params: pytree like `problem.init_params()`, which is the default.
        draws: gradients per worker, >= 2.
        seed: seed of the draws, its own stream of keys.

    Returns:
        `NoiseVariance` with the standard error of each mean.

    Raises:
        TypeError: if it is no problem.
        ValueError: if params do not fit, `draws` < 2, or the jobs make local steps.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> found = monte_carlo_noise(quadratic(2, 3, noise=1.0), draws=2000)
        >>> bool(np.all(np.abs(found.per_worker - 1) < 4 * found.standard_error))
        True
    """
    check_jobs(problem)
    check_count("draws", draws, minimum=2)
    point = flat_params(problem, params)
    table = local_table(problem, params)
    with jax.enable_x64(True):
        squares = np.asarray(
            _noise_squares(
                Layout.of(problem), draws, double(problem), point, table, seed
            )
        )
    return NoiseVariance(
        squares.mean(axis=1), squares.std(axis=1, ddof=1) / np.sqrt(draws), False
    )


@partial(jax.jit, static_argnums=(0, 1))
def _noise_squares(
    layout: Layout, draws: int, problem: Any, point: Any, table: Any, seed: Any
) -> jax.Array:
    """||g - grad f_i||^2, [n, draws]; every draw has a key of its own.

    Keys, not job numbers, tell the draws apart: batches of one reshuffled epoch would
    depend on each other.
    """
    keys = jax.random.split(jax.random.key(seed), draws)
    lane = layout.lane(point)

    def one_worker(given: tuple[jax.Array, jax.Array]) -> jax.Array:
        worker, local = given

        def one_draw(key: jax.Array) -> jax.Array:
            drawn = flat_rows(problem.gradients(lane, worker, jnp.int32(0), key))[0]
            return jnp.sum((drawn - local) ** 2)

        return jax.lax.map(one_draw, keys)

    workers = jnp.arange(table.shape[0], dtype=jnp.int32)
    return jax.lax.map(one_worker, (workers, table))
