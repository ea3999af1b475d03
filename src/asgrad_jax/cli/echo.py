"""What the command line prints: every terminal can show it, and none obeys it."""

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from asgrad_jax._util.text import in_terminal

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def echo(text: object, *, err: bool = False) -> None:
    """Prints text, control characters of labels and file names spelt out."""
    typer.echo(in_terminal(text), err=err)


def echo_json(value: Any) -> None:
    """Prints a value as JSON on one line."""
    typer.echo(json.dumps(as_plain(value)))


def as_plain(value: Any) -> Any:
    """Returns records as dicts by field, arrays as lists, None for what is not finite.

    Example:
        >>> as_plain({2: (math.inf, 1)})
        {'2': [None, 1]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        value = {name: getattr(value, name) for name in names}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    elif hasattr(value, "tolist"):  # arrays and their numbers
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): as_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such numbers
    return value


def spell_out_what_cannot_be_encoded() -> None:
    r"""Lets streams whose encoding lacks a letter write it as Python does, `\u03b2`.

    A log of Windows may be cp1252, and a run of hours must not fail at its last line.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # tests and notebooks have others
            stream.reconfigure(errors="backslashreplace")
