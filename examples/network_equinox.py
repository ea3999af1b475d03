# %% [markdown]
# # An Equinox module on sequences of tokens
#
# A module is a pytree whose leaves are arrays and functions: `eqx.partition` takes the
# arrays that are trained. The module comes back as the parameters of a run. Needs
# `pip install equinox`; runs as `python examples/network_equinox.py`.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import asgrad_jax as ag

CONTEXT = 8


class NextLetter(eqx.Module):
    """Scores of the next letter from the last eight."""

    embedding: jax.Array
    layers: eqx.nn.MLP

    def __init__(self, letters, key):
        first, second = jax.random.split(key)
        self.embedding = jax.random.normal(first, (letters, 8))
        self.layers = eqx.nn.MLP(8 * CONTEXT, letters, 64, 1, key=second)

    def __call__(self, tokens):
        return self.layers(self.embedding[tokens].reshape(-1))


def make_loss(static):
    """Of windows [rows, CONTEXT + 1], whose last token is to be predicted."""

    def loss(params, windows):
        model = eqx.combine(params, static)
        scores = jax.vmap(model)(windows[:, :-1])
        return ag.problems.cross_entropy(scores, windows[:, -1])

    return loss


# %%
def main(num_gradients: int = 4_000, seeds: int = 3, records: int = 20):
    text = ag.datasets.generated_text(6_000, seed=0)
    windows, letters = ag.datasets.text_windows(text, context=CONTEXT, stride=1)
    kept, rest = np.split(windows, [5_000])  # the end of the text is held out
    model = NextLetter(len(letters), jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    loss = make_loss(static)

    def accuracy(params, held_out):
        scores = jax.vmap(eqx.combine(params, static))(held_out[:, :-1])
        return jnp.mean(jnp.argmax(scores, axis=1) == held_out[:, -1])

    # Contiguous: every worker has a part of the text.
    problem = ag.from_loss(loss, params, kept, 20, batch_size=16, lower_bound=0.0)
    problem = ag.problems.with_metrics(problem, {"accuracy": accuracy}, rest)
    result = ag.sweep(
        problem,
        algorithms=["pure_async", "shuffled_async"],
        compute_times=ag.compute_times.exponential(range(1, 21)),
        step_sizes=[0.05, 0.1, 0.2],
        seeds=range(seeds),
        num_gradients=num_gradients,
        record_every=num_gradients // records,
    )
    last = result["accuracy"].isel(record=-1).mean("seed").max("step_size")
    for name in result["algorithm"].values:
        print(f"{name}: held-out accuracy {last.sel(algorithm=name).item():.3f}")
    return result


if __name__ == "__main__":
    main()
