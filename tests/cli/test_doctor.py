"""`asgrad doctor`, the lists, the schema, and `--set`."""

import importlib.metadata
import json
import tomllib

import jsonschema
import pytest
from test_wrong_configs import CONFIG
from typer.testing import CliRunner

import asgrad_jax as ag
from asgrad_jax.cli import cli, doctor, overrides
from asgrad_jax.cli import config as configs
from asgrad_jax.cli.presets import file_of
from asgrad_jax.cli.presets import names as presets
from asgrad_jax.cli.schema import config_schema
from asgrad_jax.cli.servers import build_server


def asgrad(*arguments):
    """Exit code and stdout of a command that prints no error."""
    done = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout


def test_a_machine_that_is_ready(monkeypatch):
    monkeypatch.delenv("ASGRAD_DATA", raising=False)
    code, out = asgrad("doctor", "--json")
    found = {finding["name"]: finding for finding in json.loads(out)}
    assert len(found) == len(doctor.CHECKS)
    wrong = {name for name, finding in found.items() if finding["status"] == "wrong"}
    assert (code, wrong) == (0, set()), found
    assert "agree to" in found["self test"]["found"]
    assert importlib.metadata.version("jax") in found["versions"]["found"]


def test_what_is_wrong_has_its_fix(monkeypatch, tmp_path):
    checks = (doctor.check_data, doctor.check_versions, doctor.check_kernels)
    monkeypatch.setattr(doctor, "CHECKS", checks)
    monkeypatch.setenv("ASGRAD_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("ASGRAD_KERNELS", "0")
    needed = ["jax<0.1", "no-such-package>=2", "numpy>=2.0", "x; extra == 'dev'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)
    code, out = asgrad("doctor")
    assert code == 1
    assert "nowhere is no folder" in out and "create it" in out
    assert "pip install 'jax<0.1' 'no-such-package>=2'\n" in out
    assert "note   kernels" in out and "unset ASGRAD_KERNELS" in out
    assert out.endswith("\n2 wrong\n")


def test_a_check_that_fails_is_a_finding(monkeypatch):
    def check_disk():
        raise OSError("the disk\nhas gone")

    monkeypatch.setattr(doctor, "CHECKS", (check_disk,))
    code, out = asgrad("doctor")
    assert code == 1 and "wrong  disk        the disk has gone" in out


@pytest.mark.parametrize(
    ("command", "module"),
    [("algorithms", ag.algorithms), ("compute-times", ag.compute_times)],
)
def test_pages_on_names(command, module):
    code, out = asgrad(command)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == module.names()
    name = module.names()[1]
    code, out = asgrad(command, name)
    assert code == 0
    assert out.startswith(f"{name}(") and "Example:" in out
    _, out = asgrad(command, "--json")
    entries = json.loads(out)
    assert [entry["name"] for entry in entries] == module.names()
    assert all(entry["summary"] for entry in entries)
    assert json.loads(asgrad(command, name, "--json")[1]) == entries[1]
    failed = CliRunner().invoke(cli.app, [command, f"{name}x"])
    assert f"did you mean '{name}'" in str(failed.exception)


def test_the_properties_of_an_algorithm():
    _, out = asgrad("algorithms", "minibatch")
    assert "waits          yes" in out and "discards       no" in out


def test_the_schema_takes_what_is_right_and_refuses_slips(tmp_path):
    code, out = asgrad("schema", "--out", tmp_path / "s.json")
    assert code == 0 and "#:schema ./s.json" in out
    schema = json.loads((tmp_path / "s.json").read_text())
    assert schema == config_schema() == json.loads(asgrad("schema")[1])
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    right = tomllib.loads(CONFIG)
    validator.validate(right)
    for name in presets():
        validator.validate(tomllib.loads(file_of(name).read_text("utf-8")))
    for key, value in (
        ("sedes", 2),
        ("num_gradients", "200"),
        ("server", "adamm"),
        ("algorithms", [{"name": "fedbuff", "gradients_per_stpe": 2}]),
        ("algorithms", ["pure_asinc"]),
        ("compute_times", {"name": "gamma", "mean": [1.0], "shpe": 1}),
    ):
        assert list(validator.iter_errors(right | {key: value})), key
    del right["problem"]
    assert list(validator.iter_errors(right))
    for words in (v.get("description") for v in schema["properties"].values()):
        assert words is None or words.strip()


def test_set_changes_what_is_run(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(CONFIG)
    sets = ["num_gradients=20", "problem.num_features=3", "step_sizes=[0.1]"]
    sets += ["compute_times.equal.mean=[2, 2, 2]", "algorithms.1.label=b", "seeds=1"]
    options = [word for text in sets for word in ("--set", text)]
    out = tmp_path / "run"
    code, _ = asgrad("sweep", path, "--out", out, *options)
    assert code == 0
    result = ag.load(out / "results.nc")
    assert result.attrs["metric"] == "grad_norm"
    assert result["algorithm"].values.tolist() == ["pure_async", "b"]
    assert int(result["gradients"][-1]) == 20
    asked = ag.sweep_config(result)
    assert asked["compute_times"]["equal"]["mean"] == [2, 2, 2]
    # What lies beside the results is what was run.
    again = configs.load_config(out / "config.toml")
    assert again == configs.load_config(path, overrides.parse(sets))
    assert (out / "config.toml").read_text().startswith("# small.toml with --set num")


def test_set_reaches_the_chosen_scale():
    scales = {"ci": {"seeds": 2, "until": 5.0, "problem": {"noise": 1.0}}}
    raw = {"scale": "full", "seeds": 9, "num_gradients": 7, "problem": {"mu": 1.0}}
    raw["scales"] = scales
    changes = overrides.parse(
        ["seeds=4", "scale=ci", "problem.noise=3", "num_gradients=30", "problem.mu=2"]
    )
    overrides.apply(raw, changes)
    made = configs.scaled(raw)
    assert made == {
        "scale": "ci",
        "seeds": 4,
        "num_gradients": 30,
        "problem": {"mu": 2, "noise": 3},
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seeds", "must look like key=value"),
        (".=1", "must look like"),
        ("seeds.a=1", "--set seeds.a: a must be a key of a table, got 2 there"),
        ("algorithms.bufered.label=x", "did you mean 'buffered'"),
        ("algorithms.7=x", "a number below 2"),
        ("sedes=3", "unknown key 'sedes' (did you mean 'seeds'?)"),
        ("seeds=-3", "seeds must be an integer >= 1, got -3"),
    ],
)
def test_wrong_changes(tmp_path, text, words):
    path = tmp_path / "small.toml"
    path.write_text(CONFIG)
    done = CliRunner().invoke(cli.app, ["plan", str(path), "--set", text])
    assert words in str(done.exception)
    assert "(line" not in str(done.exception)


def test_toml_is_written_as_it_was_read():
    raw = tomllib.loads(CONFIG)
    raw["title"] = 'a "b" \\ ü\n\x7f'
    raw["about"] = {"numbers": {"two words": "x"}, "odd": [True, 1.5, float("inf")]}
    assert tomllib.loads(overrides.as_toml(raw, "why")) == raw


def test_a_server_by_name_is_that_of_optax():
    import numpy as np
    import optax

    server, hyper = build_server({"name": "sgd", "momentum": [0.0, 0.9], "nesterov": 0})
    shared = dict(
        algorithms="pure_async",
        compute_times=ag.compute_times.fixed([1, 2]),
        step_sizes=[0.1],
        num_gradients=20,
        progress=False,
    )
    problem = ag.quadratic(num_workers=2, num_features=3)
    named = ag.sweep(problem, server=server, hyperparameters=hyper, **shared)
    own = ag.sweep(
        problem,
        server=lambda step_size, momentum: optax.sgd(step_size, momentum),
        hyperparameters={"momentum": [0.0, 0.9]},
        **shared,
    )
    np.testing.assert_array_equal(named["loss"], own["loss"])
    assert named.sizes["momentum"] == 2
    assert float(abs(named["loss"].diff("momentum")).max()) > 1e-3
