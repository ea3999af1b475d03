"""Features as the workers of a split see them."""

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_type
from asgrad_jax.problems.feature_shift import checked_shift
from asgrad_jax.problems.split import Split


def shift_features(
    features: ArrayLike,
    split: Split,
    *,
    offset: float = 0.0,
    scale: float = 0.0,
    noise: float = 0.0,
    rotation: float = 0.0,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Feature shift on any split: rows as another sensor of each worker sees them.

    A row a of worker i becomes (R_i a) * exp(scale z_i) + offset u_i + s_i e, with z_i
    and u_i ~ N(0, I) drawn for each worker, e ~ N(0, I) for each row, and s_i = noise
    (i + 1) / n, so that worker n has the most. R_i turns the features, paired at
    random, by an angle ~ N(0, rotation^2).

    Args:
        features: [N, d].
        split: who owns which row; rows of nobody stay as they are.
        offset, scale, noise, rotation: >= 0, see above.
        seed: of the draws.

    Returns:
        A copy, float64 [N, d].

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> import asgrad_jax as ag
        >>> split = ag.splits.contiguous(4, 2)
        >>> shifted = shift_features(np.ones((4, 3)), split, offset=1.0)
        >>> np.array_equal(shifted[0], shifted[1]), shifted[1, 0] == shifted[2, 0]
        (True, np.False_)

    Source: the noise is the "noise-based feature imbalance" of Li et al. 2021 (arXiv
    2102.02079), as recalled [R].
    """
    check_type("split", split, Split, "a split of ag.splits")
    shift = checked_shift(
        offset=offset, scale=scale, noise=noise, rotation=rotation, seed=seed
    )
    return replace(split, shift=shift).shifted(features)


def take_shift(features: Any, partition: Any) -> tuple[Any, Any]:
    """Returns features as the workers see them, and a partition without a shift.

    Args:
        features: [N, d].
        partition: as given to a problem.

    Raises:
        TypeError: for a shift of sparse features, which would make them dense.
    """
    if not isinstance(partition, Split) or partition.shift is None:
        return features, partition
    if scipy.sparse.issparse(features):
        raise TypeError(
            "features must be a dense array for a split with a feature shift, got a "
            "sparse matrix; give toarray()"
        )
    return partition.shifted(features), partition.unshifted()
