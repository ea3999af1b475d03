"""Legends and captions of figures of runs."""

import json
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from asgrad_jax.plot.style import SMALL, Look, literal, looks, text_width, wrapped
from asgrad_jax.results.results import config

_ROWS = 2  # of a legend, for which figures have room


def handle(style: Look, name: Any, at: dict[str, float], result: xr.Dataset) -> Line2D:
    """A legend entry: an algorithm and its hyper-parameters, values of the result's."""
    chosen = ", ".join(
        f"{_symbol(d)} = {_number(v, result[d].values)}" for d, v in at.items()
    )
    if any(np.isnan(v) for v in at.values()):
        chosen = "no finite run"
    return entry(style, f"{literal(name)} ({chosen})" if chosen else literal(name))


def looks_of(result: xr.Dataset) -> dict[str, Look]:
    """The look of every algorithm, the same in all selections of a result."""
    asked = json.loads(result.attrs.get("config", "{}")).get("algorithms", {})
    return looks(dict.fromkeys([*asked, *map(str, result["algorithm"].values)]))


def entry(style: Look, label: str) -> Line2D:
    """A legend entry of that look."""
    return Line2D(
        [],
        [],
        color=style.color,
        linestyle=style.line,
        marker=style.marker,
        markersize=4.5,
        linewidth=1.4,
        label=label,
    )


def _symbol(name: Any) -> str:
    return r"$\gamma$" if name == "step_size" else literal(name).replace("_", " ")


def powers_of_two(values: NDArray) -> bool:
    return bool(np.all(values > 0) and np.all(np.log2(values) % 1 == 0))


def _number(value: float, grid: NDArray) -> str:
    """As a power of two if the whole grid is, so that a legend has one form."""
    if grid.size > 1 and powers_of_two(grid):
        return f"$2^{{{np.log2(value):.0f}}}$"
    return f"{value:.3g}"


def legend(figure: Figure, handles: list[Line2D], *, grow: bool) -> None:
    """Puts a legend above the panels, in as many columns as there is room for.

    Args:
        figure: with a constrained layout.
        handles: the entries; labels wider than the figure are wrapped.
        grow: whether the figure may become higher, so that the panels keep their size.
    """
    size = SMALL + 0.5
    # The sample of the line and the space around it take 6 font sizes.
    sample = 6 * size / 72
    for one in handles:
        label = str(one.get_label())
        one.set_label(wrapped(label, size, figure.get_figwidth() - sample))
    lines = [str(one.get_label()).split("\n") for one in handles]
    widest = max(text_width(line, size) for label in lines for line in label)
    columns = int(figure.get_figwidth() / (widest + sample))
    columns = max(1, min(columns, len(handles)))
    rows = max(map(np.sum, np.array_split([len(label) for label in lines], columns)))
    if grow and rows > _ROWS:
        figure.set_figheight(figure.get_figheight() + (rows - _ROWS) * 1.5 * size / 72)
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=columns,
        fontsize=size,
        frameon=False,
        handlelength=3.2,
    )


def legend_inside(axes: Axes, handles: list[Line2D]) -> None:
    """Puts a legend into a user's panel, where it covers least."""
    axes.legend(
        handles=handles,
        loc="best",
        fontsize=SMALL - 1,
        labelspacing=0.3,
        handlelength=2.6,
        frameon=True,
        edgecolor="none",
        framealpha=0.6,
    )


def facts(result: xr.Dataset, title: str) -> tuple[str, str]:
    """What was run: a title, and a sentence of facts."""
    asked = config(result)
    problem, [clock] = asked["problem"], result["compute_times"].values
    times = asked["compute_times"][clock]
    if isinstance(times, dict) and "mean" in times:
        clock = f"{clock} (means {min(times['mean']):g} to {max(times['mean']):g})"
    workers, seeds = problem["num_workers"], result.sizes["seed"]
    said = [
        "n = 1 worker" if workers == 1 else f"n = {workers} workers",
        f"compute times {clock}",
        f"{asked['num_gradients']:,} gradients per run",
        "one seed" if seeds == 1 else f"median and quartiles of {seeds} seeds",
    ]
    return title or problem["class"], "; ".join(said)
