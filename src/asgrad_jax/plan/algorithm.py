"""An algorithm as data: the fields that the event loops read, and rules for weights."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

# A number of jobs or gradients: itself, "all" = n, or "half" = max(1, n // 2).
Count = int | Literal["all", "half"]

ORDERS = ("same", "random", "shuffled", "shuffle_once", "cyclic")
RESTARTS = ("immediately", "after_step")
STARTS = ("auto", "one_each", "order")

_MOST_JOBS = 2**31 - 1  # job records are numbered by an int32


class Rules(NamedTuple):
    """The fields of an algorithm for a known number of workers, checked."""

    num_workers: int
    order: str
    concurrency: int
    wait: int
    after_step: bool  # new jobs only after a server step
    one_each: bool  # the first n jobs go one to each worker
    max_delay: int | None  # None: no limit
    weights: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Algorithm:
    """A member of the asynchronous SGD family, given by when and where jobs go.

    On the arrival of a gradient of worker i the server discards it if its delay is at
    least `max_delay`; otherwise it adds weight * g to its direction and steps after
    every `wait` such gradients. New jobs read the iterate current at their assignment.

    Attributes:
        name: how results call it.
        order: the next worker: "same" (the one that arrived), "random" (uniform),
            "shuffled" (a fresh permutation for every n picks), "shuffle_once" (one
            permutation, repeated) or "cyclic".
        concurrency: jobs in flight, >= 1; None = n. With "same", at most n.
        wait: gradients b per server step, >= 1, or "all" = n, or "half" =
            max(1, n // 2).
        restart: "immediately" (every arrival assigns one job, at the version current
            then) or "after_step" (jobs are assigned after a step only, one for every
            gradient in it; then b <= concurrency).
        start: "one_each" (one job per worker; needs concurrency n), "order" (the first
            picks of the order) or "auto" (one_each where concurrency is n).
        max_delay: gradients of this delay or more are discarded, >= 1, or "all" = n;
            None = never.
        weights: a rule of `WEIGHTS`: "mean" (1 / b) or "delay_adaptive".

    Example:
        >>> Algorithm(name="mine", order="cyclic", concurrency=2, wait=3)
        Algorithm(name='mine', order='cyclic', concurrency=2, wait=3, ...)
    """

    name: str
    order: str = "same"
    concurrency: Count | None = None
    wait: Count = 1
    restart: str = "immediately"
    start: str = "auto"
    max_delay: Count | None = None
    weights: str = "mean"

    def resolve(self, num_workers: int) -> Rules:
        """Returns the fields for n workers.

        Args:
            num_workers: n >= 1.

        Returns:
            The rules, with every count a number.

        Raises:
            TypeError: if a count is neither an integer nor one of the words.
            ValueError: if a field is out of range or two fields contradict each other.

        Example:
            >>> Algorithm(name="minibatch", wait="all", restart="after_step").resolve(4)
            Rules(num_workers=4, order='same', concurrency=4, wait=4, ...)
        """
        n = num_workers
        _check_choice(self.name, "order", self.order, ORDERS)
        _check_choice(self.name, "restart", self.restart, RESTARTS)
        _check_choice(self.name, "start", self.start, STARTS)
        _check_choice(self.name, "weights", self.weights, WEIGHTS)
        concurrency = self._count("concurrency", self.concurrency, n) or n
        wait = self._count("wait", self.wait, n)
        max_delay = self._count("max_delay", self.max_delay, n)
        if wait is None:
            raise TypeError(f"{self.name}: wait is None; give an integer or 'all'")
        if concurrency > _MOST_JOBS:
            raise ValueError(
                f"{self.name}: concurrency is {concurrency}; it must be <= {_MOST_JOBS}"
            )
        if self.order == "same" and concurrency > n:
            raise ValueError(
                f"{self.name}: concurrency is {concurrency} with {n} workers; with "
                "order 'same' every worker has one job, so give at most n or another "
                "order"
            )
        after_step = self.restart == "after_step"
        if after_step and wait > concurrency:
            raise ValueError(
                f"{self.name}: wait is {wait} but only {concurrency} jobs are in "
                "flight (concurrency) and no new one starts before the step; give "
                f"wait <= {concurrency}, or restart='immediately'"
            )
        if self.start == "one_each" and concurrency != n:
            raise ValueError(
                f"{self.name}: start is 'one_each' but concurrency is {concurrency} "
                f"with {n} workers; give concurrency = {n}, or start='order'"
            )
        return Rules(
            num_workers=n,
            order=self.order,
            concurrency=concurrency,
            wait=wait,
            after_step=after_step,
            one_each=concurrency == n and self.start != "order",
            max_delay=max_delay,
            weights=self.weights,
        )

    def _count(self, field: str, value: Count | None, n: int) -> int | None:
        if value is None:
            return None
        if value == "all":
            return n
        if value == "half":
            return max(1, n // 2)
        try:
            if isinstance(value, (bool, np.bool_)):
                raise TypeError
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(
                f"{self.name}: {field} is {value!r}; give an integer, 'all' or 'half'"
            ) from None
        if number < 1:
            raise ValueError(f"{self.name}: {field} is {number}; it must be >= 1")
        return number


def _check_choice(name: str, field: str, value: object, known) -> None:
    if value not in known:
        raise ValueError(
            f"{name}: {field} is {value!r}; known: {', '.join(map(repr, known))}"
        )


# A rule of weights maps (rules, delay int32 [A]) to float64 [A].
WeightRule = Callable[[Rules, NDArray[np.int32]], NDArray[np.float64]]


def _mean(rules: Rules, delay: NDArray[np.int32]) -> NDArray[np.float64]:
    return np.full(len(delay), 1.0 / rules.wait)


def _delay_adaptive(rules: Rules, delay: NDArray[np.int32]) -> NDArray[np.float64]:
    m = rules.concurrency
    return m / (np.maximum(m, delay) * float(rules.wait))


WEIGHTS: dict[str, WeightRule] = {"mean": _mean, "delay_adaptive": _delay_adaptive}


def gradient_weights(
    rules: Rules, read: NDArray[np.int32], step: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Returns the weight of every row by the algorithm's rule.

    Weights never change what happens when, so they come after the event loop.

    Args:
        rules: of the algorithm.
        read: int32 [A], versions read.
        step: bool [A], whether the server stepped.

    Returns:
        float64 [A]; 1 / b for "mean", M / (b max(M, tau)) for "delay_adaptive".

    Example:
        >>> rules = Algorithm(name="a", weights="delay_adaptive").resolve(2)
        >>> read = np.array([0, 0, 0, 0], np.int32)
        >>> gradient_weights(rules, read, np.ones(4, bool))  # delays 0, 1, 2, 3
        array([1.        , 1.        , 1.        , 0.66666667])
    """
    if rules.weights == "mean":
        return _mean(rules, read)  # the delays are not needed: spare their memory
    version = np.cumsum(step, dtype=np.int32) - step
    return WEIGHTS[rules.weights](rules, version - read)
