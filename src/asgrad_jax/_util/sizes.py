"""Sizes with bounds: a slip of the pen must not fill the memory unnoticed."""

from typing import Any

from asgrad_jax._util.checks import check_count

MOST_WORKERS = 10_000_000  # more than that is a slip of the pen, and fills the memory


def check_workers(value: Any, name: str = "num_workers", *, minimum: int = 1) -> int:
    """Returns a number of workers, at most ten million, as Python's int; or raises.

    Example:
        >>> check_workers(102147483648)
        Traceback (most recent call last):
        ...
        ValueError: num_workers must be an integer in 1..10000000, got 102147483648
    """
    return check_count(name, value, minimum=minimum, maximum=MOST_WORKERS)


MOST_ROWS = 1_000_000_000  # of a schedule, whose columns take about 50 GB then


def check_rows(value: Any, name: str = "num_gradients") -> int:
    """Returns a number of gradients, at most a billion, as Python's int; or raises.

    Example:
        >>> check_rows(2_000)
        2000
    """
    return check_count(name, value, maximum=MOST_ROWS)
