"""What the theorem of asgrad_jax speaks about, measured along one run.

Everything is a function of the jobs' gradients in assignment order: the virtual
sequence y_t = x_0 - gamma sum_{j<t} g_j, the iterates z_t = x_0 - gamma sum_{j in A_t}
g_j at which the jobs were computed, the chunk starts u_k = y_{k tau}, and the local
gradients at z_t and u_k.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_count
from asgrad_jax.theory.assignment import Assignment, prefix_sums

# Local gradients of every worker at many points: float[N, d] -> float[N, n, d].
LocalGradients = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_BLOCK = 2**22  # numbers of local gradients held at once


@dataclass(frozen=True)
class RunMeasures:
    """Means over the first T' = K tau jobs of one run (or over several runs).

    Attributes:
        grad_sq: mean over t of ||grad f(z_t)||^2, the theorem's left side.
        start_grad_sq: mean over k of ||grad f(u_k)||^2.
        drift_sq: mean over t of ||z_t - u_k||^2, u_k the start of t's chunk.
        stale_sq: mean over t of ||z_t - y_t||^2.
        spread_sq: mean over t of ||y_t - u_k||^2.
        chunk_sq: C^2 at the u_k.
        partial_sq: S^2 at the u_k.
        in_flight_sq: nu^2 at the z_t.
    """

    grad_sq: float
    start_grad_sq: float
    drift_sq: float
    stale_sq: float
    spread_sq: float
    chunk_sq: float
    partial_sq: float
    in_flight_sq: float


def average(runs: Sequence[RunMeasures]) -> RunMeasures:
    """Means over at least one run: the theorem's expectations, by replicates.

    Raises:
        ValueError: if there are none.
    """
    if not runs:
        raise ValueError("average needs at least one run, got none")
    return RunMeasures(*np.mean([astuple(run) for run in runs], axis=0).tolist())


def measure(
    jobs: Assignment,
    gradients: NDArray[np.float64],
    start: NDArray[np.float64],
    *,
    step_size: float,
    chunk_length: int,
    local_gradients: LocalGradients,
) -> RunMeasures:
    """Measures a run from the gradients its jobs returned.

    Args:
        jobs: the T jobs in assignment order; those after the last whole chunk are left
            out.
        gradients: g_t as the jobs returned them, noise included, float64[T, d].
        start: x_0, float64[d].
        step_size: gamma times the weight of a gradient.
        chunk_length: tau, jobs, 1 <= tau <= T.
        local_gradients: noise-free grad f_i at N points, [N, d] -> [N, n, d].

    Raises:
        ValueError: if the chunk length is out of range or the shapes do not fit.
    """
    check_count("chunk_length", chunk_length, maximum=jobs.num_jobs)
    if gradients.shape != (jobs.num_jobs, start.size):
        raise ValueError(
            f"gradients must have shape ({jobs.num_jobs}, {start.size}), got "
            f"{gradients.shape}"
        )
    chunks = jobs.num_jobs // chunk_length
    jobs = jobs.first(chunks * chunk_length)
    gradients = gradients[: chunks * chunk_length]
    y = start - step_size * prefix_sums(gradients)[:-1]
    z = start - step_size * jobs.applied_sums(gradients)
    u = y[::chunk_length]
    u_of_job = np.repeat(u, chunk_length, axis=0)

    full_z, deviation = _along_jobs(jobs, z, local_gradients)
    in_flight = prefix_sums(deviation)[:-1] - jobs.applied_sums(deviation)
    start_grad, whole, largest = _at_chunk_starts(
        jobs, u, chunk_length, local_gradients
    )
    return RunMeasures(
        grad_sq=_mean_sq(full_z),
        start_grad_sq=start_grad,
        drift_sq=_mean_sq(z - u_of_job),
        stale_sq=_mean_sq(z - y),
        spread_sq=_mean_sq(y - u_of_job),
        chunk_sq=whole,
        partial_sq=largest,
        in_flight_sq=_mean_sq(in_flight),
    )


def _mean_sq(rows: NDArray[np.float64]) -> float:
    return float(np.mean(np.sum(rows**2, axis=1)))


def _along_jobs(
    jobs: Assignment, z: NDArray[np.float64], local_gradients: LocalGradients
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """grad f(z_t) and h_{k_t}(z_t), [T', d] each."""
    # Jobs that read one version share their point: compute it once.
    first = np.flatnonzero(np.diff(jobs.read, prepend=-1))
    point = np.cumsum(np.diff(jobs.read, prepend=-1) != 0) - 1
    full = np.empty((first.size, z.shape[1]))
    deviation = np.empty_like(z)
    block = max(1, _BLOCK // (jobs.num_workers * z.shape[1]))
    for low in range(0, first.size, block):
        tables = local_gradients(z[first[low : low + block]])
        full[low : low + block] = tables.mean(axis=1)
        here = np.flatnonzero((point >= low) & (point < low + block))
        at = point[here]
        deviation[here] = tables[at - low, jobs.worker[here]] - full[at]
    return full[point], deviation


def _at_chunk_starts(
    jobs: Assignment,
    u: NDArray[np.float64],
    chunk_length: int,
    local_gradients: LocalGradients,
) -> tuple[float, float, float]:
    """Means over chunks of ||grad f(u)||^2, ||whole sum||^2, largest ||partial||^2."""
    workers = jobs.worker.reshape(-1, chunk_length)
    found = np.zeros(3)
    block = max(1, _BLOCK // (max(jobs.num_workers, chunk_length) * u.shape[1]))
    for low in range(0, len(u), block):
        tables = local_gradients(u[low : low + block])
        full = tables.mean(axis=1, keepdims=True)
        chunk = workers[low : low + block]
        sums = np.cumsum((tables - full)[np.arange(len(chunk))[:, None], chunk], axis=1)
        norms = np.sum(sums**2, axis=2)
        found += np.sum(full**2), norms[:, -1].sum(), norms.max(axis=1).sum()
    grad_sq, whole, largest = (found / len(u)).tolist()
    return grad_sq, whole, largest
