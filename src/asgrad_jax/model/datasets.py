"""Real and synthetic data sets."""

import numpy as np
from numpy.typing import ArrayLike


def labels_to_signs(labels: ArrayLike) -> np.ndarray:
    """Two-class labels as -1 and +1.

    Args:
        labels: [N] numbers out of {-1, +1}, {0, 1} or {1, 2}.

    Returns:
        float64 [N]: -1 for the smaller label, +1 for the larger.

    Raises:
        ValueError: if the labels are not a vector of finite numbers of one of these
            pairs; the classes found are listed.

    Example:
        >>> labels_to_signs([0, 1, 1])
        array([-1.,  1.,  1.])
    """
    values = np.asarray(labels, np.float64)
    if values.ndim != 1:
        raise ValueError(f"labels must be a vector, got shape {values.shape}")
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise ValueError(f"label {row} is {values[row]}; labels must be finite")
    classes = np.unique(values).tolist()
    if classes not in ([-1.0, 1.0], [0.0, 1.0], [1.0, 2.0]):
        shown = ", ".join(f"{value:g}" for value in classes[:10])
        shown += ", ..." if len(classes) > 10 else ""
        raise ValueError(
            f"labels of {len(classes)} class(es): {shown}; two classes are needed, "
            "written as {-1, +1}, {0, 1} or {1, 2}: choose and map them first"
        )
    return np.where(values == classes[1], 1.0, -1.0)
