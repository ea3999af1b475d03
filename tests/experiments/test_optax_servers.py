"""Servers made as optax makes them: chains, masks, injected values."""

import jax
import numpy as np
import optax
import pytest

import asgrad_jax as ag

TIMES = ag.compute_times.fixed([1.0, 2.0, 3.0, 4.0])
SCHEDULE = ag.simulate("pure_waiting", TIMES, num_gradients=40)
PROBLEM = ag.from_loss(
    lambda x, row: 0.5 * ((row @ x["w"] + x["b"]) ** 2).mean(),
    {"w": np.ones(3), "b": np.ones(())},
    np.random.default_rng(0).normal(size=(40, 3)),
    4,
)
BOTH = np.array([0.05, 0.2])


def by_hand(make):
    """The run of one step size, its server stepped outside of any program."""
    params = PROBLEM.init_params()
    server = make(BOTH[1])
    state, u = server.init(params), jax.tree.map(np.zeros_like, params)
    history = [params]
    for a in range(len(SCHEDULE)):
        lane = jax.tree.map(lambda x: x[None], history[SCHEDULE.read[a]])
        worker, job = SCHEDULE.worker[a], SCHEDULE.job[a]
        g = PROBLEM.gradients(lane, worker, job, jax.random.key(0))
        weight = SCHEDULE.weight[a]
        u = jax.tree.map(lambda u, g, w=weight: u + w * g[0], u, g)
        if SCHEDULE.step[a]:
            updates, state = server.update(u, state, history[-1])
            history.append(optax.apply_updates(history[-1], updates))
            u = jax.tree.map(np.zeros_like, u)
    return history[-1]


SERVERS = {
    "chain": lambda step_size: optax.chain(
        optax.clip_by_global_norm(0.1), optax.sgd(step_size)
    ),
    "injected": lambda step_size: optax.inject_hyperparams(optax.adam)(
        learning_rate=step_size
    ),
    "mask": lambda step_size: optax.adamw(
        step_size, weight_decay=0.3, mask={"w": True, "b": False}
    ),
    "scaled schedule": lambda step_size: optax.sgd(
        lambda count: step_size * optax.linear_schedule(0.0, 1.0, 10)(count)
    ),
    "frozen": lambda step_size: optax.multi_transform(
        {"move": optax.sgd(step_size), "stay": optax.set_to_zero()},
        {"w": "move", "b": "stay"},
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_what_optax_makes(name):
    found = ag.run(PROBLEM, SCHEDULE, step_size=BOTH, server=SERVERS[name])
    expected = by_hand(SERVERS[name])
    for leaf in ("w", "b"):
        np.testing.assert_allclose(
            found.params[leaf][1], expected[leaf], rtol=1e-4, atol=1e-6
        )
    if name == "frozen":
        assert (found.params["b"] == 1).all()
