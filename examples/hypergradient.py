# %% [markdown]
# # Step sizes for every delay, learned by gradient
#
# `ag.runner` makes a whole asynchronous run one JAX function, so a weight for every
# delay can be learned by the gradient of the last loss: on some seeds, to be compared
# on others with the published rules that shrink the step with the delay.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax

import asgrad_jax as ag

NUM_GRADIENTS, UPDATES = 400, 80
TRAINING = jax.random.split(jax.random.key(0), 12)
HELD_OUT = jax.random.split(jax.random.key(1), 30)

# %% [markdown]
# ## 1. Ten workers with the same data, two of them slow
#
# So most delays are short and a few are long. A seed draws the noise of the gradients.

# %%
problem = ag.quadratic(10, 20, mu=0.02, heterogeneity=0.0, noise=0.3, seed=1)
compute_times = ag.compute_times.fixed(np.r_[np.linspace(1.0, 2.0, 8), 23.0, 41.0])
best = problem.metrics(problem.optimum()[None])["loss"][0]


def runner_of(algorithm):
    schedule = ag.simulate(algorithm, compute_times, num_gradients=NUM_GRADIENTS)
    return ag.runner(problem, schedule, record_every=NUM_GRADIENTS)


def gaps(runner, keys, step_size, weights=None):
    """log(f(x_A) - f*), for every key of the noise."""

    def of(key):
        last = runner(step_size, weights=weights, key=key).metrics["loss"][-1]
        return jnp.log(last - best)

    return jax.vmap(of)(keys)


# %% [markdown]
# ## 2. A step size for each range of delays
#
# Delays 0 to 7, 8 to 15, 16 to 63, ... share one. Adam follows the gradient of the mean
# gap over the training seeds: each of its steps differentiates through whole runs.

# %%
runner = runner_of("pure_async")
range_of = np.searchsorted([8, 16, 64, 128], runner.schedule.delay, side="right")
part_of = np.arange(NUM_GRADIENTS) * 8 // NUM_GRADIENTS
optimizer = optax.adam(optax.cosine_decay_schedule(0.2, UPDATES))


def learned(numbers, weights_of):
    """Logarithms of step sizes, moved down the gradient from gamma = 0.1."""

    def mean_gap(theta):
        return gaps(runner, TRAINING, 1.0, weights_of(theta)).mean()

    @jax.jit
    def learn(theta):
        def update(carry, _):
            theta, state = carry
            value, slope = jax.value_and_grad(mean_gap)(theta)
            moves, state = optimizer.update(slope, state)
            return (optax.apply_updates(theta, moves), state), value

        carry = theta, optimizer.init(theta)
        (theta, _), values = jax.lax.scan(update, carry, None, length=UPDATES)
        return theta, values

    theta, values = learn(jnp.full(numbers, jnp.log(0.1)))
    print(f"mean log gap in training {values[0]:.2f} -> {values[-1]:.2f}, step sizes")
    print(np.round(jnp.exp(theta), 3))
    return weights_of(theta)


by_delay = learned(5, lambda theta: jnp.exp(theta)[range_of])

# %% [markdown]
# ## 3. A step size for each eighth of the run
#
# The same function, other weights: a schedule that goes down once the noise dominates.

# %%
by_time = learned(8, lambda theta: jnp.exp(theta)[part_of])

# %% [markdown]
# ## 4. Against published rules, on other seeds
#
# Each rule gets the step size that is best on the training seeds, of 24.

# %%
found = {
    "learned by delay": gaps(runner, HELD_OUT, 1.0, by_delay),
    "learned by time": gaps(runner, HELD_OUT, 1.0, by_time),
}
grid = jnp.geomspace(0.02, 1.0, 24)
rules = {"constant": "pure_async", "staleness_aware": "staleness_aware"}
for form in ("ratio", "inverse", "drop"):
    rules[f"delay_adaptive {form}"] = ag.algorithms.delay_adaptive(form)
for name, rule in rules.items():
    other = runner_of(rule)
    tuned = gaps(other, TRAINING, grid).mean(0)
    found[name] = gaps(other, HELD_OUT, grid[jnp.nanargmin(tuned)])
print("mean log gap, and what it is above that of `learned by delay`, seed by seed:")
for name, values in sorted(found.items(), key=lambda item: item[1].mean()):
    above = values - found["learned by delay"]
    error = above.std() / np.sqrt(len(values))
    print(f"{name:24} {values.mean():.2f}   {above.mean():+.3f} +- {error:.3f}")
