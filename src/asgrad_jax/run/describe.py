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
    # A repr with an address would differ from run to run.
    return getattr(value, "__qualname__", type(value).__qualname__)


def describe_problem(problem) -> dict[str, Any]:
    """Returns the static facts of a problem and a hash of its arrays.

    Args:
        problem: a problem on the host.

    Returns:
        A plain dict: class, static fields and `data_hash` (sha256 of all arrays).
    """
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(problem):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    static = {
        field.name: _plain(getattr(problem, field.name))
        for field in dataclasses.fields(problem)
        if field.metadata.get("static")
    }
    return {"class": type(problem).__name__, **static, "data_hash": digest.hexdigest()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "__qualname__", type(value).__qualname__)
