"""Imports go one way: every package may import those named beside it, and itself."""

import ast
import graphlib
import runpy
from pathlib import Path

import pytest

import asgrad_jax

ROOT = Path(asgrad_jax.__file__).parent
_PLAN = {"_util", "compute_times", "schedules", "algorithms", "simulation"}
_ENGINE = {"_util", "kernels", "problems", "schedules", "engine"}
_THEORY = {"_util", "problems", "algorithms", "schedules", "theory"}
ALLOWED = {
    "_util": set(),
    "kernels": {"_util"},
    "datasets": {"_util"},
    "compute_times": {"_util"},
    "schedules": {"_util", "compute_times"},
    "algorithms": {"_util", "compute_times", "schedules"},
    "simulation": _PLAN,
    "problems": {"_util", "kernels", "datasets"},
    "engine": _ENGINE,
    "theory": _THEORY,
    "results": {"_util"},
    "experiments": _PLAN | _ENGINE | {"results"},
    "plot": {"_util", "results", "schedules", "theory", "problems"},
    "report": _PLAN | _THEORY | {"results", "plot"},
}
FREE = {"cli", "__init__", "__main__"}  # they may import everything
MODULES = sorted(ROOT.rglob("*.py"))


def room(path):
    """The package of a module, or the module's own name at the top."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path, *, top_level=False):
    """Yields (module, imported name) for every import of our own modules."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(a.name.startswith("asgrad_jax.") for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module.split(".")[0] == "asgrad_jax":
                yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_direction(path):
    if room(path) in FREE:
        return
    rooms = {f"{module}.{name}".split(".")[1] for module, name in imports(path)}
    assert rooms <= ALLOWED[room(path)] | {room(path)}


def test_every_room_has_its_walls():
    assert {room(path) for path in MODULES} == {*ALLOWED, *FREE}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_kernels_have_one_face(path):
    if room(path) != "kernels":
        for module, name in imports(path):
            assert not f"{module}.{name}".startswith("asgrad_jax.kernels._")


def test_no_import_circle():
    """Every module can be the first that is imported."""
    module_of = {
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path
        for path in MODULES
    }

    def target(module, name):
        whole = f"{module}.{name}"
        tried = (whole, f"{whole}.__init__", module, f"{module}.__init__")
        return next(known for known in tried if known in module_of)

    graph = {
        known: {target(*found) for found in imports(path, top_level=True)}
        for known, path in module_of.items()
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())  # or CycleError


def test_public_names_exist():
    assert all(hasattr(asgrad_jax, name) for name in asgrad_jax.__all__)


def test_the_picture_of_the_rooms_is_drawn_from_the_imports(tmp_path):
    draw_rooms = runpy.run_path(str(ROOT.parents[1] / "docs" / "draw_rooms.py"))
    rooms = draw_rooms["rooms_of"]()
    assert {*rooms} == {*ALLOWED, "cli"} - {"_util"}
    assert all(others <= ALLOWED.get(r, {*rooms}) for r, others in rooms.items())
    floors = draw_rooms["floors"](rooms)
    height = {room: h for h, floor in enumerate(floors) for room in floor}
    assert all(height[r] > height[o] for r, others in rooms.items() for o in others)
    draw_rooms["draw"](tmp_path / "rooms.png")
    assert (tmp_path / "rooms.png").stat().st_size > 10_000
