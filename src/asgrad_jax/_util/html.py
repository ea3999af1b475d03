"""What notebooks show of an object: a small table and pictures of plain SVG.

Colours are the page's own (`currentColor`), so light and dark themes show both.
"""

import html
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT, _MARGIN = 460.0, 120.0, 4.0
_LABEL = 64.0  # left of a picture, for names
_MOST_POINTS = 600


def card(title: str, rows: Iterable[tuple[str, Any]], *pictures: str) -> str:
    """Returns a title, a table of names and values, and pictures, one below the other.

    Example:
        >>> card("a < b", [("workers", 1200)])
        '<div><b>a &lt; b</b><table ...><tr><th ...>workers</th><td ...>1,200...'
    """
    style = 'style="text-align:left;padding:0 1em 0 0"'
    cells = "".join(
        f"<tr><th {style}>{html.escape(name)}</th>"
        f"<td {style}>{html.escape(shown(value))}</td></tr>"
        for name, value in rows
    )
    return (
        f'<div><b>{html.escape(title)}</b><table style="color:inherit">{cells}</table>'
        f"{''.join(pictures)}</div>"
    )


def shown(value: Any) -> str:
    """Returns a value as a table shows it.

    Example:
        >>> shown(20000), shown(0.123456), shown("x")
        ('20,000', '0.1235', 'x')
    """
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    return str(value)


def preformatted(text: str) -> str:
    """Returns text as it stands, in letters of one width.

    Example:
        >>> preformatted("1 < 2")
        '<pre>1 &lt; 2</pre>'
    """
    return f"<pre>{html.escape(text)}</pre>"


def dots(x: NDArray[Any], row: NDArray[Any], rows: int, what: str) -> str:
    """Returns a picture with a line for each row and a dot at every x on it.

    Args:
        x: [A] where.
        row: [A] integers in 0..rows-1, from the top.
        rows: number of lines.
        what: title of the picture, for those who cannot see it.
    """
    height = min(_HEIGHT, 12.0 * rows + 2 * _MARGIN)
    low, high = float(x.min()), float(x.max())
    scale = (_WIDTH - _LABEL - 2 * _MARGIN) / ((high - low) or 1.0)
    each = (height - 2 * _MARGIN) / rows
    marks = [
        f'<circle cx="{_LABEL + _MARGIN + (at - low) * scale:.1f}" '
        f'cy="{_MARGIN + (line + 0.5) * each:.1f}" r="{min(2.0, each / 3):.2g}"/>'
        for at, line in zip(x.tolist(), row.tolist(), strict=True)
    ]
    return _svg(what, height, marks, [("0", each / 2), (str(rows - 1), height - each)])


def bars(values: NDArray[Any], what: str) -> str:
    """Returns a picture with a bar for each value, from the left; the largest is full.

    Args:
        values: [n] numbers >= 0; those of neighbours are put together where n is large.
        what: title of the picture.
    """
    most = 100
    if len(values) > most:
        values = np.array([part.mean() for part in np.array_split(values, most)])
    height, top = 48.0, float(values.max()) or 1.0
    each = (_WIDTH - _LABEL - 2 * _MARGIN) / len(values)
    full = height - 2 * _MARGIN
    marks = [
        f'<rect x="{_LABEL + _MARGIN + i * each:.1f}" width="{0.8 * each:.1f}" '
        f'y="{height - _MARGIN - full * v / top:.1f}" height="{full * v / top:.1f}"/>'
        for i, v in enumerate(values.tolist())
    ]
    return _svg(what, height, marks, [(shown(top), _MARGIN + 4)])


def curve(x: NDArray[Any], lines: Sequence[NDArray[Any]], what: str) -> str:
    """Returns a picture of lines over x, logarithmic where all values are above 0.

    Args:
        x: [R] increasing.
        lines: [R] each; values that are not finite leave a gap.
        what: title of the picture.
    """
    values = np.stack(lines).astype(float)
    good = np.isfinite(values)
    if not good.any():
        return ""
    if np.all(values[good] > 0):
        values = np.log10(np.where(good, values, 1.0))
        ends = [f"1e{values[good].max():.1f}", f"1e{values[good].min():.1f}"]
    else:
        ends = [shown(float(values[good].max())), shown(float(values[good].min()))]
    low, high = float(values[good].min()), float(values[good].max())
    across = (_WIDTH - _LABEL - 2 * _MARGIN) / (float(x[-1] - x[0]) or 1.0)
    up = (_HEIGHT - 2 * _MARGIN) / ((high - low) or 1.0)
    step = max(1, len(x) // _MOST_POINTS)
    marks = []
    shades = np.linspace(1, 0.3, len(values)).tolist()
    each = zip(values[:, ::step], good[:, ::step], shades, strict=True)
    for line, fine, shade in each:
        at = zip(x[::step].tolist(), line.tolist(), fine.tolist(), strict=True)
        points = " ".join(
            f"{_LABEL + _MARGIN + (where - float(x[0])) * across:.1f},"
            f"{_HEIGHT - _MARGIN - (value - low) * up:.1f}"
            for where, value, finite in at
            if finite
        )
        marks.append(
            f'<polyline fill="none" stroke="currentColor" stroke-opacity="{shade:.2f}" '
            f'points="{points}"/>'
        )
    return _svg(what, _HEIGHT, marks, [(ends[0], _MARGIN + 8), (ends[1], _HEIGHT - 4)])


def _svg(
    what: str, height: float, marks: list[str], labels: list[tuple[str, float]]
) -> str:
    texts = "".join(
        f'<text x="{_LABEL - 4:g}" y="{y + 3:.1f}" font-size="10" text-anchor="end">'
        f"{html.escape(text)}</text>"
        for text, y in labels
    )
    title = html.escape(what)
    return (
        f'<figure style="margin:.5em 0"><svg viewBox="0 0 {_WIDTH:g} {height:g}" '
        f'width="{_WIDTH:g}" style="max-width:100%" fill="currentColor" role="img" '
        f'aria-label="{title}">{texts}{"".join(marks)}</svg>'
        f'<figcaption style="font-size:smaller">{title}</figcaption></figure>'
    )
