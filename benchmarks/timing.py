"""How long things take: warm, interleaved, medians of several rounds in one process."""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import pytest

QUICK = os.environ.get("BENCH_QUICK", "") not in ("", "0")
ON_CPU = jax.default_backend() == "cpu"
cpu_only = pytest.mark.skipif(
    not ON_CPU, reason="shares the cores of a CPU between threads or processes"
)


def sized(full: Any, quick: Any) -> Any:
    """Returns the size to measure at: the first, or the second under BENCH_QUICK=1."""
    return quick if QUICK else full


def spread(*sizes: int, quick: tuple[int, ...]) -> list[int]:
    """Returns sizes to measure at: on accelerators, lent by the minute, every other."""
    return list(quick if QUICK else sizes if ON_CPU else sizes[::2])


def interleave(
    benchmark, functions: dict[str, Callable[[], object]], *, rounds: int
) -> dict[str, float]:
    """Times functions in turn, so that a drift of the machine hits all alike.

    Args:
        benchmark: pytest-benchmark's fixture; it times the first function.
        functions: name -> function that returns when its work is done.
        rounds: counted rounds, after one that compiles and warms the caches.

    Returns:
        name -> median seconds.
    """
    first, *others = functions
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in others}

    def time_others() -> None:
        for name in others:
            start = time.perf_counter()
            functions[name]()
            seconds[name].append(time.perf_counter() - start)

    benchmark.pedantic(functions[first], setup=time_others, rounds=sized(rounds, 1))
    return {
        first: benchmark.stats.stats.median,
        **{name: statistics.median(values) for name, values in seconds.items()},
    }
