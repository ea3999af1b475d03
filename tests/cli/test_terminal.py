"""What is printed: every encoding can write it, and no terminal obeys it."""

import io
import sys

import pytest

from asgrad_jax.cli import cli

LABEL = "β = 0.9 \N{SNOWMAN} \\u001b[31m \\u202e"
CONFIG = f"""
title = "β \\u001b $\\\\frac{{$"
algorithms = [{{ name = "pure_async", label = "{LABEL}" }}]
step_sizes = [0.05, 0.1]
num_gradients = 20
[problem]
kind = "quadratic"
num_workers = 2
num_features = 2
[compute_times]
name = "fixed"
mean = [1, 2]
label = "γ"
"""


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@pytest.mark.parametrize(
    "command",
    [
        ["sweep", "β.toml", "--out", "β"],
        ["plan", "β.toml"],
        ["theory", "β.toml"],
        ["schedule", "simulate", "pure_async", "β.npz"],
        ["schedule", "stats", "no β.npz"],
        ["plan", "no β\x1b[31m.toml"],
        ["algorithms"],
        ["datasets"],
        ["--help"],
    ],
    ids=" ".join,
)
@pytest.mark.filterwarnings("ignore")
def test_every_command_prints_in_every_encoding(
    tmp_path, monkeypatch, command, encoding
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "β.toml").write_text(CONFIG, encoding="utf-8")
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(sys, "argv", ["asgrad", *command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    for stream in (out, err):
        stream.flush()
    written = encoding.replace("ascii", "utf-8")  # click takes ascii for a mistake
    shown, complaint = (s.buffer.getvalue().decode(written) for s in (out, err))
    missing = any("no β" in word for word in command)
    assert ended.value.code == (2 if missing else 0), complaint
    said = complaint if missing else shown
    assert said.strip() and "\x1b" not in said and "\u202e" not in said
    if command[0] == "sweep":
        assert (tmp_path / "β" / "results.nc").is_file() and "0.9" in shown
        assert ("\\u03b2" in shown) == (encoding == "cp1252")
