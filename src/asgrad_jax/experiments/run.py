"""`run`: one schedule, one or several step sizes, one labelled trajectory."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_count
from asgrad_jax._util.html import card, curve
from asgrad_jax._util.settings import fixed
from asgrad_jax._util.short_repr import ShortRepr
from asgrad_jax.engine.rows import record_gradients, record_is_due
from asgrad_jax.engine.server import Params, ServerFactory
from asgrad_jax.experiments.checks import (
    check_buffer,
    check_functions,
    check_hyper,
    check_params,
    check_precision,
    check_problem,
    check_schedule,
    check_values,
    warn_without_steps,
)
from asgrad_jax.experiments.execute import Outcome, counted, execute
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.kernels import switched_on
from asgrad_jax.schedules.schedule import Schedule


@dataclass(frozen=True, repr=False)
class Trajectory(ShortRepr):
    """What one schedule gave, on the host.

    R records besides the one at arrival 0; S lanes if `run` was given several step
    sizes, else no lane axis.

    Attributes:
        metrics: name -> [R + 1] or [R + 1, S] float: "loss", "grad_norm" (Euclidean
            norm of the full gradient) and the user's own. Those of `metrics_every` have
            one value for each entry of `records[name]`.
        gradients: [R + 1] int64, arrivals until each record.
        server_steps: [R + 1] int64, server steps until each record.
        time: [R + 1] float64, virtual time of each record.
        params: the last iterate, leaves [...] or [S, ...].
        state: the server's last state, leaves [...] or [S, ...]; None for plain SGD.
        status: "ok" or "nonfinite" (a parameter or a metric of the problem left the
            finite range; a user's own metric may), or an [S] array of these.
        first_bad_record: the first record with a value that is not finite, or -1.
        records: name -> [R' + 1] int64, the records that a metric of `metrics_every`
            was computed at.
    """

    metrics: dict[str, np.ndarray]
    gradients: np.ndarray
    server_steps: np.ndarray
    time: np.ndarray
    params: Params
    state: Any
    status: Any
    first_bad_record: Any
    records: dict[str, np.ndarray] = field(default_factory=dict)

    def _repr_html_(self) -> str | None:
        """What a notebook shows: first and last values, and the curves."""
        if not all(isinstance(v, np.ndarray) for v in self.metrics.values()):
            return None
        status, count = np.unique(self.status, return_counts=True)
        rows: list[tuple[str, Any]] = [
            ("gradients", int(self.gradients[-1])),
            ("server steps", int(self.server_steps[-1])),
            ("virtual time", float(self.time[-1])),
            (
                "status",
                ", ".join(f"{c} {s}" for s, c in zip(status, count, strict=True)),
            ),
        ]
        pictures = []
        for name, values in self.metrics.items():
            lanes = np.reshape(values, (len(values), -1)).T
            ends = lanes[:, -1].min(), lanes[:, -1].max()
            last = dict.fromkeys(f"{value:.4g}" for value in ends)
            rows.append((name, f"{lanes[0, 0]:.4g} -> {' .. '.join(last)}"))
            what = f"{name} over gradients, {counted(len(lanes), 'lane')}"
            at = self.gradients[self.records.get(name, slice(None))]
            pictures.append(curve(at, [*lanes[:20]], what))
        return card("Trajectory", rows, *pictures)


Axes = tuple[np.ndarray, np.ndarray, np.ndarray]


def record_axes(schedule: Schedule, record_every: int) -> Axes:
    """Returns gradients, server steps and virtual time at each record, [R + 1] each."""
    gradients = record_gradients(len(schedule), record_every)
    steps = np.append(0, np.cumsum(schedule.step, dtype=np.int64))[gradients]
    start = min(0.0, float(schedule.time[0]))
    return gradients, steps, np.append(start, schedule.time)[gradients]


def lane_status(finite: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether each lane, of [R + 1, S], is good, and its first bad record."""
    good = np.asarray(finite.all(axis=0))
    return good, np.where(good, -1, np.argmin(finite, axis=0))


def checked_experiment(
    problem,
    schedule: Schedule,
    *,
    record_every: int,
    init_params: Params | None,
    server: ServerFactory | None,
    hyper: Collection[str],
    metrics: Mapping[str, Callable] | None,
    metrics_every: Mapping[str, int] | None,
    precision: str,
    width: int | None,
    kernels: bool,
    buffer: str | None,
    stacklevel: int,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Experiment:
    """Checks what `run` and `runner` share, see there, and puts it together.

    Args:
        problem, schedule: as given, and so the others that are not named here.
        hyper: names of the hyper-parameters.
        stacklevel: of a warning, from here to the caller.
        shapes: of hyper-parameters that are no numbers.
    """
    check_problem(problem)
    check_precision(precision)
    check_schedule(problem, schedule)
    warn_without_steps(schedule.name, schedule, stacklevel=stacklevel)
    record_every = min(check_count("record_every", record_every), len(schedule))
    if width is not None:
        width = min(check_count("width", width), len(schedule))
    start = check_params(problem, init_params, precision)
    server, user_metrics, strides = check_functions(
        problem, server, metrics, metrics_every, hyper, start, precision, shapes
    )
    return Experiment(
        problem=problem,
        init_params=start,
        record_every=record_every,
        server=server,
        metrics=user_metrics,
        precision=precision,
        width=width,
        kernels=kernels and switched_on(),
        buffer=check_buffer(buffer),
        strides=strides,
    ).by_placement()


def stride_records(
    records: int, strides: tuple[tuple[str, int], ...]
) -> dict[str, np.ndarray]:
    """Returns name -> the records 0..R that a metric with a stride is computed at."""
    numbers = np.arange(records + 1)
    return {n: numbers[record_is_due(numbers, records, k)] for n, k in strides}


def _trajectory(
    outcome: Outcome, axes: Axes, alone: bool, records: dict[str, np.ndarray]
) -> Trajectory:
    """Returns the trajectory of all lanes, or of the only one without its axis."""
    good, first_bad = lane_status(outcome.finite)
    status: Any = np.where(good, "ok", "nonfinite")
    metrics, params, state = outcome.metrics, outcome.params, outcome.state
    metrics = {n: v[records.get(n, slice(None))] for n, v in metrics.items()}
    if alone:
        params, state = jax.tree.map(lambda x: x[0], (params, state))
        metrics = {name: v[:, 0] for name, v in metrics.items()}
        status, first_bad = str(status[0]), int(first_bad[0])
    gradients, steps, time = axes
    return Trajectory(
        metrics, gradients, steps, time, params, state, status, first_bad, records
    )


@fixed()
def run(
    problem,
    schedule: Schedule,
    *,
    step_size: ArrayLike,
    record_every: int = 1,
    init_params: Params | None = None,
    seed: int = 0,
    server: ServerFactory | None = None,
    hyperparameters: Mapping[str, ArrayLike] | None = None,
    metrics: Mapping[str, Callable] | None = None,
    metrics_every: Mapping[str, int] | None = None,
    precision: str = "float32",
    width: int | None = None,
    kernels: bool = True,
    buffer: str | None = None,
) -> Trajectory:
    """Runs asynchronous SGD along a schedule.

    At arrival a, with v server steps made so far,
        u += weight_a * grad f_{i_a}(x_{pi_a}; xi),
        and where step_a: x_{v+1} = server(x_v, u), u = 0;
    plain SGD is x_{v+1} = x_v - step_size * u.

    The loss, `server` and `metrics` must be pure, as JAX asks: what was traced of a
    function is used again, so what it reads (globals, closures, entries of arrays and
    lists) and is changed after its first use is not looked at again. Any object with
    `__call__` will do; it is traced again once one of its attributes was set anew.

    Args:
        problem: what `logistic_regression`, `quadratic` or `from_loss` returned.
        schedule: A arrivals over the problem's n workers.
        step_size: gamma, a number or [S] numbers; several become lanes of one program.
        record_every: arrivals between two records; arrivals 0 and A are always there.
        init_params: x_0, a pytree like `problem.init_params()`, which is the default.
        seed: seed of the mini-batch noise, a function of (seed, worker, job) alone.
        server: hyper-parameters, by keyword, -> optax transformation, such as
            `lambda step_size: optax.adam(step_size)`. A further parameter `key` gets a
            random key of the seed, as in
            `lambda step_size, key: optax.noisy_sgd(step_size, key=key)`. The
            transformation may take the extra arguments `delay`, `worker`, `time`,
            `step` (v), `key` (a random key of seed and v), `read` (x_r, the iterate
            that the arriving gradient was computed at) and `max_delay` (the largest
            delay of the step's gradients), `loss` and `read_loss` (f(x_v) and f(x_r),
            an evaluation of f each). None is plain SGD. Where the schedule has a rule
            for the server, it comes first.
        hyperparameters: further arguments of `server`, each a number or [S] numbers.
        metrics: name -> function of the iterate (a pytree) to a scalar, in JAX. One
            with a further parameter `state` sees the server's state too, as in
            `lambda x, state: f(optax.contrib.schedule_free_eval_params(state, x))`.
        metrics_every: name -> k, for metrics that take long, the problem's or these:
            computed at records 0, k, 2k, ... and the last alone.
        precision: "float32" or "float64".
        width: largest number of arrivals whose gradients are computed together (a
            wave); the iterates are the same to rounding. None chooses, and
            `Grid.dry_run` says why.
        kernels: False leaves the compiled CPU kernels out, and plain JAX computes the
            same to rounding (ASGRAD_KERNELS=0 does so for a whole process).
        buffer: "bfloat16" holds the iterates that are still to be read with 8 bits of
            mantissa each, in half of the memory; the server's own x stays as it is.
            None holds them in the precision of the run.

    Returns:
        The trajectory. A lane that leaves the finite range goes on as NaN and says so
        in `status`.

    Raises:
        ValueError, TypeError: for a schedule that breaks a rule or is for more workers,
            values that are not finite, and unknown names; nothing was compiled then.
        MemoryError: if not even one lane fits the device.

    Example:
        >>> import asgrad_jax as ag
        >>> problem = ag.quadratic(num_workers=4, num_features=3, seed=0)
        >>> schedule = ag.simulate("pure_async", ag.compute_times.fixed([1, 2, 3, 4]),
        ...                        num_gradients=200)
        >>> trajectory = ag.run(problem, schedule, step_size=0.1, record_every=100)
        >>> trajectory.status, trajectory.gradients.tolist()
        ('ok', [0, 100, 200])
        >>> norm = trajectory.metrics["grad_norm"]
        >>> bool(norm[-1] < norm[0])
        True
    """
    seed = check_count("seed", seed, minimum=0)
    given = check_hyper(step_size, hyperparameters)
    check_precision(precision)
    values = {name: check_values(name, v, precision) for name, v in given.items()}
    experiment = checked_experiment(
        problem,
        schedule,
        record_every=record_every,
        init_params=init_params,
        server=server,
        hyper=values,
        metrics=metrics,
        metrics_every=metrics_every,
        precision=precision,
        width=width,
        kernels=kernels,
        buffer=buffer,
        stacklevel=4,
    )
    record_every = experiment.record_every
    try:
        stacked = np.broadcast_arrays(*values.values())
    except ValueError:
        sizes = {name: len(v) for name, v in values.items()}
        raise ValueError(
            f"the hyper-parameters have different lengths {sizes}; give each one value "
            "or the same number of values"
        ) from None
    hyper = dict(zip(values, stacked, strict=True))
    outcome = execute(experiment, [schedule], [seed], hyper)[0]
    alone = all(np.ndim(v) == 0 for v in given.values())
    axes = record_axes(schedule, record_every)
    records = stride_records(len(axes[0]) - 1, experiment.strides)
    return _trajectory(outcome, axes, alone, records)
