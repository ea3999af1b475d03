"""Twenty methods on heterogeneous digits in virtual time: one table, one figure.

    python examples/twenty_methods.py [--num-gradients 20000] [--seeds 20] [--out DIR]

Ten workers hold the digits sorted by label, the slowest takes ten times as long as the
fastest. What counts is the mean gradient norm in the last tenth of the virtual time
that all have: until the first run is over. Each method's step size is chosen on five
seeds of their own; then every method is compared with shuffled asynchronous SGD seed by
seed, under the same job durations: the mean ratio with a 95 % interval.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from scipy.stats import t as student

import asgrad_jax as ag

METHODS = (
    *("pure_async", "random_async", "shuffled_async", "minibatch", "fedbuff"),
    *("minibatch_shuffle_once", "stale_synchronous", "delay_adaptive"),
    *("wu_adaptive_1", "ringmaster", "rennala", "malenia", "ringleader", "ia2sgd"),
    *("rescaled", "async_momentum", "ormo", "dc_asgd", "gap_aware", "fadas"),
)
BASELINE = "shuffled_async"
TUNING = range(100, 105)  # seeds


def tail(result: xr.Dataset, time: float) -> xr.DataArray:
    """The mean gradient norm over the records of the last tenth up to a virtual time.

    One record is noise: choosing a step size by it would choose a lucky one.
    """
    late = (result["time"] <= time) & (result["time"] > 0.9 * time)
    return (
        result["grad_norm"]
        .where(late)
        .mean("record", skipna=True)
        .where(np.isfinite(result["grad_norm"]).all("record"))
    )


def compare(num_gradients: int, seeds: Sequence[int]) -> xr.Dataset:
    """Returns for every method its step size, ratio to the baseline and interval."""
    features, labels = ag.datasets.digits_binary()
    problem = ag.logistic_regression(
        features,
        labels,
        10,
        batch_size=16,
        partition="sorted",
        drop_last=True,
        regularizer="l2",  # the other one is flat far away, where gradients are small
        strength=0.01,
    )
    grid = dict(
        compute_times=ag.compute_times.exponential(np.arange(1.0, 11)),
        num_gradients=num_gradients,
        step_sizes=2.0 ** np.arange(-14, 5),
        record_every=max(1, num_gradients // 200),
    )
    result = ag.sweep(
        problem, algorithms=METHODS, seeds=[*TUNING, *seeds], **grid
    ).squeeze("compute_times")
    time = float(result["time"].isel(record=-1).min())
    norms = tail(result, time)
    tuned = norms.sel(seed=list(TUNING)).median("seed").fillna(np.inf)
    chosen = tuned.idxmin("step_size")
    logs = np.log(norms.sel(seed=list(seeds)).sel(step_size=chosen))
    difference = logs - logs.sel(algorithm=BASELINE)
    mean = difference.mean("seed")
    error = difference.std("seed", ddof=1) / np.sqrt(len(seeds))
    width = student.ppf(0.975, len(seeds) - 1) * error
    return xr.Dataset(
        {
            "step_size": chosen,
            "norm": np.exp(logs.median("seed")),
            "ratio": np.exp(mean),
            "lower": np.exp(mean - width),
            "upper": np.exp(mean + width),
        },
        attrs={"time": time, "seeds": len(seeds)},
    ).sortby("ratio")


def draw(found: xr.Dataset) -> Figure:
    """Draws the ratios with their intervals."""
    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    axes = figure.subplots()
    names = found["algorithm"].values.tolist()
    places = np.arange(len(names))[::-1]
    data = np.array([ag.algorithms.properties(name).data for name in names])
    looks = {"heterogeneous": ("o", "C0"), "homogeneous": ("s", "C1")}
    for kind, (marker, color) in looks.items():
        own = data == kind
        ends = found["lower"].values[own], found["upper"].values[own]
        axes.hlines(places[own], *ends, color=color)
        label = f"meant for {kind} data"
        ratio = found["ratio"].values[own]
        axes.plot(ratio, places[own], marker, color=color, markersize=5, label=label)
    axes.axvline(1.0, color="0.6", linewidth=1, zorder=0)
    axes.grid(axis="x", color="0.93")
    axes.set_axisbelow(True)
    axes.set_yticks(places, names)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(loc="lower left")
    axes.set_xlabel(
        f"gradient norm in the last tenth of {found.time:,.0f} virtual seconds,\n"
        f"over that of {BASELINE} at the same seed\n"
        f"(mean of {found.seeds} seeds, 95 % interval; left is better)"
    )
    return figure


def main(arguments: Sequence[str] | None = None) -> xr.Dataset:
    """Prints the table, saves the figure and returns what is in both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--num-gradients", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("asgrad-twenty-methods"))
    given = parser.parse_args(arguments)
    found = compare(given.num_gradients, range(given.seeds))
    print(f"{'method':24} {'step size':>10} {'norm':>8} {'ratio':>7}   95 % interval")
    for name in found["algorithm"].values:
        row = found.sel(algorithm=name)
        numbers = f"{float(row.step_size):10.5f} {float(row.norm):8.4f}"
        interval = f"{float(row.lower):.3f} .. {float(row.upper):.3f}"
        print(f"{name:24} {numbers} {float(row.ratio):7.3f}   {interval}")
    given.out.mkdir(exist_ok=True)
    ag.plot.save(draw(found), given.out / "ratios")
    return found


if __name__ == "__main__":
    main()
