"""Plain SGD along a schedule in float64, keeping every gradient, for the theory.

The engine keeps only the iterates that will still be read; the theorem speaks of all of
them, so this replay holds the whole history. It is for certificates of moderate size.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.settings import fixed
from asgrad_jax.problems.flat_arrays import Folding, double, flat_rows
from asgrad_jax.problems.problem import Problem
from asgrad_jax.problems.sampling import minibatch_key
from asgrad_jax.schedules.columns import job_numbers
from asgrad_jax.schedules.schedule import Schedule

_MEMORY_LIMIT = 4 * 2**30  # bytes of history and gradients


def replay(
    problem: Problem,
    schedule: Schedule,
    step_size: float,
    start: NDArray[np.float64],
    *,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Runs plain SGD along a schedule and returns all gradients.

    Args:
        problem: a `Problem`.
        schedule: a `Schedule`.
        step_size: gamma; a row's gradient counts with gamma times its weight.
        start: x_0, float64[d].
        seed: seed of the mini-batch noise, as that of `ag.run`.

    Returns:
        float64[A + J, d]: the gradient of every row, then of the jobs in flight at the
        end, as they would return it.

    Raises:
        ValueError: if history and gradients would take more than 4 GiB.
    """
    worker = np.concatenate([schedule.worker, schedule.in_flight_worker])
    read = np.concatenate([schedule.read, schedule.in_flight_read])
    needed = 8 * start.size * (schedule.num_steps + 2 + len(worker))
    if needed > _MEMORY_LIMIT:
        raise ValueError(
            f"keeping every iterate and gradient takes {needed / 2**30:.1f} GiB, more "
            f"than {_MEMORY_LIMIT / 2**30:.0f}; certify a shorter schedule"
        )
    # Jobs that never arrived are numbered on after their worker's rows.
    following = np.zeros(schedule.num_workers, np.int64)
    np.maximum.at(following, schedule.worker, np.asarray(schedule.job) + 1)
    flying = np.asarray(schedule.in_flight_worker, np.int32)
    late = following[flying] + job_numbers(flying)
    rows = (
        worker.astype(np.int32),
        read.astype(np.int32),
        np.concatenate([schedule.job, late]).astype(np.int32),
        np.concatenate([schedule.weight * step_size, np.zeros(len(late))]),
        np.concatenate([schedule.step, np.zeros(len(late), bool)]),
    )
    with fixed(x64=True):
        return np.asarray(
            _replay(
                Folding.of(problem),
                schedule.num_steps,
                double(problem),
                np.asarray(start, np.float64),
                rows,
                minibatch_key(seed),
            )
        )


@partial(jax.jit, static_argnums=(0, 1))
def _replay(
    folding: Folding, steps: int, problem: Problem, start: Any, rows: Any, key_data: Any
) -> jax.Array:
    key = jax.random.wrap_key_data(key_data, impl="threefry2x32")
    scratch = steps + 1

    def arrival(
        carry: tuple[jax.Array, jax.Array, jax.Array, jax.Array], row: Any
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]:
        history, x, pending, version = carry
        worker, read, job, weight, step = row
        lane = folding.lane(history[read])
        sample = problem.sample(worker, job, key)
        gradient = flat_rows(problem.gradients_with(lane, worker, sample))[0]
        pending = pending + weight * gradient
        x = jnp.where(step, x - pending, x)
        pending = jnp.where(step, jnp.zeros_like(pending), pending)
        version = version + step.astype(jnp.int32)
        history = history.at[jnp.where(step, version, scratch)].set(x)
        return (history, x, pending, version), gradient

    history = jnp.zeros((steps + 2, start.shape[0])).at[0].set(start)
    carry = (history, jnp.asarray(start), jnp.zeros_like(start), jnp.int32(0))
    return jax.lax.scan(arrival, carry, rows)[1]
