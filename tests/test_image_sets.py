"""Sets of images that the user has: idx files, npz, checksums."""

import gzip
import hashlib

import numpy as np
import pytest

from asgrad_jax import datasets
from asgrad_jax._util.images import read_idx

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 5), np.uint8)
LABELS = RNG.integers(0, 10, 6).astype(np.uint8)


def idx(array):
    kinds = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13}
    head = bytes([0, 0, kinds[array.dtype.name], array.ndim])
    sizes = np.array(array.shape, ">i4").tobytes()
    return head + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    return tmp_path


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32"])
def test_idx_files_of_all_types(tmp_path, dtype):
    array = RNG.integers(0, 100, (2, 3)).astype(dtype)
    (tmp_path / "one").write_bytes(idx(array))
    got = read_idx(tmp_path / "one")
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, array)


def test_a_folder_of_idx_files(folder):
    got = datasets.load_images(folder)
    np.testing.assert_array_equal(got.images, IMAGES / 255)
    np.testing.assert_array_equal(got.labels, LABELS)
    assert got.test_images is None and got.test_labels is None
    (folder / "t10k-images.idx3-ubyte").write_bytes(idx(IMAGES[:2]))
    (folder / "t10k-labels.idx1-ubyte").write_bytes(idx(LABELS[:2]))
    whole = datasets.load_images(folder)
    np.testing.assert_array_equal(whole.test_images, IMAGES[:2] / 255)
    np.testing.assert_array_equal(whole.test_labels, LABELS[:2])


def test_npz_files(tmp_path):
    path = tmp_path / "set.npz"
    colour = RNG.random((6, 4, 5, 3)).astype(np.float32)
    np.savez(
        path,
        x_train=colour,
        y_train=LABELS[:, None],
        x_test=colour[:1],
        y_test=LABELS[:1],
    )
    got = datasets.load_images(path)
    np.testing.assert_array_equal(got.images, colour)
    np.testing.assert_array_equal(got.labels, LABELS)
    assert got.test_images.shape == (1, 4, 5, 3)


def test_checksums_are_of_the_files_and_guard_them(folder):
    name = "train-images-idx3-ubyte.gz"
    found = datasets.load_images(folder).sha256
    assert found[name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert datasets.load_images(folder, sha256=found).sha256 == found
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[::-1].copy()))
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte must have the SHA"):
        datasets.load_images(folder, sha256=found)
    with pytest.raises(ValueError, match=r"sha256 must name .*did you mean"):
        datasets.load_images(folder, sha256={"train-image-idx3-ubyte.gz": "0"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "begins with 00 00"),
        (b"\0\0\x07\x01", "got 00 00 07 01"),
        (idx(IMAGES)[:-1], r"must have 120 bytes for the shape \(6, 4, 5\), got 119"),
        (idx(IMAGES) + b"1", "got 121"),
        (idx(IMAGES[:5]), r"shapes \(5, 4, 5\) and \(6,\)"),
        (idx(LABELS), r"shapes \(6,\) and \(6,\)"),
    ],
)
def test_damaged_files_are_refused(folder, content, words):
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=words):
        datasets.load_images(folder)


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        datasets.load_images(tmp_path / "nothing")
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="must have the file train-labels"):
        datasets.load_images(folder)
    np.savez(tmp_path / "set.npz", x=IMAGES)
    with pytest.raises(ValueError, match=r"one of the arrays x_train, .* got x"):
        datasets.load_images(tmp_path / "set.npz")
    (tmp_path / "text").write_text("1 2")
    with pytest.raises(ValueError, match="or a whole npz file"):
        datasets.load_images(tmp_path / "text")
