"""Splits as values: what each rule promises, and what problems make of them."""

import hashlib

import jax
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import asgrad_jax as ag

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 60))
MAKERS = {
    "contiguous": lambda n, seed: ag.splits.contiguous(LABELS, n, drop_last=True),
    "iid": lambda n, seed: ag.splits.iid(LABELS, n, seed=seed, drop_last=True),
    "sorted": lambda n, seed: ag.splits.sorted_by_label(LABELS, n, drop_last=True),
    "dirichlet": lambda n, seed: ag.splits.dirichlet(LABELS, n, alpha=0.1, seed=seed),
    "at least 8": lambda n, seed: ag.splits.dirichlet(
        LABELS, n, alpha=0.05, min_rows=8, seed=seed
    ),
    "balanced": lambda n, seed: ag.splits.dirichlet(
        LABELS, n, alpha=0.1, balanced=True, seed=seed
    ),
    "classes": lambda n, seed: ag.splits.classes_per_worker(
        LABELS, n, classes=2, seed=seed
    ),
    "quantity": lambda n, seed: ag.splits.quantity_skew(
        LABELS, n, alpha=0.3, min_rows=2, seed=seed
    ),
}
RANDOM = [name for name in MAKERS if name not in ("contiguous", "sorted")]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(name=st.sampled_from(list(MAKERS)), n=st.integers(3, 30), seed=st.integers(0, 9))
def test_rows_belong_to_one_worker_at_most(name, n, seed):
    split = MAKERS[name](n, seed)
    assert split.num_workers == n and split.num_rows == 300
    assert len(np.unique(split.rows)) == len(split.rows) == split.counts.sum()
    even = name in ("contiguous", "iid", "sorted", "balanced")
    if even:
        assert set(split.counts) == {300 // n}
    else:
        assert len(split.rows) == 300
    assert split.counts.min() >= {"at least 8": 8, "quantity": 2}.get(name, 1)
    # Three forms of the same.
    owner = np.full(300, -1)
    for worker, rows in enumerate(split.shards()):
        owner[rows] = worker
    np.testing.assert_array_equal(owner, split.owner)
    table = split.table()
    np.testing.assert_array_equal(table.sum(axis=1), split.counts)
    worker, label = n // 2, 3
    assert table[worker, label] == (LABELS[owner == worker] == label).sum()


@pytest.mark.parametrize("name", RANDOM)
def test_random_splits_follow_their_seed(name):
    first, same, other = (MAKERS[name](10, seed).owner for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_the_same_on_every_machine():
    """The rows of one seed, as written down once; NumPy may break it by a release."""
    got = {
        name: hashlib.sha256(MAKERS[name](10, 7).owner.tobytes()).hexdigest()[:12]
        for name in RANDOM
    }
    assert got == {
        "iid": "e76bd1130a3c",
        "dirichlet": "91bf9eac6a65",
        "at least 8": "94d6b0a5d39f",
        "balanced": "62a1f3577fbc",
        "classes": "27c9f7963dd5",
        "quantity": "6baf9818070c",
    }


def test_old_names_make_the_same_splits():
    options = dict(dirichlet=dict(alpha=0.1), iid={}, sorted={}, contiguous={})
    for how, further in options.items():
        shards = ag.problems.partition_rows(LABELS, 10, how=how, **further)
        for one, rows in zip(MAKERS[how](10, 0).shards(), shards, strict=True):
            np.testing.assert_array_equal(one, rows)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(n=st.integers(1, 25), classes=st.integers(1, 5), seed=st.integers(0, 5))
def test_every_worker_has_so_many_classes(n, classes, seed):
    if n * classes < 5:
        with pytest.raises(ValueError, match="must be at least 5"):
            ag.splits.classes_per_worker(LABELS, n, classes=classes, seed=seed)
        return
    table = ag.splits.classes_per_worker(LABELS, n, classes=classes, seed=seed).table()
    assert ((table > 0).sum(axis=1) == classes).all()
    owners = (table > 0).sum(axis=0)
    assert owners.max() - owners.min() <= 1
    for column in table.T:  # a class is shared equally
        assert np.ptp(column[column > 0]) <= 1


def test_balanced_dirichlet_has_the_skew_of_its_alpha():
    """Without replacement the shares of early workers are Dirichlet(alpha C p)."""
    labels = np.repeat(np.arange(4), 5000)
    alpha, shares = 0.5, []
    for seed in range(200):
        split = ag.splits.dirichlet(labels, 20, alpha=alpha, balanced=True, seed=seed)
        shares.append(split.table()[0] / 1000)  # of the first worker: nothing is gone
    shares = np.array(shares)
    squares = (shares - 0.25) ** 2
    # The variance of a Dirichlet share, and that of counting 1000 rows.
    variance = 0.25 * 0.75 * (1 / (4 * alpha + 1) * (1 - 1 / 1000) + 1 / 1000)
    error = squares[:, 0].std() / np.sqrt(len(shares))
    assert abs(squares.mean() - variance) < 4.5 * error


def test_clients_of_a_column():
    names = np.array(["b", "a", "b", "c", "b", "a"])
    split = ag.splits.by_column(names, min_rows=2)
    assert split.clients.tolist() == ["a", "b"]
    assert [s.tolist() for s in split.shards()] == [[1, 5], [0, 2, 4]]
    assert split.owner.tolist() == [1, 0, 1, -1, 1, 0]
    with pytest.raises(ValueError, match="min_rows must leave a client, got 9"):
        ag.splits.by_column(names, min_rows=9)


def test_problems_take_splits_and_leave_out_rows_of_nobody():
    rows = np.arange(12.0)[:, None]
    split = ag.splits.assigned([0, 1, -1, 0, 1, 0] * 2)
    problem = ag.from_loss(
        lambda p, b: p * b[:, 0], np.ones(()), rows, 2, partition=split, weights="rows"
    )
    assert problem.counts.tolist() == [6, 4]
    kept = rows[split.owner >= 0]
    loss = problem.metrics(problem.init_params()[None])["loss"][0]
    np.testing.assert_allclose(loss, kept.mean(), rtol=1e-6)
    options = dict(partition=split, regularizer=None)
    signs = np.where(np.arange(12) % 3, 1, -1)
    logistic = ag.logistic_regression(rows, signs, 2, **options)
    assert logistic.counts.tolist() == [6, 4]


def test_shifted_features_differ_between_workers_alone():
    split = ag.splits.assigned([0, 0, 1, 1, -1])
    plain = np.arange(15.0).reshape(5, 3)
    moved = ag.splits.shift_features(plain, split, offset=1.0)
    difference = moved - plain
    np.testing.assert_array_equal(difference[4], 0)
    np.testing.assert_allclose(difference[0], difference[1], atol=1e-12)
    assert np.abs(difference[0] - difference[2]).min() > 1e-3
    scaled = ag.splits.shift_features(plain[:, :1] + 1, split, scale=0.5) / (
        plain[:, :1] + 1
    )
    np.testing.assert_allclose(scaled[0], scaled[1])
    assert scaled[0] != scaled[2]


def test_feature_noise_grows_with_the_worker():
    split = ag.splits.contiguous(40_000, 4)
    noisy = ag.splits.shift_features(np.zeros((40_000, 1)), split, noise=2.0)
    spread = noisy.reshape(4, -1).std(axis=1)
    expected = 2.0 * np.array([0.25, 0.5, 0.75, 1.0])
    assert (np.abs(spread - expected) < 4.5 * expected / np.sqrt(2 * 10_000)).all()


def test_rotation_keeps_lengths_and_is_one_for_each_worker():
    split = ag.splits.assigned([0, 0, 1, 1])
    plain = np.random.default_rng(0).normal(size=(4, 5))
    turned = ag.splits.shift_features(plain, split, rotation=1.0)
    lengths = [np.linalg.norm(x, axis=1) for x in (plain, turned)]
    np.testing.assert_allclose(*lengths, rtol=1e-12)
    inner = [x @ x.T for x in (plain, turned)]
    assert np.isclose(inner[0][0, 1], inner[1][0, 1])
    assert not np.isclose(inner[0][0, 2], inner[1][0, 2])
    assert np.abs(turned - plain).max() > 0.1


def test_problems_are_made_of_what_workers_see():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(24, 3)), np.arange(24) % 2
    split = ag.splits.feature_shift(labels, 4, offset=1.0, rotation=0.3, seed=3)
    rows = ag.splits.iid(labels, 4, seed=3)
    np.testing.assert_array_equal(split.rows, rows.rows)
    seen = ag.splits.shift_features(features, rows, offset=1.0, rotation=0.3, seed=3)
    np.testing.assert_array_equal(split.shifted(features), seen)
    for make in (
        ag.logistic_regression,
        ag.problems.multinomial_logistic,
        ag.problems.least_squares,
        ag.problems.mlp,
    ):
        mine = make(features, labels, 4, partition=split)
        other = make(seen, labels, 4, partition=rows)
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)
    assert "offset 1, rotation 0.3" in ag.plot.split(split)._supxlabel.get_text()
    with pytest.raises(TypeError, match=r"split\.unshifted\(\)"):
        ag.from_loss(
            lambda x, row: (row @ x) ** 2, np.zeros(3), features, 4, partition=split
        )
    sparse = scipy.sparse.csr_array(features)
    with pytest.raises(TypeError, match="dense array for a split"):
        ag.logistic_regression(sparse, labels, 4, partition=split)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s: s.iid(10, 11), ValueError, "at most 10, the number of rows, got 11"),
        (lambda s: s.iid(10, 3), ValueError, "drop_last=True leaves out the last 1"),
        (lambda s: s.dirichlet(10, 2, alpha=1), TypeError, "got the number 10"),
        (
            lambda s: s.dirichlet(LABELS, 10, alpha=1, min_rows=31),
            ValueError,
            r"min_rows must be an integer in 1\.\.30, got 31",
        ),
        (
            lambda s: s.classes_per_worker(LABELS, 10, classes=6),
            ValueError,
            r"classes must be an integer in 1\.\.5, got 6",
        ),
        (
            lambda s: s.classes_per_worker([0, 0, 1], 3, classes=2),
            ValueError,
            "class 0 must have a row for each of its 3 workers, got 2",
        ),
        (lambda s: s.assigned([0, -2]), ValueError, "must be a worker in .*got -2"),
        (lambda s: s.assigned([0, 2, 2]), ValueError, "got none for worker 1"),
        (lambda s: s.assigned([0.0, 1.0]), ValueError, "integer array"),
        (lambda s: s.by_column([np.nan]), ValueError, "must be a client, got NaN"),
        (lambda s: s.contiguous(4, 2).table(), TypeError, "labels must be given"),
        (
            lambda s: s.contiguous(4, 2).table([1]),
            ValueError,
            r"labels must have shape \(4,\), got \(1,\)",
        ),
        (
            lambda s: ag.logistic_regression(
                np.ones((4, 1)), [1, -1] * 2, 3, partition=s.iid(4, 2)
            ),
            ValueError,
            "num_workers must be 2, as in Split.iid",
        ),
        (
            lambda s: ag.problems.partition_rows([1, 2], 2, how=s.iid(4, 2)),
            ValueError,
            "a split of the 2 rows, got one of 4",
        ),
        (
            lambda s: s.shift_features(np.ones((3, 1)), s.iid(4, 2)),
            ValueError,
            "features must have 4 rows, got 3",
        ),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(ag.splits)


def test_a_figure_has_the_numbers_of_the_split():
    split = ag.splits.dirichlet(LABELS, 12, alpha=0.1)
    figure = ag.plot.split(split, title="Digits")
    sizes, classes = figure.axes[:2]
    np.testing.assert_array_equal(sizes.patches[0].get_data().values, split.counts)
    shares = split.table() / split.counts[:, None]
    np.testing.assert_allclose(classes.collections[0].get_array(), shares.T)
    assert "12 workers" in figure._supxlabel.get_text()
    many = ag.splits.contiguous(np.arange(2000) % 2, 1000)
    figure = ag.plot.split(many)
    assert figure.axes[0].patches[0].get_data().values.tolist() == [2.0] * 400
    with pytest.raises(ValueError, match="at most 200 classes, got 2000"):
        ag.plot.split(many, np.arange(2000))
    with pytest.raises(TypeError, match=r"split must be a split of ag\.splits"):
        ag.plot.split(LABELS)
