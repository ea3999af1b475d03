"""Methods that decide at every arrival, as registered records."""

import dataclasses
from typing import Any, NamedTuple

from asgrad_jax.algorithms.algorithm import Transform, plain_fields
from asgrad_jax.algorithms.protocol import Decision, Job, Server


class EventRules(NamedTuple):
    """What an event method is for a known number of workers."""

    num_workers: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventMethod:
    """Base of registered methods that decide at every arrival, in the Python loop.

    A subclass has `start` and `arrive` of an `EventAlgorithm`. Its fields are what it
    was given; what it keeps while it runs is in `vars(self)`, set up by `start`.

    Attributes:
        name: how results call it.
        transforms: rules that fill in weights and further columns, applied in turn.
    """

    name: str
    transforms: tuple[Transform, ...] = ()

    def start(self, server: Server) -> Any:
        """Returns the workers that get the first jobs; see `EventAlgorithm`."""
        raise NotImplementedError

    def arrive(self, server: Server, job: Job) -> Decision:
        """Returns what becomes of a gradient; see `EventAlgorithm`."""
        raise NotImplementedError

    def resolve(self, num_workers: int) -> EventRules:
        """Returns what it is for n workers."""
        return EventRules(num_workers)

    def config(self) -> dict[str, Any]:
        """Returns the fields as plain values, for the record of a run."""
        return plain_fields(self)
