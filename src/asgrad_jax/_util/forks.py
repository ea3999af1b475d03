"""Notices that a process was forked from one in which JAX had started.

JAX's threads do not survive a fork, so whatever is computed in such a child waits for
them for ever. Neither Numba nor JAX is imported here: the package registers this at its
own import, before anything can be forked.
"""

import os
import sys
import threading
from pathlib import Path

_forked = False


def jax_started() -> bool:
    """Whether this process, or the one that it was forked from, has a backend."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    # JAX has no public question for it; where this one moves, nothing is noticed.
    return bool(getattr(bridge, "_backends", None))


def _after_fork() -> None:
    global _forked
    _forked = _forked or jax_started()


def _has_only_python_threads() -> bool:
    """Whether no library has threads of its own, as a fork leaves it (on Linux)."""
    tasks = Path("/proc/self/task")
    return tasks.is_dir() and len(list(tasks.iterdir())) <= threading.active_count()


def watch() -> None:
    """Looks at every child that is forked from now on, and at this process once.

    The package may be imported after the fork; a backend without a thread tells.
    """
    global _forked
    _forked = jax_started() and _has_only_python_threads()
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(after_in_child=_after_fork)


def check_forked() -> None:
    """Raises in a child that was forked after JAX had started.

    Raises:
        RuntimeError: there; the child would wait for ever.
    """
    if _forked:
        raise RuntimeError(
            "this process must not be forked from one in which JAX has started, whose "
            "threads it lacks: it would wait for ever; start processes with "
            "multiprocessing.get_context('spawn'), or fork before anything uses JAX"
        )
