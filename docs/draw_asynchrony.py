"""Draws the pictures of docs/asynchrony.md: `python docs/draw_asynchrony.py`."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import asgrad_jax as ag
from asgrad_jax.plot.schedule import inferred_starts

IMAGES = Path(__file__).parent / "images"
TIMES = ag.compute_times.fixed([1.0, 1.5, 2.5, 5.0])
SHADES = ("#0072b2", "#56b4e9", "#009e73", "#d55e00")
UNTIL = 20.0


def main() -> None:
    save(timelines(), "asynchrony-time")
    save(paths(), "asynchrony-bias")


def save(figure: Figure, name: str) -> None:
    """Writes it small: these are drawings, not photographs."""
    figure.savefig(IMAGES / f"{name}.png", dpi=110)


def timelines() -> Figure:
    """Who computes when, under three rules, with the server's steps below."""
    names = {
        "minibatch": "mini-batch: everybody waits for the slowest",
        "pure_async": "pure asynchronous: nobody waits, fast workers are heard most",
        "shuffled_async": "shuffled asynchronous: all are heard equally, jobs queue",
    }
    figure = Figure(figsize=(8, 6.2), layout="constrained")
    for axes, (name, title) in zip(
        figure.subplots(3, 1, sharex=True), names.items(), strict=True
    ):
        timeline(axes, ag.simulate(name, TIMES, num_gradients=60))
        axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("virtual time")
    return figure


def timeline(axes: Axes, schedule: ag.Schedule) -> None:
    """Bars for jobs, a stroke for every server step."""
    _, starts = inferred_starts(schedule)
    for worker in range(4):
        mine = (schedule.worker == worker) & (starts < UNTIL)
        ends = np.minimum(schedule.time[mine], UNTIL)
        spans = np.column_stack([starts[mine], ends - starts[mine]])
        axes.broken_barh(
            spans, (worker - 0.38, 0.76), color=SHADES[worker], edgecolor="white"
        )
    steps = schedule.time[(schedule.step) & (schedule.time <= UNTIL)]
    axes.plot(steps, np.full(len(steps), 4.2), "|", color="black", markersize=9)
    axes.set_yticks([*range(4), 4.2], [*(f"worker {i}" for i in range(4)), "steps"])
    axes.set(xlim=(0, UNTIL), ylim=(4.8, -0.6))
    axes.spines[["top", "right"]].set_visible(False)


def paths() -> Figure:
    """Iterates of two methods on three quadratics; a square is where f is minimal."""
    centres = np.array([[0.0, 2.0], [-2.0, -1.0], [3.0, -1.5]])
    problem = ag.problems.Quadratic.from_arrays(np.ones((1, 2)), centres)
    seconds = [1.0, 3.0, 9.0]
    times = ag.compute_times.fixed(seconds)
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    kinds = {
        "pure_async": ("#d55e00", "pure"),
        "shuffled_async": ("#0072b2", "shuffled"),
    }
    for name, (colour, label) in kinds.items():
        schedule = ag.simulate(name, times, num_gradients=900)
        x = path_of(problem, schedule)
        axes.plot(*x.T, color=colour, linewidth=0.8, label=label)
        axes.plot(
            *x[-60:].mean(0), "o", color=colour, markersize=9, markeredgecolor="w"
        )
    for worker, centre in enumerate(centres):
        axes.plot(*centre, "k*", markersize=11)
        words = f"minimum of worker {worker}, {seconds[worker]:g} s a job"
        axes.annotate(words, centre, xytext=(6, 6), textcoords="offset points", size=8)
    axes.plot(
        *centres.mean(0), "ks", markersize=9, fillstyle="none", label="minimum of f"
    )
    axes.legend(frameon=False, loc="lower center", ncols=3)
    axes.set(xlim=(-3, 5.6), ylim=(-2.6, 2.6), aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def path_of(problem: ag.problems.Problem, schedule: ag.Schedule) -> np.ndarray:
    """float[A + 1, 2] of the iterates."""
    entries = {f"x{k}": lambda x, k=k: x[k] for k in range(2)}
    run = ag.run(problem, schedule, step_size=0.03, record_every=1, metrics=entries)
    return np.column_stack([run.metrics["x0"], run.metrics["x1"]])


if __name__ == "__main__":
    main()
