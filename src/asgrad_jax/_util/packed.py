"""Compressed files, known by their first bytes and not by their names."""

import bz2
import contextlib
import gzip
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any

# What the decompressors of the standard library raise on a file that is cut short,
# damaged, encrypted or something else.
UNPACK_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,  # encrypted; NotImplementedError: an unknown method
)

_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": lambda path: gzip.open(path, "rb"),
    b"BZh": lambda path: bz2.open(path, "rb"),
    b"\xfd7zXZ\x00": lambda path: lzma.open(path, "rb"),
    b"PK\x03\x04": lambda path: _open_zip(path),
    b"\x28\xb5\x2f\xfd": lambda path: _open_zstd(path),
}
_UNREAD = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x1f\x9d": "compress (.Z)",
    b"Rar!": "rar",
    b"PK\x05\x06": "empty zip",
}


@contextlib.contextmanager
def open_unpacked(path: str | os.PathLike[str]) -> Generator[IO[bytes], None, None]:
    """Opens a file for reading bytes, unpacked where it is gzip, bz2, xz or zip.

    Its first bytes say what it is, so that its ending may say nothing or something
    wrong (zstd needs the package zstandard). Whatever is raised by unpacking inside of
    the block becomes a ValueError that names the file.

    Args:
        path: of the file; a zip archive must have one member.

    Yields:
        A readable stream of bytes.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: if it cannot be opened.
        ValueError: if it is damaged, cut short, encrypted, or packed in another way.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "no-ending"
        >>> _ = path.write_bytes(gzip.compress(b"1 2"))
        >>> with open_unpacked(path) as stream:
        ...     stream.read()
        b'1 2'
    """
    path = Path(path)
    with open(path, "rb") as raw:  # raises what is no matter of its content
        head = raw.read(6)
    for magic, kind in _UNREAD.items():
        if head.startswith(magic):
            raise ValueError(
                f"{path} must be plain or packed as gzip, bz2, xz or zip, got {kind}; "
                "unpack it first"
            )
    openers = (make for magic, make in _OPENERS.items() if head.startswith(magic))
    opener = next(openers, lambda path: open(path, "rb"))
    try:
        with opener(path) as stream:
            yield stream
    except UNPACK_ERRORS as error:
        raise ValueError(
            f"{path} must be a whole file, got one that is damaged or cut short "
            f"({str(error) or type(error).__name__}); copy it again"
        ) from error


def _open_zstd(path: Path) -> Any:
    try:
        import zstandard  # type: ignore[import-not-found]
    except ImportError:
        raise ValueError(
            f"{path} must be plain or packed as gzip, bz2, xz or zip, got zstd; unpack "
            "it first, or install zstandard"
        ) from None
    return _zstd_stream(path, zstandard)


@contextlib.contextmanager
def _zstd_stream(path: Path, zstandard: Any) -> Generator[IO[bytes], None, None]:
    try:
        with zstandard.open(path, "rb") as stream:
            yield stream
    except zstandard.ZstdError as error:
        raise OSError(str(error)) from error


@contextlib.contextmanager
def _open_zip(path: Path) -> Generator[IO[bytes], None, None]:
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if not name.endswith("/")]
        if len(members) != 1:
            raise ValueError(
                f"{path} must be a zip archive of one file, got {len(members)}; unpack "
                "it first"
            )
        with archive.open(members[0]) as stream:
            yield stream
