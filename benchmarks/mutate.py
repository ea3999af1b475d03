"""`python -m benchmarks.mutate --mutants 300`: does a test notice a changed line?

One operator, comparison, constant or condition of schedules/, simulation/ or engine/ is
changed at a time, in a copy of the sources, and tests that run through that line are
asked until one fails. Which tests do is found first, by running them once under
coverage, and kept in a file. Mutants are drawn at random; the same seed draws the same
ones. Those that live are listed, with the old and the new line.

engine/cost.py is left alone: it chooses between ways to compute the same thing by
estimated times, and no result depends on it. So are decorators, the compiler's options.
"""

import argparse
import ast
import atexit
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
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
# What is compiled in rooms below these does not depend on a mutant.
BELOW = ("_util", "compute_times", "kernels")
# What is run under coverage, with compiled functions left to Python, and without.
TESTS = {
    "1": "tests/simulation/test_schedule_hashes.py",
    "0": "tests/schedules tests/simulation tests/engine tests/algorithms "
    "tests/experiments/test_run.py tests/experiments/test_runner.py "
    "tests/experiments/test_optax_servers.py tests/experiments/test_server_rules.py "
    "tests/experiments/test_server_sees_and_is_seen.py "
    "tests/compute_times/test_compute_times_contract.py "
    "tests/experiments/test_communication.py tests/experiments/test_metric_strides.py",
}
# Asked last about a file with compiled loops, through which coverage does not see.
COMPILED = ("tests/algorithms/test_identities.py", "tests/simulation/test_prefix.py")
MOST_SECONDS = (15, 120)  # of the tests of a line; the second if a mutant lives
NO_RESULT = "engine/cost.py"
SECONDS_EACH = 600  # a mutant that runs for ever is noticed
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

    @property
    def place(self) -> str:
        """Room, file and line."""
        return f"{self.path.parent.name}/{self.path.name}:{self.line}"


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
    left_alone = set()
    for node in ast.walk(tree):
        parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        parts += getattr(node, "decorator_list", [])
        if isinstance(node, ast.Raise | ast.JoinedStr):
            parts = [node]
        for part in filter(None, parts):
            left_alone.update(id(inner) for inner in ast.walk(part))
    found = []
    for node in ast.walk(tree):
        if id(node) in left_alone or not hasattr(node, "lineno"):
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


class Interpreted:
    """A plugin of pytest: Python goes through what is compiled elsewhere."""

    def pytest_sessionstart(self) -> None:
        from asgrad_jax.simulation import compiled, compiled_rounds, simulate

        simulate.switched_off = lambda: False
        # Fields of records are attributes for Numba; so they are here.
        for module in (compiled, compiled_rounds):
            for name, kind in vars(module).items():
                if isinstance(kind, np.dtype):
                    setattr(module, name, np.dtype((np.record, kind)))


def plugins(jit_off: str) -> list:
    """Returns the plugins of a run."""
    return [Interpreted()] if jit_off == "1" else []


class Watched:
    """A plugin of pytest that writes down which lines each test that passes runs."""

    def __init__(self, jit_off: str):
        import coverage

        folder = str(ROOT / "src" / "asgrad_jax")
        self.coverage = coverage.Coverage(
            data_file=None, include=[f"{folder}/{room}/*" for room in ROOMS]
        )
        self.jit_off, self.seconds = jit_off, dict[str, float]()
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator:
        self.coverage.switch_context(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.seconds[report.nodeid] = report.duration

    def lines(self) -> dict[str, dict[int, list]]:
        """Returns file -> line -> [seconds, test, whether compilation was off]."""
        self.coverage.stop()
        data = self.coverage.get_data()
        return {
            str(Path(file).relative_to(ROOT)): {
                line: sorted(
                    [self.seconds[test], test, self.jit_off]
                    for test in tests
                    if test in self.seconds
                )
                for line, tests in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }


def watch(jit_off: str, target: Path) -> int:
    """Runs tests under coverage and writes which lines they run."""
    plugin = Watched(jit_off)
    arguments = ["-n0", "-p", "no:cacheprovider", *TESTS[jit_off].split()]
    pytest.main(arguments, plugins=[plugin, *plugins(jit_off)])
    target.write_text(json.dumps(plugin.lines()))
    return 0


def tests_of_lines(kept: Path) -> dict[str, dict[str, list]]:
    """Returns file -> line -> tests, from the file where it is kept if it is there."""
    newest = max(p.stat().st_mtime for p in (ROOT / "src" / "asgrad_jax").rglob("*.py"))
    if kept.exists() and kept.stat().st_mtime > newest:
        return json.loads(kept.read_text())
    found: dict[str, dict[str, list]] = {}
    for jit_off in TESTS:
        target = kept.with_suffix(f".{jit_off}")
        subprocess.run(
            [sys.executable, "-m", "benchmarks.mutate", "--watch", jit_off, target],
            env=os.environ | {"NUMBA_DISABLE_JIT": jit_off},
            check=True,
        )
        for file, lines in json.loads(target.read_text()).items():
            for line, tests in lines.items():
                found.setdefault(file, {}).setdefault(line, []).extend(tests)
        target.unlink()
    kept.write_text(json.dumps(found))
    return found


def nearest(lines: dict[str, list], line: int) -> list:
    """Returns the tests of a line; those of lines above or of all, if it has none.

    A statement over several lines is run at its first, and a constant at import.
    """
    for place in range(line, line - 10, -1):
        if lines.get(str(place)):
            return lines[str(place)]
    every = {tuple(test) for tests in lines.values() for test in tests}
    return [list(test) for test in every]


def passes(tests: list[str], jit_off: str, copy: Path, cache: str | None) -> bool:
    """Whether tests pass with the sources in a copy, within their time.

    Args:
        tests: names.
        jit_off: "1" leaves compiled functions to Python.
        copy: folder of the sources.
        cache: folder of their own for compiled functions, if one of them has changed.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            quiet = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(quiet, descriptor)
            sys.path.insert(0, str(copy))
            os.environ["PYTHONPATH"] = os.pathsep.join([str(copy), *sys.path])
            os.environ["NUMBA_DISABLE_JIT"] = jit_off
            if cache:
                os.environ["NUMBA_CACHE_DIR"] = cache
            arguments = ["-x", "-n0", "-p", "no:cacheprovider", *tests]
            code = pytest.main(arguments, plugins=plugins(jit_off))
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


def chosen(tests: list, stem: str, seconds_for: float) -> dict[str, list[str]]:
    """Returns some of the tests of a line, by whether compilation is off.

    Those in a file of the module's name first, then the two quickest of each file, up
    to so many seconds.
    """
    seen: dict[str, int] = {}
    ranked = []
    for seconds, test, jit_off in sorted(tests):
        place = seen[file] = seen.get(file := test.partition("::")[0], 0) + 1
        ranked.append((stem not in file and 1 + (place > 2), seconds, test, jit_off))
    some, total = {jit_off: list[str]() for jit_off in TESTS}, 0.0
    for _, seconds, test, jit_off in sorted(ranked):
        total += seconds
        if total < seconds_for or total == seconds:
            some[jit_off].append(test)
    return some


@functools.cache
def copied() -> Path:
    """Makes a copy of the sources for this process."""
    copy = Path(tempfile.mkdtemp()) / "src"
    shutil.copytree(ROOT / "src", copy)
    atexit.register(shutil.rmtree, copy.parent)
    return copy


def noticed(mutant: Mutant, tests: list) -> bool:
    """Whether one of the tests that run through a line notices that it changed."""
    copy = copied()
    target = copy / mutant.path.relative_to(ROOT / "src")
    whole, times = target.read_text(), target.stat()
    target.write_text(mutant.text)
    with tempfile.TemporaryDirectory() as folder:
        cache, kept = folder if "njit" in whole else None, copy.parent / "compiled"
        if cache and kept.exists():
            # Newer than all sources, or the package would forget it.
            shutil.copytree(kept, cache, copy_function=shutil.copy, dirs_exist_ok=True)
        try:
            stem = mutant.path.stem.strip("_")
            asked = [
                some for s in MOST_SECONDS for some in chosen(tests, stem, s).items()
            ]
            asked += [("0", [*COMPILED])] if cache else []
            return not all(
                passes(some, off, copy, cache) for off, some in asked if some
            )
        finally:
            target.write_text(whole)
            os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
            for room in Path(cache).iterdir() if cache else ():
                if room.name.startswith(BELOW):
                    shutil.copytree(room, kept / room.name, dirs_exist_ok=True)


def drawn(rooms: tuple[str, ...], seed: int) -> list[Mutant]:
    """Returns all mutants of some rooms in random order."""
    source = ROOT / "src" / "asgrad_jax"
    files = [path for room in rooms for path in sorted((source / room).glob("*.py"))]
    every = [
        m for path in files if not str(path).endswith(NO_RESULT) for m in mutants(path)
    ]
    return [
        every[index] for index in np.random.default_rng(seed).permutation(len(every))
    ]


def main() -> int:
    """Draws mutants until there are enough, or the time is over."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--mutants", type=int, default=300)
    asked.add_argument("--skip", type=int, default=0, help="the first of a seed")
    asked.add_argument("--seconds", type=float, default=float("inf"))
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--room", choices=ROOMS)
    asked.add_argument("--lines", nargs="+", help="FILE:LINE, to try mutants of these")
    asked.add_argument("--jobs", type=int, default=os.cpu_count())
    asked.add_argument("--kept", type=Path, default=ROOT / ".mutate.json")
    asked.add_argument("--watch", nargs=2, help=argparse.SUPPRESS)
    options = asked.parse_args()
    os.chdir(ROOT)
    if options.watch:
        return watch(options.watch[0], Path(options.watch[1]))
    lines = tests_of_lines(options.kept)
    every = drawn((options.room,) if options.room else ROOMS, options.seed)
    order = [m for m in every if m.place in (options.lines or [m.place])]
    order = order[options.skip :]
    order = order[: options.mutants]
    tests = [
        nearest(lines.get(str(m.path.relative_to(ROOT)), {}), m.line) for m in order
    ]
    end, killed, alive = time.monotonic() + options.seconds, 0, []
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        for mutant, dead in zip(order, pool.map(noticed, order, tests), strict=True):
            killed += dead
            print("killed" if dead else "LIVES ", mutant.place, mutant.new, flush=True)
            if not dead:
                alive.append(f"{mutant.place}: `{mutant.old}` -> `{mutant.new}`")
            if time.monotonic() > end:
                pool.shutdown(cancel_futures=True)
                break
    print(
        f"\n{killed} of {killed + len(alive)} noticed, of {len(every)} that there are"
    )
    print("\n".join(alive))
    return 0


if __name__ == "__main__":
    sys.exit(main())
