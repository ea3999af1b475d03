"""Schedules whose workers stop working, and those that are well."""

from collections import deque

import numpy as np
import pytest

from asgrad_jax import algorithms
from asgrad_jax import compute_times as ct
from asgrad_jax.schedules.audit import audit
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.simulation.simulate import simulate


def sleeping_queues(n, rows, seed, *, wakes_by_itself=False, jobs=1):
    """Random asynchronous SGD whose queued jobs sleep until the next assignment."""
    rng = np.random.default_rng(seed)
    queues = [deque([0] * jobs) for _ in range(n)]
    ends = {i: float(i + 1) for i in range(n)}
    worker, read = [], []
    for row in range(rows):
        i = min(ends, key=lambda i: (ends[i], i))
        now = ends.pop(i)
        worker.append(i)
        read.append(queues[i].popleft())
        if wakes_by_itself and queues[i]:
            ends[i] = now + i + 1
        k = int(rng.integers(n))
        queues[k].append(row + 1)
        if k not in ends:
            ends[k] = now + k + 1
    left = [(read, i) for i, queue in enumerate(queues) for read in queue]
    left.sort()
    return {
        "worker": worker,
        "read": read,
        "num_workers": n,
        "in_flight_worker": [i for _, i in left],
        "in_flight_read": [read for read, _ in left],
    }


@pytest.mark.parametrize("n", [8, 10, 60])
@pytest.mark.parametrize("in_flight_known", [True, False])
def test_queues_that_sleep(n, in_flight_known):
    for seed in range(3):
        for wakes in (True, False):
            columns = sleeping_queues(n, 40 * n + 300, seed, wakes_by_itself=wakes)
            if not in_flight_known:
                columns["in_flight_worker"] = columns["in_flight_read"] = None
            found = audit(Schedule.from_arrays(**columns))
            if wakes:
                assert found == []
            else:
                assert found[0].kind == "collapse" and found[0].row < 10 * n
                assert "queues do not run by themselves" in str(found[0])


def test_queues_that_sleep_with_two_jobs_each_from_the_start():
    schedule = Schedule.from_arrays(**sleeping_queues(8, 620, 0, jobs=2))
    assert audit(schedule)[0].kind == "collapse"


def test_queues_that_sleep_at_few_workers():
    """Half of the jobs that waited may be one worker's."""
    for seed in (0, 1):
        [found] = audit(Schedule.from_arrays(**sleeping_queues(4, 300, seed)))
        assert found.kind == "collapse" and found.row < 10
    # Three cannot be told from one slow worker, whose queue is never empty.
    assert audit(Schedule.from_arrays(**sleeping_queues(3, 300, 0))) == []


def test_the_published_schedules(shared):
    files = sorted((shared / "golden").glob("*.npz"))
    assert files
    for path in files:
        with np.load(path, allow_pickle=False) as file:
            schedule = Schedule.from_arrays(
                file["exec_worker"], file["read"], num_workers=int(file["n"])
            )
            pure = str(file["assign"]) == "pure"
        found = audit(schedule)
        assert (found == []) == pure, path.name
        assert all(finding.kind == "collapse" for finding in found)


@pytest.mark.parametrize("name", algorithms.names()[:16])
@pytest.mark.parametrize("family", ["fixed", "normal", "exponential", "lognormal"])
def test_healthy_schedules(name, family):
    for n, rows in ((2, 3000), (3, 3000), (10, 3000), (40, 6000)):
        clock = ct.get(family, range(1, n + 1))
        schedule = simulate(name, clock, num_gradients=rows, seed=n)
        assert audit(schedule) == []


def test_fewer_and_fewer_arrive():
    n = 10
    clock = ct.death(ct.fixed(np.ones(n)), 100.5, workers=range(4, n))
    schedule = simulate("pure_async", clock, num_gradients=1500)
    [finding] = audit(schedule)
    # All ten until row 1000, four from then on: the first window of a hundred rows.
    assert (finding.kind, finding.row) == ("collapse", 1000)
    assert "4 workers arrive in 100 rows, 10 did" in finding.message
    half = ct.death(ct.fixed(np.ones(n)), 100.5, workers=range(5, n))
    assert audit(simulate("pure_async", half, num_gradients=1500)) == []
    # A lull that ends is no collapse.
    lull = ct.burst(ct.fixed(np.ones(n)), 100.5, 200.0, 0.0, workers=range(4, n))
    assert audit(simulate("pure_async", lull, num_gradients=4000)) == []


def test_jobs_that_pile_up():
    n = 40
    mean = np.ones(n)
    mean[0] = 3000.0  # nearly all jobs end up in the queue of worker 0
    schedule = simulate("shuffled_async", ct.fixed(mean), num_gradients=4000)
    found = audit(schedule)
    assert [finding.kind for finding in found] == ["collapse"]
    assert "jobs pile up" in found[0].message
    assert audit(simulate("pure_async", ct.fixed(mean), num_gradients=4000)) == []


def test_a_worker_that_starves():
    n = 10
    clock = ct.death(ct.fixed(np.arange(1.0, n + 1)), 60.5, workers=[3])
    schedule = simulate("pure_async", clock, num_gradients=4000)
    [finding] = audit(schedule)
    assert finding.kind == "starvation" and "worker 3 has a job" in finding.message
    # From the row after its last arrival.
    assert finding.row == np.flatnonzero(schedule.worker == 3)[-1] + 1
    assert audit(simulate("pure_async", clock, num_gradients=1000)) == []
    # Slow is not starved: a gap as long as its others.
    slow = ct.bad_worker(np.ones(5), worker=2, factor=300.0)
    assert audit(simulate("pure_async", slow, num_gradients=4000)) == []


def test_findings_come_by_row_and_bad_schedules_are_refused():
    clock = ct.death(ct.fixed(np.ones(6)), 100.5, workers=range(1, 6))
    found = audit(simulate("pure_async", clock, num_gradients=4000))
    assert [finding.row for finding in found] == sorted(f.row for f in found)
    assert [f.kind for f in found].count("starvation") == 5
    with pytest.raises(ValueError, match="schedule must have at least one arrival"):
        audit(Schedule.from_arrays([], []))
