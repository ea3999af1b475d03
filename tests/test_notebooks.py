"""What a notebook shows of our objects: well-formed, escaped, and with the numbers."""

import sys
import types
import xml.etree.ElementTree as ElementTree

import jax
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax._util import html

TIMES = ag.compute_times.fixed([1, 2, 3])
PROBLEM = ag.quadratic(num_workers=3, num_features=2)
GRID = dict(
    algorithms={"a <b> & c": "pure_async"},
    compute_times=TIMES,
    step_sizes=[0.1, 0.2],
    seeds=range(12),
    num_gradients=40,
)


def parsed(thing):
    """The text of what is shown, and how many of which elements; XML must take it."""
    root = ElementTree.fromstring(thing._repr_html_())
    tags = [element.tag for element in root.iter()]
    return " ".join(root.itertext()), {tag: tags.count(tag) for tag in tags}


def test_a_schedule():
    schedule = ag.simulate("pure_async", TIMES, num_gradients=400)
    text, tags = parsed(schedule)
    assert "arrivals 400" in text and schedule.content_hash[:8] in text
    assert schedule.content_hash[:9] not in text
    assert (tags["svg"], tags["circle"], tags["rect"]) == (2, 200, 3)
    many = ag.simulate(
        "pure_async", ag.compute_times.fixed(np.arange(1.0, 301)), num_gradients=400
    )
    text, tags = parsed(many)
    assert "of workers 0 to 39" in text and tags["rect"] == 100


def test_nothing_is_shown_inside_a_traced_function():
    schedule = ag.simulate("pure_async", TIMES, num_gradients=4)
    shown = []

    @jax.jit
    def look(schedule, problem):
        shown.extend([schedule._repr_html_(), problem._repr_html_()])
        return 0

    look(schedule, PROBLEM)
    assert shown == [None, None]


def test_problems():
    text, _ = parsed(PROBLEM)
    assert text.startswith("Quadratic ")
    features, labels = ag.datasets.breast_cancer()
    for problem in (
        ag.logistic_regression(features, labels, 4, partition="sorted", drop_last=True),
        ag.problems.with_metrics(
            PROBLEM, {"norm": lambda x, d: (x**2).sum()}, np.ones(2)
        ),
        ag.local_steps(PROBLEM, num_steps=2, step_size=0.1),
    ):
        assert type(problem).__name__ in parsed(problem)[0]


def test_a_trajectory():
    schedule = ag.simulate("pure_async", TIMES, num_gradients=60)
    text, tags = parsed(ag.run(PROBLEM, schedule, step_size=[0.1, 0.2]))
    assert "gradients 60" in text and "2 ok" in text and "2 lanes" in text
    assert (tags["svg"], tags["polyline"]) == (2, 4)
    assert " .. " in text
    single = ag.run(PROBLEM, schedule, step_size=1e30)
    text, _ = parsed(single)
    assert "1 nonfinite" in text and "1 lane" in text


def test_a_grid_and_its_dry_run():
    grid = ag.Grid(PROBLEM, **GRID)
    text, _ = parsed(grid)
    assert "a <b> & c" in text and "0, 1, 2, 3, 4, 5, 6, 7, ... (12)" in text
    assert "runs 24" in text
    plan = grid.dry_run()
    assert parsed(plan)[0] == str(plan)


@pytest.mark.parametrize(
    ("values", "ends"),
    [([1.0, 100.0], ["1e2.0", "1e0.0"]), ([-2.0, 3.0], ["3", "-2"])],
)
def test_curves_have_their_ends(values, ends):
    picture = html.curve(np.arange(2), [np.array(values)], "what < that")
    root = ElementTree.fromstring(picture)
    assert [e.text for e in root.iter("text")] == ends
    assert "what < that" in "".join(root.itertext())
    assert html.curve(np.arange(2), [np.full(2, np.nan)], "nothing") == ""


def test_a_bar_is_there_in_a_notebook_only(monkeypatch, capsys):
    monkeypatch.setattr("asgrad_jax.experiments.sweep._SOON", 0.0)
    ag.sweep(PROBLEM, **GRID)
    assert capsys.readouterr().err == ""
    shell = types.SimpleNamespace(kernel=None)
    python = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", python)
    ag.sweep(PROBLEM, **GRID)
    assert "960/960" in capsys.readouterr().err
    ag.sweep(PROBLEM, progress=False, **GRID)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(python, "get_ipython", lambda: None)
    ag.sweep(PROBLEM, **GRID)
    assert capsys.readouterr().err == ""
