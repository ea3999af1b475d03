"""How the figures look: palette, line styles, sizes, captions, one way to save."""

import contextlib
import functools
import io
import itertools
import json
import logging
import math
import os
import re
from collections.abc import Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib import rc_context, rcParams, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.cbook import is_math_text
from matplotlib.colors import is_color_like, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from asgrad_jax._util.checks import (
    check_choice,
    check_count,
    check_path,
    check_text,
    check_type,
)
from asgrad_jax._util.files import atomic_path
from asgrad_jax._util.text import capitalized, in_figure, problem_in_words
from asgrad_jax.results.results import lane_dims, sweep_config
from asgrad_jax.results.selection import deterministic, split_seeds

# Okabe and Ito's colours, told apart by colour-blind readers; yellow, which is too
# light for a line on white, is left out.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
BLACK = "#000000"
# The second seven are of the colours that show on white and on black those farthest
# from all others, as seen by any reader: no pair is as close as the closest above.
COLORS = (
    *(RED, BLUE, BLACK, GREEN, "#CC79A7", "#56B4E9", ORANGE),
    *("#7800FF", "#962D1E", "#8769FF", "#2D5A5A", "#96A55A", "#4B3CB4", "#960F87"),
)
LINES = ("-", "--", (0, (5, 1, 1, 1)), ":", (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

GREY = "0.45"
LEAST = 6.0  # points: smaller letters are not read
_CAPTION = 1 / 12  # of the height, which a caption may take in a figure of another size
_FORMATS = (".png", ".pdf", ".svg")
_MOST_DPI = 10_000


class NotebookFigure(Figure):
    """A figure that a notebook shows as a picture, with or without pyplot."""

    def _repr_png_(self) -> bytes:
        return _png(self)


def _png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


class LineStyle(NamedTuple):
    """Colour, line and marker of one curve; each alone nearly tells it apart."""

    color: str
    linestyle: Any
    marker: str


def ink() -> str:
    """Returns black or, under a style with a dark background, the colour of its text.

    Example:
        >>> with rc_context({"text.color": "white"}):
        ...     ink()
        '#ffffff'
    """
    return to_hex(rcParams["text.color"])


def _faint() -> tuple[float, ...]:
    """The colour of the grid: a tenth of the way from the background to the text."""
    back, front = (to_rgb(rcParams[k]) for k in ("axes.facecolor", "text.color"))
    return tuple(0.9 * b + 0.1 * f for b, f in zip(back, front, strict=True))


def line_style(index: int) -> LineStyle:
    """Returns the line style of the curve with that number."""
    color = COLORS[index % len(COLORS)]
    return LineStyle(
        ink() if color == BLACK else color,
        LINES[index % len(LINES)],
        MARKERS[index % len(MARKERS)],
    )


# The methods of most figures look alike in all of them.
_ALWAYS = ("pure_async", "random_async", "shuffled_async", "minibatch", "fedbuff")


def line_styles(names: Collection[Any]) -> dict[Any, LineStyle]:
    """Returns the line style of the curve of every method."""
    names = dict.fromkeys(names)
    found = {name: _ALWAYS.index(name) for name in names if name in _ALWAYS}
    free = (i for i in itertools.count() if i not in found.values())
    others = (name for name in names if name not in found)
    found |= dict(zip(others, free, strict=False))
    return {name: line_style(found[name]) for name in names}


def text_width(text: str, points: float) -> float:
    """Returns how wide a line of text is, in inches, at a font size in points."""
    # Without outlines of the letters, which take a thousand times as long.
    width, _, _ = text_to_path.get_text_width_height_descent(
        text, FontProperties(size=points), is_math_text(text)
    )
    return width / 72


def small_size() -> float:
    """Returns the size of captions and ticks, points: 8 where `font.size` is 10."""
    return 0.8 * rcParams["font.size"]


def wrapped(text: str, points: float, inches: float) -> str:
    """Breaks text between words, not in formulas, into lines of at most that width.

    Words that are wider, such as names of methods, are cut.

    Example:
        >>> wrapped("one two $a + b$ three", points=8, inches=0.7)
        'one two\\n$a + b$ three'
    """
    lines: list[list[str]] = [[]]
    space, used = text_width("a b", points) - text_width("ab", points), 0.0
    words = re.findall(r"(?:\\\$|\$[^$]*\$|[^ \t\n])+", text)
    while words:
        word = words.pop(0)
        width = text_width(word, points)
        if width > inches and "$" not in word and len(word) > 1:
            # One letter less than the share, as letters differ in width.
            cut = max(1, int(len(word) * inches / width) - 1)
            words.insert(0, word[cut:])
            word = word[:cut]
            width = text_width(word, points)
        if lines[-1] and used + space + width > inches:
            lines.append([])
        used = used + space + width if lines[-1] else width
        lines[-1].append(word)
    return "\n".join(map(" ".join, lines))


def size_is_given() -> bool:
    """Whether `figure.figsize` of rcParams is another one than matplotlib's own.

    Example:
        >>> with rc_context({"figure.figsize": (3.25, 2.2)}):
        ...     size_is_given()
        True
    """
    return [*rcParams["figure.figsize"]] != [*rcParamsDefault["figure.figsize"]]


def caption_below(figure: Figure, title: str, facts: str) -> None:
    """Writes what is not empty below all panels, in lines as wide as the figure.

    In a figure of the user's size it is the title alone where more would take more than
    a twelfth of the height.
    """
    said = [in_figure(f, title=True).strip() for f in (title, facts) if f.strip()]
    text = _in_lines(figure, ". ".join(said))
    high = 1.2 * (text.count("\n") + 1) * small_size() / 72
    if size_is_given() and high > _CAPTION * figure.get_figheight():
        text = _in_lines(figure, in_figure(title, title=True).strip())
    figure.supxlabel(text, fontsize=small_size(), color=GREY)


def _in_lines(figure: Figure, text: str) -> str:
    """Breaks a caption into lines."""
    inches = figure.get_figwidth() - 0.3
    # The narrowest of those with the fewest lines: no word alone on the last one.
    tries = [
        wrapped(text, small_size(), inches * share) for share in np.linspace(0.5, 1, 11)
    ]
    return min(tries, key=lambda tried: tried.count("\n"))


def band_alpha() -> float:
    """Returns how opaque bands are: more so on a dark ground, where they are faint."""
    return 0.18 if sum(to_rgb(rcParams["axes.facecolor"])) > 1.5 else 0.35


def curve(
    axes: Axes, x: NDArray, quartiles: NDArray, style: LineStyle, **given: Any
) -> None:
    """Draws a median over x [M] and the band between its quartiles.

    `quartiles` is [3, M]: lower quartile, median, upper quartile; `given` is what else
    `Axes.plot` takes, such as `markevery`.
    """
    low, middle, high = quartiles
    form: dict[str, Any] = {"markersize": 4.5, "linewidth": 1.4, **given}
    axes.plot(x, middle, **style._asdict(), **form)
    axes.fill_between(x, low, high, color=style.color, alpha=band_alpha(), linewidth=0)


def note(axes: Axes, text: str) -> None:
    """Writes into a panel why nothing is drawn in it, and takes off its y ticks."""
    axes.text(
        *(0.5, 0.5, text),
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=small_size() + 1,
        color=GREY,
    )
    axes.set_yticks([])
    axes.set_yticks([], minor=True)


def plain(axes: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Labels a panel and takes off what carries no information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=_faint(), linewidth=0.6)
    axes.set_axisbelow(True)
    # Log axes over less than a decade label their minor ticks too.
    axes.tick_params(which="both", labelsize=small_size())
    figure = axes.get_figure(root=True)
    title_size, y_size = small_size() + 1.5, small_size() + 1
    if figure is not None:
        size = axes.get_window_extent()
        title, title_size = _fitted(title, title_size, size.width / figure.dpi)
        # A legend and a caption take a part of the height.
        y, y_size = _fitted(y, y_size, 0.8 * size.height / figure.dpi)
    axes.set_title(title, loc="left", fontsize=title_size)
    axes.set_xlabel(x, fontsize=small_size() + 1)
    axes.set_ylabel(y, fontsize=y_size)


def _fitted(text: str, points: float, inches: float) -> tuple[str, float]:
    """A line of at most that width, in smaller letters if needed, or several lines."""
    for size in np.linspace(points, max(0.75 * points, min(points, LEAST)), 4):
        if text_width(text, size) <= inches:
            return text, size
    return wrapped(text, points, inches), points


def thousands(axes: Axes) -> None:
    """Writes large numbers of the x axis as 10,000, and few of them."""

    def digits() -> int:
        low, high = axes.get_xlim()
        # Enough to tell ticks between 1e9 and 1e9 + 1 apart.
        ratio = max(abs(low), abs(high)) / (abs(high - low) or 1)
        return 6 if ratio < 1e3 else min(16, math.ceil(math.log10(ratio)) + 3)

    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.{digits()}g}")
    )
    axes.locator_params(axis="x", nbins=5 if digits() < 9 else 2)


def panels(
    axes: Axes | Sequence[Axes] | None,
    rows: int,
    columns: int,
    *,
    size: tuple[float, float],
    title: str = "",
    count: int | None = None,
) -> tuple[Figure, list[Axes]]:
    """Returns the figure and panels to draw on: a user's, or new ones; or raises.

    A notebook shows the figure as a picture, the user's too.

    Args:
        axes: rows * columns axes of the user's, in any shape, or None.
        rows, columns: of a new figure.
        size: width and height of a new figure, inches, where rcParams have
            matplotlib's own `figure.figsize`; another one is the user's wish.
        title: as given by the user, to be checked.
        count: of panels, where the last places stay empty.

    Returns:
        The figure, outside of pyplot's state, and a flat list of its axes.
    """
    check_text("title", title)
    count = rows * columns if count is None else count
    if axes is None:
        asked = rcParams["figure.figsize"] if size_is_given() else size
        figure = NotebookFigure(figsize=asked, layout="constrained")
        drawn = list(figure.subplots(rows, columns, squeeze=False).flat)
        for unused in drawn[count:]:
            unused.remove()
        return figure, drawn[:count]
    given = list(np.ravel(np.asarray(axes, object)))
    for one in given:
        if not isinstance(one, Axes):
            raise TypeError(
                "axes must be axes of a matplotlib figure, such as plt.subplots gives, "
                f"got {type(one).__name__}"
            )
    figure = given[0].get_figure(root=True) if given else None
    if len(given) != count or figure is None:
        raise ValueError(
            f"axes must be {count} axes of a figure, got {len(given)}; make them with "
            f"plt.subplots({rows}, {columns})"
        )
    if not hasattr(figure, "_repr_png_"):
        # A partial, so that the figure can be pickled and copied as before.
        figure._repr_png_ = functools.partial(_png, figure)  # type: ignore[attr-defined]
    return figure, given


@contextlib.contextmanager
def _fonts_that_publishers_take() -> Generator[None, None, None]:
    """Puts TrueType fonts into PDF files; many refuse Type 3, matplotlib's own choice.

    The library that embeds them complains of dates in fonts that matplotlib ships.
    """
    log = logging.getLogger("fontTools")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with rc_context({"pdf.fonttype": 42}):
            yield
    finally:
        log.setLevel(level)


def save(figure: Figure, path: str | os.PathLike, *, dpi: int = 150) -> list[Path]:
    """Writes a figure, as PNG and PDF if no ending asks for one format.

    Each file appears only when whole; returns the paths.

    Args:
        figure: any matplotlib figure.
        path: where to; with the ending `.png`, `.pdf` or `.svg` it is this file,
            without an ending two files, `.png` and `.pdf`.
        dpi: dots per inch of the PNG.

    Raises:
        FileNotFoundError: if the folder does not exist.
        TypeError: if it is no figure, path or number.
        ValueError: if the ending is another one.

    Example:
        >>> import tempfile
        >>> from matplotlib.figure import Figure
        >>> [p.name for p in save(Figure(), tempfile.mkdtemp() + "/empty")]
        ['empty.png', 'empty.pdf']
    """
    figure = check_type("figure", figure, Figure, "a figure of matplotlib")
    path, dpi = check_path("path", path), check_count("dpi", dpi, maximum=_MOST_DPI)
    if path.suffix.lower() in _FORMATS:
        with atomic_path(path) as temporary, _fonts_that_publishers_take():
            figure.savefig(temporary, dpi=dpi)
        return [path]
    # What follows the point of a number is no ending: alpha=1.5.
    if path.suffix[1:2].isalpha():
        raise ValueError(
            f"cannot write {path.name}: figures end in {', '.join(_FORMATS)}; without "
            "an ending both .png and .pdf are written"
        )
    return save_both(figure, path, dpi=dpi)


def save_both(figure: Figure, stem: Path, *, dpi: int = 150) -> list[Path]:
    """Writes a figure as `stem`.png and `stem`.pdf, whatever points the name has."""
    targets = [stem.with_name(f"{stem.name}{ending}") for ending in (".png", ".pdf")]
    return [path for target in targets for path in save(figure, target, dpi=dpi)]


def result_styles(
    result: xr.Dataset, colors: Mapping[str, Any] | None = None
) -> dict[str, LineStyle]:
    """The line style of every algorithm, the same in all selections of a result.

    Args:
        result: of a sweep.
        colors: algorithm -> another colour, any that matplotlib knows.
    """
    asked = json.loads(result.attrs.get("config", "{}")).get("algorithms", {})
    names = dict.fromkeys([*asked, *map(str, result["algorithm"].values)])
    styles = line_styles(names)
    for name, color in (colors or {}).items():
        check_choice("colors: algorithm", name, [*names])
        if not is_color_like(color):
            raise ValueError(
                f"colors: {name!r} must have a colour of matplotlib, such as "
                f"'tab:blue', got {color!r}"
            )
        styles[name] = styles[name]._replace(color=color)
    return styles


def powers_of_two(values: NDArray) -> bool:
    return bool(np.all(values > 0) and np.all(np.log2(values) % 1 == 0))


def facts(result: xr.Dataset, title: str, *, tuned: bool = False) -> tuple[str, str]:
    """What was run: a title, and a sentence of facts.

    With `tuned` it says that each algorithm is at its best, if there was a choice.
    """
    asked = sweep_config(result)
    problem, [label] = asked["problem"], result["compute_times"].values
    times = asked["compute_times"][label]
    if isinstance(times, dict) and "mean" in times:
        label = f"{label} (means {min(times['mean']):g} to {max(times['mean']):g})"
    tuning, fresh = split_seeds(result)
    workers, seeds = problem["num_workers"], fresh.sizes["seed"]
    fixed = deterministic(result)
    if seeds == 1:
        spread = "one seed"
    elif len(fixed) == result.sizes["algorithm"]:
        spread = f"deterministic: {seeds} seeds, one curve"
    else:
        spread = f"median and quartiles of {seeds} seeds"
        spread += (
            f" ({', '.join(map(in_figure, fixed))}: deterministic)" if fixed else ""
        )
    if tuning.sizes["seed"] < result.sizes["seed"]:
        spread += f", step sizes chosen on {tuning.sizes['seed']} more"
    budget = f"{asked['num_gradients']:,} gradients per run"
    if "until" in asked:
        budget = f"{asked['until']:,g} units of virtual time per run"
    said = [
        "n = 1 worker" if workers == 1 else f"n = {workers} workers",
        f"compute times {in_figure(label)}",
        budget,
        *([_tuned(result)] if tuned else []),
        spread,
    ]
    facts = "; ".join(filter(None, said))
    name = capitalized(problem_in_words(problem))
    return title, facts if title else f"{name}. {facts}"


def _tuned(result: xr.Dataset) -> str:
    """That each algorithm is at its best step size; "" where there was no choice."""
    chosen = [d for d in lane_dims(result) if result.sizes[d] > 1]
    what = "step size" if chosen == ["step_size"] else "hyper-parameters"
    return f"each at its best {what}" if chosen else ""
