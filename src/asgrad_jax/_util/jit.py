"""Numba functions that are kept on disk, and forgotten when a source has changed.

Numba keeps a compiled function as long as the file that defines it is the same. One
that has functions of other files compiled in would live on after one of those changed,
and silently give the old numbers; so whatever is older than the newest file of the
package's compiled code is deleted first.
"""

import contextlib
import functools
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[1]
_lock = threading.RLock()  # making a function may make those that it calls


class LazyFunction:
    """A function that `numba.njit` compiles, with these options, at its first call.

    So modules that define some are imported without Numba.
    """

    def __init__(self, function: Callable, options: dict[str, Any]):
        functools.update_wrapper(self, function)
        self.py_func, self.options = function, options
        self._dispatcher: Any = None

    @property
    def dispatcher(self) -> Any:
        """What `numba.njit` returns, the same for all threads."""
        if self._dispatcher is None:
            with _lock:
                if self._dispatcher is None:
                    numba, kept = _numba(), keep_on_disk(self.py_func)
                    # Numba reads its variables again and again: all functions that
                    # call each other must be compiled, or none.
                    numba.config.DISABLE_JIT = int(switched_off())
                    compiled = numba.njit(cache=kept, nogil=True, **self.options)
                    dispatcher = compiled(self.py_func)
                    if kept:
                        _forgive(dispatcher)
                    self._dispatcher = dispatcher
        return self._dispatcher

    def __call__(self, *arguments: Any) -> Any:
        """Calls what Numba compiled; the function itself where it is switched off."""
        if self.dispatcher is not self.py_func:
            return self.dispatcher(*arguments)
        # Without a compiler. Hashes overflow on purpose, where NumPy would warn.
        import numpy as np

        with np.errstate(over="ignore"):
            return self.py_func(*arguments)


def njit(function: Callable | None = None, **options: Any) -> Any:
    """`numba.njit` that releases the interpreter lock and keeps its code on disk.

    Example:
        >>> @njit
        ... def double(x):
        ...     return 2 * x
        >>> double(4)
        8
    """
    if function is None:
        return functools.partial(njit, **options)
    return LazyFunction(function, options)


@functools.cache
def _numba() -> Any:
    """Imports Numba, and tells it that a `LazyFunction` is the function it compiles."""
    import numba
    from numba.core.typing.typeof import typeof_impl

    @typeof_impl.register(LazyFunction)
    def _(value: LazyFunction, context: Any) -> Any:
        return typeof_impl(value.dispatcher, context)

    return numba


@functools.cache
def switched_off() -> bool:
    """Whether Numba leaves functions to Python, as NUMBA_DISABLE_JIT asked at first.

    A later change of the variable changes nothing in the same process.

    Example:
        >>> switched_off()
        False
    """
    return os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")


def keep_on_disk(function: Callable) -> bool:
    """Whether Numba may keep the code of a function; outdated code is deleted.

    Only this package's functions are kept. Where there is no folder to write to, none
    are, and a process warns of that once. OSError if an outdated file is not deletable.
    """
    source = Path(function.__code__.co_filename)
    if not source.is_relative_to(_PACKAGE):
        return False
    from numba.core import caching

    try:
        cache = caching.FunctionCache(function)
    except RuntimeError:  # no folder can be written to
        warn_not_kept()
        return False
    newest = _newest(source.parent.name == "kernels")
    for index in Path(cache.cache_path).glob(f"{source.stem}.*.nbi"):
        # Another process may be doing the same.
        with contextlib.suppress(FileNotFoundError):
            if index.stat().st_mtime < newest:
                index.unlink()
    return True


def _forgive(dispatcher: Any) -> None:
    """Lets a function that was compiled be used where it cannot be written to disk.

    The folder may be full, or may have gone since `keep_on_disk` looked at it.
    """
    cache = getattr(dispatcher, "_cache", None)  # what Numba keeps for itself
    save = getattr(cache, "save_overload", None)
    if save is None:
        return

    def save_or_hint(*arguments: Any) -> None:
        try:
            save(*arguments)
        except OSError:
            warn_not_kept()

    setattr(cache, "save_overload", save_or_hint)  # noqa: B010


@functools.cache
def _newest(kernels: bool) -> float:
    """When the newest file was written that may be compiled into others."""
    here = [
        p for p in _PACKAGE.rglob("*.py") if kernels == (p.parent.name == "kernels")
    ]
    compiled = (path for path in here if b"njit" in path.read_bytes())
    return max(os.path.getmtime(path) for path in compiled)


@functools.cache
def warn_not_kept() -> None:
    """Says once in a process that it compiles in memory, and what helps."""
    warnings.warn(
        "compiled functions cannot be kept: neither the package's folder nor the "
        "user's cache folder can be written to, so every process compiles them anew; "
        "set NUMBA_CACHE_DIR to a folder that can be written to",
        stacklevel=2,
    )
