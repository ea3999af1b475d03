"""Rules that look at values: clipped gradients, gradients accepted by distance."""

import dataclasses

import numpy as np

from asgrad_jax._util.checks import check_number
from asgrad_jax.algorithms.algorithm import Algorithm
from asgrad_jax.algorithms.asynchronous import pure_async, random_async
from asgrad_jax.algorithms.delay_aware import declared
from asgrad_jax.algorithms.registry import register
from asgrad_jax.algorithms.round_algorithm import RoundAlgorithm
from asgrad_jax.schedules.schedule import Schedule


@dataclasses.dataclass(frozen=True)
class Clip:
    """Scales every gradient down to a Euclidean norm of at most `radius`.

    Where the schedule has smaller radii already, these stay.
    """

    radius: float

    def __call__(self, schedule: Schedule) -> Schedule:
        clip = np.full(len(schedule), self.radius)
        if schedule.clip is not None:
            clip = np.minimum(clip, schedule.clip)
        return dataclasses.replace(schedule, clip=clip)


@dataclasses.dataclass(frozen=True)
class Accept:
    """Takes a gradient only if the iterate moved at most `threshold` since the read."""

    threshold: float

    def __call__(self, schedule: Schedule) -> Schedule:
        return dataclasses.replace(
            schedule, accept=np.full(len(schedule), self.threshold)
        )


@register("homogeneous", needs_values=True, knows="radius c")
def clipped(
    radius: float = 1.0, inner: Algorithm | RoundAlgorithm | None = None
) -> Algorithm | RoundAlgorithm:
    """Clipped ASGD: pure asynchronous SGD with gradients of norm at most c.

    ::

        loop: g of i arrives;  x <- x - gamma min(1, c / ||g||) g
              i starts at the new x

    Source: Erickson and Johansson (arXiv 2606.13287), Algorithm 1 for homogeneous data,
    as described in reviews, not in its abstract. c = inf is the inner algorithm. For
    homogeneous data.

    Args:
        radius: c > 0, inf = no clipping. The default 1 is no recommendation.
        inner: another algorithm whose gradients are clipped.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> clipped(2.0).transforms
        (Clip(radius=2.0),)
    """
    radius = check_number("clipped: radius", radius, above=0, finite=False)
    inner = pure_async() if inner is None else declared("clipped", inner)
    return dataclasses.replace(
        inner, name="clipped", transforms=(*inner.transforms, Clip(radius))
    )


@register("heterogeneous", needs_values=True, knows="radius c")
def clipped_random(radius: float = 1.0) -> Algorithm:
    """Clipped ASGD for heterogeneous data: random assignment, norm at most c.

    ::

        loop: g of i arrives;  x <- x - gamma min(1, c / ||g||) g
              k ~ Uniform[n] gets a job at the new x, behind those it has

    Source: Erickson and Johansson (arXiv 2606.13287), Algorithm 2 for heterogeneous
    data, as described in reviews; that it routes uniformly, as random asynchronous SGD,
    is a guess. Clipping moves the stationary points where single gradients stay longer
    than c. For heterogeneous data too.

    Args:
        radius: c > 0, inf = no clipping. The default 1 is no recommendation.

    Raises:
        TypeError, ValueError: if `radius` is not as described.

    Example:
        >>> clipped_random().order
        'random'
    """
    radius = check_number("clipped_random: radius", radius, above=0, finite=False)
    return dataclasses.replace(
        random_async(), name="clipped_random", transforms=(Clip(radius),)
    )


@register(
    "homogeneous",
    discards=True,
    needs_values=True,
    knows="threshold, eps / (2 L) from memory",
)
def picky(threshold: float = 1.0) -> Algorithm:
    """Picky SGD: a gradient counts only if the iterate has not moved far since.

    ::

        loop: g of i arrives, taken at x_{t - tau}
              if ||x_t - x_{t-tau}|| <= threshold: x <- x - gamma g
              i starts at the current x

    Source: Cohen, Daniely, Drori, Koren, Schain 2021 (arXiv 2106.11879); the rule as in
    the text, its threshold eps / (2 L) from memory. For homogeneous data. A gradient
    turned down leaves a version equal to the one before, so schedules do not depend on
    it.

    Args:
        threshold: >= 0, inf = accept all. The default 1 is no recommendation.

    Raises:
        TypeError, ValueError: if `threshold` is not as described.

    Example:
        >>> picky(0.1).transforms
        (Accept(threshold=0.1),)
    """
    threshold = check_number("picky: threshold", threshold, minimum=0, finite=False)
    return Algorithm(name="picky", transforms=(Accept(threshold),))
