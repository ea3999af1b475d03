"""Bad input: a clear error, before anything is compiled."""

import jax
import numpy as np
import optax
import pytest

import asgrad_jax as ag
from asgrad_jax.run import engine

N = 3
CLOCK = ag.compute_times.fixed([1, 2, 3])
PROBLEM = ag.quadratic(N, 2)
SCHEDULE = ag.simulate("pure_async", CLOCK, num_gradients=10)
FEATURES = np.arange(12.0).reshape(6, 2)
LABELS = [0, 1, 0, 1, 0, 1]


def run(**changes):
    given = {"problem": PROBLEM, "schedule": SCHEDULE, "step_size": 0.1} | changes
    return ag.run(given.pop("problem"), given.pop("schedule"), **given)


def sweep(**changes):
    given = {
        "algorithms": ["pure_async"],
        "compute_times": CLOCK,
        "step_sizes": [0.1],
        "num_gradients": 10,
    }
    return ag.sweep(PROBLEM, **(given | changes))


def from_arrays(**changes):
    return ag.Schedule.from_arrays(**({"worker": [0, 1], "read": [0, 0]} | changes))


def logistic(**changes):
    given = {"features": FEATURES, "labels": LABELS, "num_workers": N} | changes
    return ag.logistic_regression(**given)


CASES = {
    "empty schedule": (lambda: from_arrays(worker=[], read=[]), "empty"),
    "read > version": (lambda: from_arrays(read=[0, 2]), "row 1"),
    "negative worker": (lambda: from_arrays(worker=[0, -1]), "row 1"),
    "worker >= n": (lambda: from_arrays(worker=[0, 7], num_workers=3), "row 1"),
    "weight": (lambda: from_arrays(weight=[1, np.nan]), "row 1"),
    "more workers": (
        lambda: run(schedule=from_arrays(num_workers=9)),
        "9 workers, the problem 3",
    ),
    "not a schedule": (lambda: run(schedule=[0, 1]), "ag.simulate"),
    "step size": (lambda: run(step_size=np.inf), "step_size.*not finite"),
    "step sizes": (lambda: sweep(step_sizes=[0.1, np.nan]), r"step_size\[1\]"),
    "uphill": (lambda: sweep(step_sizes=[0.1, -0.2]), "-0.2 goes uphill"),
    "uphill alone": (lambda: run(step_size=-0.1), "-0.1 goes uphill"),
    "budget": (lambda: sweep(memory_budget="1GB"), "memory_budget='1GB' must be a num"),
    "no budget": (lambda: sweep(memory_budget=0), "memory_budget=0 must be more"),
    "progress": (lambda: sweep(progress="yes"), "progress='yes' must be True"),
    "no step sizes": (lambda: sweep(step_sizes=[]), "step_size is empty"),
    "words": (lambda: run(step_size="big"), "must be numbers"),
    "twice": (lambda: sweep(step_sizes=[0.1, 0.1]), "twice"),
    "record_every": (lambda: run(record_every=0), "at least 1"),
    "record_every float": (lambda: run(record_every=2.5), "must be an integer"),
    "precision": (lambda: run(precision="float16"), "float32.*float64"),
    "seed": (lambda: run(seed=-1), "at least 0"),
    "seeds": (lambda: sweep(seeds=5), r"range\(5\)"),
    "no seeds": (lambda: sweep(seeds=[]), "seeds is empty"),
    "same seed": (lambda: sweep(seeds=[1, 1]), "twice"),
    "params shape": (lambda: run(params=np.ones(5)), r"shape \(5,\).*\(2,\)"),
    "params values": (lambda: run(params=[np.nan, 0.0]), "structure|not finite"),
    "params nan": (lambda: run(params=np.array([np.nan, 0.0])), "not finite"),
    "algorithm": (lambda: sweep(algorithms=["pure_asink"]), "pure_async"),
    "no algorithm": (lambda: sweep(algorithms=[]), "algorithms is empty"),
    "labels": (
        lambda: sweep(algorithms=["pure_async", "pure_async"]),
        "same label",
    ),
    "clock size": (
        lambda: sweep(compute_times=ag.compute_times.fixed([1, 2])),
        "2 workers.*has 3",
    ),
    "zero mean": (lambda: ag.compute_times.fixed([1, 0]), "0"),
    "negative mean": (lambda: ag.compute_times.normal([1, -2]), "-2"),
    "server ready": (lambda: run(server=optax.sgd(0.1)), "lambda step_size"),
    "server arguments": (lambda: run(server=lambda lr: optax.sgd(lr)), "step_size"),
    "unused": (lambda: run(hyperparameters={"momentum": 0.9}), "need a server"),
    "lengths": (
        lambda: run(
            step_size=[1.0, 2.0],
            hyperparameters={"momentum": [0.1, 0.2, 0.3]},
            server=lambda step_size, momentum: optax.sgd(step_size, momentum),
        ),
        "different lengths",
    ),
    "metric name": (lambda: run(metrics={"loss": lambda x: 0.0}), "taken"),
    "nan features": (
        lambda: logistic(features=np.where(FEATURES == 3, np.nan, FEATURES)),
        "nan",
    ),
    "three classes": (lambda: logistic(labels=[0, 1, 2, 0, 1, 2]), "2"),
    "more workers than rows": (lambda: logistic(num_workers=7), "7"),
    "rows": (lambda: logistic(num_workers=4), "drop_last"),
    "wait": (
        lambda: sweep(
            algorithms={"w": ag.Algorithm(name="w", wait=4, restart="after_step")}
        ),
        "wait",
    ),
    "num_gradients": (lambda: sweep(num_gradients=0), "at least 1"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case):
    action, message = CASES[case]
    compiled = engine.advance._cache_size() + engine.start._cache_size()
    with pytest.raises((ValueError, TypeError), match=message):
        action()
    assert engine.advance._cache_size() + engine.start._cache_size() == compiled


def test_truncated_schedule_file(tmp_path):
    path = tmp_path / "s.npz"
    SCHEDULE.save(path)
    assert ag.Schedule.load(path) == SCHEDULE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"s\.npz"):
        ag.Schedule.load(path)


def test_user_flags_are_left_alone():
    before = jax.config.jax_enable_x64
    run(precision="float64")
    assert jax.config.jax_enable_x64 == before
