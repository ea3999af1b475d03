"""Which line of a config file an error is about."""

import re
from pathlib import Path
from typing import NamedTuple

_HEADER = re.compile(r"^\s*\[{1,2}\s*([\w.-]+)\s*\]{1,2}")
_KEY = re.compile(r"(?:^|[{,])\s*([\w-]+)\s*=")
_TEXT = re.compile(r"\"[^\"]*\"|'[^']*'")
_EXPECTED = re.compile(r"Expected `(.+)`, got `(.+)` - at `\$\.?(.*)`")
_UNEXPECTED = re.compile(r"(Invalid .+) - at `\$\.?(.*)`")
_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a text",
    "array": "a list",
    "object": "a table",
    "bool": "true or false",
    "null": "left out",
}


class Line(NamedTuple):
    """A line of a config that sets keys.

    Attributes:
        number: from 1.
        top: the first key of the file that it belongs to.
        keys: that it sets.
        texts: that stand on it or, for a table, on its lines.
    """

    number: int
    top: str
    keys: tuple[str, ...]
    texts: frozenset[str]


def plain(words: str) -> str:
    """Returns msgspec's sentence about a wrong type in the words of other errors.

    Example:
        >>> plain("Expected `int | null`, got `str` - at `$.num_gradients`")
        'num_gradients must be an integer, got a text'
    """
    if found := _EXPECTED.fullmatch(words):
        kinds = [kind for kind in found[1].split(" | ") if kind != "null"]
        wanted = " or ".join(_WORDS.get(kind, kind) for kind in kinds)
        name = found[3].replace("[...]", "[]")
        return f"{name} must be {wanted}, got {_WORDS.get(found[2], found[2])}"
    if found := _UNEXPECTED.fullmatch(words):
        return f"{found[2]}: {found[1][0].lower()}{found[1][1:]}"
    return words


def with_line(path: Path, words: str) -> str:
    """Returns an error's words with the number of the line, where that is certain.

    Args:
        path: of the config file.
        words: without the file's name; places in them are as `config` writes them,
            "problem: ...", "algorithms, LABEL, NAME: ...".
    """
    if "(at line" in words:  # TOML's own
        return words
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return words
    number = line_of(text, words)
    return words if number is None else f"{words} (line {number})"


def line_of(text: str, words: str) -> int | None:
    """Returns the number of the line that an error is about; None where in doubt.

    Example:
        >>> line_of('seeds = 2\\n[problem]\\nmuu = 1', "problem: unknown key 'muu'")
        3
        >>> line_of("seeds = 2", "problem is missing")
    """
    lines = _lines(text)
    words = re.sub(r"\bstep_size\b", "step_sizes", words)  # the sweep's name of one
    place, _, rest = words.partition(": ")
    if not rest:
        place, rest = "", words
    names = re.findall(r"[\w-]+", place)
    tops = {line.top for line in lines}
    top = next((name for name in names if name in tops), None)
    if top is None and place != "config":  # "seeds must be ..."
        top = next(
            (name for name in re.findall(r"[\w-]+", words) if name in tops), None
        )
    if top is None and place != "config":
        return None
    inside = [line for line in lines if top is None or line.top == top]
    for label in re.split(", ", place)[1:]:
        # Of several tables, that with this label or name.
        inside = [
            line for line in inside if label in line.texts | {*line.keys}
        ] or inside
    if found := re.match(r"unknown (\w+) '([^']*)'", rest):
        wanted = [found[2]]
        if found[1] != "key":
            found_on = [
                line for line in inside if found[2] in line.texts & _own(text, line)
            ]
            return _only(found_on or [line for line in inside if found[1] in line.keys])
    else:
        wanted = [*re.findall(r"[\w-]+", rest), *reversed(names)]
    keys = {key for line in inside for key in line.keys}
    key = next((name for name in wanted if name in keys), None)
    return _only([line for line in inside if key is not None and key in line.keys])


def _own(text: str, line: Line) -> frozenset[str]:
    """The texts on the line itself."""
    return _texts(text.splitlines()[line.number - 1])


def _only(lines: list[Line]) -> int | None:
    return lines[0].number if len(lines) == 1 else None


def _texts(line: str) -> frozenset[str]:
    return frozenset(text[1:-1] for text in _TEXT.findall(line))


def _lines(text: str) -> list[Line]:
    """The lines of a TOML file that set keys, or hold entries of a list."""
    tables: list[list[tuple[int, str, tuple[str, ...], frozenset[str]]]] = [[]]
    top, depth, inside = "", 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        texts = _texts(line)
        bare = _TEXT.sub("''", line).partition("#")[0]
        if depth == 0 and (header := _HEADER.match(bare)):
            top = header[1].split(".")[0]
            tables.append([(number, top, (top,), texts)])
            continue
        keys = tuple(_KEY.findall(bare))
        if depth == 0 and keys:
            inside = top or keys[0]
        if keys or texts:
            tables[-1].append((number, inside, keys, texts))
        depth += sum(map(bare.count, "[{")) - sum(map(bare.count, "]}"))
    found = []
    for number_of_table, table in enumerate(tables):
        # An entry of a list of tables is known by the label that is somewhere in it.
        shared = frozenset().union(*(t for *_, t in table)) if number_of_table else None
        found += [
            Line(n, top, k, t if shared is None else shared) for n, top, k, t in table
        ]
    return found
