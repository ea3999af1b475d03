"""A small transformer that tells the next character."""

from dataclasses import dataclass
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_count, check_integers, check_seed
from asgrad_jax.problems.from_loss import LossProblem, from_loss
from asgrad_jax.problems.linear_models import RowOptions
from asgrad_jax.problems.multinomial import cross_entropy


def transformer_scores(params: dict, tokens: jax.Array, *, heads: int) -> jax.Array:
    """Scores [m, T, V] of what follows each of the tokens [m, T].

    Layers are attention and a perceptron, each on normalised inputs and added to them.

    Example:
        >>> problem = transformer([[0, 1, 0, 1]] * 4, 2, width=8, heads=2)
        >>> params = jax.tree.map(jnp.asarray, problem.init_params())
        >>> transformer_scores(params, jnp.zeros((5, 3), int), heads=2).shape
        (5, 3, 2)
    """
    embedding = params["embedding"]
    number = jax.lax.broadcasted_iota(tokens.dtype, (1, 1, embedding.shape[0]), 2)
    # A product instead of a gather, whose derivative is a slow scatter.
    hot = (tokens[..., None] == number).astype(embedding.dtype)
    x = hot @ embedding + params["position"][None, : tokens.shape[1]]
    for layer in params["layers"]:
        x = x + _attention(layer, _normal(x, layer["norm_1"]), heads)
        hidden = jax.nn.relu(_normal(x, layer["norm_2"]) @ layer["up"])
        x = x + hidden @ layer["down"]
    return _normal(x, params["norm"]) @ params["head"]


def _attention(layer: dict, x: jax.Array, heads: int) -> jax.Array:
    m, length, width = x.shape
    q, k, v = jnp.split(x @ layer["attend"], 3, axis=-1)
    q, k, v = (a.reshape(m, length, heads, width // heads) for a in (q, k, v))
    scores = jnp.einsum("mihd,mjhd->mhij", q, k) * (width // heads) ** -0.5
    past = jnp.tri(length, dtype=bool)[None, None]
    shares = jax.nn.softmax(jnp.where(past, scores, -1e9), axis=-1)
    mixed = jnp.einsum("mhij,mjhd->mihd", shares, v)
    return mixed.reshape(m, length, width) @ layer["join"]


def _normal(x: jax.Array, scale: jax.Array) -> jax.Array:
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * scale[None, None]


@dataclass(frozen=True)
class _NextToken:
    """Mean cross-entropy of the next token over the positions of each row."""

    heads: int

    def __call__(self, params: Any, tokens: jax.Array) -> jax.Array:
        scores = transformer_scores(params, tokens[:, :-1], heads=self.heads)
        return jnp.mean(cross_entropy(scores, tokens[:, 1:]), axis=1)


def transformer(
    tokens: ArrayLike,
    num_workers: int,
    *,
    vocabulary: int | None = None,
    width: int = 32,
    layers: int = 2,
    heads: int = 2,
    seed: int = 0,
    **rows: Unpack[RowOptions],
) -> LossProblem:
    """A decoder that learns the next of T tokens; `ag.datasets.text_windows` has such.

    Args:
        tokens: integers [N, T + 1] in 0..V-1: each row is a piece of text.
        num_workers: n.
        vocabulary: V; the largest token plus one where it is left out.
        width: numbers by which a token is represented, a multiple of `heads`.
        layers, heads: of attention.
        seed: of the start.
        rows: `batch_size`, `sampling`, `partition`, `alpha`, `partition_seed`,
            `drop_last` and `weights`, as for `logistic_regression`. "sorted" goes by
            the first token of each row.

    Returns:
        The problem. A row's loss is the mean over its T predictions, in nats.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> import asgrad_jax as ag
        >>> text = ag.datasets.generated_text(4_000, seed=0)
        >>> windows, letters = ag.datasets.text_windows(text, context=16)
        >>> problem = transformer(windows, 10, batch_size=8, drop_last=True)
        >>> problem.init_params()["embedding"].shape == (len(letters), 32)
        True
    """
    given = check_integers("tokens", tokens, ndim=2)
    if given.shape[1] < 2:
        raise ValueError(
            f"tokens must be [N, T + 1] with T >= 1, got shape {given.shape}"
        )
    low, high = int(given.min(initial=0)), int(given.max(initial=0))
    vocabulary = check_count("vocabulary", vocabulary or max(high + 1, 2), minimum=2)
    if low < 0 or high >= vocabulary:
        raise ValueError(
            f"tokens must be in 0..{vocabulary - 1}, got some from {low} to {high}"
        )
    heads, layers = check_count("heads", heads), check_count("layers", layers)
    width = check_count("width", width)
    if width % heads:
        raise ValueError(f"width must be a multiple of heads = {heads}, got {width}")
    rng = np.random.default_rng(check_seed(seed))

    def weights(before, after):
        return rng.normal(0, before**-0.5, (before, after))

    def layer():
        return {
            "attend": weights(width, 3 * width),
            "join": weights(width, width) / np.sqrt(2 * layers),
            "up": weights(width, 4 * width),
            "down": weights(4 * width, width) / np.sqrt(2 * layers),
            "norm_1": np.ones(width),
            "norm_2": np.ones(width),
        }

    start = {
        "embedding": rng.normal(0, 1, (vocabulary, width)),
        "position": rng.normal(0, 0.1, (given.shape[1] - 1, width)),
        "layers": tuple(layer() for _ in range(layers)),
        "norm": np.ones(width),
        "head": weights(width, vocabulary),
    }
    loss = _NextToken(heads)
    first = given[:, 0]
    return from_loss(
        loss, start, given, num_workers, labels=first, lower_bound=0.0, **rows
    )
