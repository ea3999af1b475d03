"""Logistic regression: values, gradients, shards, mini-batches, refusals."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from asgrad_jax.problems.logistic import logistic_regression
from helpers.problem_contract import check_contract, check_gradient_of_loss, place

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(0, 1, (24, 5))
LABELS = np.where(RNG.random(24) < 0.4, 1.0, -1.0)
UNEQUAL = np.repeat([0, 1, 2], [13, 4, 7])

VARIANTS = {
    "full": dict(num_workers=4),
    "one worker": dict(num_workers=1, regularizer=None),
    "with replacement, sorted": dict(
        num_workers=4, batch_size=5, sampling="with_replacement", partition="sorted"
    ),
    "reshuffled, unequal": dict(
        num_workers=3,
        partition=UNEQUAL,
        batch_size=3,
        sampling="reshuffled",
        regularizer="l2",
    ),
}


def reference(features, labels, shards, x, regularizer, strength):
    """f and its local gradients by the textbook formulas, in float64 NumPy."""
    values, gradients = [], []
    for rows in shards:
        margins = labels[rows] * (features[rows] @ x)
        values.append(np.logaddexp(0, -margins).mean())
        residual = -labels[rows] / (1 + np.exp(margins))
        gradients.append(features[rows].T @ residual / len(rows))
    penalty, slope = {
        "nonconvex": ((x**2 / (1 + x**2)).sum(), 2 * x / (1 + x**2) ** 2),
        "l2": ((x**2).sum(), 2 * x),
        None: (0.0, 0 * x),
    }[regularizer]
    gradients = np.array(gradients) + strength * slope
    return np.mean(values) + strength * penalty, gradients


@pytest.mark.parametrize("variant", VARIANTS)
def test_contract(variant):
    problem = logistic_regression(FEATURES, LABELS, **VARIANTS[variant])
    check_contract(problem)
    check_gradient_of_loss(problem)


@jax.jit
def _evaluate(problem, points):
    workers = jnp.arange(problem.num_workers, dtype=jnp.int32)
    by_worker = jax.lax.map(
        lambda worker: problem.gradients(points, worker, jnp.int32(0), None), workers
    )
    return problem.metrics(points), by_worker, jax.vmap(problem.local_gradients)(points)


@jax.jit
def _draws(problem, x, worker, draws):
    """Stochastic gradients [draws, d] at one point x [d]."""
    key = jax.random.key(1)
    return jax.lax.map(
        lambda job: problem.gradients(x[None], worker, job, key)[0],
        draws,
        batch_size=500,
    )


@pytest.mark.parametrize("regularizer", ["nonconvex", "l2", None])
@pytest.mark.parametrize("split", ["contiguous", "unequal"])
def test_values_and_gradients_match_the_textbook(regularizer, split):
    owner = UNEQUAL if split == "unequal" else np.repeat(np.arange(4), 6)
    problem = logistic_regression(
        FEATURES,
        LABELS,
        owner.max() + 1,
        regularizer=regularizer,
        strength=0.7,
        partition=owner if split == "unequal" else "contiguous",
    )
    shards = [np.flatnonzero(owner == w) for w in range(problem.num_workers)]
    points = RNG.normal(0, 1, (3, 5))
    with jax.enable_x64(True):
        metrics, by_worker, local = jax.tree.map(
            np.asarray, _evaluate(place(problem, "float64"), jnp.asarray(points))
        )
    for s, x in enumerate(points):
        value, expected = reference(FEATURES, LABELS, shards, x, regularizer, 0.7)
        np.testing.assert_allclose(metrics["loss"][s], value, rtol=1e-13)
        norm = np.linalg.norm(expected.mean(axis=0))
        np.testing.assert_allclose(metrics["grad_norm"][s], norm, rtol=1e-12)
        np.testing.assert_allclose(local[s], expected, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(by_worker[:, s], expected, rtol=1e-11, atol=1e-14)


def test_large_margins_stay_finite_in_float32():
    problem = place(
        logistic_regression([[1.0], [1.0]], [1, 0], 2, regularizer=None), "float32"
    )
    lanes = jnp.array([[-120.0], [120.0], [1e6]], jnp.float32)
    metrics = problem.metrics(lanes)
    np.testing.assert_allclose(metrics["loss"], [60, 60, 5e5], rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], 0.5, rtol=1e-6)
    gradients = problem.gradients(lanes, jnp.int32(0), jnp.int32(0), None)
    np.testing.assert_allclose(gradients, [[-1], [0], [0]], atol=1e-30)


@pytest.mark.parametrize(
    ("sampling", "partition"),
    [
        ("without_replacement", UNEQUAL),
        ("with_replacement", "contiguous"),
        ("reshuffled", "contiguous"),
    ],
)
def test_mini_batches_are_unbiased_and_from_the_own_shard(sampling, partition):
    problem = logistic_regression(
        FEATURES, LABELS, 3, batch_size=3, sampling=sampling, partition=partition
    )
    placed = place(problem, "float32")
    x = jnp.asarray(RNG.normal(0, 1, 5), jnp.float32)
    draws = jnp.arange(4000, dtype=jnp.int32)
    local = np.asarray(placed.local_gradients(x))
    for worker in range(3):
        gradients = np.asarray(_draws(placed, x, jnp.int32(worker), draws))
        error = gradients.std(axis=0) / np.sqrt(len(draws))
        assert (abs(gradients.mean(axis=0) - local[worker]) < 5 * error + 1e-6).all()


def test_workers_with_equal_data_draw_rows_of_their_own():
    problem = logistic_regression(
        np.tile(FEATURES, (2, 1)), np.tile(LABELS, 2), 2, batch_size=2
    )
    x, draws = jnp.ones(5, jnp.float32), jnp.arange(8, dtype=jnp.int32)
    first, second = (
        _draws(place(problem, "float32"), x, jnp.int32(worker), draws)
        for worker in (0, 1)
    )
    assert (np.abs(first - second).max(axis=1) > 1e-3).sum() >= 7


@pytest.mark.parametrize("sampling", ["without_replacement", "reshuffled"])
def test_a_batch_of_the_whole_shard_is_the_full_gradient(sampling):
    problem = place(
        logistic_regression(FEATURES, LABELS, 4, batch_size=6, sampling=sampling),
        "float32",
    )
    x = jnp.asarray(RNG.normal(0, 1, 5), jnp.float32)
    got = _draws(problem, x, jnp.int32(2), jnp.arange(3, dtype=jnp.int32))
    expected = np.tile(problem.local_gradients(x)[2], (3, 1))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_the_reshuffled_epoch_averages_to_the_full_gradient():
    problem = place(
        logistic_regression(FEATURES, LABELS, 4, batch_size=2, sampling="reshuffled"),
        "float32",
    )
    x = jnp.ones(5, jnp.float32)
    draws = jnp.arange(12, dtype=jnp.int32)  # four epochs of six rows
    epochs = _draws(problem, x, jnp.int32(1), draws).reshape(4, 3, 5).mean(axis=1)
    expected = np.tile(problem.local_gradients(x)[1], (4, 1))
    np.testing.assert_allclose(epochs, expected, rtol=1e-5, atol=1e-6)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000))
def test_padding_never_counts(seed):
    rng = np.random.default_rng(seed)
    num_workers = 4
    owner = np.concatenate([np.arange(4), np.zeros(3, int), rng.integers(1, 4, 3)])
    features = rng.normal(0, 1, (owner.size, 3))
    labels = np.resize([1, -1], owner.size)
    problem = logistic_regression(features, labels, num_workers, partition=owner)
    assert (problem.counts == np.bincount(owner)).all()
    sums = np.bincount(np.sort(owner), np.resize(problem.row_weight, owner.size))
    if problem.row_starts is None:  # stacked, with weights of 0 in the padding
        sums = problem.row_weight.sum(axis=1)
    np.testing.assert_allclose(sums, 1)
    shards = [np.flatnonzero(owner == w) for w in range(num_workers)]
    x = rng.normal(0, 1, 3)
    _, local = reference(features, labels, shards, x, "nonconvex", 0.1)
    points = jnp.asarray(x, jnp.float32)[None]
    metrics, by_worker, _ = _evaluate(place(problem, "float32"), points)
    np.testing.assert_allclose(by_worker[:, 0], local, rtol=1e-4, atol=1e-5)
    norm = np.linalg.norm(local.mean(axis=0))
    np.testing.assert_allclose(metrics["grad_norm"][0], norm, rtol=1e-4, atol=1e-6)


def test_sparse_features_are_the_same_problem():
    features = FEATURES * (RNG.random(FEATURES.shape) < 0.3)
    dense = logistic_regression(features, LABELS, 4)
    for form in (
        scipy.sparse.csr_matrix,
        scipy.sparse.csr_array,
        scipy.sparse.coo_array,
    ):
        sparse = logistic_regression(form(features), LABELS, 4)
        chex.assert_trees_all_equal(dense, sparse)


def test_contiguous_shards_are_blocks_of_the_file():
    problem = logistic_regression(FEATURES[:23], LABELS[:23], 4, drop_last=True)
    np.testing.assert_array_equal(problem.features, FEATURES[:20].reshape(4, 5, 5))
    np.testing.assert_array_equal(problem.labels, LABELS[:20].reshape(4, 5))
    np.testing.assert_array_equal(problem.init_params(), np.ones(5))


def test_another_strength_or_data_does_not_recompile():
    compiled = jax.jit(lambda p, x: p.metrics(x))
    lanes = jnp.ones((2, 5), jnp.float32)
    for strength in (0.1, 0.2):
        problem = logistic_regression(FEATURES, LABELS, 4, strength=strength)
        compiled(place(problem, "float32"), lanes)
    assert compiled._cache_size() == 1


def broken(value):
    features = FEATURES.copy()
    features[3, 2] = value
    return features


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (dict(features=broken(np.nan)), ValueError, r"features\[3, 2\] is nan"),
        (dict(features=broken(np.inf)), ValueError, r"features\[3, 2\] is inf"),
        (
            dict(features=scipy.sparse.csr_array(broken(np.nan))),
            ValueError,
            r"features\[3, 2\] is nan",
        ),
        (dict(features=FEATURES[:, 0]), ValueError, "matrix"),
        (dict(features=FEATURES[:, :0]), ValueError, "at least one column"),
        (dict(features=FEATURES + 1j), ValueError, "complex"),
        (dict(features=FEATURES.astype(str)), TypeError, "features must be real"),
        (dict(features=FEATURES.astype("M8[D]")), TypeError, "features must be real"),
        (
            dict(features=np.ma.array(FEATURES, mask=FEATURES > 1)),
            ValueError,
            "features must have no masked entries",
        ),
        (dict(labels=["a", "b"] * 12), TypeError, "labels must be real numbers"),
        (dict(labels=np.arange(24) % 3), ValueError, r"3 class\(es\): 0, 1, 2"),
        (dict(labels=LABELS[:-1]), ValueError, "24 rows of features but 23 labels"),
        (dict(labels=np.where(LABELS > 0, np.nan, 0)), ValueError, "finite"),
        (dict(num_workers=25), ValueError, "at most 24, the number of rows, got 25"),
        (dict(num_workers=5), ValueError, "last 4 rows"),
        (dict(strength=-0.1), ValueError, "strength must be .* >= 0, got -0.1"),
        (dict(strength=np.nan), ValueError, "strength must be .*, got nan"),
        (
            dict(strength=[0.1, 0.2]),
            TypeError,
            r"strength must be a .* got \[0.1, 0.2\]",
        ),
        (dict(strength="a"), TypeError, "strength must be a .* got 'a'"),
        (
            dict(regularizer="l1"),
            ValueError,
            "must be 'nonconvex', 'l2' or None, got 'l1'",
        ),
        (
            dict(partition="random"),
            ValueError,
            "partition must be 'contiguous', .* got 'random'",
        ),
        (
            dict(sampling="random"),
            ValueError,
            "sampling must be 'without_r.*got 'random'",
        ),
        (
            dict(batch_size=25),
            ValueError,
            "at most 24, the rows of all workers, .* got 25",
        ),
        (dict(batch_size=1.5), TypeError, "batch_size must be .* got 1.5"),
    ],
)
def test_bad_input_is_refused(arguments, error, words):
    good = dict(features=FEATURES, labels=LABELS, num_workers=4)
    with pytest.raises(error, match=words):
        logistic_regression(**(good | arguments))


@pytest.mark.parametrize("storage", ["dense", "sparse"])
def test_duplicate_entries_of_sparse_features_are_summed_first(storage):
    parts = [1e308, 1e308, 1.0], [0, 0, 1], [0, 2, 3, 3, 3]
    features = scipy.sparse.csr_array(parts, shape=(4, 2))
    with pytest.raises(ValueError, match=r"features\[0, 0\] is inf"):
        logistic_regression(features, [1, -1, 1, -1], 2, storage=storage)
    assert features.nnz == 3  # the user's matrix is as it was
