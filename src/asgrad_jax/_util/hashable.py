"""Callable objects as keys of JAX's caches."""

import dataclasses
import functools
import weakref
from collections.abc import Callable
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any

_BY_THEMSELVES = (FunctionType, BuiltinMethodType)
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

    Functions, frozen dataclasses that compare all that they hold (numbers, text,
    functions, others of their kind) and methods of these come back as they are; another
    object, method or `functools.partial` gives one and the same `HashableCallable`
    until one of its attributes, or of those of the method's object, is another object.

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
    identity, attributes = _parts(function)
    key = *identity, *((name, id(value)) for name, value in attributes.items())
    return _holders.setdefault(key, HashableCallable(function, attributes))


def _parts(function: Any) -> tuple[tuple, dict[str, Any]]:
    """What names a callable, and all that it holds and may hold another time."""
    if type(function) is MethodType:
        # The method is another object each time that it is asked for.
        owner = function.__self__
        if type(owner) is functools.partial:
            return (id(owner), id(function.__func__)), {"self": owner}
        return (id(owner), id(function.__func__)), _attributes(owner) | {"self": owner}
    if type(function) is functools.partial:
        inner, arguments = hashable(function.func), enumerate(function.args)
        given = {f"argument {k}": value for k, value in arguments}
        return (functools.partial,), {"func": inner, **given, **function.keywords}
    return (id(function),), _attributes(function)


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots too, but no cached properties."""
    kind = type(value)
    slots = {
        name
        for base in kind.__mro__
        for name in _names(vars(base).get("__slots__", ()))
        if not name.startswith("__") and hasattr(value, name)
    }
    found = {name: getattr(value, name) for name in sorted(slots)}
    return found | {
        name: held
        for name, held in getattr(value, "__dict__", {}).items()
        if not isinstance(getattr(kind, name, None), functools.cached_property)
    }


def _names(slots: Any) -> list[str]:
    return [slots] if isinstance(slots, str) else list(slots)


def _is_value(value: Any) -> bool:
    """Whether equal ones do the same: a frozen dataclass that compares all it holds."""
    if type(value) is tuple:
        return all(map(_is_value, value))
    if type(value) is MethodType:
        return isinstance(value.__self__, type) or _is_value(value.__self__)
    if value is None or isinstance(value, (bool, int, float, str, *_BY_THEMSELVES)):
        return True
    own = vars(type(value))
    if "__dataclass_fields__" not in own or not own["__dataclass_params__"].frozen:
        return False
    return all(
        f.compare and f.hash is not False and _is_value(getattr(value, f.name))
        for f in dataclasses.fields(value)
    )
