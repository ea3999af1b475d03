"""The grid of a sweep: its arguments, checked and labelled; and its dry run."""

import functools
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from asgrad_jax import algorithms as algorithm_registry
from asgrad_jax._util.checks import check_count
from asgrad_jax._util.html import card, preformatted, shown
from asgrad_jax._util.settings import fixed, recorded
from asgrad_jax._util.short_repr import ShortRepr
from asgrad_jax._util.sizes import check_rows
from asgrad_jax.engine.server import Params, ServerFactory
from asgrad_jax.experiments.checks import (
    check_budget,
    check_buffer,
    check_functions,
    check_hyper,
    check_params,
    check_precision,
    check_problem,
    check_values,
    warn_without_steps,
)
from asgrad_jax.experiments.execute import ProgramPlan, counted, plan_programs
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.experiments.fingerprint import (
    Arrays,
    content_hash,
    describe,
    describe_problem,
)
from asgrad_jax.experiments.labels import label_text
from asgrad_jax.kernels import switched_on
from asgrad_jax.problems.problem import Problem
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.server_rule import ServerRule
from asgrad_jax.simulation.durations import check_compute_times
from asgrad_jax.simulation.simulate import simulate_many


@dataclass(frozen=True, repr=False)
class Grid(ShortRepr):
    """Algorithms x compute times x seeds x hyper-parameters on one problem, checked.

    The arguments of a sweep: `sweep` takes them, or a grid that was made of them. Every
    (algorithm, compute times, seed) is a schedule; every combination of step size and
    further hyper-parameters is a lane on each schedule. All lanes of a schedule use the
    same delays and the same mini-batch noise, and all algorithms the same compute times
    at the same seed. Nothing is simulated before `schedules` is asked for.

    Args:
        problem: what `logistic_regression`, `quadratic` or `from_loss` returned, or a
            `Problem` of another class.
        algorithms: names (see `algorithms.names()`) or algorithm objects, or a mapping
            from labels to these. A label is a text; a number becomes its text ("0.5"),
            a tuple the texts of its entries, joined by ", ".
        compute_times: one compute-time model, a list, or a mapping from labels.
        step_sizes: [G] step sizes gamma.
        num_gradients: A, gradients per lane.
        seeds: seeds of schedules and mini-batch noise.
        record_every: gradients between two records; A / 100 where left out.
        init_params: x_0, a pytree like `problem.init_params()`, which is the default.
        server: hyper-parameters, by keyword, -> optax transformation; None is plain
            SGD. See `run`.
        hyperparameters: name -> values of further arguments of `server`; each becomes
            a dimension of the result.
        metrics: name -> function of the iterate to a scalar, in JAX; with a further
            parameter `state` of the server's state too. See `run`.
        metrics_every: name -> k, for metrics that take long: computed at records 0, k,
            2k, ... and the last alone, NaN at the others in the result.
        precision: "float32" or "float64".
        width: largest number of arrivals whose gradients are computed together; the
            iterates are the same to rounding. None chooses.
        kernels: False leaves the compiled CPU kernels out, and plain JAX computes the
            same to rounding (ASGRAD_KERNELS=0 does so for a whole process).
        buffer: "bfloat16" for the iterates that are still to be read; see `run`.
        memory_budget: bytes that the run may use on the device; most of what is free
            where left out. Lanes are cut into calls that fit.

    Raises:
        ValueError, TypeError: for bad input.

    Example:
        >>> import asgrad_jax as ag
        >>> grid = ag.Grid(
        ...     ag.quadratic(num_workers=4, num_features=3), algorithms="pure_async",
        ...     compute_times=ag.compute_times.fixed([1, 2, 3, 4]),
        ...     step_sizes=[0.1, 0.2], seeds=range(3), num_gradients=100)
        >>> len(grid.schedules), grid.lanes["step_size"].tolist()
        (3, [0.1, 0.2])
        >>> print(grid.dry_run())
        3 schedules x 2 lanes, 100 gradients each: 600 gradients in 3 calls
        ...
    """

    # `Any` where the checked value has another type than the given one: dicts from
    # labels, lists, arrays.
    problem: Problem
    _: KW_ONLY
    algorithms: Any
    compute_times: Any
    step_sizes: Any
    num_gradients: int
    seeds: Any = (0,)
    record_every: Any = None
    init_params: Params | None = None
    server: ServerFactory | None = None
    hyperparameters: Any = None
    metrics: Any = None
    metrics_every: Any = None
    precision: str = "float32"
    width: int | None = None
    kernels: bool = True
    buffer: str | None = None
    memory_budget: float | None = None

    def __post_init__(self) -> None:
        problem, precision = self.problem, self.precision
        check_problem(problem)
        check_precision(precision)
        check_budget(self.memory_budget)
        arrivals = check_rows(self.num_gradients)
        every, width = self.record_every, self.width
        if every is None:
            every = max(1, arrivals // 100)
        if width is not None:
            width = min(check_count("width", width), arrivals)
        times = _labelled("compute_times", self.compute_times, _sampler, _label)
        for label, sampler in times.items():
            if sampler.num_workers != problem.num_workers:
                raise ValueError(
                    f"compute_times {label!r} must be for {problem.num_workers} "
                    f"workers, as the problem is, got {sampler.num_workers}; build "
                    "both for the same number"
                )
        get = algorithm_registry.get
        start = check_params(problem, self.init_params, precision)
        given = check_hyper(self.step_sizes, self.hyperparameters)
        axes = {
            name: _distinct(name, check_values(name, values, precision))
            for name, values in given.items()
        }
        server, metrics, strides = check_functions(
            problem,
            self.server,
            self.metrics,
            self.metrics_every,
            axes,
            start,
            precision,
        )
        checked = {
            "num_gradients": arrivals,
            "record_every": min(check_count("record_every", every), arrivals),
            "width": width,
            "seeds": _seeds(self.seeds),
            "compute_times": times,
            "algorithms": _labelled("algorithms", self.algorithms, get, _label),
            "step_sizes": axes["step_size"],
            "hyperparameters": {k: v for k, v in axes.items() if k != "step_size"},
            "init_params": start,
            "server": server,
            "metrics": dict(metrics),
            "metrics_every": dict(strides),
            "kernels": self.kernels and switched_on(),
            "buffer": check_buffer(self.buffer),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @functools.cached_property
    def schedules(self) -> list[Schedule]:
        """One per (algorithm, compute times, seed), in this order, simulated."""
        tasks = list(itertools.product(self.algorithms, self.compute_times, self.seeds))
        schedules = simulate_many(
            [(self.algorithms[m], self.compute_times[c], seed) for m, c, seed in tasks],
            num_gradients=self.num_gradients,
        )
        for (label, _, _), schedule in zip(tasks, schedules, strict=True):
            warn_without_steps(label, schedule, stacklevel=5)
        return schedules

    @property
    def schedule_seeds(self) -> list[int]:
        """The seed of every schedule."""
        return self.seeds * (len(self.algorithms) * len(self.compute_times))

    @property
    def axes(self) -> dict[str, np.ndarray]:
        """name -> values of every hyper-parameter, `step_size` first."""
        return {"step_size": self.step_sizes, **self.hyperparameters}

    @property
    def lanes(self) -> dict[str, np.ndarray]:
        """name -> [S] values, one per lane: the product of the axes."""
        return product_of(self.axes)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments as plain values, for the result and the run's folder.

        And JAX's settings that change numbers, where they are not the usual ones.
        """
        # Absent by default, so that folders from before this key go on.
        return {**self._described, **({"jax": found} if (found := recorded()) else {})}

    @functools.cached_property
    def _described(self) -> dict[str, Any]:
        arrays: Arrays = {}  # of closures, each hashed once
        config = {
            "algorithms": {k: describe(v) for k, v in self.algorithms.items()},
            "compute_times": {k: describe(v) for k, v in self.compute_times.items()},
            "problem": {
                **describe_problem(self.problem, arrays),
                "num_workers": int(self.problem.num_workers),
            },
            "params_hash": content_hash(self.init_params),
            "server": describe(self.server, arrays),
            "metrics": {name: describe(f, arrays) for name, f in self.metrics.items()},
            "hyperparameters": {k: v.tolist() for k, v in self.axes.items()},
            "seeds": self.seeds,
            "num_gradients": self.num_gradients,
            "record_every": self.record_every,
            "precision": self.precision,
            "width": self.width,
        }
        if self.metrics_every:
            config["metrics_every"] = self.metrics_every
        if self.buffer is not None:
            config["buffer"] = self.buffer
        transforms = [getattr(m, "transforms", ()) for m in self.algorithms.values()]
        rules = [r for t in transforms for r in t if isinstance(r, ServerRule)]
        if rules:  # a user's rule may do something else under the same name
            config["server_rules"] = {
                rule.name: describe(rule.function, arrays) for rule in rules
            }
        _check_writable(config)
        return config

    @property
    def experiment(self) -> Experiment:
        """What all lanes share, as the engine takes it."""
        return Experiment(
            problem=self.problem,
            init_params=self.init_params,
            record_every=self.record_every,
            server=self.server,
            metrics=tuple(self.metrics.items()),
            precision=self.precision,
            width=self.width,
            kernels=self.kernels,
            buffer=self.buffer,
            strides=tuple(self.metrics_every.items()),
            memory_budget=self.memory_budget,
            finals=False,
        ).by_placement()

    @fixed()
    def dry_run(self) -> "DryRun":
        """Says what the sweep would need, how it would be cut and why; runs nothing.

        Returns:
            The plan; printing it shows a table.

        Raises:
            MemoryError: if not even one lane fits the budget.
        """
        return DryRun(
            schedules=len(self.schedules),
            lanes=len(self.lanes["step_size"]),
            gradients=self.num_gradients,
            programs=plan_programs(
                self.experiment, self.schedules, self.schedule_seeds, self.lanes
            ),
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the axes, and how many runs they make."""
        named = {"algorithms": [*self.algorithms], "seeds": self.seeds}
        axes = {**named, "compute_times": [*self.compute_times], **self.axes}
        rows = [(name, _some(values)) for name, values in axes.items()]
        runs = math.prod(map(len, axes.values()))
        given = [
            ("problem", type(self.problem).__name__),
            ("gradients per run", self.num_gradients),
            ("runs", runs),
        ]
        return card("Grid", [*rows, *given])


def product_of(axes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns name -> [S] values of all combinations of axes, the last one fastest.

    Example:
        >>> product_of({"a": np.array([1, 2]), "b": np.array([5, 6])})["a"].tolist()
        [1, 1, 2, 2]
    """
    mesh = np.meshgrid(*axes.values(), indexing="ij")
    return {n: m.reshape(-1) for n, m in zip(axes, mesh, strict=True)}


@dataclass(frozen=True)
class DryRun:
    """How a sweep would be cut into calls, what each needs, and why.

    Attributes:
        schedules: K, over all algorithms, compute times and seeds.
        lanes: S, combinations of hyper-parameters.
        gradients: A, per schedule and lane.
        programs: how each compiled program would be run, and why.
    """

    schedules: int
    lanes: int
    gradients: int
    programs: list[ProgramPlan]

    def __str__(self) -> str:
        calls = sum(program.calls for program in self.programs)
        total = self.schedules * self.lanes * self.gradients
        head = (
            f"{counted(self.schedules, 'schedule')} x {counted(self.lanes, 'lane')}, "
            f"{counted(self.gradients, 'gradient')} each: "
            f"{counted(total, 'gradient')} in {counted(calls, 'call')}"
        )
        return "\n".join([head, *map(str, self.programs)])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return preformatted(str(self))


def _some(values: Any) -> str:
    """The entries of an axis, cut where they are many."""
    most, texts = 8, [shown(value) for value in values]
    more = f", ... ({len(texts):,})" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def _check_writable(asked: dict[str, Any]) -> None:
    """Raises before the run if the result could not carry its config."""
    try:
        json.dumps(asked)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the config of this sweep cannot be written as JSON ({error}); `config()` "
            "of your own algorithm or compute times must return plain values"
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
    label: Callable[[Any], Any],
) -> dict[str, Any]:
    """Returns label -> checked value; raises if there is none or two share a label."""
    if isinstance(values, Mapping):
        given = [(name, checked(value)) for name, value in values.items()]
    else:
        objects = [checked(value) for value in _listed(values)]
        given = [(label(value), value) for value in objects]
    named: dict[str, Any] = {}
    came_from: dict[str, Any] = {}
    for name, value in given:
        text = label_text(what, name)
        if text in named:
            raise ValueError(
                f"the labels of {what} must differ, got {text!r} twice, from "
                f"{came_from[text]!r} and {name!r}; give a mapping from other labels"
            )
        named[text], came_from[text] = value, name
    if not named:
        raise ValueError(f"{what} must have at least one entry, got none")
    return named


def _sampler(compute_times: Any) -> Any:
    check_compute_times(compute_times)
    return compute_times


def _label(value: Any) -> str:
    return getattr(value, "name", type(value).__name__)


def _seeds(seeds: Iterable[int]) -> list[int]:
    if not isinstance(seeds, Iterable) or isinstance(seeds, str | bytes):
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
