"""Compute times: how long each job of each worker takes.

The duration of job k of worker i is a function of (seed, i, k) alone, so two algorithms
with the same seed meet the same durations. `names` lists the families, which come from
several files; every family says its mean (`mean_durations`) and its `tail`. Any other
object with `num_workers` and `sample(worker, rng, size)` works in their place (see
`Sampler`).
"""

import importlib
import pkgutil
from typing import Any

from asgrad_jax.compute_times.base import ComputeTimes as ComputeTimes
from asgrad_jax.compute_times.base import Sampler as Sampler
from asgrad_jax.compute_times.correlated import adversarial_means as adversarial_means
from asgrad_jax.compute_times.correlated import correlated_means as correlated_means
from asgrad_jax.compute_times.registry import REGISTRY as _REGISTRY
from asgrad_jax.compute_times.registry import example as example
from asgrad_jax.compute_times.registry import get as get
from asgrad_jax.compute_times.registry import names as names
from asgrad_jax.compute_times.registry import register as register

# The families in the order of `names`; a file that is not named here comes last.
_FAMILIES = (
    "basic",
    "heavy_tailed",
    "composed",
    "varying_speed",
    "from_papers",
    "traces",
)
_FILES = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
for _name in (*_FAMILIES, *(name for name in _FILES if name not in _FAMILIES)):
    importlib.import_module(f"{__name__}.{_name}")
globals().update(_REGISTRY)


def __getattr__(name: str) -> Any:
    """The functions of families that users registered, by their names."""
    if name in _REGISTRY.names():
        return _REGISTRY.find(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    own = [name for name in globals() if not name.startswith("_")]
    return sorted({*own, *names()} - {"importlib", "pkgutil", "Any", *_FILES})
