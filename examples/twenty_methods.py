"""Twenty methods on heterogeneous digits in virtual time: one table, one figure.

    python examples/twenty_methods.py [--num-gradients 4000] [--seeds 20] [--out FOLDER]

Ten workers hold the digits sorted by label, the slowest takes ten times as long as the
fastest. What counts is the gradient norm at the same virtual time for all, the last at
which every run was still going. Each method's step size is chosen on five seeds of
their own; then every method is compared with shuffled asynchronous SGD seed by seed,
under the same job durations: the mean ratio of gradient norms with a 95 % interval.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
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


def at_time(result: xr.Dataset, time: float) -> xr.DataArray:
    """The gradient norm at the last record up to a virtual time."""
    record = (result["time"] <= time).sum("record") - 1
    return result["grad_norm"].isel(record=record)


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
        strength=0.01,
    )
    grid = dict(
        compute_times=ag.compute_times.exponential(np.arange(1.0, 11)),
        num_gradients=num_gradients,
        step_sizes=2.0 ** np.arange(-12, 3),
    )
    result = ag.sweep(
        problem, algorithms=METHODS, seeds=[*TUNING, *seeds], **grid
    ).squeeze("compute_times")
    time = float(result["time"].isel(record=-1).min())
    norms = at_time(result, time)
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
        attrs={"time": time},
    ).sortby("ratio")


def draw(found: xr.Dataset) -> Figure:
    """Draws the ratios with their intervals."""
    figure = Figure(figsize=(6.5, 5.5), layout="constrained")
    axes = figure.subplots()
    places = np.arange(found.sizes["algorithm"])[::-1]
    axes.hlines(places, found["lower"], found["upper"], color="0.5")
    axes.plot(found["ratio"], places, "o", color="black", markersize=4)
    axes.axvline(1.0, color="0.8", zorder=0)
    axes.set_yticks(places, found["algorithm"].values)
    axes.set_xscale("log")
    axes.set_xlabel(f"gradient norm at {found.time:.0f} s, over that of {BASELINE}")
    return figure


def main(arguments: Sequence[str] | None = None) -> xr.Dataset:
    """Prints the table, saves the figure and returns what is in both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--num-gradients", type=int, default=4_000)
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
