"""Rates against lanes, workers, dimension and arrivals."""

import numpy as np
import pytest

import asgrad_jax as ag
from benchmarks.cases import engine_run, random_logistic, schedules, shared_diagonal
from benchmarks.timing import ON_CPU, sized, spread


@pytest.mark.parametrize("lanes", spread(1, 4, 16, 64, 256, 1024, 4096, quick=(1, 256)))
def test_lanes(rate, lanes):
    """Step sizes on one schedule: n=10, m=200, d=60 logistic."""
    arrivals = max(100 if ON_CPU else 5_000, sized(100_000, 10_000) // lanes)
    problem = random_logistic(10, 200, 60)
    rate(engine_run(problem, schedules(10, arrivals), lanes), lanes * arrivals)


@pytest.mark.parametrize(
    "workers", spread(10, 100, 1000, 10_000, 100_000, quick=(10, 1000))
)
def test_workers(rate, workers):
    """Workers: quadratic with d=100, one lane, uniformly random orders."""
    arrivals = sized(100_000, 10_000)
    problem = ag.quadratic(workers, 100, same_hessian=True)
    times = ag.compute_times.exponential(np.ones(workers))
    schedule = ag.simulate("random_async", times, num_gradients=arrivals)
    rate(engine_run(problem, [schedule], 1), arrivals)


@pytest.mark.parametrize(
    "features",
    spread(100, 1000, 10_000, 100_000, 1_000_000, quick=(100, 10_000)),
)
def test_features(rate, features):
    """Dimension: diagonal quadratic, 10 workers, one lane."""
    arrivals = max(100, min(50_000, sized(10**8, 10**7) // features))
    problem = shared_diagonal(features, 10)
    rate(engine_run(problem, schedules(10, arrivals), 1), arrivals)


@pytest.mark.parametrize(
    "dimension", spread(1000, 10_000, 100_000, 1_000_000, quick=(1000, 10_000))
)
def test_large_iterates(rate, dimension):
    """Diagonal quadratic, 10 workers, 3 schedules x 32 lanes."""
    arrivals = max(20, min(2_000, sized(2 * 10**7, 10**6) // dimension))
    problem = shared_diagonal(dimension, 10)
    rate(engine_run(problem, schedules(10, arrivals, seeds=3), 32), 96 * arrivals)


@pytest.mark.parametrize(
    "arrivals", spread(1000, 10_000, 100_000, 1_000_000, quick=(1000, 10_000))
)
def test_arrivals(rate, arrivals):
    """Arrivals: quadratic with d=100, 10 workers, one lane, 100 records."""
    problem = ag.quadratic(10, 100, same_hessian=True)
    run = engine_run(
        problem, schedules(10, arrivals), 1, record_every=max(1, arrivals // 100)
    )
    rate(run, arrivals)
