"""Compute times made of others: workers of several kinds, jobs of several stages."""

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_bool, check_count, check_list, make_read_only
from asgrad_jax.compute_times import _distributions, _speed_profile
from asgrad_jax.compute_times.base import ComputeTimes, check_mean
from asgrad_jax.compute_times.registry import as_compute_times, get, register

_STAGES = ("download", "compute", "upload")
_NO_VALUES = np.empty(0)


class Summand(NamedTuple):
    """One distribution of one worker; the two numbers are as in `Distribution`."""

    kind: int
    mean: float = 0.0
    shape: float = 0.0
    values: NDArray[np.float64] = _NO_VALUES  # empirical: draw one of these


def summands(times: ComputeTimes) -> list[list[Summand]]:
    """Returns every worker's summands; ValueError unless the speed is constant."""
    distribution = times.distribution(0)
    if distribution.speed != _speed_profile.STEADY:
        raise ValueError(
            f"a part of other compute times must be steady, got {times.name}, which "
            "depends on when a job starts; vary the speed last"
        )
    if distribution.kind == _distributions.STAGES:
        raise ValueError(
            "a part of other compute times must not have stages that overlap, got "
            f"{times.name} with overlap=True; combine the stages' own compute times"
        )
    if distribution.kind == _distributions.EMPIRICAL:
        return [
            [Summand(_distributions.EMPIRICAL, values=distribution.values[a:b])]
            for a, b in pairwise(distribution.offset)
        ]
    if distribution.kind != _distributions.SUM:
        return [
            [Summand(distribution.kind, s, distribution.shape)]
            for s in distribution.mean.tolist()
        ]
    rows = distribution.values[: 3 * distribution.offset[-1]].reshape(-1, 3)
    packed = [_unpack(row, distribution.values) for row in rows]
    return [packed[a:b] for a, b in pairwise(distribution.offset)]


def from_summands(
    name: str,
    lists: Sequence[Sequence[Summand]],
    *,
    mean: NDArray[np.float64],
    tail: str,
    config: dict[str, Any],
    may_hang: bool = False,
    kind: int = _distributions.SUM,
) -> ComputeTimes:
    """Makes compute times in which worker i's jobs last the sum of its summands.

    Args:
        name, tail, may_hang: see `ComputeTimes`.
        lists: n lists of summands; 3 n for stages, worker by worker.
        mean: float64 [n], true means, seconds.
        config: what `get` needs beside the name.
        kind: SUM, or STAGES.
    """
    offset = _distributions.bounds(lists)
    place = 3 * int(offset[-1])
    head: list[float] = []
    data = []
    for summand in (summand for row in lists for summand in row):
        if summand.kind == _distributions.EMPIRICAL:
            head += [summand.kind, place, len(summand.values)]
            data.append(summand.values)
            place += len(summand.values)
        else:
            head += [summand.kind, summand.mean, summand.shape]
    distribution = _distributions.Distribution(
        kind,
        mean,
        values=np.concatenate([np.array(head, np.float64), *data]),
        offset=offset,
    )
    return ComputeTimes(
        name, make_read_only(mean), tail, distribution, config, may_hang
    )


def fixed_plus(
    name: str, base: NDArray[np.float64], extra: Iterable[Summand], **rest: Any
) -> ComputeTimes:
    """Makes compute times of a fixed time and one more summand for each worker."""
    fixed = [Summand(_distributions.FIXED, seconds) for seconds in base.tolist()]
    return from_summands(name, list(zip(fixed, extra, strict=True)), **rest)


def renamed(times: ComputeTimes, name: str, config: dict[str, Any]) -> ComputeTimes:
    """Returns the same durations under the name and parameters of another family."""
    return dataclasses.replace(times, name=name, _config=config)


def _unpack(row: NDArray[np.float64], values: NDArray[np.float64]) -> Summand:
    kind = int(row[0])
    if kind == _distributions.EMPIRICAL:
        first = int(row[1])
        return Summand(kind, values=values[first : first + int(row[2])])
    return Summand(kind, float(row[1]), float(row[2]))


@register(example=lambda make, n: make([n - n // 2, n // 2], [1.0, 5.0][: 1 + (n > 1)]))
def groups(
    sizes: Sequence[int],
    mean: ArrayLike,
    distribution: str = "fixed",
    **parameters: Any,
) -> ComputeTimes:
    """Groups of workers of equal speed, as the client classes of the queueing papers.

    The first sizes[0] workers have mean[0], the next sizes[1] have mean[1], ...

    Args:
        sizes: workers of each group, >= 1; a group of none may be left out with its
            mean or given as 0.
        mean: [groups] seconds, > 0.
        distribution: a family that is given by means: "fixed", "exponential",
            "lognormal", ...
        **parameters: of that family.

    Raises:
        TypeError, ValueError: if sizes and means do not fit, or as the family.

    Example:
        >>> groups([2, 1], [1.0, 6.0], distribution="exponential").mean_durations
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
        times = get(distribution, np.repeat(s, sizes), **parameters)
    except TypeError as error:
        raise TypeError(
            f"distribution must be one that is made from means and "
            f"{sorted(parameters)}, got {distribution!r}: {error}"
        ) from None
    config = {"sizes": sizes, "mean": s.tolist(), "distribution": distribution}
    return renamed(times, "groups", config | parameters)


def _concatenate_example(make, num_workers):
    kinds = ("exponential", "fixed", "pareto")
    return make(
        [
            {"name": kinds[i % 3], "mean": [float(1 + i)]}  # one worker each
            for i in range(num_workers)
        ]
    )


@register(example=_concatenate_example)
def concatenate(compute_times: Sequence[ComputeTimes | dict[str, Any]]) -> ComputeTimes:
    """The workers of several compute_times side by side, numbered through.

    Args:
        compute_times: built-in compute times or dicts of their configs.

    Raises:
        TypeError: if it is no list or an entry is neither.
        ValueError: if there is none, or one depends on when a job starts.

    Example:
        >>> slow = {"name": "pareto", "mean": [2]}
        >>> concatenate([{"name": "fixed", "mean": [1]}, slow])
        concatenate(2 workers, mean 1..2)
    """
    wanted = "compute times such as [fixed([1.0]), pareto([2.0])]"
    given = [
        as_compute_times(f"compute_times[{i}]", times)
        for i, times in enumerate(check_list("compute_times", compute_times, wanted))
    ]
    if not given:
        raise ValueError("compute_times must have at least one entry, got none")
    return from_summands(
        "concatenate",
        [row for times in given for row in summands(times)],
        mean=np.concatenate([times.mean_durations for times in given]),
        tail=_both(times.tail for times in given),
        config={"compute_times": [times.config() for times in given]},
        may_hang=any(times.may_hang for times in given),
    )


def _stages_example(make, num_workers):
    speeds = list(range(1, num_workers + 1))
    return make(
        download={"name": "fixed", "mean": [0.5] * num_workers},
        compute={"name": "exponential", "mean": speeds},
        upload={"name": "pareto", "mean": [1.0] * num_workers},
    )


@register(example=_stages_example)
def stages(
    *,
    download: ComputeTimes | dict[str, Any] | None = None,
    compute: ComputeTimes | dict[str, Any] | None = None,
    upload: ComputeTimes | dict[str, Any] | None = None,
    overlap: bool = False,
) -> ComputeTimes:
    """Jobs that download the iterate, compute, and upload the gradient, one by one.

    The three are drawn independently. The iterate is fixed when the job is
    **assigned**, before the download, so all three stages (and a wait in the worker's
    queue) add to the delay.

    Without `overlap` a worker does one job at a time: it downloads the next iterate
    when the last upload is done, and a job lasts the sum of the three. With it the
    worker's download link, processor and upload link are each busy with one job at a
    time, in the order of assignment: job k, assigned at a_k, is downloaded, computed
    and uploaded at

        D_k = max(a_k, D_{k-1}) + d_k,  C_k = max(D_k, C_{k-1}) + c_k,
        U_k = max(C_k, U_{k-1}) + u_k.

    Only a worker that has a further job can overlap, and a server gives most workers
    the next one when a gradient **arrives**. So `overlap` changes nothing for methods
    with one job per worker (`pure_async`, `ringmaster`, `minibatch`, all rounds); it
    shortens the queues of those that choose the worker (`random_async`,
    `shuffled_async`, `fedbuff`), and pure asynchronous SGD with two jobs per worker,
    `Algorithm(name="two_jobs", start=(0, 1, ..., n-1, 0, 1, ..., n-1))`, hides the
    communication behind the computing at the price of a longer delay.

    Args:
        download: seconds from the assignment until the worker has the iterate; None: 0.
        compute: seconds of the gradient; None: 0.
        upload: seconds until the server has the gradient; None: 0.
        overlap: whether a worker's further jobs use the stages that are free. The same
            seed draws the same seconds with and without; `durations` and
            `mean_durations` are those of a job that nothing delays.

    Raises:
        TypeError: if a stage is not built-in compute times, or `overlap` no bool.
        ValueError: if no part is given, they differ in their workers, or one depends on
            when a job starts.

    Example:
        >>> stages(compute={"name": "fixed", "mean": [1, 2]},
        ...       upload={"name": "exponential", "mean": [3, 1]}).mean_durations
        array([4., 3.])

        Two jobs of one worker, 2 s of computing and 3 s of upload each:

        >>> import asgrad_jax as ag
        >>> two_jobs = ag.Algorithm(name="two_jobs", start=(0, 0))
        >>> seconds = {"compute": {"name": "fixed", "mean": [2]},
        ...            "upload": {"name": "fixed", "mean": [3]}}
        >>> for overlap in (False, True):
        ...     times = stages(**seconds, overlap=overlap)
        ...     print(ag.simulate(two_jobs, times, num_gradients=4).time)
        [ 5. 10. 15. 20.]
        [ 5.  8. 11. 14.]
    """
    check_bool("overlap", overlap)
    given = {
        name: as_compute_times(name, times)
        for name, times in zip(_STAGES, (download, compute, upload), strict=True)
        if times is not None
    }
    if not given:
        raise ValueError(f"one of {', '.join(_STAGES)} must be given, got none")
    sizes = {name: times.num_workers for name, times in given.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"all stages must have the same number of workers, got {sizes}"
        )
    config: dict[str, Any] = {name: times.config() for name, times in given.items()}
    n = next(iter(sizes.values()))
    none = [[] for _ in range(n)]
    lists = [summands(given[name]) if name in given else none for name in _STAGES]
    if overlap:
        kind, config["overlap"] = _distributions.STAGES, True
        parts = [rows[worker] for worker in range(n) for rows in lists]
    else:
        kind = _distributions.SUM
        parts = [[*chain.from_iterable(rows)] for rows in zip(*lists, strict=True)]
    return from_summands(
        "stages",
        parts,
        mean=np.sum([times.mean_durations for times in given.values()], axis=0),
        tail=_both(times.tail for times in given.values()),
        config=config,
        may_hang=any(times.may_hang for times in given.values()),
        kind=kind,
    )


@register(
    example=lambda make, n: make(
        {"name": "exponential", "mean": [1.0 + i for i in range(n)]},
        [1 + i % 3 for i in range(n)],
    )
)
def repeated(
    compute_times: ComputeTimes | dict[str, Any], counts: int | Sequence[int]
) -> ComputeTimes:
    """Jobs of several gradients: each lasts as long as that many jobs together.

    A job of worker i lasts the sum of H_i independent durations, as a job of H_i local
    steps does (`ag.local_steps`).

    Args:
        compute_times: of one gradient: built-in compute times or a dict of its config.
        counts: H_i >= 1 of each worker, or one number for all.

    Raises:
        TypeError, ValueError: if an argument is not as described, or the compute times
            depend on when a job starts.

    Example:
        >>> repeated({"name": "fixed", "mean": [1.0, 2.0]}, [4, 2]).mean_durations
        array([4., 4.])
    """
    times = as_compute_times("compute_times", compute_times)
    n = times.num_workers
    given = [counts] * n if np.ndim(counts) == 0 else list(counts)  # type: ignore[arg-type]
    if len(given) != n:
        raise ValueError(
            f"counts must be one number, or one for each of the {n} workers, got "
            f"{len(given)}"
        )
    checked = [check_count(f"counts[{i}]", own) for i, own in enumerate(given)]
    return from_summands(
        "repeated",
        [row * own for row, own in zip(summands(times), checked, strict=True)],
        mean=times.mean_durations * np.array(checked, np.float64),
        tail=times.tail,
        config={"compute_times": times.config(), "counts": checked},
        may_hang=times.may_hang,
    )


def _both(tails: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(tails))
