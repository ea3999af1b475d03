"""Theory drawn onto a sweep: recommended step sizes, and times to hope for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import (
    check_bool,
    check_choice,
    check_numbers,
    check_type,
)
from asgrad_jax.plot.legends import (
    handle,
    has_margin,
    panel_legend,
    panel_points,
    place_legend,
)
from asgrad_jax.plot.style import (
    GREY,
    LineStyle,
    caption_below,
    curve,
    facts,
    panels,
    plain,
    result_styles,
    small_size,
)
from asgrad_jax.plot.sweep import best_of, select_compute_times, sensitivity_panel
from asgrad_jax.results.results import sweep_config
from asgrad_jax.results.selection import split_seeds
from asgrad_jax.results.time_to import fastest_times
from asgrad_jax.theory.constants import as_constants
from asgrad_jax.theory.predicted_times import PredictedTimes, predicted_times
from asgrad_jax.theory.step_sizes import StepSizes

_GOALS = 40
_JUMP = 1e-3  # the last goal where a run goes from the start to zero in one record

# Orders of sections E.1-E.3: attribute of `PredictedTimes`, words, line.
_BOUNDS = (
    ("heterogeneous", "optimal, own data", "-"),
    ("homogeneous", "optimal, shared data", (0, (1, 1))),
    ("asynchronous", "asynchronous SGD, shared data", (0, (5, 1, 1, 1))),
    ("minibatch", "mini-batch SGD", (0, (6, 3))),
)


def step_size_advice(
    result: xr.Dataset,
    advice: Mapping[str, StepSizes],
    *,
    metric: str = "grad_norm",
    maximize: bool = False,
    compute_times: str | None = None,
    title: str = "",
    axes: Sequence[Axes] | None = None,
) -> Figure:
    """Draws `step_sizes` and, below, what each theory recommends.

    One row per rule that gives some algorithm a step size, with that algorithm's colour
    and mark. Rules that apply nowhere are left out.

    Args:
        result: what `sweep` or `load` returned, or a selection of it.
        advice: algorithm -> `theory.step_sizes` of its schedule.
        metric, maximize, compute_times, title: as for `convergence`.
        axes: two axes, as for `convergence`.

    Raises:
        ValueError: if an algorithm is not in the result, or no rule applies; otherwise
            as `step_sizes`.

    Example:
        >>> import asgrad_jax as ag
        >>> problem = ag.quadratic(num_workers=4, num_features=3)
        >>> times = ag.compute_times.fixed([1, 2, 3, 4])
        >>> result = ag.sweep(
        ...     problem, algorithms=["pure_async"], compute_times=times,
        ...     step_sizes=[0.01, 0.05, 0.25], num_gradients=200)
        >>> schedule = ag.simulate("pure_async", times, num_gradients=200)
        >>> figure = ag.plot.step_size_advice(
        ...     result, {"pure_async": ag.theory.step_sizes(problem, schedule)})
        >>> [label.get_text() for label in figure.axes[1].get_yticklabels()]
        ['asgrad_jax theorem']
    """
    result = select_compute_times(result, compute_times)
    names = [str(name) for name in result["algorithm"].values]
    wanted = "a mapping from algorithms to theory.step_sizes"
    check_type("advice", advice, Mapping, wanted)
    for name, one in advice.items():
        check_choice("an algorithm of advice", name, names)
        check_type(f"advice[{name!r}]", one, StepSizes, "a theory.step_sizes")
    rules = list(dict.fromkeys(r for rows in advice.values() for r in rows.applicable))
    if not rules:
        raise ValueError(
            "advice must have a rule that gives a step size, got none; print it to see "
            "why"
        )
    figure, [curves, strip] = panels(axes, 2, 1, size=(6.8, 6), title=title)
    chosen = best_of(result, metric, maximize=maximize)
    sensitivity_panel(curves, result, chosen, metric, maximize=maximize)
    styles = result_styles(result)
    found: list[float] = [*result["step_size"].values]
    for name, rows in advice.items():
        style = styles[name]
        # A little apart, so that equal step sizes of two algorithms both show.
        shift = 0.75 * (names.index(name) - (len(names) - 1) / 2) / len(names)
        for rule, size in rows.applicable.items():
            mark = {"marker": style.marker, "color": style.color, "markersize": 5.5}
            strip.plot(size, rules.index(rule) + shift, **mark)
            found.append(size)
    plain(strip, title="recommended by", x=r"step size $\gamma$")
    strip.set_yticks(range(len(rules)), rules)
    strip.set_ylim(len(rules) - 0.5, -0.5)
    _common_scale(curves, strip, found)
    curves.set_xlabel("")
    handles = [handle(styles[a], a, {}, result) for a in names]
    if axes is None:
        layout: Any = curves.get_gridspec()
        layout.set_height_ratios([4, 0.4 + 0.55 * len(rules)])
        caption_below(figure, *facts(result, title))
    place_legend(axes, figure, [curves, strip], handles)
    return figure


def time_to_accuracy(
    result: xr.Dataset,
    compute_times: Any,
    problem: Any,
    *,
    eps: ArrayLike | None = None,
    sustained: bool = False,
    title: str = "",
    axes: Axes | None = None,
) -> Figure:
    """Draws the virtual time until ||grad f||^2 <= eps, beside what theory allows.

    For every eps each algorithm is at the step size (and further hyper-parameters)
    whose median time is smallest over the tuning seeds, and the others are shown (all
    decide and are shown where there are no tuning seeds); a curve ends where half of
    the seeds no longer reach eps, its band (quartiles) where a quarter no longer does.
    What counts is the first record, see `asgrad_jax.time_to_accuracy`; the gradient may
    grow again.
    Grey lines are the orders of `theory.predicted_times`, for the worst f with this L
    and F_0 and every hidden constant put to one: compare slopes and ratios, not
    heights. "Shared data" assumes that all f_i are equal.

    Args:
        result: what `sweep` or `load` returned, or a selection of it.
        compute_times: as swept, or the seconds per gradient of each worker.
        problem: a problem, or its `theory.constants`.
        eps: [E] goals, > 0; spaced between the start and the best record where left
            out.
        sustained: as for `asgrad_jax.time_to_accuracy`.
        title: goes before the facts in the caption.
        axes: an axes to draw on instead of a new figure; then without caption.

    Raises:
        ValueError: if the result has several compute times, an eps is not above zero,
            F_0 is not known, no lane ever has a smaller gradient than at the start, or
            result, compute times and problem differ in workers.

    Example:
        >>> import asgrad_jax as ag
        >>> problem = ag.quadratic(num_workers=4, num_features=3, seed=1)
        >>> times = ag.compute_times.fixed([1, 2, 3, 4])
        >>> result = ag.sweep(
        ...     problem, algorithms=["pure_async", "minibatch"], compute_times=times,
        ...     step_sizes=[0.05, 0.25], num_gradients=400)
        >>> figure = ag.plot.time_to_accuracy(result, times, problem)
        >>> figure.axes[0].get_ylabel()
        'virtual time until then'
    """
    result = select_compute_times(result, None)
    constants = as_constants(problem)
    workers = sweep_config(result)["problem"]["num_workers"]
    if constants.num_workers != workers:
        raise ValueError(
            f"the result is of {workers} workers, the problem has "
            f"{constants.num_workers}; give the problem that was swept"
        )
    check_bool("sustained", sustained)
    if eps is None:
        goals = _goals(result)
    else:
        goals = np.unique(check_numbers("eps", eps, above=0, finite=True))
    found = fastest_times(result, goals, sustained=sustained).isel(compute_times=0)
    bounds = [predicted_times(float(goal), compute_times, constants) for goal in goals]
    figure, [panel] = panels(axes, 1, 1, size=(6.8, 4.8), title=title)
    lines = _draw_bounds(panel, goals, bounds)
    handles, styles = [], result_styles(result)
    for name in result["algorithm"].values:
        times = found.sel(algorithm=name).transpose("seed", "eps").values
        # Order statistics: interpolating between a number and inf would give nan.
        quartiles = np.quantile(times, [0.25, 0.5, 0.75], axis=0, method="higher")
        _draw_times(panel, goals, quartiles, styles[name])
        never = "" if np.isfinite(quartiles[1]).any() else " (never)"
        handles.append(handle(styles[name], f"{name}{never}", {}, result))
    plain(
        panel,
        title=f"time to a {'lastingly ' if sustained else ''}small gradient",
        x=r"goal $\epsilon$ for $\|\nabla f(x)\|^2$",
        y="virtual time until then",
    )
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.invert_xaxis()
    size = panel_points(panel, small_size())
    words = {"title": "worst case, constants one", "title_fontsize": size}
    bounds_legend = panel_legend(
        panel, lines, loc="upper left", handlelength=3.2, **words
    )
    if has_margin(axes, figure, [panel]):
        place_legend(axes, figure, [panel], handles)
    else:
        panel.add_artist(bounds_legend)
        panel_legend(panel, handles, frameon=False, loc="lower right")
    if axes is None:
        caption_below(figure, *facts(result, title, tuned=True))
    return figure


def _common_scale(curves: Axes, strip: Axes, sizes: list[float]) -> None:
    """Gives both panels the x scale of the curves, its base and its ends included."""
    base = getattr(curves.xaxis.get_transform(), "base", None)
    low, high = min(sizes), max(sizes)
    room = 0.05 * (high - low)
    ends = (low / 1.5, high * 1.5) if low > 0 else (low - room, high + room)
    for panel in (curves, strip):  # both, so that their ticks are the same
        panel.set_xscale(
            curves.get_xscale(), **({} if base is None else {"base": base})
        )
        panel.set_xlim(*ends)


def _draw_bounds(
    axes: Axes, goals: NDArray[np.float64], bounds: list[PredictedTimes]
) -> list[Line2D]:
    """Grey lines of the orders; those that agree are one line with both names."""
    drawn: list[tuple[NDArray, Line2D]] = []
    for name, words, dashes in _BOUNDS:
        times = np.array([getattr(bound, name) for bound in bounds])
        same = next((d for other, d in drawn if np.allclose(other, times)), None)
        if same is not None:
            same.set_label(f"{same.get_label()}; {words}")
            continue
        form = {"color": GREY, "linestyle": dashes, "linewidth": 1.2, "label": words}
        [drawing] = axes.plot(goals, times, **form)
        drawn.append((times, drawing))
    return [line for _, line in drawn]


def _draw_times(
    axes: Axes,
    goals: NDArray[np.float64],
    quartiles: NDArray[np.float64],
    style: LineStyle,
) -> None:
    low, middle, high = quartiles
    # Time 0 means that the start is as small; a log axis has no place for it.
    reached = np.isfinite(middle) & (middle > 0)
    banded = np.isfinite(high) & (low > 0)
    low, high = (np.where(banded, v, np.nan) for v in (low, high))
    every = max(1, len(goals) // 8)
    drawn = np.array([low, middle, high])[:, reached]
    curve(axes, goals[reached], drawn, style, markevery=every)


def _goals(result: xr.Dataset) -> NDArray[np.float64]:
    """Goals between the start and the smallest median norm > 0 of any step size."""
    _, shown = split_seeds(result)
    norm = shown["grad_norm"].where(shown["status"] == 0).astype(np.float64)
    start = float(norm.isel(record=0).max()) ** 2
    if np.isnan(start):
        raise ValueError("every run diverged; sweep smaller step sizes")
    reached = norm.where(norm > 0).min("record").median("seed", skipna=False)
    end = float(reached.min()) ** 2
    if not end < start and bool((norm.isel(record=-1) == 0).any()):
        end = start * _JUMP
    if not end < start:
        raise ValueError(
            f"no run reaches less than the start's squared gradient norm {start:.3g}; "
            "sweep other step sizes, or give eps=..."
        )
    return np.geomspace(end, start, _GOALS + 1)[:-1]
