"""Compute times: how long each job of each worker takes.

The duration of job k of worker i is a function of (seed, i, k) alone, so two algorithms
with the same seed meet the same durations. The families here are given per worker by
their means; those of other files are listed by `names`. Any other object with
`num_workers` and `sample(worker, rng, size)` works in their place (see `Sampler`).
"""

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax.plan import laws
from asgrad_jax.plan.clock import ComputeTimes as ComputeTimes
from asgrad_jax.plan.clock import Sampler as Sampler
from asgrad_jax.plan.clock import (
    make_family,
    means,
    numbers,
    parameter,
    plain_law,
    read_only,
)

# |N(s, s)| has mean s * (sqrt(2 / (pi e)) + erf(1 / sqrt(2))).
_FOLDED_NORMAL = math.sqrt(2.0 / (math.pi * math.e)) + math.erf(math.sqrt(0.5))
_POISSON_LIMIT = 1e9  # beyond it the acceptance test of the sampler loses its digits


def fixed(mean: ArrayLike) -> ComputeTimes:
    """Every job of worker i takes s_i seconds.

    Args:
        mean: [n] seconds, s_i > 0.

    Returns:
        The compute times.

    Raises:
        TypeError, ValueError: if `mean` is not a sequence of positive finite numbers.

    Example:
        >>> fixed([1, 2]).durations(1, 0, 0, 3)
        array([2., 2., 2.])
    """
    s = means(mean)
    return make_family("fixed", laws.FIXED, s, mean=s, tail="bounded")


def normal(mean: ArrayLike) -> ComputeTimes:
    """Job times |N(s_i, s_i)| + 1, standard deviation s_i, as in AsGrad's experiments.

    The published code takes the integer part from the second job on; here every job is
    real-valued. The true mean is 1.1666 s_i + 1 (`mean_durations`).

    Args:
        mean: [n] seconds, s_i > 0.

    Returns:
        The compute times.

    Raises:
        TypeError, ValueError: if `mean` is not a sequence of positive finite numbers.

    Example:
        >>> normal(range(1, 11))
        normal(10 workers, mean 2.167..12.67)
    """
    s = means(mean)
    return make_family(
        "normal", laws.NORMAL, s, mean=_FOLDED_NORMAL * s + 1.0, tail="gaussian"
    )


def poisson(mean: ArrayLike) -> ComputeTimes:
    """Poisson(s_i) job times, 0 possible, as in AsGrad's published code.

    Args:
        mean: [n] seconds, 0 < s_i <= 1e9.

    Returns:
        The compute times.

    Raises:
        TypeError, ValueError: if `mean` is not a sequence of such numbers.

    Example:
        >>> times = poisson([2.0]).durations(0, 0, 0, 100)
        >>> bool((times == times.round()).all())
        True
    """
    s = means(mean)
    if s.max() > _POISSON_LIMIT:
        entry = int(s.argmax())
        raise ValueError(
            f"mean[{entry}] is {s[entry]}; poisson takes means up to 1e9: use another "
            "unit of time, or normal"
        )
    return make_family(
        "poisson", laws.POISSON, s, mean=s, tail="lighter than exponential"
    )


def uniform(mean: ArrayLike) -> ComputeTimes:
    """Job times U(0, s_i) + 1.

    AsGrad's published code draws so for the first job only; here every job is drawn.
    The true mean is s_i / 2 + 1 (`mean_durations`).

    Args:
        mean: [n] seconds, s_i > 0.

    Returns:
        The compute times.

    Raises:
        TypeError, ValueError: if `mean` is not a sequence of positive finite numbers.

    Example:
        >>> uniform([1.0, 3.0]).mean_durations
        array([1.5, 2.5])
    """
    s = means(mean)
    return make_family("uniform", laws.UNIFORM, s, mean=0.5 * s + 1.0, tail="bounded")


def exponential(mean: ArrayLike) -> ComputeTimes:
    """Exponential job times with mean s_i.

    Args:
        mean: [n] seconds, s_i > 0.

    Returns:
        The compute times.

    Raises:
        TypeError, ValueError: if `mean` is not a sequence of positive finite numbers.

    Example:
        >>> exponential([1.0, 3.0]).mean_durations
        array([1., 3.])
    """
    s = means(mean)
    return make_family("exponential", laws.EXPONENTIAL, s, mean=s, tail="exponential")


def gamma(mean: ArrayLike, shape: float = 2.0) -> ComputeTimes:
    """Gamma job times with mean s_i and the given shape.

    Args:
        mean: [n] seconds, s_i > 0.
        shape: > 0; the relative variance is 1 / shape.

    Returns:
        The compute times.

    Raises:
        TypeError, ValueError: if an argument is not positive and finite.

    Example:
        >>> gamma([1.0], shape=0.5)
        gamma(1 workers, mean 1..1)
    """
    s = means(mean)
    shape = parameter("shape", shape, 0.0)
    return make_family("gamma", laws.GAMMA, s, mean=s, tail="exponential", shape=shape)


def lognormal(mean: ArrayLike, sigma: float = 1.0) -> ComputeTimes:
    """Log-normal job times s_i exp(sigma Z - sigma^2 / 2), whose mean is s_i.

    Args:
        mean: [n] seconds, s_i > 0.
        sigma: > 0, standard deviation of the logarithm.

    Returns:
        The compute times.

    Raises:
        TypeError, ValueError: if an argument is not positive and finite.

    Example:
        >>> lognormal([2.0, 5.0]).mean_durations
        array([2., 5.])
    """
    s = means(mean)
    sigma = parameter("sigma", sigma, 0.0)
    return make_family(
        "lognormal", laws.LOGNORMAL, s, mean=s, tail="log-normal", sigma=sigma
    )


def pareto(mean: ArrayLike, alpha: float = 2.5) -> ComputeTimes:
    """Pareto job times, P(X > x) = (x_i / x)^alpha for x >= x_i, with mean s_i.

    x_i = s_i (alpha - 1) / alpha. For alpha <= 2 the variance is infinite.

    Args:
        mean: [n] seconds, s_i > 0.
        alpha: > 1, tail exponent.

    Returns:
        The compute times.

    Raises:
        TypeError, ValueError: if `mean` is not positive and finite, or alpha <= 1.

    Example:
        >>> pareto([3.0], alpha=1.5).durations(0, 0, 0, 1000).min() > 1.0
        np.True_
    """
    s = means(mean)
    alpha = parameter("alpha", alpha, 1.0)
    return make_family(
        "pareto", laws.PARETO, s, mean=s, tail=f"power {alpha:g}", alpha=alpha
    )


def empirical(durations: Sequence[ArrayLike]) -> ComputeTimes:
    """Draws with replacement from each worker's own list, for example of a trace.

    Args:
        durations: one 1-d array of seconds per worker, not empty, finite, not negative,
            not all zero.

    Returns:
        The compute times.

    Raises:
        TypeError, ValueError: if a worker's list breaks a rule; the worker is named.

    Example:
        >>> empirical([[1.0, 3.0], [2.0]]).mean_durations
        array([2., 2.])
    """
    if isinstance(durations, str) or not hasattr(durations, "__len__"):
        raise TypeError(f"durations is {durations!r}; give one array per worker")
    if len(durations) == 0:
        raise ValueError("durations is empty; give one array per worker")
    lists = [numbers(f"durations[{i}]", row) for i, row in enumerate(durations)]
    for i, row in enumerate(lists):
        bad = np.flatnonzero(~(np.isfinite(row) & (row >= 0.0)))
        if bad.size:
            raise ValueError(
                f"durations[{i}][{bad[0]}] is {row[bad[0]]}; durations must be finite "
                "and not negative"
            )
        if row.max() == 0.0:
            raise ValueError(
                f"durations[{i}] is all zero; such a worker would stop the clock"
            )
    mean = np.array([row.mean() for row in lists])
    offset = np.concatenate([[0], np.cumsum([row.size for row in lists])])
    law = plain_law(
        laws.EMPIRICAL,
        mean,
        values=np.concatenate(lists),
        offset=offset.astype(np.int64),
    )
    config = {"durations": [row.tolist() for row in lists]}
    return ComputeTimes("empirical", read_only(mean), "bounded", law, config)


_FAMILIES: dict[str, Callable[..., ComputeTimes]] = {
    family.__name__: family
    for family in (
        fixed,
        normal,
        poisson,
        uniform,
        exponential,
        gamma,
        lognormal,
        pareto,
        empirical,
    )
}


def names() -> list[str]:
    """Returns the names of the families, in the order of the documentation.

    Example:
        >>> names()[:3]
        ['fixed', 'normal', 'poisson']
    """
    return list(_FAMILIES)


def get(name: str, *args: Any, **parameters: Any) -> ComputeTimes:
    """Makes compute times by the name of their family.

    Args:
        name: one of `names()`.
        *args: as the family's function takes them, first the means.
        **parameters: the same by keyword.

    Returns:
        The compute times.

    Raises:
        ValueError: if no family has that name; the known ones are listed.

    Example:
        >>> get("pareto", [1.0, 2.0], alpha=3.0)
        pareto(2 workers, mean 1..2)
    """
    if name not in _FAMILIES:
        close = difflib.get_close_matches(str(name), _FAMILIES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(
            f"no compute times are named {name!r}{hint}; known: {', '.join(_FAMILIES)}"
        )
    return _FAMILIES[name](*args, **parameters)
