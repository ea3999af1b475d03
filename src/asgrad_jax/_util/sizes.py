"""Sizes with bounds: a slip of the pen must not fill the memory unnoticed."""

from typing import Any

from asgrad_jax._util.checks import check_count

MOST_WORKERS = 10_000_000
MOST_ROWS = 1_000_000_000  # of a schedule, whose columns take about 50 GB then


def check_workers(value: Any, name: str = "num_workers", *, minimum: int = 1) -> int:
    """Returns a number of workers, at most ten million, as Python's int; or raises.

    Example:
        >>> check_workers(102147483648)
        Traceback (most recent call last):
        ...
        ValueError: num_workers must be at most 10,000,000, got 102147483648
    """
    return _at_most(MOST_WORKERS, name, check_count(name, value, minimum=minimum))


def check_rows(value: Any, name: str = "num_gradients") -> int:
    """Returns a number of gradients, at most a billion, as Python's int; or raises.

    Example:
        >>> check_rows(2_000)
        2000
    """
    return _at_most(MOST_ROWS, name, check_count(name, value))


def _at_most(most: int, name: str, value: int) -> int:
    if value > most:
        shown = value if value < 10**20 else "a larger one"
        raise ValueError(f"{name} must be at most {most:,}, got {shown}")
    return value
