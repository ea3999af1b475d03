"""`asgrad doctor`: whether this machine is ready, and what mends what is wrong."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import typer

from asgrad_jax.cli.echo import echo, echo_json

OK, NOTE, WRONG = "ok", "note", "wrong"
_EXTRAS = {"report": ("jinja2", "plotly"), "cluster": ("distributed",)}
_EXTRAS |= {"parquet": ("pyarrow",)}
_LITTLE_MEMORY = 2e9  # bytes; JAX and Numba take the half of it before any run


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was looked at and found.

    Attributes:
        name: of what was looked at.
        status: "ok", "note" (works, could be better) or "wrong".
        found: in words.
        fix: what to do; "" where nothing needs to be done.
    """

    name: str
    status: Literal["ok", "note", "wrong"]
    found: str
    fix: str = ""


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a list of findings as JSON.")
    ] = False,
) -> None:
    """Look at devices, versions, precision and caches, and run a self-test of seconds.

    Exit code 1 if something is wrong; each such line says what mends it.

    Example: asgrad doctor --json > machine.json
    """
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            echo(f"{finding.status:<5}  {finding.name:<10}  {finding.found}")
            if finding.fix:
                echo(f"{'':<19}-> {finding.fix}")
    wrong = sum(finding.status == WRONG for finding in findings)
    if as_json:
        echo_json(findings)
    else:
        echo(f"\n{wrong or 'nothing'} wrong")
    if wrong:
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Yields all findings, the self-test last; a check that fails is a finding."""
    for check in CHECKS:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                status, found, fix = check()
        except Exception as error:
            words = " ".join(str(error).split()) or type(error).__name__
            yield Finding(name, WRONG, words, "asgrad --traceback doctor shows where")
            if os.environ.get("ASGRAD_DEBUG"):
                raise
            continue
        if said and status == OK:
            status, fix = NOTE, " ".join(str(said[0].message).split())
        yield Finding(name, status, found, fix)


Answer = tuple[Literal["ok", "note", "wrong"], str, str]


def check_python() -> Answer:
    """Python's version, and the machine."""
    found = f"{platform.python_version()} in {sys.prefix}, {platform.platform()}"
    if sys.flags.optimize >= 2:
        return NOTE, found, "without -OO, which strips what help and lists show"
    return OK, found, ""


def check_versions() -> Answer:
    """Whether what is installed is what the package asks for."""
    from packaging.requirements import Requirement

    from asgrad_jax._util.provenance import versions

    wrong = []
    for text in importlib.metadata.requires("asgrad-jax") or []:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            there = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append((needed, "nothing"))
            continue
        if not needed.specifier.contains(there, prereleases=True):
            wrong.append((needed, there))
    shown = ", ".join(f"{name} {version}" for name, version in versions().items())
    if wrong:
        needs = " ".join(f"'{needed.name}{needed.specifier}'" for needed, _ in wrong)
        found = ", ".join(f"{needed} wanted, {there} found" for needed, there in wrong)
        return WRONG, found, f"pip install {needs}"
    return OK, shown, ""


def check_extras() -> Answer:
    """Which extras are there."""
    missing = [
        extra
        for extra, modules in _EXTRAS.items()
        if not all(importlib.util.find_spec(module) for module in modules)
    ]
    if missing:
        found = f"without {', '.join(missing)}"
        return NOTE, found, f"if wanted: pip install 'asgrad-jax[{','.join(missing)}]'"
    return OK, ", ".join(_EXTRAS), ""


def check_devices() -> Answer:
    """What JAX computes on."""
    from asgrad_jax._util.provenance import device
    from asgrad_jax._util.settings import on_cpu

    found = device()
    if on_cpu() and shutil.which("nvidia-smi"):
        return NOTE, found, "for the GPU of this machine: pip install 'jax[cuda13]'"
    return OK, found, ""


def check_memory() -> Answer:
    """Memory and cores that this process may use."""
    from asgrad_jax._util.machine import available_memory, usable_cores

    free = available_memory()
    found = f"{free / 1e9:.1f} GB free, {usable_cores()} cores"
    if free < _LITTLE_MEMORY:
        return NOTE, found, "close other programs, or raise the limit of the job"
    return OK, found, ""


def check_precision() -> Answer:
    """Whether float64 has 64 bits, and settings that change how numbers round."""
    import jax
    import jax.numpy as jnp

    from asgrad_jax._util.settings import fixed, recorded

    with fixed(x64=True):
        tiny = jnp.asarray(1.0, "float64") + jnp.asarray(2.0**-50, "float64")
        good = tiny.dtype == "float64" and float(tiny) != 1.0
    if not good:
        return WRONG, "float64 rounds as float32", "use precision='float32' here"
    names = recorded()
    if names:
        shown = ", ".join(f"{name}={value}" for name, value in names.items())
        fix = f"unset {', '.join(name.upper() for name in names)} unless they are meant"
        return NOTE, f"settings of JAX that change results: {shown}", fix
    always = "on" if jax.config.jax_enable_x64 else "off, which runs do not need"  # pyrefly: ignore[missing-attribute]
    return OK, f"float32 and float64 work (jax_enable_x64 is {always})", ""


def check_kernels() -> Answer:
    """Whether the compiled CPU kernels are on."""
    from asgrad_jax.kernels import VARIABLE, switched_on

    if switched_on():
        return OK, "compiled kernels are on", ""
    return NOTE, "compiled kernels are off", f"unset {VARIABLE} and NUMBA_DISABLE_JIT"


def check_cache() -> Answer:
    """Where compiled code is kept, and whether it can be."""
    from numba.core import caching

    from asgrad_jax.simulation import durations

    # Any function of ours: the folder is chosen per file.
    function = next(f for f in vars(durations).values() if hasattr(f, "__code__"))
    try:
        folder = caching.FunctionCache(function).cache_path
    except RuntimeError:
        fix = "set NUMBA_CACHE_DIR to a folder that can be written to"
        return WRONG, "no folder for compiled functions can be written to", fix
    free = shutil.disk_usage(os.path.dirname(folder)).free
    found = f"{folder}, {free / 1e9:.1f} GB free"
    if free < 1e8:
        return WRONG, found, "make room, or set NUMBA_CACHE_DIR to another disk"
    return OK, found, ""


def check_data() -> Answer:
    """Where LIBSVM files are looked for."""
    from asgrad_jax.datasets import DATA_VARIABLE

    folder = os.environ.get(DATA_VARIABLE)
    if folder is None:
        return OK, f"{DATA_VARIABLE} is not set; data sets are downloaded once", ""
    if not os.path.isdir(folder):
        return WRONG, f"{DATA_VARIABLE}={folder} is no folder", "create it or unset it"
    return OK, f"{DATA_VARIABLE}={folder}", ""


def check_self_test() -> Answer:
    """A small sweep, with compiled kernels and without, against each other."""
    import numpy as np

    from asgrad_jax import algorithms, compute_times
    from asgrad_jax.experiments.sweep import sweep
    from asgrad_jax.problems.logistic import logistic_regression

    begun = time.monotonic()
    rng = np.random.default_rng(0)
    features = rng.standard_normal((60, 4))
    problem = logistic_regression(
        features, np.where(features[:, 0] > 0, 1, -1), num_workers=3, partition="iid"
    )
    losses = [
        sweep(
            problem,
            algorithms={"shuffled_async": algorithms.shuffled_async()},
            compute_times=compute_times.exponential([1, 2, 3]),
            step_sizes=[0.1, 0.5],
            num_gradients=200,
            precision="float64",
            kernels=kernels,
            progress=False,
        )["loss"].values
        for kernels in (True, False)
    ]
    seconds = f"{time.monotonic() - begun:.1f} s"
    apart = float(np.max(np.abs(losses[0] - losses[1])))
    falls = np.all(losses[0][..., -1] < losses[0][..., 0])
    if not (falls and apart < 1e-9):
        fix = "set ASGRAD_KERNELS=0, and report this with the output of doctor --json"
        return WRONG, f"kernels and plain JAX differ by {apart:.1e}", fix
    return OK, f"two sweeps agree to {apart:.0e}, their losses fall ({seconds})", ""


CHECKS: tuple[Callable[[], Answer], ...] = (
    check_python,
    check_versions,
    check_extras,
    check_devices,
    check_memory,
    check_precision,
    check_kernels,
    check_cache,
    check_data,
    check_self_test,
)
