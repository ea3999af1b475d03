"""Jobs of several local SGD steps, as a problem around another one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import (
    check_count,
    check_integers,
    check_number,
    check_numbers,
    make_read_only,
)
from asgrad_jax.problems.constants import (
    LowerBound,
    Smoothness,
    known_lower_bound,
    known_smoothness,
)
from asgrad_jax.problems.problem import (
    GradientCost,
    Params,
    Problem,
    SampledProblem,
    check_is_problem,
    gradient_cost,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class LocalSteps(SampledProblem):
    """A problem whose workers make Q SGD steps on their own shard before they report.

    Made by `local_steps`. Metrics and local gradients are those of the problem inside.

    Attributes:
        problem: the problem inside.
        step_size: scalar, eta_l > 0, the step size on the workers; or [Q] numbers, one
            for each step, eta_l the first.
        num_steps: Q, the largest number of steps of a job (static).
        of_worker: int32 [n], steps of every worker's jobs, or None where all make Q.
        momentum: scalar beta, or None.
        fewest: int32 scalar: a job's number of steps is uniform in fewest..Q_i; or None
            where it is Q_i.
    """

    problem: Any
    step_size: np.ndarray | jax.Array
    num_steps: int = field(metadata=dict(static=True))
    of_worker: np.ndarray | jax.Array | None = None
    momentum: np.ndarray | jax.Array | None = None
    fewest: np.ndarray | jax.Array | None = None

    @property
    def num_workers(self) -> int:
        """Number of workers n (static)."""
        return self.problem.num_workers

    # Theory's questions: f is that of the problem inside, the noise of a job is not.
    gradient_bias = (
        "jobs of ag.local_steps return a sum of gradients at moving points (ask about "
        "the problem inside, problem.problem, which has the same f)"
    )

    @property
    def weights(self) -> np.ndarray | jax.Array | None:
        """Those of the problem inside; see `KnownConstants`."""
        return getattr(self.problem, "weights", None)

    def smoothness(self, params: Params = None) -> Smoothness | None:
        """What the problem inside knows of L; see `KnownConstants`."""
        return known_smoothness(self.problem, params)

    def lower_bound(self) -> LowerBound | None:
        """What the problem inside knows of f*; see `KnownConstants`."""
        return known_lower_bound(self.problem)

    def cost(self, lanes: int) -> GradientCost:
        """What one local gradient takes: as the engine plans a step, Q times."""
        return gradient_cost(self.problem, lanes)

    def init_params(self) -> Params:
        """The start x_0 of the problem inside."""
        return self.problem.init_params()

    def sample(self, worker: jax.Array, job: jax.Array, key: jax.Array) -> Any:
        """The samples of Q local gradients, leaves [Q, ...].

        Local step q of job k uses the noise that job k Q + q of the problem inside
        would use.
        """
        jobs = job * self.num_steps + jnp.arange(self.num_steps, dtype=jnp.int32)
        samples = jax.vmap(lambda job: self.problem.sample(worker, job, key))(jobs)
        if self.fewest is None:
            return samples
        own = jax.random.fold_in(jax.random.fold_in(key, 2**32 - 2), worker)
        own = jax.random.fold_in(own, job)
        most = self._most_steps(worker)
        return samples, jax.random.randint(own, (), self.fewest, most + 1, jnp.int32)

    def _most_steps(self, worker: jax.Array) -> jax.Array:
        if self.of_worker is None:
            return jnp.int32(self.num_steps)
        return jnp.asarray(self.of_worker)[worker]

    def gradients_with(self, params: Params, worker: jax.Array, sample: Any) -> Params:
        """(y_0 - y_Q) / eta_l for every lane: y_0 = x, y_{q+1} = y_q - eta_l g(y_q).

        With weights it is n w_i times that, and the g of these steps has no weight.
        """
        size = jnp.asarray(self.step_size)
        if self.weights is not None:
            size = size / (self.num_workers * jnp.asarray(self.weights)[worker])
        made = self._most_steps(worker)
        if self.fewest is not None:
            sample, made = sample
        all_equal = self.of_worker is None and self.fewest is None

        def step(carry, inputs):
            y, total, velocity = carry
            q, sample = inputs
            g = self.problem.gradients_with(y, worker, sample)
            if self.momentum is not None:
                beta = jnp.asarray(self.momentum)
                velocity = g = jax.tree.map(
                    lambda v, b: beta.astype(b.dtype) * v + b, velocity, g
                )
            own = size if size.ndim == 0 else size[q]
            if not all_equal:  # the worker has stopped
                own = jnp.where(q < made, own, 0)
                g = jax.tree.map(lambda b: jnp.where(q < made, b, 0), g)
            y = jax.tree.map(lambda a, b: a - own.astype(a.dtype) * b, y, g)
            if size.ndim:
                share = own / size[0]
                g = jax.tree.map(lambda b: share.astype(b.dtype) * b, g)
            # The sum of the local gradients is the scaled difference without its
            # cancellation, and for Q = 1 it is the gradient to the bit.
            return (y, jax.tree.map(jnp.add, total, g), velocity), None

        nothing = jax.tree.map(jnp.zeros_like, params)
        velocity = None if self.momentum is None else nothing
        counted = None
        if size.ndim or not all_equal:
            counted = jnp.arange(self.num_steps, dtype=jnp.int32)
        (_, total, _), _ = jax.lax.scan(
            step,
            (params, nothing, velocity),
            (counted, sample),
            length=self.num_steps,
        )
        return total

    def metrics(self, params: Params) -> dict[str, jax.Array]:
        """Value and gradient norm of f; see `Problem.metrics`."""
        return self.problem.metrics(params)

    def local_gradients(self, params: Params) -> Params:
        """Full gradients of every f_i at one point; see `Problem.local_gradients`."""
        return self.problem.local_gradients(params)


def local_steps(
    problem: Problem,
    num_steps: int | Sequence[int],
    step_size: float | Sequence[float],
    *,
    momentum: float | None = None,
    random: bool = False,
) -> LocalSteps:
    """A problem whose jobs are Q local SGD steps, as in FedBuff and FedAvg.

    A job of worker i that reads x computes

        y_0 = x;  y_{q+1} = y_q - eta_l grad f_i(y_q), q = 0..Q-1

    and reports Delta / eta_l, Delta = y_0 - y_Q: the sum of its local gradients. A
    server of step size gamma that takes the mean of K reports makes the step

        x <- x - gamma / (eta_l K) sum Delta,

    so FedBuff's x <- x - eta_g / K sum Delta is gamma = eta_g eta_l. With Q = 1 it is
    the problem inside, whatever eta_l is. A schedule's row is a job: Q gradients. f and
    its metrics are unchanged. If the problem has weights w_i, local steps follow the
    gradient of f_i itself, and the report counts n w_i times: a server that takes the
    mean of all workers' reports adds up w_i Delta_i / eta_l.

    With a number Q_i for every worker (DyLU of asynchronous DiLoCo, see `dylu_steps`)
    worker i makes Q_i steps; `compute_times.repeated` makes its jobs as long. The
    gradients after the Q_i-th are computed and left out: a job costs max Q_i of them.
    With momentum, v = beta v + g takes the place of g, from 0 in every job.

    Args:
        problem: any problem.
        num_steps: Q >= 1, or Q_i >= 1 of each worker.
        step_size: eta_l > 0, or one of each of the Q steps; then the report is Delta /
            eta_l with eta_l the first.
        momentum: 0 <= beta < 1 inside a job.
        random: whether each job's number of steps is drawn uniformly from 1..Q_i; how
            long a job takes is up to the compute times, which do not know the number.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Source: Nguyen et al. 2021 (arXiv 2106.06639), the client of FedBuff.

    Example:
        >>> from asgrad_jax.problems.quadratic import Quadratic
        >>> inside = Quadratic.from_arrays([[1.0]], [[0.0]])
        >>> problem = local_steps(inside, num_steps=2, step_size=0.5)
        >>> x = jnp.ones((1, 1))  # y: 1, 1/2, 1/4; Delta / eta_l = (3/4) / (1/2)
        >>> problem.gradients(x, 0, 0, jax.random.key(0))
        Array([[1.5]], dtype=float32)
    """
    check_is_problem(problem)
    of_worker = None
    if np.ndim(num_steps):
        given = check_integers("num_steps", num_steps, ndim=1)
        if len(given) != problem.num_workers:
            raise ValueError(
                f"num_steps must be one number, or one for each of the "
                f"{problem.num_workers} workers, got {len(given)}"
            )
        num_steps = int(max(check_count("num_steps", int(own)) for own in given))
        of_worker = make_read_only(np.asarray(given, np.int32))
    most = check_count("num_steps", num_steps)
    if np.ndim(step_size):
        size = check_numbers("step_size", step_size, ndim=1, above=0, finite=True)
        if len(size) != most:
            raise ValueError(
                f"step_size must be one number, or one for each of the {most} local "
                f"steps, got {len(size)}"
            )
    else:
        size = np.array(check_number("step_size", step_size, above=0))
    beta = None
    if momentum is not None:
        momentum = check_number("momentum", momentum, minimum=0)
        if momentum >= 1:
            raise ValueError(f"momentum must be below 1, got {momentum}")
        beta = make_read_only(np.array(momentum))
    size = make_read_only(np.array(size))
    fewest = make_read_only(np.array(1, np.int32)) if random else None
    return LocalSteps(problem, size, most, of_worker, beta, fewest)


def dylu_steps(num_steps: int, speeds: ArrayLike) -> tuple[int, ...]:
    """Recalled: local steps of each worker in DyLU, H_i = max(1, floor(H v_i / v_max)).

    Args:
        num_steps: H >= 1, those of the fastest worker.
        speeds: [n] v_i > 0, gradients per second.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Source: Liu et al. 2024 (arXiv 2401.09135), recalled, not checked against the text.

    Example:
        >>> dylu_steps(10, [1.0, 0.55, 0.01])
        (10, 5, 1)
    """
    most = check_count("num_steps", num_steps)
    v = check_numbers("speeds", speeds, ndim=1, above=0, finite=True)
    # Room for rounding: equal speeds make equally many steps.
    return tuple(max(1, int(most * own / v.max() + 1e-9)) for own in v)
