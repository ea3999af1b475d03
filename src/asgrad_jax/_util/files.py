"""Files that appear under their final name only when whole."""

import contextlib
import glob
import hashlib
import itertools
import os
import platform
import re
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

import psutil


@contextlib.contextmanager
def atomic_path(
    path: str | os.PathLike, *, replace: bool = True
) -> Generator[Path, None, None]:
    """Yields a temporary path that replaces `path` when the block ends well.

    The temporary file lies in the same folder, so the final rename is atomic, and has
    the same suffix; when the block raises, it is removed and an older file under `path`
    stays as it was. Temporary files left behind by dead processes are deleted before.

    Args:
        path: the final name.
        replace: whether an older file under `path` gives way; if not, it stays, also
            where another process was faster.

    Raises:
        FileNotFoundError: if the folder of `path` does not exist.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> (folder / "a.txt").read_text()
        'whole'
    """
    final = Path(path)
    if not final.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {final}: the folder {final.parent} does not exist; "
            "create it first"
        )
    remove_stale_temporaries(final)
    handle, name = tempfile.mkstemp(
        dir=final.parent, prefix=f"{_prefix(final)}{os.getpid()}-", suffix=final.suffix
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as written:  # Windows wants to be able to write
            os.fsync(written.fileno())
        # mkstemp makes the file private; give it the mode of an ordinary new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        if replace:
            os.replace(temporary, final)
        else:
            _add(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def _add(temporary: Path, final: Path) -> None:
    """Gives a file its final name, unless there is another one."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not final.exists():
            os.replace(temporary, final)


def safe_names(labels: Sequence[str]) -> list[str]:
    """Returns parts of file names for labels: different ones, valid everywhere.

    Example:
        >>> safe_names(["gamma", "1/x", "1-x"])
        ['gamma', '1-x', '1-x-2']
    """
    names: list[str] = []
    for label in labels:
        # Names have at most 255 bytes, with what stands before and after this part.
        plain = re.sub(r"[^\w.,+=()\[\] -]", "-", label)[:40]
        # Some file systems do not tell capitals from small letters.
        taken = {name.casefold() for name in names}
        numbered = (f"{plain}-{number}" for number in itertools.count(2))
        candidates = itertools.chain([plain], numbered)
        names.append(next(c for c in candidates if c.casefold() not in taken))
    return names


def remove_stale_temporaries(path: str | os.PathLike) -> None:
    """Deletes temporary files that dead processes left beside `path`."""
    final = Path(path)
    prefix = _prefix(final)
    for begun in final.parent.glob(f"{glob.escape(prefix)}*"):
        process = int(begun.name.removeprefix(prefix).split("-")[0])
        if not psutil.pid_exists(process):
            begun.unlink(missing_ok=True)


def _prefix(final: Path) -> str:
    """How the temporary names of a file begin on this machine; the process follows."""
    machine = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
    return f".{final.stem}-{machine}-"
