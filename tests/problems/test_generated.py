"""Data made from (worker, key): the same as with the batches written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.problems.sampling import minibatch_key
from helpers.reference import naive_trajectory
from helpers.unmeasured import unmeasured


def rows(worker, key):
    features = jax.random.normal(key, (4, 3), jnp.float32)
    own = jnp.sin(worker + jnp.arange(3, dtype=jnp.float32))
    return features, features @ own


def loss(x, batch):
    features, targets = batch
    return (features @ x - targets) ** 2 / 2


def make(n=5, **options):
    return ag.problems.from_generator(loss, np.zeros(3), rows, n, **options)


def test_a_run_is_that_of_the_naive_interpreter():
    problem = make()
    key = jax.random.wrap_key_data(minibatch_key(3))

    @jax.jit
    def batch(worker, job):
        one = jax.random.fold_in(jax.random.fold_in(key, worker), job)
        return rows(worker, one)

    def gradient(x, worker, job):
        features, targets = map(np.float64, batch(worker, job))
        return features.T @ (features @ x - targets) / 4

    clock = ag.compute_times.exponential(np.ones(5))
    schedule = ag.simulate("shuffled_async", clock, num_gradients=40, seed=1)
    options = dict(seed=3, precision="float64", record_every=40)
    run = ag.run(unmeasured(problem), schedule, step_size=0.1, **options)
    expected = naive_trajectory(schedule, gradient, 0.1, np.zeros(3))[-1]
    np.testing.assert_allclose(run.params, expected, rtol=1e-9)


def test_metrics_are_those_of_the_fixed_sample():
    problem = make(evaluation=7)  # the five workers, two of them twice
    key = jax.random.wrap_key_data(np.zeros(2, np.uint32))
    losses = []
    for pair in range(7):
        worker, number = pair % 5, pair // 5
        one = jax.random.fold_in(jax.random.fold_in(key, worker), number)
        losses.append(np.mean(loss(np.ones(3), rows(worker, one))))
    got = jax.jit(lambda x: problem.metrics(x))(jnp.ones((1, 3)))
    np.testing.assert_allclose(got["loss"], [np.mean(losses)], rtol=1e-5)
    assert "expectation" in problem.gradient_bias


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (dict(generate=lambda worker: 0), TypeError, "generate must take"),
        (
            dict(generate=lambda w, key: (jnp.ones((2, 3)), jnp.ones(3))),
            ValueError,
            "same number of rows",
        ),
        (dict(init_params={"a": np.ones(3), "b": np.ones(2)}), ValueError, "'b'"),
        (dict(num_workers=0), ValueError, "num_workers"),
        (dict(evaluation=0), ValueError, "evaluation"),
    ],
)
def test_bad_input_is_refused(change, error, words):
    good = dict(loss=loss, init_params=np.zeros(3), generate=rows, num_workers=5)
    if "init_params" in change:
        change = change | {"loss": lambda p, batch: loss(p["a"], batch)}
    with pytest.raises(error, match=words):
        ag.problems.from_generator(**good | change)
