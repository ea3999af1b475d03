"""Durations of a user's sampler, drawn block by block as the event loop asks for them.

Also the source of durations of the Python event loop, where built-in compute times
stand in for the sampler.
"""

import numbers
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.checks import (
    check_callable,
    check_count,
    check_number,
    check_seed,
)
from asgrad_jax.compute_times import ComputeTimes, _distributions

_FIRST_BLOCK = 16
_LARGEST_BLOCK = 4096
_LARGEST = float(np.finfo(np.float64).max)

# draw(worker, first, size) -> float64 [size]
Draw = Callable[[int, int, int], NDArray[np.float64]]
# end_time(worker, start, work) -> end
EndOfJob = Callable[[int, float, float], float]


def check_compute_times(compute_times: Any) -> int:
    """Returns the number of workers; raises TypeError for anything else."""
    if isinstance(compute_times, type):
        raise TypeError(
            "compute_times must be an object, got the class "
            f"{compute_times.__name__}; give an object of it"
        )
    num_workers = getattr(compute_times, "num_workers", None)
    if not callable(getattr(compute_times, "sample", None)) or num_workers is None:
        hint = ""
        if isinstance(compute_times, numbers.Real):
            hint = "; one number per worker is written fixed([1, 2, 3])"
        elif isinstance(compute_times, str):
            hint = "; by name: compute_times.get('fixed', [1, 2, 3])"
        raise TypeError(
            "compute_times must be one of asgrad_jax.compute_times (fixed(...) of a "
            "number per worker, empirical(...) of each worker's measured durations, "
            "...) or an object with num_workers and sample(worker, rng, size), got "
            f"{reprlib.repr(compute_times)}{hint}"
        )
    return check_count("compute_times.num_workers", num_workers)


def is_built_in(compute_times: Any) -> bool:
    """Whether the kernels know the distribution; a subclass may have its `sample`."""
    return type(compute_times) is ComputeTimes


def can_compile(compute_times: Any) -> bool:
    """Whether the compiled loop takes it: not an object with its own `end_time`."""
    return is_built_in(compute_times) or not hasattr(compute_times, "end_time")


class DurationBlocks:
    """The block of each worker that is in use, in one pool of memory.

    A worker's blocks hold 16, 32, 64, ..., 4096, 4096, ... jobs. A new block is drawn
    when the one before is used up, and takes a freed place where there is one, so the
    pool stays below 4096 durations per worker and below about twice those used.
    """

    def __init__(
        self, source: Draw, num_workers: int, end_time: EndOfJob | None = None
    ):
        self._draw = source
        self._end_time = end_time
        self.values = np.empty(64 * _FIRST_BLOCK)
        self.offset = np.zeros(num_workers, np.int64)  # of job 0: pool place - job
        self.ready = np.zeros(num_workers, np.int64)  # durations drawn so far
        self._used = 0
        self._free: dict[int, list[int]] = {}

    def refill(self, worker: int) -> None:
        """Draws the next block of `worker`, whose durations so far are used up."""
        first = int(self.ready[worker])
        # The blocks before hold 16 + 32 + ... = first jobs, unless they are at the cap.
        size = _block_size(first)
        block = self._draw(worker, first, size)
        if first:
            old = _block_size_before(first)
            place = int(self.offset[worker]) + first - old
            self._free.setdefault(old, []).append(place)
        free = self._free.get(size)
        place = free.pop() if free else self._allocate(size)
        self.values[place : place + size] = block
        self.offset[worker] = place - first
        self.ready[worker] = first + size

    def duration(self, worker: int, k: int) -> float:
        """Returns the duration of job `k`; every worker asks for 0, 1, 2, ... ."""
        if k >= self.ready[worker]:
            self.refill(worker)
        return float(self.values[self.offset[worker] + k])

    def end(self, worker: int, k: int, start: float, assigned: float) -> float:
        """Returns when job `k` ends that starts at `start`."""
        work = self.duration(worker, k)
        if self._end_time is None:
            return start + work
        return self._end_time(worker, start, work)

    def distribution(self) -> _distributions.Distribution:
        """Returns the blocks as the kernels take them; stale after a refill."""
        return _distributions.Distribution(
            _distributions.SAMPLED,
            mean=_NO_MEANS,
            values=self.values,
            offset=self.offset,
            ready=self.ready,
        )

    def _allocate(self, size: int) -> int:
        place = self._used
        self._used += size
        if self._used > self.values.size:
            larger = np.empty(max(2 * self.values.size, self._used))
            larger[:place] = self.values[:place]
            self.values = larger
        return place


_NO_MEANS = np.empty(0)


class OverlappingStages:
    """Ends of jobs whose stages overlap with those of the same worker's other jobs."""

    def __init__(self, distribution: _distributions.Distribution, num_workers: int):
        self._distribution = distribution
        self._done = np.zeros((num_workers, 3))

    def end(self, worker: int, k: int, start: float, assigned: float) -> float:
        """Returns when job `k` ends that is its worker's oldest from `start` on."""
        own = self._distribution
        return float(
            _distributions.end_of_stages(
                own.key, own.values, own.offset, self._done, worker, k, assigned, start
            )
        )


def ends_of_jobs(compute_times: Any, seed: int) -> DurationBlocks | OverlappingStages:
    """Returns what tells the Python event loop when jobs end."""
    if is_built_in(compute_times):
        distribution = compute_times.distribution(seed)
        if distribution.kind == _distributions.STAGES:
            return OverlappingStages(distribution, compute_times.num_workers)
    return duration_blocks(compute_times, seed)


def duration_blocks(compute_times: Any, seed: int) -> DurationBlocks:
    """Returns the blocks, empty so far, of any compute times at one seed.

    A user's sampler gets one generator per worker, seeded by (seed, worker) and made at
    the worker's first block; its results are checked.

    Raises:
        TypeError, ValueError: if `compute_times` lacks what it needs. Later, from a
            refill: if a sampler returns durations of a wrong shape or type, not finite
            or negative.
    """
    num_workers = check_compute_times(compute_times)
    if is_built_in(compute_times):

        def built_in(worker: int, first: int, size: int) -> NDArray[np.float64]:
            return compute_times.durations(worker, seed, first, size)

        return DurationBlocks(built_in, num_workers, compute_times.end_time)
    end_time = getattr(compute_times, "end_time", None)
    sample = compute_times.sample
    check_callable("compute_times.sample", sample, "worker", "rng", "size")
    if end_time is not None:
        check_callable("compute_times.end_time", end_time, "worker", "start", "work")
    seed = check_seed(seed)
    generators: dict[int, np.random.Generator] = {}

    def draw(worker: int, first: int, size: int) -> NDArray[np.float64]:
        rng = generators.get(worker)
        if rng is None:
            words = np.random.SeedSequence([seed, random.SAMPLER_STREAM, worker])
            rng = np.random.Generator(np.random.PCG64(words))
            generators[worker] = rng
        block = sample(worker, rng, size)
        return _checked(block, worker, first, size, most)

    most = np.inf if getattr(compute_times, "may_hang", False) else _LARGEST
    return DurationBlocks(draw, num_workers, end_time and _checked_end_time(end_time))


def _block_size(first: int) -> int:
    return min(first + _FIRST_BLOCK, _LARGEST_BLOCK)


def _block_size_before(first: int) -> int:
    # Undoes the doubling: blocks 16, 32, ..., s fill jobs 0 .. 2 s - 17.
    return min((first + _FIRST_BLOCK) // 2, _LARGEST_BLOCK)


def _checked_end_time(end_time: EndOfJob) -> EndOfJob:
    def checked(worker: int, start: float, work: float) -> float:
        call = f"compute_times.end_time({worker}, {start}, {work})"
        end = check_number(call, end_time(worker, start, work), finite=False)
        if not end >= start:  # NaN included
            raise ValueError(f"{call} must be at least the start, got {end}")
        return end

    return checked


def _checked(
    block: Any, worker: int, first: int, size: int, most: float
) -> NDArray[np.float64]:
    where = f"compute_times.sample(worker={worker}, size={size}), from job {first} on,"
    try:
        array = np.asarray(block)
    except ValueError as error:  # ragged
        raise ValueError(f"{where} must return a flat array: {error}") from None
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{where} must return numbers, got {array.dtype} entries")
    if array.shape != (size,):
        raise ValueError(f"{where} must return shape ({size},), got {array.shape}")
    # Compared as float64: the largest number of a smaller type rounds to inf.
    with np.errstate(over="ignore"):
        array = array.astype(np.float64)
    # min is NaN where an entry is, and then the comparison is false.
    if not (array.min() >= 0.0 and array.max() <= most):
        bad = int(np.flatnonzero(~((array >= 0.0) & (array <= most)))[0])
        raise ValueError(
            f"{where} must return finite numbers >= 0, got {array[bad]} at entry {bad} "
            "(jobs that never end: set may_hang = True)"
        )
    return array
