"""The AsGrad authors' workload: w7a, 3 methods x 10 step sizes x 500 gradients.

The figures count milliseconds per gradient of one lane, recorded norms included.
"""

import pytest

import asgrad_jax as ag
from benchmarks.cases import METHODS, engine_run, libsvm, schedules
from benchmarks.scipy_loop import pool, scipy_run
from benchmarks.timing import ON_CPU, interleave, sized

WORKERS, ROWS, LANES = 10, 24_600, 10
# The published NumPy code on this class of machine, float64, a norm at every gradient.
PUBLISHED_MS = 9.7


@pytest.fixture(scope="module")
def w7a():
    return libsvm("w7a", ROWS)


@pytest.fixture(scope="module")
def processes(w7a):
    with pool(*w7a, WORKERS) as ready:
        yield ready


@pytest.fixture(scope="module")
def grid():
    return schedules(WORKERS, sized(500, 50), methods=METHODS)


def test_norm_at_every_gradient(versus, w7a, processes, grid):
    """The full gradient norm at every gradient."""
    work = len(grid) * len(grid[0]) * LANES
    storages = ("sparse", "dense") if ON_CPU else ("dense",)
    problems = {s: ag.logistic_regression(*w7a, WORKERS, storage=s) for s in storages}
    versus(
        {
            **{
                f"engine, {s}": (engine_run(p, grid, LANES, record_every=1), work)
                for s, p in problems.items()
            },
            "SciPy CSR": (scipy_run(processes, grid, LANES, record_every=1), work),
        },
        targets={"SciPy CSR": 2.0},
        rounds=3,
    )


def test_milliseconds(benchmark, value, w7a, grid):
    """A norm at every gradient against one at every 50th."""
    work = len(grid) * len(grid[0]) * LANES
    problem = ag.logistic_regression(*w7a, WORKERS)
    seconds = interleave(
        benchmark,
        {
            stride: engine_run(problem, grid, LANES, record_every=stride)
            for stride in (1, 50)
        },
        rounds=3,
    )
    every, rare = (1e3 * seconds[stride] / work for stride in (1, 50))
    value("norm at every gradient", every, "ms", target=PUBLISHED_MS / 60)
    value("norm at every 50th gradient", rare, "ms", target=PUBLISHED_MS / 60 / 8)
    value("less by the stride", every / rare, "times")
