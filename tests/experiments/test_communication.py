"""Bits that were sent, counted by hand."""

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.schedules.messages import messages

GRID = ag.Grid(
    ag.quadratic(num_workers=2, num_features=3),
    algorithms=["pure_async", "ringmaster"],
    compute_times=ag.compute_times.fixed([1.0, 9.5]),
    step_sizes=[0.1, 0.2],
    num_gradients=12,
    record_every=6,
)


def test_bits_by_hand():
    """Worker 1's first gradient, at 9.5 seconds, is the tenth; one discards it."""
    result = ag.with_bits(ag.sweep(GRID), GRID, bits_up=10, bits_down=1)
    bits = result["bits"].squeeze().values
    # Two downloads at the start; each upload is followed by a download.
    assert bits[0].tolist() == [2, 60 + 8, 120 + 14]
    assert bits[1].tolist() == [2, 60 + 8, 130 + 15]
    figure = ag.plot.convergence(result, against=["bits"])
    assert figure.axes[0].get_xlabel() == "bits"


def test_bits_of_floats_where_nothing_is_said():
    bits = ag.with_bits(ag.sweep(GRID), GRID)["bits"]
    np.testing.assert_array_equal(bits.values[0].ravel(), 96 * np.array([2, 14, 26]))


def test_another_grid_is_refused():
    result = ag.sweep(GRID)
    with pytest.raises(ValueError, match="result must have the grid's algorithm, got"):
        ag.with_bits(result.isel(algorithm=[0]), GRID)
    with pytest.raises(ValueError, match="must have the grid's 3 records, got 2"):
        ag.with_bits(result.isel(record=[0, 1]), GRID)


@pytest.mark.parametrize(("known", "flying"), [(True, 2), (False, 5)])
def test_jobs_in_flight_were_downloaded_too(known, flying):
    """As many as are known to be, or else as many as there may be."""
    left = {"in_flight_worker": [0, 1], "in_flight_read": [2, 3]} if known else {}
    schedule = ag.Schedule.from_arrays(
        worker=[0, 1, 0], read=[0, 0, 1], concurrency_max=5, **left
    )
    up, down = messages(schedule, np.array([0, 3]))
    assert up.tolist() == [0, 3] and down.tolist() == [flying, 3 + flying]
