"""Slot plans, checked by an interpreter whose slots hold version numbers."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.slots import plan_slots, wave_lengths
from helpers.schedule_makers import any_schedule, job_schedule

WIDTHS = (1, 2, 4, 8, 32)


def interpret(schedule, plan):
    """Runs the plan on a buffer of version numbers; returns what each row read.

    A row that reads a slot nobody wrote, or the scratch slot, gets a negative number.
    """
    buffer = np.full(plan.num_slots + 1, -1)
    buffer[plan.initial_slot] = 0
    found = np.full(len(schedule), -9)
    version = 0
    for wave in range(plan.num_waves):
        buffer[plan.scratch] = -2  # poison: padding may read it, a row may not
        places = [p for p in range(plan.width) if plan.row[wave, p] >= 0]
        for place in places:
            found[plan.row[wave, place]] = buffer[plan.read_slot[wave, place]]
        for place in places:
            if schedule.step[plan.row[wave, place]]:
                version += 1
                buffer[plan.write_slot[wave, place]] = version
            else:
                assert plan.write_slot[wave, place] == plan.scratch
    return found


def alive_at_most(schedule):
    """Largest number of versions that exist and will be read, by definition."""
    made = np.concatenate([[-1], np.flatnonzero(schedule.step)])  # row making version v
    last = np.full(len(made), -1)
    for a, version in enumerate(schedule.read):
        last[version] = a
    return max(np.sum((made <= a) & (last > a)) for a in range(-1, len(schedule)))


def check_plan(schedule, width, record_every=None):
    plan = plan_slots(schedule, width=width, record_every=record_every)
    rows = len(schedule)
    assert plan.row.shape == plan.read_slot.shape == plan.write_slot.shape
    assert plan.row.shape == (plan.num_waves, width)
    np.testing.assert_array_equal(plan.row[plan.row >= 0], np.arange(rows))
    padding = plan.row < 0
    assert (plan.read_slot[padding] == plan.scratch).all()
    assert (plan.write_slot[padding] == plan.scratch).all()
    np.testing.assert_array_equal(interpret(schedule, plan), schedule.read)
    assert plan.fill == pytest.approx(rows / plan.row.size)
    # Records lie exactly between waves.
    stride = record_every or rows
    expected = [*range(stride, rows, stride), rows]
    done = np.cumsum((~padding).sum(axis=1))
    np.testing.assert_array_equal(done[plan.record_end - 1], expected)
    # No wave could have been longer.
    lengths = (~padding).sum(axis=1)
    for first, end, length in zip(done - lengths, done, lengths, strict=True):
        if end < rows and length < width and end not in expected:
            assert schedule.read[end] > schedule.version[first]
    return plan


SCHEDULES = {
    "one per worker": job_schedule(0, concurrency=10, rows=300),
    "straggler": job_schedule(1, concurrency=6, rows=300, favour=0.9),
    "waiting": job_schedule(
        2, concurrency=8, rows=301, gradients_per_step=3, after_step=True
    ),
    "buffered": job_schedule(3, concurrency=8, rows=299, gradients_per_step=5),
    "mini-batch": job_schedule(
        4, concurrency=8, rows=80, gradients_per_step=8, after_step=True
    ),
    "serial": job_schedule(5, concurrency=1, rows=50),
    "never read": any_schedule(6, rows=200, recent=3),
    "rare steps": any_schedule(7, rows=200, step_rate=0.1),
    "no step": Schedule.from_arrays([0] * 5, [0] * 5, step=[False] * 5),
    "one row": Schedule.from_arrays([0], [0]),
    "always the start": Schedule.from_arrays([0] * 40, [0] * 40),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_read_finds_its_version(name, width):
    for record_every in (None, 1, 7, 50, 10_000):
        check_plan(SCHEDULES[name], width, record_every)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 60),
    step_rate=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    recent=st.sampled_from([None, 0, 1, 5]),
    width=st.integers(1, 9),
    record_every=st.one_of(st.none(), st.integers(1, 70)),
)
def test_any_schedule(seed, rows, step_rate, recent, width, record_every):
    schedule = any_schedule(seed, rows=rows, step_rate=step_rate, recent=recent)
    plan = check_plan(schedule, width, record_every)
    most = max(alive_at_most(schedule), 1)
    assert plan.num_slots == most if width == 1 else plan.num_slots <= most


@pytest.mark.parametrize("name", SCHEDULES)
def test_slots_are_the_iterates_alive_at_once(name):
    assert plan_slots(SCHEDULES[name]).num_slots == alive_at_most(SCHEDULES[name])


@pytest.mark.parametrize(
    "concurrency, b, after_step",
    [
        *[(1, 1, False), (4, 1, False), (11, 1, False), (4, 3, True), (11, 3, True)],
        *[(1, 4, False), (4, 4, False), (11, 4, False)],
    ],
)
def test_slots_never_exceed_the_concurrency(concurrency, b, after_step):
    for seed in range(5):
        schedule = job_schedule(
            seed,
            concurrency=concurrency,
            rows=400,
            gradients_per_step=b,
            after_step=after_step,
            favour=0.7,
        )
        for width in WIDTHS:
            assert plan_slots(schedule, width=width).num_slots <= concurrency


def test_straggler_needs_few_slots_but_a_long_ring():
    schedule = SCHEDULES["straggler"]
    assert schedule.stats().tau_max > 30
    assert plan_slots(schedule).num_slots == 6


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("name", ["one per worker", "straggler", "waiting", "buffered"])
def test_one_slot_fewer_breaks_a_read(name, width):
    """Whichever two slots share a place, some row finds the wrong version."""
    schedule = SCHEDULES[name]
    plan = plan_slots(schedule, width=width)
    assert plan.num_slots > 2
    for kept in range(plan.num_slots):
        for lost in range(kept + 1, plan.num_slots):
            merged = plan_slots(schedule, width=width)
            for slots in (merged.read_slot, merged.write_slot):
                slots[slots == lost] = kept
            assert (interpret(schedule, merged) != schedule.read).any()


def test_plan_by_hand():
    #                  version before:   0  1  2  2  3
    schedule = Schedule.from_arrays(
        worker=[0, 1, 0, 1, 0],
        read=[0, 0, 1, 2, 2],
        step=[True, True, False, True, True],
    )
    plan = plan_slots(schedule)
    # Row 0 reads x_0 (slot 0) and makes x_1, read by row 2: a new slot.
    # Row 1 reads x_0 for the last time and makes x_2, which takes slot 0 over.
    # Row 2 reads x_1 for the last time and makes nothing. Row 3 reads x_2, makes x_3,
    # which nobody reads: scratch, as for x_4.
    np.testing.assert_array_equal(plan.read_slot[:, 0], [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(plan.write_slot[:, 0], [1, 0, 2, 2, 2])
    assert (plan.num_slots, plan.initial_slot, plan.scratch) == (2, 0, 2)
    # Waves: rows 0-1 read x_0; rows 2-4 start at x_2 and read x_1, x_2, x_2.
    plan = plan_slots(schedule, width=4)
    np.testing.assert_array_equal(plan.row, [[0, 1, -1, -1], [2, 3, 4, -1]])
    np.testing.assert_array_equal(wave_lengths(schedule), [2, 3])
    np.testing.assert_array_equal(wave_lengths(schedule, record_every=4), [2, 2, 1])
    np.testing.assert_array_equal(wave_lengths(schedule, limit=2), [2, 2, 1])


@pytest.mark.parametrize("name", SCHEDULES)
def test_wave_lengths_are_those_of_the_plan(name):
    schedule = SCHEDULES[name]
    for width in WIDTHS:
        plan = plan_slots(schedule, width=width, record_every=13)
        lengths = wave_lengths(schedule, 13, width)
        np.testing.assert_array_equal((plan.row >= 0).sum(axis=1), lengths)


def test_mini_batch_waves_are_whole_rounds():
    """All jobs of a synchronous round read the same version: one wave per step."""
    schedule = SCHEDULES["mini-batch"]
    np.testing.assert_array_equal(wave_lengths(schedule), np.full(10, 8))
    assert plan_slots(schedule, width=8).fill == 1.0


def test_read_only_and_writable_columns_plan_alike():
    schedule = SCHEDULES["waiting"]
    copies = {key: getattr(schedule, key).copy() for key in ("read", "step")}
    other = dataclasses.replace(schedule, **copies)
    np.testing.assert_array_equal(
        plan_slots(other, width=4).read_slot, plan_slots(schedule, width=4).read_slot
    )


@pytest.mark.parametrize("key", ["width", "record_every"])
@pytest.mark.parametrize(
    "value, error", [(0, ValueError), (2.5, TypeError), (True, TypeError)]
)
def test_bad_arguments(key, value, error):
    with pytest.raises(error, match=key):
        plan_slots(SCHEDULES["one row"], **{key: value})


def test_an_invalid_schedule_never_reaches_the_compiled_code():
    bad = dataclasses.replace(
        SCHEDULES["one row"], read=np.array([1_000_000], np.int32)
    )
    for plan in (plan_slots, wave_lengths):
        with pytest.raises(ValueError, match=r"row 0: read must be .* got 1000000"):
            plan(bad)
