"""Asynchronous SGD experiments as one compiled sweep.

    import asgrad_jax as ag

Name a problem, algorithms, compute times, step sizes and seeds; `sweep` runs the grid
as one compiled program and returns a labelled `xarray.Dataset`.
"""

import importlib as _importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING

from asgrad_jax import algorithms as algorithms
from asgrad_jax import compute_times as compute_times
from asgrad_jax import datasets as datasets
from asgrad_jax import theory as theory
from asgrad_jax.algorithms.algorithm import Algorithm as Algorithm
from asgrad_jax.algorithms.round_algorithm import RoundAlgorithm as RoundAlgorithm
from asgrad_jax.compute_times.traces import trace_durations as trace_durations
from asgrad_jax.experiments.hosts import join as join
from asgrad_jax.experiments.run import Trajectory as Trajectory
from asgrad_jax.experiments.run import run as run
from asgrad_jax.experiments.sweep import plan as plan
from asgrad_jax.experiments.sweep import sweep as sweep
from asgrad_jax.problems.from_loss import from_loss as from_loss
from asgrad_jax.problems.local_steps import local_steps as local_steps
from asgrad_jax.problems.logistic import logistic_regression as logistic_regression
from asgrad_jax.problems.quadratic import quadratic as quadratic
from asgrad_jax.results.results import best as best
from asgrad_jax.results.results import config as config
from asgrad_jax.results.results import load as load
from asgrad_jax.results.results import save as save
from asgrad_jax.results.results import tail_mean as tail_mean
from asgrad_jax.results.time_to import time_to as time_to
from asgrad_jax.schedules.schedule import Schedule as Schedule
from asgrad_jax.schedules.slots import plan_slots as plan_slots
from asgrad_jax.schedules.traces import schedule_from_trace as schedule_from_trace
from asgrad_jax.simulation.simulate import simulate as simulate
from asgrad_jax.simulation.simulate import simulate_many as simulate_many

if _TYPE_CHECKING:
    from asgrad_jax import plot as plot

__version__ = _version("asgrad-jax")

__all__ = [
    # problems and data
    "datasets",
    "from_loss",
    "local_steps",
    "logistic_regression",
    "quadratic",
    # schedules
    "Algorithm",
    "RoundAlgorithm",
    "Schedule",
    "algorithms",
    "compute_times",
    "plan_slots",
    "schedule_from_trace",
    "simulate",
    "simulate_many",
    "trace_durations",
    # bounds, constants, step sizes
    "theory",
    # runs
    "Trajectory",
    "join",
    "plan",
    "run",
    "sweep",
    # results
    "best",
    "config",
    "load",
    "plot",
    "save",
    "tail_mean",
    "time_to",
]


def __getattr__(name: str):
    # matplotlib is imported by the first use of `plot`, not with the package.
    if name == "plot":
        return _importlib.import_module("asgrad_jax.plot")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
