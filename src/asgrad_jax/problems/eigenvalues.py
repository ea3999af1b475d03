"""Largest eigenvalues of the data of a problem, bounded from above, for its constants.

SciPy and threadpoolctl come with the first use: they are slow to import.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_count, check_number

# Up to this order a dense eigenvalue solver is quick and leaves no doubt.
_DENSE_ORDER = 1024
# Chance that a Lanczos bound is too small, over all workers together.
_FAILURE = 1e-6


def worker_rows(problem: Any, worker: int) -> tuple[Any, NDArray[np.float64]]:
    """The rows that a worker owns, float64[m_i, d], as stored, and their labels[m_i].

    Args:
        problem: a `LogisticRegression`; where its features are `SparseShards`, the rows
            are a CSR array.
        worker: i in 0..n-1.

    Example:
        >>> from asgrad_jax.problems.logistic import logistic_regression
        >>> problem = logistic_regression(np.eye(4), [1, -1, 1, -1], 2)
        >>> worker_rows(problem, 1)[0]
        array([[0., 0., 1., 0.],
               [0., 0., 0., 1.]])
    """
    from asgrad_jax.problems.sparse_shards import SparseShards

    features, starts, count = (
        problem.features,
        problem.row_starts,
        problem.counts[worker],
    )
    if starts is None:
        index = worker, slice(count)
    else:
        index = slice(starts[worker], starts[worker] + count)
    labels = np.asarray(problem.labels[index], np.float64)
    if isinstance(features, SparseShards):
        return features.rows_of(worker).astype(np.float64), labels
    return np.asarray(features[index], np.float64), labels


def one_blas_thread() -> Any:
    """A context in which NumPy and SciPy compute on one core.

    Matrices of a few hundred columns gain nothing from more, and BLAS threads that wait
    for each other on a busy machine cost 10 times the work itself (w7a, 2 cores).

    Example:
        >>> with one_blas_thread():
        ...     np.eye(2) @ np.eye(2)
        array([[1., 0.],
               [0., 1.]])
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "blas")


def mean_gram_eigenvalues(
    shards: Sequence[Any], scale: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], float, bool]:
    """Bounds from above on lambda_max of c_i A_i' A_i/m_i and of their mean over i.

    Returns float64[n] for the workers, the number for the mean, and whether both are
    certain (else each is with a probability of 1 - 1e-6). They are the curvatures of
    (c_i/2 m_i) ||A_i x||^2, and with them of any loss of the margins A_i x whose second
    derivative is bounded.

    Args:
        shards: A_i, float64[m_i, d] each, arrays or SciPy sparse arrays.
        scale: float64[n], c_i > 0; None for ones.

    Example:
        >>> shards = [np.eye(1), 2 * np.eye(1)]
        >>> per_worker, whole, certain = mean_gram_eigenvalues(shards)
        >>> per_worker.round(12), round(whole, 12), certain
        (array([1., 4.]), 2.5, True)
    """
    import scipy.sparse

    factors = np.ones(len(shards)) if scale is None else scale
    shards = [
        rows / np.sqrt(rows.shape[0] / factor)
        for rows, factor in zip(shards, factors, strict=True)
    ]
    failure = _FAILURE / (len(shards) + 1)
    with one_blas_thread():
        found = [largest_gram_eigenvalue(rows, failure=failure) for rows in shards]
        if len(shards) == 1:
            whole = found[0]
        else:
            sparse = scipy.sparse.issparse(shards[0])
            stack = scipy.sparse.vstack if sparse else np.vstack
            stacked = stack(shards) / np.sqrt(len(shards))
            whole = largest_gram_eigenvalue(stacked, failure=failure)
    certain = all(sure for _, sure in (*found, whole))
    return np.array([value for value, _ in found]), whole[0], certain


def largest_gram_eigenvalue(
    matrix: Any, *, failure: float = _FAILURE
) -> tuple[float, bool]:
    """An upper bound on lambda_max(A'A), A float64[m, d], and whether it is certain.

    A is an array or a SciPy sparse array. The bound is exact and certain where min(m,d)
    is at most 1024, else `lanczos_upper_bound`, too small with probability `failure`.

    Example:
        >>> value, certain = largest_gram_eigenvalue(np.diag([1.0, 3.0]))
        >>> round(value, 12), certain
        (9.0, True)
    """
    import scipy.linalg
    import scipy.sparse

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
    (2k - 1)), as recalled [R]; e is chosen so that the right side is `failure`, which
    gives lambda_max <= theta/(1 - e).

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
    import scipy.linalg

    check_count("dimension", dimension)
    check_count("steps", steps)
    check_number("failure", failure, above=0, below=1)
    diagonal, beside = _lanczos(product, dimension, min(steps, dimension), seed)
    made = len(diagonal)
    ritz = scipy.linalg.eigvalsh_tridiagonal(diagonal, beside[: made - 1])
    theta = float(max(np.asarray(ritz).max(), 0.0))
    if made < min(steps, dimension) or made == dimension:
        return theta, theta
    root = np.log(1.648 * np.sqrt(dimension) / failure) / (2 * made - 1)
    if root >= 1:
        raise ValueError(
            f"{made} steps are too few to bound with a failure of {failure:g}; allow "
            f"at least {int(np.ceil(root * (2 * made - 1) / 2)) + 1}"
        )
    return theta / (1 - root**2), theta


def _lanczos(
    product: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    dimension: int,
    steps: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Diagonal and off-diagonal of the tridiagonal matrix, [made] each."""
    vector = np.random.default_rng(seed).standard_normal(dimension)
    basis = np.empty((steps, dimension))
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    vector /= np.linalg.norm(vector)
    for k in range(steps):
        basis[k] = vector
        image = product(vector)
        diagonal[k] = vector @ image
        # Twice, against the whole basis: plain Lanczos loses orthogonality.
        for _ in range(2):
            image = image - basis[: k + 1].T @ (basis[: k + 1] @ image)
        beside[k] = np.linalg.norm(image)
        if beside[k] <= 1e-13 * max(abs(diagonal[0]), np.finfo(float).tiny):
            # An invariant subspace: every eigenvalue it meets is exact.
            return diagonal[: k + 1], beside[: k + 1]
        vector = image / beside[k]
    return diagonal, beside
