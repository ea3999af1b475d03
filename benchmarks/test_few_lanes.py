"""One schedule with few step sizes: all cores on its passes over the rows, or one."""

import pytest

import asgrad_jax as ag
from benchmarks.cases import (
    WithoutMetrics,
    engine_run,
    libsvm,
    random_logistic,
    schedules,
)
from benchmarks.test_waves import problem_of, schedule_of
from benchmarks.timing import cpu_only, sized


def compare(versus, problem, schedule, lanes: int) -> None:
    work = len(schedule) * lanes
    versus(
        {
            name: (engine_run(problem, [schedule], lanes, threads=threads), work)
            for name, threads in (("engine", None), ("one core", 1))
        },
        rounds=5,
    )


@cpu_only
@pytest.mark.parametrize("lanes", [1, 10])
@pytest.mark.parametrize("storage", ["dense", "sparse"])
def test_large_shards(versus, storage, lanes):
    """w7a (n=10, m=2460, d=300), full gradients."""
    problem = ag.logistic_regression(*libsvm("w7a", 24_600), 10, storage=storage)
    arrivals = sized({"dense": 1_000, "sparse": 4_000}[storage], 100)
    compare(versus, problem, schedules(10, arrivals)[0], lanes)


@cpu_only
@pytest.mark.parametrize("lanes", [1, 4, 10])
def test_many_features(versus, lanes):
    """n=10, m=100, d=2000, full gradients."""
    problem = WithoutMetrics(random_logistic(10, 100, 2_000))
    compare(versus, problem, schedules(10, sized(4_000, 100))[0], lanes)


@cpu_only
@pytest.mark.parametrize("n", [100, 1000])
def test_waves(versus, n):
    """m=200, d=60, full gradients, times alike, one step size; waves are chosen."""
    problem = WithoutMetrics(problem_of("full", n))
    compare(versus, problem, schedule_of(n, "alike", sized(600_000, 1_000)), 1)
