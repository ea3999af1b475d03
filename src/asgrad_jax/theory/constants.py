"""The numbers by which theory sees a problem: L, sigma^2, zeta^2, F_0, mu."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_number
from asgrad_jax.problems.constants import (
    LowerBound,
    NoiseVariance,
    Smoothness,
    known_lower_bound,
)
from asgrad_jax.problems.flat_arrays import local_table, loss_at
from asgrad_jax.problems.problem import Problem
from asgrad_jax.theory._inputs import check_jobs
from asgrad_jax.theory.noise import noise_variance
from asgrad_jax.theory.smoothness import smoothness


@dataclass(frozen=True)
class Heterogeneity:
    """How far the workers' objectives differ at one point.

    Attributes:
        zeta_sq_per_worker: float64[n], zeta_i^2 = ||grad f_i(x) - grad f(x)||^2.
        grad_sq: ||grad f(x)||^2.
    """

    zeta_sq_per_worker: NDArray[np.float64]
    grad_sq: float

    @property
    def zeta_sq(self) -> float:
        """zeta^2 = (1/n) sum_i zeta_i^2."""
        return float(self.zeta_sq_per_worker.mean())

    @property
    def zeta_sq_max(self) -> float:
        """max_i zeta_i^2."""
        return float(self.zeta_sq_per_worker.max())

    def __str__(self) -> str:
        return _table(self._rows())

    def _rows(self) -> list[tuple[str, str, str]]:
        zetas = _range(self.zeta_sq_per_worker)
        return [
            ("zeta^2", f"{self.zeta_sq:.4g}", "exact at x"),
            ("zeta_i^2, smallest to largest", zetas, "exact at x"),
            ("||grad f||^2", f"{self.grad_sq:.4g}", "exact at x"),
        ]


@dataclass(frozen=True)
class Constants:
    """Constants of a problem, with where each comes from.

    Attributes:
        smooth: L of f and of every f_i, and how certain they are.
        noise: sigma_i^2 at the point.
        heterogeneity: zeta_i^2 at the point.
        gap: F_0 = f(x_0) - (lower bound on f*); nan where no lower bound is known.
        gap_exact: whether the lower bound is f* itself.
        independent_noise: whether the noise of a worker's successive gradients is
            independent given the past (not in reshuffled epochs).
    """

    smooth: Smoothness
    noise: NoiseVariance
    heterogeneity: Heterogeneity
    gap: float
    gap_exact: bool
    independent_noise: bool

    @property
    def num_workers(self) -> int:
        """n."""
        return len(self.smooth.per_worker)

    @property
    def smoothness(self) -> float:
        """L of f."""
        return self.smooth.of_f

    @property
    def smoothness_max(self) -> float:
        """max_i L_i."""
        return self.smooth.largest

    @property
    def strong_convexity(self) -> float:
        """mu of f, 0 where none is known."""
        return self.smooth.strong_convexity

    @property
    def noise_sq(self) -> float:
        """sigma^2 = max_i sigma_i^2 at the point."""
        return self.noise.largest

    @property
    def zeta_sq(self) -> float:
        """zeta^2 at the point."""
        return self.heterogeneity.zeta_sq

    def __str__(self) -> str:
        smooth, noise = self.smooth, self.noise
        *zetas, grad = self.heterogeneity._rows()
        drawn = float(noise.standard_error[np.argmax(noise.per_worker)])
        lower = "f* exact" if self.gap_exact else "lower bound on f*"
        rows = (
            ("L of f", f"{smooth.of_f:.4g}", smooth.certainty),
            ("L_i, smallest to largest", _range(smooth.per_worker), smooth.certainty),
            ("mu of f", f"{smooth.strong_convexity:.4g}", "lower bound"),
            (
                "sigma^2",
                f"{noise.largest:.4g}",
                "exact at x" if noise.exact else f"Monte Carlo, +- {drawn:.1g}",
            ),
            *zetas,
            (
                "F_0",
                f"{self.gap:.4g}",
                "no lower bound on f* is known" if math.isnan(self.gap) else lower,
            ),
            grad,
        )
        return _table(rows)


def _table(rows: Sequence[tuple[str, str, str]]) -> str:
    width = max(len(value) for _, value, _ in rows)
    return "\n".join(f"{name:<32}{value:<{width}}  {how}" for name, value, how in rows)


def _range(values: NDArray[np.float64]) -> str:
    return f"{values.min():.4g} to {values.max():.4g}"


def heterogeneity(problem: Problem, params: Any = None) -> Heterogeneity:
    """zeta_i^2 = ||grad f_i(x) - grad f(x)||^2 at one point, in float64.

    Args:
        problem: a `Problem`.
        params: x, a pytree like `problem.init_params()`, which is the default.

    Raises:
        ValueError: if params do not fit or a gradient is not finite.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> problem = quadratic(4, 3, heterogeneity=2.0, same_hessian=True)
        >>> round(heterogeneity(problem, problem.optimum()).zeta_sq, 6)
        4.0
    """
    table = local_table(problem, params)
    full = table.mean(axis=0)
    return Heterogeneity(
        zeta_sq_per_worker=np.sum((table - full) ** 2, axis=1),
        grad_sq=float(full @ full),
    )


def heterogeneity_path(problem: Problem, path: Iterable[Any]) -> list[Heterogeneity]:
    """`heterogeneity` at every point of a trajectory.

    Args:
        problem: a `Problem`.
        path: points, each a pytree like `problem.init_params()`; errors are the same.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> len(heterogeneity_path(quadratic(2, 3), np.zeros((5, 3))))
        5
    """
    return [heterogeneity(problem, params) for params in path]


def constants(
    problem: Problem,
    params: Any = None,
    *,
    lower_bound: float | None = None,
    seed: int = 0,
) -> Constants:
    """Measures L, sigma^2, zeta^2, F_0 and mu of a problem.

    sigma^2, zeta^2 and F_0 belong to the point given; L and mu hold everywhere (see
    their certainty). A problem is asked for what it knows (`problems.KnownConstants`):
    f* of a quadratic, a lower bound for logistic losses. For other problems give a
    lower bound, or F_0 is nan.

    Args:
        problem: a `Problem`.
        params: x_0, a pytree like `problem.init_params()`, which is the default.
        lower_bound: a number <= f(x) for all x.
        seed: seed of the Monte Carlo draws, where they are needed.

    Raises:
        TypeError: if it is not a problem, or `lower_bound` is not a number.
        ValueError: if params do not fit, a gradient is not finite, `lower_bound` is
            above f(x_0), or the jobs make local steps.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> found = constants(quadratic(2, 3, smoothness=2.0, noise=0.5))
        >>> round(found.smoothness_max, 6), found.noise_sq, found.gap_exact
        (2.0, 0.25, True)
    """
    check_jobs(problem)
    gap, exact = _gap(problem, params, lower_bound)
    return Constants(
        smooth=smoothness(problem, params),
        noise=noise_variance(problem, params, seed=seed),
        heterogeneity=heterogeneity(problem, params),
        gap=gap,
        gap_exact=exact,
        independent_noise=bool(getattr(problem, "independent_noise", True)),
    )


def _gap(
    problem: Problem, params: Any, lower_bound: float | None
) -> tuple[float, bool]:
    """F_0, nan where no lower bound is known, and whether the bound is f* itself."""
    start = loss_at(problem, params)
    if lower_bound is not None:
        known = LowerBound(check_number("lower_bound", lower_bound))
    else:
        known = known_lower_bound(problem) or LowerBound(math.nan)
    floor, exact = known.value, known.exact
    # At the optimum itself rounding may leave a gap of -1e-17.
    gap = start - floor
    if gap < -1e-9 * max(1.0, abs(start)):
        raise ValueError(
            f"lower_bound must be at most f(x_0) = {start}, got {floor}; give a number "
            "<= f(x) for all x"
        )
    return gap if math.isnan(gap) else max(gap, 0.0), exact


def constants_at_hand(
    problem: Problem,
    params: Any = None,
    *,
    given: Constants | None = None,
    lower_bound: float | None = None,
) -> Constants:
    """The constants given, with F_0 from the lower bound; measured where none are.

    Arguments as for `certificate`, and errors as of `constants`.

    Raises:
        TypeError: if `given` are not `Constants`.
        ValueError: if `given` are of other workers.
    """
    if given is None:
        return constants(problem, params, lower_bound=lower_bound)
    if not isinstance(given, Constants):
        raise TypeError(
            "constants must be what theory.constants(problem) returned, got "
            f"{type(given).__name__}"
        )
    if given.num_workers != problem.num_workers:
        raise ValueError(
            f"constants must be of the problem's {problem.num_workers} workers, got "
            f"{given.num_workers}; give theory.constants of this problem"
        )
    if lower_bound is None:
        return given
    gap, exact = _gap(problem, params, lower_bound)
    return replace(given, gap=gap, gap_exact=exact)


def as_constants(problem: Problem | Constants) -> Constants:
    """`problem` itself if it is `Constants`, else its constants at its start."""
    return problem if isinstance(problem, Constants) else constants(problem)
