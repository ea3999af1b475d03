"""The capability table in the docs is the one that the registry gives."""

from pathlib import Path

import numpy as np
import pytest

import asgrad_jax as ag

ROOT = Path(__file__).parents[2]
CLOCK = ag.compute_times.exponential([1.0, 2.0, 4.0, 30.0])
NAMES = ag.algorithms.names()


def test_the_page_is_up_to_date():
    page = (ROOT / "docs" / "methods-table.md").read_text()
    assert page == ag.algorithms.methods_table(), "write methods_table() to the page"


@pytest.fixture(scope="module")
def schedules():
    return {name: ag.simulate(name, CLOCK, num_gradients=3_000) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_marks_hold(schedules, name):
    """What a schedule can show of the marks, with one slow worker."""
    schedule, facts = schedules[name], ag.algorithms.properties(name)
    n = schedule.num_workers
    if facts.bounded_delay:
        slack = 3 if name == "stale_synchronous" else 0
        assert schedule.delay.max() <= (2 * slack + 2) * (n - 1)
    else:
        gradients_per_step = len(schedule) / schedule.num_steps
        assert schedule.delay.max() * gradients_per_step >= n
    assert facts.table == (schedule.table is not None)
    columns = schedule.clip, schedule.accept, schedule.server_rule
    looks = any(column is not None for column in columns)
    assert facts.needs_values == looks
    # A draw without a row before the worker's last one was thrown away.
    lost = any(
        (np.diff(np.sort(schedule.job[schedule.worker == i])) > 1).any()
        for i in range(n)
    )
    # Trials are given up under a limit alone; what Picky and ACED leave out are rows.
    if name not in ("mindflayer", "vecna", "picky", "aced"):
        assert facts.discards == lost


@pytest.mark.parametrize("name", NAMES)
def test_waiting_workers_idle(schedules, name):
    """Where no worker waits, each one's jobs follow on each other without a gap."""
    schedule, facts = schedules[name], ag.algorithms.properties(name)
    algorithm = ag.algorithms.get(name)
    if isinstance(algorithm, ag.Algorithm) and algorithm.order != "same":
        pytest.skip("queues: a worker may have no job without waiting for others")
    if facts.discards:
        pytest.skip("jobs thrown away are no rows")
    if name == "deadline":
        pytest.skip("the last gradient before a deadline has its time")
    worker = 0
    mine = schedule.worker == worker
    durations = CLOCK.durations(worker, 0, 0, int(mine.sum()))
    gaps = np.diff(schedule.time[mine], prepend=0.0) - durations
    assert facts.waits == bool((gaps > 1e-9).any())
