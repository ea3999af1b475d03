"""`asgrad schema`: the JSON schema of a config, for editors."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from asgrad_jax._util.docstrings import first_line
from asgrad_jax.cli.echo import echo


def schema(
    out: Annotated[
        Path | None, typer.Option(help="File to write; the screen where left out.")
    ] = None,
) -> None:
    """Print the JSON schema of config files, with which editors check and complete.

    Example: asgrad schema --out asgrad.schema.json
    """
    text = json.dumps(config_schema(), indent=2)
    if out is None:
        echo(text)
        return
    from asgrad_jax._util.files import atomic_path

    with atomic_path(out) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")
    echo(f"{out}: begin a config with the line `#:schema ./{out.name}`")


def config_schema() -> dict[str, Any]:
    """Returns the JSON schema of `SweepConfig`, with the names that are known.

    Example:
        >>> config_schema()["properties"]["seeds"]["anyOf"][0]
        {'type': 'integer'}
    """
    import msgspec

    from asgrad_jax import algorithms, compute_times
    from asgrad_jax.cli.config import SweepConfig
    from asgrad_jax.cli.own_code import OWN
    from asgrad_jax.cli.problem_kinds import KINDS
    from asgrad_jax.cli.servers import names as optimizers

    made = msgspec.json.schema(SweepConfig)
    definitions = made["$defs"]
    config = definitions.pop("SweepConfig")
    config["title"] = "A sweep of asgrad_jax"
    config["description"] = first_line(SweepConfig)
    properties = config["properties"]
    for name, words in _said_of_fields(SweepConfig).items():
        properties[name]["description"] = words
    own = {"type": "string", "pattern": f"^{OWN}$"}
    own_table = {"properties": {"name": own}}
    named = [_named(name, getattr(algorithms, name)) for name in algorithms.names()]
    named += [{"properties": {"name": {"const": "public_code"}}}, own_table]
    properties["algorithms"]["items"] = {
        "anyOf": [
            {"enum": algorithms.names()},
            own,
            {"type": "object", "required": ["name"], "anyOf": named},
        ]
    }
    times = {
        "type": "object",
        "required": ["name"],
        "anyOf": [
            *(_named(n, getattr(compute_times, n)) for n in compute_times.names()),
            own_table,
        ],
    }
    properties["compute_times"]["anyOf"] = [times, {"type": "array", "items": times}]
    properties["problem"]["properties"] = {
        "kind": {"anyOf": [{"enum": ["logistic_regression", "quadratic", *KINDS]}, own]}
    }
    server = {"anyOf": [{"enum": optimizers()}, own]}
    table = {"type": "object", "required": ["name"], "properties": {"name": server}}
    properties["server"]["anyOf"] = [server, table]
    properties["metrics"]["additionalProperties"] = own
    # A preset's keys at other scales are those of the config itself.
    properties["scales"] = {"type": "object"}
    config["required"] = [n for n in config["required"] if n != "num_gradients"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **config,
        "$defs": definitions,
    }


def _named(name: str, make: Callable[..., Any]) -> dict[str, Any]:
    """The table of a function: its name and the names of its parameters."""
    parameters = inspect.signature(make).parameters
    keys = {
        key: {"type": "boolean"} if p.annotation is bool else {}
        for key, p in parameters.items()
        if p.kind is not p.VAR_KEYWORD
    }
    more = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {
        "properties": {"name": {"const": name}, "label": {"type": "string"}, **keys},
        "additionalProperties": more,
    }


def _said_of_fields(kind: type) -> dict[str, str]:
    """Field -> what the class's docstring says of it, on one line."""
    told: dict[str, str] = {}
    fields, current = set(kind.__annotations__), ""
    for line in inspect.getdoc(kind).partition("Attributes:")[2].splitlines():  # type: ignore[union-attr]
        names, colon, words = line.strip().partition(": ")
        listed = [name.strip() for name in names.split(",")]
        if colon and fields.issuperset(listed):
            current = names
            told |= dict.fromkeys(listed, words)
        elif current and line.strip():
            for name in current.split(","):
                told[name.strip()] += f" {line.strip()}"
    return told
