"""Times to a goal, of metrics that fall and of metrics that rise."""

import numpy as np
import pytest
import xarray as xr

import asgrad_jax as ag
from asgrad_jax.results.time_to import fastest_times


@pytest.fixture
def result():
    """Two lanes, six records at the times 0, 2, ..., 10; the second is not ok."""
    dims = ("algorithm", "compute_times", "seed", "step_size")
    accuracy = [0.1, 0.6, 0.5, 0.7, 0.8, 0.9]
    values = np.array([[[[accuracy, accuracy]]]], np.float32)
    lanes = {"status": (dims, np.array([[[[0, 1]]]]))}
    curves = {"accuracy": values, "grad_norm": 1 - values, "loss": -values}
    return xr.Dataset(
        lanes | {name: ((*dims, "record"), v) for name, v in curves.items()},
        {
            **dict(algorithm=["a"], compute_times=["c"], seed=[0], step_size=[1, 2]),
            "time": (("algorithm", "record"), [[0.0, 2, 4, 6, 8, 10]]),
        },
    )


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (
            dict(metric="accuracy", goal=[0.6, 0.75, 0.95], maximize=True),
            [2, 8, np.inf],
        ),
        (dict(metric="accuracy", goal=0.6, maximize=True, sustained=True), [6]),
        (dict(metric="accuracy", goal=0.55), [0]),
        (dict(metric="loss", goal=[-0.55, -0.85]), [2, 10]),
        (dict(metric="loss", goal=-0.55, sustained=True), [6]),
        (dict(goal=0.45), [2]),
        (dict(eps=0.45**2), [2]),
    ],
)
def test_times_to_a_goal(result, given, seconds):
    found = ag.time_to_accuracy(result, **given)
    name = "eps" if "eps" in given else "goal"
    assert found.dims[-1] == name
    assert found[name].values.tolist() == np.atleast_1d(given[name]).tolist()
    assert found.values[0, 0, 0, 0].tolist() == seconds
    assert np.isinf(found.values[0, 0, 0, 1]).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dict(), "either eps .* or goal .* must be given, got none"),
        (dict(eps=0.1, goal=0.1), "got both"),
        (dict(eps=0.1, metric="accuracy"), "eps must go with metric='grad_norm'"),
        (dict(eps=0.1, maximize=True), "eps must go with .*maximize=True"),
        (dict(eps=0), "eps must be a finite number > 0"),
        (dict(eps=[[0.1]]), "eps must be a number or a flat list"),
        (dict(goal=[]), "goal must be a number or a flat list"),
        (dict(goal=np.nan), "goal must be a finite number, got nan"),
        (dict(goal="0.5"), "goal must be real numbers"),
        (dict(goal=0.5, maximize=1), "maximize must be True or False, got 1"),
        (dict(goal=0.5, metric="speed"), "unknown metric 'speed'"),
    ],
)
def test_goals_that_are_none(result, given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        ag.time_to_accuracy(result, **given)


def test_the_fastest_step_size_is_chosen_on_the_tuning_seeds():
    """Fresh seeds that are quick at another step size do not choose it."""
    curves = np.array([[4.0, 3.0, 1.0], [4.0, 1.0, 1.0]])  # reach 1 at time 2, at 1
    norms = np.stack([curves, curves, curves[::-1], curves[::-1]])[None, None]
    outer = ("algorithm", "compute_times", "seed")
    result = xr.Dataset(
        {
            "grad_norm": ((*outer, "step_size", "record"), norms),
            "status": ((*outer, "step_size"), np.zeros((1, 1, 4, 2), np.int8)),
        },
        coords={
            "time": ((*outer, "record"), np.tile([0.0, 1.0, 2.0], (1, 1, 4, 1))),
            "tuning": ("seed", [True, True, False, False]),
        },
    )
    assert fastest_times(result, [1.0, 9.0, 0.5]).values.tolist() == [
        [[[2.0, 1.0, np.inf], [2.0, 1.0, np.inf]]]
    ]
    # Without the mark all decide, and all are told.
    plain = fastest_times(result.drop_vars("tuning"), 1.0)
    assert plain.sizes["seed"] == 4
