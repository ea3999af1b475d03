"""Functions by name, with what is known of each: a decorator adds one."""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from asgrad_jax._util.checks import check_choice

Properties = TypeVar("Properties")
Function = TypeVar("Function", bound=Callable[..., Any])


class Registry(Generic[Properties]):
    """Functions by their names, in the order in which they were registered.

    Args:
        what: the functions are or make, with its article, for errors.

    Example:
        >>> shapes = Registry("a shape")
        >>> @shapes.register("round")
        ... def circle():
        ...     return "o"
        >>> shapes.names(), shapes.properties("circle"), shapes.find("circle")()
        (['circle'], 'round', 'o')
        >>> shapes.find("circel")
        Traceback (most recent call last):
        ...
        ValueError: the name of a shape must be 'circle', got 'circel' (did you mean
        'circle'?)
    """

    def __init__(self, what: str):
        self._what = what
        self._known: dict[str, tuple[Callable[..., Any], Properties]] = {}

    def register(self, properties: Properties) -> Callable[[Function], Function]:
        """Returns a decorator that adds a function and what is known of it by its name.

        A module that is loaded again replaces its own functions; ValueError if another
        function has the name.
        """

        def add(function: Function) -> Function:
            name = function.__name__
            known, _ = self._known.get(name, (function, None))
            if known.__module__ != function.__module__:
                raise ValueError(
                    f"the name of {self._what} must be new, got {name!r}, which "
                    f"{known.__module__} has; choose another"
                )
            self._known[name] = function, properties
            return function

        return add

    def remove(self, name: str) -> None:
        """Takes a function out again."""
        self.find(name)
        del self._known[name]

    def names(self) -> list[str]:
        """Returns the names."""
        return list(self._known)

    def find(self, name: str) -> Callable[..., Any]:
        """Returns the function of that name; ValueError lists the known ones."""
        return self._entry(name)[0]

    def properties(self, name: str) -> Properties:
        """Returns what is known of the function of that name."""
        return self._entry(name)[1]

    def __iter__(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        """Yields names and functions."""
        return ((name, function) for name, (function, _) in self._known.items())

    def _entry(self, name: str) -> tuple[Callable[..., Any], Properties]:
        check_choice(f"the name of {self._what}", name, self._known)
        return self._known[name]


def attach(
    registry: Registry[Any], package: str, first: Sequence[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Imports all files of a package, so that they register, and shows the functions.

    Args:
        registry: of the package's functions, which become its attributes; those that
            users register later do so too.
        package: its name; it is being imported.
        first: files whose functions come first, in this order.

    Returns:
        Its `__getattr__` and its `__dir__`.
    """
    namespace = vars(sys.modules[package])
    found = pkgutil.iter_modules(namespace["__path__"])
    files = [file.name for file in found if not file.name.startswith("_")]
    for name in (*first, *(name for name in files if name not in first)):
        importlib.import_module(f"{package}.{name}")
    namespace.update(registry)  # some functions are called like their file

    def find(name: str) -> Any:
        if name in registry.names():
            return registry.find(name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def public() -> list[str]:
        own = [name for name in namespace if not name.startswith("_")]
        # Some functions are called like their file.
        return sorted({*own} - {"Any", *files} | {*registry.names()})

    return find, public
