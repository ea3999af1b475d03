"""Callable objects as keys of JAX's caches."""

import dataclasses
import functools
import weakref
from collections.abc import Callable
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any

_BY_THEMSELVES = (FunctionType, MethodType, BuiltinMethodType)
_holders: weakref.WeakValueDictionary[tuple, "HashableCallable"] = (
    weakref.WeakValueDictionary()
)


class HashableCallable:
    """A callable object with the hash and the equality that JAX's caches need.

    Its own may be missing (a dataclass that can change, or holds an array) or say less
    than JAX takes it for (a field that is left out of comparisons, an attribute that is
    set anew). The attributes of the object are kept alive with it.
    """

    def __init__(self, function: Callable, attributes: dict[str, Any]):
        self.function = self.__wrapped__ = function  # inspect asks for the latter
        self.attributes = attributes

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the object."""
        return self.function(*args, **kwargs)


def hashable(function: Callable) -> Callable:
    """Returns a callable that is the same key as long as nothing was set anew.

    Functions, methods and frozen dataclasses that compare all that they hold (numbers,
    text, functions, others of their kind) come back as they are; another object gives
    one and the same `HashableCallable` until one of its attributes is another object.

    Example:
        >>> @dataclasses.dataclass
        ... class Scale:
        ...     factor: float
        ...     def __call__(self, x):
        ...         return self.factor * x
        >>> scale = Scale(2.0)
        >>> before = hashable(scale)
        >>> before(3.0), hashable(scale) is before
        (6.0, True)
        >>> scale.factor = 4.0
        >>> hashable(scale) is before
        False
    """
    if _is_value(function):
        return function
    kind = type(function)
    attributes = {
        name: value
        for name, value in getattr(function, "__dict__", {}).items()
        if not isinstance(getattr(kind, name, None), functools.cached_property)
    }
    key = id(function), *((name, id(value)) for name, value in attributes.items())
    return _holders.setdefault(key, HashableCallable(function, attributes))


def _is_value(value: Any) -> bool:
    """Whether equal ones do the same: a frozen dataclass that compares all it holds."""
    if type(value) is tuple:
        return all(map(_is_value, value))
    if value is None or isinstance(value, (bool, int, float, str, *_BY_THEMSELVES)):
        return True
    own = vars(type(value))
    if "__dataclass_fields__" not in own or not own["__dataclass_params__"].frozen:
        return False
    return all(
        f.compare and f.hash is not False and _is_value(getattr(value, f.name))
        for f in dataclasses.fields(value)
    )
