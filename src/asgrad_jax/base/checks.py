"""Checks of numbers that users hand over, on the host."""

import numbers
import reprlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


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


def check_numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Returns `values` as float64; raises unless all are real numbers.

    They may be NaN or infinite, and are copied only where they must be. Dates, texts
    and complex numbers would become others without a word, and masked entries count.

    Example:
        >>> check_numbers("labels", [1, -1])
        array([ 1., -1.])
        >>> check_numbers("labels", ["1", "-1"])
        Traceback (most recent call last):
        ...
        TypeError: labels must be real numbers, got ['1', '-1']
    """
    if np.ma.is_masked(values):
        raise ValueError(f"{name} has masked entries; fill them in or leave them out")
    try:
        array = np.asarray(values)
        if array.dtype.kind in "USMmc" or (array.dtype.hasobject and None in array):
            raise TypeError
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError):  # ragged lists among them
        shown = reprlib.repr(values)
        raise TypeError(f"{name} must be real numbers, got {shown}") from None
