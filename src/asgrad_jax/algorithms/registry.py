"""What is known of every registered algorithm, and the table that shows it."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from asgrad_jax._util.docstrings import first_line
from asgrad_jax._util.registry import Function, Registry


class Properties(NamedTuple):
    """What an algorithm promises and asks for.

    Attributes:
        data: "homogeneous": converges to the minimum of f where all workers have the
            same data; "heterogeneous": also where they differ, to the extent that its
            source says.
        bounded_delay: applied delays never exceed a number known beforehand.
        unbiased: with heterogeneous data and any speeds, its stationary points are
            those of f.
        waits: some workers idle until others are done.
        discards: gradients or begun jobs are thrown away.
        table: the server remembers gradients, n x d and more.
        needs_speeds: it takes compute times as arguments (or measures them).
        needs_values: what a gradient does depends on its value or the iterates'.
        knows: what it has to be told, in words.
        state: what the server holds beyond x.
    """

    data: Literal["homogeneous", "heterogeneous"]
    bounded_delay: bool = False
    unbiased: bool = False
    waits: bool = False
    discards: bool = False
    table: bool = False
    needs_speeds: bool = False
    needs_values: bool = False
    knows: str = "nothing"
    state: str = "none"


REGISTRY: Registry[Properties] = Registry("an algorithm")


def register(
    data: Literal["homogeneous", "heterogeneous"], **properties: Any
) -> Callable[[Function], Function]:
    """Returns a decorator that makes an algorithm known by its function's name.

    Args:
        data: see `Properties`.
        **properties: the other fields of `Properties` that differ from their defaults.

    Raises:
        TypeError: for an unknown property.
        ValueError: if another algorithm has the name.

    Example:
        >>> import asgrad_jax as ag
        >>> @ag.algorithms.register("homogeneous")
        ... def every_other():
        ...     return ag.Algorithm(name="every_other", gradients_per_step=2)
        >>> ag.algorithms.get("every_other").gradients_per_step
        2
        >>> REGISTRY.remove("every_other")  # a doctest leaves things as they were
    """
    return REGISTRY.register(Properties(data, **properties))


def properties(name: str) -> Properties:
    """Returns what is known of an algorithm; ValueError lists the known names.

    Example:
        >>> from asgrad_jax import algorithms
        >>> algorithms.properties("minibatch").waits
        True
    """
    return REGISTRY.properties(name)


def names() -> list[str]:
    """Returns the names of the registered algorithms, family by family.

    Example:
        >>> from asgrad_jax import algorithms
        >>> algorithms.names()[:3]
        ['pure_async', 'pure_waiting', 'random_async']
    """
    return REGISTRY.names()


# The properties that hold or do not.
_MARKS = [name for name, kind in Properties.__annotations__.items() if kind is bool]

_LEGEND = """\
# Algorithms and what they can do

Generated from the registry by `algorithms.methods_table()`; a test compares.

- **data**: homogeneous = meant for workers with the same data, heterogeneous = for
  different data too.
- **bounded delay**: applied delays never exceed a number known beforehand.
- **unbiased**: with heterogeneous data and any speeds the stationary points are those
  of f (expected direction; as far as the source says).
- **waits**: some workers idle until others are done.
- **discards**: gradients, or jobs that had begun, are thrown away.
- **table**: the server remembers gradients.
- **needs speeds**, **needs values**: takes or measures compute times; looks at
  gradients or iterates.
"""


def methods_table() -> str:
    """Returns the page docs/methods-table.md: Markdown with one row per algorithm.

    Example:
        >>> methods_table().splitlines()[0]
        '# Algorithms and what they can do'
    """
    header = [
        "algorithm",
        "what",
        "data",
        *(mark.replace("_", " ") for mark in _MARKS),
        "has to know",
        "state beyond x",
    ]
    rows = [header, ["---"] * len(header)]
    for name, make in REGISTRY:
        known = properties(name)
        rows.append(
            [
                f"`{name}`",
                first_line(make).rstrip("."),
                known.data[:3],
                *("yes" if getattr(known, mark) else "" for mark in _MARKS),
                known.knows,
                known.state,
            ]
        )
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return _LEGEND + "\n" + "\n".join(lines) + "\n"
