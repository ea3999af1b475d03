"""The examples: scripts that are notebooks as well, and run at toy size."""

import functools
import re
import runpy
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from asgrad_jax import datasets

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SITE = runpy.run_path(str(ROOT / "docs" / "draw_examples.py"))
NOTEBOOKS = [
    path for path in sorted(EXAMPLES.glob("*.py")) if SITE["is_notebook"](path)
]
pytestmark = pytest.mark.filterwarnings("ignore:the best hyper-parameters")


def run(name, tmp_path, monkeypatch, **toy):
    """Runs an example with other constants, in a folder of its own; returns its names.

    A key of `toy` is a constant's name, its value the new right-hand side.
    """
    source = (EXAMPLES / f"{name}.py").read_text("utf-8")
    for constant, value in toy.items():
        source, found = re.subn(
            rf"^{constant} = [^#\n]*", f"{constant} = {value}  ", source, flags=re.M
        )
        assert found == 1, constant
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    exec(compile(source, f"{name}.py", "exec"), names)
    return names


def test_what_is_asked_for_is_there():
    names = {path.stem for path in NOTEBOOKS}
    assert names >= {
        *("quickstart", "w7a", "custom_method", "trace", "network_flax_linen"),
        *("hypergradient", "theory", "cluster"),
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_cells(path):
    cells = SITE["cells"](path.read_text("utf-8"))
    kinds = [kind for kind, _ in cells]
    assert kinds[0] == "markdown" and kinds.count("code") >= 2
    assert cells[0][1].startswith("# ") and not cells[0][1].startswith("# #")
    for kind, text in cells:
        assert text.strip(), path
        if kind == "code":
            compile(text, path.name, "exec")
    # A notebook shows figures by itself, and has no arguments.
    assert not re.search(r"plt\.show|argparse|sys\.argv", path.read_text("utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_jupytext_makes_the_same_cells(path):
    jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed")
    notebook = jupytext.read(path)
    told = [
        ("markdown" if cell.cell_type == "markdown" else "code", cell.source.strip())
        for cell in notebook.cells
    ]
    ours = [(k, t.strip()) for k, t in SITE["cells"](path.read_text("utf-8"))]
    assert told == ours
    back = jupytext.writes(notebook, fmt="py:percent")
    assert SITE["cells"](back[back.index("# %%") :]) == SITE["cells"](path.read_text())


def test_their_pages_link_and_are_named_in_the_navigation():
    pages = SITE["pages"]()
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert all(f"- {name}\n" in navigation for name in pages)
    assert len(pages) == len(NOTEBOOKS)
    rewritten = SITE["on_page_markdown"]("[a](../examples/w7a.py) [b](data.md)")
    assert rewritten == "[a](examples/w7a.md) [b](data.md)"


def test_quickstart(tmp_path, monkeypatch, capsys):
    run("quickstart", tmp_path, monkeypatch, NUM_GRADIENTS=200, OUT="'out'")
    assert "status ok" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    figures = {
        f"{name}.{kind}"
        for name in ("convergence", "schedule")
        for kind in ("png", "pdf")
    }
    assert names == {"results.nc", *figures}


def test_w7a_without_its_data(tmp_path, monkeypatch, capsys):
    def no_network(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.delenv(datasets.DATA_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = run("w7a", tmp_path, monkeypatch, NUM_GRADIENTS=200, SEEDS="range(1)")
    assert names["name"] == "digits"
    assert "w7a is not here" in capsys.readouterr().out
    assert (names["result"]["status"] == 0).all()


def test_w7a_with_its_data(shared, tmp_path, monkeypatch):
    if not (shared / "data" / "w7a.txt").is_file():
        pytest.skip("w7a.txt is not among the reference data")
    monkeypatch.setenv(datasets.DATA_VARIABLE, str(shared / "data"))
    names = run("w7a", tmp_path, monkeypatch, NUM_GRADIENTS=100, SEEDS="range(1)")
    assert names["features"].shape == (25_057, 300)


def test_trace(tmp_path, monkeypatch):
    names = run("trace", tmp_path, monkeypatch, NUM_GRADIENTS=200)
    replay, jobs = names["replay"], names["jobs"]
    assert replay.num_gradients == len(jobs)
    assert (np.sort(replay.time) == np.sort([end for *_, end in jobs])).all()
    assert len(names["durations"]) == 8
    assert (names["result"]["status"] == 0).all()


def test_theory(tmp_path, monkeypatch):
    names = run("theory", tmp_path, monkeypatch, NUM_GRADIENTS=300, SEEDS="range(1)")
    assert names["certificate"].valid and not names["certificate"].disproved
    assert names["best"] > names["certified"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cluster(tmp_path, monkeypatch):
    reason = "needs the extra cluster"
    distributed = pytest.importorskip("dask.distributed", reason=reason)
    # Threads of this process: tests/experiments/test_cluster.py has processes.
    in_threads = functools.partial(distributed.LocalCluster, processes=False)
    monkeypatch.setattr(distributed, "LocalCluster", in_threads)
    names = run(
        "cluster",
        tmp_path,
        monkeypatch,
        NUM_GRADIENTS=200,
        NUM_PROCESSES=1,
    )
    assert (names["result"]["status"] == 0).all()
    assert (tmp_path / "asgrad-cluster-run").is_dir()


def test_custom_method(tmp_path, monkeypatch, capsys):
    names = run("custom_method", tmp_path, monkeypatch, NUM_GRADIENTS=300)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = [row for row in rows if row[0] in names["result"]["algorithm"].values]
    assert [row[0] for row in rows] == [
        *("two_choices", "random_async", "shuffled_async", "pure_async")
    ]
    assert all(float(row[-1]) > 0 for row in rows)


def test_hypergradient(tmp_path, monkeypatch, capsys):
    """At toy size: what it learns is not looked at."""
    run(
        "hypergradient",
        tmp_path,
        monkeypatch,
        **{
            "NUM_GRADIENTS, UPDATES": "64, 2",
            "TRAINING": "jax.random.split(jax.random.key(0), 2)",
            "HELD_OUT": "jax.random.split(jax.random.key(1), 2)",
        },
    )
    assert "delay_adaptive drop" in capsys.readouterr().out
