"""A sweep as a TOML file; every key is checked, nothing is guessed."""

import codecs
import contextlib
import inspect
import math
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import xarray as xr

from asgrad_jax import algorithms, compute_times, datasets
from asgrad_jax._util.checks import check_count, check_number, did_you_mean
from asgrad_jax._util.sizes import check_workers
from asgrad_jax.algorithms.public_code import public_code
from asgrad_jax.cli import overrides, own_code
from asgrad_jax.cli.calling import call, check_call, check_names
from asgrad_jax.cli.lines import plain, with_line
from asgrad_jax.cli.problem_kinds import KINDS
from asgrad_jax.cli.scales import FULL, About, check_tuning, scaled, unknown
from asgrad_jax.cli.servers import build_server
from asgrad_jax.experiments.sweep import sweep
from asgrad_jax.experiments.tune import tune
from asgrad_jax.problems.logistic import logistic_regression
from asgrad_jax.problems.quadratic import quadratic
from asgrad_jax.report.verdicts import Claim

_SHIPPED = {
    "digits_binary": datasets.digits_binary,
    "breast_cancer": datasets.breast_cancer,
}
_PATHS = ("data", "path_or_rows")  # keys that may name a file beside the config
_RANGES = ("mean", "median")  # keys that take {first, last} too
_MOST_SIZE = 1_000_000_000  # numbers of a quadratic's vectors b_i, 8 GB
FIRST_TUNING_SEED = 10_000
_MOST = 1_000_000  # numbers of one range: more than that is a slip of the pen


class Powers(msgspec.Struct, forbid_unknown_fields=True):
    """base^first, ..., base^last, for step sizes."""

    first: int
    last: int
    base: float = 2.0


class SweepConfig(msgspec.Struct, forbid_unknown_fields=True):
    """What a config file says; see docs/command-line.md.

    Attributes:
        problem: kind ("logistic_regression" or "quadratic") and the arguments of the
            function of that name; `data` in place of features and labels.
        algorithms: names, or tables with `name`, the parameters of that algorithm and,
            if wanted, a `label`.
        compute_times: one or several tables with `name`, `mean` ([n] numbers or
            {first, last}), the family's parameters and, if wanted, a `label`.
        step_sizes: numbers, or powers {base, first, last}.
        num_gradients, record_every, precision, width: as for `sweep`.
        seeds: a list, or their number.
        server: the name of an optimizer of optax, or a table with `name` and its other
            arguments, a list of numbers being an axis of the sweep; plain SGD where
            left out.
        metrics: name -> "file.py:function" or "module:function" of the iterate, to be
            recorded beside loss and gradient norm.
        metric: what tables and figures compare, the smaller the better: "grad_norm",
            "loss", one of `metrics`, or "error" of a problem with `held_out`.
        title: for the figure's caption.
        scale: which of the file's `scales` was put over its other keys; "full" is none.
        tuning_seeds: a list, or their number (10000, 10001, ...): seeds to choose step
            sizes on; `seeds` are then those that are compared. See `tune`.
        extend: as for `tune`.
        until: virtual time of every run, in place of num_gradients; see `tune`.
        about, claims: for the page that `asgrad report` writes.
        bits_up, bits_down: likewise, of a gradient that is sent to the server and of an
            iterate that is sent back; the parameters in the run's precision where left
            out.
    """

    problem: dict[str, Any]
    algorithms: list[str | dict[str, Any]]
    compute_times: dict[str, Any] | list[dict[str, Any]]
    step_sizes: list[float] | Powers
    num_gradients: int | None = None
    seeds: int | list[int] = 1
    record_every: int | None = None
    precision: Literal["float32", "float64"] = "float32"
    width: int | None = None
    server: str | dict[str, Any] | None = None
    metrics: dict[str, str] = {}
    metric: str = "grad_norm"
    title: str = ""
    scale: str = FULL
    tuning_seeds: int | list[int] | None = None
    extend: int | None = None
    until: float | None = None
    about: About = msgspec.field(default_factory=About)
    claims: list[Claim] = []
    bits_up: float | None = None
    bits_down: float | None = None


def load_config(
    path: str | os.PathLike, changes: Sequence[overrides.Change] = ()
) -> SweepConfig:
    """Reads and checks a TOML file; paths of data and traces beside it are resolved.

    Args:
        path: of the file.
        changes: of its keys, see `overrides.parse`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not TOML, or a key is unknown, missing or of a wrong type.
    """
    path = Path(path)
    try:
        raw = scaled(read(path, changes))
        fields = msgspec.structs.fields(SweepConfig)
        check_names("config", raw, [field.name for field in fields])
        required = [field.name for field in fields if field.required]
        if "until" not in raw:
            required.append("num_gradients")
        for name in required:
            if name not in raw:
                other = ", or until" if name == "num_gradients" else ""
                raise ValueError(f"config: {name} is missing; give it{other}")
        check_tuning(raw)
        for name in ("bits_up", "bits_down"):
            check_number(name, raw.get(name, 0), minimum=0)
        if isinstance(sizes := raw["step_sizes"], dict):
            check_names("step_sizes", sizes, Powers.__struct_fields__)
        config = msgspec.convert(_beside(path.parent, raw), SweepConfig)
        _check_metric(config)
        if "\0" in config.title:
            raise ValueError(f"title must be a text without NUL, got {config.title!r}")
        return config
    except RecursionError:
        raise ValueError(f"{path}: brackets must be nested less deeply") from None
    except (msgspec.MsgspecError, ValueError) as error:
        words = plain(str(error))
        words = words if changes else with_line(path, words)
        raise ValueError(f"{path}: {words}") from error


def _check_metric(config: SweepConfig) -> None:
    if config.metric == "accuracy":
        raise ValueError(
            "metric must be one that is to become small, got 'accuracy'; take 'error', "
            "which is 1 - accuracy and comes with held_out under [problem]"
        )
    known = ["grad_norm", "loss", *config.metrics]
    known += ["error"] if "held_out" in config.problem else []
    if config.metric not in known:
        raise ValueError(unknown("metric", config.metric, known))


def read(path: Path, changes: Sequence[overrides.Change] = ()) -> dict[str, Any]:
    """Returns what a TOML file says, with the changes made; nothing is checked."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no config file {path}")
    # Some editors of Windows begin a file with this mark.
    raw = msgspec.toml.decode(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    overrides.apply(raw, changes)
    return raw


def _beside(folder: Path, value: Any) -> Any:
    """Resolves the paths among nested values that name a file in the folder."""
    if isinstance(value, list):
        return [_beside(folder, entry) for entry in value]
    if isinstance(value, str):
        return own_code.beside(folder, value)
    if not isinstance(value, dict):
        return value
    return {
        key: str(folder / entry)
        if key in _PATHS and isinstance(entry, str) and (folder / entry).is_file()
        else _beside(folder, entry)
        for key, entry in value.items()
    }


@contextlib.contextmanager
def named_file(
    path: str | os.PathLike, changes: Sequence[overrides.Change] = ()
) -> Generator[None, None, None]:
    """Puts the name of the config file before the errors about what it says.

    And the line after them, but where `changes` say something else than the file.
    """
    name = os.fspath(path)
    try:
        yield
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        words = str(error) if changes else with_line(Path(path), str(error))
        raise ValueError(f"{name}: {words}") from error
    except (FileNotFoundError, MemoryError) as error:
        words = str(error) or "there is not enough memory; ask for less"
        raise type(error)(f"{name}: {words}") from error


def run_config(
    config: SweepConfig, begun: Callable[[], None] | None = None, **given: Any
) -> xr.Dataset:
    """Runs the sweep that a config describes; `given` are more arguments of `sweep`.

    `begun` is called once problem, methods and compute times are made.

    The attributes `title` and `metric` of the dataset are the config's. Raises
    ValueError or TypeError for bad values, before anything is compiled.
    """
    arguments = sweep_arguments(config)
    if begun is not None:
        begun()
    if config.tuning_seeds is None:
        result = sweep(**arguments, **given)
    else:
        arguments |= {
            "tuning_seeds": tuning_seeds(config),
            "metric": config.metric,
            "until": config.until,
        }
        if config.extend is not None:
            arguments["extend"] = config.extend
        result = tune(**arguments, **given)
    result.attrs |= {"title": config.title, "metric": config.metric}
    return result


def sweep_arguments(config: SweepConfig) -> dict[str, Any]:
    """Returns the arguments of `sweep`, or of `Grid`, that a config describes."""
    sizes = config.step_sizes
    if isinstance(sizes, Powers):
        check_number("step_sizes: base", sizes.base, above=0)
        _check_size("step_sizes", sizes.first, sizes.last)
        with np.errstate(all="ignore"):  # what is not finite is told later
            sizes = sizes.base ** np.arange(sizes.first, sizes.last + 1.0)
    server, hyperparameters = None, None
    if config.server is not None:
        server, hyperparameters = build_server(config.server)
    return {
        "problem": build_problem(config.problem),
        "algorithms": named_algorithms(config),
        "compute_times": named_compute_times(config),
        "step_sizes": sizes,
        "num_gradients": config.num_gradients,
        "seeds": seeds(config),
        "record_every": config.record_every,
        "precision": config.precision,
        "width": config.width,
        "server": server,
        "hyperparameters": hyperparameters,
        "metrics": named_metrics(config) or None,
    }


def named_metrics(config: SweepConfig) -> dict[str, Any]:
    """Returns name -> function of a config's own metrics."""
    found = {}
    for name, text in config.metrics.items():
        where = f"metrics, {name}"
        if not own_code.is_own(text):
            raise ValueError(
                f"{where}: must be 'file.py:function' or 'module:function', got "
                f"{text!r}"
            )
        found[name] = own_code.load(text, where)
    return found


def named_algorithms(config: SweepConfig) -> dict[str, Any]:
    """Returns label -> algorithm of a config."""
    return _named("algorithms", config.algorithms, build_algorithm)


def named_compute_times(config: SweepConfig) -> dict[str, Any]:
    """Returns label -> compute times of a config."""
    given = config.compute_times
    given = [given] if isinstance(given, dict) else given
    return _named("compute_times", given, build_compute_times)


def seeds(config: SweepConfig) -> Sequence[int]:
    """Returns the seeds of a config."""
    if isinstance(config.seeds, int):
        number = check_count("seeds", config.seeds)
        _check_size("seeds", 1, number)
        return range(number)
    return config.seeds


def tuning_seeds(config: SweepConfig) -> Sequence[int]:
    """Returns the seeds that step sizes are chosen on."""
    if not isinstance(config.tuning_seeds, int):
        return config.tuning_seeds or ()
    number = check_count("tuning_seeds", config.tuning_seeds)
    _check_size("tuning_seeds", 1, number)
    return range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + number)


def num_gradients(config: SweepConfig) -> int:
    """Returns the gradients per run, for what needs their number beforehand.

    Raises:
        ValueError: where the config has a virtual time instead.
    """
    if config.num_gradients is None:
        raise ValueError(
            f"num_gradients must be in the config for this, got until = {config.until}"
        )
    return config.num_gradients


def build_problem(table: dict[str, Any]) -> Any:
    """Makes a problem from its config table."""
    table = dict(table)
    kind = table.pop("kind", "logistic_regression")
    _check_problem_size(table)
    if own_code.is_own(kind):
        return own_code.make(kind, "problem", table)
    if kind == "quadratic":
        return call("problem", quadratic, table)
    if isinstance(kind, str) and kind in KINDS:
        return call("problem", KINDS[kind], table)
    if kind != "logistic_regression":
        known = ["logistic_regression", "quadratic", *KINDS]
        raise ValueError(f"problem: {unknown('kind', str(kind), known)}")
    data = table.pop("data", None)
    if isinstance(data, dict):
        return call("problem", _on_synthetic_data, table | {"data": data})
    if not isinstance(data, str):
        raise ValueError(
            "problem: give data, one of "
            f"{', '.join(_SHIPPED)}, a known LIBSVM name or a path"
        )
    known = [*_SHIPPED, *datasets.names()]
    if data.removesuffix(".txt") not in known and not Path(data).is_file():
        raise ValueError(
            f"problem: {unknown('data', data, known)}; there is no such file either"
        )
    names = set(inspect.signature(logistic_regression).parameters)
    names -= {"features", "labels"}
    reader = inspect.signature(datasets.load_libsvm).parameters.keys()
    reader -= {"path_or_name"} if data not in _SHIPPED else reader
    known = sorted(names | reader | {"kind", "data", "num_rows"})
    check_names("problem", table, known)
    num_rows = table.pop("num_rows", None)
    reading = {key: table.pop(key) for key in reader & table.keys()}
    unread = {"features": None, "labels": None}
    check_call("problem", logistic_regression, unread | table)
    if data in _SHIPPED:
        features, labels = _SHIPPED[data]()
    else:
        reading = {"path_or_name": data} | reading
        features, labels = call("problem", datasets.load_libsvm, reading)
    if num_rows is not None:
        most = len(labels)
        num_rows = check_count("problem: num_rows", num_rows, maximum=most)
        features, labels = features[:num_rows], labels[:num_rows]
    return call(
        "problem", logistic_regression, {"features": features, "labels": labels} | table
    )


def _on_synthetic_data(data: dict[str, Any], num_workers: int, **given: Any) -> Any:
    """Logistic regression on `datasets.synthetic` with the arguments in `data`."""
    data = dict(data)
    if data.pop("name", None) != "synthetic":
        raise ValueError("data: a table must have name = 'synthetic'")
    features, labels = call(
        "data", datasets.synthetic, {"num_workers": num_workers} | data
    )
    arguments = {"features": features, "labels": labels, "num_workers": num_workers}
    return call("problem", logistic_regression, arguments | given)


def _check_problem_size(table: dict[str, Any]) -> None:
    """Raises where a slip of the pen would fill the memory before anything is said."""
    sizes = {
        key: table[key]
        for key in ("num_workers", "num_features")
        if type(table.get(key)) is int
    }
    if "num_workers" in sizes:
        check_workers(sizes["num_workers"], "problem: num_workers")
    if len(sizes) == 2 and "data" not in table:
        size, product = math.prod(sizes.values()), " * ".join(sizes)
        if size > _MOST_SIZE:
            raise ValueError(
                f"problem: {product} must be at most {_MOST_SIZE:,}, got {size:,}"
            )


def build_algorithm(table: str | dict[str, Any], where: str = "algorithms") -> Any:
    """Makes an algorithm from its name or its table, which errors call `where`."""
    table = {"name": table} if isinstance(table, str) else dict(table)
    name = _name(where, table)
    if own_code.is_own(name):
        return own_code.make(name, where, table)
    if name == "public_code":  # no method to choose, so it is not in the registry
        return call(f"{where}, {name}", public_code, table)
    _check_known(where, name, algorithms.names(), "algorithms")
    return call(f"{where}, {name}", getattr(algorithms, name), table)


def build_compute_times(table: dict[str, Any], where: str = "compute_times") -> Any:
    """Makes compute times from their table, which may hold others."""
    table = dict(table)
    name = _name(where, table)
    own = own_code.is_own(name)
    if not own:
        _check_known(where, name, compute_times.names(), "compute-times")
    for key, value in table.items():
        inside = f"{where}, {key}"
        if isinstance(value, dict):
            build = _range if key in _RANGES else build_compute_times
            table[key] = build(value, inside)
        elif isinstance(value, list):
            table[key] = [
                build_compute_times(entry, f"{inside}[{i}]")
                if isinstance(entry, dict)
                else entry
                for i, entry in enumerate(value)
            ]
    if own:
        return own_code.make(name, where, table)
    return call(f"{where}, {name}", getattr(compute_times, name), table)


def _check_known(where: str, name: str, known: list[str], command: str) -> None:
    """Raises for an unknown name; there are too many known ones to list here."""
    if name not in known:
        raise ValueError(
            f"{where}: unknown name {name!r}{did_you_mean(name, known)}; `asgrad "
            f"{command}` lists the {len(known)} known ones"
        )


def _range(table: dict[str, Any], where: str) -> range:
    """Reads {first, last}, both ends included."""
    check_names(where, table, ("first", "last"))
    try:
        first, last = (
            check_count(f"{where}: {key}", table[key]) for key in ("first", "last")
        )
    except KeyError as missing:
        raise ValueError(f"{where}: {missing} is missing") from None
    _check_size(where, first, last)
    return range(first, last + 1)


def _check_size(where: str, first: int, last: int) -> None:
    """Raises unless first..last, both included, are numbers that memory can hold."""
    if last < first:
        raise ValueError(
            f"{where}: the range runs backwards, first = {first} is above last = {last}"
        )
    if last - first >= _MOST:
        raise ValueError(
            f"{where}: these are {last - first + 1:,} numbers; give at most {_MOST:,}"
        )


def _name(where: str, table: dict[str, Any]) -> str:
    name = table.pop("name", None)
    if not isinstance(name, str):
        given = ", ".join(table) if name is None else f"name = {name!r}"
        raise ValueError(f"{where}: a table needs a name, a text; it has {given}")
    return name


def _named(
    what: str, entries: list, build: Callable[[Any, str], Any]
) -> dict[str, Any]:
    """Returns label -> object; the label is the name where none is given."""
    named = {}
    for entry in entries:
        label = own_code.label_of(entry)
        if isinstance(entry, dict):
            entry = dict(entry)
            label = entry.pop("label", own_code.label_of(entry.get("name")))
        name = entry.get("name") if isinstance(entry, dict) else entry
        own = isinstance(entry, dict) and label != own_code.label_of(name)
        built = build(entry, f"{what}, {label}" if own else what)
        if not isinstance(label, str):
            raise ValueError(f"{what}: a label must be a text, got {label!r}")
        if label in named:
            raise ValueError(
                f"{what}: two entries are called {label!r}; give one a label"
            )
        named[label] = built
    return named
