"""Theory beside practice: delays, constants, bounds, step sizes, the role of order.

Statements of papers live in `rates`, `heterogeneous_rates`, `times`, `convex_times` and
`round_times`; this project's own theorem in `theorem` and `special_cases`. Every
docstring says which is which.
"""

from asgrad_jax.theory.assignment import Assignment as Assignment
from asgrad_jax.theory.assignment import assignment_order as assignment_order
from asgrad_jax.theory.bounds import convex_times as convex_times
from asgrad_jax.theory.bounds import heterogeneous as heterogeneous_rates
from asgrad_jax.theory.bounds import homogeneous as rates
from asgrad_jax.theory.bounds import own_theorem as theorem
from asgrad_jax.theory.bounds import round_times as round_times
from asgrad_jax.theory.bounds import special_cases as special_cases
from asgrad_jax.theory.bounds import times as times
from asgrad_jax.theory.bounds.times import TimesToEps as TimesToEps
from asgrad_jax.theory.bounds.times import time_to as time_to
from asgrad_jax.theory.certificate import Certificate as Certificate
from asgrad_jax.theory.certificate import certificate as certificate
from asgrad_jax.theory.constants import Constants as Constants
from asgrad_jax.theory.constants import Heterogeneity as Heterogeneity
from asgrad_jax.theory.constants import constants as constants
from asgrad_jax.theory.constants import heterogeneity as heterogeneity
from asgrad_jax.theory.constants import heterogeneity_path as heterogeneity_path
from asgrad_jax.theory.correlation import CorrelationProfile as CorrelationProfile
from asgrad_jax.theory.correlation import correlation_profile as correlation_profile
from asgrad_jax.theory.delays import Delays as Delays
from asgrad_jax.theory.delays import delays as delays
from asgrad_jax.theory.noise import noise_variance as noise_variance
from asgrad_jax.theory.report import Report as Report
from asgrad_jax.theory.report import report as report
from asgrad_jax.theory.smoothness import smoothness as smoothness
from asgrad_jax.theory.step_sizes import StepSizes as StepSizes
from asgrad_jax.theory.step_sizes import step_sizes as step_sizes

__all__ = [
    # measured on a schedule
    "Assignment",
    "CorrelationProfile",
    "Delays",
    "assignment_order",
    "correlation_profile",
    "delays",
    # measured on a problem
    "Constants",
    "Heterogeneity",
    "constants",
    "heterogeneity",
    "heterogeneity_path",
    "noise_variance",
    "smoothness",
    # bounds, step sizes, times
    "Certificate",
    "StepSizes",
    "TimesToEps",
    "certificate",
    "step_sizes",
    "time_to",
    "convex_times",
    "heterogeneous_rates",
    "rates",
    "round_times",
    "special_cases",
    "theorem",
    "times",
    # all of it on one page
    "Report",
    "report",
]
