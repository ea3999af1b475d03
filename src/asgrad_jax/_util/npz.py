"""Named arrays in one npz file: no pickle, whole or not there, readable errors."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_path
from asgrad_jax._util.files import atomic_path
from asgrad_jax._util.packed import UNPACK_ERRORS

# What NumPy and zipfile raise on a file that is cut short, damaged or something else.
_UNREADABLE = (
    *UNPACK_ERRORS,
    MemoryError,  # a header that claims more than there is
    LookupError,  # a name that the file's directory and its entry write differently
    SyntaxError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, NDArray]) -> None:
    """Writes arrays of plain types by name; the file appears only when whole.

    An existing file is replaced. Raises FileNotFoundError if the folder does not exist,
    IsADirectoryError if the path is one.
    """
    if check_path("path", path).is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file in it")
    # Through a handle: given a path, savez would append a missing ".npz".
    entries: dict[str, Any] = dict(arrays)
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **entries)


def read_npz(
    path: str | os.PathLike[str], required: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, NDArray]:
    """Reads named arrays, read-only; other entries of the file are left alone.

    Args:
        path: file to read.
        required: names that must be there.
        optional: names that are read where there.

    Raises:
        ValueError: if the file is cut short, damaged, no npz file or lacks a required
            entry; the message names the file.
        TypeError, FileNotFoundError: if `path` is no path, or of no file.
    """
    path = check_path("path", path)  # a number would be taken for an open file
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with open(path, "rb") as handle:
        try:
            # NumPy would take anything else for a pickle and say how to load that.
            if handle.read(2) != b"PK":
                raise ValueError("it is no npz file")
            handle.seek(0)
            archive = np.load(handle, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is no npz file")
            if missing := [key for key in required if key not in archive.files]:
                raise ValueError(f"it has no entry {missing[0]!r}")
            extra = [key for key in optional if key in archive.files]
            arrays = {key: archive[key] for key in (*required, *extra)}
        except _UNREADABLE as error:
            reason = str(error) or type(error).__name__
            raise ValueError(
                f"{os.fspath(path)} is damaged or not a file of this kind: {reason}"
            ) from error
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
