"""Plain descriptions of what was run, for the config that every result carries."""

import dataclasses
import functools
import hashlib
import inspect
import sys
import sysconfig
from pathlib import Path
from typing import Any

import jax
import numpy as np


def describe(value: Any) -> Any:
    """Returns a plain description of an algorithm, a clock, a function or a value."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [describe(part) for part in value]
    if hasattr(value, "config"):
        return value.config()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if callable(value) and not isinstance(value, type):
        # Two lambdas have the same name; what they do tells them apart.
        try:
            text = repr(_fingerprint(value, {}))
        except RecursionError:  # it holds on to half of the program
            code = getattr(inspect.unwrap(value), "__code__", None)
            text = repr(code and _code(code))
        digest = hashlib.sha256(text.encode())
        return f"{_name(value)} (code {digest.hexdigest()[:16]})"
    return _name(value)


def _name(value: Any) -> str:
    # A repr with an address would differ from run to run.
    return getattr(value, "__qualname__", type(value).__qualname__)


def _fingerprint(value: Any, seen: dict[int, Any]) -> Any:
    """Returns plain values that change when a function would do something else.

    Followed are a function's code, defaults, closure and the globals that it names,
    other functions among them. The code of installed libraries is not looked at.

    Args:
        value: anything.
        seen: what was met before, by identity; it counts by its name from then on.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return content_hash(value)
    if inspect.ismodule(value):
        return value.__name__
    if id(value) in seen or isinstance(value, type):
        return _name(value)
    seen[id(value)] = value

    def inside(part: Any) -> Any:
        return _fingerprint(part, seen)

    if isinstance(value, tuple | list):
        return [inside(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(inside(part)) for part in value)
    if isinstance(value, dict):
        return [(repr(key), inside(part)) for key, part in value.items()]
    if isinstance(value, functools.partial):
        return [inside(part) for part in (value.func, value.args, value.keywords)]
    if inspect.ismethod(value):
        return inside(value.__func__), inside(value.__self__)
    if inspect.isfunction(inspect.unwrap(value) if callable(value) else None):
        return _of_function(inspect.unwrap(value), inside)
    if _is_own(type(value)) and hasattr(value, "__dict__"):
        return _name(type(value)), inside(vars(value))
    return _name(value)


def _of_function(function, inside) -> Any:
    cells = [_content(cell) for cell in function.__closure__ or ()]
    given = [cells, function.__defaults__, function.__kwdefaults__]
    if not _is_own(function):
        return function.__module__, function.__qualname__, inside(given)
    names = _names(function.__code__)
    parts = [inside(given)]
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        if not inspect.ismodule(value):
            parts.append((name, inside(value)))
        elif _is_own(value):
            found = sorted(names & vars(value).keys())
            parts += [(name, n, inside(vars(value)[n])) for n in found]
    return _code(function.__code__), parts


def _content(cell) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was ever put in
        return None


def _is_own(value: Any) -> bool:
    """Whether a function, class or module is the user's, not an installed library's."""
    module = value if inspect.ismodule(value) else inspect.getmodule(value)
    if getattr(module, "__name__", None) in sys.builtin_module_names:
        return False
    path = getattr(module, "__file__", None) or ""
    return not path.startswith(_LIBRARIES)


_PATHS = sysconfig.get_paths()
_LIBRARIES = (
    *{_PATHS[name] for name in ("stdlib", "purelib", "platlib")},
    str(Path(__file__).parents[1]),
)


def _code(code) -> Any:
    """What a function does, those inside it included, without where it is written."""
    return (
        code.co_code,
        code.co_names,
        [_code(c) if inspect.iscode(c) else c for c in code.co_consts],
    )


def _names(code) -> set[str]:
    """The names that a function and those inside it may look up."""
    inner = [_names(c) for c in code.co_consts if inspect.iscode(c)]
    return set(code.co_names).union(*inner)


def content_hash(tree) -> str:
    """Returns the sha256 (hex) of the arrays of a pytree, types and shapes included."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def describe_problem(problem) -> dict[str, Any]:
    """Returns the static facts and numbers of a problem and a hash of its arrays.

    Args:
        problem: a problem on the host, or a dataclass that is part of one.

    Returns:
        A plain dict: class, static fields, numbers, parts that are such dicts, and
        `data_hash` (sha256 of all arrays).
    """
    facts = {}
    for field in dataclasses.fields(problem):
        value = getattr(problem, field.name)
        if field.metadata.get("static"):
            facts[field.name] = describe(value)
        elif isinstance(value, np.ndarray | np.generic | jax.Array):
            if value.ndim == 0:
                facts[field.name] = value.item()
        elif dataclasses.is_dataclass(value):  # a problem inside, or stored rows
            facts[field.name] = describe_problem(value)
    return {
        "class": type(problem).__name__,
        **facts,
        "data_hash": content_hash(problem),
    }
