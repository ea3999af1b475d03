"""Functions and classes of the user's own that a config names: these are imported.

A config that names code runs it, as a script would.
"""

import functools
import importlib
import importlib.util
import re
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from asgrad_jax._util.checks import did_you_mean
from asgrad_jax.cli.calling import call

OWN = r"(.+\.py|[A-Za-z_][\w.]*):[A-Za-z_]\w*"


def is_own(name: Any) -> bool:
    """Whether a text of a config names code of the user's own.

    Example:
        >>> is_own("method.py:TwoChoices"), is_own("lab.methods:make"), is_own("sgd")
        (True, True, False)
    """
    return isinstance(name, str) and re.fullmatch(OWN, name) is not None


def label_of(name: Any) -> Any:
    """What tables and figures call it where no label is given.

    Example:
        >>> label_of("method.py:TwoChoices"), label_of("sgd")
        ('TwoChoices', 'sgd')
    """
    return name.rpartition(":")[2] if is_own(name) else name


def load(name: str, where: str) -> Any:
    """Imports what a text names.

    Args:
        name: "file.py:NAME", or "package.module:NAME" of what Python can import.
        where: place in the config, for errors.

    Raises:
        ValueError: if there is no such file, module or name in it, or the code raises.

    Example:
        >>> load("math:sqrt", "metrics")(9.0)
        3.0
    """
    place, _, attribute = name.rpartition(":")
    module = _imported(place, attribute, where)
    if not hasattr(module, attribute):
        known = [n for n in vars(module) if not n.startswith("_")]
        short = f"{Path(place).name}:{attribute}"
        raise ValueError(
            f"{where}: unknown name {short!r}{did_you_mean(attribute, known)}; "
            f"{Path(place).name} has no {attribute}"
        )
    return getattr(module, attribute)


def make(name: str, where: str, arguments: dict[str, Any]) -> Any:
    """Imports what a text names and, where it is a function or class, calls it.

    Raises:
        ValueError: as `load`; if the arguments do not fit; and for arguments of
            something that cannot be called.

    Example:
        >>> make("fractions:Fraction", "algorithms", {"numerator": 3})
        Fraction(3, 1)
    """
    found = load(name, where)
    where = f"{where}, {label_of(name)}"
    if callable(found):
        return call(where, found, arguments)
    if arguments:
        raise ValueError(
            f"{where}: must be a function or a class to take {', '.join(arguments)}, "
            f"got {type(found).__name__}"
        )
    return found


def beside(folder: Path, text: str) -> str:
    """Resolves the file in a text that names code, where it lies in the folder."""
    place, _, attribute = text.rpartition(":")
    found = is_own(text) and place.endswith(".py") and (folder / place).is_file()
    return f"{folder / place}:{attribute}" if found else text


def copy_files(config: Any, source: Path, target: Path) -> list[Path]:
    """Copies code and traces that a config names, so that its copy finds them.

    Data sets are left where they are: they may be larger than all results.

    Args:
        config: what the TOML file says.
        source: the folder that it lies in.
        target: a folder. Only what lies in `source` or below is copied.

    Returns:
        The copies.
    """
    copies = []
    for place in sorted({*_files(config)}):
        inside = Path(place).is_relative_to(".") and ".." not in Path(place).parts
        if inside and not Path(place).is_absolute() and (source / place).is_file():
            copy = target / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            if copy.resolve() != (source / place).resolve():
                shutil.copyfile(source / place, copy)
            copies.append(copy)
    return copies


def _files(value: Any) -> Iterator[str]:
    """The files among nested texts that name code or a trace."""
    if isinstance(value, dict):
        if isinstance(trace := value.get("path_or_rows"), str):
            yield trace
        value = [*value.values()]
    if isinstance(value, list):
        for entry in value:
            yield from _files(entry)
    elif is_own(value) and value.rpartition(":")[0].endswith(".py"):
        yield value.rpartition(":")[0]


def _imported(place: str, attribute: str, where: str) -> ModuleType:
    path = Path(place)
    of_file = place.endswith(".py")
    if of_file and not path.is_file():
        raise ValueError(
            f"{where}: unknown name '{path.name}:{attribute}'; there is no file "
            f"{place} beside the config or here"
        )
    try:
        if of_file:
            return _run_file(path.resolve(), path.stat().st_mtime_ns)
        return importlib.import_module(place)
    except Exception as error:
        lines = [
            f.lineno
            for f in traceback.extract_tb(error.__traceback__)
            if of_file and f.filename == str(path.resolve())
        ]
        at = f", line {lines[-1]} of it" if lines else ""
        raise ValueError(
            f"{where}: {path.name if of_file else place} cannot be imported{at}: "
            f"{type(error).__name__}: {error}"
        ) from error


@functools.lru_cache(maxsize=32)
def _run_file(path: Path, changed: int) -> ModuleType:
    """Runs a file as a module of its own; anew where it was changed."""
    name = f"_asgrad_config_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    # Other processes do not have the file: it travels with what is sent to them.
    cloudpickle.register_pickle_by_value(module)
    return module
