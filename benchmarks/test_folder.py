"""What a folder costs: checkpoints, stopping and going on, asking again."""

import itertools
import os
import shutil
import statistics
import time

import pytest

import asgrad_jax as ag
from asgrad_jax.experiments.folder import Store
from benchmarks.cases import METHODS, random_logistic
from benchmarks.timing import cpu_only, interleave, sized


@pytest.fixture
def sweep():
    problem = random_logistic(10, 200, 60)

    def run(directory=None, progress=False, arrivals=None, seeds=2):
        return ag.sweep(
            problem,
            algorithms=METHODS,
            compute_times=ag.compute_times.normal(range(1, 11)),
            step_sizes=[0.001 * k for k in range(1, 33)],
            seeds=range(seeds),
            num_gradients=arrivals or sized(50_000, 1_000),
            record_every=100,
            directory=directory,
            progress=progress,
        )

    return run


@cpu_only
def test_checkpoints(benchmark, value, sweep, tmp_path, monkeypatch):
    """3 methods x 32 step sizes, with a folder and without.

    Calls are long enough to write checkpoints. Pairs of runs, first with and first
    without in turn: the machine's drift hits both of a pair, and the median leaves out
    pairs that something else disturbed.
    """
    fresh = (tmp_path / str(k) for k in itertools.count())
    size = dict(arrivals=sized(100_000, 1_000), seeds=1)
    runs = {
        "with": lambda: sweep(next(fresh), **size),
        "without": lambda: sweep(**size),
    }
    pairs: list[dict[str, float]] = []
    in_files: dict[str, list[float]] = {
        "checkpoint": [],
        "save_lanes": [],
        "forget": [],
    }
    for name, spent in in_files.items():
        monkeypatch.setattr(Store, name, timed(getattr(Store, name), spent))

    def pair():
        order = list(runs) if len(pairs) % 2 else list(runs)[::-1]
        pairs.append({name: seconds(runs[name]) for name in order})

    pair()  # compiles
    pairs.clear()
    for spent in in_files.values():
        spent.clear()
    benchmark.pedantic(pair, rounds=sized(8, 1))
    more = [100 * (p["with"] / p["without"] - 1) for p in pairs]
    value("without a folder", statistics.median(p["without"] for p in pairs), "s")
    value("checkpoints of a run", len(in_files["checkpoint"]) / len(pairs), "")
    value("more with a folder, median of pairs", statistics.median(more), "%", target=5)
    if len(more) > 1:
        error = 1.25 * statistics.stdev(more) / len(more) ** 0.5
        value("standard error of that median", error, "%")
    cores = len(os.sched_getaffinity(0))
    total = sum(map(sum, in_files.values()))
    share = 100 * total / (cores * sum(p["with"] for p in pairs))
    value("share of the cores' time spent in files", share, "%", target=5)


def seconds(run) -> float:
    """Returns how long a function took."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def timed(method, spent: list[float]):
    """Returns the method, noting in `spent` how long each call took."""

    def run(*arguments):
        start = time.perf_counter()
        method(*arguments)
        spent.append(time.perf_counter() - start)

    return run


@cpu_only
def test_resume(benchmark, value, sweep, tmp_path):
    """The same, stopped half way and started again, and asked for once more."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    def half(done, total):
        if 2 * done > total:
            raise KeyboardInterrupt

    def at_once():
        shutil.rmtree(whole, ignore_errors=True)
        sweep(whole)

    def in_two_parts():
        shutil.rmtree(stopped, ignore_errors=True)
        with pytest.raises(KeyboardInterrupt):
            sweep(stopped, progress=half)
        sweep(stopped)

    seconds = interleave(
        benchmark,
        {"parts": in_two_parts, "whole": at_once, "again": lambda: sweep(whole)},
        rounds=3,
    )
    overhead = 100 * (seconds["parts"] / seconds["whole"] - 1)
    value("more if stopped and resumed", overhead, "%")
    value("reading a finished sweep", seconds["again"], "s")
