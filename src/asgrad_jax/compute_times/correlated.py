"""Who is slow and who has the difficult data: dials between the two."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.checks import check_number, check_numbers
from asgrad_jax.compute_times.base import check_mean

_STREAM = 13  # tag of the stream of `correlated_means`


def correlated_means(
    mean: ArrayLike, difficulty: ArrayLike, rho: float, *, seed: int = 0
) -> NDArray[np.float64]:
    """Deals mean times out to workers so that slowness and difficulty correlate.

    The result, float64 [n], is for every family with means.

    A Gaussian copula: with z_i the normal score of the rank of difficulty_i and e a
    normal vector with the same mean and norm, orthogonal to z, the worker with the k-th
    smallest rho z_i + sqrt(1 - rho^2) e_i gets the k-th smallest mean. Before ranking
    the correlation is exactly rho; for many workers Spearman's is (6 / pi) arcsin(rho /
    2). rho = 1: the slowest worker has the most difficult data; -1: the fastest; 0: no
    relation. Two workers are too few for an orthogonal vector: there e is plain.

    Args:
        mean: [n] seconds, > 0, in any order.
        difficulty: [n] finite numbers, larger is harder; for example zeta_i^2. Ties go
            by worker number.
        rho: in [-1, 1].
        seed: of e.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> correlated_means([1, 2, 3], difficulty=[0.5, 0.1, 0.9], rho=1.0)
        array([2., 1., 3.])
    """
    s = np.sort(check_mean(mean))
    n = len(s)
    hard = check_numbers("difficulty", difficulty, ndim=1, size=n, finite=True)
    rho = check_number("rho", rho, minimum=-1, maximum=1)
    score = np.array([random.normal_quantile((k + 0.5) / n) for k in range(n)])
    z = np.empty(n)
    z[np.argsort(hard, kind="stable")] = score
    key = random.stream_key(seed, _STREAM)
    e = np.array([random.normal_quantile(random.uniform(key, i)) for i in range(n)])
    if n > 2:
        e -= e.mean()
        e -= z * ((e @ z) / (z @ z))
        e *= math.sqrt((z @ z) / (e @ e))
    dealt = np.empty(n)
    mix = rho * z + math.sqrt(1.0 - rho**2) * e
    dealt[np.argsort(mix, kind="stable")] = s
    return dealt


def adversarial_means(mean: ArrayLike, rare_share: ArrayLike) -> NDArray[np.float64]:
    """Deals mean times out so that the slower worker holds more of the rare class.

    The case in which pure asynchronous SGD forgets a class: its gradients come rarely.
    Equal shares keep their order: the lower worker number is faster. The result is
    float64 [n], the entries of `mean`.

    Args:
        mean: [n] seconds, > 0, in any order.
        rare_share: [n] finite numbers, each worker's share (or number) of rows of the
            rare class.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> adversarial_means([1, 2, 9], rare_share=[0.3, 0.0, 0.1])
        array([9., 1., 2.])
    """
    return correlated_means(mean, rare_share, 1.0)
