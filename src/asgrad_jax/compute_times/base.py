"""What the event loops ask of a clock, and the built-in kind of it.

The duration of job k of worker i is a function of (seed, i, k) alone, so two algorithms
with the same seed meet the same durations. The families are in `compute_times`.
"""

import dataclasses
import math
import reprlib
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.checks import holds_bool, is_number, refuse_masked, to_float
from asgrad_jax.compute_times import _distributions as laws
from asgrad_jax.compute_times import _speed as paces

_MOST_JOBS = 2**62  # of one worker; job numbers are int64 in the kernels


@runtime_checkable
class Sampler(Protocol):
    """What `simulate` asks of compute times, the built-in ones and a user's own.

    Two more attributes are read where an object has them: `may_hang` (bool, some
    durations are inf: a job that never ends stays in flight) and the method
    `finish(worker, start, work) -> end`, for a speed that varies in time: what `sample`
    returns is then the work of a job, and `finish` says when one that starts at `start`
    ends (Python event loop only; `universal` runs compiled).

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
    """A built-in law of the compute times of n workers; made by `normal` and others.

    Attributes:
        name: the family.
        mean_durations: float64 [n], seconds, the true mean of each worker's law; inf
            where it does not exist or a job may never end. Where the speed varies in
            time, the mean over a long run; with ticks, in ticks per job.
        tail: what is known of long jobs: "bounded", "gaussian", "exponential",
            "power 2.5", "none: mean infinite", ...
        may_hang: whether a job may take for ever. Such a job stays in flight;
            `simulate` raises when no other is left that could end.
    """

    name: str
    mean_durations: NDArray[np.float64]
    tail: str
    _law: laws.Law
    _config: dict[str, Any]
    may_hang: bool = False

    @property
    def num_workers(self) -> int:
        """Workers n."""
        return len(self.mean_durations)

    def config(self) -> dict[str, Any]:
        """Returns a plain dict from which `get(**config)` makes the same law.

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
            speed varies in time this is the work, in seconds at power 1 (`finish`).

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
        first, size = count("first", first, 0), count("size", size, 0)
        if first + size > _MOST_JOBS:
            raise ValueError(f"first + size is {first + size}; at most {_MOST_JOBS}")
        out = np.empty(size)
        laws.fill_durations(self.law(seed), worker, first, out)
        return out

    def sample(
        self, worker: int, rng: np.random.Generator, size: int
    ) -> NDArray[np.float64]:
        """Returns `size` fresh durations of one worker, for use in a user's sampler.

        Args:
            worker: 0..n-1.
            rng: source of one integer that keys the draws.
            size: number of durations.

        Returns:
            float64 [size], seconds.

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
        return self._law.pace == paces.TICKS

    def finish(self, worker: int, start: float, work: float) -> float:
        """Returns when a job ends: start + work, unless the speed varies in time.

        Args:
            worker: 0..n-1.
            start: seconds, when the worker begins.
            work: seconds at power 1, one of `durations`.

        Returns:
            Seconds; inf if it never ends.

        Raises:
            TypeError, ValueError: if an argument is no number or out of range.

        Example:
            >>> from asgrad_jax.compute_times import fixed
            >>> fixed([2.0, 3.0]).finish(1, 10.0, 3.0)
            13.0
        """
        self._check_worker(worker)
        start, work = _seconds("start", start), _seconds("work", work)
        if start == math.inf:
            raise ValueError("start is inf; give a finite number >= 0")
        law = self._law
        return float(
            paces.finish(
                law.pace,
                law.period,
                law.pieces,
                law.piece_offset,
                worker,
                start,
                work,
            )
        )

    def _check_worker(self, worker: int) -> None:
        if isinstance(worker, (bool, np.bool_)) or not isinstance(
            worker, (int, np.integer)
        ):
            raise TypeError(f"worker is {worker!r}; give an integer")
        if not 0 <= worker < self.num_workers:
            raise ValueError(
                f"worker is {worker}; there are workers 0..{self.num_workers - 1}"
            )

    def law(self, seed: int) -> laws.Law:
        """Returns the law with the stream of `seed`, as the kernels take it."""
        return self._law._replace(key=random.stream_key(seed, random.DURATION_STREAM))

    def __repr__(self) -> str:
        mean = self.mean_durations
        return (
            f"{self.name}({self.num_workers} workers, "
            f"mean {mean.min():.4g}..{mean.max():.4g})"
        )


def plain_law(
    kind: int,
    mean: NDArray[np.float64],
    shape: float = 0.0,
    *,
    values: NDArray[np.float64] | None = None,
    offset: NDArray[np.int64] | None = None,
) -> laws.Law:
    """Returns a law without a seed and at a steady pace; see `laws.Law`."""
    return laws.Law(
        kind=kind,
        key=np.uint64(0),
        mean=mean,
        shape=shape,
        values=np.empty(0) if values is None else values,
        offset=np.empty(0, np.int64) if offset is None else offset,
        ready=np.empty(0, np.int64),
    )


def make_family(
    name: str,
    kind: int,
    s: NDArray[np.float64],
    *,
    mean: NDArray[np.float64],
    tail: str,
    may_hang: bool = False,
    **parameter: float,
) -> ComputeTimes:
    """Returns a clock of one law, its workers told apart by s, with one parameter."""
    law = plain_law(kind, s, next(iter(parameter.values()), 0.0))
    config = {"mean": s.tolist(), **parameter}
    return ComputeTimes(name, read_only(mean), tail, law, config, may_hang)


def numbers(what: str, values: ArrayLike) -> NDArray[np.float64]:
    """Returns a flat, non-empty float64 array, or raises an error that names it."""
    refuse_masked(what, values)
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{what} is ragged; give a flat sequence of numbers") from None
    if array.dtype.kind not in "iuf" or holds_bool(values):
        kind = "bool" if holds_bool(values) else array.dtype
        raise TypeError(
            f"{what} holds {kind} entries ({reprlib.repr(values)}); give a sequence of "
            "numbers"
        )
    if array.ndim != 1:
        raise ValueError(
            f"{what} has shape {array.shape}; give one number per worker, for example "
            "range(1, 11)"
            if what == "mean"
            else f"{what} has shape {array.shape}; give a flat sequence of numbers"
        )
    if array.size == 0:
        raise ValueError(f"{what} is empty; give at least one number")
    return array.astype(np.float64)


def means(mean: ArrayLike, what: str = "mean") -> NDArray[np.float64]:
    """Returns one positive finite number per worker, or raises."""
    s = numbers(what, mean)
    bad = np.flatnonzero(~(np.isfinite(s) & (s > 0.0)))
    if bad.size:
        raise ValueError(
            f"{what}[{bad[0]}] is {s[bad[0]]}; every worker's {what} must be positive "
            "and finite"
        )
    return s


def parameter(name: str, value: float, above: float) -> float:
    """Returns one finite number > above as a float, or raises."""
    number = _real(name, value, f"one number > {above:g}")
    if not (math.isfinite(number) and number > above):
        raise ValueError(f"{name} is {number}; give a finite number > {above:g}")
    return number


def _real(name: str, value: Any, wanted: str) -> float:
    """Returns one number as a float; raises for bools and all that is no number."""
    if not is_number(value):
        raise TypeError(f"{name} is {value!r}; give {wanted}")
    return to_float(value)


def _seconds(name: str, value: float) -> float:
    """Returns a number >= 0, inf included, or raises."""
    number = _real(name, value, "a number >= 0")
    if not number >= 0.0:  # NaN included
        raise ValueError(f"{name} is {number}; give a number >= 0")
    return number


def probability(name: str, value: float) -> float:
    """Returns a number strictly between 0 and 1 as a float, or raises."""
    number = parameter(name, value, 0.0)
    if number >= 1.0:
        raise ValueError(f"{name} is {number}; give a number strictly between 0 and 1")
    return number


def count(name: str, value: int, least: int) -> int:
    """Returns an integer >= least, or raises."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}; give an integer >= {least}")
    if value < least:
        raise ValueError(f"{name} is {value}; give an integer >= {least}")
    return int(value)


def read_only(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns a copy that cannot be written to."""
    copy = array.copy()
    copy.flags.writeable = False
    return copy
