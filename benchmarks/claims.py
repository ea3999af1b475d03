"""Does the paper's ordering hold? Tail norms beside an independent simulator's.

    ASGRAD_DATA=FOLDER python -m benchmarks.claims [--quick]

w7a (first 24,600 rows), n = 10, logistic loss + 0.1 sum x^2/(1+x^2), x_0 = ones, speeds
1..10, 5000 gradients, step sizes 2^-1..2^-10, 5 seeds, full local gradients or 32 rows.
The figure is the tail norm at the best step size: the mean full gradient norm over the
last tenth of the run, mean +- sd over the seeds. The reference values are those of an
independent event-driven NumPy simulator in float64.

The last rows show the horizon: with n = 100 workers (phishing) the order is the other
way round at T = 500 and the paper's at T = 5000.
"""

import argparse
import warnings

import numpy as np

import asgrad_jax as ag

ALGORITHMS = ["pure_async", "random_async", "shuffled_async", "minibatch"]
SPEEDS = range(1, 11)
CLOCKS = {
    "fixed": ag.compute_times.fixed(SPEEDS),
    "poisson": ag.compute_times.poisson(SPEEDS),
    "normal": ag.compute_times.normal(SPEEDS),
}
# (partition, clock, rows) -> mean and sd for pure, random, shuffled, mini-batch.
REFERENCE = {
    ("contiguous", "fixed", None): [0.0588, 0.0061, 0.00098, 3e-16],
    ("contiguous", "poisson", None): [0.0565, 0.0062, 0.00101, 3e-16],
    ("contiguous", "normal", None): [0.0576, 0.0061, 0.00116, 3e-16],
    ("contiguous", "normal", 32): [0.0582, 0.0086, 0.00556, 0.0054],
    ("iid", "poisson", None): [0.0042, 0.00056, 0.00016, 3e-16],
    ("iid", "poisson", 32): [0.0073, 0.00586, 0.00549, 0.0055],
}


def run(problem, clock, *, num_gradients, step_sizes, seeds):
    """Returns the best tail norm of every algorithm: mean, sd, log2 step size."""
    result = ag.sweep(
        problem,
        algorithms=ALGORITHMS,
        compute_times=clock,
        step_sizes=step_sizes,
        seeds=range(seeds),
        num_gradients=num_gradients,
        record_every=max(1, num_gradients // 200),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the paper's grid is what it is
        best = ag.best(result)["step_size"].squeeze("compute_times")
    tails = ag.tail_mean(result).squeeze("compute_times").sel(step_size=best)
    return [
        (
            float(tails.sel(algorithm=name).mean()),
            float(tails.sel(algorithm=name).std()),
            float(np.log2(best.sel(algorithm=name))),
        )
        for name in ALGORITHMS
    ]


def show(label, found, reference=None):
    """Prints one line per algorithm."""
    for index, (name, (mean, sd, log_step)) in enumerate(
        zip(ALGORITHMS, found, strict=True)
    ):
        beside = "" if reference is None else f"   reference {reference[index]:.2g}"
        print(
            f"{label:28} {name:15} {mean:.5f} +- {sd:.5f} (2^{log_step:.0f}){beside}",
            flush=True,
        )


def main():
    """Runs the settings one after the other and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 seeds, 3 step sizes")
    quick = parser.parse_args().quick
    steps = 2.0 ** -np.arange(5, 8) if quick else 2.0 ** -np.arange(1, 11)
    seeds = 2 if quick else 5
    features, labels = ag.datasets.load_libsvm("w7a")
    for (partition, clock, rows), reference in REFERENCE.items():
        problem = ag.logistic_regression(
            features[:24600],
            labels[:24600],
            10,
            partition=partition,
            batch_size=rows,
        )
        found = run(
            problem,
            CLOCKS[clock],
            num_gradients=5000,
            step_sizes=steps,
            seeds=seeds,
        )
        show(f"w7a {partition} {clock} {rows or 'full'}", found, reference)

    features, labels = ag.datasets.load_libsvm("phishing")
    problem = ag.logistic_regression(features[:11000], labels[:11000], 100)
    clock = ag.compute_times.fixed(range(1, 101))
    for horizon in (500, 1000, 5000):
        found = run(
            problem,
            clock,
            num_gradients=horizon,
            step_sizes=2.0 ** np.arange(1, -7, -1),
            seeds=seeds,
        )
        show(f"phishing n=100 T={horizon}", found)


if __name__ == "__main__":
    main()
