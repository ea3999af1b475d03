"""Samples drawn for many arrivals at once: the same ones, and never behind a class."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.engine import program as engine
from asgrad_jax.experiments.execute import execute
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.problems import sampling
from asgrad_jax.problems.logistic import LogisticRegression

N = 4
HYPER = {"step_size": np.array([0.05, 0.2])}


def logistic(**options):
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(40, 5)), rng.integers(0, 2, 40)
    return ag.logistic_regression(rows, labels, N, **options)


def squares():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(40, 3))
    return ag.from_loss(
        lambda x, batch: jnp.square(batch @ x), np.ones(3), data, num_workers=N,
        batch_size=3,
    )  # fmt: skip


PROBLEMS = {
    "nothing": logistic,
    "rows": lambda: logistic(batch_size=3),
    "epochs": lambda: logistic(batch_size=3, sampling="reshuffled"),
    "with replacement": lambda: logistic(batch_size=3, sampling="with_replacement"),
    "any loss": squares,
    "normal": lambda: ag.quadratic(N, 5, noise=0.5, seed=1),
    "local steps": lambda: ag.local_steps(logistic(batch_size=3), 2, 0.1),
}


def run(problem, batching="single", width=1):
    experiment = Experiment(
        problem=problem,
        init_params=problem.init_params(),
        record_every=8,
        precision="float64",
        batching=batching,
        width=width,
    )
    clock = ag.compute_times.exponential(range(1, N + 1))
    schedules = [
        ag.simulate("fedbuff", clock, num_gradients=60, seed=k) for k in range(2)
    ]
    engine.advance.clear_cache()
    done = execute(experiment, schedules, [3, 4], HYPER)
    return np.stack([done[k].params for k in range(2)])


@pytest.mark.parametrize(
    ("name", "batching", "width"),
    [
        *((name, "single", 1) for name in PROBLEMS),
        *((name, "vmap", 4) for name in ("rows", "normal", "local steps")),
    ],
)
def test_however_many_are_drawn_at_once(name, width, batching, monkeypatch):
    problem = PROBLEMS[name]()
    one_by_one = {"_MOST_PRESAMPLED": 0}
    # Samples have 3 to 6 numbers, records 8 arrivals and more: room for all, for whole
    # records, and for a part of one.
    settings = [
        {"_SAMPLED_TOGETHER": 7},
        {"_MOST_PRESAMPLED": 48},
        {"_MOST_PRESAMPLED": 12},
    ]
    if name in ("nothing", "epochs", "with replacement"):  # which are drawn as rows are
        settings = settings[-1:]
    found = []
    for setting in (one_by_one, *settings):
        with monkeypatch.context() as patch:
            for constant, value in setting.items():
                patch.setattr(sampling, constant, value)
            found.append(run(problem, batching, width))
    for other in found[1:]:
        np.testing.assert_allclose(
            other, found[0], rtol=1e-6 if name == "normal" else 1e-12
        )
    assert np.ptp(found[0]) > 0
    engine.advance.clear_cache()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Around:
    """Doubles the gradients of another problem, and passes all else on."""

    problem: Any

    def __getattr__(self, name):
        return getattr(self.problem, name)

    def gradients_with(self, params, worker, sample):
        return 2 * self.problem.gradients_with(params, worker, sample)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Derived(LogisticRegression):
    """Doubles the gradients of the class that it derives from."""

    def gradients_with(self, params, worker, sample):
        return 2 * super().gradients_with(params, worker, sample)


def test_gradients_of_wrappers_and_subclasses_count():
    inside = logistic(batch_size=3)
    derived = Derived(
        **{f.name: getattr(inside, f.name) for f in dataclasses.fields(inside)}
    )
    plain, around, own = run(inside), run(Around(inside)), run(derived)
    np.testing.assert_allclose(around, own, rtol=1e-12)
    assert np.abs(own - plain).max() > 1e-3
