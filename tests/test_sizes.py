"""Files and functions stay of a size that can be read; see `max-complexity` too."""

import ast
from pathlib import Path

import asgrad_jax

FILES = sorted(Path(asgrad_jax.__file__).parent.rglob("*.py"))


def code_lines(function, lines):
    """How many lines of a function are neither empty, nor comment, nor docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function, clean=False) is not None
    words = range(first.lineno, first.end_lineno + 1) if documented else ()
    return sum(
        number not in words and lines[number - 1].strip()[:1] not in ("", "#")
        for number in range(function.lineno, function.end_lineno + 1)
    )


def test_files_are_short():
    long = [p.name for p in FILES if len(p.read_text("utf-8").splitlines()) > 500]
    assert long == []


def long_functions(path):
    source = path.read_text("utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            if code_lines(node, source.splitlines()) > 60:
                yield f"{path.stem}.{node.name}"


def test_few_functions_are_long():
    long = [name for path in FILES for name in long_functions(path)]
    assert len(long) <= 12, long


def test_code_lines_are_counted():
    source = 'def f():\n    """Words."""\n\n    # why\n    return 1\n'
    assert code_lines(ast.parse(source).body[0], source.splitlines()) == 2
