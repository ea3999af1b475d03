"""Sweeps whose calls run in other processes: the bits of one process, nothing lost."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
import warnings

import numpy as np
import pytest
import xarray as xr

import asgrad_jax as ag
from asgrad_jax.engine import cost
from asgrad_jax.experiments import cluster, execute, pools, remote_call

KEPT = {"config.json", "lanes", "outline.npz"}  # in a folder whose sweep is done
N = 4
GRID = dict(
    algorithms=["pure_async", "shuffled_async", "fedbuff"],
    compute_times=ag.compute_times.exponential(range(1, N + 1)),
    num_gradients=400,
    record_every=10,
    seeds=range(2),
    step_sizes=[0.05, 0.1],
)


@pytest.fixture(scope="module")
def problem():
    return ag.quadratic(N, 3, noise=0.5, seed=1)


@pytest.fixture(scope="module")
def alone(problem):
    return ag.sweep(problem, **GRID)


def assert_same(one, other):
    xr.testing.assert_identical(one.drop_attrs(), other.drop_attrs())


@pytest.fixture
def threads():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(remote_call, "_shared", type(remote_call._shared)())


@pytest.mark.slow
def test_processes_of_an_executor(problem, alone):
    reported = []
    grid = GRID | {"metrics": {"largest": lambda x: abs(x).max()}}  # pickle refuses
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as pool:
        result = ag.sweep(
            problem, **grid, client=pool, progress=lambda *x: reported.append(x)
        )
    assert_same(result.drop_vars("largest"), alone)
    assert np.isfinite(result["largest"]).all()
    total = 400 * 3 * 2 * 2
    assert reported == [(k * 800, total) for k in range(1, 7)]


def test_what_all_calls_share_goes_to_each_process_once(
    problem, alone, threads, monkeypatch
):
    """A process that joined later says that it lacks it, and gets it."""
    sent, real = [], pools.run_call

    def watched(digest, payload, call):
        sent.append(payload is not None)
        if len(sent) == 4:
            remote_call._shared.clear()
        return real(digest, payload, call)

    monkeypatch.setattr(pools, "run_call", watched)
    assert_same(ag.sweep(problem, **GRID, client=threads), alone)
    # Calls that were on their way come again too.
    assert 3 <= sum(sent) <= 5 and len(sent) == 4 + sum(sent)
    assert len(remote_call._shared) == 1


def test_a_call_that_fails_three_times_does_not_stop_the_others(
    problem, alone, threads, monkeypatch, tmp_path
):
    real, tried = remote_call.run_batch, []

    def run(group, *arguments):
        schedule = group.schedules[0].name, group.seeds[0]
        tried.append(schedule)
        if schedule == ("fedbuff", 1):
            raise ZeroDivisionError("by hand")
        if schedule == ("pure_async", 0) and tried.count(schedule) < 3:
            raise OSError("twice only")
        return real(group, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(remote_call, "run_batch", run)
        with pytest.raises(RuntimeError) as raised:
            ag.sweep(problem, **GRID, client=threads, directory=tmp_path)
    words = str(raised.value)
    assert "1 of 6 calls failed 3 times" in words and f"kept in {tmp_path}" in words
    assert f"fedbuff (seed 1), last on process {os.getpid()} on " in words
    assert "in run\n" in words and "ZeroDivisionError: by hand" in words
    assert tried.count(("fedbuff", 1)) == tried.count(("pure_async", 0)) == 3
    assert len(list((tmp_path / "lanes").iterdir())) == 5
    assert_same(ag.sweep(problem, **GRID, client=threads, directory=tmp_path), alone)
    assert len(tried) == 10


def test_stopped_and_gone_on(problem, alone, threads, tmp_path, monkeypatch):
    """What came back is there; calls that had begun go on from their checkpoints."""
    limits = cost.LIMITS._replace(segment_seconds=1e-9, segments=8)
    monkeypatch.setattr(cost, "LIMITS", limits)
    monkeypatch.setattr(execute, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(execute, "_CHECKPOINT_SHARE", 1.0)

    def interrupt(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ag.sweep(
            problem, **GRID, client=threads, directory=tmp_path, progress=interrupt
        )
    threads.shutdown()  # waits for those that were under way
    assert 4 <= len(list((tmp_path / "lanes").iterdir())) < 6
    assert list(tmp_path.glob("manifest-*"))
    began = [path for path in tmp_path.glob("checkpoint-*")]
    assert began
    reported = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        result = ag.sweep(
            problem,
            **GRID,
            client=pool,
            directory=tmp_path,
            progress=lambda *x: reported.append(x[0]),
        )
    assert_same(result, alone)
    assert reported[-1] == 4800
    assert {p.name for p in tmp_path.iterdir()} == KEPT


def test_a_worker_that_does_not_see_the_folder_writes_no_checkpoint(tmp_path):
    store = execute.Store(tmp_path, {"hyperparameters": {}})
    seen = execute.Store.seen_from(tmp_path, store.owner)
    seen.checkpoint("k", 1, [np.ones(2)], {})
    seen.save_lanes("k", np.ones((1, 1)), {})
    seen.forget("k")
    assert seen.kept == ["k"] and store.restore("k")[0] == 1
    assert list(store.lanes.iterdir()) == []
    assert execute.Store.seen_from(tmp_path, "another") is None
    assert execute.Store.seen_from(tmp_path / "elsewhere", store.owner) is None


def test_an_executor_that_ends_is_named(problem, tmp_path):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        ag.sweep(problem, **GRID, client=pool, directory=tmp_path)

    class Broken(concurrent.futures.Executor):
        def submit(self, *call):
            raise concurrent.futures.process.BrokenProcessPool("one died")

    with pytest.raises(RuntimeError, match=r"executor ended.*one died.*new executor"):
        ag.sweep(problem, **GRID, client=Broken(), directory=tmp_path)
    with pytest.raises(TypeError, match=r"client must be a dask.*got 3"):
        ag.sweep(problem, **GRID, client=3)


def test_the_plan_is_for_all_processes(problem):
    """Lanes of few schedules are split for them, and each has memory of its own."""
    base = ag.Grid(problem, **GRID | {"seeds": [0], "algorithms": "pure_async"})
    many = ag.Grid(problem, **GRID | {"step_sizes": np.linspace(0.01, 0.1, 64)})
    for grid, processes in ((base, 1), (many, 1), (many, 48)):
        with concurrent.futures.ThreadPoolExecutor(processes) as pool:
            planned = cluster.Cluster(pool).planned_for(grid.experiment)
        group = execute._group(
            planned,
            grid.schedules,
            grid.schedule_seeds,
            grid.lanes,
            range(len(grid.schedules)),
        )
        assert group.threads == group.cores == 1
        calls = len(grid.schedules) * (2 if processes == 48 else 1)
        assert len(group.batches()) >= calls
    given = ag.Grid(problem, **GRID, memory_budget=12345678)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        planned = cluster.Cluster(pool).planned_for(given.experiment)
    assert planned.memory_budget == 12345678 and planned.processes == 2


def test_settings_and_versions_are_those_of_the_sweep(problem, threads, monkeypatch):
    monkeypatch.setattr(cluster.provenance, "versions", lambda: {"jax": "0"})
    with pytest.raises(RuntimeError, match=r"6 of 6 calls failed[^$]*sweep's versions"):
        ag.sweep(problem, **GRID, client=threads)
    monkeypatch.undo()
    monkeypatch.setattr(cluster, "recorded", lambda: {"jax_random_seed_offset": 3})
    with pytest.raises(RuntimeError, match=r"JAX's settings on a worker must be"):
        ag.sweep(problem, **GRID, client=threads)


@pytest.fixture(scope="module")
def dask():
    """Two workers, spawned, of one thread each."""
    distributed = pytest.importorskip("distributed")
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        made = stack.enter_context(
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None
            )
        )
        yield stack.enter_context(distributed.Client(made))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
class TestDask:
    def test_the_bits_of_one_process(self, dask, problem, alone, tmp_path):
        result = ag.sweep(problem, **GRID, client=dask, directory=tmp_path)
        assert_same(result, alone)
        assert result.attrs["device"] == alone.attrs["device"]
        assert {p.name for p in tmp_path.iterdir()} == KEPT

    def test_killed_workers_and_lost_data(self, dask, problem, tmp_path):
        """Both workers are killed, and with them what had been sent to them."""
        grid = GRID | {"num_gradients": 4000, "seeds": range(4)}
        killed = []

        def kill(done, total):
            if not killed:
                killed.extend(dask.run(os.getpid).values())
                for process in killed:
                    os.kill(process, signal.SIGKILL)

        result = ag.sweep(
            problem, **grid, client=dask, directory=tmp_path, progress=kill
        )
        assert len(killed) == 2
        assert_same(result, ag.sweep(problem, **grid))
        dask.wait_for_workers(2)

    def test_stopped(self, dask, problem, tmp_path):
        """Nothing of it goes on afterwards."""
        grid = GRID | {"num_gradients": 40_000, "record_every": 1000}
        begun = threading.Event()

        def stop(done, total):
            begun.set()
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ag.sweep(problem, **grid, client=dask, directory=tmp_path, progress=stop)
        assert begun.is_set()
        assert list(tmp_path.glob("manifest-*"))
        assert dask.submit(sum, [1, 2]).result() == 3
        assert not any(dask.processing().values())
