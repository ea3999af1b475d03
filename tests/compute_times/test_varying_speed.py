"""Speeds that vary in time against a direct integral of the power."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgrad_jax import compute_times as ct
from asgrad_jax.simulation.simulate import simulate

SETTINGS = settings(derandomize=True, deadline=None, max_examples=150)
ONE = ct.fixed([1.0])

# Quarters, so that every sum and product below is exact.
quarter = st.integers(1, 12).map(lambda k: k / 4)
power = st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0])
pieces = st.lists(st.tuples(quarter, power), min_size=1, max_size=6)


def direct(pieces, periodic, start, work):
    """Walks through the pieces from time 0, with no shortcut."""
    lengths, powers = zip(*pieces, strict=True)
    if work == 0:
        return start
    now, left, j = 0.0, work, 0
    while now < 1e4:
        last = not periodic and j == len(pieces) - 1
        until = np.inf if last else now + lengths[j % len(pieces)]
        speed = powers[min(j, len(pieces) - 1) if not periodic else j % len(pieces)]
        if until > start:
            begin = max(now, start)
            if speed and left <= speed * (until - begin):
                return begin + left / speed
            if last:
                return np.inf
            left -= speed * (until - begin)
        now, j = until, j + 1
    return np.inf


@SETTINGS
@given(pieces, st.booleans(), st.integers(0, 200), st.integers(0, 100))
def test_the_end_is_where_the_integral_of_the_power_is(parts, periodic, start, work):
    lengths, powers = zip(*parts, strict=True)
    if not any(powers):
        return
    times = np.cumsum([0.0, *lengths])
    clock = ct.universal(
        ONE, times[:-1], powers, period=times[-1] if periodic else None
    )
    found = clock.end_time(0, start / 4, work / 4)
    expected = direct(parts, periodic, start / 4, work / 4)
    assert found == pytest.approx(expected, rel=1e-12)


def test_many_periods_are_skipped_at_once():
    clock = ct.universal(ONE, [0.0, 3.0], [1.0, 0.0], period=4.0)
    assert clock.end_time(0, 0.0, 3e9) == 4e9 - 1.0  # ends with a working spell
    assert clock.end_time(0, 0.0, 3e9 + 1.0) == 4e9 + 1.0
    assert clock.end_time(0, 4e9 + 3.5, 1.0) == 4e9 + 5.0
    assert clock.end_time(0, 2.0, np.inf) == np.inf
    assert clock.end_time(0, 3.5, 0.0) == 3.5


def test_constant_power_is_the_base():
    base = ct.exponential(range(1, 6))
    same = ct.universal(base, [0.0], [1.0])
    one = simulate("random_async", base, num_gradients=500, seed=3)
    two = simulate("random_async", same, num_gradients=500, seed=3)
    np.testing.assert_array_equal(one.time, two.time)
    np.testing.assert_array_equal(one.worker, two.worker)
    double = ct.universal(base, [0.0], [2.0])
    faster = simulate("random_async", double, num_gradients=500, seed=3)
    np.testing.assert_allclose(faster.time, one.time / 2, rtol=1e-12)
    np.testing.assert_allclose(double.mean_durations, base.mean_durations / 2)


def test_outages():
    clock = ct.outages(ct.fixed([1.0] * 4), up=6.0, down=2.0)
    schedule = simulate("pure_async", clock, num_gradients=400)
    for worker in range(4):
        end = schedule.time[schedule.worker == worker]
        place = (end + 2.0 * worker) % 8.0  # worker i is i/n of a cycle ahead
        assert ((place <= 6.0) | (place == 8.0)).all()
        assert np.unique(np.diff(end)).tolist() == [1.0, 3.0]
    np.testing.assert_allclose(clock.mean_durations, 8.0 / 6.0)


def test_diurnal():
    clock = ct.diurnal(ct.fixed([0.01] * 2), period=24.0, amplitude=0.8, steps=24)
    schedule = simulate("pure_async", clock, num_gradients=10_000)
    for worker, noon in ((0, 0.0), (1, 12.0)):
        end = schedule.time[schedule.worker == worker]
        angle = 2 * np.pi * (end[end < 48.0] - noon) / 24.0
        # Ends come at the rate of the power: its first Fourier coefficient is a / 2.
        assert np.cos(angle).mean() == pytest.approx(0.4, abs=0.01)
        assert np.sin(angle).mean() == pytest.approx(0.0, abs=0.01)


def test_drift_burst_and_death():
    base = ct.fixed([1.0, 1.0])
    drift = ct.drift(base, 0.25, 60.0, steps=3, workers=[1])
    end = simulate("pure_async", drift, num_gradients=600)
    gaps = np.diff(end.time[end.worker == 1])
    # Powers 1, 3/4, 1/2, 1/4, twenty seconds each.
    assert gaps[5] == 1.0 and gaps[25] == pytest.approx(4 / 3)
    assert gaps[40] == pytest.approx(2.0) and gaps[-1] == pytest.approx(4.0)
    assert (np.diff(end.time[end.worker == 0]) == 1.0).all()
    assert drift.mean_durations.tolist() == [1.0, 4.0]

    burst = ct.burst(base, 10.0, 5.0, 4.0, workers=[0])
    end = simulate("pure_async", burst, num_gradients=100)
    gaps = np.diff(end.time[end.worker == 0])
    assert (gaps == 0.25).sum() == 20 and (gaps == 1.0).sum() == len(gaps) - 20
    assert ct.burst(base, 10.0, 5.0, 0.0).end_time(0, 9.5, 1.0) == 15.5

    death = ct.death(base, 7.5, workers=[1])
    end = simulate("pure_async", death, num_gradients=100)
    assert (end.worker == 1).sum() == 7
    assert end.in_flight_worker.tolist().count(1) == 1
    assert death.may_hang and death.mean_durations.tolist() == [1.0, np.inf]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.0, 1.0], [1.0]), ValueError, "worker 0 must .* its 2 times, got 1"),
        (([1.0], [1.0]), ValueError, "must start at 0"),
        (([0.0, 2.0, 2.0], [1, 1, 1]), ValueError, "grow"),
        (([0.0, 5.0], [1.0, 1.0], 5.0), ValueError, "before the period"),
        (([0.0, np.nan], [1.0, 1.0]), ValueError, "grow"),
        (
            ([0.0], [-1.0]),
            ValueError,
            r"powers\[0\] must be .* >= 0, got -1.0",
        ),
        (([[0.0]], [[np.inf]]), ValueError, r"powers\[0\]\[0\] must be .* got inf"),
        (([0.0, 1.0], [0.0, 0.0]), ValueError, "worker 0 must have power at some time"),
        (
            ([0.0], [1.0], -3.0),
            ValueError,
            "period must be .* > 0, got -3.0",
        ),
        (
            ([[0.0], [0.0]], [1.0]),
            ValueError,
            "times must have .* the 1 workers .* got 2",
        ),
        ((0.0, [1.0]), TypeError, "times must be a list of numbers, .* got 0.0"),
        ((["a"], [1.0]), TypeError, r"times must be real numbers, got \['a'\]"),
    ],
)
def test_bad_profiles(arguments, error, message):
    with pytest.raises(error, match=message):
        ct.universal(ONE, *arguments)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ct.universal([1.0], [0.0], [1.0]), TypeError, "base must be .* got"),
        (lambda: ct.outages(ct.outages(ONE, 1, 1), 1, 1), ValueError, "constant speed"),
        (lambda: ct.death(ct.tick([1.0]), 1.0, [0]), ValueError, "constant speed"),
        (lambda: ct.death(ONE, 1.0, [1]), ValueError, r"workers\[0\] .* 0\.\.0, got 1"),
        (lambda: ct.death(ONE, 1.0, 0), TypeError, "workers must be a list of .*got 0"),
        (lambda: ct.outages(ONE, 0.0, 1.0), ValueError, "up must be .* > 0, got 0.0"),
        (
            lambda: ct.diurnal(ONE, amplitude=1.0),
            ValueError,
            "amplitude .* > 0 and < 1, got 1.0",
        ),
        (lambda: ct.diurnal(ONE, steps=1), ValueError, "steps must be .* >= 2, got 1"),
        (lambda: ct.drift(ONE, 0.0, 1.0), ValueError, "factor must be .* > 0, got 0.0"),
        (
            lambda: ct.burst(ONE, 1.0, 1.0, -1.0),
            ValueError,
            "factor must be .* >= 0, got -1.0",
        ),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
