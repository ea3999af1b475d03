"""All figures, as `ag.plot`: each is returned, for `save`; pyplot is not touched."""

from asgrad_jax.plot.certificate import certificate as certificate
from asgrad_jax.plot.correlation_profile import (
    correlation_profile as correlation_profile,
)
from asgrad_jax.plot.schedule import schedule as schedule
from asgrad_jax.plot.split import split as split
from asgrad_jax.plot.style import save as save
from asgrad_jax.plot.sweep import convergence as convergence
from asgrad_jax.plot.sweep import step_sizes as step_sizes
from asgrad_jax.plot.theory import step_size_advice as step_size_advice
from asgrad_jax.plot.theory import time_to_accuracy as time_to_accuracy
