"""What is known of every registered algorithm, and the table that shows it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

from asgrad_jax._util.checks import check_choice


class Facts(NamedTuple):
    """What an algorithm promises and asks for.

    Attributes:
        data: "hom": converges to the minimum of f where all workers have the same data;
            "het": also where they differ, to the extent that its source says.
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

    data: Literal["hom", "het"]
    bounded_delay: bool = False
    unbiased: bool = False
    waits: bool = False
    discards: bool = False
    table: bool = False
    needs_speeds: bool = False
    needs_values: bool = False
    knows: str = "nothing"
    state: str = "none"


Maker = TypeVar("Maker", bound=Callable[..., Any])
Value = TypeVar("Value")
_FACTS: dict[str, Facts] = {}


def method(data: Literal["hom", "het"], **facts: Any) -> Callable[[Maker], Maker]:
    """Returns a decorator that records the facts of the algorithm a function makes.

    Args:
        data: "hom" or "het", see `Facts`.
        **facts: the other fields of `Facts` that differ from their defaults.
    """

    def record(make: Maker) -> Maker:
        _FACTS[make.__name__] = Facts(data, **facts)
        return make

    return record


def facts(name: str) -> Facts:
    """Returns what is known of a registered algorithm.

    Args:
        name: one of `algorithms.names()`.

    Returns:
        The facts.

    Raises:
        ValueError: if no algorithm has that name; the known ones are listed.

    Example:
        >>> from asgrad_jax import algorithms
        >>> algorithms.facts("minibatch").waits
        True
    """
    return find(name, _FACTS)


def find(name: str, registry: Mapping[str, Value]) -> Value:
    """Returns what a registry holds for the algorithm of that name.

    Raises:
        ValueError: if no algorithm has that name; the known ones are listed.

    Example:
        >>> find("fedbuff", {"fedbuff": 1})
        1
    """
    check_choice("the name of an algorithm", name, registry)
    return registry[name]


_MARKS = (
    "bounded_delay",
    "unbiased",
    "waits",
    "discards",
    "table",
    "needs_speeds",
    "needs_values",
)

_LEGEND = """\
# Algorithms and what they can do

Generated from the registry by `algorithms.methods_table()`; a test compares.

- **data**: hom = meant for workers with the same data, het = for different data too.
- **bounded delay**: applied delays never exceed a number known beforehand.
- **unbiased**: with heterogeneous data and any speeds the stationary points are those
  of f (expected direction; as far as the source says).
- **waits**: some workers idle until others are done.
- **discards**: gradients, or jobs that had begun, are thrown away.
- **table**: the server remembers gradients.
- **needs speeds**, **needs values**: takes or measures compute times; looks at
  gradients or iterates.
"""


def methods_table(registry: Mapping[str, Callable[..., Any]]) -> str:
    """Returns the page with the capabilities of all algorithms, as Markdown.

    Args:
        registry: name -> function that makes the algorithm.

    Returns:
        Text with one table row per algorithm.
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
    for name, make in registry.items():
        known = _FACTS[name]
        rows.append(
            [
                f"`{name}`",
                (inspect.getdoc(make) or "").partition("\n")[0].rstrip("."),
                known.data,
                *("yes" if getattr(known, mark) else "" for mark in _MARKS),
                known.knows,
                known.state,
            ]
        )
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return _LEGEND + "\n" + "\n".join(lines) + "\n"
