"""The families of compute times by name."""

import reprlib
from collections.abc import Callable
from typing import Any

from asgrad_jax._util.checks import check_choice, check_count
from asgrad_jax.compute_times.base import ComputeTimes

_FAMILIES: dict[str, Callable[..., ComputeTimes]] = {}
_EXAMPLES: dict[str, Callable[[int], ComputeTimes]] = {}


def family(example: Callable[[Any, int], ComputeTimes]):
    """Decorates a function that makes compute times; it is then known by its name.

    Args:
        example: (function, n) -> an instance with n workers, for the function below.
    """

    def register(make):
        _FAMILIES[make.__name__] = make
        _EXAMPLES[make.__name__] = lambda n: example(make, n)
        return make

    return register


def over_speeds(make: Any, num_workers: int) -> ComputeTimes:
    """The example of a family that is given by one number of seconds per worker."""
    return make(range(1, num_workers + 1))


def names() -> list[str]:
    """Returns the names of the families, in the order of the documentation.

    Example:
        >>> import asgrad_jax as ag
        >>> ag.compute_times.names()[:3]
        ['fixed', 'normal', 'poisson']
    """
    return list(_FAMILIES)


def get(name: str, *args: Any, **parameters: Any) -> ComputeTimes:
    """Makes compute times by the name of their family.

    Args:
        name: one of `names()`.
        *args: as the family's function takes them, mostly the means first.
        **parameters: the same by keyword.

    Returns:
        The compute times.

    Raises:
        TypeError, ValueError: if no family has that name; the known ones are listed.

    Example:
        >>> import asgrad_jax as ag
        >>> ag.compute_times.get("pareto", [1.0, 2.0], alpha=3.0)
        pareto(2 workers, mean 1..2)
    """
    return _known(name, _FAMILIES)(*args, **parameters)


def example(name: str, num_workers: int = 10) -> ComputeTimes:
    """Returns a typical member of a family, to try it or to test all of them.

    Args:
        name: one of `names()`.
        num_workers: n >= 1; a family whose workers come in groups takes the next
            number that fits.

    Returns:
        The compute times, speeds 1..n where the family lets them be chosen.

    Raises:
        TypeError, ValueError: if there is no such family or n is not a count.

    Example:
        >>> import asgrad_jax as ag
        >>> ag.compute_times.example("ata_groups", 12)
        ata_groups(15 workers, mean 58..638)
    """
    return _known(name, _EXAMPLES)(check_count("num_workers", num_workers))


def as_clock(what: str, clock: Any) -> ComputeTimes:
    """Returns built-in compute times from such an object or the dict of its config.

    Raises:
        TypeError: if it is neither.

    Example:
        >>> import asgrad_jax as ag
        >>> as_clock("base", {"name": "fixed", "mean": [1.0]})
        fixed(1 workers, mean 1..1)
    """
    if isinstance(clock, dict) and isinstance(clock.get("name"), str):
        return get(**clock)
    if type(clock) is not ComputeTimes:
        raise TypeError(
            f"{what} must be built-in compute times, for example fixed([1.0, 2.0]), or "
            "a dict such as {'name': 'fixed', 'mean': [1, 2]}, got "
            f"{reprlib.repr(clock)}"
        )
    return clock


def _known(name: str, table: dict[str, Callable]) -> Callable:
    check_choice("the name of compute times", name, table)
    return table[name]
