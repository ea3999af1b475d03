"""Several devices on one machine, a core each."""

import os
import re
import subprocess
import sys

import pytest

from benchmarks.timing import cpu_only, sized

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
@pytest.mark.parametrize("devices", sized([1, 2], [2]))
def test_devices(benchmark, value, devices):
    """Schedules in a batch, split over the host's devices: 3 x 4 x 32 lanes."""
    arrivals = sized(10_000, 500)
    seconds = benchmark.pedantic(
        lambda: finish([begin(_DEVICES, arrivals, JAX_NUM_CPU_DEVICES=str(devices))]),
        rounds=1,
    )
    value("rate", 12 * 32 * arrivals / seconds, "gradients/s")
