"""A multilayer perceptron."""

import itertools
from collections.abc import Sequence
from typing import Unpack

import jax
import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import (
    check_count,
    check_list,
    check_numbers,
    check_seed,
)
from asgrad_jax.problems.from_loss import LossProblem, from_loss
from asgrad_jax.problems.linear_models import RowOptions
from asgrad_jax.problems.multinomial import checked_classes, cross_entropy
from asgrad_jax.problems.shifted_rows import take_shift


def mlp_scores(params: dict, features: jax.Array) -> jax.Array:
    """Scores [m, C] of rows [m, d], with a rectifier after every layer but the last.

    Example:
        >>> params = init_mlp([3, 4, 2], np.random.default_rng(0))
        >>> mlp_scores(params, np.ones((5, 3))).shape
        (5, 2)
    """
    *hidden, last = params.values()
    for layer in hidden:
        features = jax.nn.relu(features @ layer["weight"] + layer["bias"][None])
    return features @ last["weight"] + last["bias"][None]


def init_mlp(sizes: Sequence[int], rng: np.random.Generator) -> dict:
    """Layers {"layer_1": {"weight": [in, out], "bias": [out]}, ...}.

    Weights ~ N(0, 2/in), biases 0.

    Example:
        >>> params = init_mlp([3, 4, 2], np.random.default_rng(0))
        >>> [layer["weight"].shape for layer in params.values()]
        [(3, 4), (4, 2)]
    """
    pairs = enumerate(itertools.pairwise(sizes), start=1)
    digits = len(str(len(sizes)))  # JAX puts the names in alphabetical order
    return {
        f"layer_{k:0{digits}}": {
            "bias": np.zeros(after),
            "weight": rng.normal(0, np.sqrt(2 / before), (before, after)),
        }
        for k, (before, after) in pairs
    }


def _loss(params, batch):
    return cross_entropy(mlp_scores(params, batch["features"]), batch["labels"])


def mlp(
    features: ArrayLike,
    labels: ArrayLike,
    num_workers: int,
    *,
    hidden: Sequence[int] = (32,),
    classes: int | None = None,
    seed: int = 0,
    **rows: Unpack[RowOptions],
) -> LossProblem:
    """A perceptron with rectifiers and cross-entropy, for classification.

    `mlp_scores` gives its scores, for metrics such as accuracy: see `with_metrics`.

    Args:
        features: [N, d].
        labels: [N], integers 0..C-1.
        num_workers: n.
        hidden: units of each hidden layer.
        classes: C; the largest label plus one where it is left out.
        seed: of the start: weights ~ N(0, 2/inputs), biases 0.
        rows: `batch_size`, `sampling`, `partition`, `alpha`, `partition_seed`,
            `drop_last` and `weights`, as for `logistic_regression`.

    Returns:
        The problem. Parameters are nested dictionaries, see `init_mlp`.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> import asgrad_jax as ag
        >>> pixels, digits = ag.datasets.digits()
        >>> split = ag.splits.dirichlet(digits, 20, alpha=0.1)
        >>> problem = mlp(pixels, digits, 20, partition=split, batch_size=16)
        >>> problem.init_params()["layer_1"]["weight"].shape
        (65, 32)
    """
    matrix = check_numbers("features", features, ndim=2, finite=True, bools=True)
    numbers, classes = checked_classes(labels, classes)
    units = [check_count("hidden", h) for h in check_list("hidden", hidden, "integers")]
    sizes = [matrix.shape[1], *units, classes]
    if "partition" in rows:
        matrix, rows["partition"] = take_shift(matrix, rows["partition"])
    start = init_mlp(sizes, np.random.default_rng(check_seed(seed)))
    data = {"features": matrix, "labels": numbers}
    return from_loss(
        _loss, start, data, num_workers, labels=numbers, lower_bound=0.0, **rows
    )
