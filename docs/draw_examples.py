"""What `make docs` adds to the pages: the examples, from their scripts.

The scripts are notebooks too, in Jupytext's percent format: a cell begins with `# %%`,
a cell of words with `# %% [markdown]`.
"""

import re
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "examples"
_CELL = re.compile(r"^# %%(.*)$", re.M)


def cells(script: str) -> list[tuple[str, str]]:
    """Returns ("markdown" or "code", text) for each cell of a script."""
    parts = _CELL.split(script)
    if parts[0].strip():
        raise ValueError(f"a script must begin with `# %%`, got {parts[0]!r}")
    found = []
    for options, text in zip(parts[1::2], parts[2::2], strict=True):
        if "[markdown]" in options:
            lines = text.strip("\n").splitlines()
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
            found.append(("markdown", text.strip()))
        else:
            found.append(("code", text.strip("\n")))
    return found


def is_notebook(path: Path) -> bool:
    """Whether a script is in the percent format."""
    return path.read_text("utf-8").startswith("# %% [markdown]")


def pages() -> dict[str, str]:
    """Returns path -> Markdown of the examples that are notebooks."""
    made = {}
    for path in sorted(EXAMPLES.glob("*.py")):
        if not is_notebook(path):
            continue
        (kind, first), *rest = cells(path.read_text("utf-8"))
        title, _, words = first.partition("\n")
        download = f"A script and a notebook in one: `examples/{path.name}`."
        parts = [title, download, words.strip()]
        for kind, text in rest:
            parts.append(f"```python\n{text}\n```" if kind == "code" else text)
        made[f"examples/{path.stem}.md"] = "\n\n".join(p for p in parts if p) + "\n"
    return made


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages to the site."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lets links to a script, which the repository follows, lead to its page."""
    return re.sub(r"\]\(\.\./examples/(\w+)\.py\)", r"](examples/\1.md)", markdown)
