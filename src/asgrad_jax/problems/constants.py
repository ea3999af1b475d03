"""What a problem knows of itself: smoothness, noise variance, a lower bound on f.

Theory asks a problem, never its class: `KnownConstants` has the optional methods, the
`known_...` functions ask them. `eigenvalues` has pieces that help to answer.
"""

from typing import Any, Literal, NamedTuple, Protocol, get_args

import jax
import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import (
    check_callable,
    check_choice,
    check_number,
    check_numbers,
)
from asgrad_jax._util.settings import fixed
from asgrad_jax.problems.problem import Params

Certainty = Literal["exact", "upper bound", "probable upper bound", "lower estimate"]


class Smoothness(NamedTuple):
    """Gradient-Lipschitz constants of f and of its parts.

    Attributes:
        of_f: L of f.
        per_worker: float64[n], L_i of f_i.
        strong_convexity: mu of f, a lower bound; 0 where none is known.
        certainty: "exact", "upper bound", "probable upper bound" (fails with a
            probability of 1e-6) or "lower estimate".
    """

    of_f: float
    per_worker: NDArray[np.float64]
    strong_convexity: float
    certainty: Certainty

    @property
    def from_below(self) -> bool:
        """Whether the true constants may be larger: nothing rests on these safely."""
        return self.certainty == "lower estimate"

    @property
    def largest(self) -> float:
        """max_i L_i, the L of theorems that ask every f_i to be L-smooth."""
        return float(self.per_worker.max())

    @property
    def table(self) -> float:
        """sqrt((1/n) sum_i L_i^2), an upper bound on the L of a gradient table."""
        return float(np.sqrt(np.mean(self.per_worker**2)))


class NoiseVariance(NamedTuple):
    """sigma_i^2 of every worker at one point.

    Attributes:
        per_worker: float64[n], squared gradient norm.
        standard_error: float64[n], of each; 0 where `exact`.
        exact: closed form, else Monte Carlo.
    """

    per_worker: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    exact: bool

    @property
    def largest(self) -> float:
        """sigma^2 = max_i sigma_i^2, what the theorems ask for."""
        return float(self.per_worker.max())


class LowerBound(NamedTuple):
    """A number below all values of f.

    Attributes:
        value: <= f(x) for all x.
        exact: whether it is f* itself.
    """

    value: float
    exact: bool = False


class KnownConstants(Protocol):
    """What a `Problem` may tell about itself; every name here is optional.

    A problem without them, or one that answers None, is measured instead: L is
    estimated from below and certifies nothing, sigma^2 is estimated by Monte Carlo, and
    F_0 needs a `lower_bound=` from the user.
    """

    independent_noise: bool
    """Whether a worker's successive gradients have independent noise given the past;
    True where it is left out. Batches of a reshuffled epoch have not."""

    gradient_bias: str
    """Why `gradients` is not grad f_worker plus noise of mean zero, in words; empty, or
    left out, where it is. Theory refuses a problem with a text."""

    weights: NDArray[np.float64] | None
    """The w_i > 0 of f = sum_i w_i f_i, float[n], sum 1; None, or left out, for 1/n.

    Whatever a problem hands out for a worker belongs to n w_i f_i: gradients, local
    gradients, L_i and sigma_i^2. So f is the plain mean over the workers, a method that
    is unbiased for means is unbiased for f, and theory holds as it stands, with n w_i
    f_i for its f_i (which differ, even where the workers have the same data). A method
    that hears fast workers more often goes to the minimiser of the sum over i of
    p_i n w_i f_i, p_i the worker's share of the gradients."""

    def smoothness(self, params: Params) -> Smoothness | None:
        """L of f and of every f_i (with other weights than 1/n, of n w_i f_i).

        Args:
            params: pytree like `init_params()`: where, if it holds near a point alone.
        """
        ...

    def noise_variance(
        self, params: Params, worker: NDArray[np.int32]
    ) -> NDArray[np.float64] | None:
        """sigma_i^2 = E||g_i - grad f_i||^2 in closed form.

        Args:
            params: pytree with leaves [N, ...], float64: N points.
            worker: int32[N], i of each point.

        Returns:
            float64[N], squared gradient norm.
        """
        ...

    def lower_bound(self) -> LowerBound | None:
        """A number <= f(x) for all x."""
        ...


def known_weights(problem: Any) -> NDArray[np.float64]:
    """Returns the w_i of f = sum_i w_i f_i, float64[n]; 1/n where a problem has none.

    Raises:
        TypeError, ValueError: if its attribute is something else.

    Example:
        >>> from asgrad_jax.problems.logistic import logistic_regression
        >>> known_weights(logistic_regression(np.eye(4), [1, -1, 1, -1], 2))
        array([0.5, 0.5])
    """
    n = problem.num_workers
    found = getattr(problem, "weights", None)
    if found is None:
        return np.full(n, 1 / n)
    name = f"{type(problem).__name__}.weights"
    found = check_numbers(name, found, ndim=1, size=n, above=0, finite=True)
    if abs(found.sum() - 1) > 1e-6:
        raise ValueError(f"{name} must have the sum 1, got {found.sum()}")
    return found


def known_smoothness(problem: Any, params: Params = None) -> Smoothness | None:
    """Returns the smoothness that a problem knows of itself; None where it knows none.

    Args:
        problem: a `Problem`, see `KnownConstants`.
        params: pytree like `problem.init_params()`, which is the default.

    Raises:
        TypeError, ValueError: if its method takes or returns something else.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> known_smoothness(quadratic(2, 3, smoothness=2.0)).certainty
        'exact'
    """
    if params is None:
        params = problem.init_params()
    found = _ask(problem, Smoothness, "smoothness", params=params)
    if found is None:
        return None
    name = f"{type(problem).__name__}.smoothness"
    check_choice(f"certainty of {name}", found.certainty, get_args(Certainty))
    per_worker = check_numbers(
        f"per_worker of {name}",
        found.per_worker,
        ndim=1,
        size=problem.num_workers,
        minimum=0,
        finite=True,
    )
    return found._replace(
        of_f=check_number(f"of_f of {name}", found.of_f, minimum=0),
        per_worker=per_worker,
        strong_convexity=check_number(
            f"strong_convexity of {name}", found.strong_convexity, minimum=0
        ),
    )


def known_noise(
    problem: Any, params: Params, worker: NDArray[np.int32]
) -> NDArray[np.float64] | None:
    """Returns the noise variances that a problem knows in closed form, or None.

    Arguments and result are those of `KnownConstants.noise_variance`.

    Raises:
        TypeError, ValueError: if its method takes or returns something else.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> problem = quadratic(2, 3, noise=0.5)
        >>> known_noise(problem, np.zeros((1, 3)), np.array([1], np.int32))
        array([0.25])
    """
    found = _ask(problem, object, "noise_variance", params=params, worker=worker)
    if found is None:
        return np.zeros(worker.size) if _is_exact(problem) else None
    name = f"{type(problem).__name__}.noise_variance(params, worker)"
    found = check_numbers(name, found, ndim=1, minimum=0, finite=True)
    if found.size != worker.size:
        raise ValueError(
            f"{name} must have one number for each of the {worker.size} points, got "
            f"{found.size}"
        )
    return found


def _is_exact(problem: Any) -> bool:
    """Whether jobs have no randomness at all, which is what `sample` is for."""
    with fixed():
        sample = jax.eval_shape(problem.sample, 0, 0, jax.random.key(0))
    return not jax.tree.leaves(sample)


def known_lower_bound(problem: Any) -> LowerBound | None:
    """Returns the lower bound on f that a problem knows; None where it knows none.

    TypeError or ValueError if its method takes arguments or returns something else.

    Example:
        >>> from asgrad_jax.problems.logistic import logistic_regression
        >>> known_lower_bound(logistic_regression(np.eye(2), [1, -1], 2))
        LowerBound(value=0.0, exact=False)
    """
    found = _ask(problem, LowerBound, "lower_bound")
    if found is not None:
        name = f"value of {type(problem).__name__}.lower_bound"
        found = LowerBound(check_number(name, found.value), bool(found.exact))
    return found


def _ask(problem: Any, kind: type, name: str, **arguments: Any) -> Any:
    """Returns what an optional method of a problem answers; None without the method."""
    method = getattr(problem, name, None)
    if method is None:
        return None
    full = f"{type(problem).__name__}.{name}"
    check_callable(full, method, *arguments)
    found = method(*arguments.values())
    if found is not None and not isinstance(found, kind):
        raise TypeError(
            f"{full} must return a problems.constants.{kind.__name__} or None, got "
            f"{type(found).__name__}"
        )
    return found


def batch_variance(
    variance: NDArray[np.float64], rows: int, batch_size: int, sampling: str
) -> NDArray[np.float64]:
    """Variance of the mean of a mini-batch of a worker's row gradients, shaped like V.

    V/b with replacement, (V/b)(m - b)/(m - 1) without, with m for b > m. Reshuffled
    epochs have the same marginal distribution, but successive batches of an epoch
    depend on each other.

    Args:
        variance: V, the population variance over the rows, squared gradient norm.
        rows: m.
        batch_size: b.
        sampling: a rule of `batch_indices`.

    Example:
        >>> batch_variance(np.array([3.0]), 4, 2, "without_replacement")
        array([1.])
    """
    if sampling != "with_replacement":
        batch_size = min(batch_size, rows)
        variance = variance * ((rows - batch_size) / max(rows - 1, 1))
    return variance / batch_size
