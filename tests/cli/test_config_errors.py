"""Errors of a config: the file's name, the key, and bounds instead of terabytes."""

import copy
import json
import math
import re

import pytest

from asgrad_jax.cli.config import load_config, named_file, sweep_arguments
from asgrad_jax.experiments.grid import Grid

BASE = {
    "algorithms": ["pure_async", {"name": "fedbuff", "gradients_per_step": 2}],
    "compute_times": [
        {"name": "normal", "mean": {"first": 1, "last": 4}},
        {"name": "fixed", "mean": [1, 2, 3, 4], "label": "f"},
    ],
    "step_sizes": {"base": 2.0, "first": -3, "last": -1},
    "num_gradients": 40,
    "seeds": 2,
    "record_every": 10,
    "precision": "float32",
    "width": 1,
    "title": "t",
    "problem": {"kind": "quadratic", "num_workers": 4, "num_features": 3},
}
HUGE = 102_147_483_648
BAD = ["x", -1, 1.5, True, [], {}, {"a": 1}, HUGE, 2**63 - 1, math.nan, 1e308]


def toml(value):
    """A value as TOML writes it, which is JSON but for tables and odd floats."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value)


def places(value, path=()):
    """All places in nested values, each as the keys that lead to it."""
    if path:
        yield path
    keys = range(len(value)) if isinstance(value, list) else value
    for key in keys if isinstance(value, dict | list) else ():
        yield from places(value[key], (*path, key))


def mutations():
    for path in places(BASE):
        for bad in (*BAD, None):
            config = copy.deepcopy(BASE)
            inner = config
            for key in path[:-1]:
                inner = inner[key]
            if bad is None:
                del inner[path[-1]]
            else:
                inner[path[-1]] = bad
            yield path, bad, config


def read(path, config):
    path.write_text("\n".join(f"{key} = {toml(v)}" for key, v in config.items()))
    asked = load_config(path)
    with named_file(path):
        grid = Grid(**sweep_arguments(asked))
        if grid.num_gradients < 100 and len(grid.seeds) < 5:
            assert grid.schedules


@pytest.mark.filterwarnings("ignore")
def test_errors_of_a_config_name_file_and_key(tmp_path):
    path, refused, located = tmp_path / "odd.toml", 0, 0
    for keys, bad, config in mutations():
        try:
            read(path, config)
        except ValueError as error:
            words = str(error)
            assert words.startswith(f"{path}: "), (keys, bad, words)
            names = [str(key) for key in keys if isinstance(key, str)]
            names += ["step_size", "float64; use smaller compute times"]
            assert any(name in words for name in names), (keys, bad, words)
            refused += 1
            if number := re.search(r"\(line (\d+)\)$", words):
                line = path.read_text().splitlines()[int(number[1]) - 1]
                assert line.startswith(f"{keys[0]} = "), (keys, bad, words)
                located += 1
    assert refused > 200 and located > 0.9 * refused


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("num_workers", HUGE, "num_workers must be at most 10,000,000"),
        (
            "num_features",
            HUGE,
            r"num_workers \* num_features must be at most 1,000,000",
        ),
    ],
)
def test_absurd_sizes_are_refused_with_a_bound(tmp_path, key, value, words):
    path = tmp_path / "odd.toml"
    with pytest.raises(ValueError, match=f"odd.toml: problem: {words}.*, got "):
        read(path, BASE | {"problem": BASE["problem"] | {key: value}})


@pytest.mark.parametrize(
    "changes",
    [
        {"num_gradients": HUGE},
        {"seeds": HUGE},
        {"step_sizes": {"first": 0, "last": HUGE}},
        {"compute_times": {"name": "fixed", "mean": {"first": 1, "last": HUGE}}},
        {"compute_times": {"name": "birch_hetcomp", "num_workers": HUGE}},
    ],
)
def test_other_absurd_sizes(tmp_path, changes):
    path = tmp_path / "odd.toml"
    with pytest.raises(ValueError, match=rf"odd\.toml: .*{next(iter(changes))}"):
        read(path, BASE | changes)


def test_a_title_that_no_file_can_hold(tmp_path):
    path = tmp_path / "odd.toml"
    with pytest.raises(ValueError, match=r"odd\.toml: title must be a text without"):
        read(path, BASE | {"title": "a\0b"})


def test_errors_of_memory_and_files_have_the_name_too():
    for kind in (MemoryError, FileNotFoundError):
        with (
            pytest.raises(kind, match=r"^odd\.toml: too much$"),
            named_file("odd.toml"),
        ):
            raise kind("too much")
    with pytest.raises(MemoryError, match="ask for less"), named_file("odd.toml"):
        raise MemoryError
