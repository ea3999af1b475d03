"""Regularisers: one record each, with all that runs and theory ask of them."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from asgrad_jax._util.checks import check_callable, check_choice, check_number


@dataclass(frozen=True)
class Regularizer:
    """A function r(x) that a loss adds with a factor.

    Attributes:
        name: by which `regularizer=` finds it once it is registered.
        value: x [S, d] -> r of every lane [S], written with jax.numpy.
        gradient: x [..., d] -> grad r, of the same shape.
        smoothness: a number >= every |eigenvalue| of the Hessian of r, everywhere; None
            where none is known, and then L of the problem is not known either.
        convexity: a number <= every eigenvalue of the Hessian of r, everywhere;
            negative where r is not convex.
        lower_bound: a number <= r(x) for all x; None where none is known.

    Raises:
        TypeError, ValueError: for what is no such function, or no such number.

    Example:
        >>> import numpy as np
        >>> from asgrad_jax.problems.logistic import logistic_regression
        >>> cosine = Regularizer(
        ...     "cosine",
        ...     value=lambda x: jnp.sum(1 - jnp.cos(x), axis=-1),
        ...     gradient=jnp.sin, smoothness=1.0, convexity=-1.0, lower_bound=0.0)
        >>> problem = logistic_regression(
        ...     np.eye(2), [1, -1], 2, regularizer=cosine, strength=0.5)
        >>> problem.smoothness().per_worker
        array([0.75, 0.75])
    """

    name: str
    value: Callable[[jax.Array], jax.Array]
    gradient: Callable[[jax.Array], jax.Array]
    smoothness: float | None
    convexity: float
    lower_bound: float | None

    def __post_init__(self) -> None:
        check_callable("value", self.value, "x")
        check_callable("gradient", self.gradient, "x")
        check_number("convexity", self.convexity)
        if self.smoothness is not None:
            check_number("smoothness", self.smoothness, minimum=abs(self.convexity))
        if self.lower_bound is not None:
            check_number("lower_bound", self.lower_bound)


_NONE = Regularizer(
    "none",
    value=lambda x: jnp.zeros(x.shape[:-1], x.dtype),
    gradient=jnp.zeros_like,
    smoothness=0.0,
    convexity=0.0,
    lower_bound=0.0,
)
_BUILTIN = {
    regularizer.name: regularizer
    for regularizer in (
        Regularizer(
            "nonconvex",
            value=lambda x: jnp.sum(x * x / (1 + x * x), axis=-1),
            gradient=lambda x: 2 * x / jnp.square(1 + x * x),
            smoothness=2.0,
            convexity=-0.5,
            lower_bound=0.0,
        ),
        Regularizer(
            "l2",
            value=lambda x: jnp.sum(x * x, axis=-1),
            gradient=lambda x: 2 * x,
            smoothness=2.0,
            convexity=2.0,
            lower_bound=0.0,
        ),
    )
}
_REGISTERED: dict[str, Regularizer] = {}


def register_regularizer(regularizer: Regularizer) -> Regularizer:
    """Makes a regulariser known by its name, for `regularizer="..."` and configs.

    One that was registered under the same name before is replaced.

    Raises:
        TypeError, ValueError: if it is no `Regularizer`, or has a name of the package.

    Example:
        >>> cosine = register_regularizer(Regularizer(
        ...     "my_cosine", value=lambda x: jnp.sum(1 - jnp.cos(x), axis=-1),
        ...     gradient=jnp.sin, smoothness=1.0, convexity=-1.0, lower_bound=0.0))
        >>> find_regularizer("my_cosine") is cosine
        True
    """
    if not isinstance(regularizer, Regularizer):
        raise TypeError(
            f"regularizer must be a Regularizer, got {type(regularizer).__name__}"
        )
    if regularizer.name in (*_BUILTIN, _NONE.name):
        raise ValueError(
            f"name must not be one of the package's, got {regularizer.name!r}; choose "
            "another"
        )
    _REGISTERED[regularizer.name] = regularizer
    return regularizer


def find_regularizer(regularizer: str | Regularizer | None) -> Regularizer:
    """Returns the record of a name, a record or None, r = 0; else ValueError.

    Example:
        >>> find_regularizer("l2").smoothness
        2.0
    """
    if isinstance(regularizer, Regularizer):
        return regularizer
    if regularizer is None:
        return _NONE
    known = {**_BUILTIN, **_REGISTERED}
    check_choice("regularizer", regularizer, known, other="None")
    return known[regularizer]


def stored_form(regularizer: str | Regularizer | None) -> str | Regularizer | None:
    """Returns what a problem keeps: names of the package's own, records of others.

    A name of the package's own says in a saved config what it is; any other name may
    mean something else in the next process.

    Example:
        >>> stored_form("l2")
        'l2'
    """
    record = find_regularizer(regularizer)
    if record is _NONE:
        return None
    return record.name if record is _BUILTIN.get(record.name) else record
