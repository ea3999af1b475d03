"""Job logs against a direct reading of the rule."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgrad_jax.compute_times.traces import trace_durations
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.traces import schedule_from_trace

BY_HAND = [  # worker, start, end; the first job starts at 10
    (0, 10.0, 12.0),
    (1, 10.0, 13.0),
    (0, 12.0, 14.0),  # starts as row 0 arrives: sees its step
    (1, 13.5, 15.0),  # starts between two arrivals
    (0, 14.0, 20.0),
    (1, 15.0, 20.0),  # ends with the row above, started later
]


def test_trace_by_hand():
    schedule = schedule_from_trace(BY_HAND)
    expected = Schedule.from_arrays(
        worker=[0, 1, 0, 1, 0, 1],
        read=[0, 0, 1, 2, 3, 4],
        time=[2.0, 3.0, 4.0, 5.0, 10.0, 10.0],
        concurrency_max=2,
    )
    assert schedule == expected
    assert schedule.name == "trace"


def test_trace_of_a_waiting_server():
    schedule = schedule_from_trace(BY_HAND[:5], gradients_per_step=2, num_workers=3)
    np.testing.assert_array_equal(schedule.step, [False, True, False, True, False])
    np.testing.assert_array_equal(schedule.weight, np.full(5, 0.5))
    # 12: one arrival, no step yet. 13.5: both of the first two. 14: three arrivals.
    np.testing.assert_array_equal(schedule.read, [0, 0, 0, 1, 1])
    assert schedule.num_workers == 3


def test_rows_in_any_order_and_form_are_one_trace(tmp_path):
    expected = schedule_from_trace(BY_HAND)
    shuffled = [BY_HAND[j] for j in (5, 2, 0, 4, 1, 3)]
    assert schedule_from_trace(shuffled) == expected
    assert schedule_from_trace(np.array(shuffled)) == expected
    frame = pd.DataFrame(shuffled, columns=["worker", "start", "end"])
    frame["host"] = "node"
    assert schedule_from_trace(frame[["end", "host", "worker", "start"]]) == expected
    frame.to_csv(tmp_path / "trace.csv", index=False)
    assert schedule_from_trace(tmp_path / "trace.csv") == expected
    (tmp_path / "spaced.csv").write_text(
        "worker, start, end\n" + "\n\n".join(f"{w}, {s}, {e}" for w, s, e in shuffled)
    )
    assert schedule_from_trace(str(tmp_path / "spaced.csv")) == expected


def test_a_csv_keeps_every_bit_of_a_time(tmp_path):
    """A job that starts at the very number at which another ends sees its step."""
    rng = np.random.default_rng(0)
    ends = np.sort(rng.uniform(0, 1, 2000)) * 10.0 ** rng.integers(-5, 10, 2000)
    ends.sort()
    rows = [(0, start, end) for start, end in zip([0.0, *ends], ends, strict=False)]
    path = tmp_path / "exact.csv"
    path.write_text(
        "worker,start,end\n" + "\n".join(f"{w},{s},{e}" for w, s, e in rows)
    )
    np.testing.assert_array_equal(schedule_from_trace(path).delay, np.zeros(2000))


jobs = st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(0, 6))


@given(rows=st.lists(jobs, min_size=1, max_size=30), b=st.integers(1, 4))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_the_rule_read_directly(rows, b):
    """Small integer times, so ties of every kind and jobs without duration occur."""
    log = [(worker, start, start + length) for worker, start, length in rows]
    schedule = schedule_from_trace(log, num_workers=4, gradients_per_step=b)
    order = sorted(range(len(log)), key=lambda j: (log[j][2], log[j][1], j))
    origin = min(start for _, start, _ in log)
    for a, j in enumerate(order):
        worker, start, end = log[j]
        seen = sum(log[earlier][2] <= start for earlier in order[:a])
        given_before = [
            other
            for other in range(len(log))
            if log[other][0] == worker and (log[other][1], other) < (start, j)
        ]
        assert schedule.worker[a] == worker
        assert schedule.read[a] == seen // b
        assert schedule.job[a] == len(given_before)
        assert schedule.time[a] == end - origin
        assert schedule.step[a] == ((a + 1) % b == 0)
    durations = {w: [] for w in range(schedule.num_workers)}
    for worker, start, end in sorted(log, key=lambda job: job[1]):
        durations[worker].append(end - start)
    if all(durations.values()):
        found = trace_durations(log)
        assert [list(one) for one in found] == list(durations.values())


def test_the_log_of_a_simulated_cluster_gives_its_schedule_back():
    """Pure asynchronous SGD with one job per worker: read is the last own arrival."""
    rng = np.random.default_rng(3)
    ends = {i: np.cumsum(rng.exponential(i + 1.0, 200)) for i in range(5)}
    log = [
        (i, start, end)
        for i, times in ends.items()
        for start, end in zip([0.0, *times], times, strict=False)
    ]
    schedule = schedule_from_trace(log)
    last_arrival = {}
    for a, (worker, read) in enumerate(
        zip(schedule.worker, schedule.read, strict=True)
    ):
        assert read == last_arrival.get(worker, -1) + 1
        last_arrival[worker] = a
    assert schedule.concurrency_max == 5
    assert schedule.stats().slots <= 5
    durations = trace_durations(log)
    for i, times in ends.items():
        np.testing.assert_allclose(np.cumsum(durations[i]), times)


GOOD = [(0, 0.0, 1.0), (1, 0.0, 2.0), (0, 1.0, 3.0)]


@pytest.mark.parametrize("read_trace", [schedule_from_trace, trace_durations])
@pytest.mark.parametrize(
    "bad, message",
    [
        ((0, 2.0, 1.0), "row 3: end must be at least the start, 2.0, got 1.0"),
        ((-1, 0.0, 1.0), r"row 3: worker must be in 0\.\.1, got -1"),
        ((0.5, 0.0, 1.0), r"worker\[3\] must be an integer, got 0.5"),
        ((0, np.nan, 1.0), "row 3: start must be a finite number, got .*nan"),
        ((0, 0.0, np.inf), "row 3: end must be a finite number, got .*inf"),
        ((0, 0.0, 10**400), "row 3: end must be a finite number, got .*00"),
        ((0, 0.0, 1e17), r"times must be at most 2\*\*53"),
    ],
)
def test_a_bad_job_is_named(tmp_path, read_trace, bad, message):
    with pytest.raises(ValueError, match=message):
        read_trace([*GOOD, bad, (0, np.nan, np.nan)][:4])
    path = tmp_path / "bad.csv"
    text = "\n".join(",".join(map(str, row)) for row in [*GOOD, bad])
    path.write_text("worker,start,end\n" + text)
    with pytest.raises(ValueError, match=message):
        read_trace(path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "bad.csv is not a CSV trace"),
        ("worker,start,end\n", "the trace must have at least one job, got none"),
        ("worker,begin,end\n0,0,1\n", "got 'worker', 'begin'.*without 'start'"),
        ("0,0,1\n0,1,2\n", "without 'worker'.*must be a header, worker,start"),
        ("worker;start;end\n0;0;1\n", "separate the columns by commas"),
        ("worker\tstart\tend\n0\t0\t1\n", "separate the columns by commas"),
        ("Worker,Start,End\n0,0,1\n", "got 'Worker'.*in small letters"),
        ("worker,start,start,end\n0,0,9,1\n", "2 columns are called 'start'"),
        ("worker,start,end\n0,0,1\n0_1,0,1\n", "row 1: worker .* got '0_1'"),
        ("worker,start,end\n0,0,1_000\n", "row 0: end must be .* got '1_000'"),
        ("worker,start,end\n\u0663,0,1\n", "row 0: worker .* got '\u0663'"),
        ("worker,start,end\n0,2026-01-01 00:00:00,1\n", "times as numbers, such as s"),
        ("worker,start,end\n0,0,1\n0,,2\n", "row 1: start must be .* got nan"),
        ("worker,start,end\nnode7,0,1\n", "row 0: worker .*got 'node7'.*factorize"),
        ("worker,start,end\n0,0,1,5\n0,1,2,5\n", "more fields than its header"),
        ("worker,start,end\n0,0,1\n0,1,2,5\n", "bad.csv is not a CSV trace"),
        ("worker,start,end\n0,0,1\n0,1\n", "row 1: end must be .* got nan"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        schedule_from_trace(path)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(b"worker,start,end\n\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"bad\.csv"):
        schedule_from_trace(path)


@pytest.mark.parametrize("rows", [[], [(0, 1)], [0, 1, 2], [(0, 0, 1), (0, 1)]])
def test_rows_of_another_shape(rows):
    with pytest.raises(ValueError, match="trace"):
        schedule_from_trace(rows)


@pytest.mark.parametrize(
    "options, error, message",
    [
        (
            {"gradients_per_step": 0},
            ValueError,
            "gradients_per_step must be an integer >= 1, got 0",
        ),
        (
            {"gradients_per_step": 1.5},
            TypeError,
            "gradients_per_step must be an integer",
        ),
        (
            {"gradients_per_step": True},
            TypeError,
            "gradients_per_step must be an integer",
        ),
        ({"num_workers": 2**31}, ValueError, "at most 2147483647, got 2147483648"),
        ({"num_workers": 1}, ValueError, r"row 1: worker must be in 0\.\.0, got 1"),
        ({"num_workers": 2.0}, TypeError, "num_workers must be an integer"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        schedule_from_trace(GOOD, **options)


def test_a_worker_without_jobs_has_no_law():
    with pytest.raises(ValueError, match="got no job of worker 1 of 3"):
        trace_durations([(0, 0, 1), (2, 0, 1)])
    with pytest.raises(ValueError, match="got no job of worker 2 of 3"):
        trace_durations(GOOD, num_workers=3)
    # Numbered from 1, or by something else.
    for rows, message in (
        ([(1, 0, 1), (2, 0, 1)], "no job of worker 0 of 3.*or give num_workers"),
        (
            [(0, 0, 1), (10**9, 0, 1)],
            r"\(2 workers have jobs, the largest number is 10*\)",
        ),
        ([(0, 0, 1), (2**31 - 1, 0, 1)], "got 2147483648; number the workers from 0"),
    ):
        with pytest.raises(ValueError, match=message):
            schedule_from_trace(rows)
    assert schedule_from_trace([(1, 0, 1)], num_workers=2).num_workers == 2
    assert schedule_from_trace(GOOD, num_workers=3).num_workers == 3


def test_nanoseconds_are_exact(tmp_path):
    origin = 1_700_000_000_000_000_001
    stamps = [(w, origin + int(s), origin + int(e)) for w, s, e in GOOD]
    path = tmp_path / "stamps.csv"
    path.write_text(
        "worker,start,end\n" + "\n".join(",".join(map(str, s)) for s in stamps)
    )
    for rows in (stamps, np.array(stamps), path):
        assert schedule_from_trace(rows) == schedule_from_trace(GOOD)
    for rows in (np.array(stamps, float), [(0, 0, 10**17)]):
        with pytest.raises(ValueError, match=r"times must be at most 2\*\*53"):
            schedule_from_trace(rows)


def test_true_is_no_number():
    frame = pd.DataFrame({"worker": [False, True], "start": [0, 0], "end": [1, 1]})
    for rows in (frame, [(False, 0, 1.0)]):
        with pytest.raises(
            ValueError, match="row 0: worker must be a finite number, got False"
        ):
            schedule_from_trace(rows)


def test_times_may_start_anywhere():
    later = [(worker, start + 2.0**30, end + 2.0**30) for worker, start, end in GOOD]
    assert schedule_from_trace(later) == schedule_from_trace(GOOD)
    assert dataclasses.asdict(schedule_from_trace(GOOD))["time"][0] == 1.0
