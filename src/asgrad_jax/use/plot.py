"""All figures, as `ag.plot`. No pyplot state is touched."""

from asgrad_jax.use.plot_certificate import certificate as certificate
from asgrad_jax.use.plot_profile import correlation_profile as correlation_profile
from asgrad_jax.use.plot_schedule import schedule as schedule
from asgrad_jax.use.plot_sweep import convergence as convergence
from asgrad_jax.use.plot_sweep import step_size_sensitivity as step_size_sensitivity
from asgrad_jax.use.plot_theory_sweep import sensitivity as sensitivity
from asgrad_jax.use.plot_theory_sweep import time_to as time_to
from asgrad_jax.use.style import save as save
