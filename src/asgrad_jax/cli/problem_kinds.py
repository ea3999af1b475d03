"""Problems of published experiments that a config makes from numbers alone."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asgrad_jax import datasets
from asgrad_jax._util.checks import check_choice, check_count, check_number
from asgrad_jax.cli import classifiers
from asgrad_jax.problems import splits
from asgrad_jax.problems.from_loss import LossProblem
from asgrad_jax.problems.least_squares import least_squares
from asgrad_jax.problems.mlp import mlp
from asgrad_jax.problems.partition import Partition
from asgrad_jax.problems.quadratic import Quadratic, ringmaster_quadratic
from asgrad_jax.problems.shared_data import SharedData, shared_data

# SHA-256 of the files as they are published, packed; others are told on the page.
_MNIST = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "mnist.npz": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
}


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


def mishchenko_least_squares(
    num_workers: int, num_rows: int, num_features: int, *, batch_size: int
) -> SharedData:
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
    alone = least_squares(features, targets, 1, batch_size=batch_size)
    return shared_data(alone, num_workers)


class Pixels(NamedTuple):
    """Images as rows of pixels, and where they are from.

    Attributes:
        features: float64 [N, d] in [0, 1].
        labels: int [N], 0..9.
        words: which images these are, for a page.
    """

    features: NDArray[np.float64]
    labels: NDArray[np.integer]
    words: str


def mnist_or_digits() -> Pixels:
    """The user's MNIST, or scikit-learn's digits where there is none.

    MNIST is looked for in the folder that `ASGRAD_DATA` names: `mnist.npz`, or the idx
    files in `mnist`, see `datasets.load_images`.

    Raises:
        ValueError: if a published file has another checksum, or is damaged.
    """
    folder = Path(os.environ.get(datasets.DATA_VARIABLE, ""))
    given = datasets.DATA_VARIABLE in os.environ
    paths = [folder / "mnist.npz", folder / "mnist"] if given else []
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        features, labels = datasets.digits()
        where = "no MNIST in its folder" if given else "it is not set"
        words = (
            "scikit-learn's 1,797 digits of 8 x 8 pixels in place of MNIST, which is "
            f"read where {datasets.DATA_VARIABLE} says ({where})"
        )
        return Pixels(features[:, :-1], labels, words)
    names = [path.name] if path.is_file() else os.listdir(path)
    published = {name: _MNIST[name] for name in names if name in _MNIST}
    images = datasets.load_images(path, sha256=published)
    sums = (
        f"{name}: {'SHA-256 as published' if name in published else f'SHA-256 {sha}'}"
        for name, sha in images.sha256.items()
    )
    words = f"MNIST, {len(images.labels):,} images ({'; '.join(sums)})"
    return Pixels(images.images.reshape(len(images.labels), -1), images.labels, words)


def images_mlp(
    num_workers: int,
    *,
    hidden: int = 32,
    num_rows: int | None = None,
    batch_size: int | None = None,
    partition: Partition = "iid",
    alpha: float | None = None,
    balanced: bool = False,
    shared: bool = False,
    seed: int = 0,
) -> LossProblem | SharedData:
    """A two-layer ReLU network, `problems.mlp`, on the images of `mnist_or_digits`.

    Args:
        num_workers: n.
        hidden: units of the hidden layer.
        num_rows: the first so many images; None: all.
        batch_size: rows per gradient; None: all of the worker's.
        partition, alpha: how images are split, as for `mlp`.
        balanced: with "dirichlet", whether all workers have equally many images; those
            that n does not divide are left out.
        shared: every worker has all the images instead.
        seed: of the start, and of the partition.
    """
    check_choice("images_mlp: partition", partition, ("iid", "sorted", "dirichlet"))
    found = mnist_or_digits()
    features, labels = found.features[:num_rows], found.labels[:num_rows]
    given = {"hidden": [hidden], "classes": 10, "seed": seed, "batch_size": batch_size}
    if shared:
        return shared_data(mlp(features, labels, 1, **given), num_workers)
    if balanced:
        check_choice("images_mlp: a balanced partition", partition, ("dirichlet",))
        alpha = check_number("images_mlp: alpha", alpha, above=0)
        split = splits.dirichlet(
            labels, num_workers, alpha=alpha, balanced=True, seed=seed
        )
        return mlp(features, labels, num_workers, partition=split, **given)
    how = {"partition": partition, "alpha": alpha, "partition_seed": seed}
    return mlp(features, labels, num_workers, drop_last=True, **how, **given)


KINDS: dict[str, Callable[..., Any]] = {
    **classifiers.KINDS,
    "ringmaster_quadratic": ringmaster,
    "speed_and_target": speed_and_target,
    "mishchenko_least_squares": mishchenko_least_squares,
    "images_mlp": images_mlp,
}
