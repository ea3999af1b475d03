"""The checks of what users hand over, all on the host and in one dialect.

A message says "X must be ..., got ...; do ...": the argument's name, what is allowed,
what was given, and what to do where that is not plain from the rest. Booleans are not
numbers here (NumPy would silently treat them as 1 and 0), nor are texts, dates, complex
numbers and masked entries.
"""

import difflib
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from asgrad_jax._util.check_words import (
    Range,
    are_integers,
    entry,
    is_array_of_one,
    is_real,
    layout,
    short,
    wrong_type,
)

_FEW = 8  # names that are read before the one that was given


def check_count(
    name: str,
    value: Any,
    *,
    minimum: int = 1,
    maximum: int | None = None,
    other: str = "",
) -> int:
    """Returns an integer as Python's int; raises unless minimum <= it <= maximum.

    `other` adds to the message what the caller takes besides, such as " or None".

    Example:
        >>> check_count("width", np.int64(4))
        4
    """
    wanted = f"an integer >= {minimum}"
    if maximum is not None:
        wanted = f"an integer in {minimum}..{maximum}"
    wanted += other
    refuse_masked(name, value)
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise wrong_type(name, wanted, value) from None
    if number < minimum or (maximum is not None and number > maximum):
        raise ValueError(f"{name} must be {wanted}, got {short(number)}")
    return number


def check_seed(seed: Any, name: str = "seed") -> int:
    """Returns a seed, a non-negative integer of any size, as Python's int; or raises.

    Example:
        >>> check_seed(2**100) == 2**100
        True
    """
    return check_count(name, seed, minimum=0)


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    minimum: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
    finite: bool = True,
) -> float:
    """Returns one real number of the range as a float, or raises.

    Example:
        >>> check_number("strength", np.float32(0.5), above=0)
        0.5
        >>> check_number("q", 1.5, minimum=0, maximum=1)
        Traceback (most recent call last):
        ...
        ValueError: q must be a finite number >= 0 and <= 1, got 1.5
    """
    allowed = Range(above, minimum, below, maximum, finite)
    refuse_masked(name, value)
    if not (is_real(value) or is_array_of_one(value)):
        raise wrong_type(name, f"a {allowed}", value)
    number = to_float(value)
    too_large = math.isinf(number) and value != number
    if too_large or not allowed.holds(number):
        raise ValueError(f"{name} must be a {allowed}, got {short(value)}")
    return number


def check_positive(**values: Any) -> None:
    """Raises unless every number given by name is finite and above 0.

    Example:
        >>> check_positive(eps=0.1, smoothness=2.0)
    """
    for name, value in values.items():
        check_number(name, value, above=0)


def check_numbers(
    name: str,
    values: ArrayLike,
    *,
    ndim: int | None = None,
    size: int | None = None,
    above: float | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    finite: bool = False,
    bools: bool = False,
    empty: bool = False,
) -> NDArray[np.float64]:
    """Returns real numbers of the range as a float64 array, or raises.

    Args:
        name: of the argument.
        values: numbers of any shape; copied only where they must be.
        ndim: dimensions wanted; None is any.
        size: numbers wanted along the first axis, one per worker; None is any.
        above, minimum, maximum, finite: what every number must be. NaN passes only
            where nothing is asked.
        bools: whether True and False may stand for 1 and 0.
        empty: whether a flat list (ndim=1) may have no number.

    Example:
        >>> check_numbers("labels", [1, -1])
        array([ 1., -1.])
        >>> check_numbers("mean", [1, -1], above=0)
        Traceback (most recent call last):
        ...
        ValueError: mean[1] must be a number > 0, got -1.0
    """
    array = _as_array(name, values, ndim)
    try:
        if array.dtype.kind in "USMmc":
            raise TypeError
        if array.dtype.hasobject and not all(map(is_real, array.flat)):
            raise TypeError
        if not bools and (array.dtype.kind == "b" or holds_bool(values)):
            raise TypeError
        array = array.astype(np.float64, copy=False)
    except OverflowError:
        raise ValueError(
            f"{name} must be numbers that float64 can hold, got {short(values)}"
        ) from None
    except (TypeError, ValueError):
        raise wrong_type(name, "real numbers", values) from None
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} must be {layout(ndim)}, got shape {array.shape}")
    if ndim == 1 and not array.size and not empty:
        raise ValueError(f"{name} must have at least one number, got none")
    if size is not None and len(array) != size:
        raise ValueError(
            f"{name} must have one number for each of the {size} workers, got "
            f"{len(array)}"
        )
    allowed = Range(above, minimum, None, maximum, finite)
    raise_first(
        ~np.reshape(allowed.holds(array), -1),
        lambda i: f"{entry(name, array, i)} must be a {allowed}, got {array.flat[i]}",
    )
    return array


def check_integers(name: str, values: ArrayLike, *, ndim: int = 1) -> NDArray[np.int32]:
    """Returns integers, or floats that are integral, as read-only int32; or raises.

    Example:
        >>> check_integers("worker", [0.0, 2.0])
        array([0, 2], dtype=int32)
    """
    array = _as_array(name, values, ndim)
    if array.ndim != ndim:
        raise ValueError(f"{name} must be {layout(ndim)}, got shape {array.shape}")
    if not array.size:
        array = array.astype(np.int32)  # [] is float64 to NumPy
    if array.dtype.hasobject and are_integers(array):  # beyond 64 bits
        raise ValueError(f"{name} must fit in 32 bits, got {short(values)}")
    if array.dtype.kind not in "iuf" or holds_bool(values):
        raise wrong_type(name, "integers", values)
    flat = array.reshape(-1)
    limits = np.iinfo(np.int32)
    if array.dtype.kind == "f":
        raise_first(
            ~(np.isfinite(flat) & (flat == np.rint(flat))),
            lambda i: f"{entry(name, array, i)} must be an integer, got {flat[i]}",
        )
    if array.dtype != np.int32:
        raise_first(
            (flat < limits.min) | (flat > limits.max),
            lambda i: f"{entry(name, array, i)} must fit in 32 bits, got {flat[i]}",
        )
    return make_read_only(array, np.int32)


def check_booleans(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    """Returns a flat list of truth values, or of 0 and 1, read-only; or raises.

    Example:
        >>> check_booleans("step", [1, 0])
        array([ True, False])
    """
    array = _as_array(name, values, 1)
    if array.ndim != 1:
        raise ValueError(f"{name} must be {layout(1)}, got shape {array.shape}")
    if array.dtype.kind not in "biu" and array.size:
        raise wrong_type(name, "booleans", values)
    raise_first(
        (array != 0) & (array != 1),
        lambda i: f"{name}[{i}] must be True or False, got {array[i]}",
    )
    return make_read_only(array, np.bool_)


def check_bool(name: str, value: Any) -> bool:
    """Returns True or False as Python's bool; raises TypeError for all else.

    Example:
        >>> check_bool("sustained", np.True_)
        True
        >>> check_bool("sustained", 1)
        Traceback (most recent call last):
        ...
        TypeError: sustained must be True or False, got 1
    """
    if not isinstance(value, bool | np.bool_):
        raise wrong_type(name, "True or False", value)
    return bool(value)


def check_text(name: str, value: Any, *, other: str = "") -> str:
    """Returns a text as Python's str; raises TypeError for all else.

    Example:
        >>> check_text("title", 3)
        Traceback (most recent call last):
        ...
        TypeError: title must be a text, got 3
    """
    if not isinstance(value, str):
        raise wrong_type(name, f"a text{other}", value)
    return str.__str__(value)


def check_path(name: str, value: Any) -> Path:
    """Returns a path that a file system can have; raises for all else.

    Example:
        >>> check_path("path", 3)
        Traceback (most recent call last):
        ...
        TypeError: path must be a path, such as 'folder/name', got 3
    """
    try:
        path = Path(value)
    except TypeError:
        wanted = "a path, such as 'folder/name'"
        raise wrong_type(name, wanted, value) from None
    if "\0" in str(path):
        raise ValueError(
            f"{name} must be a path without NUL characters, got {short(str(path))}"
        )
    return path


def check_type(name: str, value: Any, kind: type | tuple[type, ...], words: str) -> Any:
    """Returns the value; raises TypeError unless it is of that class.

    `words` say what it must be and how one is made.

    Example:
        >>> check_type("figure", 3, str, "a figure of matplotlib")
        Traceback (most recent call last):
        ...
        TypeError: figure must be a figure of matplotlib, got 3
    """
    if not isinstance(value, kind):
        raise wrong_type(name, words, value)
    return value


def check_list(name: str, values: Any, entries: str) -> list[Any]:
    """Returns the entries of a list, tuple or array; raises TypeError for all else.

    Example:
        >>> check_list("workers", (2, 0), "workers")
        [2, 0]
    """
    try:
        if isinstance(values, str | bytes | Mapping | Set):
            raise TypeError
        return [*values][: len(values)]  # what has no length is used up by a look
    except TypeError:
        raise wrong_type(name, f"a list of {entries}", values) from None


def check_choice(
    name: str, value: object, known: Iterable[str], *, other: str = ""
) -> None:
    """Raises unless `value` is one of the known names; `other` says what else may be.

    Example:
        >>> check_choice("order", "shufled", ["random", "shuffled"])
        Traceback (most recent call last):
        ...
        ValueError: order must be 'random' or 'shuffled', got 'shufled' (did you mean
        'shuffled'?)
    """
    known = list(known)
    if isinstance(value, str) and value in known:
        return
    *first, last = [*map(repr, known), *([other] if other else [])] or ["one of none"]
    wanted = f"{', '.join(first)} or {last}" if first else last
    hint = did_you_mean(value, known) if isinstance(value, str) else ""
    kind = ValueError if isinstance(value, str) else TypeError
    if len(known) > _FEW:  # what is wrong first, then the long list
        wanted, hint = "a known one", f"{hint}; choose from {', '.join(known)}"
        hint += f" or {other}" if other else ""
    raise kind(f"{name} must be {wanted}, got {short(value)}{hint}")


def check_callable(name: str, function: Any, *arguments: str) -> None:
    """Raises TypeError unless `function` can be called with these arguments in turn.

    Example:
        >>> check_callable("mine.start", lambda: [0], "server")
        Traceback (most recent call last):
        ...
        TypeError: mine.start must take (server): too many positional arguments
    """
    wanted = ", ".join(arguments)
    if not callable(function):
        raise wrong_type(name, f"a function of ({wanted})", function)
    try:
        inspect.signature(function).bind(*arguments)
    except ValueError:  # some functions written in C have no signature
        pass
    except TypeError as error:
        raise TypeError(f"{name} must take ({wanted}): {error}") from None


def ceil_of(name: str, value: float) -> int:
    """Returns the least integer >= a quotient of checked numbers, which may overflow.

    Example:
        >>> ceil_of("noise_sq / eps", 2.5)
        3
    """
    return math.ceil(check_number(name, value))


def raise_first(bad: NDArray[np.bool_], message: Callable[[int], str]) -> None:
    """Raises ValueError with the message for the first True of `bad`, if any is True.

    Example:
        >>> raise_first(np.array([False, True]), lambda i: f"row {i} is too old")
        Traceback (most recent call last):
        ...
        ValueError: row 1 is too old
    """
    if bad.any():
        raise ValueError(message(int(np.argmax(bad))))


def refuse_masked(name: str, values: Any) -> None:
    """Raises ValueError if entries are masked: NumPy would silently drop the masks.

    Example:
        >>> refuse_masked("labels", np.ma.array([1, 2], mask=[False, True]))
        Traceback (most recent call last):
        ...
        ValueError: labels must have no masked entries; fill them in or leave them out
    """
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} must have no masked entries; fill them in or leave them out"
        )


def holds_bool(values: Any) -> bool:
    """Whether nested lists have True or False among numbers: NumPy makes them 1 and 0.

    Example:
        >>> holds_bool([[True, 2.5]]), holds_bool([1.0, 2.5])
        (True, False)
    """
    if isinstance(values, list | tuple):
        return any(map(holds_bool, values))
    return isinstance(values, bool | np.bool_)


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


def make_read_only(array: NDArray[Any], dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Returns a contiguous array that nobody can write to, copied where one could.

    Example:
        >>> make_read_only(np.zeros(2)).flags.writeable
        False
    """
    wanted = array.dtype if dtype is None else dtype
    result = array.astype(wanted, order="C", copy=array.flags.writeable)
    result.flags.writeable = False
    return result


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns words that name the nearest known name, or nothing where none is near.

    Example:
        >>> did_you_mean("widht", ["seeds", "width"]), did_you_mean("x", ["width"])
        (" (did you mean 'width'?)", '')
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _as_array(name: str, values: Any, ndim: int | None) -> NDArray[Any]:
    """NumPy's array of what was given; raises for masked entries and ragged lists."""
    refuse_masked(name, values)
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(
            f"{name} must be {layout(ndim)}, got lists of unequal lengths, "
            f"{short(values)}"
        ) from None
