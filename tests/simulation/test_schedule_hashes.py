"""Schedules of all algorithms x compute times, by hash: random streams do not change.

`schedule_hashes/ALGORITHM.txt` has a line for each compute times. A new algorithm or
new compute times need theirs: `python tests/simulation/test_schedule_hashes.py` writes
what is missing and leaves what is there. Lines that no longer fit mean that the same
seed gives another schedule: that is another version of the package, and a line of the
changelog; `--replace` writes them anew.
"""

import functools
import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

import asgrad_jax as ag

FOLDER = Path(__file__).parent / "schedule_hashes"
N, ARRIVALS, SEED = 5, 60, 1
DIGITS = 6  # of times: the last ones may depend on the machine's logarithm


@functools.cache
def clock_of(name):
    return ag.compute_times.example(name, N)


def found(algorithm, clock):
    """16 hexadecimal digits of a schedule, or why there is none."""
    try:
        schedule = ag.simulate(
            algorithm, clock_of(clock), num_gradients=ARRIVALS, seed=SEED
        )
    except RuntimeError as error:
        return "never-ends" if "never end" in str(error) else "too-short-a-limit"
    digest = hashlib.sha256(str(schedule.discarded).encode())
    exact = ("worker", "job", "read", "step", "computed", "in_flight_worker")
    for name in (*exact, "in_flight_read"):
        digest.update(np.asarray(getattr(schedule, name)).astype("<i8").tobytes())
    for values in (schedule.weight, schedule.time):
        digest.update(" ".join(f"{v + 0.0:.{DIGITS - 1}e}" for v in values).encode())
    return digest.hexdigest()[:16]


def recorded(algorithm):
    """The lines of an algorithm's file: compute times -> hash."""
    path = FOLDER / f"{algorithm}.txt"
    if not path.exists():
        return {}
    return dict(line.split() for line in path.read_text().splitlines())


@pytest.mark.parametrize("algorithm", ag.algorithms.names())
def test_schedules_are_those_of_this_version(algorithm):
    known = recorded(algorithm)
    missing = set(ag.compute_times.names()) - known.keys()
    assert not missing, "run `python tests/simulation/test_schedule_hashes.py`"
    now = {clock: found(algorithm, clock) for clock in ag.compute_times.names()}
    assert now == {clock: known[clock] for clock in now}


def test_hashes_tell_schedules_apart():
    seen = [recorded(name)["exponential"] for name in ag.algorithms.names()]
    # Of 5 workers with 60 gradients some algorithms are the same.
    assert len(set(seen)) > len(seen) / 2
    files = {path.stem for path in FOLDER.iterdir()}
    assert files == {*ag.algorithms.names()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in ag.algorithms.names():
        lines = {} if "--replace" in sys.argv else recorded(name)
        for clock in ag.compute_times.names():
            if clock not in lines:
                lines[clock] = found(name, clock)
        text = "".join(f"{clock} {lines[clock]}\n" for clock in sorted(lines))
        (FOLDER / f"{name}.txt").write_text(text)
