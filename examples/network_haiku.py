# %% [markdown]
# # A Haiku network with dropout
#
# `hk.transform` makes two plain functions of a network: `init(key, x)` gives
# parameters, nested dictionaries, and `apply(params, key, x)` the scores. Any pair of
# that form will do. Needs `pip install dm-haiku`; runs as
# `python examples/network_haiku.py`.

# %%
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

import asgrad_jax as ag


def scores(features, train):
    layers = hk.nets.MLP([64, 10])
    if not train:
        return layers(features)
    return layers(features, dropout_rate=0.2, rng=hk.next_rng_key())


network = hk.transform(scores)


def loss(params, batch, key):
    """`key` is a function of the run's seed, the worker and its job."""
    features, labels = batch
    found = network.apply(params, key, features, train=True)
    return ag.problems.cross_entropy(found, labels)


def accuracy(params, held_out):
    features, labels = held_out
    found = network.apply(params, None, features, train=False)
    return jnp.mean(jnp.argmax(found, axis=1) == labels)


# %%
def main(num_gradients: int = 4_000, seeds: int = 3, records: int = 20):
    pixels, digits = ag.datasets.digits()
    order = np.random.default_rng(0).permutation(len(digits))
    kept, rest = np.split(order, [1_400])
    params = network.init(jax.random.key(0), pixels[:1], train=False)
    problem = ag.from_loss(
        loss,
        params,
        (pixels[kept], digits[kept]),
        20,
        partition=ag.splits.dirichlet(digits[kept], 20, alpha=0.3, balanced=True),
        batch_size=16,
        lower_bound=0.0,
    )
    held_out = pixels[rest], digits[rest]
    problem = ag.problems.with_metrics(problem, {"accuracy": accuracy}, held_out)
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
