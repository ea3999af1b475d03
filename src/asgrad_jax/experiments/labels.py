"""Labels of algorithms and compute times, as results and figures show them."""

from typing import Any

import numpy as np


def label_text(what: str, label: Any) -> str:
    """Returns a label as the text that coordinates, figures and files show.

    Args:
        what: the labels are of, for errors.
        label: a text, a number (also NumPy's), or a tuple of these.

    Returns:
        The text itself; of a number what `str` shows; of a tuple its entries' texts,
        joined by ", ".

    Raises:
        TypeError: if it is of another type, as None and truth values are.
        ValueError: if it is empty, or has characters that no file can hold.

    Example:
        >>> label_text("algorithms", np.int64(2)), label_text("algorithms", ("a", 0.5))
        ('2', 'a, 0.5')
    """
    if isinstance(label, tuple) and label:
        return ", ".join(label_text(what, part) for part in label)
    if isinstance(label, bool | np.bool_) or not isinstance(
        label, str | int | float | np.number
    ):
        raise TypeError(
            f"the labels of {what} must be texts, numbers or tuples of these, got "
            f"{label!r}"
        )
    # An enumeration of texts shows its class in `str`.
    text = str.__str__(label) if isinstance(label, str) else str(label)
    if not text.strip() or "\0" in text or not _encodable(text):
        raise ValueError(
            f"the labels of {what} must be texts that are not empty, without NUL and "
            f"half characters, got {label!r}"
        )
    return text


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
