"""One word for one thing: old names do not come back, neither in code nor in prose."""

import ast
import re
from pathlib import Path

import pytest

import asgrad_jax

SOURCE = Path(asgrad_jax.__file__).parent
ROOT = SOURCE.parents[1]
PAGES = [*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
FILES = sorted([*SOURCE.rglob("*.py"), *(page for page in PAGES if page.exists())])

# What no argument, variable, function, class or module may be called, and the word.
NAMES = {
    "clock": "compute_times",
    "clocks": "compute_times",
    "law": "distribution",
    "laws": "distributions",
    "pace": "speed profile",
    "under": "inner",
    "finish": "transforms, end_time or save_lanes",
    "wait": "gradients_per_step",
    "draw": "job",
    "Table": "GradientTable",
    "fold_in": "apply_arrival",
    "Static": "ProgramKey",
    "Bucket": "ProgramGroup",
    "bucket": "group",
    "whole_grid": "restore_dims",
    "noise_key": "minibatch_key",
    "remove_remains": "remove_stale_temporaries",
    "left_by_groups": "cgroup_headroom",
    "for_good": "sustained",
    "num_arrivals": "num_gradients",
    "seats": "threads",
    "picked": "batch_rows",
    "added_up": "sum_parts",
    "edition": "source_hash",
    "draw_ahead": "presample",
    "draws_first": "has_sample_step",
    "per_lane": "expand_trailing",
    "Brief": "ShortRepr",
    "looks": "line_styles",
    "seen": "summary",
    "shipped": "builtin",
    "hom": "homogeneous",
    "het": "heterogeneous",
}
# Words with a second meaning that stays: to draw a line or a random number, to wait for
# threads, NumPy's underflow.
KEPT = {
    ("draw", "plot"),
    ("draw", "simulation"),
    ("wait", "experiments"),
    ("wait", "simulation"),
    ("under", "experiments"),
    ("seen", "algorithms"),
    ("seen", "schedules"),
}
PHRASES = [
    r"without a word",
    r"here and there",
    r"\bis none that\b",
    r"\bare none: ",
    r"\bthis project\b",
    r"published_clocks|speed_and_data|fast_loop|event_loop\b|round_events",
    r"\bag\.plan\b",
]


def names(path):
    """Yields (name, line) for whatever a module names."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg | ast.keyword):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.stem)
def test_names(path):
    room = path.relative_to(SOURCE).parts[0]
    old = {
        f"line {line}: {name}, say {NAMES[name]}"
        for name, line in names(path)
        if name in NAMES and (name, room) not in KEPT
    }
    assert not old


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_phrases(path):
    text = " ".join(path.read_text("utf-8").split())
    found = [m for phrase in PHRASES for m in re.findall(phrase, text)]
    assert not found


def test_they_would_be_found(tmp_path):
    path = tmp_path / "old.py"
    path.write_text("def run(clock, *, wait=1): return clock.draw(law=wait)\n")
    assert {name for name, _ in names(path)} >= {"clock", "wait", "law"}
