"""Compute times: how long each job of each worker takes.

The duration of job k of worker i is a function of (seed, i, k) alone, so two algorithms
with the same seed meet the same durations. The families here are given per worker by
their means. Any other object with `num_workers` and `sample(worker, rng, size)` works
in their place (see `Sampler`).
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax.plan import laws, random

# |N(s, s)| has mean s * (sqrt(2 / (pi e)) + erf(1 / sqrt(2))).
_FOLDED_NORMAL = math.sqrt(2.0 / (math.pi * math.e)) + math.erf(math.sqrt(0.5))
_POISSON_LIMIT = 1e9  # beyond it the acceptance test of the sampler loses its digits


@runtime_checkable
class Sampler(Protocol):
    """What `simulate` asks of compute times, the built-in ones and a user's own.

    Attributes:
        num_workers: workers n.
    """

    num_workers: int

    def sample(
        self, worker: int, rng: np.random.Generator, size: int
    ) -> NDArray[np.float64]:
        """Returns the next `size` durations of one worker.

        Args:
            worker: 0..n-1.
            rng: the worker's own generator, seeded by (seed, worker) and carried from
                one block to the next.
            size: durations wanted. The blocks of a worker hold 16, 32, 64, ..., 4096,
                4096, ... jobs whatever the algorithm does, so a sampler may draw
                whole vectors.

        Returns:
            float64 [size], seconds, finite and not negative.
        """
        ...


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ComputeTimes:
    """A built-in law of the compute times of n workers; made by `normal` and others.

    Attributes:
        name: the family.
        mean_durations: float64 [n], seconds, the true mean of each worker's law.
    """

    name: str
    mean_durations: NDArray[np.float64]
    _law: laws.Law
    _config: dict[str, Any]

    @property
    def num_workers(self) -> int:
        """Workers n."""
        return len(self.mean_durations)

    def config(self) -> dict[str, Any]:
        """Returns a plain dict from which `get(**config)` makes the same law.

        Example:
            >>> gamma([1, 2], shape=3.0).config()
            {'name': 'gamma', 'mean': [1.0, 2.0], 'shape': 3.0}
        """
        return {"name": self.name, **self._config}

    def durations(
        self, worker: int, seed: int, first: int, size: int
    ) -> NDArray[np.float64]:
        """Returns the durations of jobs first, first + 1, ... of one worker.

        Args:
            worker: 0..n-1.
            seed: non-negative integer.
            first: first job, >= 0.
            size: number of jobs, >= 0.

        Returns:
            float64 [size], seconds: what `simulate` uses at the same seed.

        Raises:
            ValueError: if an argument is out of range.

        Example:
            >>> times = exponential([1.0, 2.0])
            >>> ten = times.durations(1, 0, 0, 10)
            >>> bool((ten[4:] == times.durations(1, 0, 4, 6)).all())
            True
        """
        if not 0 <= worker < self.num_workers:
            raise ValueError(
                f"worker is {worker}; there are workers 0..{self.num_workers - 1}"
            )
        if first < 0 or size < 0:
            raise ValueError(f"first is {first} and size {size}; both must be >= 0")
        out = np.empty(size)
        laws.fill_durations(self.law(seed), worker, first, out)
        return out

    def sample(
        self, worker: int, rng: np.random.Generator, size: int
    ) -> NDArray[np.float64]:
        """Returns `size` fresh durations of one worker, for use in a user's sampler.

        Args:
            worker: 0..n-1.
            rng: source of one integer that keys the draws.
            size: number of durations.

        Returns:
            float64 [size], seconds.

        Example:
            >>> class Doubled:
            ...     num_workers = 2
            ...     base = normal([1.0, 2.0])
            ...     def sample(self, worker, rng, size):
            ...         return 2 * self.base.sample(worker, rng, size)
            >>> Doubled().sample(0, np.random.default_rng(0), 3).shape
            (3,)
        """
        return self.durations(worker, int(rng.integers(2**63)), 0, size)

    def law(self, seed: int) -> laws.Law:
        """Returns the law with the stream of `seed`, as the kernels take it."""
        return self._law._replace(key=random.stream_key(seed, random.DURATION_STREAM))

    def __repr__(self) -> str:
        mean = self.mean_durations
        return (
            f"{self.name}({self.num_workers} workers, "
            f"mean {mean.min():.4g}..{mean.max():.4g})"
        )


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
    s = _means(mean)
    return _family("fixed", laws.FIXED, s, s)


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
    s = _means(mean)
    return _family("normal", laws.NORMAL, s, _FOLDED_NORMAL * s + 1.0)


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
    s = _means(mean)
    if s.max() > _POISSON_LIMIT:
        entry = int(s.argmax())
        raise ValueError(
            f"mean[{entry}] is {s[entry]}; poisson takes means up to 1e9: use another "
            "unit of time, or normal"
        )
    return _family("poisson", laws.POISSON, s, s)


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
    s = _means(mean)
    return _family("uniform", laws.UNIFORM, s, 0.5 * s + 1.0)


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
    s = _means(mean)
    return _family("exponential", laws.EXPONENTIAL, s, s)


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
    s = _means(mean)
    return _family("gamma", laws.GAMMA, s, s, shape=_parameter("shape", shape, 0.0))


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
    s = _means(mean)
    sigma = _parameter("sigma", sigma, 0.0)
    return _family("lognormal", laws.LOGNORMAL, s, s, sigma=sigma)


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
    s = _means(mean)
    alpha = _parameter("alpha", alpha, 1.0)
    return _family("pareto", laws.PARETO, s, s, alpha=alpha)


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
    lists = [_numbers(f"durations[{i}]", row) for i, row in enumerate(durations)]
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
    law = laws.Law(
        kind=laws.EMPIRICAL,
        key=np.uint64(0),
        mean=mean,
        shape=0.0,
        values=np.concatenate(lists),
        offset=offset.astype(np.int64),
        ready=np.empty(0, np.int64),
    )
    config = {"durations": [row.tolist() for row in lists]}
    return ComputeTimes("empirical", _read_only(mean), law, config)


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


def _family(
    name: str,
    kind: int,
    s: NDArray[np.float64],
    mean: NDArray[np.float64],
    **parameter: float,
) -> ComputeTimes:
    law = laws.Law(
        kind=kind,
        key=np.uint64(0),
        mean=s,
        shape=next(iter(parameter.values()), 0.0),
        values=np.empty(0),
        offset=np.empty(0, np.int64),
        ready=np.empty(0, np.int64),
    )
    return ComputeTimes(name, _read_only(mean), law, {"mean": s.tolist(), **parameter})


def _numbers(what: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{what} is ragged; give a flat sequence of numbers") from None
    if array.dtype.kind not in "iuf":
        raise TypeError(
            f"{what} holds {array.dtype} entries ({values!r}); give a sequence of "
            "numbers"
        )
    if array.ndim != 1:
        raise ValueError(
            f"{what} has shape {array.shape}; give one number per worker, for example "
            "range(1, 11)"
            if what == "mean"
            else f"{what} has shape {array.shape}; give a flat sequence of numbers"
        )
    if array.size == 0:
        raise ValueError(f"{what} is empty; give at least one number")
    return array.astype(np.float64)


def _means(mean: ArrayLike) -> NDArray[np.float64]:
    s = _numbers("mean", mean)
    bad = np.flatnonzero(~(np.isfinite(s) & (s > 0.0)))
    if bad.size:
        raise ValueError(
            f"mean[{bad[0]}] is {s[bad[0]]}; every worker's mean must be positive and "
            "finite"
        )
    return s


def _parameter(name: str, value: float, above: float) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"{name} is {value!r}; give one number > {above:g}")
    if not (math.isfinite(value) and value > above):
        raise ValueError(f"{name} is {value}; give a finite number > {above:g}")
    return float(value)


def _read_only(array: NDArray[np.float64]) -> NDArray[np.float64]:
    copy = array.copy()
    copy.flags.writeable = False
    return copy
