"""Checks of plain numbers, shared by the bounds: a bad one raises, none is clamped."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_number, check_numbers


def positive(**numbers: float) -> None:
    """Raises ValueError unless every number given by name is finite and above zero.

    Args:
        numbers: name=value pairs; the name is used in the message.

    Raises:
        TypeError: naming the first value that is not one real number.
        ValueError: naming the first value that is not finite or not above zero.

    Example:
        >>> positive(eps=0.1, smoothness=2.0)
    """
    for name, given in numbers.items():
        value = check_number(name, given)
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be finite and > 0, got {value!r}")


def non_negative(**numbers: float) -> None:
    """Raises ValueError unless every number given by name is finite and >= 0.

    Args:
        numbers: name=value pairs; the name is used in the message.

    Raises:
        TypeError: naming the first value that is not one real number.
        ValueError: naming the first value that is not finite or below zero.

    Example:
        >>> non_negative(noise_sq=0.0)
    """
    for name, given in numbers.items():
        value = check_number(name, given)
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and >= 0, got {value!r}")


def at_least_one(**numbers: int) -> None:
    """Raises unless every number given by name is a whole number >= 1.

    Args:
        numbers: name=value pairs; the name is used in the message.

    Raises:
        TypeError: naming the first value that is not a whole number.
        ValueError: naming the first value below 1.

    Example:
        >>> at_least_one(num_workers=10)
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be an int >= 1, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be an int >= 1, got {value!r}")


def whole_chunks(num_jobs: int, tau: int) -> int:
    """Number of chunks in a horizon that is made of whole ones.

    Args:
        num_jobs: T', >= 1.
        tau: chunk length, jobs, >= 1.

    Returns:
        K = T'/tau.

    Raises:
        TypeError: if a number is no whole number.
        ValueError: if one is below 1, or T' is no multiple of tau.

    Example:
        >>> whole_chunks(100, 20)
        5
    """
    at_least_one(num_jobs=num_jobs, tau=tau)
    chunks, rest = divmod(num_jobs, tau)
    if rest:
        below = f"{chunks * tau} or " if chunks else ""
        raise ValueError(
            f"num_jobs = {num_jobs} is no multiple of the chunk length {tau} (tau, or "
            "the number of workers), but the theorem needs whole chunks; give "
            f"{below}{(chunks + 1) * tau} jobs"
        )
    return chunks


def sorted_durations(durations: ArrayLike) -> NDArray[np.float64]:
    """Seconds per gradient of each worker, checked and sorted, fastest first.

    Args:
        durations: float[n], seconds, every one finite and above zero.

    Returns:
        float64[n], seconds, ascending: tau_1 <= ... <= tau_n.

    Raises:
        TypeError: if they are not real numbers.
        ValueError: if it is not a non-empty vector of finite positive numbers.

    Example:
        >>> sorted_durations([3, 1, 2])
        array([1., 2., 3.])
    """
    array = check_numbers("durations", durations)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"durations must be a non-empty vector, one entry per worker; got shape "
            f"{array.shape}"
        )
    bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if bad.size:
        raise ValueError(
            f"durations must be finite and > 0; worker {bad[0]} has {array[bad[0]]:g}"
        )
    return np.sort(array)
