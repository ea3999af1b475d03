"""`asgrad theory` and the example that goes from a problem to an answer."""

import sys
from pathlib import Path

import pytest

from asgrad_jax.cli import cli

ROOT = Path(__file__).parents[2]
CONFIG = """
title = "A small quadratic"
algorithms = [
  "pure_async",
  { name = "fedbuff", gradients_per_step = 2, label = "buffered" },
]
step_sizes = [0.1]
num_gradients = 200
seeds = 2

[problem]
kind = "quadratic"
num_workers = 3
num_features = 2

[compute_times]
name = "fixed"
mean = [1, 2, 3]
"""


@pytest.fixture
def asgrad(capsys, monkeypatch, tmp_path):
    """Runs `asgrad theory` on the config in an empty folder: code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASGRAD_DEBUG", raising=False)

    def run(*arguments, config=CONFIG):
        (tmp_path / "small.toml").write_text(config)
        words = ["asgrad", "theory", "small.toml", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


def test_a_page_for_every_algorithm(asgrad, tmp_path):
    code, out, err = asgrad("--eps", 0.01)
    assert (code, err) == (0, "")
    heads = ["pure_async, fixed\n=====", "buffered, fixed\n====="]
    assert all(head in out for head in heads)
    assert out.count("Step sizes (goal eps = 0.01)") == 2
    assert "no step size removes that bias" in out and "Certificate" not in out
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


def test_pages_and_figures_in_a_folder(asgrad, tmp_path):
    two = CONFIG.replace("[compute_times]", "[[compute_times]]")
    two += '[[compute_times]]\nname = "fixed"\nlabel = "equal"\nmean = [1, 1, 1]\n'
    code, out, _ = asgrad("--out", "pages", "--step-size", 0.001, config=two)
    assert code == 0 and out.count("Certificate at step size 0.001\n") == 2
    weighted = "Certificate at step size 0.001 (0.0005 per gradient)\n"
    assert out.count(weighted) == 2
    names = {path.name for path in (tmp_path / "pages").iterdir()}
    assert names == {
        "theory.txt",
        *(
            f"{figure}-{clock}.{kind}"
            for figure in ("profile", "certificate")
            for clock in ("fixed", "equal")
            for kind in ("png", "pdf")
        ),
    }
    page = (tmp_path / "pages" / "theory.txt").read_text()
    assert page in out and "pure_async, equal" in page


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--eps", -1), ["eps must be a finite number > 0, got -1"]),
        (("--step-size", 0), ["step_size must be a finite number > 0, got 0"]),
        (("--out", "small.toml"), ["small.toml"]),
    ],
)
def test_bad_requests(asgrad, arguments, parts):
    code, _, err = asgrad(*arguments)
    assert code == 2 and err.startswith("asgrad: error: ") and err.count("\n") == 1
    assert all(part in err for part in parts)


def test_which_method(tmp_path, monkeypatch, capsys):
    """The example at toy size; its answer needs the full one."""
    text = (ROOT / "examples" / "which_method.py").read_text()
    for full, toy in (("10_000", "600"), ("range(5)", "range(2)")):
        assert text.count(full) == 1
        text = text.replace(full, toy)
    assert text.count("# %% [markdown]") >= 6  # a notebook's cells
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "which_method.py", "exec"), {})
    out = capsys.readouterr().out
    for found in ("zeta^2", "STAYS ABOVE", "certified step size", "Use "):
        assert found in out, found
    names = {path.stem for path in (tmp_path / "asgrad-which-method-run").iterdir()}
    assert names == {"profile", "certificate", "sensitivity", "time_to", "results"}
