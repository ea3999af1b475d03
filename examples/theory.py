# %% [markdown]
# # What theory says before a run, and how far it is from one
#
# Constants of the problem, delays of the schedule, the theorem's bound, a certificate
# of one run, and the step sizes of published rules beside the best one of a sweep.

# %%
import numpy as np

import asgrad_jax as ag

# %% tags=["parameters"]
NUM_GRADIENTS = 2_000
SEEDS = range(3)

# %% [markdown]
# ## Constants
#
# Each says how certain it is: exact, an upper bound, or an estimate.

# %%
features, labels = ag.datasets.digits_binary()
problem = ag.logistic_regression(
    features, labels, 10, partition="sorted", strength=0.01, drop_last=True
)
constants = ag.theory.constants(problem)
print(constants)

# %% [markdown]
# ## Delays, and what the order of workers costs
#
# The curve shows how far the mean of consecutive gradients is from the gradient of f.
# A method whose curve stays level optimises something else than f.

# %%
times = ag.compute_times.exponential(range(1, 11))
names = ["pure_async", "random_async", "shuffled_async"]
schedules = {
    name: [
        ag.simulate(name, times, num_gradients=NUM_GRADIENTS, seed=seed)
        for seed in SEEDS
    ]
    for name in names
}
print(ag.theory.delays(schedules["shuffled_async"]))
ag.plot.correlation_profile(schedules, problem, title="Digits")

# %% [markdown]
# ## Step sizes
#
# Rules whose assumptions do not hold here give the reason instead of a number.

# %%
schedule = schedules["shuffled_async"][0]
advice = ag.theory.step_sizes(
    problem, schedule, constants=constants, num_gradients=NUM_GRADIENTS
)
print(advice)

# %% [markdown]
# ## A certificate
#
# The run is replayed in float64, and what was measured on it is put into the theorem's
# inequality. The bound holds, and is loose.

# %%
certified = advice["asgrad_jax theorem"].step_size
certificate = ag.theory.certificate(problem, schedule, certified, constants=constants)
print(certificate)
ag.plot.certificate(certificate)

# %% [markdown]
# ## Beside practice
#
# How much larger is the best step size than the certified one?

# %%
result = ag.sweep(
    problem,
    algorithms=["shuffled_async"],
    compute_times=times,
    step_sizes=2.0 ** np.arange(-9, 1),
    seeds=SEEDS,
    num_gradients=NUM_GRADIENTS,
)
best = float(ag.best(result)["step_size"].squeeze())
print(f"best {best:.3g}, certified {certified:.3g}, ratio {best / certified:.0f}")
ag.plot.step_size_advice(result, {"shuffled_async": advice})
