"""Plain descriptions of what was run, for the config that every result carries."""

import dataclasses
import hashlib
from typing import Any

import jax
import numpy as np


def describe(value: Any) -> Any:
    """Returns a plain description of an algorithm, compute times or a server."""
    if value is None:
        return None
    if hasattr(value, "config"):
        return value.config()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    code = getattr(value, "__code__", None)
    if code is not None:
        # Two lambdas have the same name; their code tells them apart.
        cells = [
            cell.cell_contents for cell in getattr(value, "__closure__", None) or ()
        ]
        plain = [c for c in cells if isinstance(c, bool | int | float | str)]
        text = repr((code.co_code, code.co_names, _constants(code), plain))
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"{value.__qualname__} (code {digest})"
    # A repr with an address would differ from run to run.
    return getattr(value, "__qualname__", type(value).__qualname__)


def _constants(code) -> list:
    """Returns the constants of a function, those of inner functions included."""
    return [
        (c.co_code, c.co_names, _constants(c)) if hasattr(c, "co_code") else c
        for c in code.co_consts
    ]


def content_hash(tree) -> str:
    """Returns the sha256 (hex) of the arrays of a pytree, types and shapes included."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def describe_problem(problem) -> dict[str, Any]:
    """Returns the static facts of a problem and a hash of its arrays.

    Args:
        problem: a problem on the host.

    Returns:
        A plain dict: class, static fields and `data_hash` (sha256 of all arrays).
    """
    static = {
        field.name: _plain(getattr(problem, field.name))
        for field in dataclasses.fields(problem)
        if field.metadata.get("static")
    }
    return {
        "class": type(problem).__name__,
        **static,
        "data_hash": content_hash(problem),
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "__qualname__", type(value).__qualname__)
