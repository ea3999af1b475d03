"""What the messages of `checks` are made of: ranges, names of entries, short values."""

import decimal
import numbers
import reprlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Range(NamedTuple):
    """What numbers may be: between bounds (None: any), and finite or not."""

    above: float | None
    minimum: float | None
    below: float | None
    maximum: float | None
    finite: bool

    def holds(self, values: Any) -> Any:
        """Whether each number is in the range."""
        kept = np.isfinite(values) if self.finite else np.True_
        if self.above is not None:
            kept = kept & (values > self.above)
        if self.minimum is not None:
            kept = kept & (values >= self.minimum)
        if self.below is not None:
            kept = kept & (values < self.below)
        if self.maximum is not None:
            kept = kept & (values <= self.maximum)
        return kept

    def __str__(self) -> str:
        bounds = zip((">", ">=", "<", "<="), self[:4], strict=True)
        words = [f"{sign} {bound:g}" for sign, bound in bounds if bound is not None]
        return f"{'finite ' * self.finite}number {' and '.join(words)}".rstrip()


def is_real(value: Any) -> bool:
    """Whether a value is a number of Python's or NumPy's, neither bool nor time."""
    number = isinstance(value, numbers.Real | decimal.Decimal)
    return number and not isinstance(value, bool | np.timedelta64)


def is_array_of_one(value: Any) -> bool:
    """Whether a value is a number in an array of no dimension, as JAX's numbers are."""
    return getattr(value, "ndim", 1) == 0 and value.dtype.kind in "iuf"


def are_integers(array: NDArray[Any]) -> bool:
    return all(isinstance(v, int) and not isinstance(v, bool) for v in array.flat)


def layout(ndim: int | None) -> str:
    """What an array of `ndim` dimensions is called in a message."""
    if ndim is None:
        return "numbers of one shape"
    return "a flat list such as [1, 2, 3]" if ndim == 1 else f"{ndim}-dimensional"


def entry(name: str, array: NDArray[Any], flat_index: int) -> str:
    """The name of one entry, such as mean[3] or gain[3, 1]."""
    if not array.ndim:
        return name
    index = np.unravel_index(flat_index, array.shape)
    return f"{name}[{', '.join(map(str, index))}]"


def short(value: Any) -> str:
    """How a value is shown in a message; 10**400 would be a page of digits."""
    single = getattr(value, "ndim", 1) == 0 and value.dtype.kind in "biuf"
    return str(value) if single else reprlib.repr(value)  # 0.5, not np.float64(0.5)


def wrong_type(name: str, wanted: str, value: Any, kind: type = TypeError):
    return kind(f"{name} must be {wanted}, got {short(value)}")
