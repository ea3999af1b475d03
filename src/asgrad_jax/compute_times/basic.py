"""Compute times with a mean per worker: textbook distributions, and measured ones."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import (
    check_list,
    check_number,
    check_numbers,
    make_read_only,
    raise_first,
)
from asgrad_jax.compute_times import _distributions
from asgrad_jax.compute_times.base import ComputeTimes, check_mean, make_family
from asgrad_jax.compute_times.registry import over_speeds, register

# |N(s, s)| has mean s * (sqrt(2 / (pi e)) + erf(1 / sqrt(2))).
_FOLDED_NORMAL = math.sqrt(2.0 / (math.pi * math.e)) + math.erf(math.sqrt(0.5))
_POISSON_LIMIT = 1e9  # beyond it the acceptance test of the sampler loses its digits


def poisson_means(mean: ArrayLike) -> NDArray[np.float64]:
    """Returns one mean per worker that the Poisson sampler can take, or raises."""
    s = check_mean(mean)
    raise_first(
        s > _POISSON_LIMIT,
        lambda i: (
            f"mean[{i}] must be a number <= {_POISSON_LIMIT:g} for poisson, got "
            f"{s[i]}; use another unit of time, or normal"
        ),
    )
    return s


@register(example=over_speeds)
def fixed(mean: ArrayLike) -> ComputeTimes:
    """Every job of worker i takes s_i seconds.

    Args:
        mean: [n] seconds, s_i > 0.

    Raises:
        TypeError, ValueError: if `mean` is not a sequence of positive finite numbers.

    Example:
        >>> fixed([1, 2]).durations(1, 0, 0, 3)
        array([2., 2., 2.])
    """
    return make_family("fixed", _distributions.FIXED, mean, tail="bounded")


@register(example=over_speeds)
def normal(mean: ArrayLike) -> ComputeTimes:
    """Job times |N(s_i, s_i)| + 1, standard deviation s_i, as in AsGrad's experiments.

    The published code takes the integer part from the second job on; here every job is
    real-valued. The true mean is 1.1666 s_i + 1 (`mean_durations`).

    Args:
        mean: [n] seconds, s_i > 0.

    Raises:
        TypeError, ValueError: if `mean` is not a sequence of positive finite numbers.

    Example:
        >>> normal(range(1, 11))
        normal(10 workers, mean 2.167..12.67)
    """
    means = {"factor": _FOLDED_NORMAL, "shift": 1.0}
    return make_family("normal", _distributions.NORMAL, mean, tail="gaussian", **means)


@register(example=over_speeds)
def poisson(mean: ArrayLike) -> ComputeTimes:
    """Poisson(s_i) job times, 0 possible, as in AsGrad's published code.

    Args:
        mean: [n] seconds, 0 < s_i <= 1e9.

    Raises:
        TypeError, ValueError: if `mean` is not a sequence of such numbers.

    Example:
        >>> times = poisson([2.0]).durations(0, 0, 0, 100)
        >>> bool((times == times.round()).all())
        True
    """
    tail = "lighter than exponential"
    return make_family(
        "poisson", _distributions.POISSON, poisson_means(mean), tail=tail
    )


@register(example=over_speeds)
def uniform(mean: ArrayLike) -> ComputeTimes:
    """Job times U(0, s_i) + 1.

    AsGrad's published code draws so for the first job only; here every job is drawn.
    The true mean is s_i / 2 + 1 (`mean_durations`).

    Args:
        mean: [n] seconds, s_i > 0.

    Raises:
        TypeError, ValueError: if `mean` is not a sequence of positive finite numbers.

    Example:
        >>> uniform([1.0, 3.0]).mean_durations
        array([1.5, 2.5])
    """
    means = {"factor": 0.5, "shift": 1.0}
    return make_family("uniform", _distributions.UNIFORM, mean, tail="bounded", **means)


@register(example=over_speeds)
def exponential(mean: ArrayLike) -> ComputeTimes:
    """Exponential job times with mean s_i.

    Args:
        mean: [n] seconds, s_i > 0.

    Raises:
        TypeError, ValueError: if `mean` is not a sequence of positive finite numbers.

    Example:
        >>> exponential([1.0, 3.0]).mean_durations
        array([1., 3.])
    """
    return make_family(
        "exponential", _distributions.EXPONENTIAL, mean, tail="exponential"
    )


@register(example=over_speeds)
def gamma(mean: ArrayLike, shape: float = 2.0) -> ComputeTimes:
    """Gamma job times with mean s_i and the given shape.

    Args:
        mean: [n] seconds, s_i > 0.
        shape: > 0; the relative variance is 1 / shape.

    Raises:
        TypeError, ValueError: if an argument is not positive and finite.

    Example:
        >>> gamma([1.0], shape=0.5)
        gamma(1 workers, mean 1..1)
    """
    shape = check_number("shape", shape, above=0)
    return make_family(
        "gamma", _distributions.GAMMA, mean, tail="exponential", shape=shape
    )


@register(example=over_speeds)
def lognormal(mean: ArrayLike, sigma: float = 1.0) -> ComputeTimes:
    """Log-normal job times s_i exp(sigma Z - sigma^2 / 2), whose mean is s_i.

    Args:
        mean: [n] seconds, s_i > 0.
        sigma: > 0, standard deviation of the logarithm.

    Raises:
        TypeError, ValueError: if an argument is not positive and finite.

    Example:
        >>> lognormal([2.0, 5.0]).mean_durations
        array([2., 5.])
    """
    sigma = check_number("sigma", sigma, above=0)
    return make_family(
        "lognormal", _distributions.LOGNORMAL, mean, tail="log-normal", sigma=sigma
    )


@register(example=over_speeds)
def pareto(mean: ArrayLike, alpha: float = 2.5) -> ComputeTimes:
    """Pareto job times, P(X > x) = (x_i / x)^alpha for x >= x_i, with mean s_i.

    x_i = s_i (alpha - 1) / alpha. For alpha <= 2 the variance is infinite.

    Args:
        mean: [n] seconds, s_i > 0.
        alpha: > 1, tail exponent.

    Raises:
        TypeError, ValueError: if `mean` is not positive and finite, or alpha <= 1.

    Example:
        >>> pareto([3.0], alpha=1.5).durations(0, 0, 0, 1000).min() > 1.0
        np.True_
    """
    alpha = check_number("alpha", alpha, above=1)
    tail = f"power {alpha:g}"
    return make_family("pareto", _distributions.PARETO, mean, tail=tail, alpha=alpha)


@register(example=over_speeds)
def half_normal(mean: ArrayLike) -> ComputeTimes:
    """Job times |N(0, sigma_i^2)| with mean s_i = sigma_i sqrt(2 / pi).

    Said to be the distribution in FedBuff's simulations (not checked against the
    paper).

    Args:
        mean: [n] seconds, s_i > 0.

    Raises:
        TypeError, ValueError: if `mean` is not a sequence of positive finite numbers.

    Example:
        >>> half_normal([1.0, 3.0]).mean_durations
        array([1., 3.])
    """
    return make_family("half_normal", _distributions.HALF_NORMAL, mean, tail="gaussian")


@register(example=over_speeds)
def trunc_normal(mean: ArrayLike, spread: float = 0.5) -> ComputeTimes:
    """Job times N(s_i, (spread s_i)^2), drawn again until positive.

    With z = 1 / spread the true mean is s_i (1 + spread phi(z) / Phi(z)), in
    `mean_durations`. Reviews name a truncated normal distribution for IA2SGD's
    experiments; the parameters are ours.

    Args:
        mean: [n] seconds, s_i > 0, of the normal distribution before it is cut.
        spread: > 0, standard deviation over s_i.

    Raises:
        TypeError, ValueError: if an argument is not positive and finite.

    Example:
        >>> trunc_normal([1.0, 2.0], spread=0.2).mean_durations.round(5)
        array([1., 2.])
    """
    spread = check_number("spread", spread, above=0)
    z = 1.0 / spread
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    kept = 0.5 * math.erfc(-z / math.sqrt(2.0))
    return make_family(
        "trunc_normal",
        _distributions.TRUNC_NORMAL,
        mean,
        tail="gaussian",
        factor=1.0 + spread * density / kept,
        spread=spread,
    )


def _empirical_example(make, num_workers):
    return make([[1.0 + i, 2.0 + i, 4.0 + 2 * i] for i in range(num_workers)])


@register(example=_empirical_example)
def empirical(durations: Sequence[ArrayLike]) -> ComputeTimes:
    """Draws with replacement from each worker's own list, for example of a trace.

    Args:
        durations: one 1-d array of seconds per worker, not empty, finite, not negative,
            not all zero.

    Raises:
        TypeError, ValueError: if a worker's list breaks a rule; the worker is named.

    Example:
        >>> empirical([[1.0, 3.0], [2.0]]).mean_durations
        array([2., 2.])
    """
    lists = [
        check_numbers(f"durations[{i}]", row, ndim=1, minimum=0, finite=True)
        for i, row in enumerate(check_list("durations", durations, "lists"))
    ]
    if not lists:
        raise ValueError("durations must have one list per worker, got none")
    for i, row in enumerate(lists):
        if not row.any():
            raise ValueError(
                f"durations[{i}] must have a number > 0, got zeros only; such a worker "
                "would stop virtual time"
            )
    mean = np.array([row.mean() for row in lists])
    distribution = _distributions.Distribution(
        _distributions.EMPIRICAL,
        mean,
        values=np.concatenate(lists),
        offset=_distributions.bounds(lists),
    )
    config = {"durations": [row.tolist() for row in lists]}
    return ComputeTimes(
        "empirical", make_read_only(mean), "bounded", distribution, config
    )
