"""ACED: by hand, against its own words, and as a special case."""

import numpy as np
import pytest

import asgrad_jax as ag

N, D = 4, 3
CLOCK = ag.compute_times.exponential([1.0, 1.5, 4.0, 12.0])


def test_by_hand():
    """Workers 0 and 1 last 1 and 3 (ties: the job assigned first); max_age 1."""
    schedule = ag.simulate(
        ag.algorithms.aced(max_age=np.int64(1)),
        ag.compute_times.fixed([1, 3]),
        num_gradients=8,
    )
    table = schedule.table
    # worker read age in out count
    rows = [
        (0, 0, 0, 1, 0, 1),  # warm-up
        (0, 0, 0, 1, -1, 1),  # warm-up, replaces itself
        (1, 0, 0, 1, 0, 2),  # everybody is in; no step yet
        (0, 0, 0, 1, -1, 2),  # time 3, assigned later than worker 1's: the first step
        (0, 1, 0, 1, -1, 2),  # worker 1's is 1 step old
        (0, 2, 0, 1, -1, 1),  # it is 2 steps old: no longer read out
        (1, 0, 3, 0, 0, 1),  # time 6, three steps late: never in
        (0, 3, 1, 1, -1, 1),
    ]
    found = [
        (
            schedule.worker[a],
            schedule.read[a],
            schedule.delay[a],
            table.gain[a].sum(),
            table.carry[a].sum(),
            round(1 / table.readout[a, 0]),
        )
        for a in range(8)
    ]
    assert found == rows
    # What was taken at x_0 is in D_1, which counts until x_0 is too old.
    assert table.gain[:, 1].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert table.carry[:, 1].tolist() == [0, -1, 0, -1, -1, 0, 0, 0]
    assert (table.readout[:5, 1] == table.readout[:5, 0]).all()
    assert (table.readout[5:, 1] == 0).all()
    assert table.drop is None
    assert schedule.step.tolist() == [False] * 3 + [True] * 5


@pytest.mark.parametrize("max_age", [1, 3, 8])
@pytest.mark.parametrize("width", [1, 4])
def test_its_own_words(max_age, width):
    problem = ag.quadratic(N, D, heterogeneity=2.0, seed=3)
    schedule = ag.simulate(
        ag.algorithms.aced(max_age=max_age), CLOCK, num_gradients=60, seed=1
    )
    x = problem.init_params()
    history, last = [x], {}
    for a in range(60):
        i, read = schedule.worker[a], schedule.read[a]
        gradient = problem.hessian[i] @ history[read] - problem.linear[i]
        last[i] = (read, gradient)
        if schedule.step[a]:
            now = len(history) - 1
            young = [g for start, g in last.values() if now - start <= max_age]
            move = np.mean(young, axis=0) if young else np.zeros(D)
            history.append(history[-1] - 0.1 * move)
    got = ag.run(problem, schedule, step_size=0.1, precision="float64", width=width)
    np.testing.assert_allclose(got.params, history[-1], rtol=1e-11)
    assert (schedule.table.drop is not None) or max_age == 8


@pytest.mark.parametrize("max_age", [10**6, None])
def test_a_large_age_is_ace(max_age):
    options = dict(num_gradients=200, seed=2)
    aced = ag.simulate(ag.algorithms.aced(max_age), CLOCK, **options)
    ace = ag.simulate("ace", CLOCK, **options)
    np.testing.assert_array_equal(aced.read, ace.read)
    problem = ag.quadratic(N, D, seed=3)
    one, other = (
        ag.run(problem, s, step_size=0.1, precision="float64").params
        for s in (aced, ace)
    )
    np.testing.assert_allclose(one, other, rtol=1e-11)


@pytest.mark.parametrize("seed", range(3))
def test_the_default_goes_to_the_stationary_point_of_f(seed):
    """A limit of n steps leaves slow workers out and ends as far off as pure does."""
    speeds = np.arange(1.0, 9.0) ** 2
    end = ag.sweep(
        ag.quadratic(8, 5, heterogeneity=1.0, seed=seed),
        algorithms={
            "default": "aced",
            "limit": ag.algorithms.aced(8),
            "pure": "pure_async",
        },
        compute_times={
            "fixed": ag.compute_times.fixed(speeds),
            "exponential": ag.compute_times.exponential(speeds),
        },
        step_sizes=[0.01, 0.02],
        num_gradients=6_000,
        record_every=6_000,
        precision="float64",
    )["grad_norm"].isel(record=-1)
    assert end.sel(algorithm="default").max() < 1e-4
    assert end.sel(algorithm="limit").min() > 0.1 < end.sel(algorithm="pure").min()


@pytest.mark.parametrize("max_age", [0, -1, 2.5, True])
def test_bad_age(max_age):
    with pytest.raises((TypeError, ValueError), match="aced: max_age"):
        ag.algorithms.aced(max_age=max_age)


def test_saved_schedules_keep_their_drops(tmp_path):
    schedule = ag.simulate(ag.algorithms.aced(max_age=1), CLOCK, num_gradients=60)
    assert schedule.table.drop is not None
    schedule.save(tmp_path / "s.npz")
    assert ag.Schedule.load(tmp_path / "s.npz") == schedule
