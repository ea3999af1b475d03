"""Writes the table of licences in docs/package.md, from what is installed.

`python docs/draw_licences.py`, after a change of the dependencies in pyproject.toml.
"""

import importlib.metadata
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "package.md"
_TABLE = re.compile(r"(?<=<!-- licences -->\n).*?(?=<!-- end -->)", re.S)
# Names that metadata write in many ways, or as a whole text.
_SHORT = {
    "Apache License": "Apache-2.0",
    "Apache Software": "Apache-2.0",
    "Apache 2": "Apache-2.0",
    "MPL": "MPL-2.0",
    "Mozilla": "MPL-2.0",
    "MIT": "MIT",
    "matplotlib": "PSF-based (matplotlib)",
    "BSD": "BSD",
    "HPND": "MIT-CMU",
}


def dependencies() -> dict[str, list[str]]:
    """Returns name -> extras that need it, "" being the package; without `dev`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, list[str]] = {}
    for group, lines in groups.items():
        for line in lines if group != "dev" else ():
            name = re.match(r"[\w.-]+", line)
            assert name is not None, line
            found.setdefault(name[0].lower(), []).append(group)
    return found


def licence(name: str) -> str | None:
    """What an installed package says of its licence; None where it is not there."""
    try:
        told = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    if expression := told.get("License-Expression"):
        return expression
    classifiers = told.get_all("Classifier") or []
    texts = [c for c in classifiers if c.startswith("License ::")]
    texts += [told.get("License") or ""]
    for text in texts:
        if text in ("Apache-2.0", "MIT", "MPL-2.0", "BSD-3-Clause"):
            return text
        for words, short in _SHORT.items():
            if words in text[:200]:
                return short
    raise ValueError(f"{name} says {texts!r} of its licence; add it to _SHORT")


def table() -> str:
    """Returns the table; the rows of what is not installed stay as they are."""
    told = dict(re.findall(r"^\| `([\w.-]+)` \| .*? \| (.*?) \|$", page_table(), re.M))
    rows = [
        f"| `{name}` | {', '.join(f'`{g}`' for g in groups if g)} "
        f"| {licence(name) or told[name]} |"
        for name, groups in sorted(dependencies().items())
    ]
    head = "| package | of the extra | licence |\n| --- | --- | --- |"
    return "\n".join([head, *rows]) + "\n"


def page_table() -> str:
    """Returns the table that the page has."""
    found = _TABLE.search(PAGE.read_text("utf-8"))
    assert found is not None, PAGE
    return found[0]


if __name__ == "__main__":
    PAGE.write_text(_TABLE.sub(lambda _: table(), PAGE.read_text("utf-8")), "utf-8")
