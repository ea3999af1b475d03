"""Functions called with a config's keys; what does not fit is told with its place."""

import contextlib
import inspect
from collections.abc import Callable, Generator, Iterable
from typing import Any

from asgrad_jax.cli.scales import unknown


def check_names(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises ValueError for a name that is not known, with the nearest known one."""
    known = list(known)
    for name in given:
        if name not in known:
            raise ValueError(f"{where}: {unknown('key', name, known)}")


def call(where: str, function: Callable, arguments: dict[str, Any]) -> Any:
    """Calls with keywords; what does not fit is told with its place."""
    check_call(where, function, arguments)
    with placed(where):
        return function(**arguments)


@contextlib.contextmanager
def placed(where: str) -> Generator[None, None, None]:
    """Puts a place of the config before the errors about it."""
    try:
        yield
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise ValueError(f"{where}: {error}") from error


def check_call(where: str, function: Callable, arguments: dict[str, Any]) -> None:
    """Raises for a name that is unknown or missing, and true or false out of place."""
    signature = inspect.signature(function)
    known = signature.parameters
    # A function with **parameters (groups) checks their names itself.
    if not any(known[key].kind == inspect.Parameter.VAR_KEYWORD for key in known):
        check_names(where, arguments, known)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None
    for key, value in arguments.items():
        parameter = known.get(key)
        truth = parameter is not None and parameter.annotation in (bool, "bool")
        if parameter is not None and parameter.annotation is parameter.empty:
            continue  # a function of the user's, who may mean anything
        if truth != isinstance(value, bool):
            kind = "true or false" if truth else "neither true nor false"
            raise ValueError(f"{where}: {key} must be {kind}, got {value!r}")
