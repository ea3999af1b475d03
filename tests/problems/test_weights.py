"""Weights of workers in quadratics, local steps, constants and theory."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import asgrad_jax as ag
from asgrad_jax.problems.constants import (
    known_noise,
    known_smoothness,
    known_weights,
)
from asgrad_jax.problems.flat_arrays import local_gradients
from asgrad_jax.problems.quadratic import Quadratic
from helpers.problem_contract import check_contract

WEIGHTS = np.array([0.5, 0.3, 0.2])
HESSIANS = np.array([[1.0, 2.0], [3.0, 1.0], [2.0, 5.0]])
LINEAR = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
RNG = np.random.default_rng(0)
FEATURES, LABELS = RNG.normal(size=(12, 3)), RNG.choice([-1.0, 1.0], 12)
OWNER = np.repeat(np.arange(3), [7, 2, 3])


def weighted(dense=False, **options):
    hessians = np.stack([np.diag(h) for h in HESSIANS]) if dense else HESSIANS
    return Quadratic.from_arrays(hessians, LINEAR, weights=5 * WEIGHTS, **options)


@pytest.mark.parametrize("dense", [False, True])
def test_a_quadratic_is_the_weighted_sum(dense):
    problem = weighted(dense, noise=0.5)
    check_contract(problem)
    np.testing.assert_allclose(known_weights(problem), WEIGHTS)
    x = np.array([0.3, -0.7])
    each = [h @ x**2 / 2 - b @ x for h, b in zip(HESSIANS, LINEAR, strict=True)]
    with jax.enable_x64(True):
        loss = problem.metrics(jnp.asarray(x)[None])["loss"][0]
    np.testing.assert_allclose(loss, WEIGHTS @ each, rtol=1e-14)
    optimum = (WEIGHTS @ LINEAR) / (WEIGHTS @ HESSIANS)
    np.testing.assert_allclose(problem.optimum(), optimum, rtol=1e-14)
    smooth = known_smoothness(problem)
    np.testing.assert_allclose(smooth.per_worker, 3 * WEIGHTS * HESSIANS.max(axis=1))
    np.testing.assert_allclose(smooth.of_f, (WEIGHTS @ HESSIANS).max())
    noise = known_noise(problem, np.zeros((3, 2)), np.arange(3, dtype=np.int32))
    np.testing.assert_allclose(noise, (3 * WEIGHTS * 0.5) ** 2)


@pytest.mark.parametrize("same_hessian", [False, True])
def test_a_random_quadratic_keeps_its_promises(same_hessian):
    problem = ag.quadratic(
        3, 4, weights=WEIGHTS, heterogeneity=2.0, same_hessian=same_hessian
    )
    table = (
        local_gradients(problem, problem.optimum()[None])[0] / (3 * WEIGHTS)[:, None]
    )
    np.testing.assert_allclose(WEIGHTS @ table, 0, atol=1e-12)
    np.testing.assert_allclose(WEIGHTS @ (table**2).sum(axis=1), 4.0)


def test_noise_follows_the_closed_form():
    problem = weighted(noise=0.5)
    x = jnp.zeros((1, 2))
    sample = jax.vmap(
        lambda job: problem.gradients(x, jnp.int32(0), job, jax.random.key(0))
    )(jnp.arange(4000, dtype=jnp.int32))
    found = np.square(np.asarray(sample[:, 0]) - np.asarray(sample[:, 0]).mean(0)).sum(
        1
    )
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - (1.5 * 0.5) ** 2) < 5 * error


def test_methods_that_are_unbiased_for_means_find_the_weighted_minimiser():
    problem = weighted()
    clock = ag.compute_times.fixed([1.0, 1.7, 2.9])
    for method in ("minibatch", "ringleader"):
        schedule = ag.simulate(method, clock, num_gradients=1200)
        run = ag.run(problem, schedule, step_size=0.05, precision="float64")
        np.testing.assert_allclose(run.params, problem.optimum(), atol=1e-6)


def test_workers_make_local_steps_without_weights():
    """Worker 0 counts 1.5 times; its steps are those of f_0."""
    problem = ag.local_steps(weighted(), num_steps=2, step_size=0.1)
    with jax.enable_x64(True):
        x = jnp.ones((1, 2))
        got = problem.gradients(x, 0, 0, jax.random.key(0))[0]
    y = np.ones(2)
    total = np.zeros(2)
    for _ in range(2):
        g = HESSIANS[0] * y - LINEAR[0]
        total += g
        y = y - 0.1 * g
    np.testing.assert_allclose(got, 1.5 * total, rtol=1e-14)
    np.testing.assert_allclose(known_weights(problem), WEIGHTS)


@pytest.mark.parametrize("storage", ["dense", "sparse"])
@pytest.mark.parametrize("regularizer", ["l2", None])
def test_constants_of_logistic_regression_follow_the_weights(storage, regularizer):
    problem = ag.logistic_regression(
        scipy.sparse.csr_array(FEATURES),
        LABELS,
        3,
        partition=OWNER,
        regularizer=regularizer,
        batch_size=3,  # one shard has 2 rows, one 3
        weights="rows",
        storage=storage,
    )
    w = np.array([7, 2, 3]) / 12
    curvature = 0.0 if regularizer is None else 2 * 0.1
    grams = [
        FEATURES[OWNER == i].T @ FEATURES[OWNER == i] / (OWNER == i).sum() / 4
        for i in range(3)
    ]
    smooth = known_smoothness(problem)
    wanted = [
        3 * w[i] * (np.linalg.eigvalsh(grams[i])[-1] + curvature) for i in range(3)
    ]
    np.testing.assert_allclose(smooth.per_worker, wanted, rtol=1e-10)
    whole = np.linalg.eigvalsh(np.tensordot(w, grams, 1))[-1] + curvature
    np.testing.assert_allclose(smooth.of_f, whole, rtol=1e-10)
    # The closed form of the noise against all subsets of rows.
    x = np.array([0.3, -1.0, 0.5])
    noise = known_noise(problem, np.tile(x, (3, 1)), np.arange(3, dtype=np.int32))
    for i in range(3):
        rows, labels = FEATURES[OWNER == i], LABELS[OWNER == i]
        each = (-labels / (1 + np.exp(rows @ x * labels)))[:, None] * rows
        subsets = itertools.combinations(each, min(3, len(each)))
        means = np.array([np.mean(subset, axis=0) for subset in subsets])
        exact = np.square(3 * w[i] * (means - each.mean(0))).sum(1).mean()
        np.testing.assert_allclose(noise[i], exact, rtol=1e-10, atol=1e-14)


def test_stationary_points_of_theory_are_those_of_the_weighted_f():
    problem = weighted()
    schedule = ag.simulate(
        "minibatch", ag.compute_times.fixed([1.0, 2.0, 3.0]), num_gradients=60
    )
    found = ag.theory.certificate(problem, schedule, step_size=0.01)
    assert all(condition.holds for condition in found.conditions)
    assert 0 < found.measured.grad_sq <= found.bound
    np.testing.assert_allclose(found.gap, -problem.optimal_value(), rtol=1e-12)
    np.testing.assert_allclose(
        found.smoothness, (3 * WEIGHTS * HESSIANS.max(axis=1)).max(), rtol=1e-12
    )
    # The mean over a chunk of the order 0, 1, 2 is the gradient of f: no bias.
    assert found.terms.bias < 1e-12 * found.terms.order


def test_weights_that_do_not_add_up_are_refused():
    class Wrong(Quadratic):
        weights = np.array([1.0, 1.0, 1.0])

    fields = {k: getattr(weighted(), k) for k in Quadratic.__dataclass_fields__}
    with pytest.raises(ValueError, match=r"Wrong\.weights must have the sum 1"):
        known_weights(Wrong(**fields))
    with pytest.raises(ValueError, match="weights must be one number per worker"):
        Quadratic.from_arrays(HESSIANS, LINEAR, weights="rows")
