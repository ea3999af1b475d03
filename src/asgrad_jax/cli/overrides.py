"""`--set a.b=value`: a config file's keys changed from the shell."""

import json
import tomllib
from collections.abc import Iterable, Sequence
from typing import Any

from asgrad_jax._util.checks import did_you_mean

Change = tuple[list[str], Any]
# A run is as long as one of these says; a new one takes the place of the other.
_BUDGETS = {"until": "num_gradients", "num_gradients": "until"}


def parse(texts: Iterable[str]) -> list[Change]:
    """Reads texts such as "problem.num_workers=5" as keys and a value.

    Args:
        texts: KEY=VALUE each; the value is TOML, or else a plain text.

    Raises:
        ValueError: for a text without a key or without "=".

    Example:
        >>> parse(["problem.mu=0.5", "precision=float64"])
        [(['problem', 'mu'], 0.5), (['precision'], 'float64')]
    """
    return [_parsed(text) for text in texts]


def _parsed(text: str) -> Change:
    key, equals, value = text.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals or not all(keys):
        raise ValueError(
            f"--set must look like key=value or table.key=value, got {text!r}"
        )
    try:
        return keys, tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return keys, value.strip()


def apply(raw: dict[str, Any], changes: Sequence[Change]) -> None:
    """Makes the changes in a config as it was read, and in its chosen scale.

    Args:
        raw: what the TOML file says; changed in place.
        changes: see `parse`. Entries of a list go by their label, their name, or their
            number from 0.

    Raises:
        ValueError: where a key leads through something that has no keys.

    Example:
        >>> raw = {"seeds": 3, "algorithms": ["pure_async", "fedbuff"]}
        >>> apply(raw, parse(["seeds=1", "algorithms.fedbuff.gradients_per_step=2"]))
        >>> raw["seeds"], raw["algorithms"][1]
        (1, {'name': 'fedbuff', 'gradients_per_step': 2})
    """
    for keys, value in sorted(changes, key=lambda change: change[0] != ["scale"]):
        _put(raw, keys, value, ".".join(keys))
        scales = raw.get("scales")
        chosen = scales.get(raw.get("scale")) if isinstance(scales, dict) else None
        layers = [raw, chosen] if isinstance(chosen, dict) else [raw]
        if len(layers) == 2 and _covers(layers[1], keys):
            _put(layers[1], keys, value, ".".join(keys))
        for layer in layers:
            layer.pop(_BUDGETS.get(keys[0], ""), None)
            if layer is not raw and keys[0] in _BUDGETS:
                layer.pop(keys[0], None)


def _covers(scale: dict[str, Any], keys: list[str]) -> bool:
    """Whether a scale has its own value where the keys lead."""
    if keys[0] not in scale:
        return False
    table = scale[keys[0]]
    return len(keys) == 1 or not isinstance(table, dict) or keys[1] in table


def _put(table: Any, keys: list[str], value: Any, whole: str) -> None:
    key, rest = keys[0], keys[1:]
    if isinstance(table, list):
        index = _place(table, key, whole)
        if rest and isinstance(table[index], str):
            table[index] = {"name": table[index]}
        if not rest:
            table[index] = value
            return
        _put(table[index], rest, value, whole)
    elif not isinstance(table, dict):
        raise ValueError(
            f"--set {whole}: {key} must be a key of a table, got {table!r} there"
        )
    elif rest:
        _put(table.setdefault(key, {}), rest, value, whole)
    else:
        table[key] = value


def _place(entries: list[Any], key: str, whole: str) -> int:
    """The number of a list's entry, by label, name or number."""
    names = [
        str(e.get("label", e.get("name"))) if isinstance(e, dict) else str(e)
        for e in entries
    ]
    if key in names:
        return names.index(key)
    if key.isdecimal() and int(key) < len(entries):
        return int(key)
    raise ValueError(
        f"--set {whole}: {key!r} must be one of {', '.join(names)}, or a number below "
        f"{len(entries)}{did_you_mean(key, names)}"
    )


def as_toml(raw: dict[str, Any], comment: str = "") -> str:
    """Writes a config as TOML that reads back as the same.

    Example:
        >>> print(as_toml({"seeds": 2, "problem": {"kind": "quadratic"}}, "changed"))
        # changed
        seeds = 2
        problem = {kind = "quadratic"}
    """
    lines = [f"# {comment}"] if comment else []
    return "\n".join([*lines, *(f"{_key(k)} = {_value(v)}" for k, v in raw.items())])


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
        )
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value) if isinstance(value, int | float) else str(value)


def _key(key: str) -> str:
    plain = key.replace("_", "").replace("-", "")
    return key if plain.isalnum() and plain.isascii() else _value(key)
