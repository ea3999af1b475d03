"""Ready problems against formulas in NumPy: gradients, runs, constants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.problems.constants import known_noise, known_smoothness
from asgrad_jax.problems.flat_arrays import flat_params
from asgrad_jax.problems.least_squares import optimum
from helpers.problem_contract import check_contract, check_gradient_of_loss, place
from helpers.reference import naive_trajectory
from helpers.unmeasured import unmeasured

RNG = np.random.default_rng(0)
N, D, C = 3, 4, 3
FEATURES = RNG.normal(size=(24, D)) * np.array([2.0, 1.0, 0.5, 1.0])
TARGETS = FEATURES @ RNG.normal(size=D) + 3 * RNG.normal(size=24)
CLASSES = RNG.integers(0, C, 24)
OWNER = np.repeat(np.arange(N), [3, 6, 15])
USERS, ITEMS = RNG.integers(0, 5, 24), RNG.integers(0, 4, 24)


def linear(slope):
    """(x, rows, targets) -> mean gradient over these rows."""

    def gradient(x, rows, targets):
        return rows.T @ slope(rows @ x - targets) / len(rows)

    return gradient


def tukey(r):
    u = r / 1.5
    return np.where(np.abs(u) < 1, r * (1 - u**2) ** 2, 0)


def softmax(x, rows, classes):
    scores = rows @ x.reshape(D, C)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return (rows.T @ (p - np.eye(C)[classes]) / len(rows)).ravel()


def factors(x, entries, values):
    u, v = x[: 5 * 2].reshape(5, 2), x[5 * 2 :].reshape(4, 2)
    gradient = np.zeros_like(u), np.zeros_like(v)
    for (j, k), value in zip(entries, values, strict=True):
        error = u[j] @ v[k] - value
        gradient[0][j] += error * v[k] + 0.1 * u[j]
        gradient[1][k] += error * u[j] + 0.1 * v[k]
    return np.concatenate([part.ravel() for part in gradient]) / len(values)


# Maker, its data and options, the gradient written by hand.
READY = {
    "multinomial": (
        ag.problems.multinomial_logistic,
        (FEATURES, CLASSES),
        {},
        softmax,
    ),
    "least squares": (
        ag.problems.least_squares,
        (FEATURES, TARGETS),
        {},
        linear(lambda r: r),
    ),
    "huber": (
        ag.problems.robust_regression,
        (FEATURES, TARGETS),
        dict(width=1.5),
        linear(lambda r: np.clip(r, -1.5, 1.5)),
    ),
    "geman_mcclure": (
        ag.problems.robust_regression,
        (FEATURES, TARGETS),
        dict(loss="geman_mcclure", width=1.5),
        linear(lambda r: r / (1 + (r / 1.5) ** 2) ** 2),
    ),
    "tukey": (
        ag.problems.robust_regression,
        (FEATURES, TARGETS),
        dict(loss="tukey", width=1.5),
        linear(tukey),
    ),
    "matrix factorization": (
        ag.problems.matrix_factorization,
        (USERS, ITEMS, TARGETS),
        dict(rank=2, strength=0.1),
        factors,
    ),
}


def make(name, **further):
    maker, data, options, gradient = READY[name]
    problem = maker(*data, N, **options, **(dict(partition=OWNER) | further))
    return problem, gradient


def pair(data):
    """Rows and targets, whatever a maker calls them."""
    return (np.column_stack(data[:2]), data[2]) if len(data) == 3 else data


@pytest.mark.parametrize("name", READY)
def test_a_run_is_that_of_the_naive_interpreter(name):
    problem, by_hand = make(name, batch_size=4)
    rows, targets = pair(READY[name][1])
    key = jax.random.wrap_key_data(ag.problems.sampling.minibatch_key(3))

    def gradient(x, worker, job):
        batch = np.asarray(problem.sample(worker, job, key))
        batch = batch[: min(4, problem.counts[worker])]
        mine = np.flatnonzero(worker == OWNER)[batch]
        return by_hand(x, rows[mine], targets[mine])

    clock = ag.compute_times.exponential(np.ones(N))
    schedule = ag.simulate("shuffled_async", clock, num_gradients=30, seed=1)
    start = RNG.normal(0, 0.3, flat_params(problem).size)
    leaves, tree = jax.tree.flatten(problem.init_params())
    cuts = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = zip(np.split(start, cuts), leaves, strict=True)
    init = jax.tree.unflatten(tree, [p.reshape(leaf.shape) for p, leaf in parts])
    options = dict(seed=3, precision="float64", record_every=30)
    run = ag.run(
        unmeasured(problem), schedule, step_size=0.05, init_params=init, **options
    )
    expected = naive_trajectory(schedule, gradient, 0.05, start)[-1]
    got = flat_params(problem, run.params)
    assert np.abs(got - start).max() > 0.01
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


def test_a_run_of_the_tridiagonal_quadratic():
    d = 6
    problem = ag.problems.ringmaster_quadratic(d, N, noise=0.0)
    matrix = 0.5 * np.eye(d) - 0.25 * (np.eye(d, k=1) + np.eye(d, k=-1))
    linear = -0.25 * np.eye(d)[0]
    clock = ag.compute_times.exponential(np.ones(N))
    schedule = ag.simulate("shuffled_async", clock, num_gradients=30, seed=1)
    start = problem.init_params()
    expected = naive_trajectory(
        schedule, lambda x, worker, job: matrix @ x - linear, 0.5, start
    )[-1]
    options = dict(precision="float64", record_every=30)
    got = ag.run(problem, schedule, step_size=0.5, **options).params
    assert np.abs(got - start).max() > 0.1
    np.testing.assert_allclose(got, expected, rtol=1e-10)
    eigenvalues = np.linalg.eigvalsh(matrix)
    known = problem.smoothness()
    np.testing.assert_allclose(known.of_f, eigenvalues[-1], rtol=1e-12)
    np.testing.assert_allclose(known.strong_convexity, eigenvalues[0], rtol=1e-10)


def test_contract():
    options = dict(batch_size=2, weights="rows", regularizer="l2", strength=0.1)
    problem, _ = make("multinomial", **options)
    check_contract(problem)
    check_gradient_of_loss(problem)


def hessians(problem, points):
    """The Hessian of f at points [K, d] and those of every n w_i f_i, by autodiff."""
    with jax.enable_x64(True):
        placed = place(problem, "float64")
        shape = problem.init_params().shape

        def of_workers(x):
            gradients = placed.local_gradients(x.reshape(shape))
            return gradients.reshape(problem.num_workers, -1)

        return np.asarray(jax.lax.map(jax.jacfwd(of_workers), jnp.asarray(points)))


LINEAR = [name for name in READY if name != "matrix factorization"]
OPTIONS = {
    "plain": {},
    "weighted": dict(weights=[1, 2, 3], regularizer="l2", strength=0.3),
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", LINEAR)
def test_smoothness_bounds_the_curvature_and_is_reached(name, options):
    problem, _ = make(name, **OPTIONS[options])
    known = problem.smoothness()
    size = flat_params(problem).size
    # Where every residual is 0 the robust losses are at their steepest: none is here,
    # so that the bound is met at small residuals only.
    points = np.concatenate([np.zeros((1, size)), RNG.normal(0, 1, (40, size))])
    found = hessians(problem, points)
    eigenvalues = np.linalg.eigvalsh(found)  # [K, n, d]
    assert (np.abs(eigenvalues).max((0, 2)) <= known.per_worker * (1 + 1e-9)).all()
    mean = np.linalg.eigvalsh(found.mean(axis=1))
    assert np.abs(mean).max() <= known.of_f * (1 + 1e-9)
    assert mean.min() >= known.strong_convexity - 1e-9 or known.strong_convexity == 0
    if name == "least squares":
        assert known.certainty == "exact"
        np.testing.assert_allclose(known.of_f, mean.max(), rtol=1e-9)
        np.testing.assert_allclose(known.strong_convexity, mean.min(), rtol=1e-9)
        np.testing.assert_allclose(known.per_worker, eigenvalues[0].max(1), rtol=1e-9)
    if options == "weighted" and name not in ("geman_mcclure", "tukey"):
        assert known.strong_convexity >= 0.6 * (1 - 1e-12)


@pytest.mark.parametrize("name", ["huber", "geman_mcclure", "tukey"])
def test_curvatures_of_row_losses_are_reached(name):
    loss = make(name)[0].row_loss
    with jax.enable_x64(True):
        s = jnp.linspace(-6, 6, 20001)

        def phi(one):
            return loss.value(one[None], jnp.zeros(1), 1.5)[0]

        values = np.asarray(jax.vmap(phi)(s))
        second = np.asarray(jax.vmap(jax.grad(jax.grad(phi)))(s))
    np.testing.assert_allclose(second.max(), loss.curvature, rtol=1e-6)
    np.testing.assert_allclose(second.min(), loss.convexity, rtol=1e-6, atol=1e-12)
    assert loss.lower_bound <= values.min() <= loss.lower_bound + 1e-6


@pytest.mark.parametrize(
    ("name", "partition"), [("multinomial", OWNER), ("geman_mcclure", "contiguous")]
)
def test_noise_variance_is_that_of_all_batches(name, partition):
    problem, by_hand = make(
        name,
        batch_size=1,
        partition=partition,
        weights=[1, 2, 3],
        sampling="reshuffled",
    )
    rows, targets = READY[name][1]
    owner = np.repeat(np.arange(N), 8) if isinstance(partition, str) else partition
    points = RNG.normal(0, 1, (2, *problem.init_params().shape))
    worker = np.array([2, 0], np.int32)
    got = problem.noise_variance(points, worker)
    for k, i in enumerate(worker):
        mine = np.flatnonzero(owner == i)
        x = points[k].ravel()
        all_ = np.array([by_hand(x, rows[[j]], targets[[j]]) for j in mine])
        scale = N * [1, 2, 3][i] / 6
        np.testing.assert_allclose(
            got[k], scale**2 * all_.var(axis=0).sum(), rtol=1e-10
        )


@pytest.mark.parametrize("options", OPTIONS)
def test_the_optimum_of_least_squares_has_no_gradient(options):
    problem, _ = make("least squares", **OPTIONS[options])
    with jax.enable_x64(True):
        points = jnp.asarray(np.stack([optimum(problem), np.zeros(D)]))
        norms = np.asarray(place(problem, "float64").metrics(points)["grad_norm"])
    assert norms[0] < 1e-10 * norms[1]
    with pytest.raises(ValueError, match="least squares without regulariser"):
        optimum(make("huber")[0])


def test_theory_and_sweeps_take_them(tmp_path):
    problem, _ = make("multinomial", batch_size=2)
    assert known_smoothness(problem).of_f == problem.smoothness().of_f
    point = problem.init_params()[None]
    assert known_noise(problem, point, np.zeros(1, np.int32)) > 0
    options = dict(
        algorithms=["pure_async"],
        compute_times=ag.compute_times.exponential(np.ones(N)),
        step_sizes=[0.1, 0.2],
        num_gradients=40,
        directory=tmp_path / "run",
    )
    first = ag.sweep(problem, **options)
    assert first["loss"].values[..., -1].max() < np.log(C)
    again = ag.sweep(make("multinomial", batch_size=2)[0], **options)
    np.testing.assert_array_equal(first["loss"], again["loss"])
    other, _ = make("multinomial", batch_size=2, regularizer="l2", strength=0.1)
    with pytest.raises(ValueError, match="another config"):
        ag.sweep(other, **options)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: make("multinomial", classes=2), ValueError, r"labels\[\d+\] must be"),
        (
            lambda: ag.problems.least_squares(FEATURES, TARGETS[:5], 2),
            ValueError,
            "targets must have one number per row, 24, got 5",
        ),
        (
            lambda: ag.problems.robust_regression(FEATURES, TARGETS, 2, loss="tuckey"),
            ValueError,
            "did you mean 'tukey'",
        ),
        (lambda: make("huber", batch=3), TypeError, "batch"),
        (
            lambda: ag.problems.matrix_factorization(
                [0, 5], [0, 1], [1, 2], 1, rank=1, shape=(3, 3)
            ),
            ValueError,
            r"rows\[1\] must be in 0\.\.2, got 5",
        ),
        (
            lambda: ag.problems.RowLoss("x", lambda s, b, width: s, 1.0, convexity=-2),
            ValueError,
            "curvature must be",
        ),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
