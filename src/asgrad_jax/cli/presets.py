"""`asgrad presets` and `asgrad reproduce`: published experiments by name."""

import re
import time
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asgrad_jax._util.checks import did_you_mean
from asgrad_jax.cli.echo import AsJson, echo, echo_json

if TYPE_CHECKING:
    from asgrad_jax.report.verdicts import Verdict

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Scale = Annotated[
    str,
    typer.Option(
        help="ci (seconds), laptop (minutes), full (as published) or another of the "
        "preset's own."
    ),
]


def names() -> list[str]:
    """Returns the names of the presets, sorted."""
    files = (resources.files("asgrad_jax") / "presets").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if ".toml" in f.name)


def file_of(name: str) -> Traversable:
    """The preset's file in the package; ValueError names the nearest known one."""
    known = names()
    if name not in known:
        raise ValueError(
            f"unknown preset {name!r}{did_you_mean(name, known)}; known: "
            f"{', '.join(known)}"
        )
    return resources.files("asgrad_jax") / "presets" / f"{name}.toml"


def text_of(name: str, scale: str) -> str:
    """The preset's file, with its key `scale` set.

    Example:
        >>> text_of("asgrad-offline", "ci").splitlines()[0]
        'scale = "ci"'
    """
    text = file_of(name).read_text("utf-8")
    return re.sub(r"\Ascale = .*", f'scale = "{scale}"', text)


@app.callback(invoke_without_command=True)
def presets(context: typer.Context, as_json: AsJson = False) -> None:
    """List the presets, or copy one to edit and run it.

    Example: asgrad presets --json
    """
    if context.invoked_subcommand is not None:
        return
    import tomllib

    if as_json:
        read = {
            name: tomllib.loads(file_of(name).read_text("utf-8")) for name in names()
        }
        echo_json(
            [
                {
                    "name": name,
                    "title": preset.get("title", ""),
                    "scales": [*preset.get("scales", {}), "full"],
                    "sources": preset.get("about", {}).get("sources", []),
                }
                for name, preset in read.items()
            ]
        )
        return
    width = max(map(len, names()))
    for name in names():
        title = tomllib.loads(file_of(name).read_text("utf-8")).get("title", "")
        echo(f"{name.ljust(width)}  {title}".rstrip())


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="See `asgrad presets`.")],
    out: Annotated[
        Path | None, typer.Argument(help="File to write; NAME.toml where left out.")
    ] = None,
    scale: Scale = "laptop",
) -> None:
    """Copy the preset NAME to a config file, to be edited and run by `asgrad sweep`.

    Example: asgrad presets copy asgrad-offline mine.toml --scale ci
    """
    from asgrad_jax._util.files import atomic_path

    out = out or Path(f"{name}.toml")
    text = text_of(name, scale)
    if out.exists():
        raise ValueError(f"{out} must not exist, got a file; give another name")
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    echo(f"{out}: run it with `asgrad sweep {out}`")


def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="A preset; see `asgrad presets`.")
    ] = None,
    scale: Scale = "laptop",
    out: Annotated[
        Path | None, typer.Option(help="Folder; asgrad-NAME-SCALE where left out.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every preset, and an index of the pages.")
    ] = False,
) -> None:
    """Run the experiment NAME and write a page on it: figures, numbers, verdicts.

    Stopped, the same command goes on.

    Example: asgrad reproduce asgrad-offline --scale ci
    """
    from asgrad_jax.report.page import check_libraries

    check_libraries()
    if everything == (name is not None):
        raise ValueError("give either the NAME of a preset or --all")
    if name is not None:
        short = name.removeprefix("asgrad-")
        run_preset(name, scale, out or Path(f"asgrad-{short}-{scale}"))
        return
    folder = out or Path(f"asgrad-presets-{scale}")
    from asgrad_jax.report.index import write_index

    entries, left_out = [], {}
    for each in names():
        echo(f"\n=== {each}")
        try:
            title, verdicts = run_preset(each, scale, folder / each)
            entries.append((each, title, verdicts))
        except FileNotFoundError as error:
            left_out[each] = str(error)
            echo(f"left out: {error}")
    echo(f"\nIndex: {write_index(folder, entries, left_out)}")


def run_preset(name: str, scale: str, folder: Path) -> tuple[str, list["Verdict"]]:
    """Runs a preset into a folder, and returns its title and verdicts.

    Raises:
        FileNotFoundError: if its data are nowhere to be had.
        ValueError: if there is no such preset or scale.
    """
    import msgspec

    from asgrad_jax._util.files import atomic_path
    from asgrad_jax.cli.config import load_config, named_file, run_config
    from asgrad_jax.cli.pages import write_everything
    from asgrad_jax.cli.scales import check_scale
    from asgrad_jax.report.page import PAGE

    begun = time.monotonic()
    text = text_of(name, scale)
    check_scale(f"preset {name}", msgspec.toml.decode(text))
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.toml"
    if config.exists() and config.read_text("utf-8") != text:
        raise ValueError(
            f"{folder} must be a new folder or one of the same run, got another "
            "config.toml in it; choose another one with --out"
        )
    with atomic_path(config) as temporary:
        temporary.write_text(text, encoding="utf-8")
    asked = load_config(config)
    with named_file(config):
        result = run_config(asked, directory=folder)
    verdicts = write_everything(result, folder)
    for verdict in verdicts:
        echo(f"- {verdict}")
    echo(f"{folder / PAGE} ({time.monotonic() - begun:.0f} s)")
    return asked.title, verdicts
