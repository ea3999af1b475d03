"""The event rules: schedules by hand, both loops against each other, invariants."""

import dataclasses
import hashlib
import importlib.util
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.caching import FunctionCache

from asgrad_jax import algorithms, compute_times
from asgrad_jax._util import jit
from asgrad_jax.algorithms.algorithm import Algorithm
from asgrad_jax.algorithms.protocol import Decision
from asgrad_jax.simulation import compiled, compiled_rounds
from asgrad_jax.simulation.durations import DurationBlocks
from asgrad_jax.simulation.reference import worker_order
from asgrad_jax.simulation.routing import alias_table
from asgrad_jax.simulation.simulate import simulate, simulate_many

SETTINGS = settings(derandomize=True, deadline=None, max_examples=80)
COLUMNS = ("worker", "job", "read", "weight", "step", "time", "computed")
IN_FLIGHT = ("in_flight_worker", "in_flight_read")
FACTS = ("num_workers", "concurrency_max", "discarded", "name")


def assert_same(one, two, facts=FACTS):
    for key in (*COLUMNS, *IN_FLIGHT):
        a, b = getattr(one, key), getattr(two, key)
        assert a.dtype == b.dtype, key
        np.testing.assert_array_equal(a, b, err_msg=key)
    for key in facts:
        assert getattr(one, key) == getattr(two, key), key


# The 16 algorithms of DESIGN.md's table; those with more to them: test_contract.py.
DESIGN = [
    name
    for name in algorithms.names()[:16]
    if isinstance(algorithms.get(name), algorithms.Algorithm)
]


class WholeSeconds:
    """A user's sampler with many ties and zeros, in vectors."""

    def __init__(self, num_workers):
        self.num_workers = num_workers

    def sample(self, worker, rng, size):
        return np.floor(rng.exponential(worker + 1.0, size))


def families(n):
    mean = np.arange(1, n + 1)
    # The others of compute_times.names() are in test_compute_times_contract.py.
    built_in = [compute_times.get(name, mean) for name in compute_times.names()[:8]]
    lists = [[1.0, 2.0, 2.5 + i] for i in range(n)]
    return [*built_in, compute_times.empirical(lists), WholeSeconds(n)]


def seed_with_picks(order, num_workers, picks):
    """Returns a seed whose order starts with these picks."""
    for seed in range(100_000):
        if all(
            a == b
            for a, b in zip(picks, worker_order(order, num_workers, seed), strict=False)
        ):
            return seed
    raise AssertionError(f"no seed gives {picks}")


# Schedules by hand. "#3 w1 r2 ->6" is job number 3, given to worker 1 at version 2,
# which ends at time 6; "queue" means that it waits behind another job of its worker.
# Rows: worker, job, read, step, time, computed.

# Start: #0 w0 r0 ->2, #1 w1 r0 ->3.
PURE = [
    (0, 0, 0, 1, 2.0, 1),  # #0; version 1; #2 w0 r1 ->4
    (1, 0, 0, 1, 3.0, 2),  # #1, delay 1; version 2; #3 w1 r2 ->6
    (0, 1, 1, 1, 4.0, 3),  # #2, delay 1; version 3; #4 w0 r3 ->6
    (1, 1, 2, 1, 6.0, 4),  # tie of #3 and #4: #3 first; version 4; #5 w1 r4 ->9
    (0, 2, 3, 1, 6.0, 5),  # #4, delay 1; version 5; #6 w0 r5 ->8
    (0, 3, 5, 1, 8.0, 6),  # #6, delay 0; version 6; #7 w0 r6 ->10
    (1, 2, 4, 1, 9.0, 7),  # #5, delay 2; version 7; #8 w1 r7 ->12
    (0, 4, 6, 1, 10.0, 8),  # #7; version 8; #9 w0 r8 ->12
    (1, 3, 7, 1, 12.0, 9),  # tie of #8 and #9: #8 first; version 9; #10 w1 r9
    (0, 5, 8, 1, 12.0, 10),  # #9; version 10; #11 w0 r10
]

# Start: #0 w0 r0 ->1, #1 w1 r0 ->3. Picks from then on: 1, 1, 0, 1, 0, 0, 0, 1.
RANDOM = [
    (0, 0, 0, 1, 1.0, 1),  # #0; version 1; pick 1: #2 w1 r1 queue; w0 idles
    (1, 0, 0, 1, 3.0, 2),  # #1; version 2; #2 starts ->6; pick 1: #3 w1 r2 queue
    (1, 1, 1, 1, 6.0, 3),  # #2, delay 1; #3 starts ->9; pick 0: #4 w0 r3 ->7
    (0, 1, 3, 1, 7.0, 4),  # #4, delay 0; version 4; pick 1: #5 w1 r4 queue
    (1, 2, 2, 1, 9.0, 5),  # #3, delay 2; #5 starts ->12; pick 0: #6 w0 r5 ->10
    (0, 2, 5, 1, 10.0, 6),  # #6; version 6; pick 0: #7 w0 r6 ->11
    (0, 3, 6, 1, 11.0, 7),  # #7; version 7; pick 0: #8 w0 r7 ->12
    (1, 3, 4, 1, 12.0, 8),  # tie of #5 and #8: #5 first; pick 1: #9 w1 r8 ->15
]

# b = 2. Start: #0 w0 r0 ->1, #1 w1 r0 ->2, #2 w2 r0 ->4.
WAITING = [
    (0, 0, 0, 0, 1.0, 1),  # #0; w0 idles
    (1, 0, 0, 1, 2.0, 2),  # #1; step to 1; #3 w0 r1 ->3, #4 w1 r1 ->4
    (0, 1, 1, 0, 3.0, 3),  # #3; w0 idles
    (2, 0, 0, 1, 4.0, 4),  # tie of #2 and #4: #2; step to 2; #5 w0 r2 ->5, #6 w2 ->8
    (1, 1, 1, 0, 4.0, 5),  # #4, delay 1; w1 idles
    (0, 2, 2, 1, 5.0, 6),  # #5; step to 3; by arrival: #7 w1 r3 ->7, #8 w0 r3 ->6
    (0, 3, 3, 0, 6.0, 7),  # #8; w0 idles
    (1, 2, 3, 1, 7.0, 8),  # #7; step to 4; #9 w0 r4 ->8, #10 w1 r4 ->9
    (2, 1, 2, 0, 8.0, 9),  # tie of #6 and #9: #6, delay 2; w2 idles
    (0, 4, 4, 1, 8.0, 10),  # #9; step to 5; #11 w2 r5, #12 w0 r5
]

# R = 2. Start: #0 w0 r0 ->1, #1 w1 r0 ->4.
RINGMASTER = [
    (0, 0, 0, 1, 1.0, 1),  # #0; version 1; #2 w0 r1 ->2
    (0, 1, 1, 1, 2.0, 2),  # #2; version 2; #3 w0 r2 ->3
    (0, 2, 2, 1, 3.0, 3),  # #3; version 3; #4 w0 r3 ->4
    # time 4: tie of #1 and #4: #1 has delay 3, discarded; #5 w1 r3 ->8
    (0, 3, 3, 1, 4.0, 5),  # #4; version 4; #6 w0 r4 ->5
    (0, 4, 4, 1, 5.0, 6),  # #6; version 5
    (0, 5, 5, 1, 6.0, 7),  # version 6
    (0, 6, 6, 1, 7.0, 8),  # version 7; #9 w0 r7 ->8
    # time 8: #5 has delay 4, discarded; #10 w1 r7 ->12
    (0, 7, 7, 1, 8.0, 10),  # #9; version 8; #11 w0 r8
]

# B = 3. Start: #0 w0 r0 ->1, #1 w1 r0 ->1.5.
RENNALA = [
    (0, 0, 0, 0, 1.0, 1),  # #0; #2 w0 r0 ->2
    (1, 0, 0, 0, 1.5, 2),  # #1; #3 w1 r0 ->3
    (0, 1, 0, 1, 2.0, 3),  # #2; step to 1; #4 w0 r1 ->3
    # time 3: tie of #3 and #4: #3 is stale, discarded; #5 w1 r1 ->4.5
    (0, 2, 1, 0, 3.0, 5),  # #4; #6 w0 r1 ->4
    (0, 3, 1, 0, 4.0, 6),  # #6; #7 w0 r1 ->5
    (1, 2, 1, 1, 4.5, 7),  # #5; step to 2; #8 w1 r2 ->6
    # time 5: #7 is stale, discarded; #9 w0 r2 ->6
    (1, 3, 2, 0, 6.0, 9),  # tie of #8 and #9: #8; #10 w1 r2 ->7.5
    (0, 5, 2, 0, 6.0, 10),  # #9; #11 w0 r2 ->7
    (0, 6, 2, 1, 7.0, 11),  # #11; step to 3; #12 w0 r3 ->8
    # time 7.5: #10 is stale, discarded; #13 w1 r3 ->9
    (0, 7, 3, 0, 8.0, 13),  # #12; #14 w0 r3 ->9; the last buffer stays incomplete
]

# b = 2, c = 3. Picks: 0, 0, 1 to start: #0 w0 r0 ->1, #1 w0 r0 queue, #2 w1 r0 ->2;
# from then on 1, 0, 1, 0, 0, 1, 0, 1.
FEDBUFF = [
    (0, 0, 0, 0, 1.0, 1),  # #0; #1 starts ->2; pick 1: #3 w1 r0 queue
    (0, 1, 0, 1, 2.0, 2),  # tie of #1 and #2: #1; step to 1; pick 0: #4 w0 r1 ->3
    (1, 0, 0, 0, 2.0, 3),  # #2, delay 1; #3 starts ->4; pick 1: #5 w1 r1 queue
    (0, 2, 1, 1, 3.0, 4),  # #4; step to 2; pick 0: #6 w0 r2 ->4
    (1, 1, 0, 0, 4.0, 5),  # tie: #3, delay 2; #5 starts ->6; pick 0: #7 w0 r2 queue
    (0, 3, 2, 1, 4.0, 6),  # #6; step to 3; #7 starts ->5; pick 1: #8 w1 r3 queue
    (0, 4, 2, 0, 5.0, 7),  # #7, delay 1; pick 0: #9 w0 r3 ->6
    (1, 2, 1, 1, 6.0, 8),  # tie: #5, delay 2; step to 4; #8 starts; pick 1: #10 w1 r4
]

# name: algorithm, fixed times, (order, picks) or None, rows, in flight at the end as
# (worker, read) in the order of assignment, discarded, largest concurrency, weight.
BY_HAND = {
    "pure": (
        algorithms.pure_async(),
        [2, 3],
        None,
        PURE,
        [(1, 9), (0, 10)],
        (0, 2, 1.0),
    ),
    "random with a queue": (
        algorithms.random_async(),
        [1, 3],
        [1, 1, 0, 1, 0, 0, 0, 1],
        RANDOM,
        [(0, 7), (1, 8)],
        (0, 2, 1.0),
    ),
    "pure, waiting": (
        algorithms.pure_waiting(2),
        [1, 2, 4],
        None,
        WAITING,
        [(1, 4), (2, 5), (0, 5)],
        (0, 3, 0.5),
    ),
    "ringmaster": (
        algorithms.ringmaster(2),
        [1, 4],
        None,
        RINGMASTER,
        [(1, 7), (0, 8)],
        (2, 2, 1.0),
    ),
    "rennala": (
        algorithms.rennala(3),
        [1, 1.5],
        None,
        RENNALA,
        [(1, 3), (0, 3)],
        (3, 2, 1 / 3),
    ),
    "fedbuff": (
        algorithms.fedbuff(2, concurrency=3),
        [1, 2],
        [0, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1],
        FEDBUFF,
        [(1, 3), (0, 3), (1, 4)],
        (0, 3, 0.5),
    ),
}


@pytest.mark.parametrize("engine", ["python", "compiled"])
@pytest.mark.parametrize("name", BY_HAND)
def test_schedules_by_hand(name, engine):
    algorithm, mean, picks, rows, in_flight, facts = BY_HAND[name]
    seed = 0 if picks is None else seed_with_picks(algorithm.order, len(mean), picks)
    schedule = simulate(
        algorithm,
        compute_times.fixed(mean),
        num_gradients=len(rows),
        seed=seed,
        engine=engine,
    )
    keys = ("worker", "job", "read", "step", "time", "computed")
    for key, column in zip(keys, zip(*rows, strict=True), strict=True):
        assert getattr(schedule, key).tolist() == list(column), key
    pairs = zip(schedule.in_flight_worker, schedule.in_flight_read, strict=True)
    assert list(pairs) == in_flight
    discarded, concurrency, weight = facts
    assert schedule.discarded == discarded
    assert schedule.concurrency_max == concurrency
    assert schedule.weight.tolist() == [weight] * len(rows)


@pytest.mark.parametrize("engine", ["python", "compiled"])
def test_a_delay_of_max_delay_is_discarded_and_one_less_is_not(engine):
    # Worker 1 ends at 2.5, two steps after it started: delay 2.
    times = compute_times.fixed([1.0, 2.5])
    kept = simulate("pure_async", times, num_gradients=3, engine=engine)
    assert kept.worker.tolist() == [0, 0, 1] and kept.delay.tolist() == [0, 0, 2]
    three = simulate(algorithms.ringmaster(3), times, num_gradients=3, engine=engine)
    assert_same(three, kept, facts=("discarded",))
    two = simulate(algorithms.ringmaster(2), times, num_gradients=3, engine=engine)
    assert two.worker.tolist() == [0, 0, 0] and two.discarded == 1


@pytest.mark.parametrize("engine", ["python", "compiled"])
def test_a_discarded_job_is_replaced_at_once_under_after_step(engine):
    # No registered algorithm discards and waits. b = 2, R = 1, fixed 1, 1, 3.
    algorithm = Algorithm(
        name="a", gradients_per_step=2, restart="after_step", max_delay=1
    )
    times = compute_times.fixed([1.0, 1.0, 3.0])
    schedule = simulate(algorithm, times, num_gradients=6, engine=engine)
    # 1: w0, w1 (step 1); 2: w0, w1 (step 2); 3: w2 is stale and starts anew at
    # version 2, then w0, w1 (step 3) -- #2 of w2 was assigned before theirs.
    assert schedule.worker.tolist() == [0, 1, 0, 1, 0, 1]
    assert schedule.computed.tolist() == [1, 2, 3, 4, 6, 7]
    assert schedule.in_flight_worker.tolist() == [2, 0, 1]
    assert schedule.in_flight_read.tolist() == [2, 3, 3]


OTHERS = [
    Algorithm(name="cyclic", order="cyclic", concurrency=7, gradients_per_step=3),
    Algorithm(name="piled", order="random", concurrency=13, max_delay=4),
    Algorithm(
        name="once", order="shuffle_once", start="order", gradients_per_step="half"
    ),
    Algorithm(
        name="strict",
        order="shuffled",
        concurrency=9,
        gradients_per_step=4,
        restart="after_step",
        max_delay=1,
    ),
    Algorithm(name="few", concurrency="half", gradients_per_step=2, max_delay=2),
]


@pytest.mark.parametrize("make", [algorithms.rennala_restart, algorithms.uta])
def test_rounds_ask_a_users_sampler_for_more_of_one_worker(make):
    """Blocks of 16 durations run out worker by worker."""
    times = WholeSeconds(3)
    options = dict(num_gradients=300, seed=2)
    compiled = simulate(make(7), times, engine="compiled", **options)
    assert_same(compiled, simulate(make(7), times, engine="python", **options))
    assert np.bincount(compiled.worker).min() > 32


@pytest.mark.parametrize("n", [1, 2, 5, 10])
@pytest.mark.parametrize("name", DESIGN)
def test_both_loops_agree_on_every_column(name, n):
    for times, seed in itertools.product(families(n), [0, 1, 2, 2**70]):
        one = simulate(name, times, num_gradients=70, seed=seed, engine="compiled")
        two = simulate(name, times, num_gradients=70, seed=seed, engine="python")
        assert_same(one, two)
        one.validate()


@pytest.mark.parametrize("n", [1, 2, 5, 10])
@pytest.mark.parametrize("algorithm", OTHERS, ids=lambda a: a.name)
def test_both_loops_agree_on_other_fields(algorithm, n):
    for times, seed in itertools.product(families(n), range(3)):
        one = simulate(algorithm, times, num_gradients=90, seed=seed)
        two = simulate(algorithm, times, num_gradients=90, seed=seed, engine="python")
        assert_same(one, two)


def test_both_loops_agree_over_many_blocks_of_a_sampler():
    times = WholeSeconds(40)
    for name in ("pure_async", "random_async", "random_waiting"):
        one = simulate(name, times, num_gradients=30_000, seed=5)
        two = simulate(name, times, num_gradients=30_000, seed=5, engine="python")
        assert_same(one, two)
        assert np.bincount(one.worker).max() > 600  # several blocks of one worker


def test_nothing_recompiles():
    for times in families(3):
        for name in algorithms.names():
            simulate(name, times, num_gradients=5)
    assert len(compiled._advance.dispatcher.signatures) == 1
    assert len(compiled_rounds._advance.dispatcher.signatures) == 1


def test_compiled_code_older_than_a_source_is_dropped(tmp_path, monkeypatch):
    def write(path, text, age):
        path.write_text(text)
        os.utime(path, (age, age))

    # `laws`, compiled into `loop`, is newer than one of the compiled functions.
    write(tmp_path / "laws.py", "njit", 100)
    write(tmp_path / "loop.py", "def loop():\n    return 'njit'\n", 80)
    write(tmp_path / "plain.py", "", 200)  # newer, but nothing in it is compiled
    monkeypatch.setattr(jit, "_PACKAGE", tmp_path)
    monkeypatch.setattr(jit, "_newest", jit._newest.__wrapped__)
    spec = importlib.util.spec_from_file_location("loop", tmp_path / "loop.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cache = Path(FunctionCache(module.loop).cache_path)
    cache.mkdir(exist_ok=True)
    for name, age in ("loop.old-1", 90), ("loop.new-1", 110), ("other.old-1", 90):
        write(cache / f"{name}.py311.nbi", "", age)
    assert jit.keep_on_disk(module.loop)
    left = sorted(path.name for path in cache.glob("*.nbi"))
    assert left == ["loop.new-1.py311.nbi", "other.old-1.py311.nbi"]


# Golden rows: the same on every machine, as `_util/counter_rng.py` promises.
GOLDEN = {
    ("shuffled_async", "normal"): "79fcdf68b04647cf",
    ("fedbuff", "poisson"): "1c40affbd04a2e78",
    ("random_waiting", "lognormal"): "81d31a28b09b3185",
    ("ringmaster", "gamma"): "a0e65e809e78687b",
    ("pure_async", "pareto"): "53e5a49424c2b02d",
    ("minibatch_sampled", "exponential"): "1d6e55875a1e82b5",
}


def digest(schedule):
    sha = hashlib.sha256()
    for key in COLUMNS:
        column = getattr(schedule, key)
        sha.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
    return sha.hexdigest()[:16]


@pytest.mark.parametrize(("name", "family"), GOLDEN)
def test_golden_rows(name, family):
    times = compute_times.get(family, np.arange(1, 31))
    schedule = simulate(name, times, num_gradients=5000, seed=11)
    assert digest(schedule) == GOLDEN[name, family]


CONSTANT = st.sampled_from(
    [
        ("same", None),
        *itertools.product(
            ["random", "shuffled", "shuffle_once", "cyclic"], [None, 1, 3, 11]
        ),
    ]
)


@SETTINGS
@given(
    CONSTANT,
    st.integers(1, 8),
    st.integers(0, 9),
    st.integers(1, 300),
    st.integers(0, 1000),
)
def test_delays_and_ages_in_flight_add_up(order, n, family, num_gradients, seed):
    # sum of delays + sum of ages in flight = (m - 1) T.
    algorithm = Algorithm(name="a", order=order[0], concurrency=order[1])
    schedule = simulate(
        algorithm, families(n)[family], num_gradients=num_gradients, seed=seed
    )
    m = algorithm.resolve(n).concurrency
    ages = num_gradients - schedule.in_flight_read
    assert schedule.delay.sum() + ages.sum() == (m - 1) * num_gradients
    assert len(schedule.in_flight_worker) == m == schedule.concurrency_max


@SETTINGS
@given(
    st.sampled_from(DESIGN),
    st.integers(1, 8),
    st.integers(0, 9),
    st.integers(1, 300),
    st.integers(0, 1000),
)
def test_jobs_are_conserved(name, n, family, num_gradients, seed):
    schedule = simulate(
        name, families(n)[family], num_gradients=num_gradients, seed=seed
    )
    rules = algorithms.get(name).resolve(n)
    assert schedule.computed[-1] == num_gradients + schedule.discarded
    # Jobs in flight: all of them, or those that wait for a step are missing.
    buffered = num_gradients - schedule.num_steps * rules.gradients_per_step
    idle = buffered if rules.after_step else 0
    assert len(schedule.in_flight_worker) == rules.concurrency - idle
    for worker in range(n):
        draws = schedule.job[schedule.worker == worker]
        assert (np.diff(draws) > 0).all()  # first in, first out
        if schedule.discarded == 0:
            assert draws.tolist() == list(range(len(draws)))
    np.testing.assert_array_equal(
        np.flatnonzero(schedule.step) % rules.gradients_per_step,
        rules.gradients_per_step - 1,
    )
    if rules.max_delay is not None:
        assert schedule.delay.max() < rules.max_delay


@SETTINGS
@given(st.integers(1, 8), st.integers(0, 9), st.integers(0, 1000))
def test_pure_has_one_job_per_worker_and_waiting_at_most_one(n, family, seed):
    times = families(n)[family]
    pure = simulate("pure_async", times, num_gradients=100, seed=seed)
    assert sorted(pure.in_flight_worker) == list(range(n))
    waiting = simulate("pure_waiting", times, num_gradients=101, seed=seed)
    assert len(set(waiting.in_flight_worker)) == len(waiting.in_flight_worker)


def assignments(schedule):
    """Workers of a schedule with wait 1 in the order of assignment, from version 1."""
    worker = np.concatenate([schedule.worker, schedule.in_flight_worker])
    read = np.concatenate([schedule.read, schedule.in_flight_read])
    later = read > 0
    return worker[later][np.argsort(read[later])]


@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_assignments_follow_the_order(n):
    times = compute_times.exponential(np.arange(1, n + 1))

    def assigned(**fields):
        algorithm = Algorithm(name="a", **fields)
        schedule = simulate(algorithm, times, num_gradients=60 * n, seed=3)
        return assignments(schedule)

    blocks = assigned(order="shuffled").reshape(-1, n)
    assert (np.sort(blocks, axis=1) == np.arange(n)).all()
    if n > 2:
        assert len({tuple(block) for block in blocks.tolist()}) > 3
    once = assigned(order="shuffle_once").reshape(-1, n)
    assert (once == once[0]).all() and sorted(once[0]) == list(range(n))
    assert (assigned(order="cyclic").reshape(-1, n) == np.arange(n)).all()


def test_random_and_shuffled_picks_are_uniform():
    n, picks = 5, 20_000
    times = compute_times.fixed(np.ones(n))
    drawn = simulate("sgd", times, num_gradients=picks, seed=1).worker
    counts = np.bincount(drawn)
    assert abs(counts - picks / n).max() < 4 * np.sqrt(picks * 0.16)
    # Every pair of consecutive picks alike.
    pairs = np.bincount(drawn[1:] * n + drawn[:-1], minlength=n * n)
    assert abs(pairs - picks / n**2).max() < 4.5 * np.sqrt(picks * 0.04 * 0.96)
    # All 5 x 5 places of a permutation alike.
    blocks = simulate("random_reshuffling", times, num_gradients=picks, seed=1)
    blocks = blocks.worker.reshape(-1, n)
    for place in range(n):
        counts = np.bincount(blocks[:, place], minlength=n)
        rounds = picks / n
        assert abs(counts - rounds / n).max() < 4.5 * np.sqrt(rounds * 0.16)
    # And a permutation says nothing about the next one.
    pairs = np.bincount(blocks[1:, 0] * n + blocks[:-1, 0], minlength=n * n)
    assert abs(pairs - rounds / n**2).max() < 4.5 * np.sqrt(rounds * 0.04 * 0.96)


def test_equal_speeds_give_round_robin():
    schedule = simulate("pure_async", compute_times.fixed([2.0] * 6), num_gradients=60)
    assert schedule.worker.tolist() == list(range(6)) * 10
    assert schedule.delay[6:].tolist() == [5] * 54
    batch = simulate("minibatch", compute_times.fixed([2.0] * 6), num_gradients=60)
    assert batch.step.sum() == 10
    assert (batch.read == np.repeat(np.arange(10), 6)).all()
    assert batch.time[-1] == 20.0


@pytest.mark.parametrize("name", ["pure_async", "random_async", "shuffled_async"])
def test_durations_are_those_of_worker_and_job(name):
    # Common random numbers: what an algorithm does never changes how long a job takes.
    times = compute_times.gamma(np.arange(1, 8))
    schedule = simulate(name, times, num_gradients=400, seed=9)
    free = np.zeros(7)  # when the worker was done with its last job
    for row in range(400):
        worker, read = schedule.worker[row], schedule.read[row]
        assigned = schedule.time[read - 1] if read else 0.0
        start = max(free[worker], assigned)
        duration = times.durations(int(worker), 9, int(schedule.job[row]), 1)[0]
        assert start + duration == schedule.time[row]
        free[worker] = schedule.time[row]


def test_seeds():
    times = compute_times.normal(range(1, 11))
    for name in ("pure_async", "random_async"):
        one = simulate(name, times, num_gradients=300, seed=4)
        assert_same(one, simulate(name, times, num_gradients=300, seed=4))
        other = simulate(name, times, num_gradients=300, seed=5)
        assert not np.array_equal(one.worker, other.worker)
    # A longer run begins like a shorter one.
    longer = simulate("random_async", times, num_gradients=500, seed=4)
    np.testing.assert_array_equal(
        longer.time[:300],
        simulate("random_async", times, num_gradients=300, seed=4).time,
    )


# Ten gradients a step, weights below one, a delay of one, steps at deadlines.
OTHER_STEPS = {
    *("fedbuff", "staleness_aware", "fadas", "fadas_delay_adaptive"),
    *("wu_adaptive_1", "adadelay"),
    *("constant_delay", "deadline"),
}


def test_reductions():
    times = compute_times.normal(range(1, 7))
    pure = simulate("pure_async", times, num_gradients=500)
    for limit in (None, 10**18, 10**30):
        ring = simulate(algorithms.ringmaster(limit), times, num_gradients=500)
        assert_same(ring, pure, facts=("discarded",))
    buffered = algorithms.fedbuff(10**30)
    assert simulate(buffered, times, num_gradients=50).num_steps == 0
    fresh = simulate(algorithms.ringmaster(1), times, num_gradients=500)
    assert (fresh.delay == 0).all() and fresh.discarded > 0
    for name in ("random_reshuffling", "shuffle_once", "incremental"):
        epochs = simulate(name, times, num_gradients=600).worker.reshape(-1, 6)
        assert (np.sort(epochs, axis=1) == np.arange(6)).all()
        assert (simulate(name, times, num_gradients=60).delay == 0).all()
    # One worker: everything that steps with every gradient is plain SGD.
    alone = compute_times.normal([3.0])
    sgd = simulate("sgd", alone, num_gradients=50)
    assert (sgd.read == np.arange(50)).all()
    for name in algorithms.names():
        schedule = simulate(name, alone, num_gradients=50)
        if name in ("ia2sgd", "dude_asgd", "ace", "aced"):  # a table to be filled
            assert schedule.step.tolist() == [False] + [True] * 49
            assert (schedule.delay == 0).all()
        elif name not in OTHER_STEPS:
            assert_same(schedule, sgd, facts=("discarded", "num_workers"))


def test_simulate_many():
    times = [compute_times.normal(range(1, 21)), WholeSeconds(20)]
    tasks = list(
        itertools.product(["random_async", Unfair(), "rennala"], times, range(4))
    )
    many = simulate_many(tasks, num_gradients=400, threads=4)
    for (algorithm, law, seed), schedule in zip(tasks, many, strict=True):
        assert_same(schedule, simulate(algorithm, law, num_gradients=400, seed=seed))
    assert simulate_many([], num_gradients=5) == []
    with pytest.raises(ValueError, match=r"name of an algorithm must be .* got 'x'; "):
        simulate_many([*tasks, ("x", times[0], 0)], num_gradients=400)
    with pytest.raises(ValueError, match="threads must be an integer >= 1, got 0"):
        simulate_many(tasks, num_gradients=400, threads=0)
    with pytest.raises(TypeError, match="threads must be an integer"):
        simulate_many(tasks, num_gradients=400, threads=2.5)


class Unfair:
    """A user's algorithm with state: two jobs at a time, drawn from its generator."""

    name = "unfair"

    def __init__(self):
        self.log = []

    def start(self, server):
        assert server.version == server.in_flight == server.time == 0
        return [0, 0]

    def arrive(self, server, job):
        self.log.append((server.version, server.in_flight, server.time, job.read))
        assert server.in_flight == 1 and len(self.log) == server.version + 1
        worker = server.rng.integers(server.num_workers)
        return Decision(weight=2.0, assign=[worker])


class Says:
    """An algorithm that starts and decides as it is told."""

    name = "says"

    def __init__(self, start, decision, **others):
        self.start = lambda server: start
        self.arrive = lambda server, job: decision
        vars(self).update(others)


AGAIN = Decision(assign=[0])


def test_a_user_algorithm():
    times = compute_times.normal([1.0, 2.0, 3.0])
    algorithm = Unfair()
    one = simulate(algorithm, times, num_gradients=200, seed=1)
    assert algorithm.log == []  # it runs as a copy
    assert_same(one, simulate(algorithm, times, num_gradients=200, seed=1))
    other = simulate(algorithm, times, num_gradients=200, seed=2)
    assert not np.array_equal(one.worker, other.worker)
    assert one.weight.tolist() == [2.0] * 200
    assert one.concurrency_max == 2 and one.name == "unfair"
    assert one.job[:2].tolist() == [0, 1]
    one.validate()
    with pytest.raises(ValueError, match="engine must be 'python' or 'auto' for"):
        simulate(algorithm, times, num_gradients=2, engine="compiled")


class Declared:
    """Random asynchronous SGD with a limit, written by a user."""

    name = "random_limit"

    def __init__(self, picks, limit):
        self.picks, self.limit = picks, limit

    def start(self, server):
        return range(server.num_workers)

    def arrive(self, server, job):
        worker = [self.picks.pop(0)]
        if server.version - job.read >= self.limit:
            return Decision(weight=None, step=False, assign=worker)
        return Decision(assign=worker)


def test_a_user_algorithm_equals_the_declared_one():
    picks = list(itertools.islice(worker_order("random", 5, seed=6), 3000))
    times = compute_times.exponential(range(1, 6))
    user = simulate(Declared(picks, 4), times, num_gradients=300, seed=6)
    declared = Algorithm(name="random_limit", order="random", max_delay=4)
    assert_same(user, simulate(declared, times, num_gradients=300, seed=6))
    assert user.discarded > 0


@pytest.mark.parametrize(
    ("algorithm", "error", "message"),
    [
        (Says([], Decision()), RuntimeError, "says: no job is in flight after 0 of 5"),
        (Says([0], Decision()), RuntimeError, "no job is in flight after 1 of 5"),
        (
            Says([0], Decision(weight=None, step=False, assign=[0])),
            RuntimeError,
            "all discarded",
        ),
        (Says([2], Decision()), ValueError, r"`start` must name .* 0\.\.1, got 2"),
        (
            Says([0], Decision(assign=[-1])),
            ValueError,
            r"assign must .* 0\.\.1, got -1",
        ),
        (Says([0], Decision(assign=[0.0])), ValueError, r"assign must .*, got 0\.0"),
        (Says([0], Decision(stop=[7])), ValueError, r"stop must .* 0\.\.1, got 7"),
        (Says([True], Decision()), ValueError, "says: `start` must name .* got True"),
        (Says(None, Decision()), TypeError, "says: `start` must be a list .* None"),
        (
            Says([0], Decision(assign=0)),
            TypeError,
            "says: assign must be a list .* got 0",
        ),
        (
            Says([0], Decision(weight=True)),
            TypeError,
            "weight must be a finite .* got True",
        ),
        (
            Says([0], Decision(weight=10**400)),
            ValueError,
            "weight must be a finite .*, got 10",
        ),
        (Says([0], Decision(), arrive=lambda job: None), TypeError, "`arrive` must ta"),
        (
            Says([0], Decision(), limits=[1.0]),
            ValueError,
            "says: limits .* 2 workers, got 1",
        ),
        (
            Says([0], Decision(), limits=2.0),
            ValueError,
            r"limits must be a flat list .*\(\)",
        ),
        (Says([0], Decision(), limits=[1.0, np.nan]), ValueError, r"limits\[1\] m"),
        (
            Says([0], AGAIN, transforms=len),
            TypeError,
            "says: transforms must be a tuple of func",
        ),
        (
            Says([0], AGAIN, transforms=(lambda s: None,)),
            TypeError,
            r"transforms\[0\] must return a schedule, .* got None",
        ),
        (
            Says([0], AGAIN, transforms=(lambda: 0,)),
            TypeError,
            "transforms.0. must take",
        ),
        (
            Says(
                [0], AGAIN, transforms=(lambda s: dataclasses.replace(s, weight=[1.0]),)
            ),
            TypeError,
            "says: what transforms returned: weight must be a NumPy array .* got list",
        ),
        (Says([0], None), TypeError, "must return a Decision, got None"),
        (
            Says([0], Decision(weight=None)),
            ValueError,
            "step must be False .* got True",
        ),
        (
            Says([0], Decision(weight=np.nan)),
            ValueError,
            "weight must be a finite .* nan",
        ),
        (Says([0], Decision(weight="1")), TypeError, "weight must be a finite .* '1'"),
        (Says([0], Decision(step=1)), TypeError, "step must be True or False, got 1"),
    ],
)
def test_bad_user_algorithms(algorithm, error, message):
    with pytest.raises(error, match=message):
        simulate(algorithm, compute_times.fixed([1.0, 2.0]), num_gradients=5)


class StepsAtEveryLimit:
    """Two gradients of worker 0, and a step whenever worker 1 gives up."""

    name = "hasty"
    limits = (9.0, 2.5)

    def start(self, server):
        return [0, 1]

    def arrive(self, server, job):
        if not job.finished:
            return Decision(weight=None, assign=[1])
        return Decision(step=False, assign=[0] if job.index == 0 else [])


def test_a_step_at_a_limit_needs_a_gradient_since_the_last_one():
    """Rows at 1 and 2, the second's step at 2.5, and nothing new at 5."""
    times = compute_times.fixed([1.0, 9.0])
    schedule = simulate(StepsAtEveryLimit(), times, num_gradients=2)
    assert schedule.step.tolist() == [False, True]
    assert schedule.time.tolist() == [1.0, 2.5]
    with pytest.raises(ValueError, match="hasty: step must be False without a grad"):
        simulate(StepsAtEveryLimit(), times, num_gradients=3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_gradients": 0}, ValueError, "num_gradients must be an integer .* got 0"),
        (
            {"num_gradients": 2**31},
            ValueError,
            r"num_gradients must be .* 1\.\.2147483646, got 2147483648",
        ),
        (
            {"num_gradients": 1.0},
            TypeError,
            "num_gradients must be an integer in .*, got 1.0",
        ),
        (
            {"num_gradients": True},
            TypeError,
            "num_gradients must be an integer in .*, got True",
        ),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0, got -1"),
        ({"seed": False}, TypeError, "seed must be an integer >= 0, got False"),
        ({"engine": "fast"}, ValueError, "engine must be 'auto', .* got 'fast'"),
        ({"algorithm": "pure"}, ValueError, "did you mean 'pure_async'"),
        ({"algorithm": 7}, TypeError, r"algorithm must be a name \(pure_async.* got 7"),
        (
            {"algorithm": Algorithm},
            TypeError,
            r"got Algorithm itself; .*Algorithm\(\.\.\.\)",
        ),
        ({"algorithm": algorithms.fedbuff}, TypeError, r"fedbuff\(\.\.\.\)"),
        ({"algorithm": algorithms.pure_waiting(3)}, ValueError, "at most 2, .* got 3"),
        ({"compute_times": [1, 2]}, TypeError, "num_workers and sample"),
    ],
)
def test_bad_arguments(arguments, error, message):
    good = {
        "algorithm": "pure_async",
        "compute_times": compute_times.fixed([1.0, 2.0]),
        "num_gradients": 5,
    }
    with pytest.raises(error, match=message):
        simulate(**{**good, **arguments})


@pytest.mark.parametrize("engine", ["python", "compiled"])
def test_time_and_samples_out_of_range(engine):
    with pytest.raises(OverflowError, match="virtual time"):
        simulate(
            "pure_async", compute_times.fixed([1e308]), num_gradients=5, engine=engine
        )

    class Fails(WholeSeconds):
        def sample(self, worker, rng, size):
            return np.full(size, 1.0 if size < 64 else np.nan)

    with pytest.raises(ValueError, match=r"worker=0, size=64\), from job 48 on"):
        simulate("pure_async", Fails(1), num_gradients=100, engine=engine)


def test_columns_cannot_be_written():
    schedule = simulate("fedbuff", compute_times.fixed([1.0, 2.0]), num_gradients=5)
    with pytest.raises(ValueError, match="read-only"):
        schedule.worker[0] = 1


def test_the_seed_is_0_where_it_is_not_given():
    clock = compute_times.exponential([1.0, 2.0, 3.0])
    assert simulate("random_async", clock, num_gradients=20) == simulate(
        "random_async", clock, num_gradients=20, seed=0
    )


class Stubborn:
    """A user's algorithm that takes one gradient and then no more."""

    name = "stubborn"

    def __init__(self, refused, numbers):
        self.refused, self.numbers = refused, numbers

    def __deepcopy__(self, memo):
        return self  # what it counts is looked at afterwards

    def start(self, server):
        return [0, 1]

    def arrive(self, server, job):
        self.numbers.append(job.number)
        if len(self.numbers) == 1:
            return Decision(assign=[job.worker])
        self.refused.append(server.time)
        return Decision(weight=None, step=False, assign=[job.worker])


def test_jobs_that_are_discarded_in_a_row_are_counted_from_the_last_that_was_not():
    refused, numbers = [], []
    with pytest.raises(RuntimeError, match="stubborn: the last 3001 jobs were all"):
        simulate(
            Stubborn(refused, numbers),
            compute_times.fixed([1.0, 2.5]),
            num_gradients=5,
        )
    assert len(refused) == 1000 * (2 + 1) + 1
    assert sorted(numbers)[:3000] == list(range(3000))  # jobs are numbered in turn


def test_the_table_that_workers_are_drawn_by():
    """Where a share becomes exactly 1 it goes on giving, so that streams stay."""
    table = alias_table((0.125, 0.375, 0.5, 0.0))
    assert table.keep.tolist() == [0.5, 1.0, 0.5, 0.0]
    assert table.other.tolist() == [2, 1, 1, 2]
    # Each worker's own half or so, and what others give it.
    share = table.keep / 4
    np.add.at(share, table.other, (1 - table.keep) / 4)
    assert share.tolist() == [0.125, 0.375, 0.5, 0.0]


def test_durations_take_at_most_twice_the_room_of_what_was_drawn():
    blocks = DurationBlocks(lambda worker, first, size: np.ones(size), 3)
    for job in range(2000):
        for worker in range(3):
            assert blocks.duration(worker, job) == 1.0
            assert blocks.values.size <= max(64 * 16, 2 * blocks._used)
