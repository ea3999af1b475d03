"""What a process may take of the machine, also inside containers and jobs."""

import os
from pathlib import Path

import psutil
import pytest

from asgrad_jax._util import machine

GB = 10**9


def group(folder: Path, files: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


@pytest.fixture
def own(tmp_path):
    """Writes the file that names the process's groups."""

    def write(text: str) -> tuple[Path, Path]:
        (tmp_path / "own").write_text(text)
        return tmp_path / "own", tmp_path / "mount"

    return write


def test_a_job_within_a_slice(own):
    """The second version: one tree, and every level of it may have a limit."""
    places = own("0::/system.slice/job_7/step_0\n")
    job = places[1] / "system.slice" / "job_7"
    group(
        job,
        {
            "memory.max": 8 * GB,
            "memory.current": 5 * GB,
            "memory.stat": f"anon {GB}\ninactive_file {2 * GB}",
        },
    )
    group(
        job / "step_0",
        {"memory.max": "max", "memory.current": GB, "memory.stat": "anon 1"},
    )
    group(places[1], {"memory.stat": "anon 1"})  # the root has no limit file
    assert list(machine.cgroup_headroom(*places)) == [8 * GB - 5 * GB + 2 * GB]


def test_a_container_of_the_first_version(own):
    """Its own group looks like the root of the tree, wherever it lies outside."""
    places = own("5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n")
    files = {
        "memory.limit_in_bytes": 3 * GB,
        "memory.usage_in_bytes": GB,
        "memory.stat": f"inactive_file 7\ntotal_inactive_file {GB // 2}",
    }
    group(places[1] / "memory", files)
    assert list(machine.cgroup_headroom(*places)) == [2 * GB + GB // 2]


def test_no_groups(own, tmp_path):
    assert list(machine.cgroup_headroom(tmp_path / "none", tmp_path)) == []
    assert list(machine.cgroup_headroom(*own("0::/\n"))) == []


def test_the_smallest_limit_counts(monkeypatch):
    free = psutil.virtual_memory().available
    for left, allowed in [([1], 1), ([], free), ([5, -3], 0)]:
        monkeypatch.setattr(machine, "cgroup_headroom", lambda left=left: left)
        assert machine.available_memory() == pytest.approx(allowed, rel=0.2)


def test_cores_are_those_of_the_affinity(monkeypatch):
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system does not bind processes to cores")
    assert 1 <= machine.usable_cores() <= len(os.sched_getaffinity(0))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert machine.usable_cores() == 1
