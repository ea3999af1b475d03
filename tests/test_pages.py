"""Everything that README, docs and examples show runs as it stands."""

import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.algorithms.registry import REGISTRY as ALGORITHMS
from asgrad_jax.cli import cli, config
from asgrad_jax.compute_times.registry import REGISTRY as COMPUTE_TIMES
from asgrad_jax.theory.bounds.registry import _REGISTRY as BOUNDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Pages whose outputs are of schedules alone, which are the same on every machine.
SAME_EVERYWHERE = ("asynchrony.md", "methods.md", "schedules.md")
pytestmark = pytest.mark.filterwarnings("ignore:the best hyper-parameters")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.fixture
def forgotten_registrations(monkeypatch):
    """What a page registers is not there for the tests that follow."""
    for registry in (ALGORITHMS, COMPUTE_TIMES, BOUNDS):
        monkeypatch.setattr(registry, "_known", dict(registry._known))
    rules = sys.modules["asgrad_jax.theory.step_sizes"]  # not the function of that name
    monkeypatch.setattr(rules, "_RULES", dict(rules._RULES))


@pytest.mark.usefixtures("forgotten_registrations")
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_blocks_run(page, tmp_path, monkeypatch, capsys):
    # Blocks of one page share their names, as a reader types them one after another.
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)
    printed = capsys.readouterr().out
    if page.name in SAME_EVERYWHERE:
        shown = blocks(page, "text")
        assert shown and [text for text in shown if text not in printed] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_toml_blocks_are_valid_configs(page, tmp_path):
    for block in blocks(page, "toml"):
        path = tmp_path / "config.toml"
        path.write_text(block)
        asked = config.load_config(path)
        assert config.build_problem(asked.problem).num_workers > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_shell_commands_exist(page, monkeypatch, capsys):
    """Every `asgrad ...` line parses: the options exist, nothing is run."""
    for block in blocks(page, "bash"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] != ["asgrad"]:
                continue
            group = 2 if words[1] == "schedule" else 1
            monkeypatch.setattr(sys, "argv", [*words[: group + 1], "--help"])
            with pytest.raises(SystemExit) as stop:
                cli.main()
            assert not stop.value.code, line
            shown = capsys.readouterr().out
            for word in words[group + 1 :]:
                assert not word.startswith("--") or word in shown, line


def test_every_algorithm_is_in_the_table():
    names = ag.algorithms.names()
    table = (ROOT / "docs" / "methods-table.md").read_text()
    assert re.findall(r"^\| `(\w+)`", table, re.M) == names
    for page in (ROOT / "README.md", ROOT / "docs" / "methods.md"):  # a selection
        rows = re.findall(r"^\| `(\w+)`", page.read_text(), re.M)
        assert rows and set(rows) <= set(names), page
        assert "methods-table.md" in page.read_text()


def test_momentum(capsys):
    example = runpy.run_path(os.fspath(ROOT / "examples" / "momentum.py"))
    best = example["main"](["--num-gradients", "60"])
    assert best.sizes["algorithm"] == len(capsys.readouterr().out.splitlines()) - 1
    assert np.isfinite(best["value"]).all()


def test_momentum_on_w7a(shared, tmp_path, capsys):
    """On its first rows."""
    path = shared / "data" / "w7a.txt"
    if not path.is_file():
        pytest.skip(f"no {path}")
    few_rows = tmp_path / "few.txt"
    few_rows.write_text("\n".join(path.read_text().splitlines()[:600]))
    example = runpy.run_path(os.fspath(ROOT / "examples" / "momentum.py"))
    few = {"OrMo": ag.algorithms.ormo()}
    example["main"].__globals__.update(METHODS=few, WITH_ADAM=few)
    options = ["--data", str(few_rows), "--num-gradients", "20", "--seeds", "1"]
    best = example["main"](options)
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert np.isfinite(best["value"]).all()


def test_twenty_methods(tmp_path, capsys):
    example = runpy.run_path(os.fspath(ROOT / "examples" / "twenty_methods.py"))
    assert len(example["METHODS"]) == 20 and set(example["METHODS"]) <= set(
        ag.algorithms.names()
    )
    # A few of them: servers of their own are programs of their own.
    few = ("pure_async", "shuffled_async", "malenia", "gap_aware")
    example["main"].__globals__["METHODS"] = few
    found = example["main"](
        ["--num-gradients", "200", "--seeds", "2", "--out", str(tmp_path)]
    )
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(few)
    assert (found["lower"] <= found["ratio"]).all()
    assert float(found["ratio"].sel(algorithm="shuffled_async")) == 1.0
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".pdf"}
