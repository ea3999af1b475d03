"""Sweeps on a GPU against what its memory and its arithmetic allow.

The floor of a case is the larger of two times: its multiplications at the rate of a
large float32 product, and the bytes that its gradients must read (the shard, once for
each schedule, and the iterates) at the rate of a large copy.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgrad_jax as ag
from benchmarks.cases import METHODS, engine_run, libsvm, random_logistic, schedules
from benchmarks.test_waves import schedule_of
from benchmarks.timing import ON_CPU, sized

pytestmark = pytest.mark.skipif(ON_CPU, reason="measures an accelerator")


def seconds_of(function, *arguments) -> float:
    """Median seconds of a warm function."""
    function(*arguments).block_until_ready()
    found = []
    for _ in range(7):
        start = time.perf_counter()
        function(*arguments).block_until_ready()
        found.append(time.perf_counter() - start)
    return float(np.median(found))


@pytest.fixture(scope="module")
def limits():
    """Multiplications and bytes per second."""
    size = sized(8192, 512)
    x = jax.random.normal(jax.random.key(0), (size, size), jnp.float32)
    # A fixture of a module comes before the one that sets the tests' precision.
    with jax.default_matmul_precision("float32"):
        product = seconds_of(jax.jit(lambda x: x @ x), x)
    big = jnp.ones(sized(2**29, 2**20), jnp.float32)
    copy = seconds_of(jax.jit(lambda x: x + 1), big)
    return size**3 / product, 2 * big.nbytes / copy


def w7a():
    return ag.logistic_regression(*libsvm("w7a", 24_600), 10, storage="dense")


def small():
    return random_logistic(10, 200, 60)


GRIDS = {
    "n=10, m=200, d=60, 30 schedules x 32": (small, 32, 20_000),
    "n=10, m=200, d=60, 30 schedules x 512": (small, 512, 5_000),
    "w7a, 30 schedules x 32": (w7a, 32, 2_000),
    "w7a, 30 schedules x 128": (w7a, 128, 2_000),
}


@pytest.mark.parametrize("grid", GRIDS)
def test_grid(benchmark, value, limits, grid):
    """3 methods x 10 seeds x step sizes, plan and records included."""
    make, lanes, arrivals = GRIDS[grid]
    problem, arrivals = make(), sized(arrivals, 100)
    chosen = schedules(10, arrivals, methods=METHODS, seeds=10)
    run = engine_run(problem, chosen, lanes)
    run()
    benchmark.pedantic(run, rounds=sized(3, 1))
    _, m, d = problem.features.shape
    work = len(chosen) * arrivals
    multiplications = 2 * m * d * lanes
    moved = 4 * (m * d + 4 * lanes * d)
    rate, bandwidth = limits
    floor = max(multiplications / rate, moved / bandwidth)
    found = benchmark.stats.stats.median / work
    value("rate", lanes / found, "gradients/s")
    value("rate at the floor", lanes / floor, "gradients/s")
    value("of which multiplications", 100 * multiplications / rate / floor, "%")


SERVERS = {
    "plain SGD": ("shuffled_async", None),
    "Adam": ("shuffled_async", lambda step_size: optax.adam(step_size)),
    "a gradient table": ("ia2sgd", None),
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("width", [1, 8, 32])
def test_servers(rate, server, width):
    """n=100, m=200, d=60, 32 step sizes on one schedule whose waves fill well."""
    method, factory = SERVERS[server]
    arrivals = sized(50_000, 500)
    schedule = schedule_of(100, "alike", arrivals, method)
    problem = random_logistic(100, 200, 60)
    run = engine_run(problem, [schedule], 32, width=width, server=factory)
    rate(run, 32 * arrivals, rounds=3)


@pytest.mark.parametrize("products", ["float32", "TF32_TF32_F32_X3", "tensorfloat32"])
def test_products(rate, products):
    """w7a, 30 schedules x 128 step sizes, by `jax_default_matmul_precision`."""
    arrivals = sized(1_000, 50)
    chosen = schedules(10, arrivals, methods=METHODS, seeds=10)
    run = engine_run(w7a(), chosen, 128)

    def exact():
        jax.config.update("jax_default_matmul_precision", products)
        try:
            run()
        finally:
            jax.config.update("jax_default_matmul_precision", None)

    rate(exact, 128 * len(chosen) * arrivals, rounds=3)
