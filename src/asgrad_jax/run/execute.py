"""Runs K schedules x S lanes on the device, several schedules at a time."""

import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from asgrad_jax.plan.schedule import Schedule
from asgrad_jax.run import engine
from asgrad_jax.run.layout import plan_shape, schedule_rows
from asgrad_jax.run.server import Params, ServerFactory

PRECISIONS = {"float32": np.float32, "float64": np.float64}


class Outcome(NamedTuple):
    """What one schedule gave, on the host.

    Attributes:
        metrics: name -> [R + 1, S], the iterate's metrics at each record.
        finite: [R + 1, S] bool, whether every parameter and metric was finite.
        params: pytree with leaves [S, ...], the last iterate.
    """

    metrics: dict[str, np.ndarray]
    finite: np.ndarray
    params: Params


def default_layout() -> engine.Layout:
    """Returns "map" on CPU, where it is twice as fast, and "vmap" elsewhere."""
    return "map" if jax.default_backend() == "cpu" else "vmap"


def cast(tree, dtype):
    """Returns host arrays of the run's types: floats as `dtype`, integers as int32."""

    def leaf(x):
        x = np.asarray(x)
        if np.issubdtype(x.dtype, np.floating):
            return x.astype(dtype, copy=False)
        return x.astype(np.int32) if x.dtype == np.int64 else x

    return jax.tree.map(leaf, tree)


_placed: dict[tuple, object] = {}
_placed_lock = threading.Lock()


def place(problem, precision: str):
    """Puts a problem's arrays on the default device, once per precision.

    The copy is kept as long as the host's problem lives.
    """
    key = (id(problem), precision, jax.default_backend())
    with _placed_lock:
        if key not in _placed:
            placed = jax.device_put(cast(problem, PRECISIONS[precision]))
            weakref.finalize(problem, _placed.pop, key, None)
            _placed[key] = placed
        return _placed[key]


def noise_key(seed: int) -> np.ndarray:
    """Returns the [2] uint32 key data of a run's noise, from a seed of any size."""
    # The stream number keeps the noise apart from the compute times of the same seed.
    return np.random.SeedSequence([0x6E6F6973, seed]).generate_state(2, np.uint32)


def execute(
    problem,
    schedules: Sequence[Schedule],
    seeds: Sequence[int],
    hyper: dict[str, np.ndarray],
    *,
    params: Params,
    record_every: int,
    server: ServerFactory | None = None,
    metrics: tuple[tuple[str, Callable], ...] = (),
    precision: str = "float32",
    layout: engine.Layout | None = None,
    width: int = 1,
    threads: int | None = None,
    on_progress: Callable[[int], None] = lambda gradients: None,
) -> list[Outcome]:
    """Runs every schedule with every lane, whatever the mix of methods.

    Schedules with and without a gradient table are compiled apart, so that the others
    do not pay for it; there is one program for each kind.

    Args:
        problem: a problem on the host.
        schedules: K schedules of the same length A.
        seeds: K seeds of the mini-batch noise.
        hyper: name -> [S] values, one per lane; `step_size` among them.
        params: x_0, leaves without a lane axis.
        record_every: arrivals between two records.
        server: hyper-parameters -> optax transformation; None is plain SGD.
        metrics: further (name, params -> scalar) pairs.
        precision: "float32" or "float64".
        layout: how schedules share the device; None chooses.
        width: arrivals per wave.
        threads: schedules in flight on a CPU; None is one per core.
        on_progress: called with the number of gradients just computed, over all lanes;
            from several threads, never at the same time.

    Returns:
        One outcome per schedule, in order.
    """
    options = dict(
        params=params,
        record_every=record_every,
        server=server,
        metrics=metrics,
        precision=precision,
        layout=layout or default_layout(),
        width=width,
        threads=threads,
        on_progress=on_progress,
    )
    outcomes: dict[int, Outcome] = {}
    for with_table in (False, True):
        chosen = [
            k for k, s in enumerate(schedules) if (s.table is not None) == with_table
        ]
        if chosen:
            done = _execute_alike(
                problem,
                [schedules[k] for k in chosen],
                [seeds[k] for k in chosen],
                hyper,
                **options,
            )
            outcomes.update(zip(chosen, done, strict=True))
    return [outcomes[k] for k in range(len(schedules))]


def _execute_alike(
    problem,
    schedules,
    seeds,
    hyper,
    *,
    params,
    record_every,
    server,
    metrics,
    precision,
    layout,
    width,
    threads,
    on_progress,
) -> list[Outcome]:
    """Runs schedules that share one compiled program; see `execute`."""
    dtype = PRECISIONS[precision]
    lanes = len(hyper["step_size"])
    shape, plans = plan_shape(
        schedules, lanes, record_every=record_every, layout=layout, width=width
    )
    # The table has a scratch row of its own, for padding.
    static = engine.Static(
        shape.form,
        layout,
        server,
        metrics,
        shape.slots,
        shape.table_rows + 1 if shape.table_rows else 0,
    )
    lock = threading.Lock()

    def run_chunk(chunk: Sequence[int]) -> list[Outcome]:
        # The x64 flag belongs to the thread, so every thread sets its own.
        with jax.enable_x64(precision == "float64"):
            return _run_chunk(chunk)

    def _run_chunk(chunk: Sequence[int]) -> list[Outcome]:
        placed = place(problem, precision)
        batch = len(chunk)
        rows = [schedule_rows(schedules[k], plans[k], shape, dtype) for k in chunk]
        keys = np.stack([noise_key(seeds[k]) for k in chunk])
        tiled = {k: np.tile(v.astype(dtype), (batch, 1)) for k, v in hyper.items()}
        carry, initial = engine.start(placed, cast(params, dtype), tiled, static=static)
        parts = []
        for segment in range(shape.segments):
            stacked = _stack_segment(rows, segment)
            carry, values = engine.advance(
                placed, carry, stacked, tiled, keys, static=static
            )
            parts.append(jax.device_get(values))
            with lock:
                on_progress(_segment_arrivals(shape, segment) * batch * lanes)
        first = {k: np.broadcast_to(v, (batch, 1, lanes)) for k, v in initial.items()}
        values = {
            k: np.concatenate([first[k], *(p[k] for p in parts)], axis=1)[
                :, : shape.records + 1
            ]
            for k in first
        }
        finals = jax.device_get(carry.params)
        finite = values.pop("finite")
        return [
            Outcome(
                {k: v[i] for k, v in values.items()},
                finite[i],
                jax.tree.map(lambda x, i=i: x[i], finals),
            )
            for i in range(batch)
        ]

    if layout == "vmap":
        return run_chunk(range(len(schedules)))
    threads = min(len(schedules), threads or len(os.sched_getaffinity(0)))
    if threads == 1:
        return [run_chunk([k])[0] for k in range(len(schedules))]
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        done = pool.map(run_chunk, [[k] for k in range(len(schedules))])
        return [outcome for outcomes in done for outcome in outcomes]


def _stack_segment(rows: Sequence[engine.Rows], segment: int) -> engine.Rows:
    return jax.tree.map(lambda *x: np.stack([y[segment] for y in x]), *rows)


def _segment_arrivals(shape, segment: int) -> int:
    """Returns the real arrivals of one segment, padding left out."""
    per_segment = shape.blocks * shape.block * shape.record_every
    return max(0, min(shape.arrivals - segment * per_segment, per_segment))
