"""Sparse shards against dense ones and against SciPy, on w7a (3.9% nonzeros).

SciPy gets what a careful researcher would write: schedules and slots given, CSR and its
transpose per worker, step sizes as columns, one process per core. Float32, full local
gradients, warm, interleaved medians.
"""

import concurrent.futures
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.run.execute import Experiment, execute

WORKERS, ROWS, STRENGTH = 10, 2460, 0.1
METHODS = ("pure_async", "random_async", "shuffled_async")


@pytest.fixture(scope="module")
def w7a():
    """Features (CSR float32) and labels of the first 24,600 rows."""
    shared = Path(os.environ.get("ASGRAD_SHARED", Path(__file__).parents[2] / "shared"))
    path = shared / "data" / "w7a.txt"
    try:
        features, labels = ag.datasets.load_libsvm(path if path.exists() else "w7a")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    used = slice(WORKERS * ROWS)
    return features[used].astype(np.float32), labels[used].astype(np.float32)


def make_schedules(arrivals, seeds):
    clock = ag.compute_times.normal(range(1, WORKERS + 1))
    return [
        ag.simulate(method, clock, num_gradients=arrivals, seed=seed)
        for method in METHODS
        for seed in range(seeds)
    ]


def engine_run(problem, schedules, lanes, record_every):
    experiment = Experiment(
        problem=problem, params=problem.init_params(), record_every=record_every
    )
    hyper = {"step_size": np.full(lanes, 0.01)}

    def go():
        execute(experiment, schedules, range(len(schedules)), hyper)

    return go


def scipy_load(features, labels):
    """Runs once in each process: the shards, as CSR and transposed."""
    global _shards, _whole
    cut = [slice(i * ROWS, (i + 1) * ROWS) for i in range(WORKERS)]
    _shards = [scipy_parts(features[rows], labels[rows]) for rows in cut]
    _whole = scipy_parts(features, labels)


def scipy_parts(features, labels):
    return features.tocsr(), features.T.tocsr(), labels[:, None]


def scipy_gradient(parts, x):
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


def scipy_one(job):
    """One schedule: rows are (worker, read slot, write slot); norms, if wanted."""
    rows, slots, lanes, norms = job
    with np.errstate(over="ignore"):
        x = np.ones((_shards[0][0].shape[1], lanes), np.float32)
        buffer = [x] * (slots + 1)
        for worker, read, write in rows:
            x = x - np.float32(0.01) * scipy_gradient(_shards[worker], buffer[read])
            buffer[write] = x
            if norms:
                np.linalg.norm(scipy_gradient(_whole, x), axis=0)


@pytest.fixture(scope="module")
def scipy_pool(w7a):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        len(os.sched_getaffinity(0)), context, scipy_load, w7a
    ) as pool:
        yield pool


def scipy_run(pool, schedules, lanes, norms=False):
    jobs = []
    for schedule in schedules:
        plan = ag.plan_slots(schedule)
        columns = (schedule.worker, plan.read_slot[:, 0], plan.write_slot[:, 0])
        rows = list(zip(*(np.asarray(c).tolist() for c in columns), strict=True))
        jobs.append((rows, plan.num_slots, lanes, norms))
    return lambda: list(pool.map(scipy_one, jobs))


@pytest.mark.parametrize(
    ("lanes", "over_dense", "over_scipy"), [(32, 1.8, 1.0), (128, 3.0, 2.0)]
)
def test_grid(versus, w7a, scipy_pool, lanes, over_dense, over_scipy):
    """3 methods x 10 seeds x 32 or 128 step sizes, no metrics but at the ends."""
    arrivals = 3200 // lanes
    schedules = make_schedules(arrivals, seeds=10)
    work = len(schedules) * arrivals * lanes
    cases = {}
    for storage in ("sparse", "dense"):
        problem = ag.logistic_regression(*w7a, WORKERS, storage=storage)
        cases[storage] = engine_run(problem, schedules, lanes, arrivals), work
    cases["SciPy CSR"] = scipy_run(scipy_pool, schedules, lanes), work
    versus(cases, targets={"dense": over_dense, "SciPy CSR": over_scipy}, rounds=5)


def test_norm_at_every_gradient(versus, w7a, scipy_pool):
    """3 methods x 10 step sizes, the full gradient norm at every gradient."""
    arrivals, lanes = 100, 10
    schedules = make_schedules(arrivals, seeds=1)
    work = len(schedules) * arrivals * lanes
    problem = ag.logistic_regression(*w7a, WORKERS, storage="sparse")
    versus(
        {
            "sparse": (engine_run(problem, schedules, lanes, 1), work),
            "SciPy CSR": (scipy_run(scipy_pool, schedules, lanes, norms=True), work),
            "sparse, every 50th": (engine_run(problem, schedules, lanes, 50), work),
        },
        targets={"SciPy CSR": 2.0},
        rounds=5,
    )
