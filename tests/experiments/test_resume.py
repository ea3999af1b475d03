"""Stopping, resuming, growing: the same bits, nothing lost, nothing repeated."""

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import asgrad_jax as ag
from asgrad_jax._util import files
from asgrad_jax._util.files import atomic_path
from asgrad_jax.engine import cost
from asgrad_jax.engine import program as engine
from asgrad_jax.experiments import calls as planned
from asgrad_jax.experiments import execute
from asgrad_jax.experiments import folder as store
from asgrad_jax.experiments.folder import Store

N, D, A = 4, 3, 400
# What stays in a folder whose sweep is done.
KEPT = {"config.json", "lanes", "outline.npz"}
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
    limits = cost.LIMITS._replace(segment_seconds=1e-9, segments=8)
    monkeypatch.setattr(cost, "LIMITS", limits)
    monkeypatch.setattr(execute, "_CHECKPOINT_SECONDS", 0.0)
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
    # Nothing but the config, the labels and the lanes stays.
    assert {p.name for p in tmp_path.iterdir()} == KEPT


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


def test_an_error_of_the_callback_loses_nothing(problem, tmp_path, monkeypatch):
    """The call that reports writes its checkpoint too, whenever the last one was."""
    monkeypatch.setattr(execute, "_CHECKPOINT_SECONDS", 1e9)
    reported = []

    def interrupt(done, total):
        reported.append(done)
        if done > total / 2:
            raise RuntimeError("enough")

    grid = dict(algorithms=["pure_async"], seeds=[0])
    with pytest.raises(RuntimeError, match="enough"):
        sweep(problem, tmp_path, progress=interrupt, **grid)
    assert [p.name for p in (tmp_path / "lanes").iterdir()] == []
    stopped = max(reported)
    reported.clear()
    result = sweep(problem, tmp_path, progress=lambda *x: reported.append(x[0]), **grid)
    assert stopped in reported[:2]  # 0 may come first
    assert_same(result, sweep(problem, None, **grid))


@pytest.mark.parametrize(
    "server",
    [
        lambda step_size: optax.adam(step_size, mu_dtype=jnp.bfloat16),
        lambda step_size: optax.chain(
            optax.add_noise(0.01, 0.5, jax.random.key(0)), optax.sgd(step_size)
        ),
    ],
    ids=["bfloat16", "random keys"],
)
def test_states_that_numpy_has_no_types_for(problem, tmp_path, server):
    grid = dict(algorithms=["pure_async"], seeds=[0], server=server)

    def interrupt(done, total):
        if total / 2 < done < total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(problem, tmp_path, progress=interrupt, **grid)
    assert list(tmp_path.glob("checkpoint-*"))
    assert_same(sweep(problem, tmp_path, **grid), sweep(problem, None, **grid))


def test_an_error_in_one_call_stops_the_others(problem, monkeypatch):
    """The first call would go on for ever if nobody told it."""
    stopped = []

    def run_batch(group, call, wanted, first, store, stop, report):
        if call.schedules == (0,):
            stopped.append(stop.wait(60))
            raise execute.Stopped
        raise RuntimeError("broken")

    monkeypatch.setattr(execute, "run_batch", run_batch)
    monkeypatch.setattr(planned, "usable_cores", lambda: 2)
    with pytest.raises(RuntimeError, match="broken"):
        sweep(problem, None, algorithms=["pure_async"], seeds=[0, 1])
    assert stopped == [True]


def test_remains_are_removed_first(problem, tmp_path, monkeypatch):
    """A kill between two removals leaves a file that the next start looks at."""
    written, removed = set(), set()

    def noted_in(seen):
        return lambda path: seen.add((path.parent.name == "lanes", path.exists()))

    monkeypatch.setattr(files, "remove_stale_temporaries", noted_in(written))
    monkeypatch.setattr(store, "remove_stale_temporaries", noted_in(removed))
    sweep(problem, tmp_path)
    # Before lanes are written, and while a checkpoint or a manifest is still there.
    assert (True, False) in written and (True, True) not in written
    assert removed == {(False, True)}


def test_stopped_and_gone_on_with_another_grid(problem, tmp_path):
    """Nothing stays behind, and progress ends at its total."""

    def halfway(done, total):
        if done >= total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(problem, tmp_path, step_sizes=[0.1, 0.2, 0.05], progress=halfway)
    sweep(problem, tmp_path, step_sizes=[0.2, 0.05])
    reported = []
    result = sweep(
        problem,
        tmp_path,
        step_sizes=[0.1, 0.2, 0.05],
        progress=lambda *x: reported.append(x),
    )
    assert reported[-1][0] == reported[-1][1] == max(done for done, _ in reported)
    xr.testing.assert_allclose(
        result.drop_attrs(),
        sweep(problem, None, step_sizes=[0.1, 0.2, 0.05]).drop_attrs(),
    )
    assert {p.name for p in tmp_path.iterdir()} == KEPT


def test_stopped_and_gone_on_with_more(problem, tmp_path):
    def halfway(done, total):
        if done >= total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(problem, tmp_path, progress=halfway)
    assert list(tmp_path.glob("manifest-*"))
    sweep(problem, tmp_path, seeds=(0, 1, 2))
    assert {p.name for p in tmp_path.iterdir()} == KEPT


@pytest.mark.parametrize("links", [True, False])
def test_of_two_configs_the_first_counts(tmp_path, monkeypatch, links):
    """Also where another process writes its own between looking and writing."""
    if not links:

        def none(*paths):
            raise PermissionError

        monkeypatch.setattr("os.link", none)
    config = {"hyperparameters": {"step_size": [0.1]}, "precision": "float32"}
    looked = Path.exists
    first = Store(tmp_path, config)
    with monkeypatch.context() as patch:
        if links:
            patch.setattr(
                Path, "exists", lambda p: p.name != "config.json" and looked(p)
            )
        with pytest.raises(ValueError, match="there 'float32', asked 'float64'"):
            Store(tmp_path, config | {"precision": "float64"})
        assert Store(tmp_path, config).owner == first.owner
    # What may grow does not change whose files they are.
    assert Store(tmp_path, {**config, "seeds": [1]}).owner == first.owner


def test_finished_lanes_are_not_repeated(problem, tmp_path, monkeypatch):
    first = sweep(problem, tmp_path)

    def fail(*args, **kwargs):
        raise AssertionError("a finished lane ran again")

    monkeypatch.setattr(execute, "run_batch", fail)
    assert_same(sweep(problem, tmp_path), first)


def test_split_lanes_go_on_as_they_were_cut(tmp_path, monkeypatch):
    """One of two calls that share a schedule is done, the other stopped on its way."""
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(120, 20)), rng.integers(0, 2, 120)
    grid = dict(
        algorithms=["pure_async"],
        compute_times=OPTIONS["compute_times"],
        num_gradients=1200,
        record_every=10,
        step_sizes=np.linspace(0.01, 0.1, 33),
    )
    problem = ag.logistic_regression(rows, labels, N, storage="dense")
    whole = ag.sweep(problem, **grid)
    advance, done = engine.advance, []

    def counted(*args, **options):
        done.append(len(args[3]["step_size"][0]))
        if np.max(args[3]["step_size"]) > 0.0999:  # the second call waits
            while len(done) < 12 and len(list((tmp_path / "lanes").iterdir())) == 0:
                time.sleep(0.01)
        return advance(*args, **options)

    counted.lower = advance.lower
    monkeypatch.setattr(engine, "advance", counted)

    def stop(gradients, total):
        if gradients > 0.75 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ag.sweep(problem, **grid, directory=tmp_path, progress=stop)
    assert len(list((tmp_path / "lanes").iterdir())) == 1
    segments = len(done)
    assert 8 < segments < 16
    result = ag.sweep(problem, **grid, directory=tmp_path)
    assert_same(result, whole)
    assert len(done) <= 17  # of 16: the one under way when it was stopped may count
    assert set(done) == {17}
    # Nothing but the config, the labels and the lanes stays.
    assert {p.name for p in tmp_path.iterdir()} == KEPT


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
        ({"init_params": np.ones(D)}, "params_hash"),
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


def test_what_is_left_of_writing_an_order_goes_with_it(tmp_path):
    store = Store(tmp_path, {"hyperparameters": {}})
    manifest = store.manifest(["k"], [(1.0,)], ["k"])
    (path,) = tmp_path.glob("manifest-*")
    with atomic_path(path) as temporary:
        # As another process, killed since, would have called it.
        name = temporary.name.replace(f"-{os.getpid()}-", "-999999999-")
        (tmp_path / name).touch()
        temporary.touch()
    assert list(tmp_path.glob(".manifest-*"))
    store.close(manifest)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "lanes"}


def test_what_is_left_of_writing_a_file_goes_when_it_is_written(tmp_path):
    figure = tmp_path / "figure.png"
    with atomic_path(figure) as temporary:
        left = temporary.name.replace(f"-{os.getpid()}-", "-999999999-")
    (tmp_path / left).touch()
    with atomic_path(figure) as temporary:
        assert not (tmp_path / left).exists()
        with atomic_path(figure):  # of a process that lives it stays
            assert temporary.exists()


def test_a_file_is_no_folder(problem, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/below"):
        with pytest.raises(ValueError, match=f"{folder}.* a file; name a folder"):
            sweep(problem, tmp_path / folder)


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
    store.save_lanes("k", np.ones((1, 2)), {"loss": np.ones((3, 2))})
    (lane,) = store.lanes.iterdir()
    for size in (0, 50):
        lane.write_bytes(lane.read_bytes()[:size] or b"PK"[:size])
        with pytest.raises(ValueError, match=rf"{lane.name}.*delete it"):
            store.finished("k")
    manifest = store.manifest(["k"], [(0.5, 1.0)], ["k"])
    assert store.manifests() == [manifest]
    store.close(manifest)
    assert store.manifests() == []
    np.savez(lane, loss=np.ones((3, 2)))  # a file of anybody else
    with pytest.raises(ValueError, match=rf"{lane.name}.*no.* checksum.*delete it"):
        store.finished("k")
    for text in ("", "5", "[null, null, null]", '[["k"], [[0.5]]]', '[["k"], 1, []]'):
        (tmp_path / "manifest-0.json").write_text(text)
        with pytest.raises(
            ValueError, match=r"manifest-0\.json cannot be read.*delete it"
        ):
            store.manifests()
    for text in ("{", "[]", "null"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(
            ValueError, match=r"config\.json cannot be read.*another folder"
        ):
            Store(tmp_path, {"hyperparameters": {}})


# Runs sweeps on demand, each in a fork of one process that has everything imported, and
# kills them: `folder out origin seconds` on a line, answered by `ended segments threads
# seconds`, where the clock starts at the call ("call") or at the first segment ("run"),
# or as many files are written, the last one not whole ("write").
SERVER = """
import os, signal, sys, time, traceback, warnings
import jax
warnings.filterwarnings("ignore", "os.fork")  # the backend starts in the forks
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
import asgrad_jax as ag
from asgrad_jax.engine import cost
from asgrad_jax.engine import program as engine
from asgrad_jax.experiments import execute
cost.LIMITS = cost.LIMITS._replace(segment_seconds=1e-9, segments=50)
execute._CHECKPOINT_SECONDS, execute._CHECKPOINT_SHARE = 0.0, 1.0
problem = ag.quadratic(4, 3, noise=0.5, seed=1)
clock = ag.compute_times.exponential(range(1, 5))
ag.simulate("fedbuff", clock, num_gradients=10)

def life(folder, out, tell, writes):
    def written(descriptor, left=[writes]):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return fsync(descriptor)
    fsync, os.fsync = os.fsync, written
    advance, run = engine.advance, execute._run_group
    def counted(*args, **kwargs):
        os.write(tell, b"s")
        return advance(*args, **kwargs)
    def watched(group, *args):
        os.write(tell, b"t" * group.threads)
        return run(group, *args)
    counted.lower = advance.lower
    engine.advance, execute._run_group = counted, watched
    os.write(tell, b"c")
    ag.save(ag.sweep(
        problem, algorithms=["pure_async", "fedbuff"], seeds=range(4),
        compute_times=clock, step_sizes=[0.05, 0.1], num_gradients=5000,
        record_every=10, directory=folder), out)

for line in sys.stdin:
    folder, out, origin, seconds = line.split()
    listen, tell = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(listen)
            life(folder, out, tell, int(seconds) if origin == "write" else 0)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(tell)
    told = b""
    while (b"c" if origin == "call" else b"s") not in told:
        more = os.read(listen, 1)
        if not more:
            break
        told += more
    start = time.monotonic()
    while origin == "write" or time.monotonic() - start < float(seconds):
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.001)
    else:
        os.kill(child, signal.SIGKILL)
        ended, code = os.waitpid(child, 0)
    passed = time.monotonic() - start
    while more := os.read(listen, 4096):
        told += more
    os.close(listen)
    assert os.WIFSIGNALED(code) or code == 0, code
    print(int(code == 0), told.count(b"s"), told.count(b"t"), passed, flush=True)
"""
SEGMENTS = 8 * 50


def read_whole(folder):
    """Reads every file that has its final name; returns the lanes' (inode, time)."""
    for path in folder.glob("checkpoint-*.npz"):
        with np.load(path) as file:
            assert len(dict(file)) > 3
    found = {}
    for path in (folder / "lanes").glob("[!.]*"):
        with np.load(path) as file:
            assert set(file) == {"hyper", "loss", "grad_norm", "finite"}
            assert all(np.isfinite(file[name]).all() for name in file)
        status = path.stat()
        found[path.name] = status.st_ino, status.st_mtime_ns
    return found


@pytest.mark.slow
@pytest.mark.parametrize("most", [20, pytest.param(100, marks=pytest.mark.campaign)])
def test_kill_and_resume(tmp_path, most):
    """Kill -9 again and again: an undisturbed run's bits, nothing lost or done twice.

    20 or 100 times, at random moments.
    """
    command = [sys.executable, "-c", SERVER, str(tmp_path / "cache")]
    random = np.random.default_rng(0)
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def life(name, origin="run", seconds=1e9):
        folder, out = tmp_path / name, tmp_path / f"{name}.nc"
        print(folder, out, origin, seconds, file=server.stdin, flush=True)
        ended, segments, threads, passed = map(float, server.stdout.readline().split())
        return bool(ended), int(segments), int(threads), passed

    kills, interrupted_writes, runs = 0, 0, 0
    with server:
        ended, segments, _, _ = life("whole")  # compiles
        assert ended and segments == SEGMENTS
        _, _, _, whole = life("again")
        while kills < most:
            # One run after another is killed over and over, until it ends.
            name, runs = f"killed-{runs}", runs + 1
            folder = tmp_path / name
            known, computed, allowed, ended = {}, 0, SEGMENTS, False
            while not ended:
                origin = ("run", "run", "write", "run", "call")[kills % 5]
                moment = random.uniform(0, whole)
                if origin == "write":
                    moment = random.integers(1, 9)
                if kills >= most:
                    origin, moment = "run", 1e9
                ended, segments, threads, _ = life(name, origin, moment)
                computed += segments
                if not ended:
                    kills += 1
                    # What was under way is lost, at most a segment per call.
                    allowed += threads
                    # Lanes, checkpoints, the config, or the result beside the folder.
                    begun = [*folder.rglob(".*"), *tmp_path.glob(f".{name}-*")]
                    interrupted_writes += bool(begun)
                    assert begun or origin != "write"
                if folder.exists():
                    lanes = read_whole(folder)
                    # What was finished is there and was not written again.
                    assert known.items() <= lanes.items()
                    known = lanes
            assert SEGMENTS <= computed <= allowed
            assert_same(ag.load(tmp_path / "whole.nc"), ag.load(f"{folder}.nc"))
            left = {p.name for p in folder.rglob("*") if "config" not in p.name}
            assert left == {"lanes", "outline.npz", *known}
        server.stdin.close()
    assert interrupted_writes
