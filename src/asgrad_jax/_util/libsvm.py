"""Files in LIBSVM format: read fast, and errors that name file and line."""

import math
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from asgrad_jax._util.packed import UNPACK_ERRORS, open_unpacked
from asgrad_jax._util.text import visible

# scikit-learn is imported where it is used: it doubles the import time of the package.

_FORMAT = "lines of `label index:value ...`, indices increasing"
_MOST = 2**31 - 1  # columns: indices of sparse matrices are int32


def read_libsvm(
    path: str | os.PathLike[str], *, num_features: int | None, zero_based: bool
) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
    """Reads features and labels as they stand in the file, plain or packed.

    Args:
        path: of the file.
        num_features: d; None is the largest index in the file.
        zero_based: whether the first column has index 0, not 1.

    Returns:
        features: SciPy CSR matrix [N, d], float64, finite.
        labels: float64 [N].

    Raises:
        ValueError: if the file is damaged, empty, not in this format, not finite or has
            more than `num_features` columns; the message names file and line.
    """
    from sklearn.datasets import load_svmlight_file

    path = Path(path)
    try:
        with open_unpacked(path) as stream:
            loaded: Any = load_svmlight_file(
                stream, n_features=num_features, zero_based=zero_based
            )
    except (ValueError, OverflowError, IndexError) as error:
        if isinstance(error.__cause__, UNPACK_ERRORS):
            raise  # it names the file already
        fault = _first_fault(path, num_features, zero_based)
        raise ValueError(
            f"{path}, {fault}; a LIBSVM file has {_FORMAT}"
            if fault
            else f"{path} must be a LIBSVM file ({_FORMAT}): {error}"
        ) from error
    features, labels = loaded
    if features.shape[0] == 0:
        raise ValueError(f"{path} must have at least one row, got none")
    if not (np.isfinite(features.data).all() and np.isfinite(labels).all()):
        raise ValueError(
            f"{path}, {_first_fault(path, num_features, zero_based)}; remove or fill "
            "in rows with NaN or infinite values"
        )
    if features.shape[1] > _MOST:
        raise ValueError(f"{path}, {_first_fault(path, num_features, zero_based)}")
    return features, labels


def line_of_row(path: str | os.PathLike[str], row: int) -> int:
    """Returns the number of the line, from 1, in which a row (from 0) stands."""
    with open_unpacked(path) as stream:
        for at, (number, _) in enumerate(_lines(stream)):
            if at == row:
                return number
    raise ValueError(f"row must be in {os.fspath(path)}, got {row}")


def _lines(stream: Any) -> Generator[tuple[int, list[bytes]], None, None]:
    """Yields number and words of the lines that say something."""
    for number, line in enumerate(stream, start=1):
        if words := line.partition(b"#")[0].split():
            yield number, words


def _first_fault(path: Path, num_features: int | None, zero_based: bool) -> str | None:
    """Says where the first bad line is and what is wrong; None: nothing was found."""
    try:
        with open_unpacked(path) as stream:
            for number, words in _lines(stream):
                if fault := _fault(words, num_features, zero_based):
                    return f"line {number}: {fault}"
    except ValueError:  # damaged: unpacking has said so
        pass
    return None


def _fault(
    words: list[bytes], num_features: int | None, zero_based: bool
) -> str | None:
    """Says what is wrong with a line, or nothing."""
    label = _number(words[0])
    if label is None or not math.isfinite(label):
        return f"the label must be a finite number, got {_shown(words[0])}"
    before = -1
    for word in words[1:]:
        name, colon, text = word.partition(b":")
        if name == b"qid":
            continue
        value = _number(text)
        index = _index(name)
        if not colon or index is None or value is None:
            return f"an entry must be index:value, got {_shown(word)}"
        if not math.isfinite(value):
            return f"a value must be finite, got {_shown(word)}"
        if index == 0 and not zero_based:
            return (
                "an index must be at least 1, got 0; where all files of the data set "
                "count columns from 0 give zero_based=True"
            )
        if not 0 <= index < _MOST:
            return f"an index must be in 0..{_MOST - 1}, got {_shown(name)}"
        if index <= before:
            return f"indices must increase, got {index} after {before}"
        if num_features is not None and index >= num_features + (not zero_based):
            return (
                f"an index must be at most {num_features - zero_based}, for "
                f"num_features={num_features}, got {index}"
            )
        before = index
    return None


def _index(text: bytes) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _number(text: bytes) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _shown(word: bytes) -> str:
    """A word of the file in a message: short, and without bytes that are no text."""
    text = word[:40].decode("utf-8", "backslashreplace")
    return f"'{visible(text)}'" + ("..." if len(word) > 40 else "")
