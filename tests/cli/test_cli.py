"""The command line: what it writes, what it says, and how it fails."""

import concurrent.futures
import contextlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax._util.errors import CallsFailed
from asgrad_jax.cli import cli
from asgrad_jax.cli import config as config_module
from asgrad_jax.cli.config import (
    build_compute_times,
    load_config,
    named_compute_times,
    run_config,
)
from asgrad_jax.report import files as report

CONFIG = """
title = "A small quadratic"
algorithms = [
  "pure_async",
  { name = "fedbuff", gradients_per_step = 2, label = "buffered" },
]
step_sizes = { first = -5, last = -2 }
num_gradients = 200
seeds = 2

[problem]
kind = "quadratic"
num_workers = 3
num_features = 2

[compute_times]
name = "gamma"
mean = { first = 1, last = 3 }
shape = 3.0
"""


@pytest.fixture
def asgrad(capsys, monkeypatch, tmp_path):
    """Runs the command line in an empty folder; returns exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASGRAD_DEBUG", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["asgrad", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(CONFIG)
    return path


def refused(outcome, *parts):
    """Asserts exit code 2 and one line on stderr with these parts."""
    code, out, err = outcome
    assert code == 2
    assert err.startswith("asgrad: error: ") and err.count("\n") == 1, err
    for part in parts:
        assert part in err
    return out


def test_version_and_lists(asgrad):
    assert asgrad("--version") == (0, f"asgrad {ag.__version__}\n", "")
    code, out, _ = asgrad("algorithms")
    assert code == 0
    listed = [line.split()[0] for line in out.splitlines()]
    assert listed == ag.algorithms.names()
    assert all(len(line.split()) > 3 for line in out.splitlines())
    _, out, _ = asgrad("datasets")
    assert all(name in out for name in ag.datasets.names())
    assert "digits_binary" in out


def test_the_console_script_is_this(asgrad):
    [script] = metadata.entry_points(group="console_scripts", name="asgrad")
    assert script.load() is cli.main
    code, out, _ = asgrad("--help")
    assert code == 0
    for command in ("demo", "sweep", "report", "schedule", "bench"):
        assert command in out


def test_demo(asgrad, tmp_path):
    code, out, _ = asgrad("demo", "--quick", "--seeds", "1", "--out", "here")
    assert code == 0
    for part in ("digits", "1,000 gradients", "shuffled_async", "In here/"):
        assert part in out
    assert (tmp_path / "here" / "convergence.png").stat().st_size > 10_000
    result = ag.load(tmp_path / "here" / "results.nc")
    assert result.sizes["seed"] == 1


def test_sweep_writes_what_the_config_says(asgrad, config, tmp_path):
    code, out, _ = asgrad("sweep", config)
    assert code == 0
    folder = tmp_path / "asgrad-small-run"
    result = ag.load(folder / report.RESULTS)
    assert result["algorithm"].values.tolist() == ["pure_async", "buffered"]
    np.testing.assert_array_equal(result["step_size"], 2.0 ** np.arange(-5, -1))
    assert result["seed"].values.tolist() == [0, 1]
    asked = ag.sweep_config(result)
    assert asked["compute_times"]["gamma"]["shape"] == 3
    assert asked["algorithms"]["buffered"]["gradients_per_step"] == 2
    assert (folder / "config.toml").read_text() == CONFIG
    assert "buffered" in out

    # The same from Python.
    same = ag.sweep(
        ag.quadratic(num_workers=3, num_features=2),
        algorithms={
            "pure_async": "pure_async",
            "buffered": ag.algorithms.fedbuff(gradients_per_step=2),
        },
        compute_times=ag.compute_times.gamma([1, 2, 3], shape=3.0),
        step_sizes=2.0 ** np.arange(-5, -1),
        seeds=range(2),
        num_gradients=200,
    )
    np.testing.assert_array_equal(same["loss"], result["loss"])

    # The same command again gives the same; more seeds are added; another problem
    # never overwrites what is there.
    assert asgrad("sweep", config)[0] == 0
    assert ag.load(folder / report.RESULTS)["loss"].equals(result["loss"])
    config.write_text(CONFIG.replace("seeds = 2", "seeds = 3"))
    assert asgrad("sweep", config)[0] == 0
    more = ag.load(folder / report.RESULTS)
    assert more["seed"].values.tolist() == [0, 1, 2]
    assert more["loss"].sel(seed=[0, 1]).equals(result["loss"])
    config.write_text(CONFIG.replace("num_features = 2", "num_features = 4"))
    refused(asgrad("sweep", config), "data_hash")
    assert ag.load(folder / report.RESULTS).equals(more)

    # A report writes the same table again.
    table = (folder / "table.csv").read_bytes()
    for name in ("table.csv", "table.md", "convergence.png"):
        (folder / name).unlink()
    code, out, _ = asgrad("report", folder)
    assert code == 0 and "buffered" in out
    assert (folder / "table.csv").read_bytes() == table
    assert (folder / "convergence.png").is_file()


def test_ctrl_c_says_how_to_go_on(asgrad, config, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(config_module, "run_config", interrupt)
    monkeypatch.setattr("os._exit", sys.exit)
    code, _, err = asgrad("sweep", config)
    assert (code, err) == (130, "asgrad: stopped; the same command goes on from here\n")


def test_two_clocks_give_two_figures(asgrad, config, tmp_path):
    text = CONFIG.replace("[compute_times]", "[[compute_times]]")
    text += '[[compute_times]]\nname = "fixed"\nlabel = "equal"\nmean = [1, 1, 1]\n'
    config.write_text(text)
    code, out, _ = asgrad("sweep", config, "--out", "two")
    assert code == 0
    names = {p.name for p in (tmp_path / "two").glob("*.png")}
    assert names == {"convergence-gamma.png", "convergence-equal.png"}
    assert "| gamma" in out and "| equal" in out


def test_labels_that_are_no_file_names(asgrad, config, tmp_path):
    text = CONFIG.replace("[compute_times]", '[[compute_times]]\nlabel = "1/x"')
    text += '[[compute_times]]\nname = "fixed"\nlabel = "1:X"\nmean = [1, 1, 1]\n'
    config.write_text(text)
    for command in ("sweep", "theory"):
        code, out, _ = asgrad(command, config, "--out", "two")
        assert code == 0 and "1/x" in out
    # Differ by more than capitals: some file systems do not tell these apart.
    assert {p.name for p in (tmp_path / "two").glob("*.png")} == {
        f"{figure}-1-{rest}.png"
        for figure in ("convergence", "profile")
        for rest in ("x", "X-2")
    }


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        (
            "seeds = 2",
            "sedes = 2",
            ["'sedes'", "did you mean 'seeds'", "num_gradients"],
        ),
        ("num_features", "num_featurs", ["problem", "did you mean 'num_features'"]),
        (
            "gradients_per_step = 2",
            "gradients_per_stpe = 2",
            ["fedbuff", "did you mean 'gradients_per_step'"],
        ),
        ("shape = 3.0", "shpe = 3.0", ["gamma", "did you mean 'shape'"]),
        ("first = -5", "frist = -5", ["frist"]),
        ("first = 1,", "frist = 1,", ["did you mean 'first'"]),
        ('"fedbuff"', '"fedbuf"', ["did you mean 'fedbuff'"]),
        ('"gamma"', '"gama"', ["did you mean 'gamma'"]),
        ('"quadratic"', '"quadratics"', ["did you mean 'quadratic'"]),
        ('kind = "quadratic"', "", ["problem", "digits_binary"]),
        ("num_gradients = 200", 'num_gradients = "200"', ["int", "num_gradients"]),
        (
            "num_gradients = 200",
            "num_gradients = 0",
            ["num_gradients must be an integer >= 1, got 0"],
        ),
        ("num_workers = 3", "", ["problem", "num_workers"]),
        ("num_workers = 3", "num_workers = 4", ["3", "4 workers"]),
        ("num_workers = 3", 'num_workers = "3"', ["num_workers must be an", "'3'"]),
        ("num_workers = 3", "num_workers = 3.0", ["num_workers must be an", "3.0"]),
        (
            "num_features = 2",
            "num_features = 2\nmu = 'a'",
            ["mu must be a finite number > 0 and <= 1, got 'a'"],
        ),
        ("seeds = 2", "seeds = 0", ["seeds must be an integer >= 1, got 0"]),
        ("seeds = 2", "seeds = -3", ["seeds must be an integer >= 1, got -3"]),
        ("seeds = 2", "seeds = []", ["seeds is empty"]),
        ("last = 3", "last = 3.9", ["mean: last must be an integer >= 1, got 3.9"]),
        ("last = 3", "last = 'x'", ["mean: last must be an integer >= 1, got 'x'"]),
        ("first = 1", "first = 0", ["mean: first must be an integer >= 1, got 0"]),
        ("last = 3", "last = 0", ["mean: last must be an integer >= 1, got 0"]),
        ('label = "buffered"', "label = [1]", ["label must be a text, got [1]"]),
        (
            "last = -2",
            "last = 2000",
            ["step_size[1029] must be a finite number", "got inf"],
        ),
        (
            "first = -5",
            "first = -5, base = 0",
            ["step_sizes: base must be a finite number > 0, got 0"],
        ),
        (
            "first = -5",
            "first = -500",
            ["float32 can hold", "which would be 0.0", "float64"],
        ),
        ("last = -2", "last = -9", ["first = -5 is above last = -9"]),
        ("seeds = 2", "seeds = 2\nmetric = 'norm'", ["norm"]),
        ("seeds = 2", "seeds = ", ["small.toml"]),
        ("seeds = 2", "seeds = 1000000000", ["seeds: these are 1,000,000,000 numbers"]),
        (
            "last = -2",
            "last = 10000000000",
            ["small.toml: step_sizes: these are 10"],
        ),
        ("last = 3", "last = 10000000000", ["mean: these are 10,000,000,000 numbers"]),
        ("first = 1,", "first = 5,", ["mean: the range runs backwards"]),
        ("first = -5", "bsae = 2, first = -5", ["did you mean 'base'"]),
        (
            "num_features = 2",
            "num_features = 2\nsame_hessian = 'false'",
            ["small.toml: problem: same_hessian must be true or false, got 'false'"],
        ),
        ("num_features = 2", "num_features = true", ["must be neither true nor false"]),
        (
            "gradients_per_step = 2",
            "gradients_per_step = true",
            ["algorithms, buffered, fedbuff: gradients_per_step must"],
        ),
        (
            "mean = { first = 1, last = 3 }",
            "mean = [1, -2]",
            ["gamma: mean[1] must be a finite number > 0, got -2"],
        ),
        (
            'kind = "quadratic"',
            "data = 'breast_cancr'",
            ["unknown data 'breast_cancr' (did you mean 'breast_cancer'?)", "w7a"],
        ),
        (
            'kind = "quadratic"\nnum_workers = 3\nnum_features = 2',
            "data = 'breast_cancer'",
            ["problem: missing a required argument: 'num_workers'"],
        ),
        (
            'kind = "quadratic"\nnum_workers = 3\nnum_features = 2',
            "data = 'breast_cancer'\nnum_workers = 3\ndrop_last = 'false'",
            ["drop_last must be true or false"],
        ),
        (
            'name = "gamma"\nmean = { first = 1, last = 3 }\nshape = 3.0',
            'name = "death"\ntime = 5\nworkers = [0]\n'
            'base = { name = "fixed", maen = [1, 2, 3] }',
            ["compute_times, base, fixed: unknown key 'maen' (did you mean 'mean'?)"],
        ),
        (
            "mean = { first = 1, last = 3 }",
            'base = { nmae = "fixed", mean = [1] }',
            ["compute_times, base: a table needs a name, a text; it has nmae, mean"],
        ),
        ("num_gradients = 200", "", ["config: num_gradients is missing"]),
        ('label = "buffered"', 'label = "pure_async"', ["'pure_async'", "label"]),
    ],
)
def test_bad_configs(asgrad, config, tmp_path, old, new, parts):
    assert old in CONFIG
    config.write_text(CONFIG.replace(old, new))
    refused(asgrad("sweep", config, "--out", "x"), *parts)
    assert [p.name for p in tmp_path.iterdir()] == ["small.toml"]


def test_data_beside_the_config(tmp_path, monkeypatch):
    (tmp_path / "rows.txt").write_text("+1 1:1\n-1 2:1\n+1 1:2\n-1 2:3\n")
    path = tmp_path / "run.toml"
    path.write_text(
        'algorithms = ["minibatch"]\nstep_sizes = [0.5]\nnum_gradients = 20\n'
        '[problem]\ndata = "rows.txt"\nnum_workers = 2\nregularizer = "l2"\n'
        '[compute_times]\nname = "fixed"\nmean = [1, 2]\n'
    )
    monkeypatch.chdir(tmp_path.parent)
    result = run_config(load_config(path))
    loss = result["loss"].values.ravel()
    assert loss[-1] < loss[0]
    problem = ag.sweep_config(result)["problem"]
    assert (problem["num_workers"], problem["regularizer"]) == (2, "l2")


def test_traces_beside_the_config(tmp_path, monkeypatch):
    (tmp_path / "tr.csv").write_text("worker,start,end\n0,0,1\n1,0,2\n2,0,3\n")
    clock = 'name = "trace"\npath_or_rows = "tr.csv"\n'
    nested = f'name = "death"\ntime = 9\nworkers = [0]\n[compute_times.base]\n{clock}'
    path = tmp_path / "run.toml"
    monkeypatch.chdir(tmp_path.parent)
    for table in (clock, nested):
        text = CONFIG[: CONFIG.index("[compute_times]")] + "[compute_times]\n" + table
        path.write_text(text, encoding="utf-8-sig")  # as some editors of Windows do
        [found] = named_compute_times(load_config(path)).values()
        assert found.durations(2, 0, 0, 2).tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (
            {
                "name": "death",
                "base": {"name": "fixed", "mean": {"first": 1, "last": 2}},
                "time": 5.0,
                "workers": [0],
            },
            lambda: ag.compute_times.death(ag.compute_times.fixed([1, 2]), 5.0, [0]),
        ),
        (
            {
                "name": "concatenate",
                "compute_times": [{"name": "fixed", "mean": {"first": 1, "last": 2}}],
            },
            lambda: ag.compute_times.concatenate([ag.compute_times.fixed([1, 2])]),
        ),
        (
            {
                "name": "groups",
                "sizes": [1, 2],
                "mean": [1, 6],
                "distribution": "pareto",
                "alpha": 1.5,
            },
            lambda: ag.compute_times.groups([1, 2], [1, 6], "pareto", alpha=1.5),
        ),
        (
            {"name": "log_cauchy", "median": {"first": 1, "last": 2}},
            lambda: ag.compute_times.log_cauchy([1, 2]),
        ),
    ],
)
def test_compute_times_of_a_config(table, expected):
    assert build_compute_times(table).config() == expected().config()


def test_shipped_data_by_name(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        'algorithms = ["pure_async"]\nstep_sizes = [0.1]\nnum_gradients = 10\n'
        '[problem]\ndata = "breast_cancer"\nnum_workers = 10\ndrop_last = true\n'
        '[compute_times]\nname = "fixed"\nmean = { first = 1, last = 10 }\n'
    )
    assert run_config(load_config(path)).sizes["record"] == 11


def test_other_errors_are_one_line(asgrad, tmp_path):
    refused(asgrad("sweep", "none.toml"), "there is no config file none.toml")
    refused(asgrad("report", "nowhere"), "no results file")
    refused(
        asgrad("demo", "--data", "nowhere"), "must be a file or one of", "'nowhere'"
    )
    (tmp_path / "file").touch()
    refused(asgrad("demo", "--out", "file"), "file is a file", "--out")
    refused(asgrad("demo", "--out", "file/below/it"), "file is a file", "--out")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.nc").write_bytes(b"not NetCDF at all")
    refused(asgrad("report", "run"), "not a whole NetCDF file")


def test_where_a_sweep_runs(asgrad, config, monkeypatch):
    local = ("--cluster", "local")
    refused(asgrad("sweep", config, "--scheduler", "host:1", *local), "one of --sch")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "distributed", None)
        refused(asgrad("sweep", config, *local), "pip install 'asgrad-jax[cluster]'")
    code, _, err = asgrad("sweep", config, "--cluster", "cloud")
    assert code == 2 and "'cloud' is not" in err

    given = []

    class Dask:
        """Its names, with a thread in place of processes."""

        def LocalCluster(**options):
            return contextlib.nullcontext(options)

        def Client(where):
            given.append(where)
            return concurrent.futures.ThreadPoolExecutor(1)

    monkeypatch.setitem(sys.modules, "distributed", Dask)
    assert asgrad("sweep", config, *local)[0] == 0
    assert asgrad("sweep", config, "--scheduler", "host:1")[0] == 0
    cores = given[0].pop("n_workers")
    assert cores >= 1 and given[0]["threads_per_worker"] == 1 and given[1] == "host:1"


def test_calls_that_failed_on_a_cluster_are_reported_in_lines(
    asgrad, config, monkeypatch
):
    def fail(*arguments, **options):
        raise CallsFailed("1 of 2 calls failed\nwhere")

    monkeypatch.setattr("asgrad_jax.cli.config.run_config", fail)
    code, _, err = asgrad("sweep", config)
    assert (code, err) == (2, "asgrad: error: 1 of 2 calls failed\nwhere\n")


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore")
def test_a_sweep_on_processes_of_this_machine(asgrad, config, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("asgrad_jax._util.machine.usable_cores", lambda: 1)
    # As this module does here; another setting there would be refused.
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    code, _, err = asgrad("sweep", config, "--out", "run", "--cluster", "local")
    assert code == 0, err
    again = asgrad("sweep", config, "--out", "alone")
    assert again[0] == 0
    on, off = (ag.load(tmp_path / name / "results.nc") for name in ("run", "alone"))
    assert on.drop_attrs().identical(off.drop_attrs())


def test_memory_budget(asgrad, config):
    code, out, _ = asgrad("plan", config, "--memory-budget", "1e9")
    assert code == 0 and "total" in out
    code, _, err = asgrad("plan", config, "--memory-budget", "1000")
    assert code == 2 and "small.toml: calls of one lane need" in err
    assert "\ntotal " in err and "what helps" in err and "1 kB" in err
    refused(
        asgrad("sweep", config, "--memory-budget", "-1"),
        "(bytes, such as 2e9) must be a number > 0, got -1",
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OverflowError("too\nlong"), "too long"),
        (ImportError("needs pyarrow"), "needs pyarrow"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_every_error_is_one_line(asgrad, monkeypatch, error, words):
    def fail(path, changes):
        raise error

    monkeypatch.setattr(config_module, "load_config", fail)
    refused(asgrad("plan", "any.toml"), words)


def test_as_a_module():
    command = [sys.executable, "-m", "asgrad_jax", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"asgrad {ag.__version__}\n"


def test_usage_errors(asgrad):
    for arguments in (["nonsense"], ["demo", "--seeds", "0"], ["sweep"]):
        code, _, err = asgrad(*arguments)
        assert code == 2
        assert "Error: " in err and "Traceback" not in err


def test_traceback_on_request(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASGRAD_DEBUG", "")  # so that what the option sets is undone
    monkeypatch.setattr(sys, "argv", ["asgrad", "--traceback", "report", "nowhere"])
    with pytest.raises(FileNotFoundError):
        cli.main()


def test_schedule_commands(asgrad, tmp_path):
    code, out, _ = asgrad(
        *("schedule", "simulate", "ringmaster", "s.npz", "--means", "1,2,4.5"),
        *("--compute-times", "pareto", "--time-param", "alpha=1.5"),
        *("--num-gradients", 300, "--seed", 7, "--param", "max_delay=2"),
    )
    assert code == 0 and "300 arrivals" in out
    schedule = ag.Schedule.load("s.npz")
    assert schedule == ag.simulate(
        ag.algorithms.ringmaster(2),
        ag.compute_times.pareto([1, 2, 4.5], alpha=1.5),
        num_gradients=300,
        seed=7,
    )
    code, out, _ = asgrad("schedule", "stats", "s.npz")
    assert out == f"{schedule.stats()!r}\n"
    code, out, _ = asgrad("schedule", "verify", "s.npz")
    assert code == 0 and "valid" in out
    code, out, _ = asgrad("schedule", "plot", "s.npz")
    assert out.split() == ["s.png", "s.pdf"]
    assert Path("s.pdf").stat().st_size > 5_000

    whole = Path("s.npz").read_bytes()
    Path("cut.npz").write_bytes(whole[: len(whole) // 2])
    refused(asgrad("schedule", "verify", "cut.npz"), "cut.npz")
    refused(asgrad("schedule", "stats", "none.npz"), "none.npz")
    Path("a.toml").write_text(CONFIG)
    refused(asgrad("schedule", "verify", "a.toml"), "a.toml", "it is no npz file")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["pure_asinc", "o.npz"], ["did you mean 'pure_async'"]),
        (["pure_async", "o.txt"], ["ends in .npz"]),
        (["pure_async", "o.npz", "--means", "1-10"], ["1-10", "1:10"]),
        (
            ["pure_async", "o.npz", "--means", "-1,2"],
            ["mean[0] must be a finite number > 0"],
        ),
        (["pure_async", "o.npz", "--means", "3:1"], ["mean: the range runs backwards"]),
        (["pure_async", "o.npz", "--means", ""], ["--means '' is neither"]),
        (
            ["pure_async", "o.npz", "--means", "1:2", "--time-param", "mean=[1,2]"],
            ["--means and --time-param mean"],
        ),
        (["fedbuff", "o.npz", "--param", "name=pure_async"], ["no parameter"]),
        (["fedbuff", "o.npz", "--time-param", "name=fixed"], ["no parameter"]),
        (
            [
                "fedbuff",
                "o.npz",
                "--param",
                "gradients_per_step=1",
                "--param",
                "gradients_per_step=2",
            ],
            ["--param gradients_per_step=... is given twice"],
        ),
        (["malenia", "o.npz", "--param", "restart=no"], ["must be true or false"]),
        (["fedbuff", "o.npz", "--param", "gradients_per_step"], ["name=value"]),
        (
            ["fedbuff", "o.npz", "--param", "weight=2"],
            ["'weight'", "gradients_per_step"],
        ),
        (
            ["pure_async", "o.npz", "--compute-times", "levy"],
            ["levy", "asgrad compute-times"],
        ),
    ],
)
def test_bad_schedule_requests(asgrad, tmp_path, arguments, parts):
    refused(asgrad("schedule", "simulate", *arguments), *parts)
    assert list(tmp_path.iterdir()) == []


def test_bench_needs_a_checkout(asgrad, monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "a" / "b" / "c" / "cli.py"))
    refused(asgrad("bench"), "clone the repository", "make bench")


def test_plan_tells_without_running(asgrad, config, tmp_path):
    code, out, _ = asgrad("plan", config)
    assert code == 0
    assert "gradients in" in out
    assert "buffer" in out
    assert [p.name for p in tmp_path.iterdir()] == [config.name]
