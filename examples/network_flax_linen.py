# %% [markdown]
# # A Flax network (linen) with dropout
#
# Twenty workers with a strong label skew, a convolutional network with GroupNorm and
# dropout, held-out accuracy as a metric. Needs `pip install flax`; runs as
# `python examples/network_flax_linen.py`.

# %%
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import asgrad_jax as ag


class Network(nn.Module):
    """Patches and products instead of nn.Conv, which is slow in a loop on a CPU."""

    @nn.compact
    def __call__(self, images, *, train):
        hidden = jnp.concatenate(  # patches of 3 x 3 pixels
            [images[:, i : i + 6, j : j + 6] for i in range(3) for j in range(3)], -1
        )
        hidden = nn.relu(nn.GroupNorm(num_groups=4)(nn.Dense(16)(hidden)))
        hidden = hidden.reshape(len(hidden), 3, 2, 3, 2, 16).mean((2, 4))
        hidden = hidden.reshape(len(hidden), -1)
        hidden = nn.Dropout(0.2, deterministic=not train)(hidden)
        return nn.Dense(10)(hidden)


network = Network()


# %% [markdown]
# The loss takes a key: a function of seed, worker and job, so that a run repeats to the
# bit. Normalise by row, channel or group: `nn.BatchNorm` keeps running statistics that
# no job could carry, and the problem refuses them by name.


# %%
def loss(params, batch, key):
    images, labels = batch
    rngs = {"dropout": key}
    scores = network.apply({"params": params}, images, train=True, rngs=rngs)
    return ag.problems.cross_entropy(scores, labels)


def accuracy(params, held_out):
    images, labels = held_out
    scores = network.apply({"params": params}, images, train=False)
    return jnp.mean(jnp.argmax(scores, axis=1) == labels)


# %%
def main(num_gradients: int = 4_000, seeds: int = 3, records: int = 20):
    pixels, digits = ag.datasets.digits()
    images = pixels[:, :-1].reshape(-1, 8, 8, 1)
    order = np.random.default_rng(0).permutation(len(digits))
    kept, rest = np.split(order, [1_400])
    split = ag.splits.dirichlet(digits[kept], 20, alpha=0.1, balanced=True)

    start = network.init(jax.random.key(0), images[:1], train=False)["params"]
    problem = ag.from_loss(
        loss,
        start,
        (images[kept], digits[kept]),
        num_workers=20,
        partition=split,
        batch_size=16,
        lower_bound=0.0,
    )
    problem = ag.problems.with_metrics(
        problem, {"accuracy": accuracy}, (images[rest], digits[rest])
    )
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
