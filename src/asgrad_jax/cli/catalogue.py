"""`asgrad algorithms` and `asgrad compute-times`: lists, and a page on each name."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from asgrad_jax._util.checks import did_you_mean
from asgrad_jax._util.docstrings import docstring, first_line
from asgrad_jax.cli.echo import AsJson, echo, echo_json

Name = Annotated[
    str | None, typer.Argument(help="Of one, for all that is known of it.")
]


def algorithms(name: Name = None, as_json: AsJson = False) -> None:
    """List the algorithms with a line on each, or describe the algorithm NAME.

    Example: asgrad algorithms fedbuff
    """
    from asgrad_jax import algorithms as known  # noqa: F401, which registers them
    from asgrad_jax.algorithms.registry import REGISTRY

    def properties(key: str) -> dict[str, Any]:
        return dict(REGISTRY.properties(key)._asdict())

    _show(REGISTRY, name, as_json, properties)


def compute_times(name: Name = None, as_json: AsJson = False) -> None:
    """List the families of compute times, or describe the family NAME.

    Example: asgrad compute-times pareto
    """
    from asgrad_jax import compute_times as known  # noqa: F401, which registers them
    from asgrad_jax.compute_times.registry import REGISTRY

    _show(REGISTRY, name, as_json, lambda key: {})


def show_list(functions: dict[str, Callable[..., Any]]) -> None:
    """Prints a line for each function."""
    width = max(map(len, functions))
    for name, function in functions.items():
        echo(f"{name.ljust(width)}  {first_line(function)}".rstrip())


def _show(
    registry: Any, name: str | None, as_json: bool, properties: Callable[[str], Any]
) -> None:
    if name is not None and name not in registry.names():
        hint = did_you_mean(name, registry.names())
        raise ValueError(f"unknown name {name!r}{hint}; leave NAME out for the list")
    functions = {key: make for key, make in registry if name in (None, key)}
    if as_json:
        entries = [
            _entry(key, make, properties(key)) for key, make in functions.items()
        ]
        echo_json(entries if name is None else entries[0])
        return
    if name is None:
        show_list(functions)
        return
    [(key, make)] = functions.items()
    shown = ", ".join(map(_parameter, inspect.signature(make).parameters.values()))
    echo(f"{key}({shown})\n\n{docstring(make)}")
    if known := properties(key):
        width = max(map(len, known))
        echo("")
        for what, value in known.items():
            shown = {True: "yes", False: "no"}.get(value, value)
            echo(f"{what.replace('_', ' ').ljust(width)}  {shown}")


def _parameter(parameter: inspect.Parameter) -> str:
    """A parameter without its type, which the docstring tells in words."""
    return str(parameter.replace(annotation=inspect.Parameter.empty))


def _entry(
    key: str, make: Callable[..., Any], properties: dict[str, Any]
) -> dict[str, Any]:
    parameters = {
        name: None if p.default is p.empty else repr(p.default)
        for name, p in inspect.signature(make).parameters.items()
    }
    return {
        "name": key,
        "summary": first_line(make),
        "parameters": parameters,
        **properties,
    }
