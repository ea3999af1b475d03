"""Figures of a sweep: convergence, and how a method takes its step size."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from asgrad_jax.run.results import best, best_places, config, lane_dims, tail_mean
from asgrad_jax.run.selection import whole_grid
from asgrad_jax.use.style import (
    SMALL,
    Look,
    caption_below,
    has_margin,
    look,
    note,
    panels,
    plain,
    text_width,
    thousands,
)

_WORDS = {
    "grad_norm": ("gradient norm", r"$\|\nabla f(x)\|$"),
    "loss": ("loss", "$f(x)$"),
}
_GRID = 100  # points in virtual time
_MARKERS = 8  # per curve
_PANELS = ("gradients", "time", "step_size")
_WIDTHS = (5, 8, 11)  # inches of a figure of one, two or three panels
_NOTHING = "every run diverged"


def convergence(
    result: xr.Dataset,
    *,
    metric: str = "grad_norm",
    maximize: bool = False,
    against: Sequence[str] = _PANELS,
    compute_times: str | None = None,
    title: str = "",
    axes: Axes | Sequence[Axes] | None = None,
) -> Figure:
    """Draws a sweep: metric against gradients, against virtual time, and step sizes.

    In the first two panels every algorithm is at its best hyper-parameters by the rule
    of `best`; lines are medians over seeds, bands run from the lower to the upper
    quartile. Virtual time differs from seed to seed: each seed's curve is read off at
    common times (linearly between records, on the log scale where the axis has one)
    and the median taken there, up to the end of the seed that ends first. The third
    panel is `step_size_sensitivity`.

    Args:
        result: what `sweep` or `load` returned, or a selection of it.
        metric: a variable with the dimension `record`.
        maximize: whether larger is better, as for an accuracy; axes are then linear.
        against: which panels, of "gradients", "time" and "step_size", in any order.
        compute_times: which compute-time model; may be left out if there is one.
        title: goes before the facts in the caption, for example the data set.
        axes: one axes per panel to draw on instead of a new figure; then without
            caption. Unless they are all axes of a figure with layout="constrained",
            the legend goes on the first, without hyper-parameters.

    Returns:
        The figure; `save` writes it.

    Raises:
        TypeError: if the result is no dataset, or axes are none.
        ValueError: if the metric, a panel or the compute-time model is unknown, there
            are several models and none is named, or too few or many axes.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.sweep(
        ...     ag.quadratic(num_workers=4, num_features=3),
        ...     algorithms=["pure_async", "shuffled_async"],
        ...     compute_times=ag.compute_times.fixed([1, 2, 3, 4]),
        ...     step_sizes=[0.01, 0.05, 0.25], seeds=range(3), num_gradients=200)
        >>> figure = ag.plot.convergence(result, title="A small quadratic")
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['gradients', 'virtual time', 'step size $\\\\gamma$']
    """
    shown = _shown(against)
    result = one_clock(result, compute_times)
    chosen = best_of(result, metric, maximize=maximize)
    figure, drawn = panels(axes, 1, len(shown), size=(_WIDTHS[len(shown) - 1], 4.1))
    margin = has_margin(axes, figure, drawn)
    by_name = dict(zip(shown, drawn, strict=True))
    log = _is_log(result[metric].values, maximize)
    handles = []
    for index, name in enumerate(result["algorithm"].values):
        style = look(index)
        at = {str(d): chosen[d].sel(algorithm=name).item() for d in lane_dims(result)}
        failed = np.isnan(at["step_size"])
        said = at if margin or failed else {}
        handles.append(handle(style, name, said, result))
        if failed:
            continue
        curves = result.sel(algorithm=name, **at).isel(compute_times=0)
        values = curves[metric].transpose("seed", "record").values
        if "gradients" in by_name:
            gradients = result["gradients"].values
            _curve(by_name["gradients"], gradients, values, style, offset=index)
        if "time" in by_name:
            grid, in_time = _at_common_times(curves["time"].values, values, log=log)
            _curve(by_name["time"], grid, in_time, style, offset=index)
    for name, panel in by_name.items():
        if name == "step_size":
            sensitivity_panel(panel, result, chosen, metric, maximize=maximize)
            continue
        x = {"gradients": "gradients", "time": "virtual time"}[name]
        plain(panel, title="at the best step size", x=x, y=_words(metric))
        if log:
            panel.set_yscale("log")
        panel.set_xlim(left=0)
        if not chosen["step_size"].notnull().any():
            panel.set_xlim(0, float(result[name].max()))
            note(panel, _NOTHING)
        thousands(panel)
    if margin:
        legend(figure, handles)
    else:
        legend_inside(drawn[0], handles)
    if axes is None:
        caption_below(figure, *facts(result, title))
    return figure


def _shown(against: Sequence[str]) -> list[str]:
    """Returns the names of the panels to draw; raises on unknown or repeated ones."""
    shown = [against] if isinstance(against, str) else list(against)
    if not shown or len({*shown}) < len(shown) or not {*shown} <= {*_PANELS}:
        raise ValueError(
            f"against={against!r} must name panels, each once, of {list(_PANELS)}"
        )
    return shown


def step_size_sensitivity(
    result: xr.Dataset,
    *,
    metric: str = "grad_norm",
    maximize: bool = False,
    compute_times: str | None = None,
    title: str = "",
    axes: Axes | None = None,
) -> Figure:
    """Draws the metric's tail (mean of the last tenth of records) over step sizes.

    Lines are medians over seeds, bands quartiles; the best step size is ringed. Where
    any seed's lane is not ok the point is left out and a cross stands where the worst
    values are: at the top, at the foot with `maximize`. Other hyper-parameters are at
    their best for each step size.

    Args:
        result: what `sweep` or `load` returned, or a selection of it.
        metric: a variable with the dimension `record`.
        maximize: whether larger is better, as for an accuracy; the axis is then linear.
        compute_times: which compute-time model; may be left out if there is one.
        title: goes before the facts in the caption.
        axes: an axes to draw on instead of a new figure.

    Returns:
        The figure.

    Raises:
        TypeError, ValueError: as `convergence`.
    """
    result = one_clock(result, compute_times)
    chosen = best_of(result, metric, maximize=maximize)
    figure, [panel] = panels(axes, 1, 1, size=(5, 4.2))
    sensitivity_panel(panel, result, chosen, metric, maximize=maximize)
    names = result["algorithm"].values
    handles = [handle(look(i), a, {}, result) for i, a in enumerate(names)]
    if axes is None:
        legend(figure, handles)
        caption_below(figure, *facts(result, title))
    else:
        legend_inside(panel, handles)
    return figure


def one_clock(result: xr.Dataset, name: str | None) -> xr.Dataset:
    """The part of a result for one compute-time model; its dimension stays."""
    result = whole_grid(result)
    known = [str(v) for v in result["compute_times"].values]
    if name is None:
        if len(known) > 1:
            raise ValueError(
                f"the result has several compute-time models {known}; choose one with "
                "compute_times=..."
            )
        [name] = known
    if name not in known:
        raise ValueError(f"unknown compute times {name!r}; this result has {known}")
    return result.sel(compute_times=[name])


def best_of(result: xr.Dataset, metric: str, *, maximize: bool) -> xr.Dataset:
    """`best`, without a warning for what the figure shows."""
    with warnings.catch_warnings():
        # A best value on the grid's edge is plain to see in the third panel.
        warnings.filterwarnings("ignore", message="the best hyper-parameters")
        return best(result, metric, maximize=maximize).isel(compute_times=0)


def _at_common_times(
    time: NDArray[np.float64], values: NDArray[np.floating], *, log: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reads every seed's curve off at common times.

    Args:
        time: [seeds, records], never decreasing.
        values: [seeds, records].
        log: whether to read off on the log scale, which needs values > 0.

    Returns:
        The times [_GRID], up to the first seed's end, and the values [seeds, _GRID].

    Example:
        >>> time = np.array([[0.0, 2.0], [0.0, 4.0]])
        >>> grid, read = _at_common_times(time, np.array([[1, 4], [1, 16]]), log=True)
        >>> grid[-1], read[:, -1]
        (np.float64(2.0), array([4., 4.]))
    """
    grid = np.linspace(time[:, 0].max(), time[:, -1].min(), _GRID)
    log = log and bool((values > 0).all())
    forth, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
    read = [np.interp(grid, t, forth(v)) for t, v in zip(time, values, strict=True)]
    return grid, back(np.stack(read))


def _curve(
    axes: Axes, x: NDArray, values: NDArray, style: Look, *, offset: int
) -> None:
    """Draws the median of values [seeds, points] and the band between quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    # Markers at different places, so that curves on top of each other show.
    every = max(1, len(x) // _MARKERS)
    axes.plot(
        x,
        middle,
        color=style.color,
        linestyle=style.line,
        marker=style.marker,
        markevery=(offset * every // 5 % every, every),
        markersize=4.5,
        linewidth=1.4,
    )
    axes.fill_between(x, low, high, color=style.color, alpha=0.18, linewidth=0)


def sensitivity_panel(
    axes: Axes,
    result: xr.Dataset,
    chosen: xr.Dataset,
    metric: str,
    *,
    maximize: bool,
) -> None:
    """Draws the tail of every algorithm over its step sizes."""
    tail = tail_mean(result, metric).isel(compute_times=0)
    others = [d for d in lane_dims(result) if d != "step_size"]
    order = np.argsort(result["step_size"].values)
    sizes = result["step_size"].values[order]
    failed = False
    for index, name in enumerate(result["algorithm"].values):
        style, lanes = look(index), tail.sel(algorithm=name)
        median = lanes.median("seed", skipna=False)
        if others:
            place = best_places(median, others, maximize=maximize)
            lanes, median = lanes.isel(place), median.isel(place)
        middle = median.values[order]
        low, high = lanes.quantile([0.25, 0.75], "seed", skipna=False).values[:, order]
        axes.plot(
            sizes,
            middle,
            color=style.color,
            linestyle=style.line,
            marker=style.marker,
            markersize=4,
            linewidth=1.2,
        )
        axes.fill_between(sizes, low, high, color=style.color, alpha=0.18, linewidth=0)
        winner = sizes == chosen["step_size"].sel(algorithm=name).item()
        axes.plot(
            sizes[winner],
            middle[winner],
            linestyle="",
            marker="o",
            markersize=10,
            markerfacecolor="none",
            markeredgecolor=style.color,
        )
        bad = np.isnan(middle)
        failed |= bad.any()
        below_top = 0.015 + 0.035 * index
        axes.plot(
            sizes[bad],
            np.full(bad.sum(), below_top if maximize else 1 - below_top),
            linestyle="",
            marker="x",
            markersize=4,
            color=style.color,
            transform=axes.get_xaxis_transform(),
        )
    # No line breaks within "× not finite".
    cross = ", ×\N{NO-BREAK SPACE}not\N{NO-BREAK SPACE}finite" if failed else ""
    title = f"last tenth (○\N{NO-BREAK SPACE}best{cross})"
    plain(axes, title=title, x=r"step size $\gamma$", y=f"mean {_words(metric)}")
    if _is_log(tail.values, maximize):
        axes.set_yscale("log")
    _step_size_scale(axes, sizes)
    if not np.isfinite(tail.values).any():
        note(axes, _NOTHING)


def _is_log(values: NDArray, maximize: bool) -> bool:
    """Whether values have a log axis: a distance to zero, which is what is aimed at."""
    good = values[np.isfinite(values)]
    return not maximize and bool(good.size and good.min() >= 0 and good.max() > 0)


def _step_size_scale(axes: Axes, sizes: NDArray) -> None:
    if sizes.min() <= 0:
        return
    base = 2 if _powers_of_two(sizes) else 10
    axes.set_xscale("log", base=base)
    if base == 2:
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=9))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _words(metric: str) -> str:
    words, symbol = _WORDS.get(metric, (metric.replace("_", " "), ""))
    return f"{words} {symbol}".strip()


def handle(style: Look, name: Any, at: dict[str, float], result: xr.Dataset) -> Line2D:
    """A legend entry: an algorithm and its hyper-parameters, values of the result's."""
    chosen = ", ".join(
        f"{_symbol(d)} = {_number(v, result[d].values)}" for d, v in at.items()
    )
    if any(np.isnan(v) for v in at.values()):
        chosen = "no finite run"
    return Line2D(
        [],
        [],
        color=style.color,
        linestyle=style.line,
        marker=style.marker,
        markersize=4.5,
        linewidth=1.4,
        label=f"{name} ({chosen})" if chosen else str(name),
    )


def _symbol(name: Any) -> str:
    return r"$\gamma$" if name == "step_size" else str(name).replace("_", " ")


def _powers_of_two(values: NDArray) -> bool:
    return bool(np.all(values > 0) and np.all(np.log2(values) % 1 == 0))


def _number(value: float, grid: NDArray) -> str:
    """As a power of two if the whole grid is, so that a legend has one form."""
    if grid.size > 1 and _powers_of_two(grid):
        return f"$2^{{{np.log2(value):.0f}}}$"
    return f"{value:.3g}"


def legend(figure: Figure, handles: list[Line2D]) -> None:
    """Puts a legend above the panels, in as many columns as there is room for."""
    size = SMALL + 0.5
    widest = max(text_width(str(h.get_label()), size) for h in handles)
    # The sample of the line and the space around it take about 5.5 font sizes.
    columns = int(figure.get_figwidth() / (widest + 5.5 * size / 72))
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=max(1, min(columns, len(handles))),
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
