"""A problem that is measured on data of its own, such as a held-out set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from asgrad_jax._util.checks import check_callable
from asgrad_jax._util.hashable import hashable
from asgrad_jax.problems.loss_checks import checked_frozen
from asgrad_jax.problems.problem import (
    GradientCost,
    Params,
    Problem,
    SampledProblem,
    check_is_problem,
    gradient_cost,
    make_arrays_read_only,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class WithMetrics(SampledProblem):
    """Another problem with further metrics; made by `with_metrics`.

    Whatever the problem inside knows of itself, it tells.

    Attributes:
        problem: the problem inside.
        data: pytree that the metrics read.
        own_metrics: (name, function of params and data) pairs.
    """

    problem: Any
    data: Any
    own_metrics: tuple[tuple[str, Callable], ...] = field(metadata=dict(static=True))

    def __getattr__(self, name: str) -> Any:
        # Copies are asked for names before they have a problem inside.
        if name.startswith("__") or "problem" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.problem, name)

    @property
    def num_workers(self) -> int:
        """Number of workers n (static)."""
        return self.problem.num_workers

    def init_params(self) -> Params:
        """The start x_0 of the problem inside."""
        return self.problem.init_params()

    def sample(self, worker: jax.Array, job: jax.Array, key: jax.Array) -> Any:
        """What is random in a gradient of the problem inside."""
        return self.problem.sample(worker, job, key)

    def gradients_with(self, params: Params, worker: jax.Array, sample: Any) -> Params:
        """Stochastic gradients of the problem inside."""
        return self.problem.gradients_with(params, worker, sample)

    def local_gradients(self, params: Params) -> Params:
        """Full gradients of every f_i at one point."""
        return self.problem.local_gradients(params)

    def cost(self, lanes: int) -> GradientCost:
        """What a gradient of the problem inside takes."""
        return gradient_cost(self.problem, lanes)

    def metrics(self, params: Params) -> dict[str, jax.Array]:
        """Those of the problem inside, and its own, one value per lane."""
        dtype = jax.tree.leaves(params)[0].dtype
        found = self.problem.metrics(params)
        for name, function in self.own_metrics:
            values = jax.vmap(function, (0, None))(params, self.data)
            found[name] = values.astype(dtype)
        return found


def with_metrics(
    problem: Problem, metrics: Mapping[str, Callable], data: Any
) -> WithMetrics:
    """A problem with metrics that read data of their own, such as a held-out set.

    The data are arguments of the compiled program, as those of workers are. A function
    given to `ag.sweep(metrics=...)` that closes over arrays has them as constants in
    the program: megabytes make it slow to compile.

    Args:
        problem: any problem.
        metrics: name -> function of (params, data) to a number, in JAX.
        data: pytree of arrays; floating ones follow the dtype of the run.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> import asgrad_jax as ag, jax.numpy as jnp
        >>> pixels, digits = ag.datasets.digits()
        >>> problem = ag.problems.multinomial_logistic(pixels[:1500], digits[:1500], 10)
        >>> def accuracy(params, held_out):
        ...     features, labels = held_out
        ...     return jnp.mean(jnp.argmax(features @ params, axis=1) == labels)
        >>> measured = with_metrics(
        ...     problem, {"accuracy": accuracy}, (pixels[1500:], digits[1500:]))
        >>> schedule = ag.simulate(
        ...     "pure_async", ag.compute_times.fixed([1.0] * 10), num_gradients=100)
        >>> run = ag.run(measured, schedule, step_size=0.1, record_every=50)
        >>> bool(run.metrics["accuracy"][-1] > 0.5 > run.metrics["accuracy"][0])
        True
    """
    check_is_problem(problem)
    if not isinstance(metrics, Mapping) or not metrics:
        raise TypeError(
            f"metrics must map names to functions of (params, data), got {metrics!r}"
        )
    for name, function in metrics.items():
        check_callable(f"metrics[{name!r}]", function, "params", "data")
    if taken := {"loss", "grad_norm", "finite"} & metrics.keys():
        raise ValueError(
            f"metrics must have names other than the problem's, got {min(taken)!r}; "
            "rename it"
        )
    own = tuple((name, hashable(function)) for name, function in metrics.items())
    kept = jax.tree.map(lambda leaf: np.array(checked_frozen(leaf)), data)
    return make_arrays_read_only(WithMetrics(problem, kept, own))
