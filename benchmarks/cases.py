"""Problems, schedules and runs that several benchmarks share."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import threadpoolctl

import asgrad_jax as ag
from asgrad_jax.experiments.execute import execute
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.problems.problem import SampledProblem
from asgrad_jax.problems.quadratic import Quadratic
from benchmarks.numpy_loop import numpy_event_loop

METHODS = ("pure_async", "random_async", "shuffled_async")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WithoutMetrics(SampledProblem):
    """A problem that is not evaluated, where its gradients alone are to be timed.

    With many workers a single evaluation costs as much as all of a short run.
    """

    problem: Any

    def __getattr__(self, name):
        return getattr(self.problem, name)

    def sample(self, worker, job, key):
        """The problem's."""
        return self.problem.sample(worker, job, key)

    def gradients_with(self, params, worker, sample):
        """The problem's."""
        return self.problem.gradients_with(params, worker, sample)

    def metrics(self, params):
        """Zeros."""
        zeros = jnp.zeros(jax.tree.leaves(params)[0].shape[0])
        return {"loss": zeros, "grad_norm": zeros}


def random_logistic(n: int, m: int, d: int, **options):
    """Logistic regression on n shards of m Gaussian rows."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n * m, d), np.float32)
    labels = np.sign(rng.normal(size=n * m))
    return ag.logistic_regression(features, labels, n, **options)


def shared_diagonal(d: int, n: int) -> Quadratic:
    """A noiseless diagonal quadratic, the same on all workers: d may be large."""
    hessian, linear = np.linspace(0.1, 1.0, d), np.ones(d)
    return Quadratic(
        hessian=hessian[None],
        linear=linear[None],
        mean_hessian=hessian,
        mean_linear=linear,
        noise=np.asarray(0.0),
        start=np.zeros(d),
        scale=None,
        num_workers=n,
        form="diagonal",
        noise_form="none",
    )


def libsvm(name: str, rows: int) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
    """The first rows of a real data set, float32; skips where it is not at hand."""
    try:
        features, labels = ag.datasets.load_libsvm(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return features[:rows].astype(np.float32), labels[:rows].astype(np.float32)


def schedules(n: int, arrivals: int, *, methods=METHODS[2:], seeds: int = 1) -> list:
    """Schedules with speeds 1..n and normal times, method by method."""
    clock = ag.compute_times.normal(range(1, n + 1))
    return [
        ag.simulate(method, clock, num_gradients=arrivals, seed=seed)
        for method in methods
        for seed in range(seeds)
    ]


def engine_run(
    problem, schedules: Sequence, lanes: int, *, record_every=None, **options
) -> Callable[[], None]:
    """The engine, no metrics but at the ends unless asked for.

    Args:
        problem: any problem.
        schedules: K schedules of the same length.
        lanes: S step sizes on each.
        record_every: arrivals between two records.
        **options: of `Experiment`.

    Returns:
        A function that runs all and returns when the results are on the host.
    """
    experiment = Experiment(
        problem=problem,
        init_params=problem.init_params(),
        record_every=record_every or len(schedules[0]),
        **options,
    )
    hyper = {"step_size": np.full(lanes, 0.01)}

    def go() -> None:
        execute(experiment, schedules, range(len(schedules)), hyper)

    return go


def numpy_run(problem, lanes: int, arrivals: int) -> Callable[[], None]:
    """The NumPy event loop on one thread; its durations are drawn beforehand."""
    features, labels = (
        np.asarray(a, np.float32) for a in (problem.features, problem.labels)
    )
    n = len(features)
    means = np.arange(1.0, n + 1)[:, None]
    rng = np.random.default_rng(0)
    durations = np.abs(rng.normal(means, means, (n, 1000))) + 1
    steps = np.full(lanes, 0.01, np.float32)

    def go() -> None:
        with threadpoolctl.threadpool_limits(1, "blas"):
            numpy_event_loop(
                features,
                labels,
                durations,
                step_sizes=steps,
                num_gradients=arrivals,
                order="shuffled",
            )

    return go
