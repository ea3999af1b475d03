"""The families of compute times by name."""

import reprlib
from collections.abc import Callable
from typing import Any

from asgrad_jax._util.registry import Function, Registry
from asgrad_jax._util.sizes import check_workers
from asgrad_jax.compute_times.base import ComputeTimes

# Properties: n -> an instance with n workers.
REGISTRY: Registry[Callable[[int], ComputeTimes]] = Registry("compute times")


def register(
    example: Callable[[Any, int], ComputeTimes],
) -> Callable[[Function], Function]:
    """Returns a decorator that makes compute times known by their function's name.

    Args:
        example: (function, n) -> an instance with n workers, for the function below.

    Example:
        >>> import asgrad_jax as ag
        >>> @ag.compute_times.register(example=lambda make, n: make(n))
        ... def all_equal(num_workers):
        ...     return ag.compute_times.fixed([1.0] * num_workers)
        >>> ag.compute_times.get("all_equal", 3)
        fixed(3 workers, mean 1..1)
        >>> REGISTRY.remove("all_equal")  # a doctest leaves things as they were
    """

    def add(make: Function) -> Function:
        return REGISTRY.register(lambda n: example(make, n))(make)

    return add


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
    return REGISTRY.names()


def get(name: str, *args: Any, **parameters: Any) -> ComputeTimes:
    """Makes compute times by the name of their family.

    Args:
        name: one of `names()`; else a ValueError lists them.
        *args, **parameters: as the family's function takes them.

    Example:
        >>> import asgrad_jax as ag
        >>> ag.compute_times.get("pareto", [1.0, 2.0], alpha=3.0)
        pareto(2 workers, mean 1..2)
    """
    return REGISTRY.find(name)(*args, **parameters)


def example(name: str, num_workers: int = 10) -> ComputeTimes:
    """Returns a typical member of a family, to try it or to test all of them.

    Args:
        name: one of `names()`.
        num_workers: n >= 1, of speeds 1..n where they can be chosen; a family whose
            workers come in groups takes the next number that fits.

    Raises:
        TypeError, ValueError: if there is no such family or n is not a count.

    Example:
        >>> import asgrad_jax as ag
        >>> ag.compute_times.example("ata_groups", 12)
        ata_groups(15 workers, mean 58..638)
    """
    return REGISTRY.properties(name)(check_workers(num_workers))


def as_compute_times(what: str, value: Any) -> ComputeTimes:
    """Returns compute times, given or made from their config; else a TypeError.

    Example:
        >>> import asgrad_jax as ag
        >>> as_compute_times("base", {"name": "fixed", "mean": [1.0]})
        fixed(1 workers, mean 1..1)
    """
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return get(**value)
    if type(value) is not ComputeTimes:
        raise TypeError(
            f"{what} must be built-in compute times, for example fixed([1.0, 2.0]), or "
            "a dict such as {'name': 'fixed', 'mean': [1, 2]}, got "
            f"{reprlib.repr(value)}"
        )
    return value
