# %% [markdown]
# # Which method, which step size, and why
#
# From a problem and a cluster to an answer, theory first, then a check by running. The
# cells run one after the other, in a notebook or as `python examples/which_method.py`.

# %%
from pathlib import Path

import numpy as np

import asgrad_jax as ag

NUM_GRADIENTS = 10_000
SEEDS = range(5)
OUT = Path("asgrad-which-method-run")
OUT.mkdir(exist_ok=True)

# %% [markdown]
# ## 1. The problem and the cluster
#
# Ten workers, the slowest ten times slower than the fastest. The data are sorted by
# label, so the workers' objectives differ: zeta^2 is as large as the squared gradient
# itself. The goal is a squared gradient norm a hundred times smaller.

# %%
features, labels = ag.datasets.digits_binary()
problem = ag.logistic_regression(
    features,
    labels,
    num_workers=10,
    partition="sorted",
    strength=0.01,
    drop_last=True,
)
compute_times = ag.compute_times.exponential(mean=range(1, 11))
constants = ag.theory.constants(problem)
eps = constants.heterogeneity.grad_sq / 100
print(constants, f"\ngoal: squared gradient norm {eps:.3g}")

# %% [markdown]
# ## 2. Which order of workers?
#
# No training run yet: schedules and one gradient of each worker. A method whose curve
# stays above the goal optimises something else than f, whatever its step size.

# %%
names = ["pure_async", "random_async", "shuffled_async", "minibatch"]
schedules = {
    name: [
        ag.simulate(name, compute_times, num_gradients=NUM_GRADIENTS, seed=seed)
        for seed in SEEDS
    ]
    for name in names
}
figure = ag.plot.correlation_profile(schedules, problem, title="Digits")
ag.plot.save(figure, OUT / "profile")

table = problem.local_gradients(problem.init_params())
rounds = problem.num_workers * np.array([1, 10])
unbiased = []
for name in names:
    bias = ag.theory.correlation_profile(schedules[name], table, rounds).bias_sq
    short, long = bias.mean(axis=0)
    if long < eps:
        unbiased.append(name)
    words = "averages out" if long < eps else "STAYS ABOVE THE GOAL"
    print(
        f"{name:<16}bias^2 {short:8.2g} over {rounds[0]} jobs, {long:8.2g} over", end=""
    )
    print(f" {rounds[1]}: {words}")

# %% [markdown]
# ## 3. Wait for the slowest worker, or not?
#
# Orders with every constant put to one, for workers with these mean times. Those for
# shared data cannot be reached here; the last line is the best for workers with
# different data. Without mini-batch noise (sigma^2 = 0) waiting for all is as good as
# that; give `batch_size` above, and it is not.

# %%
times = ag.theory.predicted_times(eps, compute_times, constants)
print(times)
print(f"mini-batch SGD / optimal: {times.minibatch / times.heterogeneous:.3g}")

# %% [markdown]
# ## 4. Which step size?
#
# The certified step size is safe and small (the theorem holds for the worst f): a
# grid may begin there. A rule that does not apply says why.

# %%
advice = {
    name: ag.theory.step_sizes(
        problem,
        schedules[name][0],
        eps=eps,
        num_gradients=NUM_GRADIENTS,
        constants=constants,
    )
    for name in names
}
certified = {
    name: rules["asgrad_jax theorem"].step_size for name, rules in advice.items()
}
for name, size in certified.items():
    print(f"{name:<16}certified step size {size:.2g}")
print(advice["shuffled_async"])

# %% [markdown]
# The certificate of a short run: the theorem's conditions, the terms of its bound, and
# what was measured.

# %%
short = ag.simulate(
    "shuffled_async", compute_times, num_gradients=min(500, NUM_GRADIENTS)
)
size = ag.theory.step_sizes(problem, short, constants=constants)[
    "asgrad_jax theorem"
].step_size
certificate = ag.theory.certificate(problem, short, size, constants=constants)
print(certificate)
ag.plot.save(ag.plot.certificate(certificate, title="Digits"), OUT / "certificate")

# %% [markdown]
# ## 5. The check
#
# One sweep, from the certified step sizes upward.

# %%
low = np.floor(np.log2(min(certified.values())))
result = ag.sweep(
    problem,
    algorithms=names,
    compute_times=compute_times,
    step_sizes=2.0 ** np.arange(low, 2, 1),
    seeds=SEEDS,
    num_gradients=NUM_GRADIENTS,
)
ag.save(result, OUT / "results.nc")
ag.plot.save(
    ag.plot.step_size_advice(result, advice, title="Digits"), OUT / "sensitivity"
)
figure = ag.plot.time_to_accuracy(
    result, compute_times, constants, sustained=True, title="Digits"
)
ag.plot.save(figure, OUT / "time_to")

# %% [markdown]
# ## 6. The answer

# %%
seconds = ag.time_to_accuracy(result, eps, sustained=True).squeeze(
    ["compute_times", "eps"]
)
median = seconds.median("seed")
sizes = result["step_size"].values
for name, time in zip(names, median.sel(algorithm=names).values, strict=True):
    found = f"{time.min():6.0f} s at step size {sizes[time.argmin()]:.3g}"
    print(f"{name:<16}{found if np.isfinite(time.min()) else 'never stays there'}")
winner = str(median.min("step_size").idxmin("algorithm").values)
step = float(median.sel(algorithm=winner).idxmin("step_size"))
print(
    f"Use {winner} with step size {step:.3g}, {step / certified[winner]:.0f} times the "
    f"certified one. Unbiased by the profile: {', '.join(unbiased)}."
)
