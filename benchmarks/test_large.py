"""Large problems: a million parameters, a hundred thousand workers."""

import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.engine.devices import default_batching
from asgrad_jax.problems.quadratic import ringmaster_quadratic
from benchmarks.cases import shared_diagonal
from benchmarks.program import segment
from benchmarks.timing import ON_CPU, sized

# Runs in a process of its own. A small run before loads and compiles all that is not of
# the parameters' size.
_PEAK = """
import sys
from benchmarks import peak
from benchmarks.cases import engine_run
from benchmarks.test_large import FORMS, heavy_tail
form, features, arrivals = sys.argv[1], *map(int, sys.argv[2:])
schedule = heavy_tail(arrivals)
engine_run(FORMS[form](10), [schedule], 1)()
problem = FORMS[form](features)
before = peak.begin()
engine_run(problem, [schedule], 1)()
print(peak.growth(before) / (4 * features))
"""


FORMS = {
    "diagonal": lambda d: shared_diagonal(d, 64),
    "tridiagonal": lambda d: ringmaster_quadratic(d, 64, noise=0.0),
}


def heavy_tail(arrivals):
    """64 workers whose jobs last Pareto times with a tail of 1.2."""
    times = ag.compute_times.pareto([1.0] * 64, alpha=1.2)
    return ag.simulate("pure_async", times, num_gradients=arrivals, seed=0)


@pytest.mark.parametrize("form", FORMS)
def test_many_features(benchmark, value, form):
    """One lane, quadratic with d = 1e6, 64 workers under a heavy tail."""
    features, arrivals = sized(1_000_000, 100_000), sized(8_000, 1_000)
    schedule = heavy_tail(arrivals)
    problem = FORMS[form](features)
    call = segment(problem, [schedule], 1, batching=default_batching())
    copies = call.own_bytes() / (4 * features)
    command = [sys.executable, "-c", _PEAK, form, str(features), str(arrivals)]

    def run():
        return subprocess.run(command, check=True, capture_output=True, text=True)

    done = benchmark.pedantic(run, rounds=1)
    value("tau_max", int(schedule.stats().tau_max), "steps")
    value("the call's buffers", copies, "copies of the parameters", target=68)
    if ON_CPU:
        # Besides them: the problem (5 or 7 copies), x_0 and its metrics, and
        # the last iterate.
        growth = float(done.stdout)
        value("peak growth of the process", growth, "copies of the parameters")


def test_many_workers(benchmark, value):
    """100,000 workers, 1e6 arrivals, quadratic with d = 100: all from nothing."""
    workers, arrivals = sized(100_000, 10_000), sized(1_000_000, 100_000)
    parts = {}

    def run():
        start = time.perf_counter()
        problem = ag.quadratic(workers, 100, same_hessian=True, heterogeneity=1.0)
        times = ag.compute_times.normal(range(1, workers + 1))
        parts["problem"] = time.perf_counter() - start
        start = time.perf_counter()
        schedule = ag.simulate("shuffled_async", times, num_gradients=arrivals)
        parts["schedule"] = time.perf_counter() - start
        start = time.perf_counter()
        trajectory = ag.run(problem, schedule, step_size=0.01, record_every=10_000)
        parts["plan, compile and run"] = time.perf_counter() - start
        assert trajectory.status == "ok"

    benchmark.pedantic(run, rounds=1)
    for name, seconds in parts.items():
        value(name, seconds, "s")
    value("all", sum(parts.values()), "s", target=300)


_GENERATED = """
import sys, time
from benchmarks import peak
from benchmarks.test_large import generated_run
method, workers, arrivals = sys.argv[1], *map(int, sys.argv[2:])
generated_run(method, 100, 100)
before, start = peak.begin(), time.perf_counter()
generated_run(method, workers, arrivals)
print(time.perf_counter() - start, peak.growth(before) / 2**30)
"""


def generated_run(method, num_workers, arrivals):
    """Least squares on rows that each job makes, lognormal speeds; one lane, d = 10."""

    def rows(worker, key):
        features = jax.random.normal(key, (8, 10), jnp.float32)
        own = jnp.sin(worker + jnp.arange(10, dtype=jnp.float32))
        return features, features @ own

    def loss(x, batch):
        return (batch[0] @ x - batch[1]) ** 2 / 2

    problem = ag.problems.from_generator(loss, np.zeros(10), rows, num_workers)
    speeds = np.random.default_rng(0).lognormal(size=num_workers)
    times = ag.compute_times.exponential(speeds)
    schedule = ag.simulate(method, times, num_gradients=arrivals)
    ag.run(problem, schedule, step_size=1e-7, record_every=max(1, arrivals // 20))


@pytest.mark.parametrize("method", ["random_async", "shuffled_async"])
def test_generated_data(benchmark, value, method):
    """A million workers whose rows are made on the fly, a million arrivals."""
    size = str(sized(1_000_000, 1_000))
    command = [sys.executable, "-c", _GENERATED, method, size, size]

    def run():
        return subprocess.run(command, check=True, capture_output=True, text=True)

    done = benchmark.pedantic(run, rounds=1)
    seconds, peak = map(float, done.stdout.split())
    value("simulated and run", seconds, "s", target=600)
    value("growth of the process", peak, "GiB", target=8)
