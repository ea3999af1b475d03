"""One process at a time: a lock file that says who holds it.

Where the file system has locks, the kernel frees it when its holder ends, however that
happens. Elsewhere (Windows, some network file systems) the file's words are looked at:
a holder of this machine that does not live any more holds nothing.
"""

import contextlib
import errno
import json
import os
import platform
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil

from asgrad_jax._util.files import atomic_path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_SAME_START = 2.0  # seconds by which two readings of a process's start may differ


@contextlib.contextmanager
def lock(path: str | os.PathLike) -> Generator[None, None, None]:
    """Holds a lock file as long as the block runs; it is gone afterwards.

    Where the folder cannot be written to there is nothing to protect, and no lock.

    Args:
        path: the lock file, in a folder that exists.

    Raises:
        RuntimeError: if another process, or another thread, holds it; it says which.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "lock"
        >>> with lock(path):
        ...     json.loads(path.read_text())["pid"] == os.getpid()
        True
        >>> path.exists()
        False
    """
    path = Path(path)
    try:
        handle, held = _acquire(path), True
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        handle, held = None, False
    try:
        yield
    finally:
        if held:
            path.unlink(missing_ok=True)
        if handle is not None and fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_UN)  # for children that were forked too
            os.close(handle)


def _acquire(path: Path) -> int | None:
    """Takes the lock; returns the open file where the kernel holds it."""
    try:
        return _lock_by_kernel(path)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    _lock_by_words(path)
    return None


def _lock_by_kernel(path: Path) -> int:
    if fcntl is None:
        raise OSError(errno.ENOSYS, "no locks")
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its holder may have removed it between the two lines above.
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                os.ftruncate(handle, 0)
                os.write(handle, json.dumps(_me()).encode())
                return handle
            os.close(handle)
        except BlockingIOError:
            holder = _read(path)
            dead = _is_dead(holder)
            # A child that its holder had forked keeps the file open.
            if dead and path.exists():
                if os.path.samestat(os.fstat(handle), path.stat()):
                    path.unlink(missing_ok=True)
            os.close(handle)
            if not dead:
                raise _in_use(path, holder) from None
        except BaseException:
            os.close(handle)
            raise


def _lock_by_words(path: Path) -> None:
    mine = _me()
    while True:
        with atomic_path(path, replace=False) as temporary:
            temporary.write_text(json.dumps(mine))
        holder = _read(path)
        if holder == mine:
            return
        if not _is_dead(holder):
            raise _in_use(path, holder)
        path.unlink(missing_ok=True)


def _me() -> dict[str, Any]:
    return {
        "host": platform.node(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "since": time.time(),
    }


def _read(path: Path) -> dict[str, Any]:
    """Returns what a lock file says, {} where it says nothing yet or any more."""
    try:
        words = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return words if isinstance(words, dict) else {}


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether a lock's holder was a process of this machine that does not live."""
    if holder.get("host") != platform.node():
        return False
    try:
        started = psutil.Process(holder["pid"]).create_time()
        return abs(started - holder["started"]) > _SAME_START
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _in_use(path: Path, holder: dict[str, Any]) -> RuntimeError:
    who = "another process"
    if {"host", "pid", "since"} <= holder.keys():
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
        who = f"process {holder['pid']} on {holder['host']} since {since}"
    return RuntimeError(
        f"{path.parent} is in use by {who}; wait for its end or choose another folder "
        f"(where that process has ended, delete {path.name} there)"
    )
