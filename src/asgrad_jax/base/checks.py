"""Checks of single numbers that users hand over, on the host."""

import numbers
from typing import Any

import numpy as np


def check_count(name: str, value: int, *, minimum: int = 1) -> int:
    """Returns `value` as an int; raises unless it is an integer >= minimum.

    Example:
        >>> check_count("width", np.int64(4))
        4
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name}={value} must be at least {minimum}")
    return int(value)


def check_number(name: str, value: Any) -> float:
    """Returns `value` as a float; raises TypeError unless it is one real number.

    Example:
        >>> check_number("strength", np.float32(0.5))
        0.5
    """
    # Not every single number is a `Real`: JAX's are arrays.
    array = np.asarray(value)
    single = array.ndim == 0 and array.dtype.kind in "iuf"
    if not (isinstance(value, numbers.Real) or single):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)
