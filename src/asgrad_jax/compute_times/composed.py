"""Clocks made of clocks: workers of several kinds, and jobs of several parts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_count, check_list
from asgrad_jax.compute_times.base import ComputeTimes, check_mean
from asgrad_jax.compute_times.registry import as_clock, family, get
from asgrad_jax.compute_times.terms import Term, clock_of_terms, renamed, terms

_PARTS = ("download", "compute", "upload")


@family(example=lambda make, n: make([n - n // 2, n // 2], [1.0, 5.0][: 1 + (n > 1)]))
def groups(
    sizes: Sequence[int], mean: ArrayLike, law: str = "fixed", **parameters: Any
) -> ComputeTimes:
    """Groups of workers of equal speed, as the client classes of the queueing papers.

    The first sizes[0] workers have mean[0], the next sizes[1] have mean[1], ...

    Args:
        sizes: workers of each group, >= 1; a group of none may be left out with its
            mean or given as 0.
        mean: [groups] seconds, > 0.
        law: a family that is given by means: "fixed", "exponential", "lognormal", ...
        **parameters: of that family.

    Returns:
        The compute times of sum(sizes) workers.

    Raises:
        TypeError, ValueError: if sizes and means do not fit, or as the family.

    Example:
        >>> groups([2, 1], [1.0, 6.0], law="exponential").mean_durations
        array([1., 1., 6.])
    """
    s = check_mean(mean)
    sizes = [
        check_count(f"sizes[{g}]", size, minimum=0)
        for g, size in enumerate(check_list("sizes", sizes, "numbers of workers"))
    ]
    while len(sizes) > len(s) and sizes[-1] == 0:
        sizes.pop()
    if len(sizes) != len(s):
        raise ValueError(
            f"sizes must have one number for each of the {len(s)} groups of mean, got "
            f"{len(sizes)}"
        )
    if not sum(sizes):
        raise ValueError("sizes must add up to at least one worker, got none")
    try:
        clock = get(law, np.repeat(s, sizes), **parameters)
    except TypeError as error:
        raise TypeError(
            f"law must be one that is made from means and {sorted(parameters)}, got "
            f"{law!r}: {error}"
        ) from None
    config = {"sizes": sizes, "mean": s.tolist(), "law": law, **parameters}
    return renamed(clock, "groups", config)


def _joined_example(make, num_workers):
    kinds = ("exponential", "fixed", "pareto")
    return make(
        [
            {"name": kinds[i % 3], "mean": [float(1 + i)]}  # one worker each
            for i in range(num_workers)
        ]
    )


@family(example=_joined_example)
def joined(clocks: Sequence[ComputeTimes | dict[str, Any]]) -> ComputeTimes:
    """The workers of several clocks side by side, numbered through.

    Args:
        clocks: built-in compute times or dicts of their configs.

    Returns:
        The compute times of all the workers.

    Raises:
        TypeError: if it is no list or an entry is neither.
        ValueError: if there is none, or one depends on when a job starts.

    Example:
        >>> joined([{"name": "fixed", "mean": [1]}, {"name": "pareto", "mean": [2]}])
        joined(2 workers, mean 1..2)
    """
    wanted = "compute times such as [fixed([1.0]), pareto([2.0])]"
    given = [
        as_clock(f"clocks[{i}]", clock)
        for i, clock in enumerate(check_list("clocks", clocks, wanted))
    ]
    if not given:
        raise ValueError("clocks must have at least one entry, got none")
    return clock_of_terms(
        "joined",
        [row for clock in given for row in terms(clock)],
        mean=np.concatenate([clock.mean_durations for clock in given]),
        tail=_both(clock.tail for clock in given),
        config={"clocks": [clock.config() for clock in given]},
        may_hang=any(clock.may_hang for clock in given),
    )


def _parts_example(make, num_workers):
    speeds = list(range(1, num_workers + 1))
    return make(
        download={"name": "fixed", "mean": [0.5] * num_workers},
        compute={"name": "exponential", "mean": speeds},
        upload={"name": "pareto", "mean": [1.0] * num_workers},
    )


@family(example=_parts_example)
def parts(
    *,
    download: ComputeTimes | dict[str, Any] | None = None,
    compute: ComputeTimes | dict[str, Any] | None = None,
    upload: ComputeTimes | dict[str, Any] | None = None,
) -> ComputeTimes:
    """Jobs that download the iterate, compute, and upload the gradient, one by one.

    The duration is the sum of the three, drawn independently. The iterate is fixed when
    the job is **assigned**, before the download, so all three parts (and a wait in the
    worker's queue) add to the delay. A worker does one job at a time: it downloads the
    next iterate when the last upload is done.

    Args:
        download: seconds from the assignment until the worker has the iterate; None: 0.
        compute: seconds of the gradient; None: 0.
        upload: seconds until the server has the gradient; None: 0.

    Returns:
        The compute times.

    Raises:
        TypeError: if a part is no built-in clock.
        ValueError: if no part is given, they differ in their workers, or one depends on
            when a job starts.

    Example:
        >>> parts(compute={"name": "fixed", "mean": [1, 2]},
        ...       upload={"name": "exponential", "mean": [3, 1]}).mean_durations
        array([4., 3.])
    """
    given = {
        name: as_clock(name, clock)
        for name, clock in zip(_PARTS, (download, compute, upload), strict=True)
        if clock is not None
    }
    if not given:
        raise ValueError(f"one of {', '.join(_PARTS)} must be given, got none")
    sizes = {name: clock.num_workers for name, clock in given.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the parts must have the same number of workers, got {sizes}")
    lists = [terms(clock) for clock in given.values()]
    return clock_of_terms(
        "parts",
        [_chain(rows) for rows in zip(*lists, strict=True)],
        mean=np.sum([clock.mean_durations for clock in given.values()], axis=0),
        tail=_both(clock.tail for clock in given.values()),
        config={name: clock.config() for name, clock in given.items()},
        may_hang=any(clock.may_hang for clock in given.values()),
    )


def _chain(rows: Sequence[list[Term]]) -> list[Term]:
    return [term for row in rows for term in row]


def _both(tails) -> str:
    return ", ".join(dict.fromkeys(tails))
