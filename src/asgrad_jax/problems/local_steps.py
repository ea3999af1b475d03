"""Jobs of several local SGD steps, as a problem around another one."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax._util.checks import check_count, check_number, make_read_only
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
        step_size: scalar, eta_l > 0, the step size on the workers.
        num_steps: Q (static).
    """

    problem: Any
    step_size: np.ndarray | jax.Array
    num_steps: int = field(metadata=dict(static=True))

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
        return jax.vmap(lambda job: self.problem.sample(worker, job, key))(jobs)

    def gradients_with(self, params: Params, worker: jax.Array, sample: Any) -> Params:
        """(y_0 - y_Q) / eta_l for every lane: y_0 = x, y_{q+1} = y_q - eta_l g(y_q).

        With weights it is n w_i times that, and the g of these steps has no weight.
        """
        size = jnp.asarray(self.step_size)
        if self.weights is not None:
            size = size / (self.num_workers * jnp.asarray(self.weights)[worker])

        def step(carry, sample):
            y, total = carry
            g = self.problem.gradients_with(y, worker, sample)
            y = jax.tree.map(lambda a, b: a - size.astype(a.dtype) * b, y, g)
            # The sum of the local gradients is the scaled difference without its
            # cancellation, and for Q = 1 it is the gradient to the bit.
            return (y, jax.tree.map(jnp.add, total, g)), None

        nothing = jax.tree.map(jnp.zeros_like, params)
        (_, total), _ = jax.lax.scan(
            step, (params, nothing), sample, length=self.num_steps
        )
        return total

    def metrics(self, params: Params) -> dict[str, jax.Array]:
        """Value and gradient norm of f; see `Problem.metrics`."""
        return self.problem.metrics(params)

    def local_gradients(self, params: Params) -> Params:
        """Full gradients of every f_i at one point; see `Problem.local_gradients`."""
        return self.problem.local_gradients(params)


def local_steps(problem: Problem, num_steps: int, step_size: float) -> LocalSteps:
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

    Args:
        problem: any problem.
        num_steps: Q >= 1.
        step_size: eta_l > 0.

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
    num_steps = check_count("num_steps", num_steps)
    step_size = check_number("step_size", step_size, above=0)
    size = make_read_only(np.array(step_size))
    return LocalSteps(problem, size, num_steps)
