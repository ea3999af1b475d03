"""Tables of measured times from files: CSV, JSON and Parquet, never pickle."""

import collections
import io
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgrad_jax._util.checks import check_path
from asgrad_jax._util.packed import UNPACK_ERRORS, open_unpacked

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import TypeIs

_PICKLES = (".pkl", ".pickle", ".p", ".pck")
_PACKED = (".gz", ".bz2", ".zip", ".xz", ".zst")
# What unpacking and parsing raise on a file that is damaged or something else.
_DAMAGED = (
    *UNPACK_ERRORS,
    *(ValueError, TypeError, LookupError, AttributeError, RecursionError),
)


def read_table(path: str | os.PathLike[str]) -> "pd.DataFrame":
    """Reads a table by the ending of its file name; CSV where it says nothing.

    Args:
        path: .csv with a header or .json, a list of objects or an object of lists, both
            also packed (gzip, bz2, xz, zip, known by their content, not by an ending
            such as .csv.gz); .parquet (needs pyarrow or fastparquet).

    Returns:
        The table. The entries of a CSV file are text, so that nothing is rounded, and
        names of columns are as in the file, equal ones too (`check_distinct`).

    Raises:
        FileNotFoundError, ImportError: if there is no such file, or no Parquet reader.
        ValueError: if the file is a pickle, which could run any program when loaded,
            damaged, or not what its name says.

    Example:
        >>> read_table("devices.pkl")
        Traceback (most recent call last):
        ...
        FileNotFoundError: there is no trace file devices.pkl
    """
    path = check_path("path", path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no trace file {path}")
    _refuse_pickle(path)
    endings = [suffix.lower() for suffix in path.suffixes]
    while len(endings) > 1 and endings[-1] in _PACKED:
        endings.pop()
    what, read = _READERS.get(
        endings[-1] if endings else "", ("a CSV trace", _read_csv)
    )
    try:
        with open_unpacked(path) as stream:
            return read(stream.read())
    except _DAMAGED as error:
        raise ValueError(f"{path} is not {what}: {error}") from error


def is_frame(value: Any) -> "TypeIs[pd.DataFrame]":
    """Whether a value is a data frame; nobody has one before pandas is imported.

    Example:
        >>> is_frame([1, 2])
        False
    """
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def check_distinct(names: Iterable[Any]) -> None:
    """Raises for the first of the columns' names that is there twice."""
    for name, times in collections.Counter(names).items():
        if times > 1:
            raise ValueError(
                f"{times} columns are called {name!r}; nobody knows which one counts: "
                "rename or remove the others"
            )


def _refuse_pickle(path: Path) -> None:
    with open(path, "rb") as file:
        head = file.read(2)
    # Protocols 2 and later begin with these bytes, and no text does.
    pickled = head[:1] == b"\x80" and head[1:] in b"\x02\x03\x04\x05"
    if pickled or path.suffix.lower() in _PICKLES:
        raise ValueError(
            f"{path} is a pickle, and loading one runs whatever program its author put "
            "in; where you trust it, turn it into CSV or JSON: pandas.DataFrame("
            "pickle.load(open(path, 'rb'))).to_csv('trace.csv', index=False)"
        )


def _read_parquet(content: bytes) -> "pd.DataFrame":
    import pandas as pd

    try:
        return pd.read_parquet(io.BytesIO(content))
    except ImportError as error:
        raise ImportError(
            "reading a Parquet trace needs pyarrow (pip install pyarrow); or write the "
            "trace as CSV"
        ) from error


def _read_json(content: bytes) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(json.loads(content, object_pairs_hook=_distinct))


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        check_distinct(name for name, _ in pairs)
    return found


def _read_csv(content: bytes) -> "pd.DataFrame":
    import pandas as pd

    # As text: older pandas parse floats an ulp off, enough to break a tie.
    frame = pd.read_csv(io.BytesIO(content), skipinitialspace=True, dtype=str)
    # pandas numbers equal names, so they are read once more, as they are.
    as_they_are = dict(header=None, nrows=1, na_filter=False)
    again = io.BytesIO(content)
    header = pd.read_csv(again, skipinitialspace=True, dtype=str, **as_they_are)
    # pandas takes a surplus first field for row names and shifts the columns.
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError("its rows have more fields than its header has names")
    names = zip(header.iloc[0], frame.columns, strict=True)
    return frame.set_axis([name or numbered for name, numbered in names], axis=1)


# By the ending: what a file should be, and its reader.
_EXAMPLE = '{"worker": 0, "start": 0.0, "end": 1.5}'
_READERS = {
    ".parquet": ("a Parquet trace", _read_parquet),
    ".json": (f"a JSON trace, a list of objects such as {_EXAMPLE}", _read_json),
}
