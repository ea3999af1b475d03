"""A run's folder is trusted only as far as its checksums reach; one process has it."""

import errno
import json
import os
import platform
import shutil
import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest

import asgrad_jax as ag
from asgrad_jax._util import lock as locks
from asgrad_jax._util import sealed
from asgrad_jax.experiments.folder import Store

CONFIG = {"hyperparameters": {"step_size": [0.1]}, "problem": "one"}
KEYS = ("a" * 32, "b" * 32, "c" * 32)


def fill(folder, config=CONFIG):
    """A folder as a stopped run leaves it: lanes, checkpoints and a manifest."""
    store = Store(folder, config)
    rng = np.random.default_rng(0)
    for key in KEYS:
        values = {"loss": rng.normal(size=(5, 2)), "finite": np.ones((5, 2), bool)}
        store.save_lanes(key, np.array([[0.1, 0.2]]), values)
        store.checkpoint(key, 3, [rng.normal(size=4)], {"loss": np.ones((1, 2, 2))})
    store.manifest(list(KEYS), [(0.1,), (0.2,), (0.3,)], list(KEYS))
    return store


def contents(store):
    """Everything that a run would use of a folder, as text."""
    with store.opened():
        lanes = [
            sorted(
                (point, {k: v.tolist() for k, v in columns.items()})
                for point, columns in store.finished(key).items()
            )
            for key in KEYS
        ]
        saved = [store.restore(key) for key in KEYS]
        return repr((lanes, saved, store.manifests()))


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("seed", range(4))
def test_every_corruption_is_noticed(tmp_path, seed):
    """Fifty each: a bit flipped, an end cut off, two files swapped, one deleted."""
    whole = tmp_path / "whole"
    known = contents(fill(whole))
    fill(tmp_path / "other", CONFIG | {"problem": "two"})
    rng = np.random.default_rng(seed)
    for number in range(50):
        folder = tmp_path / f"{number}"
        shutil.copytree(whole, folder)
        path = rng.choice(files(folder))
        kind = ("flip", "cut", "swap", "foreign", "delete")[number % 5]
        data = bytearray(path.read_bytes())
        if kind == "flip":
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
            path.write_bytes(data)
        elif kind == "cut":
            path.write_bytes(data[: rng.integers(len(data))])
        elif kind == "swap":
            other = rng.choice([p for p in files(folder) if p != path])
            path.write_bytes(other.read_bytes())
            other.write_bytes(data)
        elif kind == "foreign":  # the same name, of a run with another problem
            shutil.copy(tmp_path / "other" / path.relative_to(folder), path)
        if kind == "delete":
            # What is not there runs again, and a config is written anew.
            path.unlink()
            found = contents(Store(folder, CONFIG))
            assert (found != known) == (path.name != "config.json")
            continue
        with pytest.raises(ValueError, match=r"; (delete|choose)|Choose") as raised:
            contents(Store(folder, CONFIG))
        named = [path, other] if kind == "swap" else [path]
        assert any(
            p.name in str(raised.value) or p.name == "config.json" for p in named
        )


def test_all_damaged_files_are_named_at_once(tmp_path):
    store = fill(tmp_path)
    for path in files(store.lanes):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError) as raised:
        contents(store)
    assert all(path.name in str(raised.value) for path in files(store.lanes))


def test_what_a_killed_process_was_writing_is_not_looked_at(tmp_path):
    store = fill(tmp_path)
    known = contents(store)
    for path in files(tmp_path):
        (path.parent / f".{path.stem}-0-999999999-x{path.suffix}").write_bytes(b"half")
    assert contents(store) == known


def test_a_file_that_changes_later_is_noticed_too(tmp_path):
    """What was seen to be whole is looked at again when its numbers are used."""
    store = fill(tmp_path)
    with store.opened():
        path = files(store.lanes)[0]
        data, status = bytearray(path.read_bytes()), path.stat()
        data[200] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(ValueError, match="its checksum does not fit"):
            store.finished(KEYS[0])


def test_a_sweep_refuses_swapped_lanes_and_runs_deleted_ones(tmp_path):
    grid = dict(
        algorithms=["pure_async", "shuffled_async"],
        compute_times=ag.compute_times.fixed([1, 2, 3]),
        step_sizes=[0.1],
        num_gradients=20,
        directory=tmp_path,
    )
    problem = ag.quadratic(3, 2)
    first = ag.sweep(problem, **grid)
    one, other = files(tmp_path / "lanes")
    whole = one.read_bytes()
    one.write_bytes(other.read_bytes())
    with pytest.raises(
        ValueError, match=f"{one.name} cannot .*of .*/{other.name}, und"
    ):
        ag.sweep(problem, **grid)
    one.unlink()
    again = ag.sweep(problem, **grid)
    assert np.array_equal(first["loss"], again["loss"])
    assert one.read_bytes() == whole


@pytest.fixture(params=["kernel", "words"])
def kind(request, monkeypatch):
    """With locks of the file system, and without."""
    if request.param == "words":
        monkeypatch.setattr(locks, "fcntl", None)
    elif locks.fcntl is None:
        pytest.skip("this system has no flock")
    return request.param


def test_two_processes_or_threads(tmp_path, kind):
    store = fill(tmp_path)
    refused = []

    def second():
        try:
            contents(store)
        except RuntimeError as error:
            refused.append(str(error))

    with store.opened():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    (words,) = refused
    assert f"in use by process {os.getpid()} on {platform.node()} since" in words
    assert contents(store) and not (tmp_path / "lock").exists()


HOLD = """
import sys
from asgrad_jax._util import lock as locks
if sys.argv[2] == "words":
    locks.fcntl = None
with locks.lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_dead_holder_holds_nothing(tmp_path, kind):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path), kind]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(command, **pipes) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RuntimeError, match=f"process {holder.pid} "):
            with locks.lock(path):
                pass
        holder.kill()
        holder.wait()
    assert path.exists()
    with locks.lock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_a_number_that_another_process_has_got(tmp_path, monkeypatch):
    """Process numbers come again: the start of the process tells them apart."""
    monkeypatch.setattr(locks, "fcntl", None)
    path = tmp_path / "lock"
    me = {"host": platform.node(), "pid": os.getpid(), "since": 0.0}
    started = psutil.Process().create_time()
    path.write_text(json.dumps({**me, "started": started}))
    with pytest.raises(RuntimeError, match=r"since 19(70|69)-.* delete lock"):
        with locks.lock(path):
            pass
    path.write_text(json.dumps({**me, "started": started - 100}))
    with locks.lock(path):
        pass
    path.write_text(json.dumps({**me, "started": 0, "host": "elsewhere"}))
    with pytest.raises(RuntimeError, match=f"process {os.getpid()} on elsewhere"):
        with locks.lock(path):
            pass


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only"), (errno.EACCES, "")],
)
@pytest.mark.parametrize("writes", range(4))
def test_no_place_or_permission_any_more(tmp_path, monkeypatch, number, words, writes):
    """What was finished before is whole, and the same sweep goes on."""
    grid = dict(
        algorithms=["pure_async", "shuffled_async"],
        compute_times=ag.compute_times.fixed([1, 2, 3]),
        step_sizes=[0.1],
        num_gradients=20,
        directory=tmp_path,
    )
    problem, left, fsync = ag.quadratic(3, 2), [writes], os.fsync

    def full(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(number, os.strerror(number))
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            OSError, match=rf"cannot be written.*{words}.*to go on"
        ) as e:
            ag.sweep(problem, **grid)
    assert e.value.errno == number
    assert not list(tmp_path.rglob(".*"))
    for path in files(tmp_path / "lanes"):
        assert sealed.read_sealed_npz(path, f"{owner(tmp_path)}/{path.name}")
    again = ag.sweep(problem, **grid)
    grid["directory"] = None
    assert np.array_equal(again["loss"], ag.sweep(problem, **grid)["loss"])


def owner(folder):
    return (folder / "config.json").read_text().split("asgrad_jax ")[1].split("/")[0]


def test_a_finished_folder_that_is_read_only(tmp_path, monkeypatch, kind):
    """It is read, without a lock."""
    store = fill(tmp_path)
    known = contents(store)

    def refused(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    assert contents(store) == known
