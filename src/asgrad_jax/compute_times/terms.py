"""Clocks whose workers, or parts of a job, have laws of their own.

A worker's duration is the sum of its terms, each drawn from a law of its own stream.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import make_read_only
from asgrad_jax.compute_times import _distributions as laws
from asgrad_jax.compute_times import _speed as paces
from asgrad_jax.compute_times.base import ComputeTimes, plain_law

_NO_VALUES = np.empty(0)


class Term(NamedTuple):
    """One law of one worker; see `laws.Law` for the two numbers."""

    kind: int
    mean: float = 0.0
    shape: float = 0.0
    values: NDArray[np.float64] = _NO_VALUES  # empirical: draw one of these


def terms(clock: ComputeTimes) -> list[list[Term]]:
    """Returns the terms of every worker of a clock whose pace is steady.

    Args:
        clock: built-in compute times.

    Returns:
        n lists.

    Raises:
        ValueError: if the durations of the clock depend on when a job starts.
    """
    law = clock.law(0)
    if law.pace != paces.STEADY:
        raise ValueError(
            "a part of other compute times must be steady, got "
            f"{clock.name}, which depends on when a job starts; combine steady ones "
            "first and vary their speed last"
        )
    if law.kind == laws.EMPIRICAL:
        bounds = zip(law.offset[:-1], law.offset[1:], strict=True)
        return [[Term(laws.EMPIRICAL, values=law.values[a:b])] for a, b in bounds]
    if law.kind != laws.SUM:
        return [[Term(law.kind, s, law.shape)] for s in law.mean.tolist()]
    rows = law.values[: 3 * law.offset[-1]].reshape(-1, 3)
    packed = [_unpack(row, law.values) for row in rows]
    return [packed[a:b] for a, b in zip(law.offset[:-1], law.offset[1:], strict=True)]


def clock_of_terms(
    name: str,
    lists: Sequence[Sequence[Term]],
    *,
    mean: NDArray[np.float64],
    tail: str,
    config: dict[str, Any],
    may_hang: bool = False,
) -> ComputeTimes:
    """Makes the clock in which worker i's jobs last the sum of its terms.

    Args:
        name: of the family.
        lists: n lists of terms.
        mean: float64 [n], true means, seconds.
        tail: see `ComputeTimes`.
        config: what `get` needs beside the name.
        may_hang: see `ComputeTimes`.

    Returns:
        The compute times.
    """
    offset = np.concatenate([[0], np.cumsum([len(row) for row in lists])])
    place = 3 * int(offset[-1])
    head: list[float] = []
    data = []
    for term in (term for row in lists for term in row):
        if term.kind == laws.EMPIRICAL:
            head += [term.kind, place, len(term.values)]
            data.append(term.values)
            place += len(term.values)
        else:
            head += [term.kind, term.mean, term.shape]
    law = plain_law(
        laws.SUM,
        mean,
        values=np.concatenate([np.array(head, np.float64), *data]),
        offset=offset.astype(np.int64),
    )
    return ComputeTimes(name, make_read_only(mean), tail, law, config, may_hang)


def renamed(clock: ComputeTimes, name: str, config: dict[str, Any]) -> ComputeTimes:
    """Returns the same clock under the name and parameters of another family."""
    return dataclasses.replace(clock, name=name, _config=config)


def _unpack(row: NDArray[np.float64], values: NDArray[np.float64]) -> Term:
    kind = int(row[0])
    if kind == laws.EMPIRICAL:
        first = int(row[1])
        return Term(kind, values=values[first : first + int(row[2])])
    return Term(kind, float(row[1]), float(row[2]))
