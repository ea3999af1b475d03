"""`asgrad demo`: the main job, end to end, on a real data set."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import xarray as xr

from asgrad_jax import compute_times, datasets
from asgrad_jax.experiments.sweep import sweep
from asgrad_jax.problems.logistic import LogisticRegression, logistic_regression

WORKERS = 10
ALGORITHMS = ["pure_async", "random_async", "shuffled_async", "fedbuff", "minibatch"]


@dataclasses.dataclass(frozen=True)
class Demo:
    """What a demo runs: `num_gradients` per run, `step_sizes` [G]; `about` in words."""

    problem: LogisticRegression
    about: str
    num_gradients: int
    step_sizes: np.ndarray


def builtin() -> Demo:
    """The demo on digits: sorted by label, so that speed and class go together.

    Digits 0-4 lie on the fast workers and 5-9 on the slow ones. Pure asynchronous SGD,
    which hears the fast ones more often, optimises something else than f. The horizon
    is long enough for the methods' floors to show: after a few hundred gradients the
    order can be another.
    """
    features, labels = datasets.digits_binary()
    problem = logistic_regression(
        features,
        labels,
        num_workers=WORKERS,
        partition="sorted",
        strength=0.01,
        drop_last=True,
    )
    about = "scikit-learn's digits, 0-4 against 5-9, shards sorted by label"
    return Demo(problem, about, 20_000, 2.0 ** np.arange(-10, 2))


def from_file(path: str | os.PathLike, *, zero_based: bool = False) -> Demo:
    """The demo on a LIBSVM file, in the setting of the AsGrad experiments.

    Rows in file order over 10 workers, surplus rows dropped, nonconvex regulariser of
    strength 0.1. `zero_based` is as for `load_libsvm`.
    """
    features, labels = datasets.load_libsvm(path, zero_based=zero_based)
    problem = logistic_regression(
        features, labels, num_workers=WORKERS, partition="contiguous", drop_last=True
    )
    about = f"{Path(path).name}, shards in file order"
    if surplus := features.shape[0] % WORKERS:
        about += f" (the last {surplus} rows dropped)"
    return Demo(problem, about, 5_000, 2.0 ** np.arange(-10, 2))


def shortened(demo: Demo) -> Demo:
    """Returns the demo with a twentieth of the gradients and half the step sizes."""
    return dataclasses.replace(
        demo,
        num_gradients=demo.num_gradients // 20,
        step_sizes=demo.step_sizes[1::2],
    )


def size(demo: Demo, seeds: int) -> str:
    """Says in words how much the demo computes."""
    runs = len(ALGORITHMS) * len(demo.step_sizes) * seeds
    return (
        f"{len(ALGORITHMS)} algorithms x {len(demo.step_sizes)} step sizes x "
        f"{seeds} seeds = {runs} runs of {demo.num_gradients:,} gradients, "
        f"{WORKERS} workers with mean job times 1 to {WORKERS} (Poisson)"
    )


def run_demo(demo: Demo, *, seeds: int = 5) -> xr.Dataset:
    """Runs the demo's five algorithms over its step sizes and so many seeds, >= 1.

    The attribute `title` of the dataset says what it is about.
    """
    result = sweep(
        demo.problem,
        algorithms=ALGORITHMS,
        # The fastest worker is ten times as fast as the slowest.
        compute_times=compute_times.poisson(range(1, WORKERS + 1)),
        step_sizes=demo.step_sizes,
        num_gradients=demo.num_gradients,
        seeds=range(seeds),
        record_every=max(1, demo.num_gradients // 100),
    )
    result.attrs["title"] = demo.about
    return result
