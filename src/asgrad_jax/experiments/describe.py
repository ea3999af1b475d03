"""Plain descriptions of what was run, for the config that every result carries."""

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any

import jax
import numpy as np

from asgrad_jax.experiments.fingerprint import (
    Arrays,
    content_hash,
    fingerprint,
    is_library,
)


def describe(value: Any, arrays: Arrays | None = None) -> Any:
    """Returns a plain description of an algorithm, a clock, a function or a value.

    Args:
        value: what to describe.
        arrays: hashes of the arrays met so far, see `fingerprint`.
    """
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
    if hasattr(value, "config"):
        return value.config()
    if callable(value) and not (isinstance(value, type) and is_library(value)):
        # Two lambdas have the same name; what they do tells them apart.
        return f"{_name(value)} (code {fingerprint(value, arrays)[:16]})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: describe(getattr(value, field.name), arrays)
            for field in dataclasses.fields(value)
        }
    if isinstance(value, type):
        return _name(value)
    # Two values of one class are told apart by what they hold.
    return f"{_name(value)} ({fingerprint(value, arrays)[:16]})"


def _name(value: Any) -> str:
    # A repr with an address would differ from run to run.
    return getattr(value, "__qualname__", type(value).__qualname__)


def describe_problem(problem, arrays: Arrays | None = None) -> dict[str, Any]:
    """Returns the static facts and numbers of a problem and a hash of its arrays.

    Args:
        problem: a problem on the host, or a dataclass that is part of one.
        arrays: hashes of the arrays met so far, see `fingerprint`.

    Returns:
        A plain dict: class, static fields, numbers, parts that are such dicts, and
        `data_hash` (sha256 of all arrays).
    """
    facts = {}
    for field in dataclasses.fields(problem):
        value = getattr(problem, field.name)
        if field.metadata.get("static"):
            facts[field.name] = describe(value, arrays)
        elif isinstance(value, np.ndarray | np.generic | jax.Array):
            if value.ndim == 0:
                facts[field.name] = value.item()
        elif dataclasses.is_dataclass(value):  # a problem inside, or stored rows
            facts[field.name] = describe_problem(value, arrays)
    return {
        "class": describe(type(problem), arrays),
        **facts,
        "data_hash": content_hash(problem),
    }
