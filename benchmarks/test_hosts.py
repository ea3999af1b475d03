"""Several processes and several devices on one machine, a core each."""

import os
import re
import socket
import subprocess
import sys

import pytest

from benchmarks.timing import cpu_only, sized

_PROCESS = """
import os, sys, time
number, count, port, folder, arrivals = sys.argv[1:]
cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cores[int(number) % len(cores)]})
import asgrad_jax as ag
from benchmarks.cases import METHODS, random_logistic
if int(count) > 1:
    ag.join(f"127.0.0.1:{port}", num_processes=int(count), process_id=int(number))
problem = random_logistic(10, 200, 60)
for seeds in (range(4), range(4, 8)):  # the first compiles
    start = time.perf_counter()
    ag.sweep(
        problem, algorithms=METHODS, seeds=seeds, num_gradients=int(arrivals),
        compute_times=ag.compute_times.normal(range(1, 11)), progress=False,
        step_sizes=[0.001 * k for k in range(1, 33)], directory=folder)
print("seconds", time.perf_counter() - start)
"""

_DEVICES = """
import sys, time
from benchmarks.cases import METHODS, engine_run, random_logistic, schedules
run = engine_run(
    random_logistic(10, 200, 60),
    schedules(10, int(sys.argv[1]), methods=METHODS, seeds=4), 32, batching="vmap")
run()
start = time.perf_counter()
run()
print("seconds", time.perf_counter() - start)
"""


def finish(processes) -> float:
    """Waits for all and returns the seconds of the slowest."""
    try:
        outputs = [p.communicate(timeout=300)[0] for p in processes]
    finally:
        for process in processes:
            process.kill()
    return max(float(re.search(r"seconds (\S+)", out).group(1)) for out in outputs)


def begin(code: str, *arguments, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


@cpu_only
@pytest.mark.parametrize("processes", sized([1, 2, 4], [2]))
def test_processes(benchmark, value, tmp_path, processes):
    """3 methods x 4 seeds x 32 step sizes through one folder."""
    arrivals = sized(10_000, 500)

    def run():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return finish(
            [
                begin(_PROCESS, number, processes, port, tmp_path, arrivals)
                for number in range(processes)
            ]
        )

    seconds = benchmark.pedantic(run, rounds=1)
    value("warm sweep", seconds, "s")
    value("rate", 12 * 32 * arrivals / seconds, "gradients/s")


@cpu_only
@pytest.mark.parametrize("devices", sized([1, 2], [2]))
def test_devices(benchmark, value, devices):
    """Schedules in a batch, split over the host's devices: 3 x 4 x 32 lanes."""
    arrivals = sized(10_000, 500)
    seconds = benchmark.pedantic(
        lambda: finish([begin(_DEVICES, arrivals, JAX_NUM_CPU_DEVICES=str(devices))]),
        rounds=1,
    )
    value("rate", 12 * 32 * arrivals / seconds, "gradients/s")
