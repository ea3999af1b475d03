"""Wrong values for every argument of every public function: refused in our words."""

import inspect
import math
import re
import traceback

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.theory.measures import RunMeasures

TIMES = ag.compute_times.fixed([1, 2])
PROBLEM = ag.quadratic(num_workers=2, num_features=2)
SCHEDULE = ag.simulate("pure_async", TIMES, num_gradients=60)
DATA = np.random.default_rng(0).normal(size=(8, 2))
SIGNS = np.array([1.0, -1.0] * 4)

WRONG = {
    "None": None,
    "3.0": 3.0,
    "text": "x",
    "list": [1],
    "object": object(),
    "nan": math.nan,
    "inf": math.inf,
    "-1": -1,
    "10**400": 10**400,
    "2**64": 2**64,
    "[1, inf]": [1, math.inf],
    "True": True,
    "{}": {},
}
# Checked where arrays are made, in words of their own.
NOT_TRIED = {"gradients"}
# Our words, and those of Python and its libraries where nobody checked.
OURS = re.compile(
    r"must |is damaged|unknown |there is no |does not exist|give |needs |takes no |"
    r"is a folder"
)
STRANGE = re.compile(
    r"unsupported operand|not supported between|object is not|object has no|"
    r"has no attribute|argument must be|arg \d must|cannot unpack|object cannot be|"
    r"too large to convert|out of bounds|truth value|could not convert|must be real "
    r"number, not|expected str, bytes|integer argument expected|an integer is required"
)


def result():
    return ag.sweep(
        PROBLEM,
        algorithms="pure_async",
        compute_times=TIMES,
        step_sizes=[0.05, 0.1],
        num_gradients=60,
    )


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """name -> function and arguments that are right."""
    folder = tmp_path_factory.mktemp("files")
    swept = result()
    figure = ag.plot.step_sizes(swept)
    SCHEDULE.save(folder / "schedule.npz")
    ag.save(swept, folder / "result.nc")
    (folder / "data").write_text("1 1:1\n2 2:1\n")
    jobs = [[0, 0.0, 1.0], [1, 0.0, 2.0]]
    theory, plot, datasets = ag.theory, ag.plot, ag.datasets
    gradients = np.eye(2)
    sizes = theory.step_sizes(PROBLEM, SCHEDULE)
    certificate = theory.certificate(PROBLEM, SCHEDULE, 0.01)
    found = [
        (ag.plan_slots, dict(schedule=SCHEDULE, width=2, record_every=4)),
        (
            ag.simulate,
            dict(algorithm="pure_async", compute_times=TIMES, num_gradients=9, seed=0),
        ),
        (
            ag.schedule_from_trace,
            dict(path_or_rows=jobs, num_workers=2, gradients_per_step=1),
        ),
        (ag.trace_durations, dict(path_or_rows=jobs, num_workers=2)),
        (
            ag.run,
            dict(
                problem=PROBLEM,
                schedule=SCHEDULE,
                step_size=0.1,
                seed=0,
                record_every=20,
                precision="float32",
                width=1,
            ),
        ),
        (
            ag.Grid,
            dict(
                problem=PROBLEM,
                algorithms="pure_async",
                compute_times=TIMES,
                step_sizes=[0.1],
                num_gradients=20,
                seeds=[0],
                record_every=5,
                hyperparameters=None,
                metrics=None,
                precision="float32",
                width=1,
                kernels=True,
                memory_budget=1e9,
            ),
        ),
        (ag.best, dict(result=swept, metric="loss", maximize=False)),
        (ag.tail_mean, dict(result=swept, metric="loss")),
        (ag.sweep_config, dict(result=swept)),
        (ag.save, dict(result=swept, path=folder / "again.nc")),
        (ag.load, dict(path=folder / "result.nc")),
        (ag.Schedule.load, dict(path=folder / "schedule.npz")),
        (
            ag.time_to_accuracy,
            dict(
                result=swept,
                eps=0.1,
                metric="grad_norm",
                goal=None,
                maximize=False,
                sustained=True,
            ),
        ),
        (
            ag.logistic_regression,
            dict(
                features=DATA,
                labels=SIGNS,
                num_workers=2,
                batch_size=2,
                strength=0.1,
                partition_seed=0,
            ),
        ),
        (
            plot.convergence,
            dict(
                result=swept,
                metric="loss",
                maximize=False,
                against=["time"],
                compute_times="fixed",
                title="a",
                axes=None,
            ),
        ),
        (
            plot.step_sizes,
            dict(
                result=swept,
                metric="loss",
                maximize=False,
                compute_times="fixed",
                title="a",
                axes=None,
            ),
        ),
        (plot.schedule, dict(schedule=SCHEDULE, title="a", axes=None)),
        (
            plot.correlation_profile,
            dict(profiles=SCHEDULE, problem=PROBLEM, title="a", axes=None),
        ),
        (plot.certificate, dict(certificates=certificate, title="a", axes=None)),
        (
            plot.step_size_advice,
            dict(
                result=swept,
                advice={"pure_async": sizes},
                metric="loss",
                maximize=False,
                title="a",
                compute_times="fixed",
                axes=None,
            ),
        ),
        (
            plot.time_to_accuracy,
            dict(
                result=swept,
                compute_times=TIMES,
                problem=PROBLEM,
                eps=0.1,
                sustained=False,
                title="a",
                axes=None,
            ),
        ),
        (plot.save, dict(figure=figure, path=folder / "figure.png", dpi=50)),
        (
            datasets.load_libsvm,
            dict(
                path_or_name=folder / "data",
                num_features=2,
                zero_based=False,
                classes=(1, 2),
            ),
        ),
        (datasets.digits_binary, dict(negative=[1], positive=[2])),
        (
            datasets.synthetic,
            dict(
                alpha=1,
                beta=1,
                num_workers=2,
                rows_per_worker=2,
                num_features=2,
                iid=False,
                seed=0,
            ),
        ),
        (datasets.labels_to_signs, dict(labels=[1, 2], classes=(1, 2))),
        (theory.delays, dict(schedules=SCHEDULE)),
        (theory.assignment_order, dict(schedule=SCHEDULE)),
        (theory.constants, dict(problem=PROBLEM)),
        (theory.heterogeneity, dict(problem=PROBLEM)),
        (theory.smoothness, dict(problem=PROBLEM)),
        (theory.noise_variance, dict(problem=PROBLEM, draws=4, seed=0)),
        (theory.certificate, dict(problem=PROBLEM, schedule=SCHEDULE, step_size=0.01)),
        (
            theory.correlation_profile,
            dict(schedules=SCHEDULE, gradients=gradients, chunk_lengths=[1, 2]),
        ),
        (theory.step_sizes, dict(problem=PROBLEM, schedule=SCHEDULE)),
        (
            theory.predicted_times,
            dict(eps=0.1, compute_times=TIMES, smoothness=1.0, gap=1.0, noise_sq=0.1),
        ),
        (theory.report, dict(problem=PROBLEM, schedule=SCHEDULE, eps=0.1)),
    ]
    return {f"{f.__module__}.{f.__qualname__}": (f, given) for f, given in found}


def families():
    """Compute times with the arguments of their examples' means, all others default."""
    for name in ag.compute_times.names():
        make = getattr(ag.compute_times, name)
        yield name, make, inspect.signature(make).parameters


def complaint(function, arguments):
    """What is wrong with how a call refuses, or nothing."""
    try:
        function(**arguments)
    except (TypeError, ValueError, FileNotFoundError, IsADirectoryError) as error:
        words = str(error)
        last = traceback.extract_tb(error.__traceback__)[-1]
        if STRANGE.search(words) or not OURS.search(words):
            return f"{type(error).__name__}: {words[:150]} ({last.name})"
        return None
    except MemoryError as error:
        return None if "memory" in str(error) else f"MemoryError: {error}"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename}:{last.lineno}"
        return f"{type(error).__name__}: {str(error)[:150]} ({place})"
    return None


@pytest.mark.filterwarnings("ignore")
def test_wrong_values_are_refused_in_our_words(calls, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = []
    for name, (function, right) in calls.items():
        for argument in right.keys() - NOT_TRIED:
            for label, value in WRONG.items():
                if said := complaint(function, right | {argument: value}):
                    found.append(f"{name}({argument}={label}): {said}")
    assert not found, "\n".join(found)


PIECES = {
    "durations": [1.0, 2.0],
    "communication": [1.0, 2.0],
    "edges": [0.0, 10.0],
    "power": [[1.0], [0.5]],
    "zeta_sq_per_worker": [0.1, 0.2],
    "tau_avg_per_worker": [1.0, 2.0],
    "num_gradients": 10_000,
    "measures": RunMeasures(*[0.0] * 8),
}


def right_value(name, parameter):
    """A value of an argument of a bound."""
    if name in PIECES:
        return PIECES[name]
    if parameter.default is not parameter.empty:
        return parameter.default
    return 2 if parameter.annotation is int else 0.5


@pytest.mark.filterwarnings("ignore")
def test_wrong_values_of_bounds():
    found = []
    for name in ag.theory.bounds.names():
        function = ag.theory.bounds.get(name).function
        parameters = inspect.signature(function).parameters
        right = {key: right_value(key, p) for key, p in parameters.items()}
        for key, parameter in parameters.items():
            for label, value in WRONG.items():
                if said := complaint(function, right | {key: value}):
                    found.append(f"{name}({key}={label}): {said}")
            if parameter.annotation is bool:
                with pytest.raises(TypeError, match=f"{key} must be True or False"):
                    function(**(right | {key: [1, math.inf]}))
    assert not found, "\n".join(found)


@pytest.mark.filterwarnings("ignore")
def test_wrong_values_of_compute_times():
    found = []
    for name, make, parameters in families():
        for argument in parameters:
            for label, value in WRONG.items():
                right = {
                    key: [1.0, 2.0]
                    for key, p in parameters.items()
                    if p.default is p.empty
                    and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
                }
                if said := complaint(make, right | {argument: value}):
                    found.append(f"{name}({argument}={label}): {said}")
    assert not found, "\n".join(found)
