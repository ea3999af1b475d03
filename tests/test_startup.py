"""What is imported when: the package at once, heavy libraries with their first use."""

import json
import subprocess
import sys

import pytest

HEAVY = ("numba", "pandas", "xarray", "sklearn", "matplotlib", "h5py", "tqdm", "jax")


def imported(code):
    """Which heavy libraries a fresh process has after this code."""
    show = (
        f"import sys, json; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "command",
    ["", "sweep", "plan", "demo", "theory", "report", "schedule simulate", "doctor"],
)
def test_help_needs_no_library(command):
    code = f"""
import sys
from asgrad_jax.cli import cli
sys.argv = ["asgrad", *{command.split()}, "--help"]
try:
    cli.main()
except SystemExit:
    pass
"""
    assert imported(code) == set()


def test_the_package_is_imported_at_once():
    assert imported("import asgrad_jax as ag; dir(ag), ag.__version__") == set()


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("ag.quadratic(2, 3); ag.from_loss; ag.logistic_regression", {"jax"}),
        ("ag.compute_times.normal([1, 2]); ag.algorithms.shuffled_async()", {"jax"}),
        ("ag.Schedule.from_arrays([0, 1], [0, 0]); ag.simulate", {"jax"}),
        ("ag.simulate('sgd', ag.compute_times.fixed([1]), num_gradients=3)", {"numba"}),
        ("ag.datasets.names()", set()),
    ],
)
def test_libraries_come_with_their_first_use(code, wanted):
    found = imported(f"import asgrad_jax as ag; {code}")
    assert wanted <= found and found <= {"jax"} | wanted
