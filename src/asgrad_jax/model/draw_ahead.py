"""Samples of many arrivals, drawn at once before the scan over them."""

import math
from typing import Any

import jax
from jax import lax

from asgrad_jax.model.problem import draws_first

# Numbers that are drawn ahead in a call, at most; and arrivals whose samples are drawn
# together, which bounds the room for intermediate results.
_MOST, _AT_ONCE = 2**21, 4096


def draw_ahead(
    problem: Any, key: jax.Array, worker: jax.Array, draw: jax.Array, *, schedules: int
) -> Any:
    """Returns the samples of these arrivals, if there is room for them.

    Args:
        problem: any problem; those that do not draw first have none.
        key: the run's random key.
        worker: int32 [...], whose data.
        draw: int32 [...], their job numbers.
        schedules: of the call, which share the room.

    Returns:
        What `problem.sample` gives, leaves [..., *]. None if nothing is random, or if
        it is too much; fewer arrivals may fit.

    Example:
        >>> import numpy as np
        >>> from asgrad_jax.model.logistic import logistic_regression
        >>> problem = logistic_regression(np.eye(4), [1, -1, 1, -1], 2, batch_size=1)
        >>> columns = jax.numpy.zeros((2, 5, 3), int), jax.numpy.ones((2, 5, 3), int)
        >>> draw_ahead(problem, jax.random.key(0), *columns, schedules=1).shape
        (2, 5, 3, 1)
    """
    if not draws_first(problem):
        return None

    def one(arrival):
        return problem.sample(*arrival, key)

    arrivals = worker.reshape(-1), draw.reshape(-1)
    shapes = jax.eval_shape(one, jax.tree.map(lambda x: x[0], arrivals))
    each = sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))
    if not 0 < each * worker.size * schedules <= _MOST:
        return None
    if worker.size <= _AT_ONCE:
        samples = jax.vmap(one)(arrivals)
    else:
        samples = lax.map(one, arrivals, batch_size=_AT_ONCE)
    return jax.tree.map(lambda x: x.reshape(*worker.shape, *x.shape[1:]), samples)
