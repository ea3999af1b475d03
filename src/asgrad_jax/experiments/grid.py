"""The grid of a sweep: its arguments checked, labelled and simulated."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax import algorithms as algorithm_registry
from asgrad_jax._util.checks import check_count
from asgrad_jax.engine.server import Params, ServerFactory
from asgrad_jax.experiments.checks import (
    check_budget,
    check_hyper,
    check_params,
    check_precision,
    check_problem,
    check_values,
    warn_without_steps,
)
from asgrad_jax.experiments.describe import describe, describe_problem
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.experiments.fingerprint import Arrays, content_hash
from asgrad_jax.experiments.functions import check_functions
from asgrad_jax.kernels import switched_on
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.simulation.durations import check_compute_times
from asgrad_jax.simulation.simulate import simulate_many


@dataclass(frozen=True)
class Grid:
    """Everything that a sweep runs.

    Attributes:
        experiment: what all lanes share.
        algorithms: labels, the first dimension of the schedules.
        compute_times: labels, the second dimension.
        seeds: the third dimension.
        schedules: one per combination, in this order.
        axes: name -> values of every hyper-parameter, `step_size` first.
        asked: the arguments as plain values, for the result and the run's folder.
    """

    experiment: Experiment
    algorithms: list[str]
    compute_times: list[str]
    seeds: list[int]
    schedules: list[Schedule]
    axes: dict[str, np.ndarray]
    asked: dict[str, Any]

    @property
    def schedule_seeds(self) -> list[int]:
        """The seed of every schedule."""
        return self.seeds * (len(self.algorithms) * len(self.compute_times))

    @property
    def hyper(self) -> dict[str, np.ndarray]:
        """name -> [S] values, one per lane: the product of the axes."""
        mesh = np.meshgrid(*self.axes.values(), indexing="ij")
        return {n: m.reshape(-1) for n, m in zip(self.axes, mesh, strict=True)}


def make_grid(
    problem,
    *,
    algorithms: Sequence[Any] | Mapping[str, Any],
    compute_times: Any,
    step_sizes: ArrayLike,
    num_gradients: int,
    seeds: Iterable[int] = (0,),
    record_every: int | None = None,
    params: Params | None = None,
    server: ServerFactory | None = None,
    hyperparameters: Mapping[str, ArrayLike] | None = None,
    metrics: Mapping[str, Callable] | None = None,
    precision: str = "float32",
    width: int | None = None,
    kernels: bool = True,
    memory_budget: float | None = None,
) -> Grid:
    """Checks the arguments of `sweep`, which see, and simulates the schedules."""
    check_problem(problem)
    check_precision(precision)
    check_budget(memory_budget)
    arrivals = check_count("num_gradients", num_gradients)
    if record_every is None:
        record_every = max(1, arrivals // 100)
    record_every = min(check_count("record_every", record_every), arrivals)
    if width is not None:
        width = min(check_count("width", width), arrivals)
    seeds = _seeds(seeds)
    clocks = _labelled("compute_times", compute_times, _clock, _clock_label)
    methods = _labelled(
        "algorithms",
        algorithms,
        algorithm_registry.get,
        lambda algorithm: algorithm.name,
    )
    for label, clock in clocks.items():
        if clock.num_workers != problem.num_workers:
            raise ValueError(
                f"compute times {label!r} are for {clock.num_workers} workers, the "
                f"problem has {problem.num_workers}; build both for the same number"
            )
    given = check_hyper(step_sizes, hyperparameters)
    axes = {
        name: _distinct(name, check_values(name, values, precision))
        for name, values in given.items()
    }
    start = check_params(problem, params, precision)
    arrays: Arrays = {}  # of closures, each hashed once
    code, user_metrics = check_functions(
        problem, server, metrics, axes, start, precision, arrays
    )

    tasks = list(itertools.product(methods, clocks, seeds))
    schedules = simulate_many(
        [(methods[m], clocks[c], seed) for m, c, seed in tasks],
        num_gradients=arrivals,
    )
    for (label, _, _), schedule in zip(tasks, schedules, strict=True):
        warn_without_steps(label, schedule, stacklevel=3)
    asked = {
        "algorithms": {k: describe(v) for k, v in methods.items()},
        "compute_times": {k: describe(v) for k, v in clocks.items()},
        "problem": {
            **describe_problem(problem, arrays),
            "num_workers": int(problem.num_workers),
        },
        "params_hash": content_hash(start),
        "server": describe(server, arrays),
        "metrics": {name: describe(f, arrays) for name, f in user_metrics},
        "hyperparameters": {k: v.tolist() for k, v in axes.items()},
        "seeds": seeds,
        "num_gradients": arrivals,
        "record_every": record_every,
        "precision": precision,
        "width": width,
    }
    experiment = Experiment(
        problem=problem,
        params=start,
        record_every=record_every,
        server=server,
        metrics=user_metrics,
        code=code,
        precision=precision,
        width=width,
        kernels=kernels and switched_on(),
        memory_budget=memory_budget,
        finals=False,
    )
    _check_writable(asked)
    return Grid(
        experiment=experiment,
        algorithms=list(methods),
        compute_times=list(clocks),
        seeds=seeds,
        schedules=schedules,
        axes=axes,
        asked=asked,
    )


def _check_writable(asked: dict[str, Any]) -> None:
    """Raises before the run if the result could not carry its config."""
    try:
        json.dumps(asked)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the config of this sweep cannot be written as JSON ({error}); `config()` "
            "of an algorithm or a clock of your own must return plain values"
        ) from error


def _listed(values) -> list:
    """Returns a list; a single name or object counts as one."""
    if isinstance(values, Iterable) and not isinstance(values, str):
        return list(values)
    return [values]


def _labelled(
    what: str,
    values: Any,
    checked: Callable[[Any], Any],
    label: Callable[[Any], str],
) -> dict[str, Any]:
    """Returns label -> checked value; raises if there is none or two share a label."""
    if isinstance(values, Mapping):
        named = {name: checked(value) for name, value in values.items()}
    else:
        listed = [checked(value) for value in _listed(values)]
        named = {label(value): value for value in listed}
        if len(named) < len(listed):
            raise ValueError(
                f"two of the {what} have the same label among "
                f"{[label(v) for v in listed]}; give a mapping from labels instead"
            )
    if not named:
        raise ValueError(f"{what} is empty; give at least one")
    return named


def _clock(clock: Any) -> Any:
    check_compute_times(clock)
    return clock


def _clock_label(clock: Any) -> str:
    return getattr(clock, "name", type(clock).__name__)


def _seeds(seeds: Iterable[int]) -> list[int]:
    if not isinstance(seeds, Iterable):
        raise TypeError(f"seeds must be a list such as range(5), got {seeds!r}")
    checked = [check_count("seed", seed, minimum=0) for seed in seeds]
    if checked and max(checked) >= 2**63:
        raise ValueError(
            f"seed={max(checked)} does not fit the 64 bits that it has in results; "
            "give seeds below 2**63"
        )
    if not checked:
        raise ValueError("seeds is empty; give at least one")
    if len(set(checked)) < len(checked):
        raise ValueError(f"seeds {checked} has a value twice")
    return checked


def _distinct(name: str, values: np.ndarray) -> np.ndarray:
    if len(np.unique(values)) < len(values):
        raise ValueError(f"{name} has a value twice: {values.tolist()}")
    return values
