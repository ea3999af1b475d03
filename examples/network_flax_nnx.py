# %% [markdown]
# # A Flax network (nnx) whose first layer is frozen
#
# `nnx.split` gives the parameters as a pytree. What shall not be trained goes to the
# loss as `frozen`: an argument of the compiled program, not a constant in it. Needs
# `pip install flax`; runs as `python examples/network_flax_nnx.py`.

# %%
import jax.numpy as jnp
import numpy as np
from flax import nnx

import asgrad_jax as ag


class Network(nnx.Module):
    def __init__(self, rngs):
        self.features = nnx.Linear(64, 128, rngs=rngs)
        self.head = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, pixels):
        return self.head(nnx.relu(self.features(pixels)))


graph, state = nnx.split(Network(nnx.Rngs(0)))
everything = nnx.to_pure_dict(state)  # plain nested dictionaries of arrays
start = {"head": everything["head"]}
frozen = {"features": everything["features"]}


def scores(params, frozen, pixels):
    merged = nnx.merge(graph, nnx.State(params | frozen))
    return merged(pixels)


def loss(params, batch, frozen):
    pixels, labels = batch
    return ag.problems.cross_entropy(scores(params, frozen, pixels), labels)


def accuracy(params, held_out):
    pixels, labels, frozen = held_out
    return jnp.mean(jnp.argmax(scores(params, frozen, pixels), axis=1) == labels)


# %%
def main(num_gradients: int = 4_000, seeds: int = 3, records: int = 20):
    pixels, digits = ag.datasets.digits()
    pixels = pixels[:, :-1]
    order = np.random.default_rng(0).permutation(len(digits))
    kept, rest = np.split(order, [1_400])
    problem = ag.from_loss(
        loss,
        start,
        (pixels[kept], digits[kept]),
        num_workers=20,
        partition=ag.splits.classes_per_worker(digits[kept], 20, classes=2),
        batch_size=16,
        frozen=frozen,
        lower_bound=0.0,
    )
    problem = ag.problems.with_metrics(
        problem, {"accuracy": accuracy}, (pixels[rest], digits[rest], frozen)
    )
    result = ag.sweep(
        problem,
        algorithms=["pure_async", "fedbuff"],
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
