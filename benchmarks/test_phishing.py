"""phishing (n=100, m=110, d=68), 3 methods x 10 seeds x 32 step sizes."""

import pytest

import asgrad_jax as ag
from benchmarks.cases import METHODS, engine_run, libsvm, numpy_run, schedules
from benchmarks.timing import cpu_only, sized

LANES = 32


@pytest.fixture(scope="module")
def problem():
    features, labels = libsvm("phishing", 11_000)
    return ag.logistic_regression(features, labels, 100, storage="dense")


@pytest.fixture(scope="module")
def grid():
    return schedules(100, sized(1_000, 100), methods=METHODS, seeds=10)


@cpu_only
def test_threads(versus, problem, grid):
    """Two threads against one."""
    work = len(grid) * len(grid[0]) * LANES
    versus(
        {
            f"{threads} threads": (
                engine_run(problem, grid, LANES, threads=threads),
                work,
            )
            for threads in (2, 1)
        },
        targets={"1 threads": 1.6},
        rounds=5,
    )


def test_numpy(versus, problem, grid):
    """All cores against the NumPy loop with vectorised step sizes on one thread."""
    arrivals = len(grid[0])
    work = arrivals * LANES
    versus(
        {
            "engine": (engine_run(problem, grid, LANES), len(grid) * work),
            "NumPy vectorised": (numpy_run(problem, LANES, arrivals), work),
        },
        targets={"NumPy vectorised": 1.6},
        rounds=5,
    )
