"""Coefficient tables: errors that name the row."""

import numpy as np
import pytest

from asgrad_jax.schedules.gradient_table import GradientTable


def table(**changes):
    given = {"gain": [1.0, 0.0], "carry": [0.0, 0.0]} | changes
    return GradientTable.from_arrays(given.pop("row", [0, 1, 0]), **given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row": []}, "row must have at least one entry, got none"),
        ({"row": [0, -1, 0]}, r"row 1: table.row must be in 0\.\.0, got -1"),
        ({"row": [0, 3, 0], "num_rows": 2}, r"row 1: .* in 0\.\.1, got 3"),
        ({"gain": [1.0, 2.0, 3.0]}, r"gain must have shape \(3, 2\), got \(3,\)"),
        ({"keep": [0.0, np.nan, 0.0]}, "row 1: table.keep must be finite, got n"),
        ({"mix": [[np.inf, 0], [0, 1]]}, "row 0: table.mix must be finite, got .*inf"),
        ({"row": [0, 0.7, 1.9]}, r"row\[1\] must be an integer, got 0.7"),
        ({"row": [0, 2**32, 0]}, r"row\[1\] must fit in 32 bits, got 4294967296"),
        ({"drop": [[-1, 0], [-1, 0.5], [-1, -1]]}, r"drop\[1, 1\] must be an in.* 0.5"),
        ({"drop": [[-1], [7], [-1]]}, r"row 1: .*drop must .* 0\.\.1 .*\[7\]"),
        ({"drop": [[-1], [0]]}, r"table.drop must have shape \[3, M\], got \(2, 1\)"),
        ({"drop": [[-1], [0, 0], [-1]]}, "drop must be .*got lists of unequal len"),
        ({"num_rows": 2.5}, "num_rows must be an integer .* got 2.5"),
        ({"gain": ("1", "0")}, r"gain must be real numbers, got \('1', '0'\)"),
    ],
)
def test_bad_tables(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        table(**changes)


def test_one_value_stands_for_all_rows():
    made = table(keep=0.5)
    assert made.gain.shape == (3, 2)
    assert made.keep.tolist() == [0.5] * 3
    assert made.mix.shape == (3, 2, 2)


def test_a_table_is_read_only_and_leaves_the_callers_arrays_alone():
    given = {
        "row": np.array([0, 1, 0], np.int32),
        "gain": np.ones((3, 2)),
        "carry": np.zeros(2),
        "drop": np.full((3, 1), -1, np.int32),
    }
    made = table(**given)
    for name, array in given.items():
        assert array.flags.writeable
        assert not getattr(made, name).flags.writeable
        assert not np.shares_memory(getattr(made, name), array)
