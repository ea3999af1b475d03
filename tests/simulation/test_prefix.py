"""A schedule is the beginning of every longer one, whatever the algorithm and times."""

import dataclasses

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.algorithms import Decision
from asgrad_jax.schedules.columns import COLUMNS
from asgrad_jax.schedules.gradient_table import GradientTable

algorithms, compute_times = ag.algorithms, ag.compute_times
N, LONGEST, LENGTHS = 5, 80, range(1, 61)
TABLE = [f.name for f in dataclasses.fields(GradientTable) if f.name != "num_rows"]
BY_HAND = ("worker", "job", "read", "step", "time")


class WholeSeconds:
    """A user's sampler with many ties and zeros, in vectors."""

    num_workers = N

    def sample(self, worker, rng, size):
        return np.floor(rng.exponential(worker + 1.0, size))


class StepsAtLimits:
    """A user's method that steps only where a job is given up, on what has come."""

    name = "steps_at_limits"
    limits = (0.9, 1.5, 4.0, 3.0, 9.0)

    def start(self, server):
        self.waits = 0
        return range(N)

    def arrive(self, server, job):
        step = not job.finished and self.waits > 0
        self.waits = 0 if step else self.waits + job.finished
        weight = 1.0 if job.finished else None
        return Decision(weight=weight, step=step, assign=[job.worker])


CLOCKS = {
    "fixed": compute_times.fixed(range(1, N + 1)),
    "equal": compute_times.fixed([1.0] * N),
    "exponential": compute_times.exponential(range(1, N + 1)),
    "normal": compute_times.normal(range(1, N + 1)),
    "heavy tails": compute_times.log_cauchy(range(1, N + 1)),
    "outages": compute_times.example("outages", N),
    "drift": compute_times.example("drift", N),
    "ticks": compute_times.example("tick", N),
    "whole seconds": WholeSeconds(),
}
# Besides every algorithm as it is: arguments that bring other rules into play.
ALGORITHMS = {
    **{name: algorithms.get(name) for name in algorithms.names()},
    "aced, old gradients": algorithms.aced(1),
    "ata, measured": algorithms.ata(7, alpha=0.01),
    "fedbuff of 3": algorithms.fedbuff(3, concurrency=8),
    "malenia, late ones": algorithms.malenia(12, restart=False),
    "mindflayer, 1 trial": algorithms.mindflayer(1, 2.0, 0.6),
    "mindflayer, 3 trials": algorithms.mindflayer(3, 1.5, 0.5),
    "vecna, own trials": algorithms.vecna((1, 3, 2, 1, 1), [1, 2, 3, 3, 1.0], 0.5),
    "rescaled": algorithms.rescaled(range(1, N + 1)),
    "ringmaster stops 3": algorithms.ringmaster_stops(3),
    "throttle, clipped": algorithms.throttle(2.0, 1.0),
    "a user's": StepsAtLimits(),
}


def columns(schedule):
    """All that has one entry for each row."""
    found = {key: getattr(schedule, key) for key in (*COLUMNS, "clip", "accept")}
    if schedule.table is not None:
        table = {key: getattr(schedule.table, key) for key in TABLE}
        if table["drop"] is None:  # means that nothing is dropped
            table["drop"] = np.full((len(schedule), 1), -1)
        found.update(table)
    return {key: column for key, column in found.items() if column is not None}


def assert_begins(short, long):
    # How many gradients are in a mean over a round, and so its weights, is known when
    # the round is over. The rows of a round that is not over move nothing.
    known = len(short)
    if short.name in ("malenia", "quorum", "deadline"):
        known = int(np.flatnonzero(np.append(True, short.step))[-1])
    left, right = columns(short), columns(long)
    assert left.keys() == right.keys()
    for key, column in left.items():
        rows = known if key == "weight" else len(short)
        np.testing.assert_array_equal(column[:rows], right[key][:rows], err_msg=key)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_schedule_is_the_beginning_of_a_longer_one(name):
    for clock in CLOCKS.values():
        long = ag.simulate(ALGORITHMS[name], clock, num_gradients=LONGEST, seed=4)
        for length in LENGTHS:
            short = ag.simulate(ALGORITHMS[name], clock, num_gradients=length, seed=4)
            assert_begins(short, long)


ROUNDS = ["mindflayer, 1 trial", "mindflayer, 3 trials", "vecna, own trials", "malenia"]


@pytest.mark.parametrize(
    "name", [*ROUNDS, "ringmaster", "ringmaster stops 3", "fedbuff of 3"]
)
def test_the_readable_loop_too(name):
    """The jobs in flight at the end as well: those of the compiled loop."""
    for clock in CLOCKS.values():
        options = dict(seed=4, engine="python")
        long = ag.simulate(ALGORITHMS[name], clock, num_gradients=LONGEST, **options)
        for length in (*range(1, 20), 60):
            options["num_gradients"] = length
            short = ag.simulate(ALGORITHMS[name], clock, **options)
            assert_begins(short, long)
            compiled = {**options, "engine": "compiled"}
            assert short == ag.simulate(ALGORITHMS[name], clock, **compiled)


@pytest.mark.parametrize("engine", ["python", "compiled"])
@pytest.mark.parametrize(
    ("trials", "length", "last", "in_flight"),
    [
        # Worker 1 gives up at 1.5 and with it the round ends: both start at version 1.
        (1, 1, (0, 0, 0, True, 1.5), [(0, 1), (1, 1)]),
        # Worker 0 has another trial, so its gradient at 1 is not the round's last.
        (2, 1, (0, 0, 0, False, 1.0), [(1, 0), (0, 0)]),
        # Its gradient at 2 is: worker 1 gives up its second trial at 3.
        (2, 2, (0, 1, 0, True, 3.0), [(0, 1), (1, 1)]),
        (2, 3, (0, 2, 1, False, 4.0), [(1, 1), (0, 1)]),
    ],
)
def test_the_last_gradient_of_a_round_by_hand(trials, length, last, in_flight, engine):
    """One second and two, trials of 1.5 seconds."""
    schedule = ag.simulate(
        algorithms.mindflayer(trials, 1.5, 0.5),
        compute_times.fixed([1.0, 2.0]),
        num_gradients=length,
        engine=engine,
    )
    assert tuple(getattr(schedule, key)[-1] for key in BY_HAND) == last
    pairs = zip(schedule.in_flight_worker, schedule.in_flight_read, strict=True)
    assert list(pairs) == in_flight
    assert schedule.computed[-1] == length and schedule.discarded == 0


@pytest.mark.parametrize("engine", ["python", "compiled"])
def test_a_round_that_never_ends_keeps_its_rows(engine):
    """Worker 1 has no limit and never returns: no step, and no error before row 2."""
    algorithm = algorithms.mindflayer(1, [2.0, float("inf")], 0.5)
    clock = compute_times.death(compute_times.fixed([1.0, 5.0]), 3.0, workers=[1])
    schedule = ag.simulate(algorithm, clock, num_gradients=1, engine=engine)
    assert schedule.step.tolist() == [False] and schedule.time.tolist() == [1.0]
    assert schedule.in_flight_worker.tolist() == [1]
    with pytest.raises(RuntimeError, match="never end"):
        ag.simulate(algorithm, clock, num_gradients=2, engine=engine)


@pytest.mark.parametrize("engine", ["python", "compiled"])
def test_a_round_that_gives_up_for_ever_keeps_its_rows(engine):
    """Worker 1 has a million trials, none of which succeeds."""
    algorithm = algorithms.mindflayer((1, 10**6), [2.0, 0.5], 0.5)
    clock = compute_times.fixed([1.0, 9.0])
    schedule = ag.simulate(algorithm, clock, num_gradients=1, engine=engine)
    assert schedule.step.tolist() == [False] and schedule.time.tolist() == [1.0]
    assert schedule.in_flight_worker.tolist() == [1]
    with pytest.raises(RuntimeError, match="go on for ever"):
        ag.simulate(algorithm, clock, num_gradients=2, engine=engine)
