"""A small convolutional network, written for CPUs."""

from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_count, check_numbers, check_seed
from asgrad_jax.problems.from_loss import LossProblem, from_loss
from asgrad_jax.problems.linear_models import RowOptions
from asgrad_jax.problems.multinomial import checked_classes, cross_entropy


def convolve(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 3 x 3 convolution of images [m, H, W, c] with a kernel [9 c, c'], zeros around.

    Nine shifted copies and one matrix product: inside a loop on a CPU XLA's own
    convolution takes several times as long.

    Example:
        >>> convolve(jnp.ones((1, 3, 3, 1)), jnp.ones((9, 1)))[0, :, :, 0]
        Array([[4., 6., 4.],
               [6., 9., 6.],
               [4., 6., 4.]], dtype=float32)
    """
    m, height, width, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [
        padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)
    ]
    patches = jnp.concatenate(shifted, axis=-1)
    out = patches.reshape(-1, patches.shape[-1]) @ kernel
    return out.reshape(m, height, width, -1)


def halve(images: jax.Array) -> jax.Array:
    """Means of 2 x 2 pixels; an odd last row or column is left out.

    Example:
        >>> halve(jnp.arange(4.0).reshape(1, 2, 2, 1)).ravel()
        Array([1.5], dtype=float32)
    """
    m, height, width, c = images.shape
    images = images[:, : height // 2 * 2, : width // 2 * 2]
    return images.reshape(m, height // 2, 2, width // 2, 2, c).mean((2, 4))


def cnn_scores(params: dict, images: jax.Array) -> jax.Array:
    """Scores [m, C] of images [m, H, W, c]: twice convolve, rectify, halve; a product.

    Example:
        >>> problem = cnn(np.zeros((4, 8, 8)), [0, 1, 2, 0], 2)
        >>> cnn_scores(problem.init_params(), jnp.zeros((4, 8, 8, 1))).shape
        (4, 3)
    """
    for layer in (params["conv_1"], params["conv_2"]):
        out = convolve(images, layer["kernel"])
        images = halve(jax.nn.relu(out + layer["bias"][None, None, None]))
    flat = images.reshape(len(images), -1)
    return flat @ params["dense"]["weight"] + params["dense"]["bias"][None]


def _loss(params, batch):
    return cross_entropy(cnn_scores(params, batch["images"]), batch["labels"])


def cnn(
    images: ArrayLike,
    labels: ArrayLike,
    num_workers: int,
    *,
    channels: tuple[int, int] = (16, 32),
    classes: int | None = None,
    seed: int = 0,
    **rows: Unpack[RowOptions],
) -> LossProblem:
    """A network of two 3 x 3 convolutions and a dense layer, with cross-entropy.

    `cnn_scores` gives its scores, for metrics such as accuracy: see `with_metrics`.

    Args:
        images: [N, H, W] or [N, H, W, c], at least 4 x 4.
        labels: [N], integers 0..C-1.
        num_workers: n.
        channels: of the two convolutions.
        classes: C; the largest label plus one where it is left out.
        seed: of the start: weights ~ N(0, 2/inputs), biases 0.
        rows: `batch_size`, `sampling`, `partition`, `alpha`, `partition_seed`,
            `drop_last` and `weights`, as for `logistic_regression`.

    Returns:
        The problem. Parameters are nested dictionaries; kernels are matrices [9 c, c'].

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> import asgrad_jax as ag
        >>> pixels, digits = ag.datasets.digits()
        >>> images = pixels[:, :-1].reshape(-1, 8, 8)
        >>> problem = cnn(images, digits, 10, batch_size=32, partition="iid",
        ...               drop_last=True)
        >>> problem.init_params()["conv_2"]["kernel"].shape
        (144, 32)
    """
    pixels = check_numbers("images", images, finite=True)
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or min(pixels.shape[1:3]) < 4:
        raise ValueError(
            "images must be [N, H, W] or [N, H, W, c] of at least 4 x 4 pixels, got "
            f"shape {pixels.shape}"
        )
    numbers, classes = checked_classes(labels, classes)
    first, second = (check_count("channels", c) for c in channels)
    _, height, width, depth = pixels.shape
    rng = np.random.default_rng(check_seed(seed))

    def weights(inputs, outputs):
        return rng.normal(0, np.sqrt(2 / inputs), (inputs, outputs))

    start = {
        "conv_1": {"kernel": weights(9 * depth, first), "bias": np.zeros(first)},
        "conv_2": {"kernel": weights(9 * first, second), "bias": np.zeros(second)},
        "dense": {
            "weight": weights((height // 4) * (width // 4) * second, classes),
            "bias": np.zeros(classes),
        },
    }
    data = {"images": pixels, "labels": numbers}
    return from_loss(
        _loss, start, data, num_workers, labels=numbers, lower_bound=0.0, **rows
    )
