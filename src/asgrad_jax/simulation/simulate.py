"""From an algorithm, compute times and a seed to a schedule."""

import copy
import functools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from asgrad_jax import algorithms
from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.checks import (
    check_callable,
    check_choice,
    check_count,
    check_seed,
)
from asgrad_jax._util.jit import switched_off
from asgrad_jax._util.machine import usable_cores
from asgrad_jax.algorithms.algorithm import Algorithm, Rules, Transform
from asgrad_jax.algorithms.round_algorithm import (
    RandomAllocation,
    RoundAlgorithm,
    RoundRules,
)
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.simulation.compiled import run_fast
from asgrad_jax.simulation.compiled_rounds import run_rounds
from asgrad_jax.simulation.durations import (
    can_compile,
    check_compute_times,
    duration_blocks,
    ends_of_jobs,
    is_built_in,
)
from asgrad_jax.simulation.reference import (
    DeclaredAlgorithm,
    EventAlgorithm,
    NothingEnds,
    Server,
    Stalled,
    run_events,
)
from asgrad_jax.simulation.reference_rounds import DeclaredRounds

ENGINES = ("auto", "compiled", "python")

_MOST_GRADIENTS = 2**31 - 2  # counts and versions are int32 columns


def simulate(
    algorithm: str | Algorithm | RoundAlgorithm | EventAlgorithm,
    compute_times: Any,
    *,
    num_gradients: int,
    seed: int = 0,
    engine: str = "auto",
) -> Schedule:
    """Simulates which gradient arrives when, and returns it as a schedule.

    Starts at virtual time 0 with all workers idle. The schedule has the jobs in flight
    at the end, the largest concurrency and the number of discarded gradients.
    It depends on the arguments alone: it is the same on every machine for the built-in
    families, and for a user's sampler as far as NumPy's generators are.

    Args:
        algorithm: a name of `algorithms.names()`, an `Algorithm` or `RoundAlgorithm`,
            or an object with the methods of `EventAlgorithm`.
        compute_times: of `compute_times`, or an object with `num_workers` and
            `sample(worker, rng, size)`.
        num_gradients: rows A of the schedule, >= 1; discarded gradients do not count.
        seed: non-negative integer of any size, for durations and order.
        engine: "compiled" (Numba, for an `Algorithm` or `RoundAlgorithm`), "python"
            (the readable loop, for everything; same rows) or "auto" (compiled where
            possible).

    Raises:
        TypeError, ValueError: if an argument is not as described, the name is unknown,
            or the algorithm's fields do not fit the number of workers.
        RuntimeError: if a user's algorithm stalls or discards without end, or all jobs
            in flight are of those that never end (see `ComputeTimes.may_hang`); it is a
            `Stalled`, which tells after how many gradients.
        OverflowError: if the virtual time leaves the range of float64.

    Example:
        >>> from asgrad_jax import compute_times
        >>> times = compute_times.fixed([1.0, 2.5])
        >>> schedule = simulate("pure_async", times, num_gradients=5)
        >>> schedule.worker, schedule.read, schedule.time
        (array([0, 0, 1, 0, 0], dtype=int32), array([0, 1, 0, 2, 4], dtype=int32),
        array([1. , 2. , 2.5, 3. , 4. ]))
    """
    algorithm = algorithms.get(algorithm)
    num_workers = check_compute_times(compute_times)
    num_gradients = check_count("num_gradients", num_gradients, maximum=_MOST_GRADIENTS)
    seed = check_seed(seed)
    check_choice("engine", engine, ENGINES)
    if not isinstance(algorithm, (Algorithm, RoundAlgorithm)):
        if engine == "compiled":
            raise ValueError(
                f"{algorithm.name}: engine must be 'python' or 'auto' for an object "
                "with `start` and `arrive`, got 'compiled'"
            )
        # A copy, so that state kept in the object cannot leak into the next run.
        own = copy.deepcopy(algorithm)
        schedule = _run_python(own, compute_times, num_gradients, seed)
        return _transformed(own.name, schedule, getattr(own, "transforms", ()))
    rules = algorithm.resolve(num_workers)
    if isinstance(rules, RoundRules) and is_built_in(compute_times):
        compute_times = compute_times.one_by_one()
    if isinstance(rules, RoundRules) and isinstance(rules.allocation, RandomAllocation):
        rules = rules._replace(allocation=rules.allocation.with_seed(seed))
    if engine == "compiled" and not can_compile(compute_times):
        raise ValueError(
            "engine must be 'python' or 'auto' for an object with `end_time`, such as "
            f"{type(compute_times).__name__}, which cannot run compiled, got 'compiled'"
        )
    if engine == "compiled" and switched_off():
        raise ValueError(
            "engine must be 'python' or 'auto' where NUMBA_DISABLE_JIT leaves Numba "
            "without a compiler, got 'compiled'; unset NUMBA_DISABLE_JIT"
        )
    if engine == "python" or switched_off() or not can_compile(compute_times):
        if isinstance(rules, RoundRules):
            declared = DeclaredRounds(algorithm.name, rules)
        else:
            declared = DeclaredAlgorithm(algorithm.name, rules, seed)
        schedule = _run_python(declared, compute_times, num_gradients, seed)
    else:
        schedule = _run_compiled(
            algorithm.name, rules, compute_times, num_gradients, seed
        )
    return _transformed(algorithm.name, schedule, algorithm.transforms)


def simulate_many(
    tasks: Iterable[tuple[str | Algorithm | RoundAlgorithm | EventAlgorithm, Any, int]],
    *,
    num_gradients: int,
    threads: int | None = None,
) -> list[Schedule]:
    """Simulates many (algorithm, compute times, seed) triples, using all cores.

    Gives the schedules that `simulate` gives one by one. The compiled loop holds no
    interpreter lock, so its tasks run side by side; a user's algorithms and samplers
    take turns.

    Args:
        tasks: triples as `simulate` takes them, for example of `itertools.product`.
        num_gradients: rows of every schedule, >= 1.
        threads: at most this many tasks at once, >= 1; None = one per core.

    Raises:
        TypeError, ValueError: if `threads` is no integer >= 1, and everything that
            `simulate` raises, for the first task that fails.

    Example:
        >>> import itertools
        >>> from asgrad_jax import compute_times
        >>> times = compute_times.normal(range(1, 11))
        >>> tasks = itertools.product(["pure_async", "fedbuff"], [times], range(3))
        >>> len(simulate_many(tasks, num_gradients=100))
        6
    """
    threads = usable_cores() if threads is None else check_count("threads", threads)
    with ThreadPoolExecutor(threads) as pool:
        run = functools.partial(pool.submit, simulate, num_gradients=num_gradients)
        futures = [run(algorithm, times, seed=seed) for algorithm, times, seed in tasks]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_compiled(
    name: str,
    rules: Rules | RoundRules,
    compute_times: Any,
    num_gradients: int,
    seed: int,
) -> Schedule:
    if is_built_in(compute_times):
        source = compute_times.distribution(seed)
    else:
        source = duration_blocks(compute_times, seed)
    try:
        if isinstance(rules, RoundRules):
            events = run_rounds(name, rules, source, num_gradients=num_gradients)
        else:
            events = run_fast(rules, source, seed, num_gradients=num_gradients)
    except NothingEnds as stop:
        raise _nothing_ends(name, compute_times, stop.rows, num_gradients) from None
    schedule = Schedule(
        **events.columns._asdict(),
        weight=np.full(num_gradients, rules.weight),
        in_flight_worker=events.in_flight_worker,
        in_flight_read=events.in_flight_read,
        num_workers=rules.num_workers,
        concurrency_max=events.concurrency_max,
        discarded=events.discarded,
        name=name,
    )
    # The columns are right by construction and nobody else holds them: no check and no
    # copy, which would cost as much as the simulation.
    for column in jax.tree_util.tree_leaves(schedule):
        column.flags.writeable = False
    return schedule


def _run_python(
    algorithm: EventAlgorithm, compute_times: Any, num_gradients: int, seed: int
) -> Schedule:
    num_workers = check_compute_times(compute_times)
    ends = ends_of_jobs(compute_times, seed)
    key = random.stream_key(seed, random.ALGORITHM_STREAM)
    server = Server(num_workers, np.random.default_rng(int(key)))
    try:
        events = run_events(
            algorithm,
            ends.end,
            server,
            num_gradients=num_gradients,
            ties_by_worker=getattr(compute_times, "ties_by_worker", False),
        )
    except NothingEnds as stop:
        name = algorithm.name
        raise _nothing_ends(name, compute_times, stop.rows, num_gradients) from None
    columns = events._asdict()
    in_flight = columns.pop("in_flight")
    if isinstance(algorithm, (DeclaredAlgorithm, DeclaredRounds)):
        columns["weight"] = np.full(num_gradients, algorithm.rules.weight)
    return Schedule.from_arrays(
        **columns,
        num_workers=num_workers,
        in_flight_worker=[job.worker for job in in_flight],
        in_flight_read=[job.read for job in in_flight],
        name=algorithm.name,
    )


def _transformed(name: str, schedule: Schedule, rules: Iterable[Transform]) -> Schedule:
    if not isinstance(rules, (tuple, list)):
        raise TypeError(
            f"{name}: transforms must be a tuple of functions from schedule to "
            f"schedule, such as (rule,), got {rules!r}"
        )
    if not rules:
        return schedule
    for i, rule in enumerate(rules):
        check_callable(f"{name}: transforms[{i}]", rule, "schedule")
        schedule = rule(schedule)
        if not isinstance(schedule, Schedule):
            raise TypeError(
                f"{name}: transforms[{i}] must return a schedule, such as "
                f"dataclasses.replace(schedule, weight=...), got {schedule!r}"
            )
    try:
        schedule.validate()
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: what transforms returned: {error}") from None
    for column in jax.tree_util.tree_leaves(schedule):
        column.flags.writeable = False
    return schedule


def _nothing_ends(name: str, compute_times: Any, rows: int, wanted: int) -> Exception:
    if getattr(compute_times, "may_hang", False):
        return Stalled(
            f"{name}: after {rows} of {wanted} gradients all jobs in flight are of "
            "those that never end, so nobody can finish any more; take an algorithm "
            "that abandons jobs, or compute times with fewer such jobs",
            rows,
        )
    return OverflowError(
        f"{name}: the virtual time left the range of float64; use smaller compute "
        "times (another unit) or fewer gradients"
    )
