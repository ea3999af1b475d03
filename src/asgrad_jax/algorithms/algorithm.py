"""An algorithm as data: the fields that the event loops read."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_choice, check_count, check_numbers
from asgrad_jax.schedules.schedule import Schedule

# A number of jobs or gradients: itself, or a share of the n workers.
Count = int | Literal["all", "half", "tenth"]

# What fills in columns once it is known which gradient arrives when: weights, clipping
# radii, accept distances, tables. A frozen dataclass, so that results can say what ran.
Transform = Callable[[Schedule], Schedule]

ORDERS = ("same", "random", "shuffled", "shuffle_once", "cyclic")
RESTARTS = ("immediately", "after_step")
STARTS = ("auto", "one_each", "order")

_MOST_JOBS = 2**31 - 1  # job records are numbered by an int32
_SHARES = {"all": 1, "half": 2, "tenth": 10}
SHARES = ", 'all', 'half' or 'tenth'"  # as errors call them

_Number = TypeVar("_Number", int, float)


class Rules(NamedTuple):
    """The fields of an algorithm for a known number of workers, checked."""

    num_workers: int
    order: str
    concurrency: int
    gradients_per_step: int
    after_step: bool  # new jobs only after a server step
    one_each: bool  # the first n jobs go one to each worker
    max_delay: int | None  # None: no limit
    start: tuple[int, ...] | None  # workers of the first jobs; None: as the order says
    routing: tuple[float, ...] | None  # probabilities of "random"; None: uniform

    @property
    def weight(self) -> float:
        """Weight of a gradient, before the rules of `transforms`: 1 / b."""
        return 1.0 / self.gradients_per_step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Algorithm:
    """A member of the asynchronous SGD family, given by when and where jobs go.

    On the arrival of a gradient of worker i the server discards it if its delay is at
    least `max_delay`; otherwise it adds weight * g to its direction and steps after
    every `gradients_per_step` such gradients. New jobs read the iterate current at
    their assignment. Weights are 1 / b unless a rule of `transforms` says otherwise.

    Attributes:
        name: how results call it.
        order: the next worker: "same" (the one that arrived), "random" (uniform, or by
            `routing`), "shuffled" (a fresh permutation for every n picks),
            "shuffle_once" (one permutation, repeated) or "cyclic".
        concurrency: jobs in flight, >= 1; None = n. With "same", at most n.
        gradients_per_step: gradients b per server step, >= 1, or "all" = n, "half" =
            max(1, n // 2) or "tenth" = max(1, n // 10).
        restart: "immediately" (every arrival assigns one job, at the version current
            then) or "after_step" (jobs are assigned after a step only, one for every
            gradient in it; then b <= concurrency).
        start: "one_each" (one job per worker; needs concurrency n), "order" (the first
            picks of the order), "auto" (one_each where concurrency is n) or a tuple
            with the workers of the first jobs, whose length is the concurrency.
        max_delay: gradients of this delay or more are discarded, >= 1, or "all" = n;
            None = never.
        routing: [n] probabilities of the workers under order "random".
        transforms: rules that fill in weights and further columns, applied in turn.

    Example:
        >>> Algorithm(name="mine", order="cyclic", concurrency=2, gradients_per_step=3)
        Algorithm(name='mine', order='cyclic', concurrency=2, gradients_per_step=3, ...)
    """

    name: str
    order: str = "same"
    concurrency: Count | None = None
    gradients_per_step: Count = 1
    restart: str = "immediately"
    start: str | tuple[int, ...] = "auto"
    max_delay: Count | None = None
    routing: tuple[float, ...] | None = None
    transforms: tuple[Transform, ...] = ()

    def __post_init__(self) -> None:
        for field in ("gradients_per_step", "concurrency", "max_delay"):
            resolve_count(self.name, field, getattr(self, field), 1)

    def resolve(self, num_workers: int) -> Rules:
        """Returns the fields for n >= 1 workers, with every count a number.

        Raises:
            TypeError, ValueError: if a field is not as described, or two fields
                contradict each other.

        Example:
            >>> steps = {"gradients_per_step": "all", "restart": "after_step"}
            >>> Algorithm(name="minibatch", **steps).resolve(4)
            Rules(num_workers=4, order='same', concurrency=4, gradients_per_step=4, ...)
        """
        n = num_workers
        check_choice(f"{self.name}: order", self.order, ORDERS)
        check_choice(f"{self.name}: restart", self.restart, RESTARTS)
        first = self._first_workers(n)
        concurrency = resolve_count(self.name, "concurrency", self.concurrency, n)
        if first is not None:
            if concurrency not in (None, len(first)):
                raise ValueError(
                    f"{self.name}: concurrency must be left out with a start, which "
                    f"names {len(first)} workers, got {concurrency}"
                )
            concurrency = len(first)
        concurrency = concurrency or n
        gradients_per_step = resolve_count(
            self.name, "gradients_per_step", self.gradients_per_step, n
        )
        max_delay = resolve_count(self.name, "max_delay", self.max_delay, n)
        if gradients_per_step is None:
            raise TypeError(
                f"{self.name}: gradients_per_step must be an integer >= 1{SHARES}, got "
                "None"
            )
        check_count(f"{self.name}: concurrency", concurrency, maximum=_MOST_JOBS)
        if self.order == "same" and first is None and concurrency > n:
            raise ValueError(
                f"{self.name}: concurrency must be at most {n} with order 'same', one "
                f"job per worker, got {concurrency}; give fewer, or another order"
            )
        after_step = self.restart == "after_step"
        if after_step and gradients_per_step > concurrency:
            raise ValueError(
                f"{self.name}: gradients_per_step must be at most {concurrency}, the "
                f"jobs in flight (concurrency), got {gradients_per_step}, for no new "
                "job starts before the step; give fewer, or restart='immediately'"
            )
        if self.start == "one_each" and concurrency != n:
            raise ValueError(
                f"{self.name}: concurrency must be {n} with start 'one_each', one job "
                f"for each worker, got {concurrency}; give that, or start='order'"
            )
        return Rules(
            num_workers=n,
            order=self.order,
            concurrency=concurrency,
            gradients_per_step=gradients_per_step,
            after_step=after_step,
            one_each=first is None and concurrency == n and self.start != "order",
            max_delay=max_delay,
            start=first,
            routing=self._routing(n),
        )

    def config(self) -> dict[str, Any]:
        """Returns the fields as plain values, for the record of a run.

        Example:
            >>> Algorithm(name="mine", gradients_per_step=3).config()["restart"]
            'immediately'
        """
        return plain_fields(self)

    def _first_workers(self, n: int) -> tuple[int, ...] | None:
        if not isinstance(self.start, tuple):
            check_choice(
                f"{self.name}: start", self.start, STARTS, other="a tuple of workers"
            )
            return None
        if not self.start:
            raise ValueError(f"{self.name}: start must name a worker, got none")
        return tuple(
            check_count(f"{self.name}: start[{i}]", worker, minimum=0, maximum=n - 1)
            for i, worker in enumerate(self.start)
        )

    def _routing(self, n: int) -> tuple[float, ...] | None:
        if self.routing is None:
            return None
        if self.order != "random":
            raise ValueError(
                f"{self.name}: order must be 'random' with a routing, got "
                f"{self.order!r}"
            )
        p = positive_numbers(f"{self.name}: routing", self.routing, n)
        if abs(sum(p) - 1) > 1e-9:
            raise ValueError(f"{self.name}: routing must sum to 1, got {sum(p)}")
        return p


def plain_fields(algorithm: Any) -> dict[str, Any]:
    """Returns the fields of a frozen record as JSON values, rules with their class."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(entry) for entry in value]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {"rule": type(value).__name__, **plain_fields(value)}
        if isinstance(value, np.generic):
            return value.item()
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        return getattr(value, "__qualname__", type(value).__qualname__)

    return {
        field.name: plain(getattr(algorithm, field.name))
        for field in dataclasses.fields(algorithm)
    }


def resolve_count(name: str, field: str, value: Count | None, n: int) -> int | None:
    """Returns a count as a number >= 1 (None stays None), or raises."""
    if value is None:
        return None
    if isinstance(value, str) and value in _SHARES:
        return max(1, n // _SHARES[value])
    return check_count(f"{name}: {field}", value, other=SHARES)


def positive_numbers(
    name: str, values: ArrayLike, num_workers: int | None = None
) -> tuple[float, ...]:
    """Returns positive finite numbers, one per worker (n, if known); or raises."""
    checked = check_numbers(
        name, values, ndim=1, size=num_workers, above=0, finite=True
    )
    return tuple(checked.tolist())


def one_or_each(
    values: Any,
    check: Callable[[str, Any], _Number],
    name: str,
    num_workers: int | None = None,
) -> _Number | tuple[_Number, ...]:
    """Returns one checked number for all workers, or a tuple of one for each.

    `check` takes a name for errors and a number, and returns the number as it is kept.

    Example:
        >>> one_or_each([2, 3], check_count, "trials"), one_or_each(2, check_count, "x")
        ((2, 3), 2)
    """
    if not isinstance(values, list | tuple) and np.ndim(values) == 0:
        return check(name, values)
    n = len(values) if num_workers is None else num_workers
    if len(values) != n or not n:
        raise ValueError(
            f"{name} must have one number for each of the {n or 'n'} workers, got "
            f"{len(values)}"
        )
    return tuple(check(f"{name}[{i}]", value) for i, value in enumerate(values))
