"""Constants of problems against brute force: L, sigma^2, zeta^2, F_0, mu."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

from asgrad_jax.problems.eigenvalues import (
    lanczos_upper_bound,
    largest_gram_eigenvalue,
)
from asgrad_jax.problems.flat_arrays import (
    flat_params,
    local_gradients,
    local_table,
    loss_at,
)
from asgrad_jax.problems.from_loss import from_loss
from asgrad_jax.problems.logistic import logistic_regression
from asgrad_jax.problems.quadratic import Quadratic, quadratic, ringmaster_quadratic
from asgrad_jax.problems.sparse_shards import SparseShards
from asgrad_jax.theory import (
    constants,
    heterogeneity,
    heterogeneity_path,
    noise_variance,
    smoothness,
)
from asgrad_jax.theory.noise import monte_carlo_noise
from asgrad_jax.theory.smoothness import estimate_smoothness


def _logistic(regularizer="nonconvex", **kwargs):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 4)) * np.array([3.0, 1.0, 0.5, 0.1])
    labels = np.sign(features @ rng.normal(size=4) + 0.3 * rng.normal(size=60))
    return logistic_regression(
        features, labels, 3, regularizer=regularizer, strength=0.2, **kwargs
    )


def _loss(params, batch):
    hidden = jnp.tanh(batch["a"] @ params["w"])
    return (hidden @ params["v"] - batch["b"]) ** 2


def _model(batch_size=None):
    rng = np.random.default_rng(1)
    data = {"a": rng.normal(size=(40, 3)), "b": rng.normal(size=40)}
    start = {"v": rng.normal(size=2), "w": rng.normal(size=(3, 2))}
    return from_loss(_loss, start, data, num_workers=4, batch_size=batch_size)


def test_quadratics_are_exact():
    rng = np.random.default_rng(2)
    tilt = rng.normal(size=(3, 4, 4))
    hessians = np.eye(4) * 3 + (tilt + tilt.swapaxes(1, 2)) / 4
    problem = Quadratic.from_arrays(hessians, rng.normal(size=(3, 4)))
    found = smoothness(problem)
    assert found.certainty == "exact"
    assert found.per_worker == pytest.approx(np.linalg.norm(hessians, 2, axis=(1, 2)))
    assert found.of_f == pytest.approx(np.linalg.norm(hessians.mean(0), 2))
    assert found.strong_convexity == pytest.approx(
        np.linalg.eigvalsh(hessians.mean(0))[0]
    )
    assert found.of_f <= found.table <= found.largest
    gap = constants(problem).gap
    x = np.linalg.solve(hessians.mean(0), np.asarray(problem.linear).mean(0))
    assert gap == pytest.approx(x @ hessians.mean(0) @ x / 2)


def test_other_forms_of_quadratics():
    diagonal = smoothness(quadratic(5, 3, mu=0.2, smoothness=4.0, same_hessian=True))
    assert diagonal.per_worker == pytest.approx(np.full(5, 4.0))
    assert diagonal.strong_convexity == pytest.approx(0.2)
    # A = tridiag(-1, 2, -1)/4 has eigenvalues (1 - cos(k pi/(d + 1)))/2.
    problem = ringmaster_quadratic(6, 2, noise=0.1)
    found = smoothness(problem)
    assert found.of_f == pytest.approx((1 + math.cos(math.pi / 7)) / 2)
    assert found.strong_convexity == pytest.approx((1 - math.cos(math.pi / 7)) / 2)
    # One scalar on every coordinate: E||xi||^2 = d 0.1^2.
    assert noise_variance(problem).per_worker == pytest.approx(np.full(2, 6 * 0.01))


def _hessian_norms(problem, points):
    """||H_i(x)|| by differentiation, [N, n]."""
    with jax.enable_x64(True):
        hessians = np.stack(
            [np.asarray(jax.jacobian(problem.local_gradients)(x)) for x in points]
        )
    return np.linalg.norm(hessians, 2, axis=(2, 3)), np.linalg.norm(
        hessians.mean(axis=1), 2, axis=(1, 2)
    )


@pytest.mark.parametrize("regularizer", ["nonconvex", "l2", None])
def test_logistic_bounds_hold_and_are_reached(regularizer):
    problem = _logistic(regularizer)
    found = smoothness(problem)
    assert found.certainty == "upper bound"
    rng = np.random.default_rng(3)
    points = [np.zeros(4), *rng.normal(size=(30, 4)) * 2]
    per_worker, whole = _hessian_norms(problem, points)
    assert np.all(per_worker.max(axis=0) <= found.per_worker * (1 + 1e-12))
    assert whole.max() <= found.of_f * (1 + 1e-12)
    # At x = 0 sigmoid' = 1/4 and r'' = 2: the bound is the curvature there.
    assert per_worker[0] == pytest.approx(found.per_worker)
    assert whole[0] == pytest.approx(found.of_f)
    assert found.strong_convexity == (0.4 if regularizer == "l2" else 0.0)


def test_unequal_shards_count_equally():
    rng = np.random.default_rng(4)
    features, labels = rng.normal(size=(12, 3)), np.repeat([-1.0, 1.0], 6)
    owner = np.array([0] * 9 + [1] * 3)
    problem = logistic_regression(
        features, labels, 2, partition=owner, batch_size=2, strength=0.0
    )
    grams = [
        features[owner == i].T @ features[owner == i] / np.sum(owner == i)
        for i in range(2)
    ]
    found = smoothness(problem)
    assert found.per_worker == pytest.approx(
        [np.linalg.norm(gram, 2) / 4 for gram in grams]
    )
    assert found.of_f == pytest.approx(np.linalg.norm((grams[0] + grams[1]) / 2, 2) / 4)
    monte_carlo = monte_carlo_noise(problem, np.ones(3), draws=3000)
    exact = noise_variance(problem, np.ones(3))
    off = np.abs(exact.per_worker - monte_carlo.per_worker)
    assert np.all(off < 4 * monte_carlo.standard_error)


@pytest.mark.parametrize(
    "sampling", ["with_replacement", "without_replacement", "reshuffled"]
)
@pytest.mark.parametrize("batch_size", [7, 20])
def test_closed_form_noise_is_that_of_the_batches(sampling, batch_size):
    problem = _logistic(batch_size=batch_size, sampling=sampling)
    exact = noise_variance(problem)
    drawn = monte_carlo_noise(problem, draws=1000, seed=5)
    assert exact.exact and not drawn.exact
    off = np.abs(exact.per_worker - drawn.per_worker)
    assert np.all(off <= 4 * drawn.standard_error + 1e-20)
    if batch_size == 20 and sampling != "with_replacement":
        assert np.all(exact.per_worker < 1e-20)  # the whole shard
    assert constants(problem).independent_noise == (sampling != "reshuffled")


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
def test_storage_does_not_change_the_constants(sampling):
    rng = np.random.default_rng(7)
    features = rng.normal(size=(90, 40)) * (rng.random((90, 40)) < 0.1)
    owner = np.repeat([0, 1, 2], [50, 30, 10])
    labels = np.sign(rng.normal(size=90))
    dense, sparse = (
        logistic_regression(
            features,
            labels,
            3,
            partition=owner,
            batch_size=4,
            sampling=sampling,
            storage=storage,
        )
        for storage in ("dense", "sparse")
    )
    one, two = constants(dense), constants(sparse)
    assert isinstance(sparse.features, SparseShards)
    assert two.smooth.certainty == "upper bound"
    assert two.smooth.of_f == pytest.approx(one.smooth.of_f, rel=1e-12)
    assert two.smooth.per_worker == pytest.approx(one.smooth.per_worker, rel=1e-12)
    assert two.noise.per_worker == pytest.approx(one.noise.per_worker, rel=1e-12)
    assert two.zeta_sq == pytest.approx(one.zeta_sq, rel=1e-12)
    assert two.gap == pytest.approx(one.gap, rel=1e-12)


def test_lanczos_on_sparse_rows():
    """Shards of more than 1024 rows and columns are never made dense."""
    matrix = scipy.sparse.random_array(
        (2200, 1100), density=0.004, rng=np.random.default_rng(8), format="csr"
    )
    labels = np.resize([1.0, -1.0], 2200)
    problem = logistic_regression(matrix, labels, 2, strength=0.0, storage="sparse")
    found = smoothness(problem)
    assert found.certainty == "probable upper bound"
    halves = [matrix[:1100], matrix[1100:]]
    exact = [scipy.sparse.linalg.svds(h, 1)[1][0] ** 2 / 4400 for h in halves]
    whole = scipy.sparse.linalg.svds(matrix, 1)[1][0] ** 2 / 8800
    assert np.all(found.per_worker >= exact)
    assert found.per_worker == pytest.approx(exact, rel=0.05)
    assert whole <= found.of_f <= 1.05 * whole


def test_models_get_estimates_and_say_so():
    problem = _model(batch_size=3)
    found = estimate_smoothness(problem, steps=60)
    assert found.certainty == "lower estimate"
    layout = problem.init_params()
    point = flat_params(problem)

    def flat_gradients(flat):
        tree = {"v": flat[:2], "w": flat[2:].reshape(3, 2)}
        out = problem.local_gradients(tree)
        return jnp.concatenate([out["v"], out["w"].reshape(4, -1)], axis=1)

    with jax.enable_x64(True):
        hessian = np.asarray(jax.jacobian(flat_gradients)(point))
    assert set(layout) == {"v", "w"}
    assert found.of_f == pytest.approx(np.linalg.norm(hessian.mean(0), 2), rel=1e-3)
    exact = np.linalg.norm(hessian, 2, axis=(1, 2))
    assert np.all(found.per_worker <= exact * (1 + 1e-9))
    assert np.all(found.per_worker > 0.1 * exact)
    found = constants(problem)
    assert not found.noise.exact and np.all(found.noise.standard_error > 0)
    assert math.isnan(found.gap) and "no lower bound" in str(found)
    # Columns stay apart however long a range is.
    small = found.smooth._replace(per_worker=np.array([3.461e-08, 2.634e-07]))
    page = str(dataclasses.replace(found, smooth=small))
    assert "3.461e-08 to 2.634e-07  lower estimate" in page
    assert constants(problem, lower_bound=0.0).gap == pytest.approx(loss_at(problem))


def test_heterogeneity_by_brute_force():
    problem = _logistic()
    x = np.array([0.3, -1.0, 2.0, 0.5])
    table = np.asarray(problem.local_gradients(x))  # float32
    found = heterogeneity(problem, x)
    expected = np.sum((table - table.mean(0)) ** 2, axis=1)
    assert found.zeta_sq_per_worker == pytest.approx(expected, rel=1e-4)
    assert found.zeta_sq == pytest.approx(expected.mean(), rel=1e-4)
    assert found.zeta_sq_per_worker.dtype == np.float64
    shown = str(found).splitlines()
    assert shown[0].split() == ["zeta^2", f"{found.zeta_sq:.4g}", "exact", "at", "x"]
    assert len(shown) == 3
    path = heterogeneity_path(problem, [x, 2 * x])
    assert path[0].zeta_sq == found.zeta_sq
    assert path[1].zeta_sq == heterogeneity(problem, 2 * x).zeta_sq
    # A pytree problem, through the flat view.
    model = _model()
    assert local_table(model).shape == (4, 8)
    at = local_gradients(model, np.repeat(flat_params(model)[None], 20, axis=0))
    assert np.allclose(at[17], local_table(model), rtol=1e-12)


def test_lanczos_bounds_from_both_sides():
    rng = np.random.default_rng(6)
    for shape in [(1300, 1100)]:
        matrix = rng.normal(size=shape) * rng.pareto(2.0, size=shape[1])
        exact = np.linalg.norm(matrix, 2) ** 2
        upper, lower = lanczos_upper_bound(
            lambda v, a=matrix: a.T @ (a @ v), shape[1], steps=60
        )
        assert lower <= exact * (1 + 1e-12) <= upper * (1 + 1e-12)
        assert upper < 1.05 * exact
        bound, certain = largest_gram_eigenvalue(matrix)
        assert bound >= exact and not certain
    exact, certain = largest_gram_eigenvalue(matrix[:, :50])
    assert certain and exact == pytest.approx(np.linalg.norm(matrix[:, :50], 2) ** 2)
    # All of a small space: no slack is needed. Rank one: found in two steps.
    small = np.diag([1.0, 2.0, 5.0])
    assert lanczos_upper_bound(lambda v: small @ v, 3) == pytest.approx((5.0, 5.0))
    assert lanczos_upper_bound(lambda v: 0 * v, 400) == (0.0, 0.0)
    with pytest.raises(ValueError, match="too few"):
        lanczos_upper_bound(lambda v: np.arange(500) * v, 500, steps=3)
    with pytest.raises(ValueError, match="failure"):
        lanczos_upper_bound(lambda v: v, 5, failure=0.0)


def test_bad_input():
    problem = _logistic()
    with pytest.raises(ValueError, match="params have shapes"):
        heterogeneity(problem, np.ones(5))
    with pytest.raises(ValueError, match="not finite"):
        heterogeneity(problem, np.array([1.0, np.nan, 0.0, 0.0]))
    with pytest.raises(ValueError, match="lower_bound must be at most f"):
        constants(problem, lower_bound=1e6)
    with pytest.raises(ValueError, match="draws must be an integer >= 2, got 1"):
        monte_carlo_noise(problem, draws=1)
    with pytest.raises(TypeError, match="lower_bound must be a finite number, got"):
        constants(problem, lower_bound="0")
    for function in (constants, heterogeneity, smoothness, noise_variance):
        with pytest.raises(TypeError, match=r"problem must be .* got str"):
            function("w7a")
    assert constants(problem).gap > 0
