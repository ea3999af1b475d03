"""Compiled kernels on disk that no longer match their sources are thrown away.

Numba decides by the file that defines a kernel alone. A kernel that has functions of
other files compiled in would live on after one of those changed, and silently give the
old numbers.
"""

import contextlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any


def drop_stale(kernel: Any, *sources: ModuleType) -> None:
    """Removes the index of cached kernels that are older than a source.

    Call it at the end of a module that compiles in functions of other modules.

    Args:
        kernel: a Numba function of the module, to find the folder of the cache and the
            module's kernels in it.
        *sources: the modules whose functions are compiled in.

    Raises:
        OSError: if an outdated file cannot be removed.
    """
    newest = max(os.path.getmtime(str(module.__file__)) for module in sources)
    stem = kernel.__module__.rpartition(".")[2]
    for index in Path(kernel.stats.cache_path).glob(f"{stem}.*.nbi"):
        # Another process may be doing the same.
        with contextlib.suppress(FileNotFoundError):
            if index.stat().st_mtime < newest:
                index.unlink()
