"""Quadratics: promised constants, optimum, noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgrad_jax.problems.quadratic import Quadratic, quadratic, ringmaster_quadratic
from helpers.problem_contract import check_contract, check_gradient_of_loss, place

RNG = np.random.default_rng(0)
DIAGONALS = RNG.uniform(0.5, 2, (3, 4))
LINEAR = RNG.normal(0, 1, (3, 4))
PROBLEMS = {
    "dense, noisy": quadratic(4, 3, noise=0.5),
    "shared": quadratic(4, 3, same_hessian=True, noise=0.5),
    "diagonals": Quadratic.from_arrays(DIAGONALS, LINEAR),
    "shared dense": Quadratic.from_arrays(np.eye(4)[None] * 2, LINEAR),
    "ringmaster": ringmaster_quadratic(5, 3),
    "one worker": quadratic(1, 2, heterogeneity=0.0),
}


def dense_hessians(problem):
    """[n, d, d], whatever the stored form."""
    n, d = problem.num_workers, problem.start.size
    full = {
        "dense": lambda h: h,
        "diagonal": np.diag,
        "tridiagonal": lambda h: (
            np.diag(h[0]) + np.diag(h[1, :-1], 1) + np.diag(h[1, :-1], -1)
        ),
    }[problem.form]
    return np.broadcast_to(np.array([full(h) for h in problem.hessian]), (n, d, d))


@pytest.mark.parametrize("name", PROBLEMS)
def test_contract(name):
    check_contract(PROBLEMS[name])
    check_gradient_of_loss(PROBLEMS[name])


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients_values_and_optimum_match_dense_formulas(name):
    problem = PROBLEMS[name]
    hessians = dense_hessians(problem)
    linear = np.broadcast_to(problem.linear, (problem.num_workers, problem.start.size))
    x = RNG.normal(0, 1, problem.start.size)
    with jax.enable_x64(True):
        placed = place(problem, "float64")
        local = np.asarray(placed.local_gradients(jnp.asarray(x)))
        points = jnp.stack([jnp.asarray(x), jnp.asarray(problem.optimum())])
        values = jax.tree.map(np.asarray, placed.metrics(points))
    np.testing.assert_allclose(local, hessians @ x - linear, rtol=1e-12, atol=1e-13)
    value = np.mean(
        [x @ h @ x / 2 - b @ x for h, b in zip(hessians, linear, strict=True)]
    )
    np.testing.assert_allclose(values["loss"][0], value, rtol=1e-12)
    assert values["grad_norm"][1] < 1e-12
    np.testing.assert_allclose(values["loss"][1], problem.optimal_value(), rtol=1e-12)
    assert value > problem.optimal_value()


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    n=st.integers(2, 6),
    d=st.integers(1, 7),
    condition=st.floats(1.0, 1e4),
    zeta=st.floats(0.0, 10.0),
    same=st.booleans(),
    seed=st.integers(0, 99),
)
def test_constants_are_what_was_asked(n, d, condition, zeta, same, seed):
    smoothness = 3.0
    mu = smoothness / condition
    problem = quadratic(
        n,
        d,
        mu=mu,
        smoothness=smoothness,
        heterogeneity=zeta,
        same_hessian=same,
        seed=seed,
    )
    hessians = dense_hessians(problem)
    spectra = np.linalg.eigvalsh(hessians)
    np.testing.assert_allclose(spectra[:, -1], smoothness, rtol=1e-9)
    if d > 1:
        np.testing.assert_allclose(spectra[:, 0], mu, rtol=1e-7)
    mean = np.linalg.eigvalsh(hessians.mean(axis=0))
    assert mean[0] >= mu * (1 - 1e-9) and mean[-1] <= smoothness * (1 + 1e-9)
    at_optimum = hessians @ problem.optimum() - problem.linear
    np.testing.assert_allclose(at_optimum.mean(axis=0), 0, atol=1e-8)
    spread = (at_optimum**2).sum(axis=1).mean()
    np.testing.assert_allclose(spread, zeta**2, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("same", [False, True])
def test_the_optimum_is_standard_normal(same):
    optimum = quadratic(2, 300, same_hessian=same).optimum()
    assert abs(optimum.mean()) < 4.5 / np.sqrt(300)
    assert abs((optimum**2).mean() - 1) < 4.5 * np.sqrt(2 / 300)


def test_shared_hessians_make_heterogeneity_constant():
    problem = quadratic(5, 4, heterogeneity=2.0, same_hessian=True)
    for _ in range(3):
        x = jnp.asarray(RNG.normal(0, 3, 4), jnp.float32)
        local = place(problem, "float32").local_gradients(x)
        spread = ((local - local.mean(axis=0)) ** 2).sum(axis=1).mean()
        np.testing.assert_allclose(spread, 4.0, rtol=1e-4)


def test_eigenvectors_have_no_preferred_direction():
    # Squared entries of a uniform unit vector have mean 1/d; the sign is symmetric.
    problem = quadratic(4000, 3, mu=1e-6, heterogeneity=0.0)
    vectors = np.linalg.eigh(problem.hessian)[1][:, :, -1]
    error = np.sqrt(2 * (3 - 1) / (9 * (3 + 2)) / 4000)
    assert np.abs((vectors**2).mean(axis=0) - 1 / 3).max() < 4.5 * error
    products = vectors[:, 0] * vectors[:, 1]  # free of the arbitrary sign
    assert abs(products.mean()) < 4.5 * products.std() / np.sqrt(4000)


@jax.jit
def _gradients(problem, x, worker, draws, key):
    return jax.vmap(problem.gradients, in_axes=(None, None, 0, None))(
        x[None], worker, draws, key
    )[:, 0]


def noise_of(problem, draws, worker=0, key=0, dtype="float32"):
    with jax.enable_x64(dtype == "float64"):
        placed = place(problem, dtype)
        x = jnp.asarray(problem.init_params(), dtype)
        numbers = jnp.arange(draws, dtype=jnp.int32)
        gradients = _gradients(
            placed, x, jnp.int32(worker), numbers, jax.random.key(key)
        )
        return np.asarray(gradients) - np.asarray(placed.local_gradients(x))[worker]


@pytest.mark.parametrize("same", [False, True])
def test_noise_has_mean_zero_and_the_stated_covariance(same):
    d, sigma, draws = 4, 0.8, 20_000
    xi = noise_of(quadratic(3, d, noise=sigma, same_hessian=same), draws)
    error = sigma / np.sqrt(d * draws)
    assert np.abs(xi.mean(axis=0)).max() < 4.5 * error
    squared = (xi**2).sum(axis=1)
    assert abs(squared.mean() - sigma**2) < 4.5 * squared.std() / np.sqrt(draws)
    covariance = np.cov(xi.T)
    expected = sigma**2 / d
    off = covariance - np.diag(np.diag(covariance))
    assert np.abs(off).max() < 5 * expected / np.sqrt(draws)
    assert abs(np.corrcoef(xi[:-1, 0], xi[1:, 0])[0, 1]) < 4.5 / np.sqrt(draws)


def test_ringmaster_noise_is_one_number_for_all_coordinates():
    xi = noise_of(ringmaster_quadratic(6, 3, noise=0.5), 5000)
    np.testing.assert_allclose(xi, np.tile(xi[:, :1], (1, 6)), atol=1e-6)
    assert abs(xi[:, 0].std() - 0.5) < 4.5 * 0.5 / np.sqrt(2 * 5000)


def test_noise_is_named_by_key_worker_and_draw():
    problem = quadratic(3, 4, noise=1.0)
    base = noise_of(problem, 3)
    np.testing.assert_array_equal(base, noise_of(problem, 3))
    for other in (noise_of(problem, 3, worker=1), noise_of(problem, 3, key=1)):
        assert np.abs(base - other).min() > 1e-4
    wide = noise_of(problem, 3, dtype="float64")  # float64 runs see the same noise
    np.testing.assert_allclose(wide, base, rtol=1e-4, atol=1e-6)


def test_ringmaster_is_the_published_quadratic():
    problem = ringmaster_quadratic(7, 4)
    second = 2 * np.eye(7) - np.eye(7, k=1) - np.eye(7, k=-1)
    np.testing.assert_array_equal(dense_hessians(problem)[0], second / 4)
    np.testing.assert_array_equal(problem.init_params(), np.eye(7)[0] * np.sqrt(7))
    np.testing.assert_array_equal(problem.linear, [[-0.25, 0, 0, 0, 0, 0, 0]])
    assert ringmaster_quadratic().hessian.size == 2 * 1729


def test_many_workers_share_one_hessian():
    problem = quadratic(100_000, 100, same_hessian=True)
    assert problem.hessian.shape == (1, 100)
    assert problem.linear.shape == (100_000, 100)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(num_workers=0), "num_workers must be an integer >= 1, got 0"),
        (dict(num_features=0), "num_features must be an integer >= 1, got 0"),
        (dict(mu=0.0), "mu must be a finite number > 0 and <= 1, got 0.0"),
        (dict(mu=2.0), "mu must be a finite number > 0 and <= 1, got 2.0"),
        (dict(smoothness=np.inf), "smoothness must be a finite number > 0, got inf"),
        (dict(mu=np.nan), "mu must be a finite number > 0 and <= 1, got nan"),
        (dict(heterogeneity=-1.0), "heterogeneity must be .* >= 0, got -1.0"),
        (dict(num_workers=1), "single worker"),
        (dict(noise=-1.0), "noise must be a finite number >= 0, got -1.0"),
        (dict(noise=np.nan), "noise must be a finite number >= 0, got nan"),
        (dict(num_workers="4"), "num_workers must be an integer >= 1, got '4'"),
        (dict(num_workers=4.0), r"num_workers must be an integer >= 1, got 4\.0"),
        (dict(num_features=2.0), "num_features must be an integer >= 1, got 2.0"),
        (dict(mu="a"), "mu must be a finite number .*, got 'a'"),
        (dict(smoothness=None), "smoothness must be a finite number > 0, got None"),
        (
            dict(heterogeneity="a"),
            "heterogeneity must be a finite number >= 0, got 'a'",
        ),
        (
            dict(noise=[1.0, 2.0]),
            r"noise must be a finite number >= 0, got \[1.0, 2.0\]",
        ),
    ],
)
def test_bad_constants_are_refused(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        quadratic(**(dict(num_workers=3, num_features=2) | arguments))


@pytest.mark.parametrize(
    ("hessians", "linear", "words"),
    [
        (np.ones((3, 5)), LINEAR, "must have shape"),
        (np.ones((2, 4)), LINEAR, "must have shape"),
        (DIAGONALS, LINEAR[0], r"\(n, d\)"),
        (
            DIAGONALS * np.nan,
            LINEAR,
            r"hessians\[0, 0\] must be a finite number, got nan",
        ),
        (
            DIAGONALS,
            LINEAR * np.inf,
            r"linear\[0, 0\] must be a finite number, got -?(inf|nan)",
        ),
        (-DIAGONALS, LINEAR, "positive definite"),
        (np.zeros((1, 4, 4)), LINEAR, "positive definite"),
        (np.eye(4)[None] + np.eye(4, k=1), LINEAR, "symmetric"),
        (1e-9 * (np.eye(4)[None] + np.eye(4, k=1)), LINEAR, "symmetric"),
    ],
)
def test_bad_arrays_are_refused(hessians, linear, words):
    with pytest.raises(ValueError, match=words):
        Quadratic.from_arrays(hessians, linear)


def test_nearly_symmetric_hessians_become_symmetric():
    rough = np.array([[[2.0, 0.5 + 1e-6], [0.5, 1.0]]])
    problem = Quadratic.from_arrays(rough, [[1.0, 2.0]])
    np.testing.assert_array_equal(problem.hessian, problem.hessian.swapaxes(1, 2))
    with jax.enable_x64(True):
        at_optimum = place(problem, "float64").metrics(problem.optimum()[None])
        assert at_optimum["grad_norm"][0] < 1e-12


def test_symmetric_hessians_stay_what_they_are():
    given = RNG.normal(0, 1, (3, 4, 4))
    given = given @ given.swapaxes(1, 2) + 0.1 * np.eye(4)
    given = np.tril(given) + np.tril(given, -1).swapaxes(1, 2)
    np.testing.assert_array_equal(Quadratic.from_arrays(given, LINEAR).hessian, given)


def test_arrays_are_copied():
    hessians, linear = np.array(DIAGONALS), np.array(LINEAR)
    problem = Quadratic.from_arrays(hessians, linear)
    hessians *= 5
    linear *= 5
    np.testing.assert_array_equal(problem.hessian, DIAGONALS)
    np.testing.assert_array_equal(problem.linear, LINEAR)


def test_bad_ringmaster_sizes_are_refused():
    for sizes in ((1, 4), (4, 0)):
        with pytest.raises(ValueError, match="must be an integer >= "):
            ringmaster_quadratic(*sizes)
    with pytest.raises(TypeError, match="num_workers must be an integer"):
        ringmaster_quadratic(4, 4.5)
