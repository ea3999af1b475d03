"""Curves against any coordinate along the records."""

import numpy as np
import pytest

import asgrad_jax as ag

pytestmark = pytest.mark.filterwarnings("ignore:the best hyper-parameters")


@pytest.fixture(scope="module")
def result():
    return ag.sweep(
        ag.quadratic(num_workers=4, num_features=3, seed=1),
        algorithms=["pure_async", "random_async", "minibatch"],
        compute_times=ag.compute_times.exponential([1, 2, 3, 4]),
        step_sizes=[0.01, 0.05],
        seeds=range(3),
        num_gradients=200,
        record_every=10,
    )


def lines(axes):
    return [line for line in axes.get_lines() if line.get_linestyle() != "None"]


def test_server_steps(result):
    figure = ag.plot.convergence(result, against="server_steps")
    [axes] = figure.axes
    assert axes.get_xlabel() == "server steps"
    for name, line in zip(result["algorithm"].values, lines(axes), strict=True):
        ends = result["server_steps"].sel(algorithm=name).isel(record=-1)
        assert line.get_xdata()[-1] == pytest.approx(float(ends.min()))
    ends = [line.get_xdata()[-1] for line in lines(axes)]
    assert ends[0] == 200 and ends[2] == 50  # mini-batches of four


@pytest.mark.parametrize(
    ("dims", "values"),
    [
        (("record",), np.arange(21) / 7),
        (("record", "seed"), np.arange(63).reshape(21, 3)),
        (("algorithm", "record"), np.arange(63).reshape(3, 21)),
        (("record",), np.arange(21) - 5.0),
    ],
)
def test_a_coordinate_of_ones_own(result, dims, values):
    own = result.assign_coords(epochs=(dims, values))
    figure = ag.plot.convergence(own, against=["epochs", "time", "record", "gradients"])
    assert len(figure.axes) == 4 and figure.axes[0].get_xlabel() == "epochs"
    first = lines(figure.axes[0])[0].get_xdata()
    starts = own["epochs"].isel(algorithm=0, missing_dims="ignore").isel(record=0)
    assert first[0] == starts.max()
    assert figure.axes[0].get_xlim()[0] <= min(0, values.min())


@pytest.mark.parametrize(
    ("dims", "values", "words"),
    [
        (("record",), -np.arange(21.0), "must never decrease"),
        (("record",), np.full(21, np.nan), "a finite number, got nan"),
        (("record",), np.array(["a"] * 21), "must be real numbers"),
        (("record", "step_size"), np.zeros((21, 2)), "the dimension 'step_size' too"),
        (("seed",), np.arange(3.0), "against must be 'gradients', 'time'"),
    ],
)
def test_coordinates_that_are_no_axis(result, dims, values, words):
    own = result.assign_coords(own=(dims, values))
    with pytest.raises((TypeError, ValueError), match=words):
        ag.plot.convergence(own, against="own")


@pytest.mark.parametrize("against", [3, [3], {"time"}, None])
def test_no_names(result, against):
    if against is None:
        assert len(ag.plot.convergence(result, against=None).axes) == 3
        return
    with pytest.raises(TypeError, match="against must be"):
        ag.plot.convergence(result, against=against)
