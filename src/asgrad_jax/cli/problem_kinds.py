"""Problems of published experiments that a config makes from numbers alone."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax._util.checks import check_choice, check_count
from asgrad_jax.cli import classifiers
from asgrad_jax.problems.from_loss import LossProblem, from_loss
from asgrad_jax.problems.partition import Partition
from asgrad_jax.problems.quadratic import Quadratic, ringmaster_quadratic


def ringmaster(num_workers: int, num_features: int, noise: float = 0.01) -> Quadratic:
    """`ringmaster_quadratic`, with its arguments in the order of other problems."""
    return ringmaster_quadratic(num_features, num_workers, noise=noise)


def speed_and_target(
    num_workers: int, num_features: int, *, spread: float = 1.0, noise: float = 0.0
) -> Quadratic:
    """f_i(x) = ||x - c_i||^2 / 2 whose centres c_i move with the worker's number.

    c_i = (1 + spread (2 i / (n - 1) - 1)) (1, ..., 1) / sqrt(d), i = 0..n-1, so that
    workers whose speed goes by their number pull to one side. The minimiser of f is
    (1, ..., 1) / sqrt(d); x_0 = 0, where the gradient norm is 1.

    Args:
        num_workers: n >= 2.
        num_features: d.
        spread: how far the centres lie from their mean, at most.
        noise: sigma of the gradients' noise.
    """
    n = check_count("num_workers", num_workers, minimum=2)
    d = check_count("num_features", num_features)
    places = (1 + spread * np.linspace(-1, 1, n)) / np.sqrt(d)
    centres = np.repeat(places[:, None], d, axis=1)
    return Quadratic.from_arrays(np.ones((1, d)), centres, noise=noise)


def _least_squares(params: jax.Array, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    features, targets = batch
    return 0.5 * (features @ params - targets) ** 2


def mishchenko_least_squares(
    num_workers: int, num_rows: int, num_features: int, *, batch_size: int
) -> LossProblem:
    """Least squares as in the notebook of Mishchenko et al., the same for all workers.

    f(x) = (1/(2N)) ||A x - b||^2, A ~ U[0, 1] / sqrt(d), b = A x* + 1e-5 N(0, I), all
    with NumPy's generator of seed 42; x_0 = 0. Every worker has all rows.

    Args:
        num_workers: n, 40 there.
        num_rows: N, 10,000 there.
        num_features: d, 400 there.
        batch_size: rows per gradient, without replacement; 256 there.
    """
    rng = np.random.default_rng(42)
    features = rng.random((num_rows, num_features)) / np.sqrt(num_features)
    targets = features @ rng.random(num_features)
    targets += 1e-5 * rng.normal(size=num_rows)
    data = (np.tile(features, (num_workers, 1)), np.tile(targets, num_workers))
    start = np.zeros(num_features)
    return from_loss(_least_squares, start, data, num_workers, batch_size=batch_size)


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    features, labels = map(np.asarray, load_digits(return_X_y=True))
    return features / 16.0, labels.astype(np.int32)


def _cross_entropy(params: dict, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    features, labels = batch
    hidden = jax.nn.relu(features @ params["weight_1"] + params["bias_1"])
    logits = hidden @ params["weight_2"] + params["bias_2"]
    chosen = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - chosen


def digits_mlp(
    num_workers: int,
    *,
    hidden: int = 32,
    num_rows: int | None = None,
    batch_size: int | None = None,
    partition: Partition = "iid",
    alpha: float | None = None,
    shared: bool = False,
    seed: int = 0,
) -> LossProblem:
    """A two-layer ReLU network on scikit-learn's ten digits.

    64 pixels, `hidden` units, ten classes, cross-entropy; weights start as
    N(0, 1 / inputs), biases as 0.

    Args:
        num_workers: n.
        hidden: units of the hidden layer.
        num_rows: the first so many images; None: all 1797.
        batch_size: rows per gradient; None: all of the worker's.
        partition, alpha: how images are split, as for `from_loss`.
        shared: every worker has all the images instead.
        seed: of the start, and of the partition.
    """
    check_choice("digits_mlp: partition", partition, ("iid", "sorted", "dirichlet"))
    features, labels = (values[:num_rows] for values in _digits())
    rng = np.random.default_rng(seed)
    start = {
        "weight_1": rng.normal(0, 64**-0.5, (64, hidden)),
        "bias_1": np.zeros(hidden),
        "weight_2": rng.normal(0, hidden**-0.5, (hidden, 10)),
        "bias_2": np.zeros(10),
    }
    if shared:
        data = (np.tile(features, (num_workers, 1)), np.tile(labels, num_workers))
        return from_loss(
            _cross_entropy, start, data, num_workers, batch_size=batch_size
        )
    return from_loss(
        _cross_entropy,
        start,
        (features, labels),
        num_workers,
        batch_size=batch_size,
        partition=partition,
        labels=labels,
        alpha=alpha,
        partition_seed=seed,
        drop_last=True,
    )


KINDS: dict[str, Callable[..., Any]] = {
    **classifiers.KINDS,
    "ringmaster_quadratic": ringmaster,
    "speed_and_target": speed_and_target,
    "mishchenko_least_squares": mishchenko_least_squares,
    "digits_mlp": digits_mlp,
}
