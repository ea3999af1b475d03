"""Sets of images that the user has, as idx files or npz; public in `ag.datasets`."""

import hashlib
import itertools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_path, did_you_mean
from asgrad_jax._util.packed import open_unpacked

_IDX = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
# How the four parts are called in files of MNIST's kind, and within npz files.
_FILES = {
    "images": ("train-images-idx3-ubyte", "train-images.idx3-ubyte"),
    "labels": ("train-labels-idx1-ubyte", "train-labels.idx1-ubyte"),
    "test_images": ("t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"),
    "test_labels": ("t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"),
}
_KEYS = {
    "images": ("x_train", "train_images", "images"),
    "labels": ("y_train", "train_labels", "labels"),
    "test_images": ("x_test", "test_images"),
    "test_labels": ("y_test", "test_labels"),
}


class ImageSet(NamedTuple):
    """Images and their classes.

    Attributes:
        images: float64 [N, H, W] or [N, H, W, c] in [0, 1].
        labels: int32 [N], 0..C-1.
        test_images, test_labels: the held-out part; None where the source has none.
        sha256: name -> checksum of each file that was read, to be asked for next time.
    """

    images: NDArray[np.float64]
    labels: NDArray[np.int32]
    test_images: NDArray[np.float64] | None
    test_labels: NDArray[np.int32] | None
    sha256: dict[str, str]


def load_images(
    path: str | os.PathLike, *, sha256: Mapping[str, str] | None = None
) -> ImageSet:
    """Reads a set of images of the kind of MNIST that the user has; downloads nothing.

    Args:
        path: a folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and
            perhaps `t10k-...`, plain or packed (`.gz`, `.bz2`, `.xz`, `.zip`), as
            MNIST, Fashion-MNIST, KMNIST and EMNIST come; or an `.npz` file with
            `x_train`, `y_train` and perhaps `x_test`, `y_test` (or `images`, `labels`).
        sha256: file name -> checksum, of the file as it lies there, packed or not. What
            has another one is refused; files that are not named are not checked. The
            result tells the checksums of what was read.

    Returns:
        The set; bytes become numbers in [0, 1].

    Raises:
        FileNotFoundError: if a file is missing; the message says which.
        TypeError, ValueError: if a file is damaged, has another checksum, or images and
            labels do not belong together.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tiny.npz"
        >>> np.savez(path, x_train=np.full((2, 4, 4), 255, np.uint8), y_train=[1, 0])
        >>> tiny = load_images(path)
        >>> tiny.images.shape, float(tiny.images.max()), tiny.test_images is None
        ((2, 4, 4), 1.0, True)
        >>> again = load_images(path, sha256=tiny.sha256)

    Source: http://yann.lecun.com/exdb/mnist describes idx files, as recalled [R].
    """
    path = check_path("path", path)
    if not path.exists():
        raise FileNotFoundError(
            f"path must be a folder with idx files or an npz file, got {path}, which "
            "does not exist"
        )
    wanted = dict(sha256 or {})
    parts, found = _of_folder(path) if path.is_dir() else _of_npz(path)
    if unknown := wanted.keys() - found.keys():
        name = min(unknown)
        raise ValueError(
            f"sha256 must name files that are read, {', '.join(found)}, got {name!r}"
            f"{did_you_mean(name, found)}"
        )
    for name, digest in wanted.items():
        if found[name] != digest:
            raise ValueError(
                f"{name} must have the SHA-256 {digest}, got {found[name]}; remove or "
                "replace the file"
            )
    train = _pair(path, "", parts["images"], parts["labels"])
    held_out = (None, None)
    if parts.keys() >= {"test_images", "test_labels"}:
        held_out = _pair(path, "test_", parts["test_images"], parts["test_labels"])
    return ImageSet(*train, *held_out, sha256=found)


def read_idx(path: str | os.PathLike) -> NDArray[Any]:
    """Reads one idx file, the format of MNIST, plain or packed, as an array.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is another format, or cut short.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        >>> read_idx(path)
        array([7, 2, 1], dtype=uint8)
    """
    with open_unpacked(check_path("path", path)) as stream:
        content = stream.read()
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX:
        raise ValueError(
            f"{path} must be an idx file, which begins with 00 00 and a type, got "
            f"{content[:4].hex(' ') or 'nothing'}"
        )
    dtype, ndim = np.dtype(_IDX[content[2]]), content[3]
    body = 4 + 4 * ndim
    shape = [int(n) for n in np.frombuffer(content[4:body], ">i4")]
    size = math.prod(shape) * dtype.itemsize
    if len(shape) != ndim or min(shape, default=0) < 0 or len(content) != body + size:
        raise ValueError(
            f"{path} must have {size} bytes for the shape {tuple(shape)}, got "
            f"{max(0, len(content) - body)}; copy it again"
        )
    flat = np.frombuffer(content, dtype, offset=body)
    return flat.reshape(shape).astype(dtype.newbyteorder("="))


def _of_folder(folder: Path) -> tuple[dict[str, NDArray], dict[str, str]]:
    parts, found = {}, {}
    for part, names in _FILES.items():
        endings = ("", ".gz", ".bz2", ".xz", ".zip")
        tried = (folder / (n + e) for n, e in itertools.product(names, endings))
        path = next((path for path in tried if path.is_file()), None)
        if path is not None:
            parts[part] = read_idx(path)
            found[path.name] = _digest(path)
        elif not part.startswith("test"):
            raise FileNotFoundError(
                f"{folder} must have the file {names[0]}, plain or with .gz, .bz2, "
                f".xz or .zip, got {', '.join(sorted(os.listdir(folder))[:10])}"
            )
    return parts, found


def _of_npz(path: Path) -> tuple[dict[str, NDArray], dict[str, str]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} must be a folder with idx files or a whole npz file ({error})"
        ) from None
    parts = {}
    for part, names in _KEYS.items():
        name = next((name for name in names if name in arrays), None)
        if name is not None:
            parts[part] = arrays[name]
        elif not part.startswith("test"):
            raise ValueError(
                f"{path} must have one of the arrays {', '.join(names)}, got "
                f"{', '.join(arrays)}"
            )
    return parts, {path.name: _digest(path)}


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pair(
    path: Path, prefix: str, images: NDArray, labels: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:  # as CIFAR's
        labels = labels[:, 0]
    if images.ndim not in (3, 4) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{path} must have {prefix}images [N, H, W] or [N, H, W, c] and {prefix}"
            f"labels [N], got shapes {images.shape} and {labels.shape}"
        )
    if labels.dtype.kind not in "iu" or images.dtype.kind not in "uif":
        raise ValueError(
            f"{path} must have integer {prefix}labels and numbers as {prefix}images, "
            f"got {labels.dtype} and {images.dtype}"
        )
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    return images.astype(np.float64) / scale, labels.astype(np.int32)
