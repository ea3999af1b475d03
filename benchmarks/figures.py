"""The figures of the report: rates against sizes, and arrivals per wave."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import asgrad_jax as ag
from asgrad_jax.plot.style import line_style, plain
from asgrad_jax.schedules.slots import wave_lengths

METHODS = (
    "pure_async",
    "random_async",
    "shuffled_async",
    "fedbuff",
    "pure_waiting",
    "ringmaster",
    "minibatch",
)
WORKERS = (10, 32, 100, 316, 1000)
ARRIVALS_PER_WORKER = 20


def _spread(sigma: float, n: int) -> np.ndarray:
    return np.exp(sigma * np.random.default_rng(0).normal(size=n))


CLOCKS = {
    "normal, speeds 1..n": lambda n: ag.compute_times.normal(range(1, n + 1)),
    "fixed, speeds 1..n": lambda n: ag.compute_times.fixed(range(1, n + 1)),
    "exponential, equal means": lambda n: ag.compute_times.exponential(np.ones(n)),
    "fixed, log-normal means, σ 0.3": lambda n: ag.compute_times.fixed(_spread(0.3, n)),
    "fixed, log-normal means, σ 1": lambda n: ag.compute_times.fixed(_spread(1.0, n)),
    "Pareto, equal means": lambda n: ag.compute_times.pareto(np.ones(n)),
}


def waves(path: Path) -> Path:
    """Draws the mean length of the longest possible waves against n.

    Args:
        path: without its ending.

    Returns:
        The PNG.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for axes, (name, clock) in zip(panels.flat, CLOCKS.items(), strict=True):
        for index, method in enumerate(METHODS):
            lengths = [_mean_length(method, clock(n)) for n in WORKERS]
            style = line_style(index)
            axes.loglog(
                WORKERS,
                lengths,
                color=style.color,
                linestyle=style.linestyle,
                marker=style.marker,
                markersize=4,
                label=method,
            )
        plain(axes, title=name)
    for axes in panels[1]:
        axes.set_xlabel("workers n")
    for axes in panels[:, 0]:
        axes.set_ylabel("arrivals per wave")
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=7,
        fontsize=8,
        frameon=False,
    )
    return _save(figure, path)


def all_waves(path: Path) -> Path:
    """Draws the mean length of the longest waves for every method and clock.

    Args:
        path: without its ending.

    Returns:
        The PNG.
    """
    methods, clocks = ag.algorithms.names(), ag.compute_times.names()
    figure = Figure(figsize=(15, 8.5), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    norm = LogNorm(1, 1000)
    for axes, n in zip(panels, (10, 100, 1000), strict=True):
        lengths = [
            [_mean_length(m, ag.compute_times.example(c, n)) for c in clocks]
            for m in methods
        ]
        image = axes.imshow(lengths, norm=norm, cmap="viridis", aspect="auto")
        axes.set_title(f"n = {n:,} workers")
        axes.set_xticks(range(len(clocks)), clocks, rotation=90, fontsize=7)
        axes.set_yticks(range(len(methods)), methods, fontsize=7)
    figure.colorbar(
        image,
        ax=panels,
        label="arrivals per wave (white: never ends on this clock)",
        pad=0.01,
    )
    return _save(figure, path)


def _mean_length(method: str, clock) -> float:
    """Mean arrivals per wave; NaN where the method cannot run on the clock."""
    arrivals = ARRIVALS_PER_WORKER * clock.num_workers
    try:
        schedule = ag.simulate(method, clock, num_gradients=arrivals)
    except RuntimeError:  # nobody ever finishes, or a time limit is too short
        return float("nan")
    return float(np.mean(wave_lengths(schedule)))


def scaling(benchmarks: Sequence[dict[str, Any]], path: Path) -> Path | None:
    """Draws rates against sizes, step times and memory against slots.

    Args:
        benchmarks: the entries of pytest-benchmark's JSON.
        path: without its ending.

    Returns:
        The PNG, or None if none of its cases ran.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    panels = list(figure.subplots(2, 3).flat)
    drawn = [
        _rates(axes, benchmarks, name)
        for axes, name in zip(
            panels, ("lanes", "workers", "features", "arrivals"), strict=False
        )
    ]
    drawn += [_step_times(panels[4], benchmarks), _memory(panels[5], benchmarks)]
    for axes, has_data in zip(panels, drawn, strict=True):
        axes.set_visible(has_data)
    return _save(figure, path) if any(drawn) else None


def _of(benchmarks: Sequence[dict[str, Any]], file: str, test: str) -> list[dict]:
    start = f"benchmarks/{file}.py::{test}["
    return [entry for entry in benchmarks if entry["fullname"].startswith(start)]


def _rates(axes: Axes, benchmarks, name: str) -> bool:
    entries = _of(benchmarks, "test_scaling", f"test_{name}")
    sizes = [entry["params"][name] for entry in entries]
    rates = [entry["extra_info"]["rate"] for entry in entries]
    _line(axes, 0, sizes, rates)
    plain(axes, title=f"rate against {name}", x=name, y="gradients/s")
    axes.set_ylim(bottom=min(rates, default=1) / 3, top=3 * max(rates, default=1))
    return bool(entries)


def _step_times(axes: Axes, benchmarks) -> bool:
    entries = _of(benchmarks, "test_slots", "test_steps")
    for index, batching in enumerate(("single", "vmap")):
        chosen = [e for e in entries if e["params"]["batching"] == batching]
        _line(
            axes,
            index,
            [e["params"]["slots"] for e in chosen],
            [1e6 / e["extra_info"]["rate"] for e in chosen],
            label=batching,
        )
    plain(axes, title="one step against slots", x="slots", y="microseconds")
    if entries:
        axes.set_ylim(0.1, 1000)
        axes.legend(fontsize=8, frameon=False)
    return bool(entries)


def _memory(axes: Axes, benchmarks) -> bool:
    entries = _of(benchmarks, "test_slots", "test_memory")
    found = [
        {v["name"]: v["value"] for v in e["extra_info"]["values"]} for e in entries
    ]
    for index, name in enumerate(("slots", "ring")):
        _line(
            axes, index, [f["tau_max"] for f in found], [f[name] for f in found], name
        )
    plain(axes, title="memory against delay", x="tau_max", y="copies of the parameters")
    if entries:
        axes.legend(fontsize=8, frameon=False)
    return bool(entries)


def _line(axes: Axes, index: int, x, y, label: str | None = None) -> None:
    style = line_style(index)
    axes.loglog(
        x, y, color=style.color, marker=style.marker, ls=style.linestyle, label=label
    )


def _save(figure: Figure, path: Path) -> Path:
    for axes in figure.axes:
        # Within one decade matplotlib labels the minor ticks too, one over the other.
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    png = path.with_suffix(".png")
    figure.savefig(png, dpi=120)
    return png
