"""Figures of a sweep: convergence, and how a method takes its step size."""

import textwrap
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

from asgrad_jax.run.results import best, config, lane_dims, tail_mean
from asgrad_jax.run.selection import whole_grid
from asgrad_jax.use.style import GREY, SMALL, Look, look, panels, plain, thousands

_WORDS = {
    "grad_norm": ("gradient norm", r"$\|\nabla f(x)\|$"),
    "loss": ("loss", "$f(x)$"),
}
_GRID = 100  # points in virtual time
_MARKERS = 8  # per curve


def convergence(
    result: xr.Dataset,
    *,
    metric: str = "grad_norm",
    compute_times: str | None = None,
    title: str = "",
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Draws a sweep: metric against gradients, against virtual time, and step sizes.

    In the first two panels every algorithm is at its best hyper-parameters by the rule
    of `best`; lines are medians over seeds, bands run from the lower to the upper
    quartile. Virtual time differs from seed to seed: each seed's curve is read off at
    common times (linearly between records, on the log scale where the metric is
    positive) and the median taken there, up to the end of the seed that ends first.
    The third panel is `step_size_sensitivity`.

    Args:
        result: what `sweep` or `load` returned.
        metric: a variable with the dimension `record`.
        compute_times: which compute-time model; may be left out if there is one.
        title: goes before the facts in the caption, for example the data set.
        axes: three axes to draw on instead of a new figure; the legend goes on the
            first and there is no caption.

    Returns:
        The figure; `save` writes it.

    Raises:
        ValueError: if the metric or the compute-time model is unknown, or there are
            several models and none is named.

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
    result = one_clock(result, compute_times)
    chosen = best_of(result, metric)
    figure, drawn = panels(axes, 1, 3, size=(11, 4.1))
    handles = []
    for index, name in enumerate(result["algorithm"].values):
        style = look(index)
        at = {str(d): chosen[d].sel(algorithm=name).item() for d in lane_dims(result)}
        handles.append(handle(style, name, at))
        if np.isnan(at["step_size"]):
            continue
        curves = result.sel(algorithm=name, **at).isel(compute_times=0)
        values = curves[metric].transpose("seed", "record").values
        gradients, time = result["gradients"].values, curves["time"].values
        grid, in_time = _at_common_times(time, values)
        _curve(drawn[0], gradients, values, style, offset=index)
        _curve(drawn[1], grid, in_time, style, offset=index)
    for panel, x in zip(drawn, ("gradients", "virtual time"), strict=False):
        plain(panel, title="at the best step size", x=x, y=_words(metric))
        _value_scale(panel, result[metric].values)
        panel.set_xlim(left=0)
        thousands(panel)
    sensitivity_panel(drawn[2], result, chosen, metric)
    if axes is None:
        legend(figure, handles)
        figure.supxlabel(caption(result, title), fontsize=SMALL, color=GREY, x=0.5)
    else:
        drawn[0].legend(handles=handles, fontsize=SMALL, frameon=False)
    return figure


def step_size_sensitivity(
    result: xr.Dataset,
    *,
    metric: str = "grad_norm",
    compute_times: str | None = None,
    title: str = "",
    axes: Axes | None = None,
) -> Figure:
    """Draws the metric's tail (mean of the last tenth of records) over step sizes.

    Lines are medians over seeds, bands quartiles; the best step size is ringed. Where
    any seed's lane is not ok the point is left out and a cross stands at the top. Other
    hyper-parameters are at their best for each step size.

    Args:
        result: what `sweep` or `load` returned.
        metric: a variable with the dimension `record`.
        compute_times: which compute-time model; may be left out if there is one.
        title: goes before the facts in the caption.
        axes: an axes to draw on instead of a new figure.

    Returns:
        The figure.

    Raises:
        ValueError: as `convergence`.
    """
    result = one_clock(result, compute_times)
    chosen = best_of(result, metric)
    figure, [panel] = panels(None if axes is None else [axes], 1, 1, size=(5, 4.2))
    sensitivity_panel(panel, result, chosen, metric)
    handles = [handle(look(i), a, {}) for i, a in enumerate(result["algorithm"].values)]
    if axes is None:
        legend(figure, handles, columns=3)
        figure.supxlabel(caption(result, title, 75), fontsize=SMALL, color=GREY)
    else:
        panel.legend(handles=handles, fontsize=SMALL, frameon=False)
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


def best_of(result: xr.Dataset, metric: str) -> xr.Dataset:
    """`best`, without a warning for what the figure shows."""
    with warnings.catch_warnings():
        # A best value on the grid's edge is plain to see in the third panel.
        warnings.filterwarnings("ignore", message="the best hyper-parameters")
        return best(result, metric).isel(compute_times=0)


def _at_common_times(
    time: NDArray[np.float64], values: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reads every seed's curve off at common times.

    Args:
        time: [seeds, records], never decreasing.
        values: [seeds, records].

    Returns:
        The times [_GRID], up to the first seed's end, and the values [seeds, _GRID].

    Example:
        >>> time = np.array([[0.0, 2.0], [0.0, 4.0]])
        >>> grid, read = _at_common_times(time, np.array([[1, 4], [1, 16]]))
        >>> grid[-1], read[:, -1]
        (np.float64(2.0), array([4., 4.]))
    """
    grid = np.linspace(time[:, 0].max(), time[:, -1].min(), _GRID)
    forth, back = (np.log, np.exp) if (values > 0).all() else (np.asarray, np.asarray)
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
    axes: Axes, result: xr.Dataset, chosen: xr.Dataset, metric: str
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
            place = median.fillna(np.inf).argmin(others)
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
        axes.plot(
            sizes[bad],
            np.full(bad.sum(), 0.985 - 0.035 * index),
            linestyle="",
            marker="x",
            markersize=4,
            color=style.color,
            transform=axes.get_xaxis_transform(),
        )
    title = "last tenth of the run (best ringed" + (
        ", × not finite)" if failed else ")"
    )
    plain(axes, title=title, x=r"step size $\gamma$", y=f"mean {_words(metric)}")
    _value_scale(axes, tail.values)
    _step_size_scale(axes, sizes)


def _value_scale(axes: Axes, values: NDArray) -> None:
    """A log scale where the values allow it."""
    good = values[np.isfinite(values)]
    if good.size and good.min() >= 0 and good.max() > 0:
        axes.set_yscale("log")


def _step_size_scale(axes: Axes, sizes: NDArray) -> None:
    if sizes.min() <= 0:
        return
    base = 2 if np.all(np.log2(sizes) % 1 == 0) else 10
    axes.set_xscale("log", base=base)
    if base == 2:
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=9))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _words(metric: str) -> str:
    words, symbol = _WORDS.get(metric, (metric.replace("_", " "), ""))
    return f"{words} {symbol}".strip()


def handle(style: Look, name: Any, at: dict[str, float]) -> Line2D:
    """A legend entry: an algorithm and its hyper-parameters."""
    chosen = ", ".join(f"{_symbol(d)} = {_number(v)}" for d, v in at.items())
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


def _number(value: float) -> str:
    power = np.log2(value) if value > 0 else 0.5
    return f"$2^{{{power:.0f}}}$" if power % 1 == 0 else f"{value:.3g}"


def legend(figure: Figure, handles: list[Line2D], columns: int = 5) -> None:
    """Puts a legend above the panels."""
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=min(columns, len(handles)),
        fontsize=SMALL + 0.5,
        frameon=False,
        handlelength=3.2,
    )


def caption(result: xr.Dataset, title: str, width: int = 185) -> str:
    """What was run, in one line or two."""
    asked = config(result)
    problem, [clock] = asked["problem"], result["compute_times"].values
    times = asked["compute_times"][clock]
    if isinstance(times, dict) and "mean" in times:
        clock = f"{clock} (means {min(times['mean']):g} to {max(times['mean']):g})"
    facts = [
        f"n = {problem['num_workers']} workers",
        f"compute times {clock}",
        f"{asked['num_gradients']:,} gradients per run",
        f"median and quartiles of {result.sizes['seed']} seeds",
    ]
    text = f"{title or problem['class']}. {'; '.join(facts)}"
    return textwrap.fill(text, width)
