# %% [markdown]
# # Five minutes with asgrad_jax
#
# A sweep, its figure, and one schedule looked at closely. Runs as
# `python examples/quickstart.py`, or cell by cell in a notebook.

# %%
from pathlib import Path

import numpy as np

import asgrad_jax as ag

# %% tags=["parameters"]
NUM_GRADIENTS = 5_000
OUT = "asgrad-quickstart-run"  # folder for the files

# %% [markdown]
# ## A problem
#
# Handwritten digits, 0-4 against 5-9. Sorted by label, so that the fast workers hold
# one class and the slow ones the other.

# %%
features, labels = ag.datasets.digits_binary()
problem = ag.logistic_regression(
    features, labels, num_workers=10, partition="sorted", strength=0.01, drop_last=True
)

# %% [markdown]
# ## A sweep
#
# Worker i's jobs take Poisson(i) seconds, i = 1..10. Every algorithm, seed and step
# size is part of one compiled program.

# %%
times = ag.compute_times.poisson(range(1, 11))
result = ag.sweep(
    problem,
    algorithms=["pure_async", "random_async", "shuffled_async"],
    compute_times=times,
    step_sizes=2.0 ** np.arange(-10, 0),
    seeds=range(3),
    num_gradients=NUM_GRADIENTS,
)
best = ag.best(result)
print(best[["step_size", "value"]].to_dataframe())

# %%
out = Path(OUT)
out.mkdir(parents=True, exist_ok=True)
ag.save(result, out / "results.nc")
figure = ag.plot.convergence(result, title="Digits")
ag.plot.save(figure, out / "convergence")  # .png and .pdf
figure

# %% [markdown]
# ## One schedule
#
# Who computed when, and how stale the gradients were.

# %%
schedule = ag.simulate("shuffled_async", times, num_gradients=NUM_GRADIENTS)
print(schedule.stats())
figure = ag.plot.schedule(schedule)
ag.plot.save(figure, out / "schedule")
figure

# %% [markdown]
# The same schedule in float64, with the norm at every single gradient.

# %%
step_size = best["step_size"].sel(algorithm="shuffled_async").item()
trajectory = ag.run(problem, schedule, step_size=step_size, precision="float64")
norm = trajectory.metrics["grad_norm"]
print(f"gradient norm {norm[0]:.3g} -> {norm[-1]:.3g}, status {trajectory.status}")
print(f"files are in {out}/")
