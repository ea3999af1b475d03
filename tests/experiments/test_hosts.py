"""Several processes on one machine, over loopback, joined by jax.distributed."""

import socket
import subprocess
import sys
import time

import pytest
import xarray as xr

import asgrad_jax as ag

SCRIPT = """
import sys, os
import asgrad_jax as ag
port, count, number, folder, out, die, last = sys.argv[1:]
ag.join(f"127.0.0.1:{port}", num_processes=int(count), process_id=int(number))
from asgrad_jax.experiments import execute, resume
resume.execute_missing.__kwdefaults__["patience"] = 4.0
if int(number) == int(die):
    execute._run_batch = lambda *a, **k: os._exit(7)
problem = ag.quadratic(4, 3, noise=0.5, seed=1)
try:
    result = ag.sweep(
        problem, algorithms=["pure_async", "fedbuff", "minibatch"], seeds=range(3),
        compute_times=ag.compute_times.exponential(range(1, 5)),
        step_sizes=[0.05, float(last)], num_gradients=300, record_every=10,
        directory=folder)
except RuntimeError as error:
    print(error, flush=True)
    os._exit(3)
if int(number) == 0:
    ag.save(result, out)
print("done", flush=True)
"""


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def launch(count, folder, out, *, die=-1, last=(0.1,) * 4):
    port = free_port()
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                SCRIPT,
                *map(str, (port, count, number, folder, out, die, last[number])),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        outputs = [p.communicate() for p in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *o) for p, o in zip(processes, outputs, strict=True)]


@pytest.fixture(scope="module")
def alone():
    return ag.sweep(
        ag.quadratic(4, 3, noise=0.5, seed=1),
        algorithms=["pure_async", "fedbuff", "minibatch"],
        seeds=range(3),
        compute_times=ag.compute_times.exponential(range(1, 5)),
        step_sizes=[0.05, 0.1],
        num_gradients=300,
        record_every=10,
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_work(tmp_path, alone, count):
    ends = launch(count, tmp_path / "run", tmp_path / "r.nc")
    assert [code for code, _, _ in ends] == [0] * count, ends
    together = ag.load(tmp_path / "r.nc")
    xr.testing.assert_allclose(together.drop_attrs(), alone.drop_attrs(), rtol=1e-5)
    # Every process ran its share and nobody ran another's.
    assert len(list((tmp_path / "run" / "lanes").iterdir())) == 9


@pytest.mark.slow
def test_a_dead_process_is_named_and_nothing_finished_is_lost(tmp_path, alone):
    """Even the one that the others have met at."""
    ends = launch(2, tmp_path / "run", tmp_path / "r.nc", die=0)
    assert ends[0][0] == 7
    assert ends[1][0] == 3
    assert "process 0 of 2 has shown no life for 4 s" in ends[1][1], ends
    assert len(list((tmp_path / "run" / "lanes").iterdir())) == 4
    # The same command again goes on to the end.
    ends = launch(2, tmp_path / "run", tmp_path / "r.nc")
    assert [code for code, _, _ in ends] == [0, 0], ends
    together = ag.load(tmp_path / "r.nc")
    xr.testing.assert_allclose(together.drop_attrs(), alone.drop_attrs(), rtol=1e-5)


@pytest.mark.slow
def test_processes_that_were_asked_for_different_sweeps(tmp_path):
    """Each would wait for lanes that the other one never runs."""
    ends = launch(2, tmp_path / "run", tmp_path / "r.nc", last=(0.1, 0.2))
    for number, (code, said, _) in enumerate(ends):
        assert code == 3, ends
        assert f"process {1 - number} of 2 runs another sweep" in said


COMMAND = """
import sys
from asgrad_jax.experiments import resume
from asgrad_jax.cli import cli
resume.execute_missing.__kwdefaults__["patience"] = 4.0
cli.main()
"""
CONFIG = """
algorithms = ["pure_async", "fedbuff"]
step_sizes = [0.01]
num_gradients = 20000
record_every = 100
seeds = 3
[problem]
kind = "quadratic"
num_workers = 4
num_features = 3
[compute_times]
name = "exponential"
mean = [1, 2, 3, 4]
"""


@pytest.mark.slow
def test_killed_from_outside(tmp_path):
    """The command line leaves with its own message, not JAX's."""
    (tmp_path / "c.toml").write_text(CONFIG)
    port = free_port()
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", COMMAND, "sweep", "c.toml", "--out", "run"),
                *("--coordinator", f"127.0.0.1:{port}", "--num-processes", "2"),
                *("--process-id", str(number)),
            ],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        while not (tmp_path / "run" / "alive" / "1").exists():
            assert processes[1].poll() is None, processes[1].stderr.read()
            time.sleep(0.01)
        processes[1].kill()
        error = processes[0].stderr.read()
        processes[0].wait()
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[0].returncode == 2, error
    last = error.strip().splitlines()[-1]
    assert last.startswith("asgrad: error: process 1 of 2 has shown no life for 4 s")
