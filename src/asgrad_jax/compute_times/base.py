"""What the event loops ask of compute times, and the built-in kind."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.checks import (
    check_count,
    check_number,
    check_numbers,
    make_read_only,
)
from asgrad_jax.compute_times import _distributions, _speed_profile

_MOST_JOBS = 2**62  # of one worker; job numbers are int64 in the kernels


@runtime_checkable
class Sampler(Protocol):
    """What `simulate` asks of compute times, the built-in ones and a user's own.

    Two more attributes are read where an object has them: `may_hang` (bool, some
    durations are inf: a job that never ends stays in flight) and the method
    `end_time(worker, start, work) -> end`, for a speed that varies in time: what
    `sample` returns is then the work of a job, and `end_time` says when one that starts
    at `start` ends (Python event loop only; `universal` runs compiled).

    Attributes:
        num_workers: workers n.
    """

    num_workers: int

    def sample(
        self, worker: int, rng: np.random.Generator, size: int
    ) -> NDArray[np.float64]:
        """Returns the next `size` durations of one worker.

        Args:
            worker: 0..n-1.
            rng: the worker's own generator, seeded by (seed, worker) and carried from
                one block to the next.
            size: durations wanted. The blocks of a worker hold 16, 32, 64, ..., 4096,
                4096, ... jobs whatever the algorithm does, so a sampler may draw
                whole vectors.

        Returns:
            float64 [size], seconds, not negative, finite unless `may_hang`.
        """
        ...


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ComputeTimes:
    """Built-in compute times of n workers; made by `normal` and others.

    Attributes:
        name: the family.
        mean_durations: float64 [n], seconds, the true mean of each worker's
            distribution; inf where it does not exist or a job may never end. Where the
            speed varies in time, the mean over a long run; with ticks, in ticks per
            job.
        tail: what is known of long jobs: "bounded", "gaussian", "exponential",
            "power 2.5", "none: mean infinite", ...
        may_hang: whether a job may take for ever. Such a job stays in flight;
            `simulate` raises when no other is left that could end.
    """

    name: str
    mean_durations: NDArray[np.float64]
    tail: str
    _distribution: _distributions.Distribution
    _config: dict[str, Any]
    may_hang: bool = False

    @property
    def num_workers(self) -> int:
        """Workers n."""
        return len(self.mean_durations)

    def config(self) -> dict[str, Any]:
        """Returns a plain dict from which `get(**config)` makes the same distribution.

        Example:
            >>> from asgrad_jax.compute_times import gamma
            >>> gamma([1, 2], shape=3.0).config()
            {'name': 'gamma', 'mean': [1.0, 2.0], 'shape': 3.0}
        """
        return {"name": self.name, **self._config}

    def durations(
        self, worker: int, seed: int, first: int, size: int
    ) -> NDArray[np.float64]:
        """Returns the durations of jobs first, first + 1, ... of one worker.

        Args:
            worker: 0..n-1.
            seed: non-negative integer.
            first: first job, >= 0.
            size: number of jobs, >= 0.

        Returns:
            float64 [size], seconds: what `simulate` uses at the same seed. Where the
            speed varies in time this is the work, in seconds at power 1 (`end_time`).

        Raises:
            TypeError, ValueError: if an argument is no integer or out of range.

        Example:
            >>> from asgrad_jax.compute_times import exponential
            >>> times = exponential([1.0, 2.0])
            >>> ten = times.durations(1, 0, 0, 10)
            >>> bool((ten[4:] == times.durations(1, 0, 4, 6)).all())
            True
        """
        self._check_worker(worker)
        first = check_count("first", first, minimum=0)
        size = check_count("size", size, minimum=0)
        check_count("first + size", first + size, minimum=0, maximum=_MOST_JOBS)
        out = np.empty(size)
        _distributions.fill_durations(self.distribution(seed), worker, first, out)
        return out

    def sample(
        self, worker: int, rng: np.random.Generator, size: int
    ) -> NDArray[np.float64]:
        """Returns `size` fresh durations of one worker, for use in a user's sampler.

        They are float64 [size], in seconds, keyed by one integer of `rng`.

        Example:
            >>> from asgrad_jax.compute_times import normal
            >>> class Doubled:
            ...     num_workers = 2
            ...     base = normal([1.0, 2.0])
            ...     def sample(self, worker, rng, size):
            ...         return 2 * self.base.sample(worker, rng, size)
            >>> Doubled().sample(0, np.random.default_rng(0), 3).shape
            (3,)
        """
        return self.durations(worker, int(rng.integers(2**63)), 0, size)

    @property
    def ties_by_worker(self) -> bool:
        """Whether simultaneous arrivals go by worker number, not by assignment."""
        return self._distribution.speed == _speed_profile.TICKS

    def end_time(self, worker: int, start: float, work: float) -> float:
        """Returns when a job ends, inf if never: start + work at constant speed.

        Args:
            worker: 0..n-1.
            start: seconds, when the worker begins.
            work: seconds at power 1, one of `durations`.

        Raises:
            TypeError, ValueError: if an argument is no number or out of range.

        Example:
            >>> from asgrad_jax.compute_times import fixed
            >>> fixed([2.0, 3.0]).end_time(1, 10.0, 3.0)
            13.0
        """
        self._check_worker(worker)
        start = check_number("start", start, minimum=0)
        work = check_number("work", work, minimum=0, finite=False)
        own = self._distribution
        profile = own.speed, own.period, own.pieces, own.piece_offset
        return float(_speed_profile.end_time(*profile, worker, start, work))

    def _check_worker(self, worker: int) -> None:
        check_count("worker", worker, minimum=0, maximum=self.num_workers - 1)

    def distribution(self, seed: int) -> _distributions.Distribution:
        """Returns the distribution with the stream of `seed`, for the kernels."""
        key = random.stream_key(seed, random.DURATION_STREAM)
        return self._distribution._replace(key=key)

    def one_by_one(self) -> "ComputeTimes":
        """Returns the times of workers that have one job at a time: none overlap."""
        own = self._distribution
        if own.kind != _distributions.STAGES:
            return self
        sums = own._replace(kind=_distributions.SUM, offset=own.offset[::3].copy())
        return dataclasses.replace(self, _distribution=sums)

    def __repr__(self) -> str:
        mean = self.mean_durations
        return (
            f"{self.name}({self.num_workers} workers, "
            f"mean {mean.min():.4g}..{mean.max():.4g})"
        )


def make_family(
    name: str,
    kind: int,
    mean: ArrayLike,
    *,
    tail: str,
    factor: float = 1.0,
    shift: float = 0.0,
    **parameter: float,
) -> ComputeTimes:
    """A distribution with scales s, one parameter and the means factor s + shift."""
    s = check_mean(mean)
    shape = next(iter(parameter.values()), 0.0)
    distribution = _distributions.Distribution(kind, s, shape)
    config = {"mean": s.tolist(), **parameter}
    means = make_read_only(factor * s + shift)
    return ComputeTimes(name, means, tail, distribution, config)


def check_mean(mean: ArrayLike, name: str = "mean") -> NDArray[np.float64]:
    """Returns one positive finite number of seconds per worker, a copy; or raises."""
    return check_numbers(name, mean, ndim=1, above=0, finite=True).copy()
