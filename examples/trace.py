# %% [markdown]
# # Compute times from a trace of your cluster
#
# A log of jobs (worker, start, end) is all that is needed. Two things can be made of
# it: job times to draw from, for any method, and the schedule that was logged.

# %%
from pathlib import Path

import numpy as np

import asgrad_jax as ag

# %% tags=["parameters"]
NUM_GRADIENTS = 4_000

# %% [markdown]
# ## The log
#
# Yours comes from your scheduler. This one is made up: eight workers for an hour, two
# of them slow, one of which has a pause every now and then. `start` is when the job
# read the iterate, `end` when its gradient arrived.

# %%
rng = np.random.default_rng(0)
jobs = []
for worker, mean in enumerate([2.0, 2.0, 2.2, 2.2, 2.5, 2.5, 8.0, 11.0]):
    now = 0.0
    while now < 3_600:
        duration = rng.lognormal(np.log(mean), 0.3)
        if worker == 7 and rng.random() < 0.02:
            duration += 120.0  # the pause
        jobs.append((worker, now, now + duration))
        now += duration
log = Path("jobs.csv")
np.savetxt(log, jobs, delimiter=",", header="worker,start,end", comments="")
print(f"{len(jobs)} jobs in {log}")

# %% [markdown]
# ## Job times
#
# The time of a job is drawn from the jobs of the same worker in the log. Would
# exponential times with the same means do as well? Both are compared below.

# %%
measured = ag.compute_times.trace(log)
durations = ag.trace_durations(log)
means = [float(np.mean(of_worker)) for of_worker in durations]
compute_times = {
    "the log": measured,
    "exponential": ag.compute_times.exponential(means),
}
print(np.round(means, 2))

# %% [markdown]
# ## The schedule that was logged
#
# Who arrived when, and how stale: as it was, nothing simulated.

# %%
replay = ag.schedule_from_trace(log)
print(replay.stats())
ag.plot.schedule(replay)

# %% [markdown]
# ## Which method would have done better?
#
# All methods meet the same job times at the same seed.

# %%
result = ag.sweep(
    ag.quadratic(num_workers=8, num_features=20, heterogeneity=1.0, noise=0.1),
    algorithms=["pure_async", "shuffled_async", "fedbuff", "minibatch"],
    compute_times=compute_times,
    step_sizes=2.0 ** -np.arange(1, 9),
    seeds=range(3),
    num_gradients=NUM_GRADIENTS,
)
print(ag.best(result)["value"].to_series().unstack("compute_times").round(4))
seconds = result["time"].isel(record=-1).median("seed").to_series()
print(seconds.unstack("compute_times").round())

# %%
ag.plot.convergence(result, compute_times="the log", title="Job times of the log")
