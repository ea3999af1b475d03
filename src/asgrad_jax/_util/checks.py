"""Checks of numbers that users hand over, on the host."""

import difflib
import inspect
import math
import numbers
import operator
import reprlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def check_count(name: str, value: int, *, minimum: int = 1) -> int:
    """Returns `value` as an int; raises unless it is an integer >= minimum.

    Example:
        >>> check_count("width", np.int64(4))
        4
    """
    try:
        if isinstance(value, bool):  # the one bool that Python takes for an index
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < minimum:
        raise ValueError(f"{name}={number} must be at least {minimum}")
    return number


def check_number(name: str, value: Any) -> float:
    """Returns `value` as a float; raises TypeError unless it is one real number.

    True and False are none: they would count as 1 and 0 without a word.

    Example:
        >>> check_number("strength", np.float32(0.5))
        0.5
    """
    # Not every single number is a `Real`: JAX's are arrays.
    array = np.asarray(value)
    single = array.ndim == 0 and array.dtype.kind in "iuf"
    if isinstance(value, bool) or not (isinstance(value, numbers.Real) or single):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def is_number(value: Any) -> bool:
    """Whether a value is one integer or float of Python's or NumPy's, no truth value.

    Example:
        >>> is_number(np.float32(1)), is_number(True), is_number("1")
        (True, False, False)
    """
    number = isinstance(value, (int, float, np.integer, np.floating))
    return number and not isinstance(value, bool)


def round_up(name: str, value: float) -> int:
    """Returns the least integer >= `value`; raises ValueError unless it is finite.

    For quotients and products of checked numbers, which may be beyond every float.

    Example:
        >>> round_up("noise_sq / eps", 2.5)
        3
    """
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}; give numbers for which a float holds it")
    return math.ceil(value)


def check_numbers(
    name: str, values: ArrayLike, *, bools: bool = False
) -> NDArray[np.float64]:
    """Returns `values` as float64; raises unless all are real numbers.

    They may be NaN or infinite, and are copied only where they must be. Dates, texts
    and complex numbers would become others without a word, and masked entries count;
    so would True and False, which are refused unless `bools` lets them be 1 and 0.

    Example:
        >>> check_numbers("labels", [1, -1])
        array([ 1., -1.])
        >>> check_numbers("labels", ["1", "-1"])
        Traceback (most recent call last):
        ...
        TypeError: labels must be real numbers, got ['1', '-1']
    """
    refuse_masked(name, values)
    try:
        array = np.asarray(values)
        if array.dtype.kind in "USMmc" or (array.dtype.hasobject and None in array):
            raise TypeError
        if not bools and (array.dtype.kind == "b" or holds_bool(values)):
            raise TypeError
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError):  # ragged lists among them
        shown = reprlib.repr(values)
        raise TypeError(f"{name} must be real numbers, got {shown}") from None


def refuse_masked(name: str, values: Any) -> None:
    """Raises ValueError if entries are masked: NumPy drops masks without a word.

    Example:
        >>> refuse_masked("labels", np.ma.array([1, 2], mask=[False, True]))
        Traceback (most recent call last):
        ...
        ValueError: labels has masked entries; fill them in or leave them out
    """
    if np.ma.is_masked(values):
        raise ValueError(f"{name} has masked entries; fill them in or leave them out")


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Returns words that name the nearest known name, or nothing where none is near.

    Example:
        >>> did_you_mean("widht", ["seeds", "width"]), did_you_mean("x", ["width"])
        (" (did you mean 'width'?)", '')
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" (did you mean {near[0]!r}?)" if near else ""


def holds_bool(values: Any) -> bool:
    """Whether a list has True or False among numbers, which NumPy takes for 1 and 0.

    Example:
        >>> holds_bool([True, 2.5]), holds_bool([1.0, 2.5])
        (True, False)
    """
    if not isinstance(values, (list, tuple)):
        return False
    return any(isinstance(value, (bool, np.bool_)) for value in values)


def to_float(value: Any) -> float:
    """Returns a number as a float; inf for integers that no float64 can hold.

    Example:
        >>> to_float(10**400)
        inf
    """
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def check_takes(name: str, function: Any, *arguments: str) -> None:
    """Raises TypeError unless `function` can be called with these arguments in turn.

    Example:
        >>> check_takes("mine.start", lambda: [0], "server")
        Traceback (most recent call last):
        ...
        TypeError: mine.start must take (server): too many positional arguments
    """
    wanted = ", ".join(arguments)
    if not callable(function):
        raise TypeError(f"{name} is {function!r}; give a function of ({wanted})")
    try:
        inspect.signature(function).bind(*arguments)
    except ValueError:  # some functions written in C do not tell
        pass
    except TypeError as error:
        raise TypeError(f"{name} must take ({wanted}): {error}") from None
