"""Smoothness and strong convexity of a problem, and how sure the numbers are.

Exact for quadratics. For logistic losses an upper bound valid everywhere, from the
largest eigenvalue of the data's Gram matrix: exact for small shards, else by Lanczos
with a stated probability. For other models only an estimate from below exists.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_count, check_non_negative
from asgrad_jax.problems.flat_arrays import Layout, double, flat_params, flat_rows
from asgrad_jax.problems.logistic import LogisticRegression
from asgrad_jax.problems.quadratic import Quadratic
from asgrad_jax.theory.rows import one_blas_thread, worker_rows

Certainty = Literal["exact", "upper bound", "probable upper bound", "lower estimate"]

# Up to this order a dense eigenvalue solver is quick and leaves no doubt.
_DENSE_ORDER = 1024
# Chance that a Lanczos bound is too small, over all workers together.
_FAILURE = 1e-6
# Largest |second derivative| and smallest one of each regulariser's coordinate.
_CURVATURE = {"nonconvex": (2.0, -0.5), "l2": (2.0, 2.0), None: (0.0, 0.0)}


class Smoothness(NamedTuple):
    """Gradient-Lipschitz constants of f and of its parts."""

    of_f: float  # L of f
    per_worker: NDArray[np.float64]  # [n], L_i of f_i
    strong_convexity: float  # mu of f, a lower bound; 0 where none is known
    certainty: Certainty

    @property
    def from_below(self) -> bool:
        """Whether the true constants may be larger: nothing rests on these safely."""
        return self.certainty == "lower estimate"

    @property
    def largest(self) -> float:
        """max_i L_i, the L of theorems that ask every f_i to be L-smooth."""
        return float(self.per_worker.max())

    @property
    def table(self) -> float:
        """sqrt((1/n) sum_i L_i^2), an upper bound on the L of a gradient table."""
        return float(np.sqrt(np.mean(self.per_worker**2)))


def smoothness(problem: Any, params: Any = None) -> Smoothness:
    """L of f and of every f_i, with how certain they are.

    Args:
        problem: a `Problem`.
        params: where to estimate, for models without a global bound; pytree like
            `problem.init_params()`, which is the default.

    Returns:
        `Smoothness`.

    Raises:
        ValueError: if params do not fit.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> found = smoothness(quadratic(3, 4, mu=0.5, smoothness=2.0))
        >>> found.per_worker.round(6), found.certainty
        (array([2., 2., 2.]), 'exact')
    """
    if isinstance(problem, Quadratic):
        return _of_quadratic(problem)
    if isinstance(problem, LogisticRegression):
        return _of_logistic(problem)
    return estimate_smoothness(problem, params)


def _of_quadratic(problem: Quadratic) -> Smoothness:
    def extremes(hessian: NDArray[np.float64]) -> tuple[float, float]:
        if problem.form == "diagonal":
            values = hessian
        elif problem.form == "tridiagonal":
            values = scipy.linalg.eigvalsh_tridiagonal(hessian[0], hessian[1, :-1])
        else:
            values = np.linalg.eigvalsh(hessian)
        values = np.asarray(values)
        return float(values.min()), float(values.max())

    parts = [extremes(part) for part in np.asarray(problem.hessian, np.float64)]
    per_worker = np.array([max(abs(low), abs(high)) for low, high in parts])
    low, high = extremes(np.asarray(problem.mean_hessian, np.float64))
    return Smoothness(
        of_f=max(abs(low), abs(high)),
        per_worker=np.broadcast_to(per_worker, (problem.num_workers,)).copy(),
        strong_convexity=max(low, 0.0),
        certainty="exact",
    )


def _of_logistic(problem: LogisticRegression) -> Smoothness:
    """L_i <= lambda_max(A_i' A_i)/(4 m_i) + strength sup|r''|."""
    n = problem.num_workers
    shards = [worker_rows(problem, i) for i in range(n)]
    shards = [rows / np.sqrt(rows.shape[0]) for rows in shards]
    failure = _FAILURE / (n + 1)
    with one_blas_thread():
        found = [largest_gram_eigenvalue(rows, failure=failure) for rows in shards]
        if n == 1:
            whole = found[0]
        else:
            sparse = scipy.sparse.issparse(shards[0])
            stack = scipy.sparse.vstack if sparse else np.vstack
            stacked = stack(shards) / np.sqrt(n)
            whole = largest_gram_eigenvalue(stacked, failure=failure)
    high, low = (float(problem.strength) * c for c in _CURVATURE[problem.regularizer])
    sure = all(exact for _, exact in (*found, whole))
    return Smoothness(
        of_f=whole[0] / 4 + high,
        per_worker=np.array([value / 4 + high for value, _ in found]),
        strong_convexity=max(0.0, low),  # and not -0.0 without a regulariser
        certainty="upper bound" if sure else "probable upper bound",
    )


def largest_gram_eigenvalue(
    matrix: Any, *, failure: float = _FAILURE
) -> tuple[float, bool]:
    """An upper bound on lambda_max(A'A), tight to a few percent, and if it is certain.

    Args:
        matrix: A, float64[m, d], an array or a SciPy sparse array.
        failure: chance that the bound is too small, where Lanczos is used.

    Returns:
        (bound, certain): exact and certain where min(m, d) is at most 1024, else
        `lanczos_upper_bound`.

    Example:
        >>> value, certain = largest_gram_eigenvalue(np.diag([1.0, 3.0]))
        >>> round(value, 12), certain
        (9.0, True)
    """
    rows, columns = matrix.shape
    if min(rows, columns) <= _DENSE_ORDER:
        gram = matrix @ matrix.T if rows < columns else matrix.T @ matrix
        if scipy.sparse.issparse(gram):
            gram = gram.toarray()
        last = len(gram) - 1
        values = scipy.linalg.eigh(
            gram, eigvals_only=True, subset_by_index=(last, last)
        )
        return max(float(np.asarray(values)[0]), 0.0), True
    bound, _ = lanczos_upper_bound(
        lambda v: matrix.T @ (matrix @ v), columns, failure=failure
    )
    return bound, False


def lanczos_upper_bound(
    product: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    dimension: int,
    *,
    steps: int = 60,
    failure: float = _FAILURE,
    seed: int = 0,
) -> tuple[float, float]:
    """Bounds the largest eigenvalue of a positive semidefinite matrix from both sides.

    After k Lanczos steps from a uniformly random direction the Ritz value theta <=
    lambda_max satisfies P[theta < (1 - e) lambda_max] <= 1.648 sqrt(d) exp(-sqrt(e)
    (2k - 1)); e is chosen so that the right side is `failure`, which gives lambda_max
    <= theta/(1 - e).

    Args:
        product: v -> A v for float64[d], A symmetric positive semidefinite.
        dimension: d, >= 1.
        steps: k, at most d are made.
        failure: chance that the upper bound is too small, in (0, 1).
        seed: seed of the random direction.

    Returns:
        (upper, lower): theta/(1 - e) and theta. With k = d both are lambda_max.

    Raises:
        ValueError: if a number is out of its range, or k is too small for `failure`.

    Example:
        >>> upper, lower = lanczos_upper_bound(lambda v: 2 * v, 500)
        >>> lower <= 2.0 + 1e-9 <= upper + 2e-9
        True

    Source: the probability is recalled [R] from Kuczynski and Wozniakowski, SIAM J.
    Matrix Anal. Appl. 13 (1992), Theorem 4.2.
    """
    check_count("dimension", dimension)
    check_count("steps", steps)
    if not 0 < failure < 1:
        raise ValueError(f"failure must lie in (0, 1), got {failure!r}")
    steps = min(steps, dimension)
    vector = np.random.default_rng(seed).standard_normal(dimension)
    basis = np.empty((steps, dimension))
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    vector /= np.linalg.norm(vector)
    made = steps
    for k in range(steps):
        basis[k] = vector
        image = product(vector)
        diagonal[k] = vector @ image
        # Twice, against the whole basis: plain Lanczos loses orthogonality.
        for _ in range(2):
            image = image - basis[: k + 1].T @ (basis[: k + 1] @ image)
        beside[k] = np.linalg.norm(image)
        if beside[k] <= 1e-13 * max(abs(diagonal[0]), np.finfo(float).tiny):
            made = k + 1  # an invariant subspace: every eigenvalue it meets is exact
            break
        vector = image / beside[k]
    ritz = np.asarray(
        scipy.linalg.eigvalsh_tridiagonal(diagonal[:made], beside[: made - 1])
    )
    theta = float(max(ritz.max(), 0.0))
    if made < steps or made == dimension:
        return theta, theta
    root = np.log(1.648 * np.sqrt(dimension) / failure) / (2 * made - 1)
    if root >= 1:
        raise ValueError(
            f"{made} steps are too few to bound with a failure of {failure:g}; allow "
            f"at least {int(np.ceil(root * (2 * made - 1) / 2)) + 1}"
        )
    return theta / (1 - root**2), theta


def estimate_smoothness(
    problem: Any, params: Any = None, *, steps: int = 20, seed: int = 0
) -> Smoothness:
    """L near a point by power iteration on the Hessian of f: a lower estimate only.

    Every step also gives ||H_i v|| for each worker, whose largest value is a lower
    estimate of L_i. Curvature elsewhere may be larger: take the largest over the points
    of a trajectory.

    Args:
        problem: a `Problem` whose gradients can be differentiated.
        params: pytree like `problem.init_params()`, which is the default.
        steps: power iterations, >= 1.
        seed: seed of the first direction.

    Returns:
        `Smoothness` with certainty "lower estimate" and strong convexity 0.

    Raises:
        ValueError: if params do not fit.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> found = estimate_smoothness(quadratic(2, 3, smoothness=2.0))
        >>> bool(0.5 < found.of_f <= 2.0)
        True
    """
    check_count("steps", steps)
    check_non_negative(seed=seed)
    point = flat_params(problem, params)
    direction = np.random.default_rng(seed).standard_normal(point.size)
    with jax.enable_x64(True):
        whole, parts = _power_iteration(
            Layout.of(problem), steps, double(problem), point, direction
        )
        return Smoothness(
            of_f=float(whole),
            per_worker=np.asarray(parts),
            strong_convexity=0.0,
            certainty="lower estimate",
        )


@partial(jax.jit, static_argnums=(0, 1))
def _power_iteration(
    layout: Layout, steps: int, problem: Any, point: Any, direction: Any
) -> tuple[jax.Array, jax.Array]:
    def table(at: jax.Array) -> jax.Array:
        return flat_rows(problem.local_gradients(layout.fold(at)))

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
