"""What a schedule looks like: who computes when, delays, concurrency, shares."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_choice, check_list, check_type
from asgrad_jax.plot.legends import panel_legend
from asgrad_jax.plot.style import (
    BLUE,
    ORANGE,
    RED,
    band_alpha,
    caption_below,
    ink,
    panels,
    plain,
    thousands,
)
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.stats import ScheduleStats

_WANTED = "an asgrad_jax.Schedule, such as ag.simulate(...) returns"
_TIMELINE_WORKERS = 30
_JOBS_PER_WORKER = 8  # about so many in the timeline
_BARS = 60  # most bars in a histogram or bar chart
_BINS = 50  # most points of the concurrency's curve


def schedule(
    schedule: Schedule,
    show: str | Sequence[str] = ("timeline", "delays", "concurrency", "share"),
    *,
    title: str = "",
    axes: Axes | Sequence[Axes] | None = None,
) -> Figure:
    """Draws a schedule: worker timeline, delay histogram, concurrency, shares.

    The timeline shows the first arrivals, of 30 workers if there are more; jobs that
    arrive later, or never, are cut at its edge. A schedule stores arrivals and read
    versions, not starts, so starts are inferred: a job is assigned when its read
    version appears and starts once its worker has sent the gradient before. Where the
    server waits or discards gradients the inferred start may be too early.

    Args:
        schedule: A arrivals of n workers.
        show: which panels, in any order.
        title: goes before the schedule's own description in the caption.
        axes: one axes per panel to draw on instead of a new figure; then without
            caption.

    Raises:
        ValueError, TypeError: if the schedule breaks a rule, see `Schedule.validate`.

    Example:
        >>> import asgrad_jax as ag
        >>> times = ag.compute_times.fixed([1, 2, 3, 4])
        >>> figure = ag.plot.schedule(
        ...     ag.simulate("shuffled_async", times, num_gradients=100))
        >>> [axes.get_title(loc="left") for axes in figure.axes][1:3]
        ['delays', 'jobs in flight']
        >>> alone = ag.plot.schedule(
        ...     ag.simulate("minibatch", times, num_gradients=40), "timeline")
        >>> len(alone.axes)
        1
    """
    check_type("schedule", schedule, Schedule, _WANTED)
    stats = schedule.stats()
    known = {
        "timeline": lambda panel: _timeline(panel, schedule),
        "delays": lambda panel: _delays(panel, schedule, stats),
        "concurrency": lambda panel: _concurrency(panel, schedule, stats),
        "share": lambda panel: _share(panel, stats),
    }
    shown = [show] if isinstance(show, str) else check_list("show", show, "names")
    if not shown or any(shown.count(name) > 1 for name in shown):
        raise ValueError(f"show must name panels, each once, got {show!r}")
    for name in shown:
        check_choice("show", name, [*known])
    columns = min(len(shown), 2)
    rows = -(-len(shown) // columns)
    figure, drawn = panels(
        axes,
        rows,
        columns,
        size=(5 * columns, 3.2 * rows),
        title=title,
        count=len(shown),
    )
    for name, panel in zip(shown, drawn, strict=True):
        known[name](panel)
        if name != "share":
            thousands(panel)
    if axes is None:
        caption_below(figure, title, repr(schedule))
    return figure


def inferred_starts(
    schedule: Schedule,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When each job was assigned and when its worker began it, at the earliest.

    Two float64[A]: the time at which the read version appeared, and the later of that
    and the worker's previous arrival.
    """
    _, assigned, started, _ = _jobs(schedule)
    return assigned[: len(schedule)], started[: len(schedule)]


def _jobs(
    schedule: Schedule,
) -> tuple[
    NDArray[np.int32], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]
]:
    """Worker, time assigned, started and arrived of rows and of jobs in flight.

    Of the jobs that are in flight at the end (arrived = inf) a worker computes the
    oldest; the others are in its queue (started = inf).
    """
    begin = min(0.0, float(schedule.time[0]))
    appeared = np.append(begin, schedule.time[schedule.step])
    oldest = np.argsort(schedule.in_flight_read, kind="stable")
    worker = np.append(schedule.worker, schedule.in_flight_worker[oldest])
    read = np.append(schedule.read, schedule.in_flight_read[oldest])
    end = np.append(schedule.time, np.full(len(oldest), np.inf))
    assigned = appeared[read]
    previous = np.full(len(worker), begin)
    # Stable sort by worker: neighbours of one worker are its consecutive arrivals.
    order = np.argsort(worker, kind="stable")
    same = worker[order][1:] == worker[order][:-1]
    previous[order[1:][same]] = end[order[:-1][same]]
    return worker, assigned, np.maximum(assigned, previous), end


def _timeline(axes: Axes, schedule: Schedule) -> None:
    n = schedule.num_workers
    shown = np.unique(np.linspace(0, n - 1, min(n, _TIMELINE_WORKERS)).astype(int))
    first = min(len(schedule), _JOBS_PER_WORKER * n)
    worker, assigned, started, end = _jobs(schedule)
    edge = schedule.time[first - 1]
    rows = np.isin(worker, shown) & (
        (np.arange(len(worker)) < first) | (assigned < edge)
    )
    place = np.searchsorted(shown, worker[rows])
    assigned, started, end = (
        np.minimum(values[rows], edge) for values in (assigned, started, end)
    )
    waited = started > assigned
    axes.hlines(
        place[waited] + 0.43,
        assigned[waited],
        started[waited],
        color=ORANGE,
        linewidth=1.2,
        label="in its queue",
    )
    axes.barh(
        place,
        end - started,
        left=started,
        height=0.7,
        color=BLUE,
        edgecolor=rcParams["axes.facecolor"],
        linewidth=0.6,
        label="computing",
    )
    title = "first arrival" if first == 1 else f"first {first:,} arrivals"
    some = f" ({len(shown)} of {n:,})" if len(shown) < n else ""
    plain(axes, title=title, x="virtual time", y=f"worker{some}")
    axes.grid(False)
    places = _worker_ticks(len(shown))
    axes.set_yticks(places, [str(shown[place]) for place in places])
    axes.invert_yaxis()
    axes.margins(x=0)
    axes.set_xlim(left=min(0.0, schedule.time[0]))
    panel_legend(axes, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)


def _worker_ticks(count: int) -> range:
    """About ten of the numbers of so many workers."""
    return range(0, count, max(1, count // 10))


def _delays(axes: Axes, schedule: Schedule, stats: ScheduleStats) -> None:
    width = max(1, -(-(stats.tau_max + 1) // _BARS))
    edges = np.arange(0, stats.tau_max + 1 + width, width) - 0.5
    axes.hist(
        schedule.delay,
        edges.tolist(),
        color=BLUE,
        edgecolor=rcParams["axes.facecolor"],
        linewidth=0.3,
    )
    axes.set_yscale("log")
    # A bar of one arrival has a height as well.
    axes.set_ylim(bottom=0.5)
    lines = [
        (stats.num_workers, ":", ink(), f"$n$ = {stats.num_workers:,}"),
        (stats.delay_mean, "-.", ORANGE, f"mean = {stats.delay_mean:.3g}"),
        (stats.tau_max, "--", RED, rf"$\tau_{{\max}}$ = {stats.tau_max:,}"),
    ]
    for place, line, color, label in lines:
        axes.axvline(place, linestyle=line, color=color, linewidth=1.4, label=label)
    axes.set_xlim(-0.5, 1.05 * max(stats.tau_max, stats.num_workers) + 0.5)
    plain(axes, title="delays", x=r"delay $\tau$, server steps", y="arrivals")
    axes.locator_params(axis="x", integer=True)
    panel_legend(axes)


def _concurrency(axes: Axes, schedule: Schedule, stats: ScheduleStats) -> None:
    # Where the server waits the count saws up and down with every step.
    starts = np.linspace(0, len(schedule), min(len(schedule), _BINS), endpoint=False)
    starts = starts.astype(int)
    # The last count is drawn up to the last arrival; a single one from the begin.
    ends = np.append(schedule.time[starts], schedule.time[-1])
    if len(schedule) == 1:
        ends[0] = min(0.0, ends[0])
    low = np.minimum.reduceat(stats.concurrency, starts)
    high = np.maximum.reduceat(stats.concurrency, starts)
    mean = np.add.reduceat(stats.concurrency, starts) / np.diff(
        starts, append=len(schedule)
    )
    low, mean, high = (np.append(v, v[-1]) for v in (low, mean, high))
    axes.fill_between(
        ends,
        low,
        high,
        step="post",
        color=BLUE,
        alpha=band_alpha(),
        linewidth=0,
        label="range",
    )
    axes.step(ends, mean, where="post", color=BLUE, linewidth=1.4, label="mean")
    axes.axhline(
        stats.concurrency_max,
        linestyle="--",
        color=RED,
        linewidth=1.2,
        label=f"largest: {stats.concurrency_max:,}",
    )
    plain(axes, title="jobs in flight", x="virtual time", y=r"concurrency $\tau_C$")
    axes.set_ylim(0, 1.3 * stats.concurrency_max)
    axes.locator_params(axis="y", integer=True)
    axes.margins(x=0)
    panel_legend(axes, loc="upper right", ncols=3, frameon=False)


def _share(axes: Axes, stats: ScheduleStats) -> None:
    n = stats.num_workers
    if n <= _BARS:
        axes.bar(range(n), stats.share, color=BLUE)
        axes.set_xticks(_worker_ticks(n))
        x = "worker"
    else:
        axes.plot(range(n), np.sort(stats.share)[::-1], color=BLUE)
        x = "worker, by share"
    axes.axhline(
        1 / n, linestyle="--", color=RED, linewidth=1.2, label=f"equal: {1 / n:.3g}"
    )
    plain(axes, title="share of the gradients", x=x, y="share")
    axes.set_ylim(0, 1.3 * stats.share.max())
    panel_legend(axes, loc="upper right", frameon=False)
