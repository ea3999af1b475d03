"""Methods whose server is data: what it is told, what comes of its numbers, files."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgrad_jax as ag
from asgrad_jax.engine import program
from asgrad_jax.experiments.execute import execute
from asgrad_jax.experiments.experiment import Experiment
from helpers.reference import quadratic_loss

algorithms = ag.algorithms
TIMES = ag.compute_times.fixed([1.0, 2.0, 3.0, 5.0])
PROBLEM = ag.quadratic(num_workers=4, num_features=3, seed=0)
GRID = dict(compute_times=TIMES, num_gradients=60, record_every=60, step_sizes=[0.05])


def telling(step_size):
    """Plain SGD that keeps what it was told last: x_v - x_r, a delay, two losses."""

    def init(params):
        zero = jnp.zeros_like(params)
        return zero, jnp.int32(0), (zero[0], zero[0])

    def update(updates, state, params=None, *, read, max_delay, loss, read_loss):
        moved = jax.tree.map(jnp.subtract, params, read)
        step = jax.tree.map(lambda u: -step_size * u, updates)
        return step, (moved, max_delay, (loss, read_loss))

    return optax.GradientTransformationExtraArgs(init, update)


@pytest.mark.parametrize("batching", ["single", "vmap"])
@pytest.mark.parametrize("width", [1, 4])
def test_a_server_is_told_what_was_read_however_it_runs(batching, width):
    names = ("pure_async", "fedbuff", "deadline")
    schedules = [ag.simulate(name, TIMES, num_gradients=60) for name in names]
    experiment = Experiment(
        problem=PROBLEM,
        init_params=PROBLEM.init_params(),
        record_every=1,
        server=telling,
        precision="float64",
        batching=batching,
        width=width,
    )
    hyper = {"step_size": np.array([0.02, 0.04])}
    outcomes = execute(experiment, schedules, [0] * len(names), hyper)
    for k, schedule in enumerate(schedules):
        last = int(np.flatnonzero(schedule.step)[-1])
        own = schedule.version == schedule.version[last]
        moved, delay, losses = outcomes[k].state
        assert delay.tolist() == [schedule.delay[own].max()] * 2
        # Against the history of plain SGD.
        for lane, step_size in enumerate(hyper["step_size"]):
            history = [PROBLEM.init_params()]
            u = 0.0
            for a in range(last + 1):
                i, x = schedule.worker[a], history[schedule.read[a]]
                g = PROBLEM.hessian[i] @ x - PROBLEM.linear[i]
                u = u + schedule.weight[a] * g
                if schedule.step[a]:
                    history.append(history[-1] - step_size * u)
                    u = 0.0
            read = history[schedule.read[last]]
            f = quadratic_loss(PROBLEM)
            np.testing.assert_allclose(losses[0][lane], f(history[-2]), rtol=1e-9)
            np.testing.assert_allclose(losses[1][lane], f(read), rtol=1e-9)
            expected = history[-2] - read
            np.testing.assert_allclose(moved[lane], expected, rtol=1e-9, atol=1e-14)


def test_numbers_of_a_rule_share_one_program():
    before = program.advance._cache_size()
    strengths = {str(c): algorithms.dc_asgd(c) for c in (0.0, 0.5, 5.0)}
    named = {**strengths, "pure": "pure_async"}
    found = ag.sweep(PROBLEM, algorithms=named, precision="float64", **GRID)
    assert program.advance._cache_size() <= before + 2
    ends = found["loss"].isel(record=-1).squeeze()
    np.testing.assert_allclose(ends.sel(algorithm="0.0"), ends.sel(algorithm="pure"))
    assert len(set(ends.values.tolist())) >= 3


def test_a_server_given_besides_works_on_what_comes_out():
    """DC-ASGD of strength 0 with momentum is momentum, FedAsync of tau = 0 is SGD."""

    def momentum(step_size, beta):
        return optax.sgd(step_size, momentum=beta)

    named = {"dc": algorithms.dc_asgd(0.0), "pure": "pure_async"}
    grid = GRID | dict(step_sizes=[0.01])
    found = ag.sweep(
        PROBLEM,
        algorithms=named,
        server=momentum,
        hyperparameters={"beta": [0.0, 0.9]},
        metrics={"trace": lambda x, state: jnp.sum(state[0].trace ** 2)},
        **grid,
    ).isel(record=-1)
    for name in ("loss", "trace"):
        one, two = (found[name].sel(algorithm=a).values for a in named)
        np.testing.assert_allclose(one, two, rtol=1e-5)


def test_the_last_state_is_the_servers_own():
    schedule = ag.simulate("gap_aware", TIMES, num_gradients=40)
    assert ag.run(PROBLEM, schedule, step_size=0.1).state is None
    run = ag.run(
        PROBLEM, schedule, step_size=0.1, server=lambda step_size: optax.adam(step_size)
    )
    assert int(run.state[0].count) == 40


def test_a_rule_survives_a_file_and_counts_in_the_hash(tmp_path):
    schedule = ag.simulate(algorithms.dc_asgd(0.3), TIMES, num_gradients=20)
    schedule.save(tmp_path / "s.npz")
    loaded = ag.Schedule.load(tmp_path / "s.npz")
    assert loaded == schedule and loaded.server_rule == schedule.server_rule
    other = ag.simulate(algorithms.dc_asgd(0.4), TIMES, num_gradients=20)
    plain = dataclasses.replace(schedule, server_rule=None)
    assert len({s.content_hash for s in (schedule, other, plain)}) == 3
    assert plain == ag.simulate("pure_async", TIMES, num_gradients=20)


def test_resuming_asks_for_the_same_rule(tmp_path):
    """Another rule of the same name is another run."""

    def sweep(factor):
        @algorithms.server_rule
        def halved():
            return optax.scale(factor)

        mine = ag.Algorithm(
            name="mine", transforms=(algorithms.ServerRule.of("halved"),)
        )
        return ag.sweep(PROBLEM, algorithms=[mine], directory=tmp_path, **GRID)

    sweep(0.5)
    with pytest.raises(ValueError, match="halved"):
        sweep(0.25)
    sweep(0.5)


def test_bad_rules_are_refused():
    with pytest.raises(
        ValueError, match=r"a server rule must be .* got 'dc_asgd_stop'"
    ):
        algorithms.ServerRule.of("dc_asgd_stop", strength=1.0)
    with pytest.raises(
        TypeError, match="dc_asgd_step must be given strength, got none"
    ):
        algorithms.ServerRule.of("dc_asgd_step")
    rule = algorithms.ServerRule.of("dc_asgd_step", strength=1.0)
    twice = dataclasses.replace(algorithms.gap_aware(), transforms=(rule, rule))
    with pytest.raises(ValueError, match="must have no rule for the server yet"):
        ag.simulate(twice, TIMES, num_gradients=5)
    with pytest.raises(TypeError, match="server_rule must be a ServerRule or None"):
        ag.Schedule.from_arrays([0], [0], server_rule="dc_asgd_step")
    with pytest.raises(
        ValueError, match="does not cover the server of `gap_aware_step`"
    ):
        ag.theory.certificate(
            PROBLEM, ag.simulate("gap_aware", TIMES, num_gradients=40), step_size=0.01
        )
