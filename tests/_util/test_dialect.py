"""Errors in one dialect, "X must be ..., got ...; do ...", read from the sources."""

import ast
import re
from pathlib import Path

import pytest

import asgrad_jax

ROOT = Path(asgrad_jax.__file__).parent
FILES = [
    ROOT / "_util/checks.py",
    ROOT / "datasets.py",
    ROOT / "experiments/checks.py",
    *(
        ROOT / f"problems/{name}.py"
        for name in ("partition", "sampling", "from_loss", "local_steps")
    ),
    *(
        path
        for room in ("compute_times", "algorithms", "schedules", "simulation")
        for path in sorted((ROOT / room).glob("*.py"))
    ),
]


def template(node):
    """The text of a message, its values shown as {}."""
    match node:
        case ast.Constant():
            return str(node.value)
        case ast.JoinedStr():
            return "".join(map(template, node.values))
        case _:
            return "{}"


def raised(tree):
    """The messages of all ValueErrors and TypeErrors that wrap no other error."""
    wrapped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Raise) or node in wrapped:
            continue
        match node.exc:
            case ast.Call(ast.Name("ValueError" | "TypeError"), [message, *_]):
                yield node.lineno, template(message)


def strangers(path):
    """Messages that do not say what must be."""
    return [
        f"{path.name}:{line}: {text}"
        for line, text in raised(ast.parse(path.read_text()))
        if text != "{}" and "must " not in text
    ]


OLD = re.compile(r" is \{\}.*; (give|known|it must|at most)|; known: |, not \{\}$")


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_every_message_says_what_must_be(path):
    assert strangers(path) == []
    texts = [text for _, text in raised(ast.parse(path.read_text()))]
    assert [text for text in texts if OLD.search(text)] == []


def test_old_words_would_be_found(tmp_path):
    path = tmp_path / "old.py"
    old = 'raise ValueError(f"wait is {wait}; give at least " "1")'
    path.write_text(f"def f(wait):\n    {old}\n")
    assert strangers(path) == ["old.py:2: wait is {}; give at least 1"]
    assert OLD.search(strangers(path)[0])
