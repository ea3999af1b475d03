"""What a run's config says of its parts: names, and hashes of what they hold and do."""

import dataclasses
import dis
import functools
import hashlib
import os
import random
import site
import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import numpy as np

from asgrad_jax._util.hashable import HashableCallable

Arrays = dict[int, tuple[Any, str]]  # id -> the array, kept alive, and its hash

_PLAIN = (type(None), type(...), bool, float, complex, str, bytes)
# What counts of a value of these classes.
_COUNTED: dict[Any, tuple[str, ...]] = {
    ModuleType: ("__name__",),
    MethodType: ("__func__", "__self__"),
    property: ("fget", "fset", "fdel"),
    # All but where it is written.
    CodeType: (
        *("co_code", "co_consts", "co_names", "co_varnames", "co_exceptiontable"),
        *("co_flags", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount"),
    ),
    # Streams of numbers change as they are used: nothing.
    Iterator: (),
    random.Random: (),
    np.random.RandomState: (),
    np.random.Generator: (),
    np.random.BitGenerator: (),
}
# Attributes of pandas' and scipy's objects, there once they were asked for, and the
# number that flax gives to every module of a process.
_CACHES = ("_cache", "_has_sorted_indices", "_has_canonical_format", "_id")
_FOLDERS = (
    *(os.path.dirname(os.__file__), str(Path(__file__).parents[1])),
    *(*site.getsitepackages(), site.getusersitepackages()),
)
# With the separator: a user's folder may be called like a library's, and more.
_LIBRARIES = (*(os.path.join(folder, "") for folder in _FOLDERS), "<frozen")


def describe(value: Any, arrays: Arrays | None = None) -> Any:
    """Returns a plain description of an algorithm, a function or a value.

    Args:
        value: what to describe.
        arrays: hashes of the arrays met so far, to hash none twice.
    """
    if isinstance(value, HashableCallable):
        value = value.function
    if isinstance(value, np.generic):
        value = value.item()
    # A member of an enumeration may be a number too.
    plain = isinstance(value, bool | int | float | str) and not isinstance(value, Enum)
    if value is None or plain:
        return value
    if isinstance(value, tuple | list):
        return [describe(part, arrays) for part in value]
    if isinstance(value, Mapping):
        return {str(key): describe(part, arrays) for key, part in value.items()}
    # A repr with an address would differ from run to run.
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if isinstance(value, type) and _is_library(value):
        return name
    ours = type(value).__module__.startswith("asgrad_jax.")
    if hasattr(value, "config") and (ours or not callable(value)):
        return value.config()
    if type(value) is functools.partial:
        parts = {"arguments": value.args, "keywords": value.keywords}
        parts = {key: part for key, part in parts.items() if part}
        return describe({"function": value.func, **parts}, arrays)
    if callable(value):
        # Two lambdas have the same name; what they do tells them apart.
        return f"{name} (code {fingerprint(value, arrays)[:16]})"
    if dataclasses.is_dataclass(value):
        return {
            field.name: describe(getattr(value, field.name), arrays)
            for field in dataclasses.fields(value)
        }
    return f"{name} ({fingerprint(value, arrays)[:16]})"


def describe_problem(problem: Any, arrays: Arrays | None = None) -> dict[str, Any]:
    """Returns the static properties and numbers of a problem and a hash of its arrays.

    Args:
        problem: a problem on the host, or a dataclass that is part of one.
        arrays: as for `describe`.

    Returns:
        A plain dict: class, static fields, numbers, parts that are such dicts, and
        `data_hash` (sha256 of all arrays).
    """
    properties = {}
    for field in dataclasses.fields(problem):
        value = getattr(problem, field.name)
        if field.metadata.get("static"):
            properties[field.name] = describe(value, arrays)
        elif isinstance(value, np.ndarray | np.generic | jax.Array):
            if value.ndim == 0:
                properties[field.name] = value.item()
        elif dataclasses.is_dataclass(value):  # a problem inside, or stored rows
            properties[field.name] = describe_problem(value, arrays)
    kind = describe(type(problem), arrays)
    return {"class": kind, **properties, "data_hash": content_hash(problem)}


def content_hash(tree: Any) -> str:
    """Returns the sha256 (hex) of the arrays of a pytree, types and shapes included."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def fingerprint(value: Any, arrays: Arrays | None = None) -> str:
    """Returns a sha256 (hex) that changes when a value holds or does something else.

    It is the same in every process. A function counts by its compiled code (its source
    may have been edited after it was read), defaults, closure and the globals that it
    reads, other functions among them; a user's class by what is in it; an object by its
    contents. Functions and classes of installed libraries count by name; random
    generators, iterators and what pickle cannot take apart (locks, files) by type.

    Args:
        value: anything.
        arrays: as for `describe`.

    Example:
        >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 2)
        False
    """
    arrays = {} if arrays is None else arrays
    known: Arrays = {}  # of all other values

    def text(value: Any, depth: int) -> str:
        if type(value) in _PLAIN or type(value) is int:
            return hex(value) if type(value) is int else repr(value)
        if _is_array(value):
            if id(value) not in arrays:
                arrays[id(value)] = value, _text_of_array(value)
            return arrays[id(value)][1]
        if id(value) not in known:
            known[id(value)] = value, f"^{depth}"  # what a part counts that holds it
            texts = [text(part, depth + 1) for part in _parts(value)]
            if isinstance(value, set | frozenset):
                texts.sort()
            digest = hashlib.sha256("\n".join(texts).encode())
            known[id(value)] = value, digest.hexdigest()
        return known[id(value)][1]

    return hashlib.sha256(text(value, 0).encode()).hexdigest()


def _is_array(value: Any) -> bool:
    array = type(value) is np.ndarray or isinstance(value, np.generic | jax.Array)
    return array and not getattr(value.dtype, "hasobject", False)


def _text_of_array(array: Any) -> str:
    weak = getattr(array, "weak_type", False)
    text = f"{type(array).__name__} {array.dtype} {array.shape} {weak} "
    try:
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            array = jax.random.key_data(array)
        return text + content_hash(array)
    except (RuntimeError, jax.errors.JAXTypeError):  # elsewhere, deleted, or traced
        return text


def _parts(value: Any) -> Iterable[Any]:
    """Takes a value apart by one level."""
    kind = type(value)
    if kind in (list, tuple, set, frozenset):
        return [kind, *value]
    if kind is dict:
        return [kind, *value.items()]
    if isinstance(value, type):
        return _parts_of_class(value)
    if isinstance(value, FunctionType):
        return [kind, *_parts_of_function(value)]
    for counted, names in _COUNTED.items():
        if isinstance(value, counted):
            return [kind, *(getattr(value, name) for name in names)]
    if _is_library(kind) and hasattr(value, "__wrapped__"):  # jax.jit and its like
        rules = [getattr(value, rule, None) for rule in ("fwd", "bwd", "jvp")]
        return [kind, value.__wrapped__, *rules]
    return [kind, *_parts_of_object(value)]


def _parts_of_class(kind: type) -> list[Any]:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if _is_library(kind):
        return [name]
    inside = [
        (name, part)
        for name, part in sorted(vars(kind).items())
        # Of the names with underscores only the methods.
        if not name.startswith("__")
        or name == "__call__"
        or isinstance(part, FunctionType)
    ]
    return [name, *kind.__bases__, *inside]


def _parts_of_object(value: Any) -> list[Any]:
    """What pickle would keep of an object; nothing if pickle refuses."""
    try:
        made = value.__reduce_ex__(4)
        if isinstance(made, str):  # the name of a global
            return [getattr(value, "__module__", None), made]
        build, given, state, items, pairs = (*made, None, None, None)[:5]
        states = state if isinstance(state, tuple) else (state,)  # two, with slots
        kept = [_without_caches(type(value), part) for part in states]
        kept = [part for part in kept if part is not None]
        return [build, given, kept, list(items or ()), list(pairs or ())]
    except Exception:  # whatever other people's code raises
        return []


def _without_caches(kind: type, state: Any) -> Any:
    """Leaves out what an object has only worked out about itself."""
    if not isinstance(state, dict):
        return state
    cached = functools.cached_property
    return {
        name: part
        for name, part in state.items()
        if name not in _CACHES
        and not isinstance(getattr(kind, str(name), None), cached)
    } or None


def _parts_of_function(function: FunctionType) -> list[Any]:
    code = function.__code__
    given = [function.__defaults__, function.__kwdefaults__]
    cells = [_content(cell) for cell in function.__closure__ or ()]
    if code.co_filename.startswith(_LIBRARIES):
        # A schedule of optax makes its number of steps a float when first called.
        cells = [float(c) if type(c) is int and abs(c) < 2**53 else c for c in cells]
        return [function.__module__, function.__qualname__, *given, *cells]
    codes = list(_codes(code))
    steps = [step for code in codes for step in dis.get_instructions(code)]
    asked = {s.argval for s in steps if "GLOBAL" in s.opname or s.opname == "LOAD_NAME"}
    known = function.__globals__
    names = {name for code in codes for name in code.co_names}
    read = [(name, known[name]) for name in sorted(asked & known.keys())]
    read = [(n, _as_read(v, names)) for n, v in (*read, *(("", c) for c in cells))]
    return [code, *given, vars(function), *read]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was ever put in
        return ...


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yields the code of a function and of those inside it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _codes(part)


def _as_read(value: Any, names: set[str], within: tuple = ()) -> Any:
    """Returns a value or, of a user's module, what a function may read of it."""
    if not isinstance(value, ModuleType) or value in within or _is_library(value):
        return value
    return [
        (name, _as_read(vars(value)[name], names, (*within, value)))
        for name in sorted(names & vars(value).keys())
    ]


def _is_library(value: Any) -> bool:
    """Whether a class or module is an installed library's, not the user's."""
    name = value.__name__ if isinstance(value, ModuleType) else value.__module__
    module = value if isinstance(value, ModuleType) else sys.modules.get(str(name))
    if path := getattr(module, "__file__", None):
        return path.startswith(_LIBRARIES)
    return str(name).partition(".")[0] in sys.stdlib_module_names
