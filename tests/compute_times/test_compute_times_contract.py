"""What every clock of the registry owes: configs, valid schedules, equal loops."""

import json

import numpy as np
import pytest

from asgrad_jax import compute_times as ct
from asgrad_jax.algorithms.protocol import Decision
from asgrad_jax.simulation.simulate import simulate

COLUMNS = ("worker", "job", "read", "weight", "step", "time", "computed")
IN_FLIGHT = ("in_flight_worker", "in_flight_read")
ALGORITHMS = ("pure_async", "shuffled_async", "random_waiting", "fedbuff", "ringmaster")


def run(*arguments, **options):
    """Returns the schedule, or the words of the error where nobody can end_time."""
    try:
        return simulate(*arguments, **options)
    except RuntimeError as error:
        return str(error)


@pytest.mark.parametrize("name", ct.names())
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_both_loops_agree(name, algorithm):
    for seed, n in ((0, 7), (1, 2), (2, 12)):
        clock = ct.example(name, n)
        one, two = (
            run(algorithm, clock, num_gradients=300, seed=seed, engine=engine)
            for engine in ("python", "compiled")
        )
        if isinstance(one, str):
            assert one == two and clock.may_hang
            continue
        for key in (*COLUMNS, *IN_FLIGHT):
            np.testing.assert_array_equal(getattr(one, key), getattr(two, key))
        one.validate()
        assert one.discarded == two.discarded


@pytest.mark.parametrize("name", ct.names())
def test_config_makes_the_same_clock(name):
    clock = ct.example(name, 6)
    # As it is kept with results, in TOML and JSON.
    copy = ct.get(**json.loads(json.dumps(clock.config())))
    assert copy.config() == clock.config() and copy.name == clock.name
    assert (copy.tail, copy.may_hang) == (clock.tail, clock.may_hang)
    np.testing.assert_array_equal(copy.mean_durations, clock.mean_durations)
    for worker in range(clock.num_workers):
        work = clock.durations(worker, 3, 0, 20)
        np.testing.assert_array_equal(copy.durations(worker, 3, 0, 20), work)
        np.testing.assert_array_equal(clock.durations(worker, 3, 7, 5), work[7:12])
        assert copy.end_time(worker, 5.25, 3.5) == clock.end_time(worker, 5.25, 3.5)
    assert not clock.mean_durations.flags.writeable
    assert isinstance(clock, ct.Sampler)


@pytest.mark.parametrize("name", ct.names())
def test_mean_and_tail_are_stated(name):
    clock = ct.example(name, 4)
    assert clock.tail and not np.isnan(clock.mean_durations).any()
    assert (clock.mean_durations > 0).all()
    if clock.may_hang or "infinite" in clock.tail:
        assert np.isinf(clock.mean_durations).any()
    elif name not in ("drift", "burst"):  # theirs is the mean after the change
        # The long run of one worker alone: pure asynchronous SGD, job after job.
        rows = 20_000
        ends = simulate("pure_async", clock, num_gradients=rows, seed=1)
        for worker in range(clock.num_workers):
            end = ends.time[ends.worker == worker]
            if len(end) < 400 or "power" in clock.tail or name == "ata_groups":
                continue
            mean = clock.mean_durations[worker]
            spread = np.diff(end).std() / np.sqrt(len(end)) + mean / len(end)
            assert abs(end[-1] / len(end) - mean) < 5 * spread


@pytest.mark.parametrize("name", ct.names())
def test_examples_have_the_workers_asked_for(name):
    for n in (1, 10, 100):
        clock = ct.example(name, n)
        assert n <= clock.num_workers < n + 10
    with pytest.raises(
        ValueError, match=r"num_workers must be an integer >= .*, got 0"
    ):
        ct.example(name, 0)


class TestJobsThatNeverEnd:
    def test_they_stay_in_flight(self):
        clock = ct.infinite_bernoulli(np.arange(1.0, 9.0), q=0.95)
        for engine in ("python", "compiled"):
            schedule = simulate(
                "pure_async", clock, num_gradients=60, seed=1, engine=engine
            )
            assert np.isfinite(schedule.time).all()
            hangs = [
                clock.durations(i, 1, int((schedule.worker == i).sum()), 1)[0] == np.inf
                for i in schedule.in_flight_worker
            ]
            assert any(hangs)
            assert len(schedule.in_flight_worker) == 8

    @pytest.mark.parametrize("engine", ["python", "compiled"])
    def test_nobody_left(self, engine):
        clock = ct.infinite_bernoulli([1.0, 2.0], q=0.5)
        with pytest.raises(RuntimeError, match=r"after \d+ of 1000 gradients all jobs"):
            simulate("pure_async", clock, num_gradients=1000, engine=engine)
        # Waiting for all: the first such job is the end, though others could go on.
        with pytest.raises(RuntimeError, match="nobody can finish any more"):
            simulate("minibatch", clock, num_gradients=1000, engine=engine)

    def test_the_last_row_before_the_end_is_still_there(self):
        clock = ct.death(ct.fixed([1.0, 1.0]), 10.5, workers=[0, 1])
        assert simulate("pure_async", clock, num_gradients=20).time[-1] == 10.0
        with pytest.raises(RuntimeError, match="after 20 of 21 gradients"):
            simulate("pure_async", clock, num_gradients=21)

    def test_a_sampler_may_say_so(self):
        class Hangs:
            num_workers = 3
            may_hang = True

            def sample(self, worker, rng, size):
                return np.where(rng.random(size) < 0.1, np.inf, worker + 1.0)

        for engine in ("python", "compiled"):
            schedule = simulate("pure_async", Hangs(), num_gradients=10, engine=engine)
            assert len(schedule) == 10
            with pytest.raises(RuntimeError, match="never end"):
                simulate("pure_async", Hangs(), num_gradients=5000, engine=engine)
        Hangs.may_hang = False
        with pytest.raises(ValueError, match="set may_hang = True"):
            simulate("pure_async", Hangs(), num_gradients=500)


class Halves:
    """A user's object whose workers lose half of their speed after ten seconds."""

    num_workers = 2

    def sample(self, worker, rng, size):
        return np.full(size, 4.0)

    def end_time(self, worker, start, work):
        fast = min(work, max(10.0 - start, 0.0))
        return start + fast + 2.0 * (work - fast)


class Twice:
    """A user's algorithm, so that the Python loop runs."""

    name = "twice"

    def start(self, server):
        return [0, 1]

    def arrive(self, server, job):
        return Decision(assign=[job.worker])


def test_a_users_speed_varies_in_time():
    expected = ct.universal(ct.fixed([4.0, 4.0]), [0.0, 10.0], [1.0, 0.5])
    want = simulate("pure_async", expected, num_gradients=50)
    for algorithm in ("pure_async", Twice()):
        found = simulate(algorithm, Halves(), num_gradients=50)
        np.testing.assert_array_equal(found.time, want.time)
        np.testing.assert_array_equal(found.worker, want.worker)
    assert want.time[:6].tolist() == [4, 4, 8, 8, 14, 14]
    with pytest.raises(ValueError, match="cannot run compiled"):
        simulate("pure_async", Halves(), num_gradients=5, engine="compiled")

    class Dies(Halves):
        def end_time(self, worker, start, work):
            return np.inf if worker == 1 and start >= 10.0 else start + work

    found = simulate("pure_async", Dies(), num_gradients=20)
    assert (found.worker[6:] == 0).all() and found.in_flight_worker.tolist() == [1, 0]

    class Backwards(Halves):
        def end_time(self, worker, start, work):
            return start - 1.0

    with pytest.raises(ValueError, match=r"must be at least the start, got -1\.0"):
        simulate("pure_async", Backwards(), num_gradients=5)
