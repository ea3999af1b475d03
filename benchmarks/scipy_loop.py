"""The strongest sparse baseline: SciPy CSR, step sizes as columns, a process per core.

Schedules and slots are given, every shard is kept as CSR and as the CSR of its
transpose, and temporaries are reused: what a careful researcher would write.
"""

import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable, Sequence

import numpy as np

import asgrad_jax as ag

STRENGTH = 0.1


def load(features, labels, num_workers: int) -> None:
    """Runs once in every process: cuts the shards."""
    global _shards, _whole
    rows = features.shape[0] // num_workers
    cuts = [slice(i * rows, (i + 1) * rows) for i in range(num_workers)]
    _shards = [_parts(features[cut], labels[cut]) for cut in cuts]
    _whole = _parts(features, labels)


def _parts(features, labels):
    return features.tocsr(), features.T.tocsr(), labels[:, None]


def gradient(parts, x):
    """Returns the gradient of logistic loss and nonconvex regulariser, [d, S]."""
    rows, columns, labels = parts
    z = rows @ x
    z *= labels
    np.exp(z, out=z)
    z += 1
    np.divide(np.float32(-1 / len(labels)), z, out=z)
    z *= labels
    g = columns @ z
    q = x * x
    q += 1
    q *= q
    np.divide(x, q, out=q)
    q *= np.float32(2 * STRENGTH)
    g += q
    return g


def trajectory(rows, slots: int, lanes: int, stride: int) -> np.ndarray:
    """Runs one schedule.

    Args:
        rows: (worker, read slot, write slot) of every arrival.
        slots: iterates held, the scratch slot apart.
        lanes: S step sizes.
        stride: arrivals between two full gradient norms.

    Returns:
        The norms, [records, S].
    """
    x = np.ones((_whole[0].shape[1], lanes), np.float32)
    buffer = [x] * (slots + 1)
    norms = []
    with np.errstate(over="ignore"):
        for a, (worker, read, write) in enumerate(rows, start=1):
            x = x - np.float32(0.01) * gradient(_shards[worker], buffer[read])
            buffer[write] = x
            if a % stride == 0:
                norms.append(np.linalg.norm(gradient(_whole, x), axis=0))
    return np.array(norms)


def pool(features, labels, num_workers: int) -> concurrent.futures.ProcessPoolExecutor:
    """Returns a process per core, each with the shards."""
    return concurrent.futures.ProcessPoolExecutor(
        len(os.sched_getaffinity(0)),
        multiprocessing.get_context("spawn"),
        load,
        (features, labels, num_workers),
    )


def scipy_run(
    processes: concurrent.futures.Executor,
    schedules: Sequence,
    lanes: int,
    *,
    record_every: int | None = None,
) -> Callable[[], list[np.ndarray]]:
    """Returns a function that runs all schedules, one per process at a time.

    Args:
        processes: what `pool` returned.
        schedules: plain ones, where every arrival steps with weight 1.
        lanes: S step sizes.
        record_every: arrivals between two norms; None for none.
    """
    jobs = []
    for schedule in schedules:
        plan = ag.plan_slots(schedule)
        columns = (schedule.worker, plan.read_slot[:, 0], plan.write_slot[:, 0])
        rows = list(zip(*(np.asarray(c).tolist() for c in columns), strict=True))
        jobs.append((rows, plan.num_slots, lanes, record_every or len(rows) + 1))
    return lambda: list(processes.map(trajectory, *zip(*jobs, strict=True)))
