"""The site: nothing public is undocumented, no page forgotten, the build strict."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import asgrad_jax as ag

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = runpy.run_path(os.fspath(DOCS / "draw_reference.py"))
EXAMPLES = runpy.run_path(os.fspath(DOCS / "draw_examples.py"))


def test_every_public_name_has_a_docstring():
    assert REFERENCE["undocumented"]() == []


def test_one_without_would_be_found(monkeypatch):
    def bare():
        pass

    bare.__module__ = "asgrad_jax.plot"
    monkeypatch.setattr(ag.plot, "bare", bare, raising=False)
    plot = types.SimpleNamespace(bare=bare)
    assert dict(REFERENCE["public"](plot)) == {"bare": bare}
    monkeypatch.setattr(ag.plot, "convergence", bare)
    assert "ag.plot.convergence" in REFERENCE["undocumented"]()


def test_all_modules_have_a_page():
    modules = {n for n in ag.__all__ if isinstance(getattr(ag, n), types.ModuleType)}
    assert modules == {*REFERENCE["MODULES"]}
    pages = REFERENCE["pages"]()
    for room in ("algorithms", "compute_times"):
        for name in getattr(ag, room).names():
            entry = f"::: {getattr(getattr(ag, room), name).__module__}.{name}\n"
            assert entry in pages[f"reference/{room}.md"], entry
    entries = [e for text in pages.values() for e in re.findall("^::: .*", text, re.M)]
    assert len(entries) == len(set(entries))
    # Helpers that a module imports for itself are not offered.
    assert not [entry for entry in entries if "._util.check" in entry]
    assert (
        "::: asgrad_jax.experiments.sweep.sweep\n" in pages["reference/asgrad_jax.md"]
    )


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"^ +- ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    there = [path.name for path in DOCS.glob("*.md")]
    made = [*REFERENCE["pages"](), *EXAMPLES["pages"]()]
    assert sorted(listed) == sorted([*there, *made])


def test_the_glossary_has_every_word_once_in_a_line():
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in (DOCS / "glossary.md").read_text().splitlines()
        if line.startswith("| ")
    ][1:]
    words = [row[0] for row in rows if row[0] != "---"]
    assert words == sorted(set(words), key=str.lower) and len(words) >= 40
    assert all(len(row) == 3 and row[2] for row in rows)
    # The words that CONTRIBUTING and the docstrings use without explaining them.
    listed = {word for row in words for word in row.split(", ")}
    assert listed >= {"lane", "wave", "slot", "arrival", "server step", "record", "job"}


@pytest.mark.slow
def test_it_is_whole_and_a_dead_link_stops_it(tmp_path):
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs" / "faq.md").open("a") as page:
        page.write("\n[gone](nowhere.md)\n")
    command = [sys.executable, "-m", "mkdocs", "build"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    # That link, and nothing else, is amiss.
    assert done.returncode != 0
    warned = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert len(warned) == 1 and "nowhere.md" in warned[0], warned
    for page in (tmp_path / "build" / "site").rglob("*.html"):
        fetched = r"<(?:script|link|img)[^>]+(?:src|href)=\"?http"
        assert not re.findall(fetched, page.read_text()), page


def test_licences_of_all_that_is_installed_are_on_the_page():
    script = runpy.run_path(os.fspath(DOCS / "draw_licences.py"))
    listed = re.findall(r"^\| `([\w.-]+)` \|", script["page_table"](), re.M)
    assert listed == sorted(script["dependencies"]())
    # What is installed here is named with a licence, whatever its version says.
    assert "Apache" in script["licence"]("jax") and script["licence"]("no-such") is None
    assert script["table"]().count("\n") == 2 + len(listed)


def test_the_gallery_has_every_preset_and_is_small():
    script = runpy.run_path(os.fspath(DOCS / "draw_gallery.py"))
    assert (DOCS / "gallery.md").read_text() == script["page"]()
    pictures = [*script["THUMBNAILS"].glob("*.png")]
    names = script["presets"].names()
    assert {path.name.partition(".")[0] for path in pictures} <= {*names}
    assert len(pictures) >= len(names) - 2  # a9a is not to be had everywhere
    assert sum(path.stat().st_size for path in pictures) < 1_000_000
