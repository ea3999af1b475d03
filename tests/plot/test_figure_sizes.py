"""Figures of any size: rcParams and the user's axes decide, and panels keep room."""

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text

import asgrad_jax as ag
from asgrad_jax.plot import style

pytestmark = pytest.mark.filterwarnings("ignore:the best hyper-parameters")

COLUMN = (3.25, 2.2)  # inches: one column of a paper
OURS = {
    "convergence": (11, 4.1),
    "step_sizes": (5, 4.2),
    "split": (7, 4.2),
    "schedule": (10, 6.4),
    "correlation_profile": (6.4, 4.6),
    "certificate": (7, 4.4),
    "step_size_advice": (6.8, 6),
    "time_to_accuracy": (6.8, 4.8),
}
SINGLE = ("step_sizes", "correlation_profile", "certificate", "time_to_accuracy")
METHODS = ["pure_async", "random_async", "shuffled_async", "minibatch", "fedbuff"]


@pytest.fixture(scope="module")
def result():
    return ag.sweep(
        ag.quadratic(num_workers=4, num_features=3, seed=1),
        algorithms=METHODS,
        compute_times=ag.compute_times.exponential([1, 2, 3, 4]),
        step_sizes=2.0 ** -np.arange(2, 7),
        seeds=range(3),
        num_gradients=200,
        record_every=20,
    )


@pytest.mark.parametrize("name", OURS)
def test_rcparams_give_the_size(figures, name):
    _, draw = figures[name]
    assert tuple(draw().get_size_inches()) == OURS[name]
    with rc_context({"figure.figsize": (8, 7.5)}):
        assert tuple(draw().get_size_inches()) == (8, 7.5)


@pytest.mark.parametrize("name", OURS)
def test_a_users_figure_keeps_its_size(figures, name):
    count, draw = figures[name]
    own = Figure(figsize=(4, 4.5), layout="constrained")
    draw(axes=own.subplots(count, 1))
    assert tuple(own.get_size_inches()) == (4, 4.5)


def test_legends_grow_only_figures_of_our_size(result):
    names = [f"method {k} of a rather long name" for k in range(5)]
    labels = dict(zip(METHODS, names, strict=True))
    assert ag.plot.step_sizes(result, labels=labels).get_figheight() > 4.2
    with rc_context({"figure.figsize": (5, 4.2001)}):
        figure = ag.plot.step_sizes(result, labels=labels)
    assert figure.get_figheight() == 4.2001


def shares(figure):
    """Of the figure's height: the legend, the panels with ticks and labels."""
    figure.draw_without_rendering()
    height = figure.bbox.height
    above = sum(legend.get_window_extent().height for legend in figure.legends)
    [axes] = figure.axes
    return above / height, axes.get_tightbbox().height / height


def drawn_in_a_column(draw, users):
    if users:
        figure = Figure(figsize=COLUMN, layout="constrained")
        draw(axes=figure.subplots())
        return figure
    with rc_context({"figure.figsize": COLUMN, "font.size": 8}):
        return draw()


@pytest.fixture(scope="module")
def singles(result):
    """Figures of one panel, of several methods."""
    problem = ag.quadratic(num_workers=4, num_features=3, seed=1)
    times = ag.compute_times.exponential([1, 2, 3, 4])
    orders = {name: ag.simulate(name, times, num_gradients=200) for name in METHODS}
    found = {
        name: ag.theory.certificate(problem, orders[name], 1e-3) for name in METHODS[:3]
    }
    return {
        "step_sizes": lambda **given: ag.plot.step_sizes(result, **given),
        "correlation_profile": lambda **given: ag.plot.correlation_profile(
            orders, problem, **given
        ),
        "certificate": lambda **given: ag.plot.certificate(found, **given),
        "time_to_accuracy": lambda **given: ag.plot.time_to_accuracy(
            result, times, problem, **given
        ),
    }


@pytest.mark.parametrize("users", [True, False])
@pytest.mark.parametrize("name", SINGLE)
def test_one_column_of_a_paper(singles, name, users):
    figure = drawn_in_a_column(singles[name], users)
    legend, panel = shares(figure)
    assert 0 < legend < 0.2 and panel > 0.7
    assert not figure.get_supxlabel()
    for text in [t for one in figure.legends for t in one.findobj(Text)]:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text.get_text()


def test_a_title_stands_where_the_caption_has_no_room(result):
    with rc_context({"figure.figsize": COLUMN, "font.size": 8}):
        figure = ag.plot.step_sizes(result, title="A quadratic")
    assert figure.get_supxlabel() == "A quadratic"


@pytest.mark.parametrize("users", [True, False])
def test_curves_in_one_column_keep_their_room(result, users):
    def draw(**given):
        return ag.plot.convergence(result, against="gradients", **given)

    figure = drawn_in_a_column(draw, users)
    legend, panel = shares(figure)
    assert legend < 0.2 and panel > 0.75
    [axes] = figure.axes
    assert axes.bbox.width * axes.bbox.height > figure.bbox.size.prod() / 2
    texts = figure.legends[0].get_texts()
    assert all(text.get_size() >= 6 for text in texts)
    assert texts[0].get_text() == "pure_async"  # no room for hyper-parameters


def test_a_roomy_figure_tells_the_hyperparameters(result):
    with rc_context({"figure.figsize": (7, 4)}):
        figure = ag.plot.convergence(result, against="gradients")
    assert r"\gamma" in figure.legends[0].get_texts()[0].get_text()
    assert figure.get_supxlabel().startswith("Quadratic. n = 4")


@pytest.mark.parametrize(
    ("title", "lines", "smaller"),
    [("short", 1, False), ("a title of forty letters or more", 1, True)],
)
def test_titles_have_smaller_letters_before_they_break(title, lines, smaller):
    axes = Figure(figsize=(2.2, 2)).subplots()
    style.plain(axes, title=title)
    assert len(axes.get_title(loc="left").split("\n")) == lines
    [text] = [t for t in axes.findobj(Text) if t.get_text() == title]
    assert (text.get_size() < 9.5) == smaller


@pytest.mark.parametrize("against", [None, "gradients", ["gradients", "time"]])
def test_the_best_step_size_is_said_once(result, against):
    figure = ag.plot.convergence(result, against=against)
    caption = " ".join(figure.get_supxlabel().split())
    assert caption.count("each at its best step size") == 1
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert all("best step size" not in title for title in titles)


def test_where_nothing_was_chosen_nothing_is_said_to_be_best(result):
    figure = ag.plot.convergence(result.isel(step_size=[0]))
    assert "best" not in figure.get_supxlabel()
    both = ag.plot.convergence(
        result.expand_dims(momentum=[0.0, 0.5]).transpose(..., "seed", "record")
    )
    assert "each at its best hyper-parameters" in " ".join(both.get_supxlabel().split())
