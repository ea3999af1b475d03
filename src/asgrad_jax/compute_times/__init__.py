"""Compute times: how long each job of each worker takes.

The duration of job k of worker i is a function of (seed, i, k) alone, so two algorithms
with the same seed meet the same durations. `names` lists the families, which come from
several files; every family says its mean (`mean_durations`) and its `tail`. Any other
object with `num_workers` and `sample(worker, rng, size)` works in their place (see
`Sampler`).
"""

from asgrad_jax.compute_times.base import ComputeTimes as ComputeTimes
from asgrad_jax.compute_times.base import Sampler as Sampler
from asgrad_jax.compute_times.basic import empirical as empirical
from asgrad_jax.compute_times.basic import exponential as exponential
from asgrad_jax.compute_times.basic import fixed as fixed
from asgrad_jax.compute_times.basic import gamma as gamma
from asgrad_jax.compute_times.basic import half_normal as half_normal
from asgrad_jax.compute_times.basic import lognormal as lognormal
from asgrad_jax.compute_times.basic import normal as normal
from asgrad_jax.compute_times.basic import pareto as pareto
from asgrad_jax.compute_times.basic import poisson as poisson
from asgrad_jax.compute_times.basic import trunc_normal as trunc_normal
from asgrad_jax.compute_times.basic import uniform as uniform
from asgrad_jax.compute_times.composed import groups as groups
from asgrad_jax.compute_times.composed import joined as joined
from asgrad_jax.compute_times.composed import parts as parts
from asgrad_jax.compute_times.correlated import adversarial_means as adversarial_means
from asgrad_jax.compute_times.correlated import correlated_means as correlated_means
from asgrad_jax.compute_times.from_papers import ata_groups as ata_groups
from asgrad_jax.compute_times.from_papers import bad_worker as bad_worker
from asgrad_jax.compute_times.from_papers import birch_classical as birch_classical
from asgrad_jax.compute_times.from_papers import birch_hetcomp as birch_hetcomp
from asgrad_jax.compute_times.from_papers import koloskova_1000 as koloskova_1000
from asgrad_jax.compute_times.from_papers import one_straggler as one_straggler
from asgrad_jax.compute_times.from_papers import ringleader as ringleader
from asgrad_jax.compute_times.from_papers import ringmaster_linear as ringmaster_linear
from asgrad_jax.compute_times.from_papers import ringmaster_sqrt as ringmaster_sqrt
from asgrad_jax.compute_times.from_papers import tick as tick
from asgrad_jax.compute_times.from_papers import two_speed as two_speed
from asgrad_jax.compute_times.heavy_tailed import (
    infinite_bernoulli as infinite_bernoulli,
)
from asgrad_jax.compute_times.heavy_tailed import log_cauchy as log_cauchy
from asgrad_jax.compute_times.heavy_tailed import mindflayer as mindflayer
from asgrad_jax.compute_times.heavy_tailed import mixed as mixed
from asgrad_jax.compute_times.registry import example as example
from asgrad_jax.compute_times.registry import get as get
from asgrad_jax.compute_times.registry import names as names
from asgrad_jax.compute_times.traces import trace as trace
from asgrad_jax.compute_times.varying_speed import burst as burst
from asgrad_jax.compute_times.varying_speed import death as death
from asgrad_jax.compute_times.varying_speed import diurnal as diurnal
from asgrad_jax.compute_times.varying_speed import drift as drift
from asgrad_jax.compute_times.varying_speed import outages as outages
from asgrad_jax.compute_times.varying_speed import universal as universal
