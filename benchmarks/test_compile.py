"""Seconds to trace and compile one program, nothing cached."""

import time

import jax
import numpy as np
import optax
import pytest

import asgrad_jax as ag
from benchmarks.cases import random_logistic
from benchmarks.program import segment
from benchmarks.test_waves import problem_of
from benchmarks.timing import ON_CPU, sized


def adam(step_size):
    return optax.adam(step_size)


CASES = {
    "plain": ("shuffled_async", {}),
    "with waiting": ("fedbuff", {}),
    "with a gradient table": ("ringleader", {}),
    "Adam": ("shuffled_async", {"server": adam}),
    "waves of 8": ("shuffled_async", {"width": 8}),
    "schedules in a batch": ("shuffled_async", {"batching": "vmap"}),
    "MLP": ("shuffled_async", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_compile(benchmark, value, case):
    """n=10 logistic with 32 lanes unless said otherwise."""
    method, options = CASES[case]
    problem = problem_of("MLP", 10) if case == "MLP" else random_logistic(10, 200, 60)
    times = ag.compute_times.normal(np.arange(1, 11))
    schedule = ag.simulate(method, times, num_gradients=1000)
    call = segment(problem, [schedule], 32, **options)
    traced = []

    def run():
        start = time.perf_counter()
        lowered = call.lower()
        traced.append(time.perf_counter() - start)
        lowered.compile()

    benchmark.pedantic(run, setup=jax.clear_caches, rounds=sized(3, 1) if ON_CPU else 1)
    total = benchmark.stats.stats.median
    value("tracing and compiling", total, "s")
    value("of which tracing", float(np.median(traced)), "s")
