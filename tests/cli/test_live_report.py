"""`asgrad report` on the folder of a sweep that runs or was stopped."""

import sys

import pytest

import asgrad_jax as ag
from asgrad_jax.cli import cli, config, pages

CONFIG = """
title = "Half of it"
algorithms = ["pure_async", "shuffled_async"]
compute_times = { name = "fixed", mean = [1, 2, 3] }
step_sizes = [0.01, 0.1, 0.5]
num_gradients = 300
seeds = 2

[problem]
kind = "quadratic"
num_workers = 3
num_features = 2
"""


@pytest.fixture
def run(tmp_path):
    """A folder in which a sweep was stopped half way, and its config."""
    path, folder = tmp_path / "half.toml", tmp_path / "run"
    path.write_text(CONFIG)
    asked = config.load_config(path)

    def halfway(done, total):
        if done >= total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        config.run_config(
            asked,
            lambda: pages.copy_config(path, folder, []),
            directory=folder,
            progress=halfway,
            memory_budget=120e3,  # several calls
        )
    return asked, folder


def report(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["asgrad", "report", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code


def test_a_stopped_sweep_has_a_page(run, monkeypatch, capsys):
    _, folder = run
    waiting = int((ag.load(folder)["status"] == 2).sum())
    assert 0 < waiting < 12
    report(monkeypatch, folder)
    page = (folder / "report.html").read_text()
    assert f"12, 0 not finite, {waiting} not run yet" in page
    assert "<h1>Half of it</h1>" in page and "not on record" not in page
    assert 'http-equiv="refresh" content="10"' in page
    assert "left the finite range" not in capsys.readouterr().out


def test_watch_writes_until_all_runs_are_there(run, monkeypatch, capsys):
    asked, folder = run
    waited = []

    def finish(seconds):
        waited.append(seconds)
        result = config.run_config(asked, directory=folder)
        if len(waited) == 2:  # all runs are there, but not what comes last
            ag.save(result, folder / "results.nc")

    monkeypatch.setattr(cli.time, "sleep", finish)
    report(monkeypatch, folder, "--watch")
    out = capsys.readouterr().out
    assert len(waited) == 2
    assert " of 12 runs to come" in out and "\n0 of 12 runs to come" in out
    page = (folder / "report.html").read_text()
    assert "12, 0 not finite<" in page and "refresh" not in page[:2000]


def test_watch_goes_on_where_a_stage_has_no_run_yet(run, monkeypatch):
    asked, folder = run
    lanes, aside, waited = folder / "lanes", folder / "aside", []

    def stages(_):
        waited.append(aside.exists())
        if len(waited) == 1:  # what is asked for next has no finished run
            lanes.rename(aside)
            lanes.mkdir()
        elif len(waited) == 2:
            lanes.rmdir()
            aside.rename(lanes)
            result = config.run_config(asked, directory=folder)
            ag.save(result, folder / "results.nc")

    monkeypatch.setattr(cli.time, "sleep", stages)
    report(monkeypatch, folder, "--watch")
    assert waited == [False, True]


def test_watch_waits_for_the_first_run(run, monkeypatch):
    _, folder = run
    lanes = folder / "lanes"
    lanes.rename(folder / "aside")
    lanes.mkdir()

    def bring(_):
        if not any(lanes.iterdir()):
            lanes.rmdir()
            (folder / "aside").rename(lanes)
            return
        raise KeyboardInterrupt  # as a user who has seen enough

    monkeypatch.setattr(cli.time, "sleep", bring)
    monkeypatch.setattr("os._exit", sys.exit)
    monkeypatch.setattr(sys, "argv", ["asgrad", "report", str(folder), "--watch"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 130
    assert (folder / "report.html").is_file()
