"""Methods with a server of their own against pure asynchronous SGD."""

import numpy as np
import pytest

import asgrad_jax as ag
from benchmarks.cases import engine_run, random_logistic
from benchmarks.timing import sized

METHODS = ("pure_async", "dc_asgd", "gap_aware", "fedasync", "async_momentum", "ormo")


@pytest.mark.parametrize("lanes", [1, 32])
def test_corrections(versus, lanes):
    """n=10, m=200, d=60, full gradients; the corrections look at x_r."""
    problem = random_logistic(10, 200, 60)
    arrivals = sized({1: 20_000, 32: 4_000}[lanes], 100)
    times = ag.compute_times.exponential(np.arange(1.0, 11))
    work = arrivals * lanes
    versus(
        {
            name: (
                engine_run(
                    problem, [ag.simulate(name, times, num_gradients=arrivals)], lanes
                ),
                work,
            )
            for name in METHODS
        },
        rounds=7,
    )
