"""`python -m benchmarks.mutate --seconds 600`: does a test notice a changed line?

One operator, comparison, constant or condition of schedules/, simulation/ or engine/ is
changed at a time, in a copy of the sources, and the tests that belong to it run until
one fails. Mutants are drawn at random; the same seed draws the same ones. Those that
live are listed, with the old and the new line.
"""

import argparse
import ast
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

# What the tests import, once for all; our own package is what changes.
import jax  # noqa: F401
import numpy as np
import optax  # noqa: F401
import pandas  # noqa: F401
import pytest
import xarray  # noqa: F401

ROOT = Path(__file__).parents[1]
ROOMS = ("schedules", "simulation", "engine")
# Quick ones first; a mutant that they notice needs no others.
TESTS = {
    "schedules": [
        "tests/schedules",
        "tests/simulation/test_schedule_hashes.py",
        "tests/algorithms/test_gradient_tables.py",
    ],
    "simulation": [
        "tests/simulation/test_schedule_hashes.py",
        "tests/simulation/test_event_loops.py",
    ],
    "engine": ["tests/engine/test_columns.py tests/schedules/test_slots.py"],
}
LAST = [
    "tests/engine/test_contract.py",
    "tests/engine tests/simulation tests/algorithms tests/experiments/test_run.py "
    "tests/experiments/test_resume.py",
]
SECONDS_EACH = 900  # a mutant that runs for ever is noticed
_SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


class Mutant(NamedTuple):
    """A file, the number of its line, and the line before and after."""

    path: Path
    line: int
    old: str
    new: str
    text: str


def changed(node: ast.AST) -> ast.AST | None:
    """Returns a node that does something else, or None."""
    match node:
        case ast.Compare(left, [op], [right]) if type(op) in _SWAPS:
            return ast.Compare(left, [_SWAPS[type(op)]()], [right])
        case ast.BinOp(left, op, right) if type(op) in _SWAPS:
            if isinstance(left, ast.Constant) and isinstance(left.value, str):
                return None
            return ast.BinOp(left, _SWAPS[type(op)](), right)
        case ast.BoolOp(op, values):
            return ast.BoolOp(_SWAPS[type(op)](), values)
        case ast.UnaryOp(ast.Not(), operand):
            return operand
        case ast.Constant(bool() as value):
            return ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            return ast.Constant(value + 1)
        case ast.IfExp(test, body, other):
            return ast.IfExp(test, other, body)
    return None


def mutants(path: Path) -> list[Mutant]:
    """Returns what a file can become by one change within one line."""
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    tree = ast.parse(text)
    in_words = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.AnnAssign | ast.arg)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in in_words or not hasattr(node, "lineno"):
            continue
        if node.lineno != node.end_lineno or (new := changed(node)) is None:
            continue
        old = lines[node.lineno - 1]
        raw = old.encode()
        words = f"({ast.unparse(new)})".encode()
        line = (raw[: node.col_offset] + words + raw[node.end_col_offset :]).decode()
        whole = "".join([*lines[: node.lineno - 1], line, *lines[node.lineno :]])
        try:
            ast.parse(whole)
        except SyntaxError:
            continue
        found.append(Mutant(path, node.lineno, old.strip(), line.strip(), whole))
    return found


def passes(tests: str, copy: Path) -> bool:
    """Whether tests pass with the sources in a copy, within their time."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            quiet = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(quiet, descriptor)
            sys.path.insert(0, str(copy))
            os.environ["PYTHONPATH"] = os.pathsep.join([str(copy), *sys.path])
            code = pytest.main(["-x", "-n0", "-p", "no:cacheprovider", *tests.split()])
        finally:
            os._exit(int(code))
    end = time.monotonic() + SECONDS_EACH
    while time.monotonic() < end:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            return code == 0
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def noticed(mutant: Mutant, copy: Path, *, quick: bool) -> bool:
    """Whether a test notices a mutant; `quick` asks the first ones only."""
    inside = mutant.path.relative_to(ROOT / "src")
    target = copy / inside
    whole = target.read_text()
    target.write_text(mutant.text)
    try:
        tests = TESTS[inside.parts[1]]
        tests = tests[:1] if quick else [*tests, *LAST]
        return not all(passes(some, copy) for some in tests)
    finally:
        target.write_text(whole)


def main() -> int:
    """Draws mutants until the time is over."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--seconds", type=float, default=600)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--room", choices=ROOMS)
    asked.add_argument("--quick", action="store_true", help="the first tests only")
    options = asked.parse_args()
    rooms = [options.room] if options.room else ROOMS
    source = ROOT / "src" / "asgrad_jax"
    os.chdir(ROOT)
    every = [
        m for r in rooms for p in sorted((source / r).glob("*.py")) for m in mutants(p)
    ]
    order = np.random.default_rng(options.seed).permutation(len(every))
    end, killed, alive = time.monotonic() + options.seconds, 0, []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy)
        if not all(passes(TESTS[room][0], copy) for room in rooms):
            raise RuntimeError("the tests must pass before anything is changed")
        for index in order:
            if time.monotonic() > end:
                break
            mutant = every[index]
            dead = noticed(mutant, copy, quick=options.quick)
            killed += dead
            where = f"{mutant.path.relative_to(ROOT / 'src')}:{mutant.line}"
            print("killed" if dead else "LIVES ", where, mutant.new, flush=True)
            if not dead:
                alive.append(f"{where}: `{mutant.old}` -> `{mutant.new}`")
    print(
        f"\n{killed} of {killed + len(alive)} noticed, of {len(every)} that there are"
    )
    print("\n".join(alive))
    return 0


if __name__ == "__main__":
    sys.exit(main())
