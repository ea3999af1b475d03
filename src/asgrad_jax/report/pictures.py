"""Figures of a page: within it, and beside it as PDF."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from asgrad_jax._util.files import safe_names
from asgrad_jax.plot.style import save

FOLDER = "figures"
_LARGEST_SVG = 400_000  # bytes; larger figures are shown as PNG


def pictures(
    folder: Path, figures: Iterable[tuple[str, str, Figure]]
) -> list[tuple[str, dict[str, str]]]:
    """Writes figures as PDF into the subfolder `figures`, and returns them for a page.

    Args:
        folder: of the page.
        figures: (part of a file name, title, figure).

    Returns:
        (title, what `image` returns) of each.
    """
    figures = list(figures)
    if figures:
        (folder / FOLDER).mkdir(exist_ok=True)
    names = safe_names([name for name, _, _ in figures])
    for name, (_, _, figure) in zip(names, figures, strict=True):
        save(figure, folder / FOLDER / f"{name}.pdf")
    return [(title, image(figure)) for _, title, figure in figures]


def image(figure: Figure) -> dict[str, str]:
    """A figure as a data URL: vectors, or points where these would be too large."""
    target = io.BytesIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "asgrad"}):
        figure.savefig(target, format="svg", metadata={"Date": None})
    kind, content = "svg+xml", target.getvalue()
    if len(content) > _LARGEST_SVG:
        target = io.BytesIO()
        figure.savefig(target, format="png", dpi=200)
        kind, content = "png", target.getvalue()
    text = base64.b64encode(content).decode("ascii")
    width, height = (round(96 * side) for side in figure.get_size_inches())
    return {
        "url": f"data:image/{kind};base64,{text}",
        "width": str(width),
        "height": str(height),
    }
