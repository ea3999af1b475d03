"""No test says how long something may take: a loaded machine takes longer."""

import ast
from pathlib import Path

import pytest

FILES = [path for path in Path(__file__).parent.rglob("*.py")]
CLOCKS = {"time", "monotonic", "perf_counter", "process_time", "timeit"}


def asserted_times(source):
    """Lines that compare what a clock says, or end something after a time."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            for given in node.keywords:
                if given.arg == "timeout" and isinstance(given.value, ast.Constant):
                    yield node.lineno
        if isinstance(node, ast.Assert):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Attribute) and inner.attr in CLOCKS:
                    if isinstance(inner.value, ast.Name) and inner.value.id == "time":
                        yield inner.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_time_is_asserted(path):
    assert [*asserted_times(path.read_text(encoding="utf-8"))] == []


def test_times_would_be_found():
    found = "assert time.monotonic() - start < 60\nrun(code, check=True, timeout=60)"
    assert sorted(asserted_times(found)) == [1, 2]
    assert [
        *asserted_times("assert result.time == 3\nrun(timeout=None and limit)")
    ] == []
