"""Figures of a sweep: convergence, and how a method takes its step size."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from asgrad_jax._util.checks import (
    check_bool,
    check_choice,
    check_list,
    check_numbers,
)
from asgrad_jax._util.text import in_figure
from asgrad_jax.plot.legends import handle, place_legend, shown_names
from asgrad_jax.plot.style import (
    LineStyle,
    caption_below,
    curve,
    facts,
    note,
    panels,
    plain,
    powers_of_two,
    result_styles,
    thousands,
)
from asgrad_jax.results.results import best, best_places, lane_dims, tail_mean
from asgrad_jax.results.selection import (
    SCHEDULE_DIMS,
    at_records_of,
    metric_of,
    restore_dims,
    split_seeds,
)

_WORDS = {
    "grad_norm": ("gradient norm", r"$\|\nabla f(x)\|$"),
    "loss": ("loss", "$f(x)$"),
}
_GRID = 100  # points of a curve in virtual time, and at most in gradients
_MARKERS = 8  # per curve
_PANELS = ("gradients", "time", "step_size")
_AXES = {"gradients": "gradients", "time": "virtual time"}  # in words
_LABELLED = 6  # step sizes that all have a label, at most
_NOTHING = "every run diverged"


def convergence(
    result: xr.Dataset,
    metric: str = "grad_norm",
    *,
    maximize: bool = False,
    against: Sequence[str] | None = None,
    compute_times: str | None = None,
    title: str = "",
    labels: Mapping[str, str] | None = None,
    colors: Mapping[str, Any] | None = None,
    axes: Axes | Sequence[Axes] | None = None,
) -> Figure:
    """Draws a sweep: metric against gradients, against virtual time, and step sizes.

    In the first two panels every algorithm is at its best hyper-parameters by the rule
    of `best`; lines are medians over seeds, bands run from the lower to the upper
    quartile. Virtual time, like other coordinates of a schedule, differs from seed to
    seed: each seed's curve is read off at common times (linearly between records, on
    the log scale where the axis has one) and the median taken there, up to the end of
    the seed that ends first. The third panel is `step_sizes`.

    The figure is as large as `figure.figsize` of rcParams, or 11 x 4.1 inches where
    that is matplotlib's own. The legend gives the best hyper-parameters where it takes
    at most an eighth of the height with them, or the figure may grow.

    Args:
        result: what `sweep` or `load` returned, or a selection of it.
        metric: a variable with the dimension `record`.
        maximize: whether larger is better, as for an accuracy; axes are then linear.
        against: which panels, in any order: "gradients", "time", "step_size", or any
            other coordinate along `record`, such as "server_steps" or one of your own
            (`result.assign_coords(epochs=("record", ...))`), of numbers that never
            decrease. The three where left out, but for the last if there is only one
            step size.
        compute_times: which compute-time model; may be left out if there is one.
        title: goes before the facts in the caption, for example the data set.
        labels: algorithm -> what the legend calls it.
        colors: algorithm -> its colour, any that matplotlib knows.
        axes: one axes per panel to draw on instead of a new figure; then without
            caption. Unless they are all axes of a figure with layout="constrained",
            the legend goes on the first, without hyper-parameters; say in the text that
            each algorithm is at its best.

    Raises:
        TypeError: if the result is no dataset, or axes are none.
        ValueError: if the metric, a panel, an algorithm, a colour or the compute-time
            model is unknown, there are several models and none is named, or too few or
            many axes.

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
    result = select_compute_times(result, compute_times)
    shown = _shown(against, result)
    chosen = best_of(result, metric, maximize=maximize)
    result = at_records_of(result, metric)
    _, fresh = split_seeds(result)
    figure, drawn = panels(
        axes, 1, len(shown), size=(2 + 3 * len(shown), 4.1), title=title
    )
    by_name = dict(zip(shown, drawn, strict=True))
    log = _is_log(result[metric].values, maximize)
    styles, called = result_styles(result, colors), shown_names(result, labels)
    handles, short = [], []
    for index, name in enumerate(result["algorithm"].values):
        style = styles[name]
        at = {str(d): chosen[d].sel(algorithm=name).item() for d in lane_dims(result)}
        failed = np.isnan(at["step_size"])
        handles.append(handle(style, called[name], at, result))
        brief = handle(style, called[name], at if failed else {}, result)
        short.append(str(brief.get_label()))
        if failed:
            continue
        curves = fresh.sel({"algorithm": name, **at}).isel(compute_times=0)
        values = curves[metric].transpose("seed", "record").values
        for along in (a for a in by_name if a != "step_size"):
            x = metric_of(curves, along)
            if "seed" in x.dims:
                places = x.transpose("seed", "record").values
                at_x, read = at_common_places(places, values, log=log)
            else:
                # As many points as where seeds are read off, so that both look as
                # noisy.
                last = fresh.sizes["record"] - 1
                some = np.linspace(0, last, _GRID + 1).round().astype(int)
                some = np.unique(some)
                at_x, read = x.values[some], values[:, some]
            _curve(by_name[along], at_x, read, style, offset=index, log=log)
    for name, panel in by_name.items():
        if name == "step_size":
            sensitivity_panel(
                panel, result, chosen, metric, maximize=maximize, styles=styles
            )
            continue
        x = _AXES.get(name, in_figure(name).replace("_", " "))
        plain(panel, x=x, y=_words(metric))
        if log:
            panel.set_yscale("log")
        panel.set_xlim(left=min(0.0, float(result[name].min())))
        if not chosen["step_size"].notnull().any():
            panel.set_xlim(right=float(result[name].max()))
            note(panel, _NOTHING)
        thousands(panel)
    place_legend(axes, figure, drawn, handles, short)
    if axes is None:
        caption_below(figure, *facts(result, title, tuned=True))
    return figure


def _shown(against: Sequence[str] | None, result: xr.Dataset) -> list[str]:
    """Returns the names of the panels to draw; raises on unknown or repeated ones."""
    if against is None:
        return list(_PANELS if result.sizes["step_size"] > 1 else _PANELS[:-1])
    along = [n for n, v in result.coords.items() if "record" in v.dims]
    known = list(dict.fromkeys([*_PANELS, *map(str, along)]))
    shown = (
        [against]
        if isinstance(against, str)
        else check_list("against", against, f"names out of {known}")
    )
    if not shown or any(shown.count(name) > 1 for name in shown):
        raise ValueError(f"against must name panels, each once, got {against!r}")
    for name in shown:
        check_choice("against", name, known)
        if name != "step_size":
            _check_axis(name, result[name])
    return shown


def _check_axis(name: str, values: xr.DataArray) -> None:
    """Raises unless curves can be drawn against a coordinate."""
    extra = {*values.dims} - {*SCHEDULE_DIMS, "record"}
    if extra:
        raise ValueError(
            f"the coordinate {name!r} must belong to schedules and records, got the "
            f"dimension {min(map(str, extra))!r} too"
        )
    numbers = check_numbers(
        f"the coordinate {name!r}", values.transpose(..., "record").values, finite=True
    )
    if (np.diff(numbers, axis=-1) < 0).any():
        raise ValueError(
            f"the coordinate {name!r} must never decrease along the records, got one "
            "that does"
        )


def step_sizes(
    result: xr.Dataset,
    metric: str = "grad_norm",
    *,
    maximize: bool = False,
    compute_times: str | None = None,
    title: str = "",
    labels: Mapping[str, str] | None = None,
    colors: Mapping[str, Any] | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draws the metric's tail (mean of the last tenth of records) over step sizes.

    Lines are medians over seeds, bands quartiles; the best step size is ringed. Where
    any seed's lane is not ok the point is left out and a cross stands where the worst
    values are: at the top, at the foot with `maximize`. Other hyper-parameters are at
    their best for each step size.

    Args:
        result: what `sweep` or `load` returned, or a selection of it.
        metric, maximize, compute_times, title, labels, colors: as for `convergence`.
        axes: an axes to draw on instead of a new figure; then without caption.

    Raises:
        TypeError, ValueError: as `convergence`.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.sweep(
        ...     ag.quadratic(num_workers=2, num_features=2), algorithms="minibatch",
        ...     compute_times=ag.compute_times.fixed([1, 2]),
        ...     step_sizes=[0.1, 0.5, 1.0], num_gradients=40)
        >>> figure = ag.plot.step_sizes(result)
        >>> figure.axes[0].get_xscale()
        'log'
    """
    result = select_compute_times(result, compute_times)
    chosen = best_of(result, metric, maximize=maximize)
    figure, [panel] = panels(axes, 1, 1, size=(5, 4.2), title=title)
    styles, called = result_styles(result, colors), shown_names(result, labels)
    sensitivity_panel(panel, result, chosen, metric, maximize=maximize, styles=styles)
    handles = [handle(styles[a], label, {}, result) for a, label in called.items()]
    place_legend(axes, figure, [panel], handles)
    if axes is None:
        caption_below(figure, *facts(result, title))
    return figure


def select_compute_times(result: xr.Dataset, name: str | None) -> xr.Dataset:
    """The part of a result for one compute-time model; its dimension stays."""
    result = restore_dims(result)
    known = [str(v) for v in result["compute_times"].values]
    if name is None:
        if len(known) > 1:
            raise ValueError(
                f"the result has several compute-time models {known}; choose one with "
                "result.sel(compute_times=[...])"
            )
        [name] = known
    check_choice("compute_times", name, known)
    return result.sel(compute_times=[name])


def best_of(result: xr.Dataset, metric: str, *, maximize: bool) -> xr.Dataset:
    """`best`, without a warning for what the figure shows."""
    check_bool("maximize", maximize)
    with warnings.catch_warnings():
        # A best value on the grid's edge is plain to see in the third panel.
        warnings.filterwarnings("ignore", message="the best hyper-parameters")
        return best(result, metric, maximize=maximize).isel(compute_times=0)


def at_common_places(
    places: NDArray[np.float64],
    values: NDArray[np.floating],
    *,
    log: bool,
    points: int = _GRID,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reads every seed's curve off at common places, of virtual time for example.

    `places`, which never decrease, and `values` are [seeds, records]. Returns the
    common places [points], up to the first seed's end, and the values [seeds, points].
    The log scale needs values >= 0; next to a value of zero all is zero.

    Example:
        >>> time = np.array([[0.0, 2.0], [0.0, 4.0]])
        >>> grid, read = at_common_places(time, np.array([[1, 4], [1, 16]]), log=True)
        >>> grid[-1], read[:, -1]
        (np.float64(2.0), array([4., 4.]))
    """
    grid = np.linspace(places[:, 0].max(), places[:, -1].min(), points)

    def at_grid(rows: NDArray) -> NDArray:
        return np.stack(
            [np.interp(grid, t, row) for t, row in zip(places, rows, strict=True)]
        )

    if not log:
        return grid, at_grid(values)
    zero = values == 0
    read = np.exp(at_grid(np.log(np.where(zero, 1, values))))
    return grid, np.where(at_grid(zero) > 0, 0, read)


def _curve(
    axes: Axes, x: NDArray, values: NDArray, style: LineStyle, *, offset: int, log: bool
) -> None:
    """Draws the median of values [seeds, points] and the band between quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    if log:
        # A log axis has no place for zero and would draw a line down to its end.
        low, middle = (np.where(v > 0, v, np.nan) for v in (low, middle))
    # Markers at different places, so that curves on top of each other show.
    every = max(1, len(x) // _MARKERS)
    places = offset * every // 5 % every, every
    curve(axes, x, np.array([low, middle, high]), style, markevery=places)


def sensitivity_panel(
    axes: Axes,
    result: xr.Dataset,
    chosen: xr.Dataset,
    metric: str,
    *,
    maximize: bool,
    styles: dict[str, LineStyle] | None = None,
) -> None:
    """Draws the tail of every algorithm over its step sizes."""
    tail = tail_mean(split_seeds(result)[0], metric).isel(compute_times=0)
    others = [d for d in lane_dims(result) if d != "step_size"]
    order = np.argsort(result["step_size"].values)
    sizes = result["step_size"].values[order]
    log = _is_log(tail.values, maximize)
    failed = zeros = False
    # Crosses of many algorithms share less than half of the panel.
    count = result.sizes["algorithm"]
    apart, styles = min(0.035, 0.4 / count), styles or result_styles(result)
    for index, name in enumerate(result["algorithm"].values):
        style, lanes = styles[name], tail.sel(algorithm=name)
        median = lanes.median("seed", skipna=False)
        if others:
            place = best_places(median, others, maximize=maximize)
            lanes, median = lanes.isel(place), median.isel(place)
        middle = median.values[order]
        low, high = lanes.quantile([0.25, 0.75], "seed", skipna=False).values[:, order]
        bad, zero = np.isnan(middle), log & (middle == 0)
        failed |= bool(bad.any())
        zeros |= bool(zero.any())
        if log:
            low = np.where(low > 0, low, np.nan)
        drawn = np.array([low, np.where(zero, np.nan, middle), high])
        curve(axes, sizes, drawn, style, markersize=4, linewidth=1.2)
        winner = sizes == chosen["step_size"].sel(algorithm=name).item()
        ring = {"marker": "o", "markersize": 10, "markerfacecolor": "none"}
        _marks(axes, sizes, middle, winner & ~zero, style, **ring)
        from_end = 0.015 + apart * index
        fraction = {"transform": axes.get_xaxis_transform()}
        foot = np.full(sizes.shape, 0.03)
        _marks(axes, sizes, foot, winner & zero, style, **ring, **fraction)
        _marks(axes, sizes, foot, zero, style, marker=style.marker, **fraction)
        end = np.full(sizes.shape, from_end if maximize else 1 - from_end)
        _marks(axes, sizes, end, bad, style, marker="x", **fraction)
    said = ["○ best"]
    said += ["× not finite"] if failed else []
    said += ["at the foot: zero"] if zeros else []
    # No line breaks within one of them.
    marks = ", ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in said)
    title = f"last tenth ({marks})"
    plain(axes, title=title, x=r"step size $\gamma$", y=f"mean {_words(metric)}")
    if log:
        axes.set_yscale("log")
    _step_size_scale(axes, sizes)
    if not np.isfinite(tail.values).any():
        note(axes, _NOTHING)
    elif failed or zeros:
        crosses = 0.03 + apart * count if failed else 0.0
        foot = 0.07 if zeros else 0.0
        _room(axes, *((crosses, 0.0) if maximize else (foot, crosses)))


def _marks(
    axes: Axes, x: NDArray, y: NDArray, keep: NDArray, style: LineStyle, **given: Any
) -> None:
    """Draws marks without a line where `keep` is true."""
    if keep.any():
        form: dict[str, Any] = {"linestyle": "", "markersize": 4, **given}
        axes.plot(x[keep], y[keep], color=style.color, **form)


def _room(axes: Axes, below: float, above: float) -> None:
    """Moves the ends of the y axis, so that these shares of it are beyond the data."""
    scale = axes.yaxis.get_transform()
    low, high = scale.transform(np.array(axes.get_ylim()))
    height = (high - low) / (1 - below - above)
    ends = np.array([low - below * height, high + above * height])
    axes.set_ylim(*scale.inverted().transform(ends))


def _is_log(values: NDArray, maximize: bool) -> bool:
    """Whether values have a log axis: a distance to zero, which is what is aimed at."""
    good = values[np.isfinite(values)]
    return not maximize and bool(good.size and good.min() >= 0 and good.max() > 0)


def _step_size_scale(axes: Axes, sizes: NDArray) -> None:
    if sizes.min() <= 0:
        return
    base = 2 if powers_of_two(sizes) else 10
    axes.set_xscale("log", base=base)
    if base == 2:
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=9))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif 1 < sizes.size <= _LABELLED:
        axes.set_xticks(sizes, [f"{size:.3g}" for size in sizes])
        axes.xaxis.set_minor_formatter(NullFormatter())


def _words(metric: str) -> str:
    words, symbol = _WORDS.get(metric, (in_figure(metric).replace("_", " "), ""))
    return f"{words} {symbol}".strip()
