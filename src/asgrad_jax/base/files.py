"""Files that appear under their final name only when whole."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path that replaces `path` when the block ends well.

    The temporary file lies in the same folder, so the final rename is atomic; when the
    block raises, it is removed and an older file under `path` stays as it was.

    Args:
        path: the final name. Its folder must exist.

    Yields:
        The path to write to, with the suffix of `path`.

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
    handle, name = tempfile.mkstemp(
        dir=final.parent, prefix=f".{final.stem}-", suffix=final.suffix
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes the file private; give it the mode of an ordinary new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
