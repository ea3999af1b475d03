"""Losses with a random key, and parameters that no gradient reaches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.problems.from_loss import from_loss
from asgrad_jax.problems.loss_checks import further_parameters
from helpers.problem_contract import check_contract

ROWS = np.random.default_rng(0).normal(size=(12, 3))
START = {"a": np.ones(3), "dead": np.zeros(5)}
UNEQUAL = np.repeat(np.arange(3), [1, 2, 9])


def in_a_scan(p, b):
    total, _ = jax.lax.scan(lambda c, x: (c + p["a"] @ x, None), 0.0, b)
    return total * jnp.ones(len(b))


UNREACHED = {
    "ignored": lambda p, b: b @ p["a"],
    "stopped": lambda p, b: b @ p["a"] + jax.lax.stop_gradient(p["dead"]).sum(),
    "under jit": jax.jit(lambda p, b: b @ p["a"]),
    "under checkpoint": jax.checkpoint(lambda p, b: b @ p["a"]),
    "in a scan": in_a_scan,
    "in a branch": lambda p, b: jax.lax.cond(
        b[0, 0] > 0, lambda p: b @ p["a"], lambda p: 2 * b @ p["a"], p
    ),
    "times zero": lambda p, b: b @ p["a"] + 0.0 * p["dead"].sum(),
    "rounded": lambda p, b: b @ p["a"] + jnp.round(p["dead"]).sum(),
    "as an index": lambda p, b: b @ p["a"] + b[0, jnp.argmax(p["dead"][:3])],
    "mean": lambda p, b: jnp.mean(b @ p["a"]),
}
REACHED = {
    "vanishes at the start": lambda p, b: (b @ p["a"]) ** 2 + (p["dead"] ** 2).sum(),
    "constant": lambda p, b: b @ p["a"] + p["dead"].sum(),
    "flat at the start": lambda p, b: b @ p["a"] + jax.nn.relu(p["dead"] - 9).sum(),
    "in a branch": lambda p, b: jax.lax.cond(
        b[0, 0] > 9, lambda p: b @ p["a"] + p["dead"].sum(), lambda p: b @ p["a"], p
    ),
}


@pytest.mark.parametrize("loss", UNREACHED.values(), ids=UNREACHED)
def test_parameters_that_no_gradient_reaches_are_named(loss):
    with pytest.raises(ValueError, match=r"init_params\['dead'\] must reach .*\(5,\)"):
        from_loss(loss, START, ROWS, 3)


@pytest.mark.parametrize("loss", REACHED.values(), ids=REACHED)
def test_a_gradient_that_vanishes_by_chance_is_no_error(loss):
    assert from_loss(loss, START, ROWS, 3).num_workers == 3


def test_running_statistics_are_named():
    """What a normalisation by the batch leaves unread."""

    def loss(variables, batch):
        scale, stats = variables["params"]["scale"], variables["batch_stats"]
        mean, var = jnp.mean(batch, 0), jnp.var(batch, 0)
        stats["mean"] = 0.9 * stats["mean"] + 0.1 * mean  # what Flax would return
        return ((batch - mean) / jnp.sqrt(var + 1e-5)) @ scale

    start = {
        "params": {"scale": np.ones(3)},
        "batch_stats": {"mean": np.zeros(3)},
    }
    with pytest.raises(ValueError, match=r"\['batch_stats'\]\['mean'\].*BatchNorm"):
        from_loss(loss, start, ROWS, 3)


def test_an_array_without_numbers_is_no_error():
    start = {"a": np.ones(3), "empty": np.zeros((0, 2))}
    assert from_loss(lambda p, b: b @ p["a"], start, ROWS, 3).per_row


def dropout(params, batch, key):
    keep = jax.random.bernoulli(key, 0.5, batch.shape)
    return jnp.square(jnp.where(keep, 2 * batch, 0) @ params - 1)


def mean_dropout(params, batch, *, key):
    return jnp.mean(dropout(params, batch, key))


VARIANTS = {
    "rows": (dropout, {}),
    "mean": (mean_dropout, {}),
    "batches": (dropout, dict(batch_size=2, sampling="reshuffled")),
    "weights": (mean_dropout, dict(batch_size=3, weights=[1, 2, 3])),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_contract_of_a_random_loss(variant):
    loss, options = VARIANTS[variant]
    check_contract(from_loss(loss, np.ones(3), ROWS, 3, **options))


@pytest.mark.parametrize("partition", ["contiguous", UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_keys_follow_run_worker_and_job(partition, batch_size):
    problem = from_loss(
        dropout, np.ones(3), ROWS, 3, partition=partition, batch_size=batch_size
    )
    x = jnp.ones((2, 3))

    def gradient(worker, job, seed):
        number = jnp.int32(worker), jnp.int32(job)
        return np.asarray(problem.gradients(x, *number, jax.random.key(seed)))

    first = gradient(2, 1, 0)
    np.testing.assert_array_equal(first, gradient(2, 1, 0))
    np.testing.assert_array_equal(first[0], first[1])  # lanes share the masks
    for other in ((2, 2, 0), (2, 1, 1)):
        assert (first != gradient(*other)).any()
    keys = [problem.sample(i, j, jax.random.key(0))[1] for i in (1, 2) for j in (0, 1)]
    assert len({tuple(np.asarray(key).tolist()) for key in keys}) == 4


def test_rows_of_a_shard_have_masks_of_their_own():
    """Equal rows: with one mask for all, every loss would be the same."""
    seen = []

    def loss(params, batch, key):
        keep = jax.random.bernoulli(key, 0.5, batch.shape)
        seen.append(batch.shape)
        return jnp.where(keep, batch, 0) @ params

    problem = from_loss(loss, np.ones(3), np.ones((300, 3)), 1)
    gradient = problem.gradients(jnp.ones((1, 3)), 0, 0, jax.random.key(0))[0]
    # A mean of 300 independent bits each: 0.5 within five standard errors.
    assert (np.abs(gradient - 0.5) < 5 * 0.5 / np.sqrt(300)).all()
    assert ((gradient > 0) & (gradient < 1)).all()


def test_a_run_with_dropout_repeats_to_the_bit_and_theory_refuses_it():
    problem = from_loss(dropout, np.ones(3), ROWS, 3, batch_size=2)
    schedule = ag.simulate(
        "pure_async", ag.compute_times.fixed([1.0, 2.0, 3.0]), num_gradients=40
    )
    runs = [
        np.asarray(ag.run(problem, schedule, step_size=0.01, seed=seed).params)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()
    local = ag.local_steps(problem, 2, 0.01)
    ag.run(local, schedule, step_size=0.01)
    with pytest.raises(ValueError, match="draws random numbers"):
        ag.theory.certificate(problem, schedule, step_size=0.01)


def test_what_a_loss_takes():
    for loss in (dropout, mean_dropout, lambda params, batch, key=None: 0.0):
        assert further_parameters(loss) == {"key"}
    assert further_parameters(lambda p, b, frozen, key: 0.0) == {"key", "frozen"}
    assert not further_parameters(lambda *arguments: 0.0)
    for wrong in (lambda p, b, rng: 0.0, lambda p: 0.0):
        with pytest.raises(TypeError, match=r"must take \(params, batch\), and key"):
            from_loss(wrong, np.ones(3), ROWS, 3)
