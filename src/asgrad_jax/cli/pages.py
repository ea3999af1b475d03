"""From a run's folder to its tables, figures and page."""

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from asgrad_jax._util.files import atomic_path
from asgrad_jax._util.text import one_line
from asgrad_jax.cli import config as configs
from asgrad_jax.cli import overrides, own_code
from asgrad_jax.cli.echo import echo
from asgrad_jax.cli.problem_kinds import mnist_or_digits
from asgrad_jax.experiments.unfinished import load
from asgrad_jax.report import files
from asgrad_jax.report.page import write_page
from asgrad_jax.report.setting import Setting
from asgrad_jax.report.tables import labels
from asgrad_jax.report.verdicts import Verdict, verdicts


def setting_of(path: Path) -> Setting:
    """Reads what a page needs from a config file, and makes the problem anew.

    Raises:
        ValueError, FileNotFoundError: if the file or its data cannot be read.
    """
    asked = configs.load_config(path)
    with configs.named_file(path):
        return Setting(
            problem=configs.build_problem(asked.problem),
            algorithms=configs.named_algorithms(asked),
            compute_times=configs.named_compute_times(asked),
            config=path.read_text("utf-8"),
            data=_data_in_words(asked.problem),
            scale=asked.scale if asked.about.sources else "",
            summary=asked.about.summary,
            sources=tuple(asked.about.sources),
            numbers=asked.about.numbers,
            deviations=tuple(asked.about.deviations),
            claims=tuple(asked.claims),
            bits_up=asked.bits_up,
            bits_down=asked.bits_down,
        )


def _data_in_words(problem: dict[str, Any]) -> str:
    """Which data a config's problem has."""
    if problem.get("kind") == "images_mlp":
        return mnist_or_digits().words
    data = problem.get("data", "")
    if isinstance(data, dict):
        rest = (f"{key} = {value}" for key, value in data.items() if key != "name")
        return ", ".join([data.get("name", ""), *rest])
    return Path(data).name


def load_run(folder: Path, *, patient: bool = False) -> xr.Dataset | None:
    """Reads what a run's folder has; None where nothing is there yet and may come.

    Title and metric are those of its config where the result does not say so yet.
    """
    try:
        result = load(folder)
    except FileNotFoundError:
        if patient and folder.is_dir():
            return None
        raise
    path = folder / "config.toml"
    if "metric" not in result.attrs and path.is_file():
        asked = configs.load_config(path)
        result.attrs |= {"title": asked.title, "metric": asked.metric}
    return result


def copy_config(config: Path, folder: Path, changes: Sequence[str]) -> list[Path]:
    """Copies a config, changed by `--set`, and what it names into a run's folder."""
    said = configs.read(config, overrides.parse(changes))
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "config.toml") as temporary:
        if changes:
            comment = f"{config.name} with --set {' --set '.join(changes)}"
            text = overrides.as_toml(said, one_line(comment))
            temporary.write_text(f"{text}\n", encoding="utf-8")
        else:
            shutil.copyfile(config, temporary)
    named = own_code.copy_files(said, config.parent, folder)
    return [folder / "config.toml", *named]


def remove_files(paths: Sequence[Path], folder: Path) -> None:
    """Removes files from a folder, and the folder if nothing else is in it."""
    for path in paths:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def write_everything(result: xr.Dataset, folder: Path) -> list[Verdict]:
    """Writes the result, tables, figures and page of a run; returns the verdicts."""
    files.write_results(result, folder)
    return write_run_page(result, folder)[1]


def write_run_page(
    result: xr.Dataset, folder: Path, again: int | None = None
) -> tuple[Path, list[Verdict]]:
    """Writes the page of a run; returns its path and the verdicts on it.

    While runs are missing, it loads itself again after some seconds.

    The folder's `config.toml`, where there is one that can still be used, tells what
    was run; a data file beside the original config may be gone.
    """
    path, setting = folder / "config.toml", None
    if path.is_file():
        try:
            setting = setting_of(path)
        except (ValueError, FileNotFoundError) as error:
            echo(f"asgrad: the page is without schedules and theory: {error}", err=True)
    claims = list(setting.claims) if setting else []
    page = write_page(result, folder, setting, again)
    found = verdicts(result, claims, labels(result)[1])
    files.write_verdicts(found, folder)
    return page, found
