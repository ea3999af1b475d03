"""Bad input: a clear error, before anything is compiled."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgrad_jax as ag
from asgrad_jax.engine import program as engine
from asgrad_jax.experiments.sweep import _OF_TUNE
from asgrad_jax.problems.quadratic import Quadratic
from asgrad_jax.report.tables import best_table
from asgrad_jax.results.results import OWN_NAMES

N = 3
CLOCK = ag.compute_times.fixed([1, 2, 3])
PROBLEM = ag.quadratic(N, 2)
SCHEDULE = ag.simulate("pure_async", CLOCK, num_gradients=10)
FEATURES = np.arange(12.0).reshape(6, 2)
LABELS = [0, 1, 0, 1, 0, 1]
LINEAR = np.ones((N, 2))
SWEEP = {
    "problem": PROBLEM,
    "algorithms": ["pure_async"],
    "compute_times": CLOCK,
    "step_sizes": [0.1],
    "num_gradients": 10,
}


def run(**changes):
    given = {"problem": PROBLEM, "schedule": SCHEDULE, "step_size": 0.1} | changes
    return ag.run(given.pop("problem"), given.pop("schedule"), **given)


def sweep(**changes):
    return ag.sweep(**(SWEEP | changes))


def from_arrays(**changes):
    return ag.Schedule.from_arrays(**({"worker": [0, 1], "read": [0, 0]} | changes))


def logistic(**changes):
    given = {"features": FEATURES, "labels": LABELS, "num_workers": N} | changes
    return ag.logistic_regression(**given)


NORMS = "loss", "grad_norm"
TIMED = (*NORMS, "time")
STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Own:
    """A user's problem, 0.5 |x|^2 but for what a case changes."""

    start: float = 1.0
    gradients_of: Callable = field(default=lambda x: x, metadata=STATIC)
    values: Callable = field(
        default=lambda x: dict.fromkeys(NORMS, x[:, 0]), metadata=STATIC
    )
    num_workers: int = field(default=N, metadata=STATIC)

    def init_params(self):
        return np.full(2, self.start)

    def sample(self, worker, job, key):
        return None

    def gradients_with(self, params, worker, sample):
        return self.gradients_of(params)

    def metrics(self, params):
        return self.values(params)

    def local_gradients(self, params):
        raise NotImplementedError


class Plain(Own):
    """Not registered."""


class Named(NamedTuple):
    """A pytree that nothing can be remembered of."""

    start: float = 1.0
    num_workers: int = N
    init_params = sample = gradients_with = metrics = Own.init_params
    local_gradients = Own.init_params


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class Slotted:
    """As `Named`."""

    start: float = 1.0
    num_workers: int = field(default=N, metadata=STATIC)
    init_params = sample = gradients_with = metrics = Own.init_params
    local_gradients = Own.init_params


CASES = {
    "empty schedule": (lambda: from_arrays(worker=[], read=[]), "at least one arrival"),
    "read > version": (lambda: from_arrays(read=[0, 2]), "row 1"),
    "negative worker": (lambda: from_arrays(worker=[0, -1]), "row 1"),
    "worker >= n": (lambda: from_arrays(worker=[0, 7], num_workers=3), "row 1"),
    "weight": (lambda: from_arrays(weight=[1, np.nan]), "row 1"),
    "more workers": (
        lambda: run(schedule=from_arrays(num_workers=9)),
        "must have the problem's 3 workers, got 9",
    ),
    "not a schedule": (lambda: run(schedule=[0, 1]), "ag.simulate"),
    "step size": (
        lambda: run(step_size=np.inf),
        r"step_size\[0\] must be a finite number >= 0, got inf",
    ),
    "step sizes": (
        lambda: sweep(step_sizes=[0.1, np.nan]),
        r"step_size\[1\] must .*nan",
    ),
    "uphill": (
        lambda: sweep(step_sizes=[0.1, -0.2]),
        r"step_size\[1\] must .*>= 0, got -0.2",
    ),
    "uphill alone": (lambda: run(step_size=-0.1), "step_size.* must .*>= 0, got -0.1"),
    "budget": (lambda: sweep(memory_budget="1GB"), "memory_budget .* must be .* '1GB'"),
    "no budget": (lambda: sweep(memory_budget=0), "memory_budget .* > 0, got 0"),
    "progress": (lambda: sweep(progress="yes"), "progress='yes' must be True"),
    "no step sizes": (lambda: sweep(step_sizes=[]), "step_size must have at least one"),
    "words": (lambda: run(step_size="big"), "must be real numbers"),
    "twice": (lambda: sweep(step_sizes=[0.1, 0.1]), "twice"),
    "record_every": (
        lambda: run(record_every=0),
        "record_every must be .* >= 1, got 0",
    ),
    "record_every float": (
        lambda: run(record_every=2.5),
        "record_every must be an integer",
    ),
    "precision": (
        lambda: run(precision="float16"),
        "'float32' or 'float64', got 'float16'",
    ),
    "seed": (lambda: run(seed=-1), "seed must be an integer >= 0, got -1"),
    "seeds": (lambda: sweep(seeds=5), r"range\(5\)"),
    "no seeds": (lambda: sweep(seeds=[]), "seeds is empty"),
    "same seed": (lambda: sweep(seeds=[1, 1]), "twice"),
    "params shape": (
        lambda: run(init_params=np.ones(5)),
        r"params must have shape \(2,\), got \(5,\)",
    ),
    "params values": (
        lambda: run(init_params=[np.nan, 0.0]),
        "a list of 2 numbers",
    ),
    "params nan": (lambda: run(init_params=np.array([np.nan, 0.0])), "must be finite"),
    "algorithm": (lambda: sweep(algorithms=["pure_asink"]), "pure_async"),
    "no algorithm": (lambda: sweep(algorithms=[]), "algorithms must have at least one"),
    "labels": (
        lambda: sweep(algorithms=["pure_async", "pure_async"]),
        "labels of algorithms must differ, got 'pure_async' twice",
    ),
    "clock size": (
        lambda: sweep(compute_times=ag.compute_times.fixed([1, 2])),
        "must be for 3 workers.*got 2",
    ),
    "zero mean": (lambda: ag.compute_times.fixed([1, 0]), "0"),
    "negative mean": (lambda: ag.compute_times.normal([1, -2]), "-2"),
    "server ready": (lambda: run(server=optax.sgd(0.1)), "lambda step_size"),
    "server arguments": (
        lambda: run(server=lambda lr: optax.sgd(lr)),
        "server=lambda step_size",
    ),
    "unused": (lambda: run(hyperparameters={"momentum": 0.9}), "must go with a server"),
    "lengths": (
        lambda: run(
            step_size=[1.0, 2.0],
            hyperparameters={"momentum": [0.1, 0.2, 0.3]},
            server=lambda step_size, momentum: optax.sgd(step_size, momentum),
        ),
        "different lengths",
    ),
    "metric name": (lambda: run(metrics={"loss": lambda x: 0.0}), "taken"),
    "nan features": (
        lambda: logistic(features=np.where(FEATURES == 3, np.nan, FEATURES)),
        "nan",
    ),
    "three classes": (lambda: logistic(labels=[0, 1, 2, 0, 1, 2]), "2"),
    "more workers than rows": (lambda: logistic(num_workers=7), "7"),
    "rows": (lambda: logistic(num_workers=4), "drop_last"),
    "gradients_per_step": (
        lambda: sweep(
            algorithms={
                "w": ag.Algorithm(name="w", gradients_per_step=4, restart="after_step")
            }
        ),
        "gradients_per_step",
    ),
    "num_gradients": (lambda: sweep(num_gradients=0), "num_gradients must be .* got 0"),
    "seed beyond 64 bits": (lambda: sweep(seeds=[2**63]), r"give seeds below 2\*\*63"),
    "beyond float64": (
        lambda: sweep(step_sizes=[10**400]),
        "step_size must be numbers that float64 can hold, got .1000",
    ),
    "too large": (
        lambda: sweep(step_sizes=[0.1, 1e60]),
        r"step_size\[1\] must be a .*float32.* got 1e\+60, which would be inf.*float64",
    ),
    "too small": (
        lambda: run(step_size=1e-50),
        r"step_size\[0\] must be a .*float32.* got 1e-50, which would be 0.0.*float64",
    ),
    "complex step": (lambda: run(step_size=np.array([1j])), "must be real numbers"),
    "params too large": (
        lambda: run(init_params=np.array([1e60, 0.0])),
        "params must be numbers that float32 can hold, got larger ones.*float64",
    ),
    "params complex": (
        lambda: run(init_params=np.array([1j, 0])),
        "params must be real numbers, .*complex128",
    ),
    "params words": (
        lambda: sweep(init_params=np.array(["a", "b"])),
        "must be real numbers, .*<U1",
    ),
    "clock name": (
        lambda: sweep(compute_times="fixed"),
        "compute_times must be .* got 'fixed'",
    ),
    "no clock": (
        lambda: sweep(compute_times=None),
        "compute_times must be .* got None",
    ),
    "means": (
        lambda: sweep(compute_times=[1, 2, 3]),
        r"fixed\(...\) of a number .* got 1",
    ),
    "labelled means": (
        lambda: sweep(compute_times={"a": 1}),
        "compute_times must be .* got 1",
    ),
    "no problem": (lambda: sweep(problem=None), "ag.quadratic.*got NoneType"),
    "data": (lambda: run(problem=(FEATURES, LABELS)), "ag.from_loss.*got tuple"),
    "metrics": (lambda: sweep(metrics=[jnp.sum]), "metrics must map names to func"),
    "vector metric": (
        lambda: run(metrics={"all": lambda x: x}),
        r"metric 'all' must return one real number.*shape=\(2,\)",
    ),
    "complex metric": (
        lambda: run(metrics={"m": lambda x: 1j * x[0]}, precision="float64"),
        "metric 'm' must return one real number.*complex128",
    ),
    "key metric": (
        lambda: run(metrics={"m": lambda x: jax.random.key(0)}),
        "metric 'm' must return one real number",
    ),
    "beyond float32": (
        lambda: run(problem=Quadratic.from_arrays(np.ones((N, 2)) * 1e39, LINEAR)),
        "beyond 3.4e.38, the largest of float32.*float64",
    ),
    "fewer workers": (
        lambda: run(schedule=from_arrays(num_workers=2)),
        "must have the problem's 3 workers, got 2.*num_workers",
    ),
    "plan": (lambda: ag.sweep(**SWEEP, widht=1), "no 'widht'.*mean 'width'"),
    "no pytree": (
        lambda: run(problem=Plain()),
        "register_data.* got Plain, which is no pytree",
    ),
    **{
        f"{action.__name__} {kind.__name__}": (
            lambda action=action, kind=kind: action(problem=kind()),
            f"frozen dataclass without slots.*register_data.*{kind.__name__}, .*{word}",
        )
        for action in (run, sweep)
        for kind, word in [(Named, "no dataclass"), (Slotted, "a class with slots")]
    },
    "start": (lambda: run(problem=Own(start=np.nan)), "params must be finite, got NaN"),
    "broadcast": (
        lambda: run(problem=Own(gradients_of=lambda x: x[0])),
        r"gradients must be like .*shape=\(2, 2\).* got .*shape=\(2,\)",
    ),
    "no loss": (
        lambda: run(problem=Own(values=lambda x: {"grad_norm": x[:, 0]})),
        "must be a dictionary with 'loss' and 'grad_norm'",
    ),
    "one loss": (
        lambda: run(problem=Own(values=lambda x: dict.fromkeys(NORMS, x[0, 0]))),
        "metric '(loss|grad_norm)' must be one real number per lane.*, got",
    ),
    "own name": (
        lambda: sweep(problem=Own(values=lambda x: dict.fromkeys(TIMED, x[:, 0]))),
        "metric name must differ .*, got 'time'",
    ),
    "same name": (
        lambda: sweep(
            problem=Own(values=lambda x: dict.fromkeys((*NORMS, "m"), x[:, 0])),
            metrics={"m": jnp.sum},
        ),
        "must differ from those of hyper.*, got 'm'",
    ),
    "no metric": (lambda: sweep(metrics={"m": lambda x: None}), "number.*got None"),
    "NumPy metric": (
        lambda: sweep(metrics={"m": lambda x: np.linalg.norm(x)}),
        "metric 'm' cannot be compiled.*jax.numpy",
    ),
    "server gives nothing": (
        lambda: sweep(server=lambda step_size: None),
        "must return an optax transformation.*got None",
    ),
    "server rounds": (
        lambda: run(server=lambda step_size: optax.sgd(float(step_size))),
        "server cannot be compiled: its arguments are traced.*float()",
    ),
    "server looks at iterates": (
        lambda: run(
            server=lambda step_size: optax.stateless(
                lambda u, x: -step_size * u if x[0] > 0 else u
            )
        ),
        "server cannot be compiled.*`if`",
    ),
    "server asks for a number": (
        lambda: run(server=lambda step_size: optax.sgd(float(step_size))),
        "schedule as a function of the count",
    ),
    "hyper-parameters": (lambda: run(hyperparameters=["b1"]), "must map names to val"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case):
    action, message = CASES[case]
    compiled = engine.advance._cache_size() + engine.start._cache_size()
    with pytest.raises((ValueError, TypeError), match=message):
        action()
    assert engine.advance._cache_size() + engine.start._cache_size() == compiled


@pytest.mark.parametrize("action", [run, sweep])
def test_a_method_without_steps_warns(action):
    waiting = ag.algorithms.fedbuff(gradients_per_step=50)
    given = {"algorithms": [waiting]}
    if action is run:
        given = {"schedule": ag.simulate(waiting, CLOCK, num_gradients=10)}
    match = "'fedbuff' makes no server step in 10"
    with pytest.warns(UserWarning, match=match) as caught:
        action(**given)
    # It points at the line that asked, here in this file.
    assert {warning.filename for warning in caught} == {__file__}


def everywhere(**changes):
    """The ways in that take names of metrics and hyper-parameters."""
    yield lambda: run(**changes)
    yield lambda: sweep(**changes)
    yield lambda: ag.Grid(**(SWEEP | changes)).dry_run()


@pytest.mark.parametrize(
    ("name", "message"),
    [(name, "taken, got {}; choose another") for name in sorted(OWN_NAMES)]
    + [
        (name, "must be a valid identifier .*letters, digits and underscores.*, got {}")
        for name in ("a/b", "", "1st", "a b", 3, None)
    ],
)
def test_bad_names(name, message):
    message = message.format(re.escape(repr(name)))
    for action in everywhere(metrics={name: jnp.sum}):
        with pytest.raises(ValueError, match=f"metric name .*{message}"):
            action()
    # Not of the server, which would tell that it has no such argument.
    server = lambda **values: optax.sgd(values["step_size"])  # noqa: E731
    for action in everywhere(hyperparameters={name: [0.5]}, server=server):
        with pytest.raises(ValueError, match=f"hyper-parameter name .*{message}"):
            action()


def test_a_name_for_two():
    server = lambda step_size, size: optax.sgd(step_size * size)  # noqa: E731
    for action in everywhere(
        hyperparameters={"size": [0.5]}, server=server, metrics={"size": jnp.sum}
    ):
        with pytest.raises(
            ValueError, match=r"must differ from those of hyper.*got 'size'"
        ):
            action()


def test_own_names_are_all_names(tmp_path):
    result = sweep(directory=tmp_path)
    (lane,) = (tmp_path / "lanes").iterdir()
    with np.load(lane) as file:
        for names in (result.variables, result.dims, file):
            assert set(names) <= OWN_NAMES
    assert {*ag.best(result).variables, *best_table(result).columns} <= OWN_NAMES
    keywords = set(inspect.signature(np.savez).parameters) - {"args", "kwds"}
    assert keywords <= OWN_NAMES


@pytest.mark.parametrize("huge", [10**6, 10**30])
@pytest.mark.parametrize("name", ["record_every", "width"])
def test_more_than_all_is_all(name, huge):
    """Numbers of arrivals beyond the last one; a wave so wide would fill the memory."""
    asked = ag.sweep_config(sweep(**{name: huge}))
    assert asked[name] == SWEEP["num_gradients"]
    whole, cut = (run(**{name: n}) for n in (len(SCHEDULE), huge))
    np.testing.assert_array_equal(cut.metrics["loss"], whole.metrics["loss"])
    assert cut.gradients.tolist() == whole.gradients.tolist()


def test_float64_holds_more():
    wide = {"precision": "float64", "step_size": [1e60, 1e-50]}
    assert run(**wide, init_params=np.full(2, 1e60)).status[1] == "ok"


def test_numpy_integers_are_batch_sizes():
    problem = logistic(batch_size=np.int64(2))
    assert type(problem.batch_size) is int
    assert run(problem=problem).status == "ok"


def test_truncated_schedule_file(tmp_path):
    path = tmp_path / "s.npz"
    SCHEDULE.save(path)
    assert ag.Schedule.load(path) == SCHEDULE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"s\.npz"):
        ag.Schedule.load(path)


def test_user_flags_are_left_alone():
    before = jax.config.jax_enable_x64
    run(precision="float64")
    assert jax.config.jax_enable_x64 == before


def test_a_gradient_through_run_points_to_runner():
    def last(step_size):
        return run(step_size=step_size).metrics["loss"][-1]

    with pytest.raises(TypeError, match=r"take ag\.runner"):
        jax.grad(last)(0.1)


def test_a_line_search_is_refused_in_words():
    with pytest.raises(TypeError, match=r"asks for the loss along a line"):
        run(server=lambda step_size: optax.lbfgs(step_size))


def test_ten_classes_point_to_the_problem_for_them():
    with pytest.raises(ValueError, match="multinomial_logistic"):
        logistic(labels=[0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"server": "adam"}, "such as server=lambda step_size: optax.adam(step_size)"),
        ({"compute_times": [1.0, 2.0]}, "one number per worker is written fixed("),
        ({"compute_times": "fixed"}, "by name: compute_times.get("),
        *(
            ({name: 1}, f"no {name!r}, but ag.tune does")
            for name in ("until", "extend")
        ),
        ({"reord_every": 1}, "no 'reord_every' (did you mean 'record_every'?)"),
    ],
)
def test_slips_are_told_what_to_write(given, words):
    fixed = ag.compute_times.fixed([1.0, 2.0])
    grid = {"algorithms": "sgd", "compute_times": fixed, "step_sizes": 0.1}
    with pytest.raises(TypeError, match=re.escape(words)):
        ag.sweep(ag.quadratic(2, 2), num_gradients=5, **{**grid, **given})


def test_what_tune_alone_takes_is_named():
    alone = {*inspect.signature(ag.tune).parameters}
    alone -= {*inspect.signature(ag.sweep).parameters, "arguments"}
    assert alone == {*_OF_TUNE}
