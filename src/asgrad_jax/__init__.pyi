"""The public names, grouped by topic."""

# problems and data
from . import datasets as datasets
from . import problems as problems
from .problems.from_loss import from_loss as from_loss
from .problems.local_steps import local_steps as local_steps
from .problems.logistic import logistic_regression as logistic_regression
from .problems import splits as splits
from .problems.quadratic import quadratic as quadratic

# schedules
from . import algorithms as algorithms
from . import compute_times as compute_times
from .algorithms.algorithm import Algorithm as Algorithm
from .algorithms.round_algorithm import RoundAlgorithm as RoundAlgorithm
from .compute_times.traces import trace_durations as trace_durations
from .schedules.schedule import Schedule as Schedule
from .schedules.slots import plan_slots as plan_slots
from .schedules.traces import schedule_from_trace as schedule_from_trace
from .simulation.simulate import simulate as simulate
from .simulation.simulate import simulate_many as simulate_many

# bounds, constants, step sizes
from . import theory as theory

# runs
from .experiments.unfinished import load as load
from .experiments.communication import with_bits as with_bits
from .experiments.grid import Grid as Grid
from .experiments.run import Trajectory as Trajectory
from .experiments.run import run as run
from .experiments.runner import runner as runner
from .experiments.sweep import sweep as sweep
from .experiments.tune import tune as tune

# results
from . import plot as plot
from .results.merge import merge as merge
from .results.results import best as best
from .results.results import sweep_config as sweep_config
from .results.results import save as save
from .results.results import tail_mean as tail_mean
from .report.citations import citation as citation
from .results.time_to import time_to_accuracy as time_to_accuracy

__version__: str
