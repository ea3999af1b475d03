"""Iterates held in bfloat16: what is read is rounded, and nothing else."""

import jax
import ml_dtypes
import numpy as np
import pytest

import asgrad_jax as ag
from helpers.reference import naive_trajectory, quadratic_gradient

PROBLEM = ag.quadratic(4, 6, mu=0.3, seed=0)
TIMES = ag.compute_times.fixed([1.0, 1.3, 2.9, 5.1])
GAMMA, A = 0.1, 60


def rounded(x):
    return np.asarray(x, np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)


def finals(schedule, **options):
    options |= {"step_size": GAMMA, "record_every": A, "precision": "float64"}
    return ag.run(PROBLEM, schedule, **options).params


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("name", ["pure_async", "pure_waiting", "ringleader"])
def test_gradients_are_taken_at_rounded_iterates(name, width):
    schedule = ag.simulate(name, TIMES, num_gradients=A)
    gradient = quadratic_gradient(PROBLEM)
    at_rounded = naive_trajectory(
        schedule,
        lambda x, *others: gradient(rounded(x), *others),
        GAMMA,
        PROBLEM.init_params(),
    )[-1]
    found = finals(schedule, buffer="bfloat16", width=width)
    np.testing.assert_allclose(found, at_rounded, rtol=1e-10)
    # One read moves a gradient by L ||x|| / 2^8 at most, and mu > 0 forgets it: the
    # bound that docs/scale.md states.
    plain = finals(schedule, width=width)
    largest = np.linalg.norm(PROBLEM.optimum()) * 2
    moved = np.linalg.norm(found - plain)
    assert 0 < moved <= 2**-8 * largest * (1.0 / 0.3)


def test_it_takes_half_of_the_room_and_is_another_run():
    options = dict(compute_times=TIMES, step_sizes=[GAMMA], num_gradients=A)
    plain, small = (
        ag.Grid(PROBLEM, algorithms="pure_async", buffer=buffer, **options)
        for buffer in (None, "bfloat16")
    )

    def held(grid):
        return grid.dry_run().programs[0].memory.buffer

    assert held(small) == held(plain) / 2
    assert small.config != plain.config and "buffer" not in plain.config
    assert small.config["buffer"] == "bfloat16"
    result = ag.sweep(PROBLEM, algorithms="pure_async", buffer="bfloat16", **options)
    assert result["status"].item() == 0


def test_a_run_that_leaves_the_range_says_so():
    schedule = ag.simulate("pure_async", TIMES, num_gradients=2000)
    lost = ag.run(PROBLEM, schedule, step_size=50.0, buffer="bfloat16")
    assert lost.status == "nonfinite" and lost.first_bad_record > 0


def test_runners_hold_it_too_and_others_are_refused():
    schedule = ag.simulate("pure_async", TIMES, num_gradients=A)
    run = ag.runner(PROBLEM, schedule, record_every=A, buffer="bfloat16")
    same = ag.run(PROBLEM, schedule, record_every=A, step_size=GAMMA, buffer="bfloat16")
    np.testing.assert_allclose(run(GAMMA).params, same.params, rtol=1e-6)
    slope = jax.jit(jax.grad(lambda g: run(g).metrics["loss"][-1]))(GAMMA)
    assert np.isfinite(slope) and slope != 0
    with pytest.raises(ValueError, match="buffer must be 'bfloat16' or None"):
        ag.run(PROBLEM, schedule, step_size=GAMMA, buffer="float16")
