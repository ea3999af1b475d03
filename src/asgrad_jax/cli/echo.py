"""What the command line prints: every terminal can show it, and none obeys it."""

import sys

import typer

from asgrad_jax._util.text import in_terminal


def echo(text: object, *, err: bool = False) -> None:
    """Prints text, control characters of labels and file names spelt out."""
    typer.echo(in_terminal(text), err=err)


def spell_out_what_cannot_be_encoded() -> None:
    r"""Lets streams whose encoding lacks a letter write it as Python does, `\u03b2`.

    A log of Windows may be cp1252, and a run of hours must not fail at its last line.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # tests and notebooks have others
            stream.reconfigure(errors="backslashreplace")
