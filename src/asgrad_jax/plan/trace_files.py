"""Tables of measured times from files: CSV, JSON and Parquet, never pickle."""

import json
import os
from pathlib import Path

import pandas as pd

_PICKLES = (".pkl", ".pickle", ".p", ".pck")


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Reads a table by the ending of its file name; CSV where it says nothing.

    Args:
        path: .csv with a header; .json, a list of objects or an object of lists;
            .parquet (needs pyarrow or fastparquet).

    Returns:
        The table; the entries of a CSV file are text, so that nothing is rounded.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if it is Parquet and no reader is installed.
        ValueError: if the file is a pickle, which could run any program when loaded, or
            not what its name says.

    Example:
        >>> read_table("devices.pkl")
        Traceback (most recent call last):
        ...
        FileNotFoundError: there is no trace file devices.pkl
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no trace file {path}")
    _refuse_pickle(path)
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    if path.suffix.lower() == ".json":
        return _read_json(path)
    return _read_csv(path)


def _refuse_pickle(path: Path) -> None:
    with open(path, "rb") as file:
        head = file.read(2)
    # Protocols 2 and later begin with these bytes, and no text does.
    pickled = head[:1] == b"\x80" and head[1:] in b"\x02\x03\x04\x05"
    if pickled or path.suffix.lower() in _PICKLES:
        raise ValueError(
            f"{path} is a pickle, and loading one runs whatever program its author put "
            "in; it is not read. Where you trust it, turn it into CSV or JSON yourself "
            "with the columns worker, start, end, for example: pandas.DataFrame("
            "pickle.load(open(path, 'rb'))).to_csv('trace.csv', index=False)"
        )


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise ImportError(
            f"{path}: reading Parquet needs pyarrow (pip install pyarrow); or write "
            "the trace as CSV"
        ) from error
    except (ValueError, OSError) as error:  # damaged, or no Parquet at all
        raise ValueError(f"{path} is not a Parquet trace: {error}") from error


def _read_json(path: Path) -> pd.DataFrame:
    try:
        return pd.DataFrame(json.loads(path.read_bytes()))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a JSON trace, a list of objects such as "
            f'{{"worker": 0, "start": 0.0, "end": 1.5}}: {error}'
        ) from error


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        # As text: older pandas parse floats an ulp off, enough to break a tie.
        frame = pd.read_csv(path, skipinitialspace=True, dtype=str)
    except ValueError as error:  # empty, ragged, not text
        raise ValueError(f"{path} is not a CSV trace: {error}") from error
    # pandas takes a surplus first field for row names and shifts the columns.
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(
            f"{path} is not a CSV trace: its rows have more fields than its header has "
            "names"
        )
    return frame
