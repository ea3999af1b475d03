"""Docstrings that are shown to users, and what stands for them where there are none."""

import inspect
import sys
from typing import Any


def docstring(value: Any) -> str:
    """Returns the docstring of a function, class or module; "" under `python -OO`.

    Example:
        >>> docstring(docstring).partition(";")[0]
        'Returns the docstring of a function, class or module'
    """
    return inspect.getdoc(value) or ""


def first_line(value: Any) -> str:
    """Returns the first line of a docstring.

    Example:
        >>> first_line(first_line)
        'Returns the first line of a docstring.'
    """
    return docstring(value).partition("\n")[0]


def are_kept() -> bool:
    """Whether Python keeps docstrings, which it does not under `-OO`.

    Example:
        >>> are_kept()
        True
    """
    return sys.flags.optimize < 2
