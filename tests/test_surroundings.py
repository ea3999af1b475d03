"""Where the package may be: read-only, without compiler, docstrings or threads.

Each needs a process of its own, since the surroundings are there before the import.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import asgrad_jax

SOURCE = Path(asgrad_jax.__file__).parent
CASE = """
import asgrad_jax as ag
times = ag.compute_times.exponential([1.0, 2.0, 3.0])
problem = ag.quadratic(num_workers=3, num_features=4, noise=0.1, seed=0)
schedule = ag.simulate("shuffled_async", times, num_gradients=12)
def norms():
    found = ag.run(problem, schedule, step_size=0.1, record_every=4)
    return found.metrics["grad_norm"].tolist()
"""


def process(code, *, options=(), package=SOURCE.parent, **environment):
    """Returns the JSON on the last line that a fresh process prints, and its stderr."""
    environment = {**os.environ, "PYTHONPATH": str(package), **environment}
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        env={name: value for name, value in environment.items() if value},
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def here(code):
    """Returns what the code's `found` is in this process."""
    names = {}
    exec(code, names)
    return names["found"]


def test_without_a_place_for_compiled_functions_one_hint_says_what_helps(tmp_path):
    # Root may write everywhere, so the folders are files, which nobody can write into:
    # the package's __pycache__ and what is above the home.
    copied = tmp_path / "asgrad_jax"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE, copied, ignore=ignored)
    for folder in [copied, *(p for p in copied.rglob("*") if p.is_dir())]:
        (folder / "__pycache__").touch()
    home = tmp_path / "file"
    home.touch()
    code = (
        CASE + "import json; print(json.dumps([ag.__file__, schedule.worker.tolist()]))"
    )
    (file, workers), hints = process(
        code,
        package=tmp_path,
        HOME=str(home / "home"),
        XDG_CACHE_HOME="",
        NUMBA_CACHE_DIR="",
    )
    assert Path(file).parent == copied
    assert workers == here(CASE + "found = schedule.worker.tolist()")
    assert hints.count("UserWarning") == hints.count("set NUMBA_CACHE_DIR") == 1


def test_a_place_that_is_full_is_a_hint_too(tmp_path):
    resource = pytest.importorskip("resource")
    code = """
import json, resource, numpy as np, pandas, numba, tempfile
import asgrad_jax as ag
times = ag.compute_times.exponential([1.0, 2.0, 3.0])
tempfile.gettempdir(), ag.simulate
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
schedule = ag.simulate("shuffled_async", times, num_gradients=12)
print(json.dumps(schedule.worker.tolist()))
"""
    workers, hints = process(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert resource and workers == here(CASE + "found = schedule.worker.tolist()")
    assert hints.count("set NUMBA_CACHE_DIR") == 1


def test_without_numbas_compiler_schedules_are_the_same_and_runs_agree():
    code = f"""
import json, warnings
warnings.simplefilter("error")
{CASE}
names = ["pure_async", "shuffled_async", "ringleader", "mindflayer", "ata"]
hashes = [ag.simulate(n, times, num_gradients=30, seed=1).content_hash for n in names]
hashes += [
    ag.simulate("rennala", ag.compute_times.example(n, 3), num_gradients=9).content_hash
    for n in ag.compute_times.names()
]
found = hashes, norms()
"""
    (hashes, norms), _ = process(
        code + "print(json.dumps(found))", NUMBA_DISABLE_JIT="1"
    )
    compiled, usual = here(code)
    assert hashes == compiled
    assert norms == pytest.approx(usual, rel=1e-5)


@pytest.mark.parametrize("first", ["0", "1"])
def test_the_compiler_is_switched_once_in_a_process(first):
    code = f"""
import json, os
{CASE}
rows = schedule.worker.tolist()
os.environ["NUMBA_DISABLE_JIT"] = "10"[int(os.environ["NUMBA_DISABLE_JIT"])]
for name in ("ringleader", "mindflayer", "rennala"):
    rows += ag.simulate(name, times, num_gradients=30, seed=1).worker.tolist()
drawn = ag.compute_times.example("exponential", 3)
found = rows + ag.simulate("ata", drawn, num_gradients=30, seed=1).worker.tolist()
print(json.dumps(found))
"""
    changed, _ = process(code, NUMBA_DISABLE_JIT=first)
    usual, _ = process(code, NUMBA_DISABLE_JIT="10"[int(first)])
    assert changed == usual


def test_the_compiled_engine_needs_a_compiler(monkeypatch):
    monkeypatch.setattr("asgrad_jax.simulation.simulate.switched_off", lambda: True)
    times = asgrad_jax.compute_times.fixed([1.0, 2.0])
    with pytest.raises(ValueError, match="engine must be 'python' or 'auto' where NUM"):
        asgrad_jax.simulate("pure_async", times, num_gradients=3, engine="compiled")


def test_without_docstrings_commands_and_reports_work():
    code = f"""
import contextlib, io, json, sys
from asgrad_jax.cli import cli
shown = {{}}
commands = ["", "algorithms", "datasets", "sweep", "plan", "demo", "theory", "report",
            "bench", "schedule", "schedule simulate", "schedule stats"]
for line in [*(f"{{c}} --help" for c in commands), "algorithms", "datasets"]:
    sys.argv = ["asgrad", *line.split()]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            cli.main()
        except SystemExit as end:
            assert not end.code, line
    shown[line] = out.getvalue()
{CASE}
found = [
    "usage" in shown["sweep --help"].lower(),
    shown["algorithms"].split(),
    len(str(ag.theory.report(problem, schedule, step_size=0.01, compute_times=times))),
    len(ag.theory.bounds.page()) > 1000,
    len(ag.algorithms.methods_table()) > 1000,
    norms(),
]
print(json.dumps(found))
"""
    (usage, listed, report, *pages, _), _ = process(code, options=["-OO"])
    assert usage and report > 100 and all(pages)
    assert listed == asgrad_jax.algorithms.names()


FORK = f"""
import json, multiprocessing, warnings
warnings.simplefilter("ignore")
context = multiprocessing.get_context("fork")
def child(queue):
    try:
        {CASE.replace(chr(10), chr(10) + "        ")}
        queue.put(norms())
    except RuntimeError as error:
        queue.put(str(error))
def answer():
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,), daemon=True)
    process.start()
    found = queue.get(timeout=200)
    process.join()
    return found
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@needs_fork
@pytest.mark.parametrize("before", ["import asgrad_jax; ", ""], ids=["both", "JAX"])
def test_a_child_that_was_forked_after_jax_started_is_refused(before):
    code = f"{before}import jax; jax.devices()\n{FORK}\nprint(json.dumps(answer()))"
    found, _ = process(code)
    assert "must not be forked from one in which JAX has started" in found
    assert "spawn" in found


@needs_fork
def test_a_child_that_was_forked_before_jax_started_runs():
    code = f"{CASE}\nimport jax\n{FORK}\nprint(json.dumps([answer(), norms()]))"
    (child, parent), _ = process(code)
    assert child == parent


def test_a_run_leaves_nothing_on_other_devices_than_the_default_one():
    code = f"""
import json, jax
{CASE}
usual = norms()
jax.clear_caches()
problem = ag.quadratic(num_workers=3, num_features=4, noise=0.1, seed=0)
before = {{id(x) for x in jax.live_arrays()}}
with jax.default_device(jax.devices()[1]):
    chosen = norms()
    result = ag.sweep(problem, algorithms="pure_async", compute_times=times,
                      step_sizes=[0.1], num_gradients=9)
new = [x for x in jax.live_arrays() if id(x) not in before]
where = sorted({{str(d) for x in new for d in x.devices()}})
print(json.dumps([usual, chosen, where, len(new), result.attrs["device"]]))
"""
    flags = "--xla_force_host_platform_device_count=2"
    (usual, chosen, where, count, device), _ = process(code, XLA_FLAGS=flags)
    assert chosen == usual
    assert count and where == ["cpu:1"]
    assert device.startswith("1 x cpu") and flags in device
