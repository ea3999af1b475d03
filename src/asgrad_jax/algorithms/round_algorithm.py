"""Algorithms in rounds, as data: servers that stop, limit or ration their workers."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import (
    check_choice,
    check_count,
    check_number,
    holds_bool,
)
from asgrad_jax.algorithms.algorithm import (
    SHARES,
    Count,
    Transform,
    one_or_each,
    plain_fields,
    resolve_count,
)

_MOST = 2**62  # jobs of a worker in a round, which are counted in int64
UNTIL = ("count", "harmonic", "quota")
STEPS = ("round", "each")


@runtime_checkable
class Allocation(Protocol):
    """Rations the workers anew for every round, from what was measured so far."""

    def allocate(
        self, round_number: int, total: NDArray[np.float64], jobs: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Returns the jobs of each worker in the next round, int64 [n], >= 0.

        Their sum is the algorithm's `gradients_per_step`.

        Args:
            round_number: 1, 2, ...
            total: float64 [n], seconds that each worker's finished jobs took.
            jobs: int64 [n], each worker's finished jobs.
        """
        ...


@runtime_checkable
class RandomAllocation(Allocation, Protocol):
    """An allocation that draws random numbers: `simulate` asks for its seed's."""

    def with_seed(self, seed: int) -> Allocation:
        """Returns the allocation of one run, whose draws follow from the seed alone."""
        ...


class RoundRules(NamedTuple):
    """The fields of a round algorithm for a known number of workers, checked."""

    num_workers: int
    until: str
    gradients_per_step: int
    quota: NDArray[np.int64] | None  # [n]; None: no limit
    allocation: Allocation | None  # replaces the quota at every round
    limit: NDArray[np.float64] | None  # [n] seconds; None: no limit
    each: bool  # every gradient makes a step, not the last of a round alone
    max_delay: int
    stop: bool

    @property
    def weight(self) -> float:
        """Weight of a gradient, before the rules of `transforms`."""
        if self.each or self.until == "harmonic":
            return 1.0
        if self.until == "quota" and self.quota is not None:
            return 1.0 / float(self.quota.sum())
        return 1.0 / self.gradients_per_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundAlgorithm:
    """An algorithm whose workers keep computing at one iterate until a round is over.

    Every worker has one job at a time, starts the next one when it is done, and
    everybody starts at x_0. When the round is over the server steps, and the workers
    that have no job, or whose job is stopped, start at the new iterate, in the order of
    their numbers. A gradient has weight 1 / S, or 1 / (jobs of a round) under until
    "quota" with numbers as quota, and 1 under until "harmonic" or step "each", unless a
    rule of `transforms` says otherwise.

    Attributes:
        name: how results call it.
        until: when a round is over: "count" (it has S gradients), "harmonic" (the
            harmonic mean of the workers' gradient counts reaches S / n) or "quota" (all
            workers have used up their jobs).
        gradients_per_step: S, >= 1, or a share of n; for an `Allocation` the jobs of a
            round.
        quota: jobs of a worker in a round, then it waits: one number >= 1, a tuple [n]
            of numbers >= 0, an `Allocation` that decides anew for every round (with
            draws: a `RandomAllocation`), or None for no limit.
        limit: seconds after which a job is given up, one number > 0 or a tuple [n];
            with until "quota", where a job given up counts as a job but brings no
            gradient. None = never.
        step: "round" (the last gradient of a round makes the server step) or "each"
            (every gradient does; rounds then decide about stops alone).
        max_delay: R >= 1. At the end of a round, jobs whose delay has reached R are
            stopped (R = 1: all) and their workers start anew.
        stop: False lets those jobs run and discards their gradients on arrival.
        transforms: rules that fill in weights and further columns, applied in turn.

    Example:
        >>> RoundAlgorithm(name="rennala", gradients_per_step=8).resolve(4).weight
        0.125
    """

    name: str
    until: str = "count"
    gradients_per_step: Count = "all"
    quota: int | tuple[int, ...] | Allocation | None = None
    limit: float | tuple[float, ...] | None = None
    step: str = "round"
    max_delay: Count = 1
    stop: bool = True
    transforms: tuple[Transform, ...] = ()

    def __post_init__(self) -> None:
        for field in ("gradients_per_step", "max_delay"):
            resolve_count(self.name, field, getattr(self, field), 1)

    def resolve(self, num_workers: int) -> RoundRules:
        """Returns the fields for n >= 1 workers, with every count a number.

        Raises:
            TypeError, ValueError: if a field is not as described, or two fields
                contradict each other.
        """
        n, name = num_workers, self.name
        check_choice(f"{name}: until", self.until, UNTIL)
        check_choice(f"{name}: step", self.step, STEPS)
        gradients_per_step = resolve_count(
            name, "gradients_per_step", self.gradients_per_step, n
        )
        max_delay = resolve_count(name, "max_delay", self.max_delay, n)
        if gradients_per_step is None or max_delay is None:
            raise TypeError(
                f"{name}: gradients_per_step and max_delay must be integers >= "
                f"1{SHARES}, got {gradients_per_step} and {max_delay}"
            )
        quota, allocation = self._quota(n)
        limit = self._limit(n)
        if self.until == "quota" and quota is None and allocation is None:
            raise ValueError(f"{name}: quota must be given with until 'quota'")
        if limit is not None and (self.until != "quota" or self.step != "round"):
            raise ValueError(
                f"{name}: until must be 'quota' and step 'round' with a limit, got "
                f"{self.until!r} and {self.step!r}; otherwise a round of jobs that are "
                "given up would never end"
            )
        if quota is not None and self.until == "harmonic":
            raise ValueError(
                f"{name}: until must be 'count' or 'quota' with a quota, got 'harmonic'"
            )
        allowed = math.inf if quota is None else quota.sum()
        if self.until == "count" and allowed < gradients_per_step:
            raise ValueError(
                f"{name}: gradients_per_step must be at most {allowed}, the "
                f"gradients of a round that the quota allows, got {gradients_per_step}"
            )
        if self.quota is not None and (max_delay > 1 or not self.stop):
            raise ValueError(
                f"{name}: max_delay must be 1 and stop True with a quota, got "
                f"{max_delay} and {self.stop}"
            )
        if not self.stop and self.step == "each":
            raise ValueError(
                f"{name}: step must be 'round' with stop=False, got 'each'"
            )
        return RoundRules(
            num_workers=n,
            until=self.until,
            gradients_per_step=gradients_per_step,
            quota=quota,
            allocation=allocation,
            limit=limit,
            each=self.step == "each",
            max_delay=max_delay,
            stop=self.stop,
        )

    def config(self) -> dict[str, Any]:
        """Returns the fields as plain values, for the record of a run.

        Example:
            >>> RoundAlgorithm(name="mine", quota=(1, 2)).config()["quota"]
            [1, 2]
        """
        return plain_fields(self)

    def _quota(self, n: int) -> tuple[NDArray[np.int64] | None, Allocation | None]:
        if self.quota is None:
            return None, None
        if isinstance(self.quota, Allocation):
            if self.until != "quota":
                raise ValueError(
                    f"{self.name}: until must be 'quota' with an allocation, got "
                    f"{self.until!r}"
                )
            return None, self.quota
        check = functools.partial(check_count, minimum=0, maximum=_MOST)
        name = f"{self.name}: quota (jobs per worker)"
        quota = np.array(one_or_each(self.quota, check, name, n))
        if not quota.any():
            raise ValueError(f"{name} must have a number > 0, got {self.quota}")
        return np.broadcast_to(quota, n).astype(np.int64), None

    def _limit(self, n: int) -> NDArray[np.float64] | None:
        if self.limit is None:
            return None
        check = functools.partial(check_number, above=0, finite=False)
        limit = one_or_each(self.limit, check, f"{self.name}: limit", n)
        return np.broadcast_to(limit, n).astype(np.float64)


def checked_allocation(name: str, jobs: Any, rules: RoundRules) -> NDArray[np.int64]:
    """Returns the jobs that an `Allocation` gave each worker, int64 [n]; or raises.

    Args:
        name, rules: of the algorithm.
        jobs: integers [n], >= 0, whose sum must be the size of a round.
    """
    array = np.asarray(jobs)
    n, size = rules.num_workers, rules.gradients_per_step
    integers = array.dtype.kind in "iu" and not np.ma.is_masked(jobs)
    if not integers or holds_bool(jobs):
        raise TypeError(
            f"{name}: allocate must return one integer per worker, got {jobs!r}"
        )
    if array.shape != (n,):
        raise ValueError(
            f"{name}: allocate must return shape ({n},), one number of jobs per "
            f"worker, got shape {array.shape}"
        )
    # Nobody above the size, so that the sum cannot wrap.
    if array.min() < 0 or array.max() > size or array.sum() != size:
        raise ValueError(
            f"{name}: allocate must return jobs >= 0 whose sum is the size of a round, "
            f"{size}, got {array.tolist()}"
        )
    return array.astype(np.int64, copy=False)


# Relative room for rounding in the harmonic mean, whose sum of 1 / B_i is accumulated.
_ROUNDING = 1 + 1e-9


def harmonic_reached(inverse: float, size: float, num_workers: int) -> bool:
    """Whether the harmonic mean of the counts B_i >= 1 is at least S / n.

    `inverse` is sum_i 1 / B_i, `size` is S.

    Example:
        >>> harmonic_reached(2.0, 2, 2), harmonic_reached(2.0, 3, 2)
        (True, False)
    """
    return size * inverse <= num_workers * num_workers * _ROUNDING
