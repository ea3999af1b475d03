"""Which rows go to which worker."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgrad_jax.problems.partition import partition_rows


def as_lists(shards):
    return [shard.tolist() for shard in shards]


def test_contiguous_is_file_order_and_drops_the_end():
    shards = partition_rows(np.zeros(7), 3, drop_last=True)
    assert as_lists(shards) == [[0, 1], [2, 3], [4, 5]]


def test_sorted_is_stable_and_drops_the_end_of_the_file():
    labels = [2, 1, 1, 2, 1, 2, 1]
    shards = partition_rows(labels, 2, how="sorted", drop_last=True)
    assert as_lists(shards) == [[1, 2, 4], [0, 3, 5]]


def test_worker_numbers_by_hand():
    shards = partition_rows(np.zeros(4), 3, how=np.array([2, 0, 2, 1]))
    assert as_lists(shards) == [[1], [3], [0, 2]]
    assert as_lists(partition_rows(np.zeros(3), 2, how=[1, 0, 1])) == [[1], [0, 2]]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    num_workers=st.integers(1, 12),
    rows_each=st.integers(1, 9),
    surplus=st.integers(0, 5),
    how=st.sampled_from(["contiguous", "iid", "sorted", "dirichlet"]),
    seed=st.integers(0, 5),
)
def test_shards_are_disjoint_and_complete(num_workers, rows_each, surplus, how, seed):
    num_rows = num_workers * rows_each + surplus % num_workers
    labels = np.random.default_rng(seed).integers(0, 2, num_rows)
    alpha = 0.05 if how == "dirichlet" else None
    shards = partition_rows(
        labels, num_workers, how=how, alpha=alpha, seed=seed, drop_last=True
    )
    assert len(shards) == num_workers
    assert min(len(shard) for shard in shards) >= 1
    used = num_rows if how == "dirichlet" else num_workers * rows_each
    np.testing.assert_array_equal(np.sort(np.concatenate(shards)), np.arange(used))
    if how != "dirichlet":
        assert {len(shard) for shard in shards} == {rows_each}


@pytest.mark.parametrize("how", ["iid", "dirichlet"])
def test_random_partitions_follow_the_seed(how):
    labels = np.arange(60) % 2
    alpha = 1.0 if how == "dirichlet" else None

    def split(seed):
        return as_lists(partition_rows(labels, 4, how=how, alpha=alpha, seed=seed))

    assert split(0) == split(0)
    assert split(0) != split(1)


def test_iid_gives_every_row_to_every_worker_equally_often():
    owner = np.zeros((500, 12), int)
    for seed in range(500):
        for worker, shard in enumerate(
            partition_rows(np.zeros(12), 3, how="iid", seed=seed)
        ):
            owner[seed, shard] = worker
    share = np.stack([(owner == worker).mean(axis=0) for worker in range(3)])
    assert np.abs(share - 1 / 3).max() < 4.5 * np.sqrt(2 / 9 / 500)


def test_dirichlet_shares_have_the_right_mean_and_variance():
    # One class, and rows enough that rounding to whole ones does not matter.
    n, alpha, rows, seeds = 4, 0.7, 4000, 600
    shares = np.array(
        [
            [
                len(shard) / rows
                for shard in partition_rows(
                    np.zeros(rows), n, how="dirichlet", alpha=alpha, seed=seed
                )
            ]
            for seed in range(seeds)
        ]
    )
    variance = (1 / n) * (1 - 1 / n) / (n * alpha + 1)
    assert np.abs(shares.mean(axis=0) - 1 / n).max() < 4.5 * np.sqrt(variance / seeds)
    squares = (shares - 1 / n) ** 2
    error = squares.std() / np.sqrt(seeds)  # of one column's mean; the four vary less
    assert abs(squares.mean() - variance) < 4.5 * error


def test_small_alpha_means_label_skew():
    labels = np.arange(4000) % 2

    def skew(alpha):
        shards = partition_rows(labels, 10, how="dirichlet", alpha=alpha, seed=0)
        positive = np.array([labels[shard].mean() for shard in shards])
        weight = np.array([len(shard) for shard in shards]) / labels.size
        return np.sqrt(weight @ (positive - 0.5) ** 2)

    assert skew(0.05) > 0.35 > 0.1 > skew(1000.0)


def test_extreme_alpha_still_gives_every_worker_a_row():
    for seed in range(5):
        shards = partition_rows(
            np.zeros(50), 50, how="dirichlet", alpha=1e-300, seed=seed
        )
        assert sorted(np.concatenate(shards).tolist()) == list(range(50))
        assert all(len(shard) == 1 for shard in shards)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (dict(num_workers=7), ValueError, "at most 6, the number of rows, got 7"),
        (dict(num_workers=0), ValueError, "num_workers must be .* >= 1, got 0"),
        (dict(num_workers=2.0), TypeError, "num_workers must be an integer .* 2.0"),
        (dict(num_workers=4), ValueError, "drop_last=True leaves out the last 2 rows"),
        (dict(num_workers=4, how="sorted"), ValueError, "last 2 rows"),
        (dict(num_workers=4, how="iid"), ValueError, "last 2 rows"),
        (
            dict(num_workers=2, how="random"),
            ValueError,
            "partition must be .*'sorted', .* each row, got 'random'",
        ),
        (dict(num_workers=2, how="dirichlet"), ValueError, "alpha must be given"),
        (
            dict(num_workers=2, how="dirichlet", alpha=0.0),
            ValueError,
            "alpha .* > 0 .*got 0",
        ),
        (
            dict(num_workers=2, how="dirichlet", alpha=np.nan),
            ValueError,
            "alpha .*got nan",
        ),
        (
            dict(num_workers=2, how="dirichlet", alpha=1e308),
            ValueError,
            r"<= 1e\+300, got",
        ),
        (
            dict(num_workers=2, how="dirichlet", alpha="1"),
            TypeError,
            "alpha .* got '1'",
        ),
        (
            dict(num_workers=2, how="iid", seed="a"),
            TypeError,
            "seed must be an int.* 'a'",
        ),
        (
            dict(num_workers=2, how="iid", alpha=1.0),
            ValueError,
            "got alpha=1.0 with .*iid",
        ),
        (dict(num_workers=2, how=[0, 1] * 3, alpha=0.5), ValueError, "alpha.*by hand"),
        (
            dict(num_workers=2, how=np.ma.array([0, 1] * 3, mask=[1, 0] * 3)),
            ValueError,
            "the partition must have no masked",
        ),
        (
            dict(num_workers=2, how=[0, 1]),
            ValueError,
            r"shape \(6,\), .* got shape \(2,\)",
        ),
        (dict(num_workers=2, how=np.zeros(6)), ValueError, "integer array"),
        (
            dict(num_workers=2, how=[0, 1, 0, 1, 2, 0]),
            ValueError,
            r"partition\[4\] must .*0\.\.1, got 2",
        ),
        (
            dict(num_workers=2, how=[0, -1, 0, 1, 1, 0]),
            ValueError,
            r"partition\[1\] must be a worker in 0\.\.1, got -1",
        ),
        (
            dict(num_workers=3, how=[0, 1, 0, 1, 1, 0]),
            ValueError,
            "every worker must have at least one row, got none for worker 2",
        ),
    ],
)
def test_bad_partitions_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        partition_rows(np.zeros(6), **arguments)


def test_missing_labels_are_refused():
    with pytest.raises(ValueError, match="labels must have no masked entries"):
        partition_rows(np.ma.array([0, 1], mask=[True, False]), 2, how="sorted")
    with pytest.raises(ValueError, match=r"labels\[1\] must be a class .* got nan"):
        partition_rows([0, np.nan, 1] * 2, 2, how="dirichlet", alpha=1.0)
