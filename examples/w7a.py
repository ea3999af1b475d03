# %% [markdown]
# # The data of the AsGrad experiments
#
# w7a has 25,057 sparse rows. It is looked for in the folder named by the environment
# variable `ASGRAD_DATA` and in the cache, and downloaded once otherwise. Without it and
# without a network, the same runs on digits that come with scikit-learn.

# %%
import numpy as np

import asgrad_jax as ag

# %% tags=["parameters"]
NUM_GRADIENTS = 5_000
SEEDS = range(3)

# %%
try:
    features, labels = ag.datasets.load_libsvm("w7a")
    name, partition, strength = "w7a", "contiguous", 0.1
except OSError as error:
    print(f"w7a is not here ({error}): digits in its place")
    features, labels = ag.datasets.digits_binary()
    name, partition, strength = "digits", "sorted", 0.01
print(name, features.shape)

# %% [markdown]
# ## A problem, sparse or dense
#
# Rows in file order, ten workers of equal size; the last rows are left out. Sparse rows
# stay sparse where that is faster, which the problem says.

# %%
problem = ag.logistic_regression(
    features, labels, 10, partition=partition, strength=strength, drop_last=True
)
problem

# %% [markdown]
# ## Three orders of workers, two ways to be slow
#
# The mean of worker i's job times is i seconds, i = 1..10: fixed, or Poisson.

# %%
result = ag.sweep(
    problem,
    algorithms=["pure_async", "random_async", "shuffled_async"],
    compute_times={
        "fixed": ag.compute_times.fixed(range(1, 11)),
        "Poisson": ag.compute_times.poisson(range(1, 11)),
    },
    step_sizes=2.0 ** np.arange(-9, 1),
    seeds=SEEDS,
    num_gradients=NUM_GRADIENTS,
)
best = ag.best(result)
print(best["value"].to_series().unstack("compute_times").round(4))

# %%
ag.plot.convergence(result, compute_times="Poisson", title=name)
