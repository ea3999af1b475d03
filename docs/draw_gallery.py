"""Makes docs/gallery.md and its thumbnails from runs of the presets.

    asgrad reproduce --all --scale laptop --out FOLDER
    python docs/draw_gallery.py FOLDER

A preset that FOLDER does not have keeps the thumbnail that it has.
"""

import sys
import tomllib
from pathlib import Path

from asgrad_jax.cli import presets

DOCS = Path(__file__).parent
THUMBNAILS = DOCS / "images" / "gallery"
_WIDTH = 640  # pixels
_HEAD = """\
# Gallery of presets

Published experiments that one command runs; each leaves a page with verdicts, curves to
play with and all numbers. [Published experiments by name](presets.md) has their sources
and what they have shown. Each picture is of the scale named below it: `ci` takes
seconds and is too short for an answer, `laptop` takes minutes.

<div class="grid cards" markdown>
"""


def main(folder: Path) -> None:
    """Draws thumbnails of the runs in a folder, and the page."""
    THUMBNAILS.mkdir(parents=True, exist_ok=True)
    for name in presets.names():
        figures = sorted((folder / name).glob("convergence*.png"))
        if figures:
            scale = tomllib.loads((folder / name / "config.toml").read_text())["scale"]
            for old in THUMBNAILS.glob(f"{name}.*.png"):
                old.unlink()
            shrink(figures[0], THUMBNAILS / f"{name}.{scale}.png")
    (DOCS / "gallery.md").write_text(page(), "utf-8")


def shrink(figure: Path, thumbnail: Path) -> None:
    """Writes a small copy with few colours: about 30 kB."""
    from PIL import Image

    with Image.open(figure) as image:
        height = round(image.height * _WIDTH / image.width)
        small = image.convert("RGB").resize((_WIDTH, height), Image.Resampling.LANCZOS)
        small.quantize(48).save(thumbnail, optimize=True)


def page() -> str:
    """Returns the page, from the presets and the thumbnails that are there."""
    entries = []
    for name in presets.names():
        title = tomllib.loads(presets.file_of(name).read_text("utf-8"))["title"]
        found = sorted(THUMBNAILS.glob(f"{name}.*.png"))
        lines = [f"- **{title}**", f"`asgrad reproduce {name}`"]
        if found:
            scale = found[0].suffixes[0][1:]
            words = f"Curves of {name}, scale {scale}"
            lines.insert(1, f"![{words}](images/gallery/{found[0].name})")
            lines[2] += f" (picture: {scale})"
        else:
            lines[1] += " (no picture: its data are not shipped)"
        entries.append("\n\n    ".join(lines))
    return _HEAD + "\n" + "\n\n".join(entries) + "\n\n</div>\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
