"""Fingerprints: what functions and objects hold, the same in every process."""

import dis
import functools
import hashlib
import os
import random
import site
import sys
import sysconfig
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

Arrays = dict[int, tuple[Any, str]]  # id -> the array, kept alive, and its hash

_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes)
# What changes as it is used says nothing about what a function does: streams of
# numbers, files, caches.
_MOVING = (
    Iterator,
    random.Random,
    np.random.Generator,
    np.random.BitGenerator,
    np.random.RandomState,
    weakref.WeakKeyDictionary,
    weakref.WeakValueDictionary,
    weakref.WeakSet,
)
# Attributes of pandas' and scipy's objects, there once they were asked for.
_CACHES = ("_cache", "_has_sorted_indices", "_has_canonical_format")
_PATHS = sysconfig.get_paths()
_FOLDERS = (
    *(_PATHS[name] for name in ("stdlib", "purelib", "platlib")),
    *site.getsitepackages(),
    site.getusersitepackages(),
    str(Path(__file__).parents[1]),
)
# With the separator: a user's folder may be called like a library's, and more.
_LIBRARIES = (*(os.path.join(folder, "") for folder in _FOLDERS), "<frozen")


class _Open(NamedTuple):
    """A value whose parts are being looked at."""

    value: Any
    parts: Iterator[Any]
    texts: list[str]


def fingerprint(value: Any, arrays: Arrays | None = None) -> str:
    """Returns a sha256 (hex) that changes when a value holds or does something else.

    A function counts by its code, defaults, closure and the globals that it reads,
    other functions among them; a user's class by what is in it; an object by its
    contents, whoever wrote its class. The code of installed libraries is not looked at.
    Random generators, iterators and what pickle cannot take apart (locks, devices)
    count by their type alone.

    Args:
        value: anything.
        arrays: hashes of the arrays met so far, to hash none twice.
    """
    arrays = {} if arrays is None else arrays
    known: dict[int, tuple[Any, str]] = {}
    depth: dict[int, int] = {}  # of the values that are open
    # Not by recursion: a chain of objects may be longer than Python's stack.
    stack = [_Open(None, iter([value]), [])]
    while True:
        value, parts, texts = stack[-1]
        for part in parts:
            text = _text(part, arrays)
            if text is None and id(part) in known:
                text = known[id(part)][1]
            if text is None and id(part) in depth:  # a cycle
                text = f"^{len(stack) - depth[id(part)]}"
            if text is None:
                depth[id(part)] = len(stack)
                stack.append(_Open(part, iter(_parts(part)), []))
                break
            texts.append(text)
        else:
            stack.pop()
            if isinstance(value, set | frozenset):
                texts.sort()
            text = hashlib.sha256("\n".join(texts).encode()).hexdigest()
            if not stack:
                return text
            del depth[id(value)]
            known[id(value)] = value, text
            stack[-1].texts.append(text)


def code_of(problem, server, metrics, arrays: Arrays | None = None) -> str:
    """Returns the fingerprint of all that is traced, the problem's arrays left out."""
    return fingerprint((jax.tree.structure(problem), server, metrics), arrays)


def content_hash(tree) -> str:
    """Returns the sha256 (hex) of the arrays of a pytree, types and shapes included."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _text(value: Any, arrays: Arrays) -> str | None:
    """Returns what a value without parts counts by; None if it has parts."""
    kind = type(value)
    if kind in _PLAIN:
        if kind in (str, bytes) and len(value) > 64:
            raw = value.encode("utf-8", "surrogatepass") if kind is str else value
            return f"{kind.__name__} {hashlib.sha256(raw).hexdigest()}"
        return hex(value) if kind is int else repr(value)
    if kind is not np.ndarray and not isinstance(value, np.generic | jax.Array):
        return None
    if getattr(value.dtype, "hasobject", False):
        return None
    if id(value) not in arrays:
        weak = getattr(value, "weak_type", False)
        text = f"{kind.__name__} {value.shape} {weak} {_bytes(value)}"
        arrays[id(value)] = value, text
    return arrays[id(value)][1]


def _bytes(array) -> str:
    try:
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            return f"{array.dtype} {content_hash(jax.random.key_data(array))}"
        return content_hash(array)
    except (RuntimeError, jax.errors.JAXTypeError):  # elsewhere, deleted, or traced
        return str(array.dtype)


def _parts(value: Any) -> list[Any]:
    """Takes a value apart by one level."""
    kind = type(value)
    named = f"{kind.__module__}.{kind.__qualname__}"
    if kind in (list, tuple, set, frozenset):
        return [named, *value]
    if kind is dict:
        return [named, *(part for item in value.items() for part in item)]
    if isinstance(value, type):
        return _parts_of_class(value)
    if isinstance(value, ModuleType):
        return [named, value.__name__]
    if isinstance(value, FunctionType):
        return [named, *_parts_of_function(value)]
    if isinstance(value, CodeType):
        return [named, *_parts_of_code(value)]
    if isinstance(value, MethodType):
        return [named, value.__func__, value.__self__]
    if isinstance(value, BuiltinMethodType):
        return [named, value.__qualname__, value.__self__]
    if isinstance(value, property):
        return [named, value.fget, value.fset, value.fdel]
    if kind is np.ndarray:  # of objects
        return [named, value.shape, *value.ravel().tolist()]
    if isinstance(value, jax.tree_util.PyTreeDef):
        return [named, value.node_data(), *value.children()]
    if isinstance(value, _MOVING):
        return [named]
    if is_library(kind) and hasattr(value, "__wrapped__"):  # jax.jit and its like
        rules = [getattr(value, name, None) for name in ("fwd", "bwd", "jvp")]
        return [named, value.__wrapped__, *rules]
    return [kind, *_parts_of_object(value)]


def _parts_of_object(value: Any) -> list[Any]:
    """What pickle would keep of an object; nothing if pickle refuses."""
    try:
        made = value.__reduce_ex__(4)
        if isinstance(made, str):  # the name of a global
            return [made]
        build, given, state, items, pairs = (*made, None, None, None)[:5]
        if isinstance(state, tuple):  # slots, or what pandas does
            kept = [_without_caches(type(value), part) for part in state]
            state = [part for part in kept if part is not None]
        state = _without_caches(type(value), state)
        return [build, given, state, list(items or ()), list(pairs or ())]
    except Exception:  # whatever other people's code raises
        return []


def _without_caches(kind: type, state: Any) -> Any:
    """Leaves out what an object has only worked out about itself."""
    if not isinstance(state, dict):
        return state
    kept = {
        name: part
        for name, part in state.items()
        if not isinstance(getattr(kind, name, None), functools.cached_property)
        and name not in _CACHES
    }
    return kept or None


def _parts_of_class(kind: type) -> list[Any]:
    named = f"{kind.__module__}.{kind.__qualname__}"
    if is_library(kind):
        return [named]
    inside = [
        (name, part)
        for name, part in sorted(vars(kind).items())
        # Of the names with underscores only the methods.
        if not name.startswith("__") or isinstance(part, FunctionType)
    ]
    return [named, *kind.__bases__, *inside]


def _parts_of_function(function: FunctionType) -> list[Any]:
    code = function.__code__
    cells = [_content(cell) for cell in function.__closure__ or ()]
    given = [function.__defaults__, function.__kwdefaults__]
    if code.co_filename.startswith(_LIBRARIES):
        # A schedule of optax makes its number of steps a float when first called.
        small = [type(c) is int and abs(c) < 2**53 for c in cells]
        cells = [float(c) if s else c for c, s in zip(cells, small, strict=True)]
        return [function.__module__, function.__qualname__, *given, *cells]
    names, known = _names(code), function.__globals__
    read = [
        (name, _as_read(known[name], names))
        for name in sorted(_globals_read(code))
        if name in known
    ]
    given += [vars(function), *(_as_read(cell, names) for cell in cells)]
    return [code, *given, *read]


def _as_read(value: Any, names: frozenset[str], within: tuple = ()) -> Any:
    """Returns a value or, of a user's module, what a function may read of it."""
    if not isinstance(value, ModuleType) or value in within or is_library(value):
        return value
    return [
        (name, _as_read(vars(value)[name], names, (*within, value)))
        for name in sorted(names & vars(value).keys())
    ]


def _content(cell) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was ever put in
        return ...


def _parts_of_code(code: CodeType) -> list[Any]:
    """What a function does, those inside it included, without where it is written."""
    arguments = code.co_argcount + code.co_kwonlyargcount
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
    return [
        code.co_code,
        code.co_exceptiontable,
        code.co_flags,
        counts,
        code.co_varnames[:arguments],  # given by keyword
        code.co_names,
        *code.co_consts,
    ]


@functools.lru_cache(maxsize=4096)
def _globals_read(code: CodeType) -> frozenset[str]:
    """The names that a function and those inside it look up as globals."""
    own = [
        step.argval
        for step in dis.get_instructions(code)
        if "GLOBAL" in step.opname or step.opname == "LOAD_NAME"
    ]
    return frozenset(own).union(*map(_globals_read, _inner(code)))


@functools.lru_cache(maxsize=4096)
def _names(code: CodeType) -> frozenset[str]:
    """The names, of globals and attributes, in a function and those inside it."""
    return frozenset(code.co_names).union(*map(_names, _inner(code)))


def _inner(code: CodeType) -> list[CodeType]:
    return [part for part in code.co_consts if isinstance(part, CodeType)]


def is_library(value: type | ModuleType) -> bool:
    """Whether a class or module is an installed library's, not the user's."""
    name = value.__name__ if isinstance(value, ModuleType) else value.__module__
    module = value if isinstance(value, ModuleType) else sys.modules.get(str(name))
    if path := getattr(module, "__file__", None):
        return path.startswith(_LIBRARIES)
    return str(name).partition(".")[0] in sys.stdlib_module_names
