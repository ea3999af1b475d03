"""Coefficient tables: errors that name the row."""

import numpy as np
import pytest

from asgrad_jax.plan.table import Table


def table(**changes):
    given = {"gain": [1.0, 0.0], "carry": [0.0, 0.0]} | changes
    return Table.from_arrays(given.pop("row", [0, 1, 0]), **given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row": []}, "A >= 1"),
        ({"row": [0, -1, 0]}, "row 1 is -1"),
        ({"row": [0, 3, 0], "num_rows": 2}, r"row 1 is 3, the table has rows 0\.\.1"),
        ({"gain": [1.0, 2.0, 3.0]}, "gain has shape"),
        ({"keep": [0.0, np.nan, 0.0]}, "keep in row 1 is not finite"),
        ({"mix": [[np.inf, 0], [0, 1]]}, "mix in row 0 is not finite"),
    ],
)
def test_bad_tables(changes, message):
    with pytest.raises(ValueError, match=message):
        table(**changes)


def test_one_value_stands_for_all_rows():
    made = table(keep=0.5)
    assert made.gain.shape == (3, 2)
    assert made.keep.tolist() == [0.5] * 3
    assert made.mix.shape == (3, 2, 2)
