"""`sweep`: algorithms x compute times x seeds x hyper-parameters in one program."""

import contextlib
import datetime
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from tqdm import tqdm

from asgrad_jax.base import provenance
from asgrad_jax.plan import algorithms as algorithm_registry
from asgrad_jax.plan.schedule import Schedule
from asgrad_jax.plan.simulate import simulate_many
from asgrad_jax.run.describe import content_hash, describe, describe_problem
from asgrad_jax.run.execute import Experiment
from asgrad_jax.run.inputs import (
    check_count,
    check_metrics,
    check_params,
    check_precision,
    check_server,
    check_values,
)
from asgrad_jax.run.results import SCHEDULE_DIMS, STATUS
from asgrad_jax.run.resume import execute_missing
from asgrad_jax.run.server import Params, ServerFactory
from asgrad_jax.run.store import Store
from asgrad_jax.run.trajectory import lane_status, record_axes


def sweep(
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
    width: int = 1,
    directory: str | os.PathLike | None = None,
    memory_budget: int | None = None,
    progress: bool | Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Runs a whole grid of experiments as one compiled program.

    Every (algorithm, compute-time model, seed) is a schedule; every combination of step
    size and further hyper-parameters is a lane on each schedule. All lanes of a
    schedule use the same delays and the same mini-batch noise, and all algorithms the
    same compute times at the same seed.

    Args:
        problem: what `logistic_regression`, `quadratic` or `from_loss` returned.
        algorithms: names (see `algorithms.names()`) or algorithm objects, or a mapping
            from labels to these.
        compute_times: one compute-time model, a list, or a mapping from labels.
        step_sizes: [G] step sizes gamma.
        num_gradients: A, gradients per lane.
        seeds: seeds of schedules and mini-batch noise.
        record_every: gradients between two records; A / 100 where left out.
        params: x_0, a pytree like `problem.init_params()`, which is the default.
        server: hyper-parameters, by keyword, -> optax transformation; None is plain
            SGD. See `run`.
        hyperparameters: name -> values of further arguments of `server`; each becomes
            a dimension of the result.
        metrics: name -> function of the iterate to a scalar, in JAX.
        precision: "float32" or "float64".
        width: largest number of arrivals whose gradients are computed together.
        directory: a folder for finished lanes and checkpoints. Running the same sweep
            there again goes on where it was, with the same bits; added algorithms,
            seeds or step sizes run only what is missing.
        memory_budget: bytes that the run may use on the device; most of what is free
            where left out. Lanes are cut into calls that fit.
        progress: True shows a bar, False none, None shows one on a terminal; a
            function is called with (gradients done, gradients in all), over all lanes.

    Returns:
        A dataset with dimensions (algorithm, compute_times, seed, step_size, further
        hyper-parameters, record). Variables: `loss`, `grad_norm` and the user's
        metrics; `status` (0 ok, 1 nonfinite) and `first_bad_record` per lane;
        `schedule_hash`, `tau_max`, `tau_avg` and `discarded` per schedule. Coordinates:
        `gradients` [record], `server_steps` and `time` (virtual) per schedule and
        record. Attributes: `config`, `versions`, `device`, `commit`, `created`.

    Raises:
        ValueError, TypeError: for bad input, before anything is compiled, and for a
            directory that holds a run with another config.
        MemoryError: if not even one lane fits the budget.

    Example:
        >>> import asgrad_jax as ag
        >>> problem = ag.quadratic(num_workers=4, num_features=3, seed=0)
        >>> result = ag.sweep(
        ...     problem, algorithms=["pure_async", "shuffled_async"],
        ...     compute_times=ag.compute_times.fixed([1, 2, 3, 4]),
        ...     step_sizes=[0.05, 0.1], seeds=range(3), num_gradients=200)
        >>> dict(result["grad_norm"].sizes)
        {'algorithm': 2, 'compute_times': 1, 'seed': 3, 'step_size': 2, 'record': 101}
        >>> result["grad_norm"].sel(algorithm="pure_async", step_size=0.1).dims
        ('compute_times', 'seed', 'record')
    """
    check_precision(precision)
    arrivals = check_count("num_gradients", num_gradients)
    if record_every is None:
        record_every = max(1, arrivals // 100)
    record_every = check_count("record_every", record_every)
    width = check_count("width", width)
    seeds = _seeds(seeds)
    clocks = _labelled("compute_times", compute_times, _clock_label)
    methods = _labelled(
        "algorithms",
        {k: algorithm_registry.get(v) for k, v in algorithms.items()}
        if isinstance(algorithms, Mapping)
        else [algorithm_registry.get(a) for a in _listed(algorithms)],
        lambda algorithm: algorithm.name,
    )
    for label, clock in clocks.items():
        if clock.num_workers != problem.num_workers:
            raise ValueError(
                f"compute times {label!r} are for {clock.num_workers} workers, the "
                f"problem has {problem.num_workers}; build both for the same number"
            )
    grid = {"step_size": step_sizes, **(hyperparameters or {})}
    check_server(server, grid)
    grid = {name: _distinct(name, check_values(name, v)) for name, v in grid.items()}
    start = check_params(problem, params)
    user_metrics = check_metrics(metrics)

    tasks = list(itertools.product(methods, clocks, seeds))
    schedules = simulate_many(
        [(methods[m], clocks[c], seed) for m, c, seed in tasks],
        num_gradients=arrivals,
    )
    mesh = np.meshgrid(*grid.values(), indexing="ij")
    hyper = {name: m.reshape(-1) for name, m in zip(grid, mesh, strict=True)}
    asked = {
        "algorithms": {k: describe(v) for k, v in methods.items()},
        "compute_times": {k: describe(v) for k, v in clocks.items()},
        "problem": describe_problem(problem),
        "params_hash": content_hash(start),
        "server": describe(server),
        "metrics": {name: describe(f) for name, f in user_metrics},
        "hyperparameters": {k: v.tolist() for k, v in grid.items()},
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
        precision=precision,
        width=width,
        memory_budget=memory_budget,
    )
    store = None if directory is None else Store(directory, asked)
    total = arrivals * len(tasks) * mesh[0].size
    with _progress(progress, total) as on_progress:
        lanes_of = execute_missing(
            experiment,
            schedules,
            [seed for _, _, seed in tasks],
            hyper,
            store=store,
            on_progress=on_progress,
        )

    outer = (len(methods), len(clocks), len(seeds))
    inner = tuple(len(v) for v in grid.values())
    lanes = (*SCHEDULE_DIMS, *grid)

    def by_schedule(values, *tail: int) -> np.ndarray:
        return np.stack(list(values)).reshape(*outer, *tail)

    variables: dict[str, Any] = {}
    finite = [values.pop("finite") for values in lanes_of]
    for name in lanes_of[0]:
        values = by_schedule((v[name].T for v in lanes_of), *inner, -1)
        variables[name] = ((*lanes, "record"), values)
    good, first_bad = zip(*map(lane_status, finite), strict=True)
    variables["status"] = (
        lanes,
        np.where(by_schedule(good, *inner), 0, 1).astype(np.int8),
        {"flag_values": [0, 1], "flag_meanings": " ".join(STATUS)},
    )
    variables["first_bad_record"] = (
        lanes,
        by_schedule(first_bad, *inner).astype(np.int32),
    )
    variables |= _schedule_variables(schedules, by_schedule)
    gradients, steps, times = zip(
        *(record_axes(s, record_every) for s in schedules), strict=True
    )
    record = (*SCHEDULE_DIMS, "record")
    return xr.Dataset(
        variables,
        coords={
            "algorithm": np.array(list(methods), dtype=str),
            "compute_times": np.array(list(clocks), dtype=str),
            "seed": np.array(seeds, dtype=np.int64),
            **grid,
            "record": np.arange(len(gradients[0])),
            "gradients": ("record", gradients[0]),
            "server_steps": (record, by_schedule(steps, -1)),
            "time": (record, by_schedule(times, -1)),
        },
        attrs={
            "config": json.dumps(asked),
            "versions": json.dumps(provenance.versions()),
            "device": provenance.device(),
            "commit": provenance.commit(),
            "created": datetime.datetime.now(datetime.UTC).isoformat(
                timespec="seconds"
            ),
        },
    )


def _listed(values) -> list:
    """Returns a list; a single name or object counts as one."""
    if isinstance(values, Iterable) and not isinstance(values, str):
        return list(values)
    return [values]


def _labelled(what: str, values: Any, label: Callable[[Any], str]) -> dict[str, Any]:
    """Returns label -> value; raises if there is none or two share a label."""
    if isinstance(values, Mapping):
        named = dict(values)
    else:
        listed = _listed(values)
        named = {label(value): value for value in listed}
        if len(named) < len(listed):
            raise ValueError(
                f"two of the {what} have the same label among "
                f"{[label(v) for v in listed]}; give a mapping from labels instead"
            )
    if not named:
        raise ValueError(f"{what} is empty; give at least one")
    return named


def _clock_label(clock: Any) -> str:
    return getattr(clock, "name", type(clock).__name__)


def _seeds(seeds: Iterable[int]) -> list[int]:
    if not isinstance(seeds, Iterable):
        raise TypeError(f"seeds must be a list such as range(5), got {seeds!r}")
    checked = [check_count("seed", seed, minimum=0) for seed in seeds]
    if not checked:
        raise ValueError("seeds is empty; give at least one")
    if len(set(checked)) < len(checked):
        raise ValueError(f"seeds {checked} has a value twice")
    return checked


def _distinct(name: str, values: np.ndarray) -> np.ndarray:
    if len(np.unique(values)) < len(values):
        raise ValueError(f"{name} has a value twice: {values.tolist()}")
    return values


def _schedule_variables(schedules: Sequence[Schedule], by_schedule) -> dict[str, Any]:
    """Returns the figures of every schedule as variables."""
    stats = [s.stats() for s in schedules]
    columns = {
        "schedule_hash": np.array([s.content_hash for s in schedules], dtype=str),
        "tau_max": np.array([s.tau_max for s in stats], dtype=np.int32),
        "tau_avg": np.array([s.tau_avg for s in stats]),
        "discarded": np.array([s.discarded for s in stats], dtype=np.int64),
    }
    return {
        name: (SCHEDULE_DIMS, by_schedule(values)) for name, values in columns.items()
    }


@contextlib.contextmanager
def _progress(progress, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes the number of gradients just computed."""
    if callable(progress):
        count = 0

        def report(gradients: int) -> None:
            nonlocal count
            count += gradients
            progress(count, total)

        yield report
        return
    # tqdm's None means: only on a terminal.
    disable = None if progress is None else not progress
    with tqdm(total=total, unit=" gradients", unit_scale=True, disable=disable) as bar:
        yield bar.update
