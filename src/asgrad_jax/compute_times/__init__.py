"""Compute times: how long each job of each worker takes.

The duration of job k of worker i is a function of (seed, i, k) alone, so two algorithms
with the same seed meet the same durations. `names` lists the families, which come from
several files; every family says its mean (`mean_durations`) and its `tail`. Any other
object with `num_workers` and `sample(worker, rng, size)` works in their place (see
`Sampler`).
"""

from asgrad_jax._util.registry import attach as _attach
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
__getattr__, __dir__ = _attach(_REGISTRY, __name__, _FAMILIES)
