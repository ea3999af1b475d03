"""Mini-batch row numbers: exact coverage, uniformity, independence, reproducibility."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asgrad_jax.problems.sampling import batch_indices, check_batch

KEY = jax.random.key(7)
RULES = ("without_replacement", "with_replacement", "reshuffled")


@functools.partial(jax.jit, static_argnames=("how", "batch_size", "num_draws"))
def _draws(key, worker, count, *, how, batch_size, num_draws):
    return jax.vmap(
        lambda job: batch_indices(
            key, worker, job, batch_size=batch_size, count=count, how=how
        )
    )(jnp.arange(num_draws, dtype=jnp.int32))


def draws(how, *, batch_size, count, num_draws, worker=0, key=KEY):
    """Row numbers of draws 0, 1, ...: [num_draws, b]."""
    rows = _draws(
        key,
        jnp.int32(worker),
        jnp.int32(count),
        how=how,
        batch_size=batch_size,
        num_draws=num_draws,
    )
    return np.asarray(rows)


def chi_square_p(counts):
    """p-value of equal probabilities."""
    return scipy.stats.chisquare(np.ravel(counts)).pvalue


@settings(derandomize=True, deadline=None, max_examples=40)
@given(count=st.integers(1, 5000), batch_size=st.sampled_from([3, 32]))
def test_without_replacement_rows_are_distinct(count, batch_size):
    assume(batch_size <= count)
    rows = draws(
        "without_replacement", batch_size=batch_size, count=count, num_draws=20
    )
    assert rows.dtype == np.int32
    assert rows.min() >= 0 and rows.max() < count
    assert all(len(set(row)) == batch_size for row in rows.tolist())


def test_a_batch_of_the_whole_shard_is_a_permutation():
    rows = draws("without_replacement", batch_size=97, count=97, num_draws=20)
    np.testing.assert_array_equal(np.sort(rows), np.tile(np.arange(97), (20, 1)))
    assert len({tuple(row) for row in rows.tolist()}) == 20


@settings(derandomize=True, deadline=None, max_examples=40)
@given(count=st.integers(1, 60), batch_size=st.sampled_from([1, 8]))
def test_reshuffled_epochs_visit_every_row_once(count, batch_size):
    assume(batch_size <= count)
    rows = draws("reshuffled", batch_size=batch_size, count=count, num_draws=300)
    rows = rows.ravel()
    for epoch in rows[: rows.size // count * count].reshape(-1, count):
        assert sorted(epoch.tolist()) == list(range(count))


@pytest.mark.parametrize("how", RULES)
def test_a_shard_of_one_row_known_at_compile_time(how):
    rows = jax.jit(
        lambda job: batch_indices(
            KEY, jnp.int32(0), job, batch_size=1, count=1, how=how
        )
    )(jnp.int32(3))
    assert rows.tolist() == [0]


def test_reshuffled_epochs_differ_from_each_other():
    epochs = draws("reshuffled", batch_size=5, count=40, num_draws=8 * 50)
    epochs = epochs.reshape(50, 40)
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 50


def test_reshuffled_draws_late_in_a_long_run_do_not_overflow():
    count, batch_size, first = 3_000, 2_500, 2**31 - 7  # first job of an epoch's cycle
    first -= first % 6  # 6 batches = 5 epochs
    rows = jax.jit(
        lambda numbers: jax.lax.map(
            lambda job: batch_indices(
                KEY,
                jnp.int32(0),
                job,
                batch_size=batch_size,
                count=count,
                how="reshuffled",
            ),
            numbers,
        )
    )(jnp.arange(first, first + 6, dtype=jnp.int32))
    assert first * batch_size % count == 0  # else the blocks below are no epochs
    for epoch in np.asarray(rows).reshape(5, count):
        assert np.array_equal(np.sort(epoch), np.arange(count))


@pytest.mark.parametrize("how", RULES)
@pytest.mark.parametrize("count", [2, 3, 7, 64, 101])
def test_rows_and_pairs_of_rows_are_uniform(how, count):
    batch_size = min(count, 4)
    rows = draws(how, batch_size=batch_size, count=count, num_draws=40_000)
    for place in range(batch_size):
        assert chi_square_p(np.bincount(rows[:, place], minlength=count)) > 1e-4
    pairs = np.zeros((count, count))
    if how == "reshuffled":  # pairs inside one epoch: the first two of every epoch
        epochs = rows.ravel()[: rows.size // count * count].reshape(-1, count)
        np.add.at(pairs, (epochs[:, 0], epochs[:, -1]), 1)
    else:
        np.add.at(pairs, (rows[:, 0], rows[:, -1]), 1)
    apart = ~np.eye(count, dtype=bool)
    if how == "with_replacement":
        assert chi_square_p(pairs) > 1e-4
    else:
        assert pairs[~apart].sum() == 0
        assert chi_square_p(pairs[apart]) > 1e-4


def test_all_orders_of_a_small_shard_are_equally_likely():
    rows = draws("without_replacement", batch_size=4, count=4, num_draws=48_000)
    code = rows @ np.array([64, 16, 4, 1])
    counts = np.unique(code, return_counts=True)[1]
    assert counts.size == 24
    assert chi_square_p(counts) > 1e-4


@pytest.mark.parametrize("how", RULES)
def test_successive_draws_workers_and_keys_are_independent(how):
    count = 11
    base = draws(how, batch_size=1, count=count, num_draws=30_000)[:, 0]
    # Within an epoch successive rows exclude each other: compare a full epoch apart.
    lag = count if how == "reshuffled" else 1
    others = {
        "job": (base[:-lag], base[lag:]),
        "worker": (
            base,
            draws(how, batch_size=1, count=count, num_draws=30_000, worker=1)[:, 0],
        ),
        "key": (
            base,
            draws(
                how, batch_size=1, count=count, num_draws=30_000, key=jax.random.key(8)
            )[:, 0],
        ),
    }
    for what, (left, right) in others.items():
        table = np.zeros((count, count))
        np.add.at(table, (left, right), 1)
        assert chi_square_p(table) > 1e-4, what


@pytest.mark.parametrize("how", RULES)
def test_same_numbers_in_float64_runs_and_under_vmap(how):
    counts = jnp.array([5, 9, 130], jnp.int32)

    @jax.jit
    def one(worker, job):
        return batch_indices(
            KEY, worker, job, batch_size=4, count=counts[worker], how=how
        )

    pairs = [(w, k) for w in range(3) for k in (0, 1, 17)]
    alone = np.array([one(jnp.int32(w), jnp.int32(k)) for w, k in pairs])
    workers, numbers = np.array(pairs, np.int32).T
    np.testing.assert_array_equal(jax.vmap(one)(workers, numbers), alone)
    with jax.enable_x64(True):
        wide = jax.jit(jax.vmap(one))(workers, numbers)
        assert wide.dtype == jnp.int32
        np.testing.assert_array_equal(wide, alone)
    assert (alone < np.asarray(counts)[workers][:, None]).all()


@pytest.mark.parametrize(
    ("batch_size", "counts", "how", "error", "words"),
    [
        (14, [9, 4], "reshuffled", ValueError, r"at most 13, .* all workers, .*got 14"),
        (
            0,
            [9],
            "reshuffled",
            ValueError,
            "batch_size must be .* >= 1 or None .*, got 0",
        ),
        (2.0, [9], "reshuffled", TypeError, "integer >= 1 or None .* got 2.0"),
        (True, [9], "reshuffled", TypeError, "integer >= 1 or None .* got True"),
        (2, [9], "bootstrap", ValueError, "sampling must be 'without_rep.*'bootstrap'"),
        (None, [9], "bootstrap", ValueError, "sampling must be 'without_rep.*'bootst"),
        (2**16, [2**16], "reshuffled", ValueError, "2\\*\\*31"),
    ],
)
def test_bad_batches_are_refused(batch_size, counts, how, error, words):
    with pytest.raises(error, match=words):
        check_batch(batch_size, counts, how=how)


def test_numpy_integers_are_batch_sizes():
    size = check_batch(np.int64(4), [9], how="reshuffled")
    assert (size, type(size)) == (4, int)
