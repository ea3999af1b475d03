"""Metrics that are computed at some of the records alone."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgrad_jax as ag
from asgrad_jax.engine import cost, program
from asgrad_jax.experiments import execute
from asgrad_jax.experiments.until import at_common_times
from asgrad_jax.results.results import sweep_config
from asgrad_jax.results.time_to import time_to_accuracy

EVERY = {"size": 4, "held_out": 3}


def held_out(params, data):
    return jnp.sum(params * data)


def measured():
    problem = ag.quadratic(num_workers=4, num_features=3, seed=0, noise=0.3)
    data = np.arange(3.0)
    return ag.problems.with_metrics(problem, {"held_out": held_out}, data)


def schedule():
    times = ag.compute_times.exponential([1.0, 2.0, 3.0, 4.0])
    return ag.simulate("pure_async", times, num_gradients=100, seed=1)


def size(x):
    return 1 + jnp.linalg.norm(x)


def test_they_are_the_others_at_every_kth_record_and_the_last():
    arguments = dict(step_size=[0.05, 0.1], record_every=9, metrics={"size": size})
    whole = ag.run(measured(), schedule(), **arguments)
    some = ag.run(measured(), schedule(), **arguments, metrics_every=EVERY)
    assert some.records["size"].tolist() == [0, 4, 8, 12]
    assert some.records["held_out"].tolist() == [0, 3, 6, 9, 12]
    assert some.metrics["size"].shape == (4, 2)
    for name, values in whole.metrics.items():
        at = some.records.get(name, slice(None))
        np.testing.assert_allclose(some.metrics[name], values[at], rtol=1e-6)
    assert whole.records == {}
    assert "size" in some._repr_html_()


def test_nothing_is_computed_in_between():
    calls = []

    def counted(x):
        jax.debug.callback(lambda _: calls.append(1), x[0])
        return x[0]

    arguments = dict(
        step_size=0.1, metrics={"counted": counted}, metrics_every={"counted": 10}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ag.run(measured(), schedule(), **arguments, record_every=2)
        jax.effects_barrier()
    assert len(calls) == 6  # of 51 records


def test_a_state_and_several_lanes_and_integers():
    def steps(x, state):
        return state[0].count

    result = ag.run(
        measured(),
        schedule(),
        step_size=[0.1, 0.2, 0.3],
        server=lambda step_size: optax.adam(step_size),
        metrics={"steps": steps},
        metrics_every={"steps": 2},
        record_every=25,
    )
    assert result.metrics["steps"][:, 0].tolist() == [0, 50, 100]
    assert result.metrics["steps"].dtype == np.float32


@pytest.fixture(scope="module")
def grid():
    return ag.Grid(
        measured(),
        algorithms=["pure_async", "minibatch"],
        compute_times=ag.compute_times.exponential([1.0, 2.0, 3.0, 4.0]),
        step_sizes=[0.05, 0.1],
        seeds=range(2),
        num_gradients=100,
        record_every=10,
        metrics={"size": size},
        metrics_every=EVERY,
    )


@pytest.fixture(scope="module")
def result(grid):
    return ag.sweep(grid)


def test_a_sweep_has_them_at_their_records_and_nan_between(grid, result, tmp_path):
    whole = ag.sweep(dataclasses.replace(grid, metrics_every=None))
    for name, k in EVERY.items():
        due = (np.arange(11) % k == 0) | (np.arange(11) == 10)
        assert result[name].attrs["every"] == k
        assert np.isnan(result[name].values[..., ~due]).all()
        np.testing.assert_allclose(
            result[name].values[..., due], whole[name].values[..., due], rtol=1e-6
        )
    np.testing.assert_array_equal(result["loss"].values, whole["loss"].values)
    assert (result["status"] == 0).all()
    assert sweep_config(result)["metrics_every"] == EVERY
    assert "metrics_every" not in sweep_config(whole)
    ag.save(result, tmp_path / "r.nc")
    assert ag.load(tmp_path / "r.nc").identical(result)
    resumed = ag.sweep(grid, directory=tmp_path / "folder")
    again = ag.sweep(grid, directory=tmp_path / "folder")
    for other in (resumed, again):
        np.testing.assert_array_equal(other["size"].values, result["size"].values)


def test_many_segments_and_a_stop_change_nothing(grid, tmp_path, monkeypatch):
    grid = dataclasses.replace(
        grid, num_gradients=400, algorithms="pure_async", seeds=[0]
    )
    result = ag.sweep(grid)
    limits = cost.LIMITS._replace(segment_seconds=1e-9, segments=8)
    monkeypatch.setattr(cost, "LIMITS", limits)
    monkeypatch.setattr(execute, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(execute, "_CHECKPOINT_SHARE", 1.0)
    calls = []

    def stop_once(done, total):
        calls.append(done)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ag.sweep(grid, directory=tmp_path, progress=stop_once)
    resumed = ag.sweep(grid, directory=tmp_path, progress=stop_once)
    assert len(calls) > 4  # of the four segments one is reported again
    for name in ("size", "held_out", "loss"):
        np.testing.assert_allclose(resumed[name], result[name], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:the best hyper-parameters lie on the edge")
def test_tables_goals_and_figures_use_the_records_that_there_are(result):
    assert np.isfinite(ag.best(result, "size")["value"].values).all()
    one = result.isel(algorithm=0, compute_times=0, seed=0, step_size=0)
    last = float(one["size"][-1])
    for sustained in (False, True):
        seconds = time_to_accuracy(
            result, metric="size", goal=last * 1.001, sustained=sustained
        )
        assert np.isfinite(seconds.values[0, 0, 0, 0])
    figure = ag.plot.convergence(result, metric="size")
    lines = [line.get_ydata() for line in figure.axes[0].lines]
    assert sum(len(y) == 4 and np.isfinite(y).all() for y in lines) == 2
    at_times = at_common_times(result.isel(algorithm=[0]), float(one["time"][-1]))
    assert np.isfinite(at_times["size"].values).all()


def test_a_runner_has_no_other_entries_and_is_differentiated():
    runner = ag.runner(
        measured(),
        schedule(),
        record_every=9,
        metrics={"size": size},
        metrics_every=EVERY,
    )
    trajectory = ag.run(
        measured(),
        schedule(),
        step_size=0.1,
        record_every=9,
        metrics={"size": size},
        metrics_every=EVERY,
    )
    found = runner(0.1)
    assert {k: v.tolist() for k, v in runner.records.items()} == {
        k: v.tolist() for k, v in trajectory.records.items()
    }
    for name, values in trajectory.metrics.items():
        np.testing.assert_allclose(found.metrics[name], values, rtol=1e-5)

    def total(step_size):
        return jnp.sum(runner(step_size).metrics["held_out"])

    slope = float(jax.grad(total)(0.1))
    differences = (float(total(0.101)) - float(total(0.099))) / 0.002
    assert slope == pytest.approx(differences, rel=0.02)


@pytest.mark.parametrize(
    ("every", "match"),
    [
        ({"loss": 2}, "besides loss and grad_norm"),
        ({"sise": 2}, "here \\['held_out', 'size'\\]"),
        ({"size": 0}, "metrics_every"),
        ({"size": 2.5}, "metrics_every"),
        (3, "must map"),
    ],
)
def test_what_is_no_stride_is_refused(every, match):
    with pytest.raises((ValueError, TypeError), match=match):
        ag.run(
            measured(),
            schedule(),
            step_size=0.1,
            metrics={"size": size},
            metrics_every=every,
        )


def test_without_strides_the_program_is_the_same():
    arguments = dict(step_size=0.1, metrics={"size": size}, record_every=9)
    ag.run(measured(), schedule(), **arguments)
    before = program.advance._cache_size()
    ag.run(measured(), schedule(), **arguments, metrics_every={"size": 1})
    assert program.advance._cache_size() == before
