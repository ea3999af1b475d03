"""How the figures look: one palette, one set of line styles, one way to save."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from asgrad_jax.base.files import atomic_path

# Okabe and Ito's colours, told apart by colour-blind readers; yellow, which is too
# light for a line on white, is left out.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
COLORS = (RED, BLUE, "#000000", GREEN, "#CC79A7", "#56B4E9", ORANGE)
LINES = ("-", "--", (0, (5, 1, 1, 1)), ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

SMALL = 8  # points, for captions and ticks
GREY = "0.45"


class Look(NamedTuple):
    """Colour, line and marker of one curve; each alone nearly tells it apart."""

    color: str
    line: Any
    marker: str


def look(index: int) -> Look:
    """Returns the look of the curve with that number.

    Example:
        >>> look(0).marker, look(8).marker
        ('o', 'o')
        >>> look(0) == look(8)
        False
    """
    return Look(
        COLORS[index % len(COLORS)],
        LINES[index % len(LINES)],
        MARKERS[index % len(MARKERS)],
    )


def plain(axes: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Labels a panel and takes off what carries no information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL)
    axes.set_title(title, loc="left", fontsize=SMALL + 1.5)
    axes.set_xlabel(x, fontsize=SMALL + 1)
    axes.set_ylabel(y, fontsize=SMALL + 1)


def thousands(axes: Axes) -> None:
    """Writes large numbers of the x axis as 10,000, and few of them."""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.locator_params(axis="x", nbins=5)


def panels(
    axes: Sequence[Axes] | None, rows: int, columns: int, *, size: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
    """Returns the figure and panels to draw on: a user's, or new ones.

    Args:
        axes: rows * columns axes of the user's, or None.
        rows: of a new figure.
        columns: of a new figure.
        size: width and height of a new figure, inches.

    Returns:
        The figure, outside of pyplot's state, and a flat list of its axes.

    Raises:
        ValueError: if there are not rows * columns axes.
    """
    if axes is None:
        figure = Figure(figsize=size, layout="constrained")
        return figure, list(figure.subplots(rows, columns, squeeze=False).flat)
    axes = list(axes)
    figure = axes[0].get_figure(root=True) if axes else None
    if len(axes) != rows * columns or figure is None:
        raise ValueError(
            f"axes must be {rows * columns} axes of a figure, got {len(axes)}"
        )
    return figure, axes


def save(figure: Figure, path: str | os.PathLike, *, dpi: int = 150) -> list[Path]:
    """Writes a figure as PNG and PDF; each file appears only when whole.

    Args:
        figure: any matplotlib figure.
        path: where to; its ending, if any, is replaced by `.png` and `.pdf`.
        dpi: dots per inch of the PNG.

    Returns:
        The two paths.

    Raises:
        FileNotFoundError: if the folder does not exist.

    Example:
        >>> import tempfile
        >>> from matplotlib.figure import Figure
        >>> [p.name for p in save(Figure(), tempfile.mkdtemp() + "/empty")]
        ['empty.png', 'empty.pdf']
    """
    path = Path(path)
    if path.suffix in (".png", ".pdf"):
        path = path.with_suffix("")
    written = [path.parent / f"{path.name}{ending}" for ending in (".png", ".pdf")]
    for target in written:
        with atomic_path(target) as temporary:
            figure.savefig(temporary, dpi=dpi)
    return written
