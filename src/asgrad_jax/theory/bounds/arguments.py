"""The arguments that bounds share: their texts, written once, and their checks."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_count, check_number, check_numbers


class Argument(NamedTuple):
    """What an argument of a bound means: symbol, shape, unit, range; and its check.

    The check makes (name, value) the value that the bound gets, or raises TypeError or
    ValueError; None lets everything pass.
    """

    text: str
    check: Callable[[str, Any], Any] | None = None


def sorted_durations(name: str, durations: ArrayLike) -> NDArray[np.float64]:
    """Seconds per gradient of each worker, checked and sorted: tau_1 <= tau_2 <= ..."""
    return np.sort(check_numbers(name, durations, ndim=1, above=0, finite=True))


positive: Callable[[str, Any], float] = partial(check_number, above=0)
non_negative: Callable[[str, Any], float] = partial(check_number, minimum=0)
_vector = partial(check_numbers, ndim=1, minimum=0, finite=True)

ARGUMENTS = {
    # the problem
    "smoothness": Argument("L of f, > 0.", positive),
    "strong_convexity": Argument("mu of f, > 0.", positive),
    "gap": Argument("F_0 = f(x_0) - f*, > 0.", positive),
    "distance": Argument("R = ||x_0 - x*||, > 0.", positive),
    "noise_sq": Argument(
        "sigma^2, the variance of one stochastic gradient, >= 0.", non_negative
    ),
    "gradient_bound": Argument(
        "G with ||grad f(x)|| <= G everywhere, >= 0.", non_negative
    ),
    "zeta_sq": Argument(
        "zeta^2, a bound on (1/n) sum_i ||grad f_i - grad f||^2, >= 0.", non_negative
    ),
    "zeta_sq_max": Argument(
        "a bound on max_i ||grad f_i - grad f||^2, >= 0.", non_negative
    ),
    "zeta_sq_per_worker": Argument(
        "zeta_i^2, bounds on ||grad f_i - grad f||^2, float[n], >= 0.", _vector
    ),
    "num_workers": Argument("n, >= 1.", check_count),
    # the schedule
    "concurrency": Argument("tau_C, largest number of jobs in flight, > 0.", positive),
    "tau_max": Argument("largest delay, server steps, >= 0.", non_negative),
    "tau_avg": Argument(
        "mean delay, jobs in flight included, server steps, >= 0.", non_negative
    ),
    "tau_avg_per_worker": Argument(
        "mean delay of each worker's gradients, float[n], >= 0.", _vector
    ),
    "tree_distance": Argument(
        "R, bound on the tree distance between the iterate and the point of the "
        "gradient: 0 for plain SGD, B - 1 for Rennala, threshold - 1 for Ringmaster.",
        non_negative,
    ),
    "durations": Argument(
        "tau_i, float[n], seconds per gradient, any order, > 0.", sorted_durations
    ),
    "num_gradients": Argument("T, > 0.", positive),
    "restart": Argument("whether all workers start afresh at the new point."),
}
