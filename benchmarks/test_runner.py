"""A runner beside `ag.run` on the same work, and the memory of its gradient."""

import jax
import numpy as np
import pytest

import asgrad_jax as ag
from benchmarks.cases import random_logistic, schedules
from benchmarks.timing import sized


@pytest.mark.parametrize("lanes", [1, 8, 32])
@pytest.mark.parametrize("batch", [16, None])
def test_speed(versus, batch, lanes):
    """n=20, m=100, d=60 logistic, 20 records: `ag.run`, a jitted runner, its vmap."""
    problem = random_logistic(20, 100, 60, batch_size=batch)
    schedule = schedules(20, sized(20_000, 200))[0]
    every = len(schedule) // 20
    steps = np.linspace(0.01, 0.1, lanes)
    runner = ag.runner(problem, schedule, record_every=every)

    def losses(step_size):
        return runner(step_size).metrics["loss"]

    jitted, mapped = jax.jit(losses), jax.jit(jax.vmap(losses))
    ways = {
        "runner": lambda: jax.block_until_ready(jitted(steps)),
        "ag.run": lambda: ag.run(
            problem, schedule, step_size=steps, record_every=every
        ),
        "runner under vmap": lambda: jax.block_until_ready(mapped(steps)),
    }
    work = lanes * len(schedule)
    versus({k: (f, work) for k, f in ways.items()}, targets={"ag.run": 0.95})


@pytest.mark.parametrize("every", [1, 100, None])
def test_memory_of_a_gradient(benchmark, value, every):
    """Bytes that the gradient of the last loss needs, in iterates, for A arrivals."""
    problem = ag.quadratic(10, 100)
    needed = {}
    for arrivals in sized((1_000, 4_000, 16_000, 64_000), (100, 400)):
        schedule = schedules(10, arrivals)[0]
        runner = ag.runner(problem, schedule, record_every=every or arrivals)
        slope = jax.grad(lambda g, run=runner: run(g).metrics["loss"][-1])
        compiled = jax.jit(slope).lower(0.1).compile()
        bytes_each = 4 * 100
        needed[arrivals] = compiled.memory_analysis().temp_size_in_bytes // bytes_each
    benchmark.pedantic(lambda: compiled(0.1), rounds=1)
    for arrivals, iterates in needed.items():
        value(f"gradient's memory, A = {arrivals:,}", iterates, "iterates")
