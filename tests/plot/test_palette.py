"""Fourteen algorithms in a figure are told apart, by colour-blind readers too."""

import itertools

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.colors import to_rgb

import asgrad_jax as ag
from asgrad_jax.plot import style
from asgrad_jax.report import interactive

pytestmark = pytest.mark.filterwarnings("ignore:the best hyper-parameters")

# Linear RGB as seen without one kind of cones: Machado, Oliveira and Fernandes,
# "A physiologically-based model for simulation of color vision deficiency", 2009.
EYES = {
    "all cones": np.eye(3),
    "protanopia": [
        *([0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216]),
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        *([0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413]),
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        *([1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602]),
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)


def linear(colors):
    rgb = np.array([to_rgb(color) for color in colors])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB of linear sRGB under daylight."""
    x, y, z = (rgb @ TO_XYZ.T / [0.9505, 1, 1.089]).T
    x, y, z = (
        np.where(v > 0.008856, np.cbrt(v), 7.787 * v + 16 / 116) for v in (x, y, z)
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def closest(colors):
    """The distance of the two colours that somebody can tell apart worst."""
    seen = [
        lab(np.clip(linear(colors) @ np.transpose(eye), 0, 1)) for eye in EYES.values()
    ]
    pairs = itertools.combinations(range(len(colors)), 2)
    return min(np.linalg.norm(s[a] - s[b]) for a, b in pairs for s in seen)


@pytest.mark.parametrize("text", ["black", "white"])
def test_no_two_colours_are_closer_than_those_of_okabe_and_ito(text):
    with rc_context({"text.color": text}):
        colors = [style.line_style(number).color for number in range(14)]
    assert len({*colors}) == 14
    assert closest(colors) == pytest.approx(closest(colors[:7]))
    assert closest([*colors, "#0A74B0"]) < closest(colors) / 2  # it can fail


def test_all_show_on_white_and_on_black():
    colors = [color for color in style.COLORS if color != style.BLACK]
    light = linear(colors) @ TO_XYZ[1]
    assert (1.05 / (light + 0.05)).min() > 2.2 < ((light + 0.05) / 0.05).min()


@pytest.fixture(scope="module")
def many():
    """A sweep of sixteen algorithms."""
    return ag.sweep(
        ag.quadratic(num_workers=3, num_features=2, noise=0.3),
        algorithms={f"method {k}": "pure_async" for k in range(16)},
        compute_times=ag.compute_times.fixed([1, 2, 3]),
        step_sizes=[0.1, 0.2],
        num_gradients=40,
    )


def test_more_than_fourteen_differ_in_line_and_mark(many):
    found = style.result_styles(many)
    looks = {name: (look.color, str(look.linestyle)) for name, look in found.items()}
    assert len({*looks.values()}) == 16
    again = found["method 14"]
    assert again.color == found["method 0"].color
    assert again[1:] != found["method 0"][1:]


def test_an_algorithm_looks_alike_in_all_panels_and_on_the_page(many):
    found = style.result_styles(many)
    figure = ag.plot.convergence(many)
    for axes in figure.axes:
        lines = [one for one in axes.get_lines() if one.get_linestyle() != "None"]
        assert [one.get_color() for one in lines] == [s.color for s in found.values()]
        assert [one.get_marker() for one in lines] == [s.marker for s in found.values()]
    with rc_context({"text.color": "white"}):
        page = interactive.data(many, "grad_norm")
    assert page["colors"] == [s.color for s in found.values()]
    assert len({*zip(page["colors"], page["dashes"], strict=True)}) == 16
    part = interactive.data(many.isel(algorithm=[9, 15]), "grad_norm")
    for key in ("colors", "dashes"):
        assert part[key] == [page[key][9], page[key][15]]


def test_a_profile_of_some_methods_keeps_their_looks():
    times = ag.compute_times.fixed([1, 2, 3])
    orders = {
        name: ag.simulate("pure_async", times, num_gradients=60) for name in ("b", "c")
    }
    problem = ag.quadratic(num_workers=3, num_features=2)

    def colors(**given):
        figure = ag.plot.correlation_profile(orders, problem, **given)
        return [h.get_color() for h in figure.axes[0].get_legend().legend_handles]

    assert colors(among=["a", "b", "c"]) == [style.COLORS[1], style.COLORS[2].lower()]
    assert colors()[0] == style.COLORS[0]
    with pytest.raises(TypeError, match="among must be a list of names, got 'abc'"):
        colors(among="abc")
