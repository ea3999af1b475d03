"""Objects with arrays, shown in a line."""

import dataclasses
from typing import Any

import jax


class ShortRepr:
    """Base for dataclasses with arrays: shown by types and shapes, not by numbers.

    Example:
        >>> import dataclasses, numpy as np
        >>> @dataclasses.dataclass(repr=False)
        ... class Pair(ShortRepr):
        ...     left: dict
        ...     right: int
        >>> Pair({"a": np.zeros((2, 3))}, 4)
        Pair(left={'a': float64[2,3]}, right=4)
    """

    def __repr__(self) -> str:
        own: Any = self
        values = [
            f"{field.name}={jax.tree.map(_Shown, getattr(self, field.name))!r}"
            for field in dataclasses.fields(own)
        ]
        return f"{type(self).__name__}({', '.join(values)})"


class _Shown:
    def __init__(self, leaf: Any):
        self.text = repr(leaf)
        if hasattr(leaf, "dtype") and leaf.shape:
            self.text = f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"

    def __repr__(self) -> str:
        return self.text
