"""Arrivals simulated per second, from the call of `simulate` to the schedule.

Rates of one thread go by the thread's CPU clock, so that whatever else runs on the
machine counts little; those of several threads by the wall clock. Every call has its
own seed.
"""

import itertools
import subprocess
import sys
import time

import numpy as np
import pytest

import asgrad_jax as ag
from benchmarks.cases import METHODS
from benchmarks.timing import cpu_only, sized

pytestmark = cpu_only

one_thread = pytest.mark.benchmark(timer=time.thread_time)

# Runs in a process of its own.
_MEMORY = """
import sys
import numpy as np
import asgrad_jax as ag
from benchmarks import peak
times = ag.compute_times.normal(np.arange(1, 1001))
ag.simulate("shuffled_async", times, num_gradients=10)
before = peak.begin()
schedule = ag.simulate("shuffled_async", times, num_gradients=int(sys.argv[1]))
print(schedule.nbytes / 1e9, peak.growth(before) / 1e9)
"""

_FIRST_CALL = """
import time
from asgrad_jax import compute_times
from asgrad_jax.simulation.simulate import simulate
start = time.perf_counter()
simulate("shuffled_async", compute_times.normal(range(1, 11)), num_gradients=100)
print(time.perf_counter() - start)
"""


class VectorSampler:
    """A user's sampler: exponential plus one, whole blocks at a time."""

    def __init__(self, num_workers: int):
        self.num_workers = num_workers

    def sample(self, worker, rng, size):
        return 1.0 + rng.exponential(worker + 1.0, size)


def simulation(method, times, arrivals, **options):
    """Returns a function that simulates with another seed at every call."""
    seeds = itertools.count()
    return lambda: ag.simulate(
        method, times, num_gradients=arrivals, seed=next(seeds), **options
    )


@one_thread
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("workers", [100, 1000, 100_000])
def test_sizes(rate, method, workers):
    """Normal times, by the number of workers."""
    arrivals = sized(1_000_000, 100_000)
    times = ag.compute_times.normal(np.arange(1, workers + 1))
    rate(simulation(method, times, arrivals), arrivals, unit="arrivals/s")


@one_thread
@pytest.mark.parametrize("family", ["fixed", "poisson", "gamma", "lognormal", "pareto"])
def test_families(rate, family):
    """Shuffled asynchronous SGD, 1,000 workers, by the law of the times."""
    arrivals = sized(1_000_000, 100_000)
    times = ag.compute_times.get(family, np.arange(1, 1001))
    rate(simulation("shuffled_async", times, arrivals), arrivals, unit="arrivals/s")


@one_thread
@pytest.mark.parametrize(
    "method", ["fedbuff", "random_waiting", "ringmaster", "rennala"]
)
def test_methods(rate, method):
    """Normal times, 1,000 workers, by the method."""
    arrivals = sized(1_000_000, 100_000)
    times = ag.compute_times.normal(np.arange(1, 1001))
    rate(simulation(method, times, arrivals), arrivals, unit="arrivals/s")


@one_thread
@pytest.mark.parametrize("engine", ["auto", "python"])
def test_user_samplers(rate, engine):
    """A user's sampler, 1,000 workers, on the compiled loop and on the readable one."""
    arrivals = sized(1_000_000, 100_000) // (1 if engine == "auto" else 30)
    run = simulation("shuffled_async", VectorSampler(1000), arrivals, engine=engine)
    rate(run, arrivals, unit="arrivals/s")


@pytest.mark.parametrize("threads", [1, 2])
def test_threads(rate, threads):
    """12 schedules of 1,000 workers."""
    arrivals = sized(200_000, 20_000)
    times = ag.compute_times.normal(np.arange(1, 1001))
    seeds = itertools.count(step=4)

    def run():
        first = next(seeds)
        tasks = itertools.product(METHODS, [times], range(first, first + 4))
        ag.simulate_many(list(tasks), num_gradients=arrivals, threads=threads)

    rate(run, 12 * arrivals, unit="arrivals/s")


def test_memory_and_first_call(benchmark, value):
    """1e7 arrivals, and the first call of a process with the compiled code cached."""
    arrivals = sized(10_000_000, 1_000_000)

    def run(code, *arguments):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return [float(number) for number in done.stdout.split()]

    columns, growth = benchmark.pedantic(run, (_MEMORY, arrivals), rounds=1)
    value("columns", columns, "GB", target=0.4)
    value("peak growth while simulating", growth, "GB", target=1.2)
    value("first call", run(_FIRST_CALL)[0], "s")
