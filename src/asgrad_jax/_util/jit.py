"""Numba functions that are kept on disk, and forgotten when a source has changed.

Numba keeps a compiled function as long as the file that defines it is the same. One
that has functions of other files compiled in would live on after one of those changed,
and silently give the old numbers; so whatever is older than the newest file of the
package's compiled code is deleted first.
"""

import contextlib
import functools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[1]


def njit(function: Callable | None = None, **options: Any) -> Any:
    """`numba.njit` that releases the interpreter lock and keeps its code on disk.

    Args:
        function: what is compiled; left out where options are given.
        **options: of `numba.njit`.

    Example:
        >>> @njit
        ... def double(x):
        ...     return 2 * x
        >>> double(4)
        8
    """
    import numba

    if function is None:
        return functools.partial(njit, **options)
    kept = keep_on_disk(function)
    return numba.njit(cache=kept, nogil=True, **options)(function)


def lazy_njit(function: Callable) -> Callable:
    """`njit` at the first call, for functions that no compiled code calls.

    So the modules that define them are imported without Numba.

    Example:
        >>> @lazy_njit
        ... def double(x):
        ...     return 2 * x
        >>> double(4)
        8
    """
    compiled = None

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        nonlocal compiled
        if compiled is None:
            compiled = njit(function)
        return compiled(*arguments)

    return call


def keep_on_disk(function: Callable) -> bool:
    """Whether Numba can keep the code of a function; outdated code is deleted.

    False, with one warning in a process, where there is no folder to write to.

    Args:
        function: not compiled yet.

    Raises:
        OSError: if an outdated file cannot be deleted.
    """
    from numba.core import caching

    try:
        cache = caching.FunctionCache(function)
    except RuntimeError:  # no folder can be written to
        _warn_once()
        return False
    source = Path(function.__code__.co_filename)
    if source.is_relative_to(_PACKAGE):
        newest = _newest(source.parent.name == "kernels")
        for index in Path(cache.cache_path).glob(f"{source.stem}.*.nbi"):
            # Another process may be doing the same.
            with contextlib.suppress(FileNotFoundError):
                if index.stat().st_mtime < newest:
                    index.unlink()
    return True


@functools.cache
def _newest(kernels: bool) -> float:
    """When the newest file was written that may be compiled into others."""
    here = [
        p for p in _PACKAGE.rglob("*.py") if kernels == (p.parent.name == "kernels")
    ]
    compiled = (path for path in here if b"njit" in path.read_bytes())
    return max(os.path.getmtime(path) for path in compiled)


@functools.cache
def _warn_once() -> None:
    warnings.warn(
        "compiled functions cannot be kept: neither the package's folder nor the "
        "user's cache folder can be written to, so every process compiles them anew; "
        "set NUMBA_CACHE_DIR to a folder that can be written to",
        stacklevel=2,
    )
