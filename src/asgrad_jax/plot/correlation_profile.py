"""The correlation profile as a figure: how far the order of workers strays."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_list
from asgrad_jax._util.text import in_figure
from asgrad_jax.plot.legends import (
    entry,
    has_margin,
    panel_inches,
    panel_legend,
    place_legend,
)
from asgrad_jax.plot.style import (
    GREY,
    LineStyle,
    caption_below,
    curve,
    line_styles,
    panels,
    plain,
    small_size,
)
from asgrad_jax.problems.flat_arrays import local_table
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.theory._inputs import ROUNDING
from asgrad_jax.theory.correlation import CorrelationProfile
from asgrad_jax.theory.correlation import correlation_profile as measure_profile

# Where the exact value is zero, rounding leaves about 1e-30 of the largest square;
# differences of equal numbers, too.
_ZERO = 1e-20
_SHORT = 120  # chunk lengths below a few rounds of the workers
_LONG = 80  # and beyond
_REFERENCE = "0.75"
_INSIDE = 0.3  # of the panel's height, which a legend in it may take


def correlation_profile(
    profiles: Mapping[str, CorrelationProfile | Schedule | Sequence[Schedule]]
    | CorrelationProfile
    | Schedule,
    problem: Any = None,
    *,
    params: Any = None,
    among: Collection[str] = (),
    title: str = "",
    axes: Axes | None = None,
) -> Figure:
    """Draws C^2(tau)/tau^2 against tau: does the order of workers average out?

    Over tau consecutive jobs the mean gradient differs from grad f(x) by a vector of
    mean square C^2/tau^2. The curve of pure asynchronous SGD becomes flat at the
    squared bias towards fast workers, that of random falls like 1/tau, that of
    shuffled like 1/tau^2 and is zero at multiples of n (triangles at the foot). Lines
    are medians over the schedules (seeds) of a method, bands quartiles; grey lines are
    the slopes 0, -1 and -2. The legend gives nu^2 and zeta^2, see
    `theory.correlation_profile`.

    Args:
        profiles: label -> a profile, or, with `problem`, a schedule or several; or one
            of these alone. Beyond 4n the lengths of schedules are multiples of n and
            those half-way between.
        problem: the problem whose local gradients are used.
        params: x, a pytree like `problem.init_params()`, which is the default.
        among: all methods of an experiment, in its order, where `profiles` has some:
            each keeps the look that it has in figures of all.
        title: goes before the facts in the caption, for example the data set.
        axes: an axes to draw on instead of a new figure; then without caption.

    Raises:
        TypeError: if the profiles are neither a mapping nor one profile or schedule.
        ValueError: if there is nothing to draw, schedules come without a problem,
            profiles or schedules have other workers, or params do not fit.

    Example:
        >>> import asgrad_jax as ag
        >>> times = ag.compute_times.fixed([1, 2, 3, 4])
        >>> schedules = {
        ...     name: [ag.simulate(name, times, num_gradients=400, seed=s)
        ...            for s in range(3)]
        ...     for name in ["pure_async", "random_async", "shuffled_async"]}
        >>> figure = ag.plot.correlation_profile(schedules, ag.quadratic(4, 3))
        >>> figure.axes[0].get_xlabel()
        'chunk length $\\\\tau$, jobs'

    Source: docs/theorem.md [D].
    """
    found = _by_label(profiles, problem, params)
    figure, [panel] = panels(axes, 1, 1, size=(6.4, 4.6), title=title)
    zeta_sq = max(profile.zeta_sq for profile in found.values())
    zeta_sq = zeta_sq if zeta_sq > ROUNDING else 0.0
    styles = line_styles([*check_list("among", among, "names"), *found])
    handles, zeros = [], False
    for index, (name, profile) in enumerate(found.items()):
        style = styles[name]
        zeros |= _profile_curve(panel, profile, zeta_sq, style, index)
        squares = rf"$\nu^2$ = {np.median(profile.in_flight_sq):.3g}"
        handles.append(entry(style, f"{in_figure(name)} ({squares})"))
    panel.set_xscale("log")
    if zeta_sq > 0:
        panel.set_yscale("log")
        panel.set_ylim(_lower_end(found.values(), zeta_sq), 4 * zeta_sq)
        _reference_slopes(panel, found.values(), zeta_sq)
    else:
        panel.set_ylim(-1, 1)  # what is drawn is rounding
    plain(
        panel,
        title="squared mean deviation of τ gradients from ∇f",
        x=r"chunk length $\tau$, jobs",
        y=r"$C^2(\tau)/\tau^2$",
    )
    room = 72 * _INSIDE * panel_inches(panel)[1] / (1.5 * small_size())
    if len(handles) > room and has_margin(axes, figure, [panel]):
        place_legend(axes, figure, [panel], handles, list(map(in_figure, found)))
    else:
        place = {"loc": "lower left", "bbox_to_anchor": (0, 0.07)}
        panel_legend(panel, handles, framealpha=0.85, handlelength=3.2, **place)
    if axes is None:
        foot = "; triangles: zero" if zeros else ""
        caption_below(figure, title, _facts(found) + foot)
    return figure


def _by_label(
    profiles: Any, problem: Any, params: Any
) -> dict[str, CorrelationProfile]:
    """Label -> profile, those of schedules measured; all of one number of workers."""
    if isinstance(profiles, Schedule):
        profiles = {profiles.name or "schedule": profiles}
    elif isinstance(profiles, CorrelationProfile):
        profiles = {"profile": profiles}
    if not isinstance(profiles, Mapping):
        raise TypeError(
            "profiles must map labels to profiles or schedules, such as "
            f"{{'pure_async': schedule}}, got {type(profiles).__name__}"
        )
    if not profiles:
        raise ValueError("profiles must have at least one method, got none")
    found = {
        name: item
        if isinstance(item, CorrelationProfile)
        else _measured(name, item, problem, params)
        for name, item in profiles.items()
    }
    workers = {len(profile.zeta_sq_per_worker) for profile in found.values()}
    if len(workers) > 1:
        raise ValueError(
            f"the profiles have {sorted(workers)} workers; draw those of one number of "
            "workers in a figure"
        )
    return found


def _facts(found: Mapping[str, CorrelationProfile]) -> str:
    profiles = [*found.values()]
    squares = sorted(profile.zeta_sq for profile in profiles)
    zetas = dict.fromkeys(f"{value:.3g}" for value in (squares[0], squares[-1]))
    facts = [
        f"n = {len(profiles[0].zeta_sq_per_worker)} workers",
        rf"$\zeta^2$ = {' to '.join(zetas)}",
        f"{min(p.num_jobs for p in profiles):,} jobs",
        _spread(found),
    ]
    return "; ".join(facts)


def _spread(found: Mapping[str, CorrelationProfile]) -> str:
    """What medians and quartiles are of: copies of one order are no repetitions."""
    seeds = max(len(profile.bias_sq) for profile in found.values())
    if seeds == 1:
        return "one schedule each"
    fixed = [
        name
        for name, profile in found.items()
        if len(profile.bias_sq) > 1
        and np.ptp(profile.bias_sq, axis=0).max() <= _ZERO * profile.zeta_sq
    ]
    if len(fixed) == len(found):
        return f"deterministic: {seeds} schedules, one curve"
    several = f"medians and quartiles of {seeds} schedules"
    names = ", ".join(map(in_figure, fixed))
    return f"{several} ({names}: deterministic)" if fixed else several


def _measured(
    name: str, schedules: Any, problem: Any, params: Any
) -> CorrelationProfile:
    if problem is None:
        raise ValueError(
            f"{name!r} is not a CorrelationProfile: give the problem as well, "
            "correlation_profile(schedules, problem)"
        )
    many = (
        [schedules]
        if isinstance(schedules, Schedule)
        else check_list(f"profiles[{name!r}]", schedules, "schedules, or a profile")
    )
    if not many:
        raise ValueError(f"{name!r} has no schedule")
    jobs = min(s.num_gradients + len(s.in_flight_worker) for s in many)
    return measure_profile(
        many,
        local_table(problem, params),
        chunk_lengths=chunk_lengths(jobs, int(problem.num_workers)),
    )


def chunk_lengths(num_jobs: int, num_workers: int) -> NDArray[np.int64]:
    """Chunk lengths, int64[M] up to J/10, at which a profile has no jagged lines.

    C^2 of a shuffled order depends on tau mod n. Up to 4n every length is taken (or
    some, if there are many), beyond only multiples of n and those half-way between.
    Longer chunks than J/10 are too few for a mean.
    """
    n, top = num_workers, max(1, num_jobs // 10)
    short = np.unique(np.geomspace(1, 4 * n, _SHORT).round().astype(np.int64))
    if 4 * n <= _SHORT:
        short = np.arange(1, 4 * n + 1)
    rounds = np.arange(1, 5)
    if top > 4 * n:
        spaced = np.geomspace(4, top / n, _LONG).round().astype(np.int64)
        rounds = np.unique(np.concatenate([rounds, spaced]))
    found = np.unique(np.concatenate([short, n * rounds, n * rounds + n // 2]))
    return found[found <= top]


def _profile_curve(
    axes: Axes,
    profile: CorrelationProfile,
    zeta_sq: float,
    style: LineStyle,
    index: int,
) -> bool:
    """The curve, with triangles at the foot where whole chunks cancel: whether any."""
    quartiles = np.quantile(profile.bias_sq, [0.25, 0.5, 0.75], axis=0)
    zero = (quartiles[1] <= _ZERO * zeta_sq) & (zeta_sq > 0)
    tau = profile.chunk_lengths[~zero]
    every = max(1, len(tau) // 9)
    places = index * every // 4 % every, every
    curve(axes, tau, quartiles[:, ~zero], style, markevery=places)
    if zeta_sq > 0:
        axes.plot(
            profile.chunk_lengths[zero],
            np.full(zero.sum(), 0.012 + 0.02 * index),
            linestyle="",
            marker="v",
            markersize=3.5,
            color=style.color,
            transform=axes.get_xaxis_transform(),
        )
    return bool(zero.any())


def _lower_end(profiles: Any, zeta_sq: float) -> float:
    """Half a decade below the lowest curve, with room for the legend."""
    values = np.concatenate([np.median(p.bias_sq, axis=0) for p in profiles])
    values = values[values > _ZERO * zeta_sq]
    return values.min() / 30 if values.size else zeta_sq / 100


def _reference_slopes(axes: Axes, profiles: Any, zeta_sq: float) -> None:
    """Three light lines from (n, zeta^2)."""
    first = next(iter(profiles))
    n, end = len(first.zeta_sq_per_worker), max(p.chunk_lengths[-1] for p in profiles)
    if end <= n:
        return
    for slope in (0, -1, -2):
        height = zeta_sq * (end / n) ** slope
        axes.plot(
            [n, end],
            [zeta_sq, height],
            color=_REFERENCE,
            linewidth=1,
            linestyle=(0, (4, 3)),
            zorder=1,
        )
        axes.annotate(
            f"slope {slope}".replace("-", "−"),
            (end, height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=small_size(),
            color=GREY,
        )
    axes.set_xlim(0.9, end * (end**0.12))
