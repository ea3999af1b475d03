"""Sparse shards: the compiled kernel, its plain JAX form and dense storage agree."""

import concurrent.futures
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

import asgrad_jax as ag
from asgrad_jax.kernels import _csr_logistic as csr_kernel
from asgrad_jax.problems.eigenvalues import worker_rows
from asgrad_jax.problems.logistic import logistic_regression
from asgrad_jax.problems.problem import RowPass
from asgrad_jax.problems.sparse_shards import SparseShards, _portable, prefer_sparse
from helpers.problem_contract import check_contract, check_gradient_of_loss, place

PRECISIONS = {"float32": 3e-6, "float64": 2e-14}
same_bits = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="GPUs add rows up in any order"
)


def make_data(num_rows=60, num_features=9, density=0.3, seed=0):
    """A CSR matrix with empty rows and an empty column, and labels."""
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(num_rows, num_features))
    dense *= rng.random(dense.shape) < density
    dense[::7] = 0
    dense[:, 4] = 0
    return scipy.sparse.csr_array(dense), rng.choice([-1.0, 1.0], num_rows)


FEATURES, LABELS = make_data()
# 3, 1, 40 and 16 rows; all of worker 1's are empty.
OWNERS = np.repeat([2, 0, 1, 3], [7, 3, 1, 49])
OWNERS[7:11] = [0, 0, 0, 3]
OWNERS[14] = 1
OWNERS[20:53] = 2


def pair(**options):
    """The same problem with sparse and with dense storage."""
    options = {"partition": OWNERS, **options}
    return [
        logistic_regression(FEATURES, LABELS, 4, storage=storage, **options)
        for storage in ("sparse", "dense")
    ]


def lanes_of(num_lanes, dtype, num_features=9, seed=1):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(0, 2, (num_lanes, num_features)), dtype)


def assert_close(got, wanted, rtol):
    scale = max(float(np.abs(wanted).max()), 1e-3)
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol * scale)


def test_the_example_shards_are_unequal_and_one_is_empty():
    sparse, dense = pair()
    assert isinstance(sparse.features, SparseShards)
    assert isinstance(dense.features, np.ndarray)
    assert len(set(sparse.counts.tolist())) == 4 and sparse.counts.min() == 1
    assert not dense.features[dense.row_starts[1] : dense.row_starts[2]].any()


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(
    ("regularizer", "num_lanes"),
    [("nonconvex", 1), ("nonconvex", 19), ("l2", 19), (None, 19)],
)
@jax.default_matmul_precision("float32")  # as in the engine; matters on a GPU
def test_full_gradients_and_metrics_agree_with_dense(dtype, regularizer, num_lanes):
    rtol = PRECISIONS[dtype]
    with jax.enable_x64(dtype == "float64"):
        sparse, dense = (place(p, dtype) for p in pair(regularizer=regularizer))
        x = lanes_of(num_lanes, dtype)
        key = jax.random.key(0)
        found, wanted = (
            jax.jit(
                lambda p: (
                    [p.gradients(x, jnp.int32(i), jnp.int32(0), key) for i in range(4)],
                    p.metrics(x),
                    p.local_gradients(x[0]),
                )
            )(p)
            for p in (sparse, dense)
        )
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            assert a.dtype == dtype
            assert_close(a, b, rtol)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(
    "sampling", ["without_replacement", "with_replacement", "reshuffled"]
)
def test_minibatches_agree_with_dense(dtype, sampling):
    # Every shard must have the batch's rows.
    owners = np.repeat([0, 1, 2, 3], [5, 8, 30, 17])
    with jax.enable_x64(dtype == "float64"):
        found, wanted = (
            jax.jit(
                lambda p: jax.lax.map(
                    lambda job: p.gradients(
                        lanes_of(3, dtype), job[0], job[1], jax.random.key(2)
                    ),
                    (
                        jnp.arange(12, dtype=jnp.int32) % 4,
                        jnp.arange(12, dtype="int32"),
                    ),
                )
            )(place(p, dtype))
            for p in pair(partition=owners, batch_size=3, sampling=sampling)
        )
        assert len(np.unique(wanted[:, 0], axis=0)) >= 8
        assert_close(found, wanted, PRECISIONS[dtype])


@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    num_lanes=st.integers(1, 70),
    num_features=st.integers(1, 40),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 99),
    double=st.booleans(),
)
def test_kernel_against_numpy(num_lanes, num_features, density, seed, double):
    rng = np.random.default_rng(seed)
    dtype = "float64" if double else "float32"
    matrix = scipy.sparse.random_array(
        (23, num_features), density=density, format="csr", rng=rng
    )
    cuts = np.sort(rng.integers(0, 24, 3))
    rows = np.split(rng.permutation(23), cuts)  # some workers may have no rows
    shards = SparseShards.from_rows(matrix, rows)
    labels = rng.choice([-1.0, 1.0], 23)
    weights = rng.random(23)
    x = np.asarray(rng.normal(0, 30, (num_lanes, num_features)), dtype)
    dense = np.asarray(shards)
    losses, gradients = np.zeros(num_lanes), np.zeros(x.shape)
    for i, shard in enumerate(rows):
        own = slice(shards.row_starts[i], shards.row_starts[i + 1])
        a, b, w = dense[i, : len(shard)], labels[own], weights[own]
        margins = (x.astype(float) @ a.T) * b
        losses += np.logaddexp(0, -margins) @ w
        gradients += (-b * w * np.exp(-np.logaddexp(0, margins))) @ a
    with jax.enable_x64(double):
        loss, gradient = place(shards, dtype).loss_terms(
            jnp.asarray(x), jnp.asarray(labels, dtype), jnp.asarray(weights, dtype)
        )
        # Rounding of margins around 100 dominates.
        assert_close(loss, losses, 1e-13 if double else 3e-5)
        assert_close(gradient, gradients, 1e-13 if double else 3e-5)


@pytest.mark.parametrize("num_features", [1, 8, 19])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_every_number_of_lanes_gives_what_single_lanes_give(dtype, num_features):
    """Vectors of all sizes, full and ragged; columns that fill tiles and do not."""
    matrix = scipy.sparse.random_array(
        (9, num_features), density=0.6, format="csr", rng=0
    )
    shards = SparseShards.from_rows(matrix, [np.arange(9)])
    with jax.enable_x64(dtype == "float64"):
        ones = jnp.ones((1, 9), dtype)
        terms = jax.jit(lambda x: place(shards, dtype).loss_terms(x, ones, ones))
        x = lanes_of(43, dtype, num_features)
        single = [terms(x[i : i + 1]) for i in range(len(x))]
        for lanes in (2, 3, 4, 5, 8, 9, 16, 17, 24, 32, 33, 43):
            for k, got in enumerate(terms(x[:lanes])):
                alone = np.concatenate([one[k] for one in single[:lanes]])
                assert_close(got, alone, PRECISIONS[dtype])


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_loss_and_slope_are_accurate_and_do_not_overflow(dtype):
    """One row, one feature: the loss of margin z and its derivative, lane by lane."""
    limit = 80.0 if dtype == "float32" else 700.0
    z = np.linspace(-limit, limit, 4001).astype(dtype)
    far = np.array([-1e30, -1e4, 1e4, 1e30], dtype)
    shards = SparseShards.from_rows(scipy.sparse.csr_array([[1.0]]), [np.array([0])])
    with jax.enable_x64(dtype == "float64"):
        one = jnp.ones((1, 1), dtype)
        loss, gradient = (
            np.asarray(out).reshape(-1)
            for out in place(shards, dtype).loss_terms(
                jnp.asarray(np.concatenate([z, far]))[:, None], one, one
            )
        )
    z = z.astype(np.float64)
    exact = np.maximum(-z, 0) + np.log1p(np.exp(-abs(z)))
    slope = -scipy.special.expit(-z)
    units = 3 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss[:-4], exact, rtol=units)
    np.testing.assert_allclose(gradient[:-4], slope, rtol=units)
    np.testing.assert_allclose(loss[-4:-2], -far[:2], rtol=units)
    assert (abs(loss[-2:]) < 1e-37).all() and (abs(gradient[-2:]) < 1e-37).all()
    np.testing.assert_allclose(gradient[-4:-2], -1, rtol=units)


@same_bits
def test_a_broken_lane_stays_alone():
    sparse, _ = pair()
    x = np.array(lanes_of(20, "float32"))
    good = np.asarray(sparse.features.loss_terms(jnp.asarray(x), *_rest(sparse))[1])
    x[3] = np.nan
    x[17, 2] = np.inf
    loss, gradient = map(
        np.asarray, sparse.features.loss_terms(jnp.asarray(x), *_rest(sparse))
    )
    assert np.isnan(loss[3]) and np.isnan(gradient[3]).any()
    others = np.delete(np.arange(20), [3, 17])
    np.testing.assert_array_equal(gradient[others], good[others])


def _rest(problem):
    return [
        jnp.asarray(leaf, "float32") for leaf in (problem.labels, problem.row_weight)
    ]


@pytest.mark.parametrize("with_loss", [True, False])
@pytest.mark.parametrize("rows", ["all", "worker", "batch_rows"])
def test_portable_form_agrees_with_the_kernel(rows, with_loss):
    # Equal rows and unequal nonzeros: every shard's list but one has strangers.
    problem, _ = pair(partition=np.arange(60) % 4)
    assert len(set(np.diff(problem.features.indptr[::15]).tolist())) > 1
    with jax.enable_x64(True):
        problem = place(problem, "float64")
        x = lanes_of(3, "float64")
        batch_rows = jnp.array([14, 0, 14, 3], jnp.int32)
        for i in range(4) if rows == "worker" else [2]:
            whole = rows == "all"
            chosen = batch_rows if rows == "batch_rows" else batch_rows[:0]
            kernel = problem.features.loss_terms(
                x,
                problem.labels,
                problem.row_weight,
                worker=None if whole else i,
                batch_rows=batch_rows if rows == "batch_rows" else None,
                with_loss=with_loss,
            )
            ends = [0, 4] if whole else [i, i + 1]
            plain = _portable(
                RowPass(whole, with_loss, 0, 15),
                x,
                problem.features,
                jnp.array([*ends, chosen.size], jnp.int32),
                chosen,
                problem.labels.reshape(-1),
                problem.row_weight.reshape(-1),
            )
            assert kernel[0].shape == plain[0].shape == (3 if with_loss else 0,)
            for a, b in zip(kernel, plain, strict=True):
                if a.size:
                    assert_close(a, b, 1e-14)


def test_other_devices_get_the_portable_form():
    problem, _ = pair()
    x = lanes_of(2, "float32")

    def text(platform):
        function = jax.jit(place(problem, "float32").metrics)
        exported = jax.export.export(
            function,
            platforms=[platform],
            disabled_checks=[
                jax.export.DisabledSafetyCheck.custom_call(
                    "asgrad_csr_logistic_float32"
                )
            ],
        )
        return exported(x).mlir_module()

    assert "asgrad_csr_logistic" in text("cpu")
    assert "asgrad_csr_logistic" not in text("cuda")


@pytest.mark.parametrize("batch_size", [None, 2])
def test_contract(batch_size):
    owners = np.repeat([0, 1, 2], [4, 30, 26])
    check_contract(
        logistic_regression(
            FEATURES,
            LABELS,
            3,
            partition=owners,
            batch_size=batch_size,
            storage="sparse",
        )
    )


def test_derivatives():
    sparse, dense = pair()
    check_gradient_of_loss(sparse)
    with jax.enable_x64(True):
        x = lanes_of(1, "float64")[0]
        hessians = [
            jax.jacfwd(lambda x, p=p: place(p, "float64").local_gradients(x))(x)
            for p in (sparse, dense)
        ]
        assert_close(*hessians, 1e-12)


def test_dense_views():
    sparse, dense = pair()
    padded = np.zeros((4, 40, 9))
    for worker, count in enumerate(dense.counts):
        padded[worker, :count] = worker_rows(dense, worker)[0]
    np.testing.assert_array_equal(np.asarray(sparse.features), padded)
    assert np.asarray(sparse.features, np.float32).dtype == np.float32
    on_device = jax.jit(lambda shards: jnp.asarray(shards))(
        place(sparse, "float32").features
    )
    np.testing.assert_array_equal(on_device, padded.astype(np.float32))


def test_nothing_is_padded():
    sparse, _ = pair()
    shards = sparse.features
    assert shards.values.size == shards.indices.size == FEATURES.nnz
    assert shards.indptr.size == FEATURES.shape[0] + 1


def test_duplicates_and_stored_zeros():
    data, columns = [1.0, 2.0, 0.0, 3.0, 4.0], [1, 1, 0, 2, 0]
    matrix = scipy.sparse.csr_array((data, columns, [0, 3, 5]), shape=(2, 3))
    problem = logistic_regression(matrix, [1, -1], 1, storage="sparse")
    assert problem.features.values.size == 3
    np.testing.assert_array_equal(np.asarray(problem.features)[0], matrix.toarray())
    assert matrix.nnz == 5  # the caller's matrix is untouched


@pytest.mark.parametrize("options", [{}, {"batch_size": 5}])
def test_trajectories_agree_with_dense(options):
    """Same schedule, same noise: storage changes rounding only."""
    problems = pair(partition=np.arange(60) % 4, **options)
    clock = ag.compute_times.normal(range(1, 5))
    schedule = ag.simulate("random_async", clock, num_gradients=200, seed=0)
    found, wanted = (
        ag.run(p, schedule, step_size=0.3, record_every=20, precision="float64")
        for p in problems
    )
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(
            found.metrics[name], wanted.metrics[name], rtol=1e-11
        )
    np.testing.assert_allclose(found.params, wanted.params, rtol=1e-11)


@same_bits
def test_two_threads_at_once_give_the_same_bits():
    features, labels = make_data(4000, 200, 0.05)
    problem = logistic_regression(features, labels, 4, storage="sparse")
    placed = place(problem, "float32")
    x = lanes_of(33, "float32", 200)

    @jax.jit
    def steps(x, first):
        def body(k, x):
            worker = (first + k) % 4
            return x - 0.1 * placed.gradients(x, worker, k, jax.random.key(0))

        return jax.lax.fori_loop(0, 40, body, x)

    starts = [jnp.int32(i) for i in range(4)]
    alone = [np.asarray(steps(x, first)) for first in starts]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda first: np.asarray(steps(x, first)), starts))
    np.testing.assert_array_equal(together, alone)


def test_auto_storage():
    thin, labels = make_data(density=0.1)
    on_cpu = jax.default_backend() == "cpu"
    assert prefer_sparse(thin) == on_cpu and not prefer_sparse(FEATURES)
    chosen = logistic_regression(thin, labels, 4).features
    assert isinstance(chosen, SparseShards if on_cpu else np.ndarray)
    for matrix in (FEATURES, thin.toarray()):
        assert isinstance(logistic_regression(matrix, LABELS, 4).features, np.ndarray)
    forced = logistic_regression(thin.toarray(), labels, 4, storage="sparse")
    assert isinstance(forced.features, SparseShards)


def test_bad_input():
    with pytest.raises(
        ValueError, match="storage must be 'auto', 'dense' or 'sparse', got 'csr'"
    ):
        logistic_regression(FEATURES, LABELS, 4, storage="csr")
    broken = FEATURES.copy()
    broken.data[10] = np.nan
    row, column = np.argwhere(np.isnan(broken.toarray()))[0]
    with pytest.raises(ValueError, match=rf"features\[{row}, {column}\] is nan"):
        logistic_regression(broken, LABELS, 4)
    outside = FEATURES.copy()
    outside.indices[10] = 9
    with pytest.raises(ValueError, match="indices"):
        logistic_regression(outside, LABELS, 4, storage="sparse")
    with pytest.raises(ValueError, match="always a copy"):
        np.asarray(pair()[0].features, copy=False)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 50), max_size=40),
    before=st.integers(0, 3),
    parts=st.integers(1, 7),
)
def test_parts_of_rows_are_equal_work(lengths, before, parts):
    indptr = np.cumsum([0] + [9] * before + sorted(lengths)).astype(np.int32)
    cuts = [
        csr_kernel._cut(indptr, before, len(lengths), part, parts)
        for part in range(parts + 1)
    ]
    assert cuts[0] == 0 and cuts[-1] == len(lengths) and cuts == sorted(cuts)
    work = np.array(sorted(lengths)) + csr_kernel._ROW
    shares = [work[a:b].sum() for a, b in itertools.pairwise(cuts)]
    largest = max(work, default=0)
    assert max(shares) - min(shares) <= 2 * largest
