"""Methods with tables: their coefficients by hand, their words against the engine."""

import numpy as np
import pytest

import asgrad_jax as ag
from helpers.reference import quadratic_gradient
from helpers.schedule_makers import Listed

algorithms = ag.algorithms
N, D, A, GAMMA = 4, 3, 300, 0.1
CLOCK = ag.compute_times.exponential([1.0, 2.0, 4.0, 9.0])


def test_ringleaders_table_by_hand():
    """Coefficients of RINGLEADER_NEXT: [row, count before, accumulator, last]."""
    schedule = ag.simulate(
        algorithms.ringleader(), ag.compute_times.fixed([1, 2.5, 1.5]), num_gradients=12
    )
    rows = [
        (0, 0, 0, False),  # w0's first of round 0
        (2, 0, 0, False),
        (0, 1, 0, False),  # w0's second
        (1, 0, 0, False),  # complete
        (2, 1, 0, False),
        (0, 2, 0, True),  # w0's third; the third step ends the round
        (3, 0, 0, False),  # round 1 has rows 3..5
        (5, 0, 0, False),
        (4, 0, 0, False),
        (3, 1, 0, False),
        (5, 1, 0, True),
        (0, 0, 0, False),  # round 2: rows 0..2 again, from nothing
    ]
    check_table(schedule, rows)


def test_ringleaders_next_round_by_hand():
    """w0 is fast: it comes again while w1 still owes its step."""
    times = Listed([1, 1, 1, 1, 1, 1, 1], [1.5, 4, 9], [2, 9, 9])
    schedule = ag.simulate(algorithms.ringleader(), times, num_gradients=9)
    assert schedule.worker.tolist() == [0, 1, 2, 0, 0, 0, 0, 1, 0]
    assert schedule.read.tolist() == [0, 0, 0, 0, 2, 2, 2, 0, 2]
    rows = [
        (0, 0, 0, False),  # time 1: w0
        (1, 0, 0, False),  # time 1.5: w1, d1 ->5.5
        (2, 0, 0, False),  # time 2: complete (tie, assigned first); S = {w0, w1}
        (0, 1, 0, False),  # time 2: w0 in S
        (3, 0, 1, False),  # time 3: w0 again: the next round's D_1
        (3, 1, 1, False),  # time 4: and again
        (3, 2, 1, False),  # time 5: and again
        (1, 1, 0, True),  # time 5.5: w1 in S: three steps, round 1 begins with w0
        (3, 3, 0, False),  # time 6: w0, its fourth of round 1, now D_0
    ]
    check_table(schedule, rows)


def check_table(schedule, rows):
    n, table = schedule.num_workers, schedule.table
    assert table.num_rows == 2 * n
    for a, (row, count, accumulator, last) in enumerate(rows):
        assert table.row[a] == row, a
        gain, carry = np.zeros(2), np.zeros(2)
        gain[accumulator] = 1 / (n * (count + 1))
        if count:
            carry[accumulator] = (1 / (count + 1) - 1 / count) / n
        np.testing.assert_allclose(table.gain[a], gain, rtol=1e-15)
        np.testing.assert_allclose(table.carry[a], carry, rtol=1e-15)
        assert table.keep[a] == (count > 0), a
        mix = [[0, 1], [0, 0]] if last else [[1, 0], [0, 1]]
        assert table.mix[a].tolist() == mix, a
        assert table.readout[a].tolist() == [1, 0]


@pytest.fixture(scope="module")
def problem():
    return ag.quadratic(N, D, heterogeneity=2.0, seed=3)


def run(problem, schedule):
    return ag.run(problem, schedule, step_size=GAMMA, precision="float64").params


@pytest.mark.parametrize("name", ["ia2sgd", "dude_asgd", "ace"])
def test_ia2sgd_in_its_own_words(problem, name):
    """Workers restart at once, so the order of arrival is that of pure."""
    gradient = quadratic_gradient(problem)
    x = problem.init_params()
    start_at = [x] * N  # the iterate that each worker is computing at
    last = [None] * N
    for i in ag.simulate("pure_async", CLOCK, num_gradients=A).worker:
        warm = all(g is not None for g in last)  # before this arrival
        last[i] = gradient(start_at[i], i, 0)
        if warm:
            x = x - GAMMA * np.mean(last, axis=0)
        start_at[i] = x
    schedule = ag.simulate(name, CLOCK, num_gradients=A)
    assert schedule.name == name
    np.testing.assert_allclose(run(problem, schedule), x, rtol=1e-11)


@pytest.mark.parametrize("seed", range(3))
def test_ringleader_in_its_own_words(problem, seed):
    gradient = quadratic_gradient(problem)
    x = problem.init_params()
    start_at = [x] * N
    current, following = [[] for _ in range(N)], [[] for _ in range(N)]
    waiting = None  # None: phase 1; otherwise the set S
    steps = 0
    for i in ag.simulate("pure_async", CLOCK, num_gradients=A, seed=seed).worker:
        g = gradient(start_at[i], i, 0)
        mine = waiting is None or i in waiting
        (current if mine else following)[i].append(g)
        if waiting is None and all(current):
            waiting = set(range(N))
        if waiting is not None and mine:
            x = x - GAMMA * np.mean([np.mean(g, axis=0) for g in current], axis=0)
            steps += 1
            waiting.remove(i)
            if not waiting:
                waiting = None
                current, following = following, [[] for _ in range(N)]
        start_at[i] = x
    schedule = ag.simulate("ringleader", CLOCK, num_gradients=A, seed=seed)
    assert schedule.num_steps == steps > 5 * N
    np.testing.assert_allclose(run(problem, schedule), x, rtol=1e-11)


@pytest.mark.parametrize("gradients_per_step", [1, 3, 7])
def test_ca2fl_in_its_own_words(problem, gradients_per_step):
    gradient = quadratic_gradient(problem)
    fedbuff = algorithms.fedbuff(gradients_per_step, concurrency=6)
    schedule = ag.simulate(fedbuff, CLOCK, num_gradients=A)
    history = [problem.init_params()]
    cache, mean = np.zeros((N, D)), np.zeros(D)
    buffer = []
    repeated = False
    for i, read in zip(schedule.worker, schedule.read, strict=True):
        g = gradient(history[read], i, 0)
        repeated |= any(i == j for j, _ in buffer)
        buffer.append((i, g - cache[i]))
        cache[i] = g
        if len(buffer) == gradients_per_step:
            fresh = np.mean([change for _, change in buffer], axis=0)
            history.append(history[-1] - GAMMA * (mean + fresh))
            mean = cache.mean(axis=0)
            buffer = []
    assert repeated == (gradients_per_step > 1)  # the same worker twice in one buffer
    schedule = ag.simulate(
        algorithms.ca2fl(gradients_per_step, 6), CLOCK, num_gradients=A
    )
    np.testing.assert_allclose(run(problem, schedule), history[-1], rtol=1e-11)


def test_malenia_in_its_own_words(problem):
    """Rounds at one iterate; the step is the mean over workers of their means."""
    gradient = quadratic_gradient(problem)
    schedule = ag.simulate(algorithms.malenia(9), CLOCK, num_gradients=A)
    x = problem.init_params()
    ends = np.flatnonzero(schedule.step) + 1
    for first, end in zip([0, *ends], ends, strict=False):
        rows = schedule.worker[first:end]
        assert (schedule.read[first:end] == schedule.read[first]).all()
        means = [
            np.mean([gradient(x, i, 0) for i in rows if i == j], axis=0)
            for j in range(N)
        ]
        x = x - GAMMA * np.mean(means, axis=0)
    np.testing.assert_allclose(run(problem, schedule), x, rtol=1e-11)
