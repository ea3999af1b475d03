"""Workers that all have the same data, which are kept once."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_count
from asgrad_jax.problems.constants import (
    LowerBound,
    Smoothness,
    known_lower_bound,
    known_noise,
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
class SharedData(SampledProblem):
    """f_1 = ... = f_n = f, with noise of each worker's own; made by `shared_data`.

    What the problem inside knows of itself is told of every worker.

    Attributes:
        problem: of one worker, who has all the data.
        num_workers: n (static).
    """

    problem: Any
    num_workers: int = field(metadata=dict(static=True))

    @property
    def counts(self) -> Any:
        """The rows of the data, [1], as they are kept; None without rows."""
        return getattr(self.problem, "counts", None)

    @property
    def batch_size(self) -> int | None:
        """Rows of a mini-batch, None for full gradients."""
        return getattr(self.problem, "batch_size", None)

    @property
    def independent_noise(self) -> bool:
        """Whether a worker's batches are independent, see `KnownConstants`."""
        return getattr(self.problem, "independent_noise", True)

    @property
    def gradient_bias(self) -> str:
        """Why theory refuses the problem, see `KnownConstants`."""
        return getattr(self.problem, "gradient_bias", "")

    def init_params(self) -> Params:
        """The start x_0 of the problem inside."""
        return self.problem.init_params()

    def sample(self, worker: jax.Array, job: jax.Array, key: jax.Array) -> Any:
        """What is random in a gradient, drawn for each worker by itself."""
        own = jax.random.fold_in(key, worker)
        return self.problem.sample(jnp.zeros_like(worker), job, own)

    def gradients_with(self, params: Params, worker: jax.Array, sample: Any) -> Params:
        """Stochastic gradients of f with the sample drawn, one per lane."""
        return self.problem.gradients_with(params, jnp.zeros_like(worker), sample)

    def metrics(self, params: Params) -> dict[str, jax.Array]:
        """Those of the problem inside."""
        return self.problem.metrics(params)

    def local_gradients(self, params: Params) -> Params:
        """The gradient of f, n times: leaves [n, ...]."""
        return jax.tree.map(
            lambda leaf: jnp.repeat(leaf, self.num_workers, axis=0),
            self.problem.local_gradients(params),
        )

    def cost(self, lanes: int) -> GradientCost:
        """What a gradient of the problem inside takes."""
        return gradient_cost(self.problem, lanes)

    def smoothness(self, params: Params) -> Smoothness | None:
        """L of f, which is that of every worker."""
        found = known_smoothness(self.problem, params)
        if found is None:
            return None
        return found._replace(per_worker=np.full(self.num_workers, found.of_f))

    def noise_variance(
        self, params: Params, worker: NDArray[np.int32]
    ) -> NDArray[np.float64] | None:
        """sigma^2 of the problem inside at N points, float64 [N]."""
        return known_noise(self.problem, params, np.zeros_like(worker))

    def lower_bound(self) -> LowerBound | None:
        """That of the problem inside."""
        return known_lower_bound(self.problem)


def shared_data(problem: Problem, num_workers: int) -> SharedData:
    """Gives the data of a problem with one worker to n workers, without copies.

    Every f_i is f; mini-batches are drawn for each worker by itself. With n = 6174 and
    100 images there are 100 images in memory, and a metric is one pass over them.

    Args:
        problem: any problem of one worker.
        num_workers: n.

    Raises:
        TypeError, ValueError: if it is no problem, or one of several workers.

    Example:
        >>> import asgrad_jax as ag
        >>> rows, values = np.eye(4), np.arange(4.0)
        >>> alone = ag.problems.least_squares(rows, values, 1, batch_size=2)
        >>> problem = shared_data(alone, 1000)
        >>> problem.num_workers, ag.theory.constants(problem).zeta_sq
        (1000, 0.0)
    """
    check_is_problem(problem)
    if problem.num_workers != 1:
        raise ValueError(
            "problem must be of one worker, who has all the data, got one of "
            f"{problem.num_workers}"
        )
    return SharedData(problem, check_count("num_workers", num_workers))
