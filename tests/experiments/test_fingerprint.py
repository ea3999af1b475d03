"""Descriptions of functions: the same in every process, another for another deed."""

import copy
import dataclasses
import enum
import fractions
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pandas as pd
import pytest
import scipy.sparse

import asgrad_jax as ag
from asgrad_jax.experiments import fingerprint as hashing
from asgrad_jax.experiments.describe import describe
from asgrad_jax.experiments.fingerprint import content_hash, fingerprint

LIBRARIES = hashing._LIBRARIES

BASE = """
import datetime
import functools
import sys
import threading
import types
import weakref
import asgrad_jax as ag
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas
import scipy.sparse
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
def times(factor):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args): return factor * function(*args)
        return wrapper
    return decorate
@times(2)
def decorated(params): return params + decorated.shift
decorated.shift = 23
@jax.custom_vjp
def ruled(params): return params
ruled.defvjp(lambda x: (x, None), lambda _, g: (3 * g,))
class Config:
    rate = 0.1
    parts = {"x", "y", "zebra"}
    @staticmethod
    def scale(x): return 5 * x
def configured(params): return Config.scale(params) * Config.rate
class Slotted:
    __slots__ = ("width", "again")
slotted = Slotted()
slotted.width, slotted.again = 7, slotted  # a cycle
Q = ag.quadratic(num_workers=2, num_features=3, seed=0)
frame = pandas.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
matrix = scipy.sparse.csr_array(np.diag([1.0, 8.0]))
space = types.SimpleNamespace(shift=11, deep=[{"k": (13, {"p", "q", "r"})}])
chain = None
for link in range(2000): chain = [link, chain]
class Objects:
    def __init__(self):
        self.table = np.array(["u", None], object)
        self.when = datetime.date(2020, 1, 17)
        self.key = jax.random.key(19)
objects = Objects()
class Moving:
    def __init__(self):
        self.random = np.random.default_rng()
        self.lock, self.file = threading.Lock(), sys.__stderr__
        self.module, self.stream = np, iter([id(self)])
        self.cache = weakref.WeakKeyDictionary({Config: id(self)})
moving = Moving()
"""
VALUES = (
    "loss",
    "made(1.0)",
    "functools.partial(loss, power=3)",
    "server",
    "Model(3).apply",
    "local(0.5)",
    "lambda params: K * params.sum()",
    "decorated",
    "ruled",
    "configured",
    "lambda x: slotted",
    "lambda x: Q.metrics(x[None])['loss'][0]",
    "Q.metrics",
    "lambda x: frame",
    "lambda x: matrix @ x",
    "lambda x: space",
    "lambda x: chain",
    "lambda x: objects",
    "lambda x: moving",
    "lambda x: x in {'one', 'two', 'three'}",
    "lambda *, a, b: (a, b)",
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
    "decorated": ["@times(2)|@times(3)", "factor * function|factor + function",
                  "shift = 23|shift = 24"],
    "ruled": ["3 * g|4 * g"],
    "configured": ["rate = 0.1|rate = 0.2", "5 * x|6 * x", "zebra|zebu"],
    "lambda x: slotted": ["= 7, slotted|= 8, slotted", "= 7, slotted|= 7, None"],
    "lambda x: Q.metrics(x[None])['loss'][0]": ["seed=0|seed=1"],
    "Q.metrics": ["seed=0|seed=1"],
    "lambda x: frame": ["1.0, 2.0|1.0, 3.0", '"x", "y"|"x", "z"', '{"a"|{"c"'],
    "lambda x: matrix @ x": ["8.0|9.0", "csr_array|csc_array"],
    "lambda x: space": ["shift=11|shift=12", "(13|(14", '"q", "r"|"q", "s"'],
    "lambda x: chain": ["range(2000)|range(1, 2000)"],
    "lambda x: objects": ['"u", None|"v", None', "1, 17|1, 18", "key(19)|key(20)"],
    "lambda x: moving": ["np, iter|jax, iter"],
    "lambda x: x in {'one', 'two', 'three'}": ["'two'|'four'"],
    "lambda *, a, b: (a, b)": ["*, a, b|*, b, a"],
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
    code = "import test_fingerprint as t; print([t.description(v) for v in t.VALUES])"
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


def test_using_an_object_does_not_change_it():
    class Model:
        def __init__(self):
            self.matrix = scipy.sparse.csr_array(np.eye(2)[::-1])
            self.frame = pd.DataFrame({"a": [2.0, 1.0]})
            self.days = pd.date_range("2020", periods=3)
            self.schedule = optax.cosine_decay_schedule(0.1, 10)

        @functools.cached_property
        def norm(self):
            return np.abs(self.frame["a"]).sum() * self.matrix.has_sorted_indices

    model = Model()
    quadratic = ag.quadratic(num_workers=2, num_features=2)
    jitted = jax.jit(lambda x: quadratic.metrics(x[None])["loss"][0] * model.norm)

    def metric(x):
        return jitted(x)

    before = fingerprint(metric)
    assert model.norm and model.schedule(1) and model.days.month[0] == 1
    metric(np.ones(2))
    assert model.matrix.has_canonical_format
    assert model.frame.sort_values("a").index[0] == 1
    assert fingerprint(metric) == before
    model.frame.loc[0, "a"] = 5.0
    assert fingerprint(metric) != before


def test_the_same_contents_elsewhere_count_the_same():
    part = {"a": [1, (2.0, "x")]}
    assert fingerprint([part, part]) == fingerprint([part, copy.deepcopy(part)])
    a, b = [1], [2]
    assert fingerprint([a, b, a]) != fingerprint([a, b, b])


def test_arrays_are_hashed_once_in_a_run(monkeypatch):
    large = np.zeros(10_000)
    hashed = []

    def counted(array):
        hashed.append(np.size(array))
        return content_hash(array)

    monkeypatch.setattr(hashing, "content_hash", counted)
    ag.sweep(
        ag.quadratic(num_workers=2, num_features=3),
        algorithms=["pure_async"],
        compute_times=ag.compute_times.fixed([1, 2]),
        step_sizes=[0.1],
        num_gradients=10,
        metrics={"a": lambda x: large[0] + x[0], "b": lambda x: large[1] + x[1]},
    )
    assert hashed.count(large.size) == 1


def test_a_folder_sees_another_test_problem(tmp_path):
    def sweep(seed):
        test = ag.quadratic(num_workers=2, num_features=3, seed=seed)
        return ag.sweep(
            ag.quadratic(num_workers=2, num_features=3),
            algorithms=["pure_async"],
            compute_times=ag.compute_times.fixed([1, 2]),
            step_sizes=[0.1],
            num_gradients=10,
            metrics={"test": lambda x: test.metrics(x[None])["loss"][0]},
            directory=tmp_path,
        )

    np.testing.assert_array_equal(sweep(0)["test"], sweep(0)["test"])
    with pytest.raises(ValueError, match=r"metrics\.test: there"):
        sweep(1)


class Kind(enum.Enum):
    SLOW = 1
    FAST = 2


@dataclasses.dataclass(frozen=True)
class Nested:
    kind: object


@pytest.mark.parametrize(
    "one, other",
    [
        (np.int64(3), np.int64(4)),
        (Kind.SLOW, Kind.FAST),
        (Nested(Kind.SLOW), Nested(Kind.FAST)),
        (Nested(np.ones(2)), Nested(np.zeros(2))),
        (frozenset([1]), frozenset([2])),
        ({"kind": Kind.SLOW}, {"kind": Kind.FAST}),
        (fractions.Fraction(1, 2), fractions.Fraction(1, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_static_values_are_described_by_what_they_hold(one, other):
    """Else a folder would give the results of another problem."""
    assert describe(one) == describe(copy.deepcopy(one))
    assert json.dumps(describe(one)) != json.dumps(describe(other))


def test_a_config_that_cannot_be_written_is_refused_before_the_run():
    algorithm = ag.algorithms.get("pure_async")
    broken = type("Broken", (type(algorithm),), {"config": lambda self: {"x": {1}}})
    fields = {
        field.name: getattr(algorithm, field.name)
        for field in dataclasses.fields(algorithm)
    }
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        ag.plan(
            ag.quadratic(num_workers=2, num_features=3),
            algorithms=[broken(**fields)],
            compute_times=ag.compute_times.fixed([1, 2]),
            step_sizes=[0.1],
            num_gradients=10,
        )


def test_a_folder_named_like_a_library_is_not_one(tmp_path, monkeypatch):
    """asgrad_jax_experiments beside asgrad_jax, say."""
    monkeypatch.setattr(hashing, "_LIBRARIES", (f"{tmp_path}/library{os.sep}",))
    codes = []
    for text in ("x + 1", "x + 2"):
        names = {}
        path = f"{tmp_path}/library_experiments/user.py"
        exec(compile(f"def function(x): return {text}", path, "exec"), names)
        codes.append(fingerprint(names["function"]))
    assert codes[0] != codes[1]
    assert all(path.endswith((os.sep, "<frozen")) for path in LIBRARIES)
