# %% [markdown]
# # A method of your own: the less busy of two workers drawn at random
#
# Random asynchronous SGD hands out jobs blindly, so they pile up at slow workers while
# fast ones idle. Drawing two workers and taking the one with the shorter queue ("the
# power of two choices") keeps more of them busy, at the price of hearing slow workers
# less often.

# %%
import numpy as np

import asgrad_jax as ag
from asgrad_jax.algorithms import Decision

# %% tags=["parameters"]
NUM_GRADIENTS = 4_000

# %% [markdown]
# ## The method
#
# Two decisions: who gets a job at the start, and what happens when one arrives.


# %%
class TwoChoices:
    name = "two_choices"

    def start(self, server):
        self.queue = [1] * server.num_workers  # jobs that each worker has
        return range(server.num_workers)

    def arrive(self, server, job):
        self.queue[job.worker] -= 1
        pair = server.rng.integers(server.num_workers, size=2)
        chosen = min(pair, key=lambda worker: self.queue[worker])
        self.queue[chosen] += 1
        return Decision(assign=[chosen])  # weight 1, a step with every gradient


# %% [markdown]
# ## Its schedule beside the one it improves
#
# Share of jobs by worker, and delays: before anything is optimised.

# %%
times = ag.compute_times.exponential(range(1, 11))
for method in (TwoChoices(), "random_async"):
    print(ag.simulate(method, times, num_gradients=NUM_GRADIENTS).stats())

# %% [markdown]
# ## A sweep, a table, a figure
#
# It is swept, plotted and saved like every other method.

# %%
result = ag.sweep(
    ag.quadratic(num_workers=10, num_features=20, heterogeneity=1.0),
    algorithms=[TwoChoices(), "random_async", "shuffled_async", "pure_async"],
    compute_times=times,
    step_sizes=2.0 ** -np.arange(2, 12),
    seeds=range(3),
    num_gradients=NUM_GRADIENTS,
)
best = ag.best(result)
print(f"{'method':15} {'seconds':>8} {'step size':>10} {'gradient norm':>14}")
for name in result["algorithm"].values:
    row = best.sel(algorithm=name).squeeze()
    seconds = float(result["time"].sel(algorithm=name).isel(record=-1).median())
    step_size, norm = float(row["step_size"]), float(row["value"])
    print(f"{name:15} {seconds:8.0f} {step_size:10.4f} {norm:14.4f}")

# %%
ag.plot.convergence(result, against=["gradients", "time"])
