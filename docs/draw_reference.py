"""What `make docs` adds to the pages: the reference, from the public names.

MkDocs calls `on_files`. The build fails where a public name has no docstring.
"""

import inspect
import types
from collections.abc import Iterator
from typing import Any

MODULES = {
    "algorithms": "Who gets a job, and when the server steps.",
    "compute_times": "How long a job takes.",
    "problems": "What is minimised, and how data are spread over workers.",
    "splits": "Which worker owns which rows.",
    "datasets": "Real and synthetic data.",
    "theory": "Constants, delays, bounds and step sizes.",
    "plot": "Figures.",
}


def public(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """Yields the functions and classes that a module shows, with their names."""
    for name in sorted(dir(module)):
        value = getattr(module, name)
        kind = inspect.isfunction(value) or inspect.isclass(value)
        if name.startswith("_") or not kind:
            continue
        if (value.__module__ or "").partition(".")[0] == "asgrad_jax":
            yield name, value


def undocumented() -> list[str]:
    """Returns the public names that have no docstring of their own."""
    import asgrad_jax

    modules = {"ag": asgrad_jax}
    modules |= {f"ag.{name}": getattr(asgrad_jax, name) for name in MODULES}
    return [
        f"{path}.{name}"
        for path, module in modules.items()
        for name, value in public(module)
        if not (value.__doc__ or "").strip()
    ]


def pages() -> dict[str, str]:
    """Returns path -> Markdown of all pages of the reference.

    What several modules show stands on the first page that has it.
    """
    import asgrad_jax

    made, placed = {}, {}
    words = {"asgrad_jax": "The names of `import asgrad_jax as ag`.", **MODULES}
    for name, sentence in words.items():
        path = f"reference/{name}.md"
        title = "ag" if name == "asgrad_jax" else f"ag.{name}"
        lines = [f"# {title}\n\n{sentence}\n"]
        module = asgrad_jax if title == "ag" else getattr(asgrad_jax, name)
        for called, value in public(module):
            first = placed.setdefault(value, (path, title))
            if first == (path, title):
                lines.append(f"::: {value.__module__}.{value.__qualname__}\n")
            else:
                page = first[0].removeprefix("reference/")
                lines.append(f"`{called}` is described in [{first[1]}]({page}).\n")
        made[path] = "\n".join(lines)
    return made


def on_files(files: Any, config: Any) -> Any:
    """Adds the reference to the site; MkDocs stops where a name has no docstring."""
    from mkdocs.exceptions import PluginError
    from mkdocs.structure.files import File

    if missing := undocumented():
        raise PluginError(f"public names without a docstring: {', '.join(missing)}")
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
