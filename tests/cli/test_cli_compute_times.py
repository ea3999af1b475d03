"""`asgrad schedule` with the clocks that are not given by means, and with traces."""

import json
import pickle
import sys

import pytest

import asgrad_jax as ag
from asgrad_jax.cli import cli


@pytest.fixture
def schedule(capsys, monkeypatch, tmp_path):
    """Runs `asgrad schedule` in an empty folder; returns exit code and its words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASGRAD_DEBUG", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["asgrad", "schedule", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return stop.value.code or 0, out + err

    return run


def test_convert(schedule, tmp_path):
    jobs = [(0, 5.0, 6.0), (1, 5.0, 7.0), (0, 6.0, 8.5), (1, 7.0, 9.0)]
    lines = ["worker,start,end", *(",".join(map(str, job)) for job in jobs)]
    (tmp_path / "jobs.csv").write_text("\n".join(lines))
    (tmp_path / "jobs.json").write_text(
        json.dumps([{"worker": w, "start": s, "end": e} for w, s, e in jobs])
    )
    for name in ("jobs.csv", "jobs.json"):
        options = ("--gradients-per-step", 2, "--num-workers", 3)
        code, text = schedule("convert", name, "s.npz", *options)
        assert code == 0 and "4 arrivals, 2 steps, 3 workers" in text
        found = ag.Schedule.load("s.npz")
        assert found == ag.schedule_from_trace(
            jobs, gradients_per_step=2, num_workers=3
        )
    assert schedule("verify", "s.npz")[0] == 0


def test_convert_refuses(schedule, tmp_path):
    (tmp_path / "jobs.csv").write_bytes(pickle.dumps([(0, 0.0, 1.0)]))
    for arguments, words in (
        (("jobs.csv", "s.npz"), "is a pickle"),
        (("none.csv", "s.npz"), "there is no trace file none.csv"),
        (("jobs.csv", "s.txt"), "ends in .npz"),
    ):
        code, text = schedule("convert", *arguments)
        assert code == 2 and words in text
    assert not list(tmp_path.glob("s.*"))


def test_verify_names_the_row(schedule):
    base = '{"name": "fixed", "mean": [1, 1, 1]}'
    options = [f"base={base}", "time=50.5", "workers=[2]"]
    code, text = schedule(
        *("simulate", "pure_async", "s.npz", "--compute-times", "death"),
        *(part for option in options for part in ("--time-param", option)),
    )
    assert code == 0
    code, text = schedule("verify", "s.npz")
    assert code == 2 and "starvation from row 150 on: worker 2" in text


def test_means_as_a_parameter(schedule):
    code, _ = schedule(
        *("simulate", "pure_async", "s.npz", "--compute-times", "fixed"),
        *("--time-param", "mean=[100, 200]", "--num-gradients", 50),
    )
    assert code == 0
    assert ag.Schedule.load("s.npz").time[:2].tolist() == [100.0, 200.0]


def test_clocks_without_means(schedule):
    code, _ = schedule(
        *("simulate", "pure_async", "s.npz", "--compute-times", "two_speed"),
        *("--time-param", "num_workers=4", "--num-gradients", 50),
    )
    assert code == 0
    expected = ag.simulate(
        "pure_async", ag.compute_times.two_speed(4), num_gradients=50
    )
    assert ag.Schedule.load("s.npz") == expected
    for options in (("--time-param", "median=[3,4]"), ("--means", "3:4")):
        code, _ = schedule(
            *("simulate", "pure_async", "s.npz", "--compute-times", "log_cauchy"),
            *("--num-gradients", 50, *options),
        )
        expected = ag.compute_times.log_cauchy([3, 4])
        expected = ag.simulate("pure_async", expected, num_gradients=50)
        assert code == 0 and ag.Schedule.load("s.npz") == expected
    code, text = schedule(
        *("simulate", "pure_async", "s.npz", "--compute-times", "two_speed"),
        *("--means", "1:4"),
    )
    assert code == 2 and "unknown key 'mean'" in text
