"""The keys of a config that make a preset of it: its scales, and what it is about."""

from typing import Any

import msgspec

from asgrad_jax._util.checks import did_you_mean

FULL = "full"  # the scale of a file's own keys


class About(msgspec.Struct, forbid_unknown_fields=True):
    """What a page says of an experiment besides its settings.

    Attributes:
        summary: a paragraph on what is compared and why.
        sources: keys of `report/references.bib`.
        numbers: what -> where its value is from.
        deviations: in what the experiment differs from its source.
    """

    summary: str = ""
    sources: list[str] = []
    numbers: dict[str, str] = {}
    deviations: list[str] = []


def scaled(raw: dict[str, Any]) -> dict[str, Any]:
    """Puts the keys of the chosen scale over the others; tables are joined key by key.

    Example:
        >>> scaled({"scale": "ci", "seeds": 30, "problem": {"noise": 1},
        ...          "scales": {"ci": {"seeds": 2, "problem": {"mu": 3}}}})
        {'scale': 'ci', 'seeds': 2, 'problem': {'noise': 1, 'mu': 3}}
    """
    raw = dict(raw)
    check_scale("config", raw)
    scales, name = raw.pop("scales", {}), raw.get("scale", FULL)
    changes = {} if name == FULL else scales[name]
    for key, value in changes.items():
        joined = isinstance(value, dict) and isinstance(raw.get(key), dict)
        raw[key] = raw[key] | value if joined else value
    # A scale counts by gradients or by time, whatever the others do.
    for one, other in (("until", "num_gradients"), ("num_gradients", "until")):
        if one in changes and other not in changes:
            raw.pop(other, None)
    return raw


def check_scale(where: str, raw: dict[str, Any]) -> None:
    """Raises ValueError unless the chosen scale is one of the file's own, or `full`."""
    scales, name = raw.get("scales", {}), raw.get("scale", FULL)
    known = [FULL, *(scales if isinstance(scales, dict) else ())]
    if name not in known:
        raise ValueError(f"{where}: {unknown('scale', str(name), known)}")


def check_tuning(raw: dict[str, Any]) -> None:
    """Raises where keys for `tune` stand without seeds to choose on."""
    if "until" in raw and "num_gradients" in raw:
        raise ValueError("config: give either num_gradients or until")
    if "tuning_seeds" not in raw:
        for key in ("until", "extend"):
            if key in raw:
                raise ValueError(f"config: {key} needs tuning_seeds too")


def unknown(what: str, name: str, known: list[str]) -> str:
    """Says that a name is unknown, and which ones are known."""
    hint = did_you_mean(name, known)
    return f"unknown {what} {name!r}{hint}; known: {', '.join(known)}"
