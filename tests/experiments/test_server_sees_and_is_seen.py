"""What a server is told (seed, step), and what metrics see of its state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgrad_jax as ag
from asgrad_jax.experiments.execute import execute
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.problems.sampling import minibatch_key

TIMES = ag.compute_times.fixed([1.0, 2.0, 3.0, 4.0])
PROBLEM = ag.quadratic(num_workers=4, num_features=3, seed=0)
SCHEDULE = ag.simulate("shuffled_async", TIMES, num_gradients=60)
GRID = dict(
    algorithms=["shuffled_async", "fedbuff", "picky"],
    compute_times=TIMES,
    num_gradients=60,
    record_every=20,
)


def noisy(step_size, key):
    return optax.noisy_sgd(step_size, eta=1.0, key=key)


def telling():
    """A server whose updates are what it was told: the step and the key's words."""

    def update(updates, state, params=None, *, step, key, **extra):
        words = jax.random.key_data(key).astype(jnp.uint32) >> 16
        told = jnp.array([step, words[0], words[1]], jnp.float32)
        return told, (state[0] + 1, told)

    def init(params):
        return jnp.int32(0), jnp.zeros(3)

    return optax.GradientTransformationExtraArgs(init, update)


def summed(x):
    return jnp.sum(x**2)


def at_evaluation_point(x, state):
    return summed(optax.contrib.schedule_free_eval_params(state, x))


def schedule_free(step_size, b1=0.9):
    return optax.contrib.schedule_free_sgd(step_size, b1=b1)


def test_the_noise_of_a_server_follows_the_seed():
    found = ag.sweep(PROBLEM, server=noisy, step_sizes=[0.1], seeds=range(3), **GRID)
    ends = found["grad_norm"].isel(record=-1, step_size=0, compute_times=0)
    assert (np.ptp(ends.values, axis=-1) > 1e-3).all(), "three seeds, three curves"
    again = ag.sweep(PROBLEM, server=noisy, step_sizes=[0.1], seeds=[2], **GRID)
    np.testing.assert_array_equal(
        found["grad_norm"].sel(seed=2), again["grad_norm"].sel(seed=2)
    )


@pytest.mark.parametrize("batching", ["single", "vmap"])
@pytest.mark.parametrize("width", [1, 4])
def test_a_server_is_told_step_and_key_however_it_runs(batching, width):
    """The last step v is told v and a key of (seed, v) alone."""
    schedules = [
        ag.simulate(name, TIMES, num_gradients=60) for name in ("pure_async", "fedbuff")
    ]
    experiment = Experiment(
        problem=PROBLEM,
        init_params=PROBLEM.init_params(),
        record_every=30,
        server=lambda step_size: telling(),
        batching=batching,
        width=width,
    )
    hyper = {"step_size": np.array([0.1, 0.2])}
    outcomes = execute(experiment, schedules, [5, 6], hyper)
    for k, (schedule, seed) in enumerate(zip(schedules, (5, 6), strict=True)):
        count, told = outcomes[k].state
        steps = int(schedule.step.sum())
        assert count.tolist() == [steps, steps]
        key = jax.random.wrap_key_data(minibatch_key(seed), impl="threefry2x32")
        key = jax.random.fold_in(jax.random.fold_in(key, 2**32 - 1), steps - 1)
        words = np.asarray(jax.random.key_data(key)) >> 16
        assert told.tolist() == [[steps - 1, *words.tolist()]] * 2


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_metrics_see_the_state_of_the_server(width, precision):
    """At every record the metric of the evaluation point is that of the state there."""
    options = dict(
        server=schedule_free,
        step_size=[0.1, 0.2],
        hyperparameters={"b1": [0.9, 0.5]},
        metrics={"at": at_evaluation_point, "there": summed},
        precision=precision,
        width=width,
    )
    whole = ag.run(PROBLEM, SCHEDULE, record_every=20, **options)
    for record, end in enumerate(whole.gradients.tolist()):
        if end == 0:
            expected = [float(summed(PROBLEM.init_params()))] * 2
        else:
            shorter = ag.simulate("shuffled_async", TIMES, num_gradients=end)
            part = ag.run(PROBLEM, shorter, record_every=end, **options)
            expected = jax.vmap(at_evaluation_point)(part.params, part.state)
        np.testing.assert_allclose(whole.metrics["at"][record], expected, rtol=1e-5)
    assert not np.allclose(
        whole.metrics["at"][1:], whole.metrics["there"][1:], rtol=1e-3
    )


def test_a_metric_of_the_state_may_depend_on_hyperparameters_from_the_start():
    def momentum(x, state):
        return state.b1

    run = ag.run(
        PROBLEM,
        SCHEDULE,
        server=schedule_free,
        step_size=0.1,
        hyperparameters={"b1": [0.9, 0.5]},
        metrics={"momentum": momentum},
    )
    assert run.metrics["momentum"][0].tolist() == pytest.approx([0.9, 0.5])


def test_metrics_of_the_state_in_a_folder(tmp_path):
    options = dict(server=schedule_free, metrics={"at": at_evaluation_point}, **GRID)
    ag.sweep(PROBLEM, step_sizes=[0.1], directory=tmp_path, **options)
    grown = ag.sweep(PROBLEM, step_sizes=[0.1, 0.2], directory=tmp_path, **options)
    alone = ag.sweep(PROBLEM, step_sizes=[0.1, 0.2], **options)
    np.testing.assert_array_equal(grown["at"], alone["at"])


def test_the_last_state_is_kept():
    run = ag.run(PROBLEM, SCHEDULE, step_size=0.1, server=noisy)
    count, key = run.state[0]
    assert count == 60 and key.dtype == np.uint32, "random keys as their words"
    assert ag.run(PROBLEM, SCHEDULE, step_size=0.1).state is None


def test_a_metric_of_the_state_without_a_server_is_refused():
    with pytest.raises(ValueError, match="'at' must have no parameter `state`"):
        ag.run(PROBLEM, SCHEDULE, step_size=0.1, metrics={"at": at_evaluation_point})
