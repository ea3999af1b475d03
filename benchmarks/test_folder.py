"""What a folder costs: checkpoints, stopping and going on, asking again."""

import itertools
import shutil

import pytest

import asgrad_jax as ag
from benchmarks.cases import METHODS, random_logistic
from benchmarks.timing import interleave, sized


@pytest.fixture
def sweep():
    problem = random_logistic(10, 200, 60)

    def run(directory=None, progress=False):
        return ag.sweep(
            problem,
            algorithms=METHODS,
            compute_times=ag.compute_times.normal(range(1, 11)),
            step_sizes=[0.001 * k for k in range(1, 33)],
            seeds=range(2),
            num_gradients=sized(50_000, 1_000),
            record_every=100,
            directory=directory,
            progress=progress,
        )

    return run


def test_checkpoints(benchmark, value, sweep, tmp_path):
    """3 methods x 2 seeds x 32 step sizes, with a folder and without."""
    fresh = (tmp_path / str(k) for k in itertools.count())
    seconds = interleave(
        benchmark, {"with": lambda: sweep(next(fresh)), "without": sweep}, rounds=3
    )
    value("without a folder", seconds["without"], "s")
    overhead = 100 * (seconds["with"] / seconds["without"] - 1)
    value("more with a folder", overhead, "%", target=5)


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
