"""All figures, as `ag.plot`: each is returned, for `save`; pyplot is not touched.

A figure is as large as `figure.figsize` of matplotlib's rcParams says, where that is
another than matplotlib's own 6.4 x 4.8 inches, or as the figure whose `axes` you give.
Otherwise each has a size that suits it, and grows with a long legend. Letters follow
`font.size`. Where room is short, as in one column of a paper, legends have smaller
letters (6 points at least) and shorter labels, and there is no caption.
"""

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
