"""Who owns what: rows per worker, and classes per worker."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_type
from asgrad_jax._util.text import in_figure
from asgrad_jax.plot.style import (
    BLUE,
    caption_below,
    panels,
    plain,
    small_size,
    wrapped,
)
from asgrad_jax.problems.split import Split

_MOST_CLASSES, _MOST_NAMES = 200, 30
_MOST_COLUMNS = 400  # about what a figure has dots for; more workers share a column


def split(
    split: Split,
    labels: ArrayLike | None = None,
    *,
    title: str = "",
    axes: tuple[Axes, Axes] | None = None,
) -> Figure:
    """Draws a split: the rows of every worker, and the share of each class in them.

    Beyond 400 workers neighbours share a column: the mean of their rows is drawn.

    Args:
        split: of `ag.splits`.
        labels: [N], classes; those that the split was made with where left out.
        title: goes before the facts in the caption.
        axes: two axes to draw on, sizes and classes, instead of a new figure; then
            without caption.

    Raises:
        TypeError, ValueError: if an argument is not as described, or there are no
            labels, or more than 200 classes.

    Example:
        >>> import asgrad_jax as ag
        >>> labels = np.repeat(np.arange(10), 100)
        >>> figure = ag.plot.split(ag.splits.dirichlet(labels, 20, alpha=0.1))
        >>> figure.axes[1].get_xlabel(), figure.axes[1].get_ylabel()
        ('worker', 'class')
    """
    check_type("split", split, Split, "a split of ag.splits")
    table = split.table(labels)
    classes = np.unique(np.asarray(split.labels if labels is None else labels))
    if len(classes) > _MOST_CLASSES:
        raise ValueError(
            f"labels must be at most {_MOST_CLASSES} classes, got {len(classes)} "
            "different values; sort them into a few ranges first"
        )
    size = 5.2 if len(classes) > 20 else 4.2
    figure, (above, below) = panels(axes, 2, 1, size=(7, size), title=title)
    if axes is None:
        above.get_gridspec().set_height_ratios([1, 3])  # type: ignore[union-attr]
    shown, edges = _columns(table)
    sizes = shown.sum(axis=1)
    above.stairs(sizes, edges, fill=True, color=BLUE, linewidth=0)
    above.set_xlim(edges[0], edges[-1])
    plain(above, y="rows")
    above.tick_params(labelbottom=False)
    above.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    mesh = _classes(below, shown / sizes[:, None], edges, classes)
    bar = figure.colorbar(mesh, ax=[above, below], pad=0.01, aspect=40)
    bar.set_label("share of the worker's rows", fontsize=small_size())
    bar.ax.tick_params(labelsize=small_size())
    below.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    if axes is None:
        caption_below(figure, title, _facts(split, table, len(shown)))
    return figure


def _columns(table: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray]:
    """Mean rows of the workers of each column, [K, C], and the K + 1 edges."""
    n = len(table)
    columns = min(n, _MOST_COLUMNS)
    first = np.arange(columns) * n // columns
    each = np.diff(np.append(first, n))
    return np.add.reduceat(table, first) / each[:, None], np.append(first, n) - 0.5


def _classes(axes: Axes, shares: NDArray, edges: NDArray, classes: NDArray) -> QuadMesh:
    heights = np.arange(len(classes) + 1) - 0.5
    mesh = axes.pcolormesh(
        edges, heights, shares.T, cmap="Blues", vmin=0, vmax=1, rasterized=True
    )
    plain(axes, x="worker", y="class")
    axes.grid(False)
    if len(classes) <= _MOST_NAMES:
        names = [f"{c:g}" if _is_number(c) else str(c) for c in classes]
        names = [wrapped(in_figure(name), small_size(), 1.3) for name in names]
        axes.set_yticks(range(len(classes)), names)
    else:
        axes.set_ylabel("class (its number in order)", fontsize=small_size() + 1)
    return mesh


def _is_number(name: object) -> bool:
    return isinstance(name, int | float | np.number)


def _facts(split: Split, table: NDArray, columns: int) -> str:
    low, high = int(split.counts.min()), int(split.counts.max())
    classes = (table > 0).sum(axis=1)
    facts = [
        f"{split.name}: {split.num_workers:,} workers",
        f"{low:,} to {high:,} rows" if low < high else f"{low:,} rows each",
        f"{np.median(classes):g} of {table.shape[1]} classes in the median",
    ]
    if left := split.num_rows - len(split.rows):
        facts.append(f"{left:,} rows of nobody")
    if columns < split.num_workers:
        facts.append(f"columns of {split.num_workers / columns:.3g} workers")
    return "; ".join(facts)
