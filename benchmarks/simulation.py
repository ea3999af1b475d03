"""Arrivals simulated per second, from the call of `simulate` to the schedule.

Medians of warm calls in one thread, timed by the thread's CPU clock so that whatever
else runs on the machine counts little; rows with threads go by the wall clock. Every
call has its own seed. `python -m benchmarks.simulation` prints the table (Linux).
"""

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from asgrad_jax.plan import compute_times
from asgrad_jax.plan.simulate import simulate, simulate_many

REPEATS = 7
ALGORITHMS = ("pure_async", "random_async", "shuffled_async")

# Runs in a process of its own, since a peak only ever grows.
_MEMORY = """
import resource
import numpy as np
from asgrad_jax.plan import compute_times
from asgrad_jax.plan.simulate import simulate
times = compute_times.normal(np.arange(1, 1001))
simulate("shuffled_async", times, num_gradients=10)
pages = int(open("/proc/self/statm").read().split()[1])
before = pages * resource.getpagesize()
schedule = simulate("shuffled_async", times, num_gradients=10_000_000)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(schedule.nbytes / 1e9, (after - before) / 1e9)
"""

_FIRST_CALL = """
import time
import numpy as np
from asgrad_jax.plan import compute_times
from asgrad_jax.plan.simulate import simulate
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


def run() -> list[dict]:
    """Returns rows with keys case, value, unit."""
    rows = []
    for n, arrivals in ((100, 1_000_000), (1000, 1_000_000), (100_000, 2_000_000)):
        times = compute_times.normal(np.arange(1, n + 1))
        for name in ALGORITHMS:
            rate = _rate(name, times, arrivals)
            rows.append(_row(f"{name}, normal, n={n:,}", rate))
    for family in ("fixed", "poisson", "gamma", "lognormal", "pareto"):
        times = compute_times.get(family, np.arange(1, 1001))
        rate = _rate("shuffled_async", times, 1_000_000)
        rows.append(_row(f"shuffled_async, {family}, n=1,000", rate))
    for name in ("fedbuff", "random_waiting", "ringmaster", "rennala"):
        times = compute_times.normal(np.arange(1, 1001))
        rows.append(_row(f"{name}, normal, n=1,000", _rate(name, times, 1_000_000)))
    for name in ALGORITHMS:
        rate = _rate(name, VectorSampler(1000), 1_000_000)
        rows.append(_row(f"{name}, user's sampler, n=1,000", rate))
    times = compute_times.normal(np.arange(1, 101))
    rate = _rate("shuffled_async", times, 30_000, engine="python")
    rows.append(_row("shuffled_async, normal, n=100, Python loop", rate))

    times = compute_times.normal(np.arange(1, 1001))
    tasks = list(itertools.product(ALGORITHMS, [times], range(4)))
    for threads in (1, 2):
        rate = _median_rate(
            lambda _, threads=threads: simulate_many(
                tasks, num_gradients=200_000, threads=threads
            ),
            200_000 * len(tasks),
            clock=time.perf_counter,
        )
        rows.append(_row(f"12 schedules, n=1,000, {threads} thread(s)", rate))

    columns, growth = _in_new_process(_MEMORY)
    rows.append({"case": "columns of 1e7 arrivals", "value": columns, "unit": "GB"})
    rows.append({"case": "peak growth for them", "value": growth, "unit": "GB"})
    (first,) = _in_new_process(_FIRST_CALL)
    rows.append({"case": "first call, code cached", "value": first, "unit": "s"})
    return rows


def _row(case: str, rate: float) -> dict:
    return {"case": case, "value": rate / 1e6, "unit": "M arrivals/s"}


def _rate(name: str, times, arrivals: int, engine: str = "auto") -> float:
    return _median_rate(
        lambda seed: simulate(
            name, times, num_gradients=arrivals, seed=seed, engine=engine
        ),
        arrivals,
    )


def _median_rate(
    call: Callable[[int], object],
    arrivals: int,
    clock: Callable[[], float] = time.thread_time,
) -> float:
    call(0)
    seconds = []
    for seed in range(1, REPEATS + 1):
        start = clock()
        call(seed)
        seconds.append(clock() - start)
    return arrivals / statistics.median(seconds)


def _in_new_process(code: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return [float(number) for number in done.stdout.split()]


if __name__ == "__main__":
    for row in run():
        print(f"{row['case']:45} {row['value']:8.3f} {row['unit']}")
