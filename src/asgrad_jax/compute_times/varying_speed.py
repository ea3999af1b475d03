"""Workers whose speed varies in time: the universal model of computation.

Worker i has a computing power v_i(t) >= 0 that is constant piece by piece. A job of
work w (seconds at power 1, drawn from compute times of constant speed) that starts at s
ends at the first t with int_s^t v_i = w.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import (
    check_count,
    check_list,
    check_number,
    check_numbers,
    make_read_only,
)
from asgrad_jax.compute_times import _distributions, _speed_profile
from asgrad_jax.compute_times.base import ComputeTimes
from asgrad_jax.compute_times.composed import renamed
from asgrad_jax.compute_times.registry import as_compute_times, register

Base = ComputeTimes | dict[str, Any]


def _speeds(num_workers: int) -> dict[str, Any]:
    return {"name": "exponential", "mean": list(range(1, num_workers + 1))}


@register(
    example=lambda make, n: make(_speeds(n), [0.0, 7.0, 9.5], [1.0, 0.0, 2.5], 20)
)
def universal(
    base: Base,
    times: Sequence[ArrayLike] | ArrayLike,
    powers: Sequence[ArrayLike] | ArrayLike,
    period: float | None = None,
) -> ComputeTimes:
    """Worker i works at power v_i(t): `powers[i][j]` from `times[i][j]` on.

    After the universal computation model of Tyurin (2408.04929), described in its
    abstract; that a job asks for a random amount of work is our addition.

    Args:
        base: built-in compute times of constant speed, or the dict of their config:
            the work of the jobs, in seconds at power 1.
        times: [P] increasing seconds from 0 for all workers, or one such list for each.
        powers: the powers that hold from these times on, >= 0, in the same form.
        period: seconds after which the powers start again, > the last time; None: the
            last power stays for ever (0: the worker is gone).

    Returns:
        The compute times; mean_durations is that of the work over the mean power in the
        long run. `durations` lists work; `end_time` turns it into ends.

    Raises:
        TypeError, ValueError: if an argument is not as described, or a worker never has
            any power.

    Example:
        >>> times = universal({"name": "fixed", "mean": [2.0]}, [0, 3], [1.0, 0.5])
        >>> times.end_time(0, 2.0, 2.0)  # 1 s at power 1, then 2 s at power 1/2
        5.0
    """
    base = as_compute_times("base", base)
    distribution = base.distribution(0)
    if distribution.speed != _speed_profile.STEADY:
        raise ValueError(
            f"base must be compute times of constant speed, got {base.name}, which "
            "depends on when a job starts already"
        )
    if distribution.kind == _distributions.STAGES:
        raise ValueError(
            f"base must be compute times without stages that overlap, got {base.name} "
            "with overlap=True; leave overlap out"
        )
    n = base.num_workers
    each_time = _each("times", times, n)
    each_power = _each("powers", powers, n, minimum=0, finite=True)
    if period is not None:
        period = check_number("period", period, above=0)
    end = math.inf if period is None else period
    for i, (t, v) in enumerate(zip(each_time, each_power, strict=True)):
        _check(i, t, v, end)
    mean_power = np.array(
        [
            v[-1] if period is None else (v * np.diff(t, append=period)).sum() / period
            for t, v in zip(each_time, each_power, strict=True)
        ]
    )
    with np.errstate(divide="ignore"):
        mean = base.mean_durations / mean_power
    pieces = np.stack([np.concatenate(each_time), np.concatenate(each_power)], axis=1)
    dies = bool((mean_power == 0.0).any())
    return ComputeTimes(
        "universal",
        make_read_only(mean),
        "none: may never end" if dies else base.tail,
        distribution._replace(
            speed=_speed_profile.VARYING,
            period=end,
            pieces=pieces,
            piece_offset=_distributions.bounds(each_time),
        ),
        {
            "base": base.config(),
            "times": [t.tolist() for t in each_time],
            "powers": [v.tolist() for v in each_power],
            "period": period,
        },
        base.may_hang or dies,
    )


@register(example=lambda make, n: make(_speeds(n), up=20.0, down=5.0))
def outages(base: Base, up: float, down: float) -> ComputeTimes:
    """Workers that work for `up` seconds, are out for `down`, and so on.

    Worker i is i/n of a cycle ahead, so that the outages are spread over time. A job
    that is cut by an outage goes on after it.

    Args:
        base: the work, as for `universal`.
        up: seconds at power 1, > 0.
        down: seconds at power 0, > 0.

    Raises:
        TypeError, ValueError: if an argument is out of range.

    Example:
        >>> times = outages({"name": "fixed", "mean": [4.0]}, up=3.0, down=10.0)
        >>> times.end_time(0, 0.0, 4.0)
        14.0
    """
    base = as_compute_times("base", base)
    up, down = check_number("up", up, above=0), check_number("down", down, above=0)
    cycle, n = up + down, base.num_workers
    times, powers = [], []
    for i in range(n):
        ahead = cycle * i / n
        if ahead < up:
            pieces = [(0.0, 1.0), (up - ahead, 0.0), (cycle - ahead, 1.0)]
        else:
            back = cycle - ahead
            pieces = [(0.0, 0.0), (back, 1.0), (back + up, 0.0)]
        pieces = [piece for piece in pieces if piece[0] < cycle]
        times.append([t for t, _ in pieces])
        powers.append([v for _, v in pieces])
    varying = universal(base, times, powers, cycle)
    return _named("outages", varying, up=up, down=down)


@register(example=lambda make, n: make(_speeds(n), 100.0))
def diurnal(
    base: Base, period: float = 86_400.0, amplitude: float = 0.5, steps: int = 24
) -> ComputeTimes:
    """Power 1 + amplitude cos(2 pi (t / period + i / n)), in `steps` equal steps.

    The workers' noons are spread evenly over the day. Powers are rounded to six
    decimals, so that they are the same on every machine.

    Args:
        base: the work, as for `universal`.
        period: seconds of a day, > 0.
        amplitude: in (0, 1).
        steps: pieces per day, >= 2.

    Raises:
        TypeError, ValueError: if an argument is out of range.

    Example:
        >>> day = diurnal({"name": "fixed", "mean": [1.0]}, 2.0, steps=2, amplitude=0.9)
        >>> day.mean_durations.round(6)
        array([1.])
    """
    base = as_compute_times("base", base)
    period = check_number("period", period, above=0)
    amplitude = check_number("amplitude", amplitude, above=0, below=1)
    steps, n = check_count("steps", steps, minimum=2), base.num_workers
    middle = (np.arange(steps) + 0.5) / steps
    powers = [
        np.round(1.0 + amplitude * np.cos(2.0 * np.pi * (middle + i / n)), 6)
        for i in range(n)
    ]
    times = universal(base, period * np.arange(steps) / steps, powers, period)
    return _named("diurnal", times, period=period, amplitude=amplitude, steps=steps)


@register(example=lambda make, n: make(_speeds(n), factor=0.2, until=200.0))
def drift(
    base: Base,
    factor: float,
    until: float,
    *,
    steps: int = 20,
    workers: Sequence[int] | None = None,
) -> ComputeTimes:
    """Power that goes from 1 to `factor` in even steps and stays there.

    Args:
        base: the work, as for `universal`.
        factor: > 0, the power in the end (below 1: the workers slow down).
        until: seconds, > 0, when it is reached.
        steps: pieces before that, >= 1.
        workers: which ones; None: all.

    Raises:
        TypeError, ValueError: if an argument is out of range.

    Example:
        >>> steady = {"name": "fixed", "mean": [1, 1]}
        >>> drift(steady, 0.5, 60, workers=[1]).mean_durations
        array([1., 2.])
    """
    base = as_compute_times("base", base)
    factor = check_number("factor", factor, above=0)
    until = check_number("until", until, above=0)
    steps = check_count("steps", steps)
    chosen = _chosen(workers, base.num_workers)
    part = np.arange(steps + 1) / steps
    times = _for_some(base, chosen, until * part, 1.0 + (factor - 1.0) * part)
    given = {"factor": factor, "until": until, "steps": steps}
    return _named("drift", times, **given, workers=chosen)


@register(example=lambda make, n: make(_speeds(n), 50.0, 100.0, 0.1, workers=[0]))
def burst(
    base: Base,
    start: float,
    length: float,
    factor: float,
    workers: Sequence[int] | None = None,
) -> ComputeTimes:
    """Power `factor` for `length` seconds from `start` on, 1 before and after.

    Args:
        base: the work, as for `universal`.
        start: seconds, > 0.
        length: seconds, > 0.
        factor: >= 0; 0 is an outage, above 1 a burst of speed.
        workers: which ones; None: all.

    Raises:
        TypeError, ValueError: if an argument is out of range.

    Example:
        >>> burst({"name": "fixed", "mean": [3.0]}, 1.0, 5.0, 0.0).end_time(0, 0.0, 3.0)
        8.0
    """
    base = as_compute_times("base", base)
    start = check_number("start", start, above=0)
    length = check_number("length", length, above=0)
    factor = check_number("factor", factor, minimum=0)
    chosen = _chosen(workers, base.num_workers)
    times = _for_some(base, chosen, [0.0, start, start + length], [1.0, factor, 1.0])
    given = {"start": start, "length": length, "factor": factor}
    return _named("burst", times, **given, workers=chosen)


@register(example=lambda make, n: make(_speeds(n), 40.0, workers=[n - 1] * (n > 1)))
def death(base: Base, time: float, workers: Sequence[int]) -> ComputeTimes:
    """Some workers die for good: from `time` on they have no power.

    The job that a dead worker holds, and those that are given to it later, stay in
    flight for ever, so its mean is infinite.

    Args:
        base: the work, as for `universal`.
        time: seconds, > 0.
        workers: which ones.

    Raises:
        TypeError, ValueError: if an argument is out of range.

    Example:
        >>> death({"name": "fixed", "mean": [1, 1]}, 30.0, [1]).mean_durations
        array([ 1., inf])
    """
    base = as_compute_times("base", base)
    time = check_number("time", time, above=0)
    chosen = _chosen(workers, base.num_workers)
    times = _for_some(base, chosen, [0.0, time], [1.0, 0.0])
    return _named("death", times, time=time, workers=chosen)


def _named(name: str, times: ComputeTimes, **parameters: Any) -> ComputeTimes:
    """What `universal` made, under the name and parameters of another family."""
    return renamed(times, name, {"base": times.config()["base"], **parameters})


def _for_some(base, chosen, times, powers) -> ComputeTimes:
    some = set(range(base.num_workers) if chosen is None else chosen)
    pieces = [
        (times, powers) if i in some else ([0.0], [1.0])
        for i in range(base.num_workers)
    ]
    return universal(base, [t for t, _ in pieces], [v for _, v in pieces])


def _chosen(workers: Any, num_workers: int) -> list[int] | None:
    if workers is None:
        return None
    return [
        check_count(f"workers[{j}]", worker, minimum=0, maximum=num_workers - 1)
        for j, worker in enumerate(check_list("workers", workers, "worker numbers"))
    ]


def _each(
    name: str, values: Any, num_workers: int, **allowed: Any
) -> list[NDArray[np.float64]]:
    """One array per worker, from one for all or a list of lists."""
    rows = check_list(name, values, "numbers, or of one list per worker")
    if not rows or isinstance(rows[0], str) or np.ndim(rows[0]) == 0:
        return [check_numbers(name, values, ndim=1, **allowed)] * num_workers
    if len(rows) != num_workers:
        raise ValueError(
            f"{name} must have one list for each of the {num_workers} workers of base, "
            f"got {len(rows)}"
        )
    return [
        check_numbers(f"{name}[{i}]", row, ndim=1, **allowed)
        for i, row in enumerate(rows)
    ]


def _check(i: int, t: NDArray, v: NDArray, period: float) -> None:
    if len(t) != len(v):
        raise ValueError(
            f"worker {i} must have one power for each of its {len(t)} times, got "
            f"{len(v)}; every power needs the time from which it holds"
        )
    if t[0] != 0.0 or not (np.diff(t) > 0.0).all() or not t[-1] < period:
        raise ValueError(
            f"worker {i}: times must start at 0, grow, and end before the period "
            f"({period}), got {t.tolist()}"
        )
    if not v.any():
        raise ValueError(
            f"worker {i} must have power at some time, got zeros only; leave it out "
            "instead"
        )
