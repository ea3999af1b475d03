"""The index of several pages, with a thumbnail of each."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from asgrad_jax._util.files import atomic_path
from asgrad_jax.report.page import PAGE, render
from asgrad_jax.report.verdicts import Verdict, by_claim

INDEX = "index.html"
_WIDTH = 560  # pixels of a thumbnail


def write_index(
    folder: Path,
    entries: Sequence[tuple[str, str, list[Verdict]]],
    left_out: Mapping[str, str],
) -> Path:
    """Writes index.html, which links to the pages in the folders beside it.

    Args:
        folder: where the runs' folders lie.
        entries: (name of a folder, title, verdicts) of every run.
        left_out: name -> why it was not run.

    Returns:
        The path of the index.
    """
    shown = [
        {
            "name": name,
            "title": title or name,
            "link": f"{name}/{PAGE}",
            "verdicts": by_claim(verdicts),
            "thumbnail": _thumbnail(folder / name),
        }
        for name, title, verdicts in entries
    ]
    values: dict[str, Any] = {"entries": shown, "left_out": dict(left_out)}
    with atomic_path(folder / INDEX) as temporary:
        temporary.write_text(render("index.html", **values), encoding="utf-8")
    return folder / INDEX


def _thumbnail(folder: Path) -> str:
    """The run's first figure, small, as a data URL; "" where there is none."""
    figures = sorted(folder.glob("convergence*.png"))
    if not figures:
        return ""
    target = io.BytesIO()
    with Image.open(figures[0]) as picture:
        picture.thumbnail((_WIDTH, _WIDTH))
        picture.save(target, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode()}"
