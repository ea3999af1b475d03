"""Stopping, resuming, growing: the same bits, nothing lost, nothing repeated."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import asgrad_jax as ag
from asgrad_jax.run import execute
from asgrad_jax.run.store import Store

N, D, A = 4, 3, 400
OPTIONS = dict(
    algorithms=["pure_async", "shuffled_async", "fedbuff"],
    compute_times=ag.compute_times.exponential(range(1, N + 1)),
    num_gradients=A,
    record_every=10,
)


@pytest.fixture(scope="module")
def problem():
    return ag.quadratic(N, D, noise=0.5, seed=1)


@pytest.fixture(autouse=True)
def many_segments(monkeypatch):
    monkeypatch.setattr(execute, "_SEGMENT_SECONDS", 1e-9)
    monkeypatch.setattr(execute, "_MOST_SEGMENTS", 8)
    monkeypatch.setattr(execute, "_CHECKPOINT_SHARE", 1.0)


def sweep(problem, folder, seeds=(0, 1), step_sizes=(0.05, 0.1), **changes):
    return ag.sweep(
        problem,
        seeds=seeds,
        step_sizes=step_sizes,
        directory=folder,
        **(OPTIONS | changes),
    )


def assert_same(one, other):
    xr.testing.assert_identical(one.drop_attrs(), other.drop_attrs())


def test_a_folder_changes_nothing(problem, tmp_path):
    assert_same(sweep(problem, tmp_path), sweep(problem, None))
    # Nothing but the config and the lanes stays.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "lanes"]


def test_stopping_anywhere_and_resuming(problem, tmp_path):
    """Ctrl-C after every possible segment; then on to the end."""
    whole = sweep(problem, None)
    count = 0
    for patience in range(1, 100):
        calls = 0

        def interrupt(done, total, patience=patience):
            nonlocal calls
            calls += 1
            if calls > patience:
                raise KeyboardInterrupt

        try:
            result = sweep(problem, tmp_path, progress=interrupt)
        except KeyboardInterrupt:
            count += 1
            continue
        break
    assert count > 3
    assert_same(result, whole)


def test_finished_lanes_are_not_repeated(problem, tmp_path, monkeypatch):
    first = sweep(problem, tmp_path)

    def fail(*args, **kwargs):
        raise AssertionError("a finished lane ran again")

    monkeypatch.setattr(execute.Bucket, "_run_call", fail)
    assert_same(sweep(problem, tmp_path), first)


def test_added_seeds_and_step_sizes_run_alone(problem, tmp_path):
    sweep(problem, tmp_path)
    before = {p.name for p in (tmp_path / "lanes").iterdir()}
    grown = sweep(problem, tmp_path, seeds=[0, 1, 2], step_sizes=[0.05, 0.1, 0.2])
    added = {p.name for p in (tmp_path / "lanes").iterdir()} - before
    # One more step size on 6 schedules, three step sizes on 3 new ones.
    assert len(added) == 6 + 3
    fresh = sweep(problem, None, seeds=[0, 1, 2], step_sizes=[0.05, 0.1, 0.2])
    xr.testing.assert_allclose(grown, fresh, rtol=1e-4)
    smaller = sweep(problem, tmp_path, seeds=[2], step_sizes=[0.2])
    assert_same(smaller, grown.sel(seed=[2], step_size=[0.2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_gradients": A + 10}, "num_gradients: there 400, asked 410"),
        ({"precision": "float64"}, "precision: there 'float32', asked 'float64'"),
        ({"params": np.ones(D)}, "params_hash"),
        ({"record_every": 20}, "record_every: there 10, asked 20"),
    ],
)
def test_another_config_is_refused_with_the_difference(
    problem, tmp_path, change, message
):
    sweep(problem, tmp_path, algorithms=["pure_async"])
    with pytest.raises(ValueError, match=message):
        sweep(problem, tmp_path, algorithms=["pure_async"], **change)
    with pytest.raises(ValueError, match="data_hash"):
        sweep(ag.quadratic(N, D, seed=2), tmp_path)


def test_damaged_files_are_named(tmp_path):
    store = Store(tmp_path, {"hyperparameters": {}})
    store.checkpoint("k", 1, [np.ones(3)], {"loss": np.ones((1, 2, 1))})
    segments, carry, values = store.restore("k")
    assert (segments, carry[0].tolist()) == (1, [1, 1, 1])
    assert list(values) == ["loss"]
    path = tmp_path / "checkpoint-k.npz"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"checkpoint-k\.npz.*delete it"):
        store.restore("k")
    store.forget("k")
    assert store.restore("k") is None


SCRIPT = """
import sys
import asgrad_jax as ag
from asgrad_jax.run import execute
execute._SEGMENT_SECONDS, execute._MOST_SEGMENTS = 1e-9, 50
execute._CHECKPOINT_SHARE = 1.0
problem = ag.quadratic(4, 3, noise=0.5, seed=1)
print("go", flush=True)
ag.save(ag.sweep(
    problem, algorithms=["pure_async", "fedbuff"], seeds=range(4),
    compute_times=ag.compute_times.exponential(range(1, 5)),
    step_sizes=[0.05, 0.1], num_gradients=5000, record_every=10,
    directory=sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
def test_kill_and_resume(tmp_path):
    """kill -9 at different moments; the result is that of an undisturbed run."""

    def start(folder, out, patience=None):
        """Returns whether the run came to its end before its time was over."""
        command = [sys.executable, "-c", SCRIPT, str(folder), str(out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            try:
                assert process.wait(timeout=patience) == 0
                return True
            except subprocess.TimeoutExpired:
                process.kill()
                return False

    assert start(tmp_path / "whole", tmp_path / "whole.nc")
    target = tmp_path / "killed", tmp_path / "killed.nc"
    # Where in the run a kill falls depends on the machine; more than one must fall.
    ended = [start(*target, patience=0.9 + 0.2 * k) for k in range(6)]
    assert not ended[0]
    assert start(*target)
    assert_same(ag.load(tmp_path / "whole.nc"), ag.load(tmp_path / "killed.nc"))
