"""Files that say whose they are and carry a checksum over all of their bytes.

A sealed file ends with `asgrad_jax OWNER SHA256`, in the comment of an npz file or the
last entry of a JSON file. The checksum covers every other byte, the owner too, so that
a file that was changed, cut, or given another file's name is noticed before its use.
"""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from asgrad_jax._util.files import atomic_path

_MARK = "asgrad_jax"
_DIGITS = 64
_BLANK = "0" * _DIGITS
_JSON_END = b'"\n}'
_SEAL = re.compile(rb'asgrad_jax (\S+) ([0-9a-f]{64})("\n\})?\Z')
_LONGEST_SEAL = 1024
_BLOCK = 1 << 20


class Damaged(ValueError):
    """A file that is not what was written under its name."""


def write_sealed_npz(
    path: str | os.PathLike, owner: str, arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes named arrays; the file appears only when whole, over an older one.

    Args:
        path: the final name.
        owner: whose it is, a text without blanks; `read_sealed_npz` must ask for it.
        arrays: of plain types.
    """
    entries: dict[str, Any] = dict(arrays)
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as handle:
            np.savez(handle, **entries)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = f"{_MARK} {owner} {_BLANK}".encode()
        _sign(temporary, end=0)


def write_sealed_json(
    path: str | os.PathLike, owner: str, value: dict[str, Any], *, replace: bool = True
) -> None:
    """Writes plain values; the file appears only when whole.

    Args:
        path: the final name.
        owner: as for `write_sealed_npz`.
        value: what JSON can hold, without an entry "seal".
        replace: whether an older file gives way; if not, it stays.
    """
    sealed = {**value, "seal": f"{_MARK} {owner} {_BLANK}"}
    with atomic_path(path, replace=replace) as temporary:
        temporary.write_bytes(json.dumps(sealed, indent=1).encode())
        _sign(temporary, end=len(_JSON_END))


def read_sealed_npz(
    path: str | os.PathLike, owner: str, only: str | None = None
) -> dict[str, np.ndarray]:
    """Reads the arrays of a file, or the one called `only`, after checking all of it.

    Raises:
        Damaged: if it was changed or cut, or belongs to another owner.
        OSError: if it cannot be opened.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.npz"
        >>> write_sealed_npz(path, "me", {"x": np.arange(3)})
        >>> read_sealed_npz(path, "me")["x"].tolist()
        [0, 1, 2]
        >>> read_sealed_npz(path, "you")
        Traceback (most recent call last):
        asgrad_jax._util.sealed.Damaged: it is the file of me, under another name
    """
    # Opened here: what was checked is what is read, whatever happens to the name.
    with open(path, "rb") as handle:
        _check(handle, owner)
        handle.seek(0)
        file = np.load(handle, allow_pickle=False)
        return dict(file) if only is None else {only: file[only]}


def read_sealed_json(path: str | os.PathLike, owner: str) -> dict[str, Any]:
    """Reads what `write_sealed_json` wrote, for an owner that ends with `owner`.

    Raises:
        Damaged, OSError: as `read_sealed_npz`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.json"
        >>> write_sealed_json(path, "me", {"x": 1})
        >>> read_sealed_json(path, "me")
        {'x': 1}
    """
    with open(path, "rb") as handle:
        _check(handle, owner)
        handle.seek(0)
        value = json.load(handle)
    del value["seal"]
    return value


def _sign(path: Path, *, end: int) -> None:
    """Puts the checksum into the place that was left for it, `end` bytes before EOF."""
    place = path.stat().st_size - end - _DIGITS
    with open(path, "rb+") as handle:
        digest = _digest(handle, place)
        handle.seek(place)
        handle.write(digest.encode())


def _check(handle: BinaryIO, owner: str) -> None:
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - _LONGEST_SEAL))
    found = _SEAL.search(handle.read())
    if found is None:
        raise Damaged("it has no valid checksum at its end, so it was cut or changed")
    place = size - len(found[3] or b"") - _DIGITS
    handle.seek(0)
    if _digest(handle, place) != found[2].decode():
        raise Damaged("its checksum does not fit, so it was changed")
    if not found[1].endswith(owner.encode()):
        raise Damaged(f"it is the file of {found[1].decode()}, under another name")


def _digest(handle: BinaryIO, size: int) -> str:
    """Returns the sha256 of the first bytes of a file."""
    digest = hashlib.sha256()
    while size and (block := handle.read(min(size, _BLOCK))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()
