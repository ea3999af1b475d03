"""Pieces of the user's own, and ready networks, named in a config."""

import os
import re
import sys
import tomllib

import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.cli import classifiers, cli, own_code
from asgrad_jax.cli import config as configs
from asgrad_jax.cli.schema import config_schema
from asgrad_jax.experiments.grid import Grid

CODE = '''\
from dataclasses import dataclass

import jax.numpy as jnp
import optax

import asgrad_jax as ag


@dataclass
class Same:
    """The worker that arrived gets the next job."""

    name: str = "same"
    patience: int = 50

    def start(self, server):
        return range(server.num_workers)

    def arrive(self, server, job):
        late = server.version - job.read > self.patience
        if late:
            return ag.algorithms.Decision(weight=None, step=False, assign=[job.worker])
        return ag.algorithms.Decision(assign=[job.worker])


careful = ag.Algorithm(name="careful", gradients_per_step=2)


def slow_last(num_workers, slow=9.0):
    return ag.compute_times.fixed([1.0] * (num_workers - 1) + [slow])


def small(num_workers, same=False):
    return ag.quadratic(num_workers, 2, same_hessian=same)


def gentle(step_size, decay=0.9, nesterov=False):
    return optax.sgd(step_size, momentum=decay, nesterov=nesterov)


def largest(x):
    return jnp.abs(x).max()
'''
CONFIG = """\
algorithms = [
  "pure_async",
  { name = "own.py:Same", patience = 3 },
  { name = "own.py:careful", label = "two at a time" },
]
step_sizes = [0.01, 0.1]
num_gradients = 60
metrics = { largest = "own.py:largest" }
metric = "largest"
server = { name = "own.py:gentle", decay = [0.0, 0.5], nesterov = true }

[problem]
kind = "own.py:small"
num_workers = 3
same = true

[compute_times]
name = "own.py:slow_last"
num_workers = 3
slow = 4.0
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def test_a_sweep_of_own_pieces(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parent)
    out = folder / "run"
    call = ["asgrad", "sweep", str(folder / "config.toml"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", call)
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert "own.py" in capsys.readouterr().out
    result = ag.load(out / "results.nc")
    assert [*result["algorithm"].values] == ["pure_async", "Same", "two at a time"]
    assert [*result["compute_times"].values] == ["slow_last"]
    assert result.sizes["decay"] == 2 and (result["status"] == 0).all()
    assert (result["largest"].values >= 0).all() and result.attrs["metric"] == "largest"
    # The folder has what its config names, and goes on from it.
    assert (out / "own.py").read_text() == CODE
    again = configs.load_config(out / "config.toml")
    assert again.problem["kind"] == f"{out / 'own.py'}:small"
    lanes = {path.name: path.stat().st_mtime_ns for path in (out / "lanes").iterdir()}
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    after = {path.name: path.stat().st_mtime_ns for path in (out / "lanes").iterdir()}
    assert after == lanes


def test_a_changed_method_runs_anew(folder):
    def run():
        asked = configs.load_config(folder / "config.toml")
        configs.run_config(asked, directory=folder / "run")
        return {path.name for path in (folder / "run" / "lanes").iterdir()}

    first = run()
    code = CODE.replace("Decision(assign=", "Decision(weight=0.5, assign=")
    (folder / "own.py").write_text(code)
    # Two methods are as they were; the changed one has other schedules.
    assert len(first) == 3 and len(run() - first) == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("own.py:Same", "own.py:Sane", "'own.py:Sane' (did you mean 'Same'?)"),
        ("own.py:Same", "there_is.py:Same", "there is no file there_is.py"),
        ("own.py:Same", "no_such_module:Same", "No module named 'no_such_module'"),
        ("patience = 3", "patients = 3", "unknown key 'patients'"),
        ("label = ", "b = 2, label = ", "must be a function or a class to take b"),
        ("decay = [", "decoy = [", "unknown key 'decoy' (did you mean 'decay'?)"),
        ("own.py:gentle", "own.py:careful", "must be a function of step_size"),
        ("own.py:largest", "largest", "must be 'file.py:function'"),
        ('metric = "largest"', 'metric = "larges"', "(did you mean 'largest'?)"),
        ("slow = 4.0", "slow = -4.0", "must be a finite number > 0"),
    ],
)
def test_what_is_wrong_is_told(folder, old, new, words):
    path = folder / "config.toml"
    assert CONFIG.count(old) == 1
    path.write_text(CONFIG.replace(old, new))
    with pytest.raises(ValueError, match=re.escape(words)) as raised:
        asked = configs.load_config(path)
        with configs.named_file(path):
            Grid(**configs.sweep_arguments(asked))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1\ny = x +\n", "own.py cannot be imported: SyntaxError"),
        ("x = 1\ny = nothing\n", "cannot be imported, line 2 of it: NameError"),
    ],
)
def test_code_that_does_not_run(folder, code, words):
    (folder / "own.py").write_text(code)
    with pytest.raises(ValueError, match=re.escape(words)):
        configs.build_algorithm(f"{folder / 'own.py'}:Same")


def test_a_changed_file_is_read_anew(folder):
    path = folder / "own.py"
    assert own_code.load(f"{path}:careful", "here").gradients_per_step == 2
    path.write_text(CODE.replace("gradients_per_step=2", "gradients_per_step=5"))
    os.utime(path, ns=(1, 1))  # clocks of file systems are coarse
    assert own_code.load(f"{path}:careful", "here").gradients_per_step == 5


def test_files_outside_of_the_folder_are_not_copied(folder, tmp_path):
    (tmp_path / "deep").mkdir()
    found = {"a": ["../own.py:Same", f"{folder / 'own.py'}:Same"], "b": "math:sqrt"}
    assert own_code.copy_files(found, tmp_path / "deep", tmp_path / "out") == []


def test_traces_are_copied_like_code(folder, tmp_path):
    (folder / "jobs.csv").write_text("worker,start,end\n0,0,1\n")
    asked = {"compute_times": [{"name": "trace", "path_or_rows": "jobs.csv"}]}
    [copy] = own_code.copy_files(asked, folder, tmp_path / "out")
    assert copy == tmp_path / "out" / "jobs.csv" and copy.is_file()


NETWORKS = {
    "mlp": (
        "hidden = [4]\npartition = { name = 'dirichlet', alpha = 0.5, min_rows = 8 }"
    ),
    "cnn": "channels = [2, 3]\npartition = 'iid'\ndrop_last = true",
    "multinomial_logistic": "strength = 0.01\npartition = 'sorted'\ndrop_last = true",
    "transformer": "width = 8\nlayers = 1\ncharacters = 900\ndrop_last = true",
}


def network(kind, options, folder):
    path = folder / "network.toml"
    rows = "" if kind == "transformer" else "num_rows = 200\n"
    path.write_text(
        "algorithms = ['pure_async']\nstep_sizes = [0.1]\nnum_gradients = 8\n"
        f"metric = 'error'\n[compute_times]\nname = 'fixed'\nmean = [1, 2, 3]\n"
        f"[problem]\nkind = '{kind}'\nnum_workers = 3\nheld_out = 0.2\n{rows}"
        f"batch_size = 4\n{options}\n"
    )
    return path


def test_a_network_is_swept(tmp_path):
    path = network("mlp", NETWORKS["mlp"], tmp_path)
    result = configs.run_config(configs.load_config(path))
    assert (result["status"] == 0).all() and result.attrs["metric"] == "error"
    np.testing.assert_allclose(result["accuracy"] + result["error"], 1, rtol=1e-6)


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_with_held_out_rows(kind, tmp_path):
    path = network(kind, NETWORKS[kind], tmp_path)
    asked = configs.load_config(path)
    problem = configs.build_problem(asked.problem)
    one = jax.tree.map(lambda x: jnp.asarray(x)[None], problem.init_params())
    metrics = jax.jit(problem.metrics)(one)
    assert 0 < metrics["error"][0] == 1 - metrics["accuracy"][0] < 1
    # Held-out rows are nobody's.
    whole = configs.build_problem(asked.problem | {"held_out": 0.0})
    assert problem.problem.counts.sum() < whole.counts.sum()
    jsonschema.validate(tomllib.loads(path.read_text()), config_schema())


def test_wrong_networks(tmp_path):
    for old, new, words in (
        ("hidden", "hiden", "unknown key 'hiden' (did you mean 'hidden'?)"),
        ("'dirichlet'", "'dirichle'", "unknown name 'dirichle' (did you mean"),
        ("alpha = 0.5", "alfa = 0.5", "unknown key 'alfa' (did you mean 'alpha'?)"),
        ("hidden", "data = 'no.npz'\nhidden", "there is no npz file"),
        ("hidden", "data = 'digit'\nhidden", "did you mean 'digits'"),
    ):
        path = network("mlp", NETWORKS["mlp"].replace(old, new), tmp_path)
        with pytest.raises(ValueError, match=re.escape(words)):
            configs.build_problem(configs.load_config(path).problem)


def test_own_images(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "mine.npz",
        x_train=rng.integers(0, 255, (30, 5, 5), dtype=np.uint8),
        y_train=rng.integers(0, 3, 30),
    )
    path = network("cnn", "data = 'mine.npz'\nchannels = [2, 2]", tmp_path)
    path.write_text(path.read_text().replace("num_rows = 200\n", ""))
    problem = configs.build_problem(configs.load_config(path).problem)
    assert problem.problem.counts.sum() == 24  # a fifth is held out
    assert {*classifiers.KINDS} == {*NETWORKS}


def test_the_schema_takes_own_code():
    jsonschema.validate(tomllib.loads(CONFIG), config_schema())
    wrong = CONFIG.replace("own.py:careful", "careful")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(wrong), config_schema())
