"""`runner`: the whole asynchronous trajectory as one pure JAX function."""

import dataclasses
import functools
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_count, check_numbers
from asgrad_jax._util.machine import usable_cores
from asgrad_jax._util.settings import fixed, on_cpu
from asgrad_jax._util.short_repr import ShortRepr
from asgrad_jax._util.transforms import map_plainly, step_aside
from asgrad_jax.engine import program as engine
from asgrad_jax.engine.arrival import ProgramKey, Rows
from asgrad_jax.engine.cost import choose_width
from asgrad_jax.engine.devices import PRECISIONS, cast, default_batching, place
from asgrad_jax.engine.rows import due_records, plan_shape, schedule_rows, static_of
from asgrad_jax.engine.server import (
    Params,
    ServerFactory,
    asks,
    own_state,
    rule_numbers,
    ruled,
)
from asgrad_jax.experiments.calls import workload
from asgrad_jax.experiments.checks import check_hyper
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.experiments.run import (
    checked_experiment,
    record_axes,
    stride_records,
)
from asgrad_jax.problems.sampling import minibatch_key
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.slots import plan_slots

# Iterates that reverse differentiation keeps for an arrival of the stretch that it
# computes again: the one read, the gradient, the one before the step.
_KEPT = 3


class RunnerResult(NamedTuple):
    """What a runner returns: JAX arrays, with a lane axis S if it was given lanes.

    Attributes:
        metrics: name -> [R + 1] or [R + 1, S] float: "loss", "grad_norm" and the user's
            own, at x_0 and at every record; those of `metrics_every` at the records
            `Runner.records[name]` alone.
        finite: [R + 1] or [R + 1, S] bool, whether the iterate and the problem's
            metrics were.
        params: the last iterate, leaves [...] or [S, ...].
        state: the server's last state, likewise; None for plain SGD.
    """

    metrics: dict[str, jax.Array]
    finite: jax.Array
    params: Params
    state: Any


class _Plan(NamedTuple):
    """How a number of lanes is run.

    Attributes:
        static: what the program depends on.
        rows: the arrivals, on the device.
        place: returns int32 like `rows.weight`: which arrival, -1 for padding.
        due: what `due_records` returned, on the device.
    """

    static: ProgramKey
    rows: Rows
    place: Callable[[], jax.Array]
    due: dict[int, jax.Array] | None


class Runner(ShortRepr):
    """A schedule made ready to run, as a pure function that JAX can transform.

    Attributes:
        schedule: its A arrivals.
        gradients: [R + 1] int64, arrivals until each record.
        server_steps: [R + 1] int64, server steps until each record.
        time: [R + 1] float64, virtual time of each record.
        records: name -> [R' + 1] int64, the records that a metric of `metrics_every`
            is computed at.
    """

    def __init__(
        self,
        experiment: Experiment,
        schedule: Schedule,
        seed: int,
        hyper: dict[str, np.ndarray],
    ):
        self.schedule = schedule
        self.gradients, self.server_steps, self.time = record_axes(
            schedule, experiment.record_every
        )
        self.records = stride_records(len(self.time) - 1, experiment.strides)
        server = ruled(experiment.server, schedule.server_rule)
        self._experiment = dataclasses.replace(experiment, server=server)
        self._seed, self._hyper = seed, hyper
        self._rule = rule_numbers(schedule.server_rule)
        self._plans: dict[int, _Plan] = {}
        self._lock = threading.Lock()
        with self._settings():
            self._problem = place(experiment.problem, experiment.precision, None)

    def __call__(
        self,
        step_size: ArrayLike,
        params: Params | None = None,
        *,
        hyperparameters: Mapping[str, ArrayLike] | None = None,
        weights: ArrayLike | None = None,
        key: Any = None,
    ) -> RunnerResult:
        """Runs the trajectory.

        Every argument may be traced, and what is returned can be differentiated with
        respect to each that is a floating number.

        Args:
            step_size: gamma, a number, or [S] numbers: lanes of one program.
            params: x_0, leaves [...] like `problem.init_params()`; None is the start
                that `runner` was given.
            hyperparameters: in place of those that `runner` was given, each of the same
                shape, or one for each lane, [S, ...].
            weights: [A] numbers, in place of the weights of the schedule: what each
                gradient is multiplied by. Those of a worker, a delay or a server step
                are `w[schedule.worker]`, `w[schedule.delay]`,
                `w[schedule.read + schedule.delay]`.
            key: of the mini-batch noise: a JAX key, or an integer, which stands for
                the noise of `run(..., seed=key)`. None is the seed of `runner`.

        Returns:
            Metrics, last iterate and whether all were finite.

        Raises:
            ValueError, TypeError: for shapes that do not fit, unknown names, weights
                where the schedule has a gradient table, and a precision that JAX does
                not have switched on.
        """
        dtype = PRECISIONS[self._experiment.precision]
        if dtype == np.float64 and not jax.config.jax_enable_x64:  # pyrefly: ignore
            raise ValueError(
                "a runner of precision='float64' must be called with JAX's 64 bits "
                "switched on, got jax_enable_x64=False; put its calls and their "
                "derivatives inside of a `with` with jax.enable_x64"
            )
        with self._settings():
            hyper, lanes = self._values(step_size, hyperparameters, dtype)
            plan = self._plan(lanes or 1)
            rows = plan.rows
            if weights is not None:
                rows = self._weighted(plan, weights, dtype)
            start = self._start(params, dtype)
            key_data = self._key_data(key)
            start = jax.tree.map(
                lambda x: jnp.broadcast_to(x, (lanes or 1, *x.shape)), start
            )
            return _run(
                self._problem,
                (rows, plan.due),
                key_data,
                start,
                hyper,
                static=plan.static,
                records=len(self.gradients) - 1,
                squeeze=lanes is None,
            )

    def _settings(self):
        """JAX's settings of a run, inside of what the caller traces."""
        x64 = self._experiment.precision == "float64"
        return fixed(x64=x64, meshless=False)

    def _values(self, step_size, hyperparameters, dtype):
        """Returns name -> [S, ...] hyper-parameters, and S or None for no lanes."""
        given = check_hyper(step_size, hyperparameters)
        if unknown := sorted(set(given) - set(self._hyper) - {"step_size"}):
            raise ValueError(
                f"hyperparameters must be among those given to ag.runner, which are "
                f"{sorted(self._hyper)}, got {unknown}"
            )
        values = {
            name: jnp.asarray(value, dtype)
            for name, value in {**self._hyper, **given}.items()
        }
        if values["step_size"].ndim > 1:
            raise ValueError(
                "step_size must be a number or an array [S], got the shape "
                f"{values['step_size'].shape}; map a runner over further axes with "
                "jax.vmap"
            )
        lanes = values["step_size"].shape[0] if values["step_size"].ndim else None
        if lanes == 0:
            raise ValueError("step_size must have at least one number, got none")

        def with_lanes(name: str, value: jax.Array) -> jax.Array:
            own = np.shape(self._hyper.get(name, 0.0))
            if value.shape == own:
                return jnp.broadcast_to(value, (lanes or 1, *own))
            if lanes is None or value.shape != (lanes, *own):
                raise ValueError(
                    f"{name} must have the shape {own} that ag.runner was given, or "
                    f"one such entry for each step size, got {value.shape}"
                )
            return value

        rule = {k: jnp.full(lanes or 1, v, dtype) for k, v in self._rule.items()}
        return {k: with_lanes(k, v) for k, v in values.items()} | rule, lanes

    def _start(self, params: Params | None, dtype) -> Params:
        own = self._experiment.init_params
        if params is None:
            return cast(own, dtype)
        found, wanted = jax.tree.structure(params), jax.tree.structure(own)
        if found != wanted:
            raise ValueError(f"params must be a pytree {wanted}, got {found}")

        def leaf(path, x, like):
            where = f"params{jax.tree_util.keystr(path)}"
            if jnp.shape(x) != np.shape(like):
                raise ValueError(
                    f"{where} must have shape {np.shape(like)}, got {jnp.shape(x)}; "
                    "several starts go through jax.vmap"
                )
            return jnp.asarray(x, dtype)

        return jax.tree_util.tree_map_with_path(leaf, params, own)

    def _key_data(self, key: Any) -> jax.Array | np.ndarray:
        if key is None or isinstance(key, int | np.integer):
            seed = self._seed if key is None else key
            return minibatch_key(check_count("key", seed, minimum=0))
        words: Any = key
        if hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            words = jax.random.key_data(key)
        if getattr(words, "shape", None) != (2,) or words.dtype != jnp.uint32:
            raise TypeError(
                "key must be a JAX key of the kind threefry2x32, such as "
                f"jax.random.key(0), or an integer, got {key!r}"
            )
        return words

    def _weighted(self, plan: _Plan, weights: ArrayLike, dtype) -> Rows:
        """Returns the rows with other weights; none of them is left out."""
        if self.schedule.table is not None:
            raise ValueError(
                "weights must be None for a schedule with a gradient table, whose "
                f"coefficients take their place (here {self.schedule.name!r})"
            )
        values = jnp.asarray(weights, dtype)
        if values.shape != (len(self.schedule),):
            raise ValueError(
                f"weights must have one number for each of the {len(self.schedule)} "
                f"arrivals, got the shape {values.shape}"
            )
        place = plan.place()
        weight = jnp.where(place >= 0, values[place], 0)
        return plan.rows._replace(weight=weight, kept=None)

    def _plan(self, lanes: int) -> _Plan:
        with self._lock:
            if lanes not in self._plans:
                # These arrays stay, also where this call is only traced.
                with jax.ensure_compile_time_eval():
                    self._plans[lanes] = self._make_plan(lanes)
            return self._plans[lanes]

    def _make_plan(self, lanes: int) -> _Plan:
        experiment, schedule = self._experiment, self.schedule
        batching = experiment.batching or default_batching()
        cores = (experiment.threads or usable_cores()) if on_cpu() else 1
        width = experiment.width
        if width is None:
            work = workload(experiment, [schedule], lanes, batching)
            width = choose_width(work, lanes, cores).width
        every = experiment.record_every
        slots = plan_slots(schedule, width=width, record_every=every)
        shapes = {name: value.shape for name, value in self._hyper.items()}
        shapes |= {"step_size": ()} | dict.fromkeys(self._rule, ())
        server = experiment.server
        plan = functools.partial(
            plan_shape,
            [schedule],
            [slots],
            lanes,
            params=experiment.init_params,
            record_every=every,
            batching=batching,
            oldest=server is not None
            and asks(server, "max_delay", tuple(shapes.items())),
        )
        whole = plan()
        # Memory is least where what is kept at the starts of stretches, a buffer each,
        # and what is kept inside of one are about the same.
        waves = whole.records * whole.waves
        starts = math.sqrt(_KEPT * waves * width / (whole.slots + 1))
        stretch = max(1, math.ceil(waves / max(1.0, starts)))
        if stretch < whole.waves:
            shape = whole
        else:
            each, together = len(schedule) / waves, stretch // whole.waves
            shape = plan(segment_arrivals=int(stretch * each), most_evaluated=together)
            stretch = 0
        static = static_of(
            shape,
            batching,
            server,
            experiment.metrics,
            cores if experiment.kernels else 0,
            experiment.buffer,
            experiment.strides,
            experiment.init_params,
        )._replace(stretch=stretch)
        dtype = PRECISIONS[experiment.precision]
        rows = schedule_rows(schedule, slots, shape, dtype)

        @functools.cache  # for calls with weights alone
        def place() -> jax.Array:
            numbers = np.arange(1.0, len(schedule) + 1)
            numbered = dataclasses.replace(schedule, weight=numbers)
            found = schedule_rows(numbered, slots, shape, np.float64).weight - 1
            with jax.ensure_compile_time_eval():
                return jnp.asarray(found, np.int32)

        arrays = rows, due_records(shape, experiment.strides)
        rows, due = jax.tree.map(jnp.asarray, arrays)
        return _Plan(static, rows, place, due)


@functools.partial(jax.jit, static_argnames=("static", "records", "squeeze"))
def _run(problem, rows, key_data, params, hyper, *, static, records, squeeze):
    """Compiles the trajectory; `jax.vmap` over step sizes or x_0 makes more lanes."""

    def lanes(problem, rows, key_data, params, hyper) -> RunnerResult:
        rows, due = rows
        carry, first, values = engine.trajectory(
            problem, params, hyper, key_data, rows, due, static=static
        )
        values = {
            k: jnp.append(first[k][None], v[:records], 0) for k, v in values.items()
        }
        finite = values.pop("finite")
        for name, computed in stride_records(records, static.strides).items():
            values[name] = values[name][computed]
        return RunnerResult(values, finite, carry.params, own_state(carry.opt_state))

    def mapped(run, size, batched, *arguments):
        if any(jax.tree.leaves(batched[:3])):  # other data, weights or noise
            return map_plainly(lanes, size, batched, *arguments)

        def merge(x, b):
            x = x if b else jnp.broadcast_to(x, (size, *x.shape))
            return lax.collapse(x, 0, 2)

        def apart(x, axis):
            x = x.reshape(*x.shape[:axis], size, -1, *x.shape[axis + 1 :])
            return jnp.moveaxis(x, axis, 0)

        lanes_of = jax.tree.map(merge, arguments[3:], tuple(batched[3:]))
        found = run(*arguments[:3], *lanes_of)
        records = jax.tree.map(lambda x: apart(x, 1), (found.metrics, found.finite))
        last = jax.tree.map(lambda x: apart(x, 0), (found.params, found.state))
        result = RunnerResult(*records, *last)
        return result, jax.tree.map(lambda _: True, result)

    found = step_aside(lanes, lanes, mapped)(problem, rows, key_data, params, hyper)
    if not squeeze:
        return found
    values = {k: v[:, 0] for k, v in found.metrics.items()}
    final = jax.tree.map(lambda x: x[0], (found.params, found.state))
    return RunnerResult(values, found.finite[:, 0], *final)


@fixed()
def runner(
    problem,
    schedule: Schedule,
    *,
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
) -> Runner:
    """Makes asynchronous SGD along a schedule a pure function that JAX can transform.

    All checks and all work of the host are done once. The function maps step size,
    x_0, hyper-parameters, weights and key to metrics and last iterate; `jax.jit`,
    `jax.vmap`, `jax.grad`, `jax.jvp` and `shard_map` work on it, also inside another
    loop, and other values never compile again. It is the program that `run` and `sweep`
    run, with the same numbers to rounding; without `jax.jit` it is compiled as well.

    Reverse differentiation keeps about sqrt(A) iterates per slot of the buffer and
    computes the others again. Compiled CPU kernels step aside for derivatives.

    Args:
        problem: what `logistic_regression`, `quadratic` or `from_loss` returned.
        schedule: A arrivals over the problem's n workers.
        record_every: arrivals between two records; arrivals 0 and A are always there.
        init_params: x_0 where a call gives none; None is `problem.init_params()`.
        seed: of the mini-batch noise where a call gives no key.
        server: as for `run`.
        hyperparameters: further arguments of `server` where a call gives no others:
            numbers, or arrays that each lane has whole.
        metrics, metrics_every: as for `run`.
        precision: "float32" or "float64", which needs `jax.enable_x64` around the
            calls.
        width: as for `run`.
        kernels: as for `run`.
        buffer: as for `run`.

    Returns:
        The function, see `Runner`; its attributes tell gradients, server steps and
        virtual time of the records.

    Raises:
        ValueError, TypeError: as `run`; nothing was compiled then.

    Example:
        >>> import asgrad_jax as ag
        >>> import jax
        >>> problem = ag.quadratic(num_workers=4, num_features=3, heterogeneity=0)
        >>> schedule = ag.simulate("pure_async", ag.compute_times.fixed([1, 2, 3, 4]),
        ...                        num_gradients=200)
        >>> runner = ag.runner(problem, schedule, record_every=100)
        >>> def last_loss(step_size):
        ...     return runner(step_size).metrics["loss"][-1]
        >>> bool(jax.grad(last_loss)(0.01) < 0)  # a larger step size would be better
        True
        >>> jax.jit(jax.vmap(last_loss))(jax.numpy.array([0.01, 0.02])).shape
        (2,)
    """
    seed = check_count("seed", seed, minimum=0)
    named = check_hyper(0.0, hyperparameters)
    own = {
        name: np.asarray(check_numbers(name, value, bools=True, finite=True), float)
        for name, value in named.items()
        if name != "step_size"
    }
    experiment = checked_experiment(
        problem,
        schedule,
        record_every=record_every,
        init_params=init_params,
        server=server,
        hyper=named,
        metrics=metrics,
        metrics_every=metrics_every,
        precision=precision,
        width=width,
        kernels=kernels,
        buffer=buffer,
        stacklevel=4,
        shapes={name: value.shape for name, value in own.items()},
    )
    return Runner(experiment, schedule, seed, own)
