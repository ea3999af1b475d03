"""Descriptions of functions: the same in every process, another for another deed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.run.describe import describe

BASE = """
import functools
import jax
import jax.numpy as jnp
import numpy as np
import optax
K = 1.0
TABLE = {"a": [1, 2], "b": np.arange(3)}
def helper(x): return x + 1
def made(c):
    inner = {"c": (c, np.array([c]))}
    def loss(params, batch): return params * inner["c"][0]
    return loss
@jax.jit
def loss(params, batch, power=2):
    return jax.nn.softplus(helper(params) * K) ** power + TABLE["b"].sum()
def server(step_size): return opt
opt = optax.sgd(0.1, momentum=0.5)
def local(momentum):
    import optax  # a module in the closure
    def never(): return later
    server = lambda step_size: (optax.sgd(step_size, momentum), never)
    if momentum > 2: later = 1
    return server
class Model:
    def __init__(self, width): self.width = width
    def apply(self, params, batch): return params * self.width
"""
VALUES = (
    "loss",
    "made(1.0)",
    "functools.partial(loss, power=3)",
    "server",
    "Model(3).apply",
    "local(0.5)",
    "lambda params: K * params.sum()",
)
EDITS = {
    "loss": ["+ 1|+ 2", "* K|* 2 * K", "K = 1.0|K = 2.0", "arange(3)|arange(4)",
             "power=2|power=4"],
    "made(1.0)": ["made(1.0)|made(2.0)", "* inner|+ inner"],
    "functools.partial(loss, power=3)": ["power=3|power=4", "K = 1.0|K = 2.0"],
    "server": ["momentum=0.5|momentum=0.9", "optax.sgd(0.1|optax.sgd(0.2"],
    "Model(3).apply": ["Model(3)|Model(4)", "* self.width|+ self.width"],
    "local(0.5)": ["local(0.5)|local(0.6)", "return later|return (later,)"],
    "lambda params: K * params.sum()": ["K = 1.0|K = 3.0"],
}  # fmt: skip


def description(value, edit=None):
    source = f"{BASE}\nvalue = {value}\n"
    if edit:
        before, after = edit.split("|")
        assert before in source
        source = source.replace(before, after)
    scope = {"__name__": "a_users_module"}
    exec(compile(source, "user.py", "exec"), scope)
    return describe(scope["value"])


@pytest.mark.parametrize("value", VALUES)
def test_what_changes_a_function_changes_its_description(value):
    same = description(value)
    assert same == description(value)
    for edit in EDITS[value]:
        assert description(value, edit) != same, edit


def test_other_processes_describe_the_same():
    code = "import test_describe as t; print([t.description(v) for v in t.VALUES])"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_folder_refuses_another_loss(tmp_path):
    rows = np.arange(8.0)

    def sweep(factor):
        def loss(params, batch):
            return factor * (params - batch) ** 2

        return ag.sweep(
            ag.from_loss(loss, np.ones(()), rows, num_workers=2),
            algorithms=["pure_async"],
            compute_times=ag.compute_times.fixed([1, 2]),
            step_sizes=[0.1],
            num_gradients=10,
            directory=tmp_path,
        )

    sweep(1.0)
    with pytest.raises(ValueError, match=r"problem\.loss: there"):
        sweep(2.0)
