"""Descriptions of functions: the same in every process, another for another deed."""

import copy
import dataclasses
import enum
import fractions
import functools
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr

import asgrad_jax as ag
from asgrad_jax._util.hashable import HashableCallable, hashable
from asgrad_jax.cli.servers import NamedServer
from asgrad_jax.experiments import fingerprint as hashing
from asgrad_jax.experiments.fingerprint import content_hash, describe, fingerprint
from asgrad_jax.experiments.folder import check_same

GRID = {
    "algorithms": ["pure_async"],
    "compute_times": ag.compute_times.fixed([1, 2]),
    "step_sizes": [0.1],
    "num_gradients": 10,
}
BASE = """
import dataclasses
import datetime
import functools
import sys
import threading
import types
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
class Base:
    shift = 37
class Config(Base):
    rate = 0.1
    parts = {"x", "y", "zebra"}
    @staticmethod
    def scale(x): return 5 * x
def configured(params): return Config.scale(params) * Config.rate
@dataclasses.dataclass
class Scale:
    factor: float
    shift: float = dataclasses.field(default=29.0, compare=False)
    def __call__(self, x): return self.factor * x + self.shift
class Jitted:
    @jax.jit
    def __call__(x): return x + 41
class Slotted:
    __slots__ = ("width", "again")
slotted = Slotted()
slotted.width, slotted.again = 7, slotted  # a cycle
Q = ag.quadratic(num_workers=2, num_features=3, seed=0)
frame = pandas.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
matrix = scipy.sparse.csr_array(np.diag([1.0, 8.0]))
space = types.SimpleNamespace(shift=11, deep=[{"k": (13, {"p", "q", "r"})}])
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
moving = Moving()
"""
EDITS = {
    "loss": ["+ 1|+ 2", "* K|* 2 * K", "K = 1.0|K = 2.0", "arange(3)|arange(4)",
             "power=2|power=4"],
    "made(1.0)": ["made(1.0)|made(2.0)", "* inner|+ inner"],
    "functools.partial(loss, power=3)": ["power=3|power=4", "K = 1.0|K = 2.0"],
    "server": ["momentum=0.5|momentum=0.9", "optax.sgd(0.1|optax.sgd(0.2"],
    "Model(3).apply": ["Model(3)|Model(4)", "* self.width|+ self.width"],
    "local(0.5)": ["local(0.5)|local(0.6)", "return later|return (later,)"],
    "Scale(3.0)": ["Scale(3.0)|Scale(4.0)", "29.0|31.0", "x + self|x - self"],
    "Jitted()": ["x + 41|x + 43"],
    "lambda params: K * params.sum()": ["K = 1.0|K = 3.0"],
    "decorated": ["@times(2)|@times(3)", "factor * function|factor + function",
                  "shift = 23|shift = 24"],
    "ruled": ["3 * g|4 * g"],
    "configured": ["shift = 37|shift = 38", "rate = 0.1|rate = 0.2", "5 * x|6 * x",
                   "zebra|zebu"],
    "lambda x: slotted": ["= 7, slotted|= 8, slotted", "= 7, slotted|= 7, None"],
    "lambda x: Q.metrics(x[None])['loss'][0]": ["seed=0|seed=1"],
    "Q.metrics": ["seed=0|seed=1"],
    "lambda x: frame": ["1.0, 2.0|1.0, 3.0", '"x", "y"|"x", "z"', '{"a"|{"c"'],
    "lambda x: matrix @ x": ["8.0|9.0", "csr_array|csc_array"],
    "lambda x: space": ["shift=11|shift=12", "(13|(14", '"q", "r"|"q", "s"'],
    "lambda x: objects": ['"u", None|"v", None', "1, 17|1, 18", "key(19)|key(20)"],
    "lambda x: moving": ["np, iter|jax, iter"],
    "lambda x: x in {'one', 'two', 'three'}": ["'two'|'four'"],
    "lambda *, a, b: (a, b)": ["*, a, b|*, b, a"],
}  # fmt: skip
VALUES = list(EDITS)


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


def test_lambdas_of_one_line():
    same = [lambda x: x + 1, lambda x: x + 1]
    other = [lambda x: x + 1, lambda x: x + 2, lambda x: -x, lambda y, x: x + 1]
    assert len({describe(function) for function in same}) == 1
    assert len({describe(function) for function in other}) == 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda b1: NamedServer("adam", (("b1", b1), ("nesterov", True))),
            "server.b1: there 0.9, asked 0.5",
        ),
        (
            lambda b1: functools.partial(helper, b1=b1),
            "server.keywords.b1: there 0.9, asked 0.5",
        ),
    ],
    ids=["by name", "partial"],
)
def test_arguments_that_differ_are_named(make, words):
    there, asked = ({"server": describe(make(b1))} for b1 in (0.9, 0.5))
    with pytest.raises(ValueError, match=re.escape(words)):
        check_same(there, asked, Path("run/config.json"))
    check_same(there, {"server": describe(make(0.9))}, Path("run/config.json"))


def test_a_file_that_is_edited_after_it_was_read(tmp_path, monkeypatch):
    """What runs is what was read; the text that is there now is another program."""
    path = tmp_path / "losses_of_a_user.py"
    monkeypatch.syspath_prepend(tmp_path)
    path.write_text("def loss(params, batch): return params\n")
    read = importlib.import_module("losses_of_a_user").loss
    before = describe(read)
    path.write_text("# moved\ndef loss(params, batch): return params\n")
    assert describe(read) == before
    moved = importlib.reload(sys.modules["losses_of_a_user"]).loss
    assert describe(moved) == before
    path.write_text("def loss(params, batch): return 2 * params\n")
    assert describe(moved) == before


FACTOR = 1.0


def helper(x):
    return FACTOR * x


def closure(factor):
    test = ag.quadratic(num_workers=2, num_features=1, seed=int(factor))
    return lambda x: test.metrics(x[None, None])["loss"][0]


def with_global(factor):
    globals()["FACTOR"] = factor
    return lambda x: helper(x)


@dataclasses.dataclass
class Scale:
    """Without a hash."""

    factor: float

    def __call__(self, x):
        return self.factor * x


@pytest.mark.parametrize("function_of", [closure, with_global, Scale])
@pytest.mark.parametrize("what", ["loss", "metric", "server"])
def test_a_folder_refuses_other_functions(tmp_path, what, function_of):
    def sweep(factor):
        function = function_of(factor)
        loss = lambda params, batch: (params - batch) ** 2  # noqa: E731
        given = {}
        if what == "loss":
            loss = lambda params, batch: jax.vmap(function)(params - batch)  # noqa: E731
        elif what == "metric":
            given["metrics"] = {"own": function}
        else:
            given["server"] = lambda step_size: optax.sgd(function(step_size))
        return ag.sweep(
            ag.from_loss(loss, np.ones(()), np.arange(8.0), num_workers=2),
            directory=tmp_path,
            **GRID,
            **given,
        )

    xr.testing.assert_equal(sweep(1.0), sweep(1.0))
    names = {"loss": "problem.loss", "metric": "metrics.own", "server": "server"}
    with pytest.raises(ValueError, match=rf"{names[what]}: there"):
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


def test_a_callable_that_was_made_hashable_is_described_as_it_is():
    held = hashable(Scale(2.0))
    assert isinstance(held, HashableCallable) and describe(held) == describe(Scale(2.0))


def test_arrays_are_hashed_once_in_a_run(monkeypatch):
    large = np.zeros(10_000)
    hashed = []

    def counted(array):
        hashed.append(np.size(array))
        return content_hash(array)

    monkeypatch.setattr(hashing, "content_hash", counted)
    ag.sweep(
        ag.quadratic(num_workers=2, num_features=3),
        **GRID,
        metrics={"a": lambda x: large[0] + x[0], "b": lambda x: large[1] + x[1]},
    )
    assert hashed.count(large.size) == 1


Kind = enum.Enum("Kind", "SLOW FAST", module=__name__)
Nested = dataclasses.make_dataclass("Nested", ["kind"], frozen=True)


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
    grid = GRID | {"algorithms": [broken(**vars(algorithm))]}
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        ag.sweep(ag.quadratic(num_workers=2, num_features=3), **grid)


def test_a_folder_named_like_a_library_is_not_one(tmp_path, monkeypatch):
    """asgrad_jax_experiments beside asgrad_jax, say."""
    libraries = hashing._LIBRARIES
    assert all(path.endswith((os.sep, "<frozen")) for path in libraries)
    monkeypatch.setattr(hashing, "_LIBRARIES", (f"{tmp_path}/library{os.sep}",))
    codes = []
    for text in ("x + 1", "x + 2"):
        names = {}
        path = f"{tmp_path}/library_experiments/user.py"
        exec(compile(f"def function(x): return {text}", path, "exec"), names)
        codes.append(fingerprint(names["function"]))
    assert codes[0] != codes[1]
