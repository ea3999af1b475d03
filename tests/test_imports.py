"""The direction of imports: use -> run -> theory -> {plan | model} -> base."""

import ast
from pathlib import Path

import pytest

import asgrad_jax

ROOT = Path(asgrad_jax.__file__).parent
ALLOWED = {
    "use": {"use", "run", "theory", "plan", "model", "base"},
    "run": {"run", "theory", "plan", "model", "base"},
    "theory": {"theory", "plan", "model", "base"},
    "plan": {"plan", "base"},
    "model": {"model", "base"},
    "base": {"base"},
}
MODULES = sorted(p for p in ROOT.rglob("*.py") if p.parent != ROOT)


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "asgrad_jax":
                yield parts[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_direction(path):
    package = path.relative_to(ROOT).parts[0]
    # The top level (version, public names) is for `use` alone.
    assert set(imported_packages(path)) <= ALLOWED[package]


def test_public_names_exist():
    assert all(hasattr(asgrad_jax, name) for name in asgrad_jax.__all__)
