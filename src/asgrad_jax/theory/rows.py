"""The rows of one worker of a logistic regression, dense or sparse, for host code."""

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from asgrad_jax.problems.logistic import LogisticRegression
from asgrad_jax.problems.sparse_shards import SparseShards


def worker_rows(problem: LogisticRegression, worker: int) -> Any:
    """The rows a_ij that a worker owns, without padding, as they are stored.

    Args:
        problem: logistic regression, dense or sparse.
        worker: i in 0..n-1.

    Returns:
        float64[m_i, d], an array, or a SciPy CSR array where the storage is sparse.

    Example:
        >>> from asgrad_jax.problems.logistic import logistic_regression
        >>> problem = logistic_regression(np.eye(4), [1, -1, 1, -1], 2)
        >>> worker_rows(problem, 1)
        array([[0., 0., 1., 0.],
               [0., 0., 0., 1.]])
    """
    shards = problem.features
    if not isinstance(shards, SparseShards):
        return np.asarray(shards[worker, : problem.counts[worker]], np.float64)
    return shards.rows_of(worker).astype(np.float64)


def one_blas_thread() -> threadpool_limits:
    """A context in which NumPy and SciPy compute on one core.

    Matrices of a few hundred columns gain nothing from more, and BLAS threads that wait
    for each other on a busy machine cost 10 times the work itself (w7a, 2 cores).

    Example:
        >>> with one_blas_thread():
        ...     np.eye(2) @ np.eye(2)
        array([[1., 0.],
               [0., 1.]])
    """
    return threadpool_limits(1, "blas")
