"""Samples of many arrivals, drawn at once before the scan over them."""

import math
from typing import Any

import jax
from jax import lax

from asgrad_jax.problems.problem import draws_first

# Numbers that are drawn ahead in a call, at most; and arrivals whose samples are drawn
# together, which bounds the room for intermediate results.
_MOST, _AT_ONCE = 2**21, 4096


def waves_drawn_at_once(
    problem: Any, key: jax.Array, worker: jax.Array, draw: jax.Array, *, schedules: int
) -> int:
    """Returns the waves of equal parts whose samples `draw_ahead` has room for.

    Args:
        problem: any problem.
        key: the run's random key.
        worker: int32 [N, W], whose data.
        draw: int32 [N, W], their job numbers.
        schedules: of the call, which share the room.

    Returns:
        A divisor of N; N if all fit, or if nothing is drawn first.

    Example:
        >>> import numpy as np
        >>> from asgrad_jax.problems.logistic import logistic_regression
        >>> problem = logistic_regression(np.eye(4), [1, -1, 1, -1], 2, batch_size=2)
        >>> columns = np.zeros((2**21, 1), np.int32), np.ones((2**21, 1), np.int32)
        >>> waves_drawn_at_once(problem, jax.random.key(0), *columns, schedules=1)
        1048576
    """
    waves, width = worker.shape
    each = _numbers_of_one(problem, key, worker, draw) * width * schedules
    if each * waves <= _MOST:
        return waves
    fit = max(1, _MOST // each)
    return next(part for part in range(fit, 0, -1) if waves % part == 0)


def _numbers_of_one(problem: Any, key, worker, draw) -> int:
    """Returns how many numbers the sample of one arrival has; 0 if not drawn first."""
    if not draws_first(problem):
        return 0
    one = (jax.ShapeDtypeStruct((), x.dtype) for x in (worker, draw))
    shapes = jax.eval_shape(problem.sample, *one, key)
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


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
        >>> from asgrad_jax.problems.logistic import logistic_regression
        >>> problem = logistic_regression(np.eye(4), [1, -1, 1, -1], 2, batch_size=1)
        >>> columns = jax.numpy.zeros((2, 5, 3), int), jax.numpy.ones((2, 5, 3), int)
        >>> draw_ahead(problem, jax.random.key(0), *columns, schedules=1).shape
        (2, 5, 3, 1)
    """
    each = _numbers_of_one(problem, key, worker, draw)
    if not 0 < each * worker.size * schedules <= _MOST:
        return None

    def one(arrival):
        return problem.sample(*arrival, key)

    arrivals = worker.reshape(-1), draw.reshape(-1)
    if worker.size <= _AT_ONCE:
        samples = jax.vmap(one)(arrivals)
    else:
        samples = lax.map(one, arrivals, batch_size=_AT_ONCE)
    return jax.tree.map(lambda x: x.reshape(*worker.shape, *x.shape[1:]), samples)
