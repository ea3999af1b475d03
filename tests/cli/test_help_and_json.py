"""Each command shows an example that parses; JSON where a script wants it."""

import json
import shlex
import sys

import numpy as np
import pytest
import typer.main

from asgrad_jax.cli import cli, presets

CONFIG = """\
algorithms = ["pure_async", "fedbuff"]
step_sizes = [0.05, 0.1]
num_gradients = 40
[problem]
kind = "quadratic"
num_workers = 3
num_features = 2
[compute_times]
name = "fixed"
mean = [1, 2, 3]
"""


def commands(group=None, words=()):
    """Yields (words, command) for every command that does something."""
    group = group or typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.callback is not None and command.invoke_without_command:
                yield (*words, name), command
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(commands())


def run(monkeypatch, capsys, *words):
    """What a command prints."""
    monkeypatch.setattr(sys, "argv", ["asgrad", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert not ended.value.code, err
    return out


def test_all_that_is_asked_for_is_there():
    named = {words[0] for words in COMMANDS}
    asked = """demo sweep plan reproduce presets schedule theory report bench algorithms
        compute-times datasets doctor schema"""
    assert {*asked.split()} <= named


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_parses(words):
    command = COMMANDS[words]
    text = command.help or command.callback.__doc__
    lines = [line.strip() for line in text.splitlines()]
    (example,) = [line for line in lines if line.startswith("Example: ")]
    given = shlex.split(example.removeprefix("Example: "), comments=True)
    given = given[: given.index(">")] if ">" in given else given
    assert given[0] == "asgrad" and tuple(given[1 : 1 + len(words)]) == words
    command.make_context("asgrad", given[1 + len(words) :])  # raises if it does not


def test_plan(tmp_path, monkeypatch, capsys):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    plan = json.loads(run(monkeypatch, capsys, "plan", path, "--json"))
    assert (plan["schedules"], plan["lanes"], plan["gradients"]) == (2, 2, 40)
    assert plan["programs"][0]["memory"]["data"] > 0
    assert plan["programs"][0]["division"]["why"]


def test_schedule_stats(tmp_path, monkeypatch, capsys):
    path = tmp_path / "s.npz"
    run(monkeypatch, capsys, "schedule", "simulate", "pure_async", path)
    stats = json.loads(run(monkeypatch, capsys, "schedule", "stats", path, "--json"))
    assert stats["num_gradients"] == 1_000 == len(stats["concurrency"])
    np.testing.assert_allclose(sum(stats["share"]), 1)


def test_lists(monkeypatch, capsys):
    listed = json.loads(run(monkeypatch, capsys, "presets", "--json"))
    assert [entry["name"] for entry in listed] == presets.names()
    assert all({"ci", "full"} <= {*entry["scales"]} for entry in listed)
    data = json.loads(run(monkeypatch, capsys, "datasets", "--json"))
    assert "w7a" in data["libsvm"] and "digits_binary" in data["builtin"]


def test_completion_is_offered(monkeypatch, capsys):
    monkeypatch.setenv("_ASGRAD_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "asgrad alg")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert "algorithms" in run(monkeypatch, capsys)
