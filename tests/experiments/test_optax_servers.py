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


# Their peaks, starts and rates are looked at by optax while they are made.
SCHEDULES = {
    "linear": lambda peak: optax.linear_schedule(0.0, peak, 10),
    "warmup_constant": lambda peak: optax.warmup_constant_schedule(0.0, peak, 5),
    "warmup_cosine": lambda peak: optax.warmup_cosine_decay_schedule(
        0.0, peak, 4, 10, end_value=0.01
    ),
    "warmup_exponential": lambda peak: optax.warmup_exponential_decay_schedule(
        0.0, peak, 4, 3, decay_rate=peak, end_value=0.01
    ),
    "piecewise": lambda peak: optax.piecewise_constant_schedule(peak, {3: 0.5, 7: 0.1}),
    "sgdr": lambda peak: optax.sgdr_schedule(
        [
            dict(init_value=0.0, peak_value=peak * f, decay_steps=5, warmup_steps=2)
            for f in (1, 0.5)
        ]
    ),
    "joined": lambda peak: optax.join_schedules(
        [optax.linear_schedule(0.0, peak, 3), optax.exponential_decay(peak, 3, peak)],
        [3],
    ),
}
SERVERS |= {
    name: lambda step_size, make=make: optax.adam(make(step_size))
    for name, make in SCHEDULES.items()
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


def warmed_up(step_size, warmup):
    return optax.sgd(
        optax.warmup_cosine_decay_schedule(0.0, step_size, warmup, 20, end_value=0.1)
    )


def test_every_lane_has_the_schedule_of_its_own_answer():
    steps, warmup = np.array([0.0, 0.1, 0.1]), np.array([4, 4, 0])
    found = ag.run(
        PROBLEM,
        SCHEDULE,
        step_size=steps,
        server=warmed_up,
        hyperparameters={"warmup": warmup},
    )
    for lane, (step_size, many) in enumerate(zip(steps, warmup, strict=True)):
        expected = by_hand(lambda _, s=step_size, w=many: warmed_up(s, w))
        np.testing.assert_allclose(
            found.params["w"][lane], expected["w"], rtol=1e-4, atol=1e-6
        )


def test_a_schedule_that_optax_refuses_is_not_finite_in_its_lane():
    found = ag.run(
        PROBLEM,
        SCHEDULE,
        step_size=0.1,
        server=lambda step_size, drop: optax.sgd(
            optax.piecewise_constant_schedule(step_size, {3: drop})
        ),
        hyperparameters={"drop": [0.5, -0.5]},
    )
    assert found.status.tolist() == ["ok", "nonfinite"]


def test_a_runner_is_differentiated_by_the_peak():
    runner = ag.runner(
        PROBLEM,
        SCHEDULE,
        record_every=40,
        server=lambda step_size: warmed_up(step_size, 4),
    )

    def last(step_size):
        return runner(step_size).metrics["loss"][-1]

    slope = float(jax.jvp(last, (0.1,), (1.0,))[1])
    differences = (float(last(0.102)) - float(last(0.098))) / 0.004
    assert slope == pytest.approx(differences, rel=0.01)


@pytest.mark.parametrize(
    ("server", "match"),
    [
        (
            lambda step_size: optax.adam(0.1) if step_size > 1 else optax.sgd(0.1),
            "one form for all",
        ),
        (
            lambda step_size: (
                optax.sgd(sum(step_size > k for k in range(3)) and 0.1)
                if all(step_size < 10 + k for k in range(9))
                else optax.sgd(0.1)
            ),
            "at most 6",
        ),
        (lambda step_size: optax.sgd(float(step_size)), "as a function of the count"),
    ],
)
def test_what_has_no_one_program_is_refused_before_it_runs(server, match):
    with pytest.raises((TypeError, ValueError), match=match):
        ag.run(PROBLEM, SCHEDULE, step_size=BOTH, server=server)
