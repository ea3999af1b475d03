"""Theory beside practice: delays, constants, bounds, step sizes, the role of order.

Print what a function returns for a table or a page. Statements, the papers' and
asgrad_jax's own theorem, are in `bounds`; every one says which it is and how it was
read.
"""

from asgrad_jax.theory import bounds as bounds
from asgrad_jax.theory import step_size_rules as step_size_rules
from asgrad_jax.theory.assignment import Assignment as Assignment
from asgrad_jax.theory.assignment import assignment_order as assignment_order
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
from asgrad_jax.theory.predicted_times import PredictedTimes as PredictedTimes
from asgrad_jax.theory.predicted_times import predicted_times as predicted_times
from asgrad_jax.theory.report import Report as Report
from asgrad_jax.theory.report import report as report
from asgrad_jax.theory.smoothness import smoothness as smoothness
from asgrad_jax.theory.step_sizes import NotApplicable as NotApplicable
from asgrad_jax.theory.step_sizes import RuleInputs as RuleInputs
from asgrad_jax.theory.step_sizes import StepSizes as StepSizes
from asgrad_jax.theory.step_sizes import step_size_rule as step_size_rule
from asgrad_jax.theory.step_sizes import step_sizes as step_sizes
