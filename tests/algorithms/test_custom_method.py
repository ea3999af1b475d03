"""The example of a user's own method runs, and is as short as it claims to be."""

import ast
import os
import runpy
import sys
from pathlib import Path

import pytest

import asgrad_jax as ag

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_method.py"


@pytest.mark.filterwarnings("ignore:the best hyper-parameters")
def test_it_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [EXAMPLE.name, "--num-gradients", "300"])
    runpy.run_path(os.fspath(EXAMPLE), run_name="__main__")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[1:]] == [
        "two_choices",
        "random_async",
        "shuffled_async",
        "pure_async",
    ]
    assert all(float(row[-1]) > 0 for row in rows[1:])


def test_the_method_is_short_and_saves_time():
    tree = ast.parse(EXAMPLE.read_text())
    (method,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert method.end_lineno - method.lineno < 30
    two_choices = runpy.run_path(os.fspath(EXAMPLE))["TwoChoices"]()
    times = ag.compute_times.exponential(range(1, 11))
    seconds = [
        [
            ag.simulate(algorithm, times, num_gradients=2_000, seed=seed).time[-1]
            for seed in range(5)
        ]
        for algorithm in (two_choices, "random_async")
    ]
    assert max(seconds[0]) < 0.8 * min(seconds[1])
