"""Legends: their entries, and where they stand, so that panels keep their room."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_choice, check_text
from asgrad_jax._util.text import in_figure
from asgrad_jax.plot.style import (
    LEAST,
    LineStyle,
    powers_of_two,
    size_is_given,
    small_size,
    text_width,
    wrapped,
)

_ROWS = 2  # of a legend, for which figures of our size have room
_SHARE = 1 / 8  # of the height, which a legend in a figure of another size may take
_WIDE = 3.2  # inches: a panel that has room for a legend
_LINE = 1.5  # font sizes from one row of a legend to the next
# Sample of a line, and gaps, in font sizes.
_LOOSE = {"handlelength": 3.2, "handletextpad": 0.8, "columnspacing": 2.0}
_TIGHT = {"handlelength": 2.4, "handletextpad": 0.5, "columnspacing": 1.0}
_LOW = {"labelspacing": 0.3, "borderpad": 0.1, "borderaxespad": 0.2}


def handle(
    style: LineStyle, name: Any, at: dict[str, float], result: xr.Dataset
) -> Line2D:
    """A legend entry: an algorithm and its hyper-parameters, values of the result's."""
    chosen = ", ".join(
        f"{_symbol(d)} = {_number(v, result[d].values)}" for d, v in at.items()
    )
    if any(np.isnan(v) for v in at.values()):
        chosen = "no finite run"
    return entry(style, f"{in_figure(name)} ({chosen})" if chosen else in_figure(name))


def shown_names(result: xr.Dataset, labels: Mapping[str, str] | None) -> dict[str, str]:
    """Algorithm -> what a legend calls it; `labels` has those that are called else."""
    names = [str(name) for name in result["algorithm"].values]
    for name, label in (labels or {}).items():
        check_choice("labels: algorithm", name, names)
        check_text(f"labels: that of {name!r}", label)
    return {name: (labels or {}).get(name, name) for name in names}


def entry(style: LineStyle, label: str) -> Line2D:
    """A legend entry of that style."""
    form: dict[str, Any] = {"markersize": 4.5, "linewidth": 1.4, **style._asdict()}
    return Line2D([], [], label=label, **form)


def _symbol(name: Any) -> str:
    return r"$\gamma$" if name == "step_size" else in_figure(name).replace("_", " ")


def _number(value: float, grid: NDArray) -> str:
    """As a power of two if the whole grid is, so that a legend has one form."""
    if grid.size > 1 and powers_of_two(grid):
        return f"$2^{{{np.log2(value):.0f}}}$"
    return f"{value:.3g}"


def has_margin(axes: Any, figure: Figure, drawn: Sequence[Axes]) -> bool:
    """Whether a legend has room above: a new figure, or all of a constrained one."""
    constrained = isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)
    return axes is None or (constrained and {*figure.axes} == {*drawn})


def place_legend(
    axes: Any,
    figure: Figure,
    drawn: Sequence[Axes],
    handles: Sequence[Any],
    short: Sequence[str] | None = None,
) -> None:
    """Puts a legend above the panels or, where a user's have no room, into the first.

    Args:
        axes: as given by the user.
        figure, drawn: what `panels` returned.
        handles: artists with labels.
        short: the labels where there is little room; the same where left out.
    """
    short = [str(one.get_label()) for one in handles] if short is None else short
    if has_margin(axes, figure, drawn):
        _legend_above(figure, handles, short, grow=axes is None and not size_is_given())
    else:
        small = {"labelspacing": 0.3, "handlelength": 2.6}
        size = panel_points(drawn[0], small_size() - 1)
        _rename(handles, short)
        panel_legend(
            *(drawn[0], handles), loc="best", framealpha=0.6, fontsize=size, **small
        )


class _Grid(NamedTuple):
    """Labels, wrapped, in so many columns and rows of letters of that size."""

    labels: list[str]
    size: float
    columns: int
    rows: int
    form: Mapping[str, float]

    @property
    def inches(self) -> float:
        """How high it is."""
        return self.rows * _LINE * self.size / 72


def _legend_above(
    figure: Figure, handles: Sequence[Any], short: Sequence[str], *, grow: bool
) -> None:
    """Puts a legend above the panels, in as many columns as there is room for.

    Labels wider than the figure are wrapped. With `grow` the figure may become higher,
    so that the panels keep their size. Otherwise letters become smaller, then labels
    short, until the legend takes an eighth of the height; the lowest of all else.
    """
    labels = [str(one.get_label()) for one in handles]
    width, height = figure.get_size_inches()
    normal, low = small_size() + 0.5, {}
    chosen = _grid(labels, normal, width, _LOOSE)
    if grow:
        figure.set_figheight(height + max(0, chosen.rows - _ROWS) * _LINE * normal / 72)
    elif chosen.inches > _SHARE * height:
        sizes = np.linspace(normal, min(normal, LEAST), 4)
        tries = [
            _grid(texts, size, width, _TIGHT)
            for texts, size in itertools.product((labels, short), sizes)
        ]
        fitting = (one for one in tries if one.inches <= _SHARE * height)
        chosen = next(fitting, min(tries, key=lambda one: one.inches))
        low = _LOW
    _rename(handles, chosen.labels)
    figure.legend(
        handles=[*handles],
        loc="outside upper center",
        ncols=chosen.columns,
        fontsize=chosen.size,
        frameon=False,
        **chosen.form,
        **low,
    )


def _grid(
    labels: Sequence[str], size: float, width: float, form: Mapping[str, float]
) -> _Grid:
    sample = sum(form.values()) * size / 72
    found = [wrapped(label, size, width - sample) for label in labels]
    lines = [label.split("\n") for label in found]
    widest = max(text_width(line, size) for label in lines for line in label)
    columns = max(1, min(int(width / (widest + sample)), len(labels)))
    rows = max(map(np.sum, np.array_split([len(label) for label in lines], columns)))
    return _Grid(found, size, columns, int(rows), form)


def _rename(handles: Sequence[Any], labels: Sequence[str]) -> None:
    for one, label in zip(handles, labels, strict=True):
        one.set_label(label)


def panel_inches(axes: Axes) -> tuple[float, float]:
    """Returns width and height of a panel, before the layout is made."""
    size, figure = axes.get_window_extent(), axes.get_figure(root=True)
    dpi = 72.0 if figure is None else figure.dpi
    return size.width / dpi, size.height / dpi


def panel_points(axes: Axes, points: float) -> float:
    """Returns the size of letters in a panel: smaller in a narrow one, not below 6."""
    width, _ = panel_inches(axes)
    return max(min(points, LEAST), points * min(1.0, width / _WIDE))


def panel_legend(
    axes: Axes, handles: Sequence[Any] | None = None, **given: Any
) -> Legend:
    """Puts a legend into a panel, on a light ground through which curves show."""
    width, _ = panel_inches(axes)
    form: dict[str, Any] = {
        "fontsize": panel_points(axes, small_size()),
        "frameon": True,
        "edgecolor": "none",
        "framealpha": 0.8,
        **({} if width >= _WIDE else _TIGHT),
    }
    return axes.legend(handles=handles, **(form | given))
