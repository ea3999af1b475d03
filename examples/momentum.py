"""Which momentum for stale gradients? Naive, ordered, staleness-aware: digits and w7a.

    python examples/momentum.py [--data digits] [--num-gradients 4000] [--seeds 3]

Ten workers share the data, the slowest takes ten times as long as the fastest:
scikit-learn's digits (0-4 against 5-9), or a LIBSVM file such as w7a (`--data w7a`, a
known name, or a path). Naive momentum takes gradients as they arrive; OrMo gives each
the place that it would have had if nobody were late. Delay-adaptive steps,
compensation, and staleness weights under Adam are the other usual answers. Every method
is at its own best step size; a star marks one at the end of the grid.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import optax
import xarray as xr

import asgrad_jax as ag

METHODS = {
    "no momentum": ag.algorithms.pure_async(),
    "naive momentum": ag.algorithms.async_momentum(0.9),
    "OrMo": ag.algorithms.ormo(0.9),
    "OrMo, adaptive steps": ag.algorithms.ormo(0.9, ag.algorithms.delay_adaptive()),
    "adaptive steps": ag.algorithms.delay_adaptive("inverse"),
    "DC-ASGD": ag.algorithms.dc_asgd(),
    "gap-aware": ag.algorithms.gap_aware(),
}
WITH_ADAM = {
    "Adam": ag.algorithms.pure_async(),
    "Adam, staleness-aware": ag.algorithms.staleness_aware(ag.algorithms.pure_async()),
    "Adam, gap-aware": ag.algorithms.gap_aware(),
}


def adam(step_size):
    """Adam on the server."""
    return optax.adam(step_size)


def main(arguments: Sequence[str] | None = None) -> xr.Dataset:
    """Runs both sweeps, prints the table and returns the best runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--num-gradients", type=int, default=4_000)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args(arguments)
    if given.data == "digits":
        features, labels = ag.datasets.digits_binary()
    else:
        features, labels = ag.datasets.load_libsvm(given.data)
    problem = ag.logistic_regression(
        features,
        labels,
        10,
        batch_size=8,
        partition="iid",
        drop_last=True,
        regularizer="l2",
        strength=1e-3,
    )
    grid = dict(
        compute_times=ag.compute_times.exponential(np.arange(1.0, 11)),
        seeds=range(given.seeds),
        num_gradients=given.num_gradients,
        record_every=max(1, given.num_gradients // 100),
    )
    sizes = 2.0 ** np.arange(3, -14, -1)
    plain = ag.sweep(problem, algorithms=METHODS, step_sizes=sizes, **grid)
    adaptive = ag.sweep(
        problem, algorithms=WITH_ADAM, step_sizes=sizes / 8, server=adam, **grid
    )
    print(f"{'method':22} {'step size':>10}  {'gradient norm':>13} {'loss':>9}")
    found = []
    for result in (plain, adaptive):
        best = ag.best(result)
        for name in result["algorithm"].values:
            row = best.sel(algorithm=name).squeeze()
            size = float(row["step_size"])
            loss = result["loss"].sel(algorithm=name, step_size=size)
            last = float(loss.isel(record=-1).median())
            norm = float(row["value"])
            star = "*" if size in result["step_size"].values[[0, -1]] else " "
            print(f"{name:22} {size:10.5f}{star} {norm:13.5f} {last:9.5f}")
        found.append(best)
    return xr.concat(found, "algorithm", data_vars="minimal", coords="minimal")


if __name__ == "__main__":
    main()
