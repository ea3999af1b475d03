"""A figure as the last line of a notebook cell shows a picture."""

import base64
import copy
import pickle

import matplotlib.figure
import nbclient
import nbformat
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import asgrad_jax as ag

NAMES = sorted(set(dir(ag.plot)) - {"save"} - {n for n in dir(ag.plot) if n[0] == "_"})
NAMES = [name for name in NAMES if callable(getattr(ag.plot, name))]


def test_all_figures_are_tried(figures):
    assert set(NAMES) == set(figures)


def is_picture(content):
    return content.startswith(b"\x89PNG") and len(content) > 5_000


@pytest.mark.parametrize("name", NAMES)
def test_a_picture(figures, name):
    _, draw = figures[name]
    assert is_picture(draw()._repr_png_())


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_the_users_figure(figures, name):
    count, draw = figures[name]
    own = matplotlib.figure.Figure()
    FigureCanvasAgg(own)
    axes = own.subplots(1, count)
    figure = draw(axes=axes)
    assert figure is own and is_picture(figure._repr_png_())


def test_figures_can_be_pickled_and_copied(figures):
    own = matplotlib.figure.Figure()
    figures["step_sizes"][1](axes=own.subplots())
    for figure in (own, figures["step_sizes"][1]()):
        again = pickle.loads(pickle.dumps(figure))
        assert is_picture(again._repr_png_())
        assert is_picture(copy.deepcopy(figure)._repr_png_())


def test_ipython_takes_the_picture(figures):
    formatters = pytest.importorskip("IPython.core.formatters")
    shown, _ = formatters.DisplayFormatter().format(figures["schedule"][1]())
    assert is_picture(shown["image/png"])


CELLS = (
    """import asgrad_jax as ag, numpy as np
problem = ag.quadratic(num_workers=2, num_features=2, noise=0.5)
result = ag.sweep(problem, algorithms="pure_async", num_gradients=60, step_sizes=[0.1],
                  compute_times=ag.compute_times.fixed([1, 2]))""",
    "ag.plot.convergence(result)",
    "print(result['grad_norm'].values.ravel().view('i4')[-1])",
)


def test_a_sweep_in_a_real_kernel(tmp_path):
    """A notebook shows the figure as a picture, and the numbers are a script's."""
    notebook = nbformat.v4.new_notebook(
        cells=list(map(nbformat.v4.new_code_cell, CELLS))
    )
    nbclient.NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    _, figure, number = (cell["outputs"] for cell in notebook.cells)
    pictures = [
        o["data"]["image/png"] for o in figure if "image/png" in o.get("data", {})
    ]
    assert len(pictures) == 1 and is_picture(base64.b64decode(pictures[0]))
    names = {}
    exec(CELLS[0], names)
    bits = names["result"]["grad_norm"].values.ravel().view("i4")[-1]
    assert number[0]["text"].strip() == str(bits)
