"""Grids on all cores: many step sizes, many schedules."""

import concurrent.futures
import os

import asgrad_jax as ag
from benchmarks.cases import (
    METHODS,
    engine_run,
    libsvm,
    numpy_run,
    random_logistic,
    schedules,
)
from benchmarks.test_throughput import bare_scan
from benchmarks.timing import cpu_only, sized


def test_seeds(versus):
    """n=10, m=200, d=60, 32 step sizes x 8 seeds; NumPy on one thread."""
    arrivals, lanes = sized(5_000, 500), 32
    problem = random_logistic(10, 200, 60)
    chosen = schedules(10, arrivals, seeds=8)
    versus(
        {
            "engine": (engine_run(problem, chosen, lanes), 8 * lanes * arrivals),
            "NumPy one at a time": (numpy_run(problem, 1, arrivals), arrivals),
            "NumPy vectorised": (numpy_run(problem, lanes, arrivals), lanes * arrivals),
        },
        targets={"NumPy one at a time": 16.0, "NumPy vectorised": 1.6},
    )


def test_many_step_sizes(versus):
    """n=10, m=200, d=60, 512 step sizes on one schedule; NumPy on one thread."""
    arrivals, lanes = sized(1_000, 100), 512
    problem = random_logistic(10, 200, 60)
    chosen = schedules(10, arrivals)
    work = lanes * arrivals
    versus(
        {
            "engine": (engine_run(problem, chosen, lanes), work),
            "NumPy one at a time": (numpy_run(problem, 1, 5 * arrivals), 5 * arrivals),
            "NumPy vectorised": (numpy_run(problem, lanes, arrivals), work),
        },
        targets={"NumPy one at a time": 25.0},
    )


@cpu_only
def test_w7a_dense(versus):
    """w7a dense, 3 methods x 10 seeds x 32 step sizes; bare products on all cores."""
    arrivals, lanes = sized(200, 10), 32
    features, labels = libsvm("w7a", 24_600)
    problem = ag.logistic_regression(features, labels, 10, storage="dense")
    chosen = schedules(10, arrivals, methods=METHODS, seeds=10)
    work = len(chosen) * lanes * arrivals
    scans = [bare_scan(problem, s, lanes, products_only=True) for s in chosen[:2]]
    cores = len(os.sched_getaffinity(0))

    def products():
        with concurrent.futures.ThreadPoolExecutor(cores) as pool:
            futures = [pool.submit(scans[k % 2]) for k in range(len(chosen))]
            for future in futures:
                future.result()

    versus(
        {
            "engine, dense": (engine_run(problem, chosen, lanes), work),
            "matrix products": (products, work),
        },
        targets={"matrix products": 0.8},
        rounds=5,
    )
