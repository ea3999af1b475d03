"""Dense rows: the compiled kernel and matrix products agree."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asgrad_jax as ag
from asgrad_jax.engine.devices import run_type
from asgrad_jax.kernels import cores_per_call
from asgrad_jax.problems import dense_shards as dense

PRECISIONS = {"float32": 3e-6, "float64": 2e-14}
on_cpu = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="the kernel is for CPUs"
)


def data_of(n, m, d, lanes, dtype, seed=0):
    """Iterates, rows, labels, weights; the last row of the last worker is padding."""
    rng = np.random.default_rng(seed)
    rows, weights = rng.normal(size=(n, m, d)), rng.random((n, m))
    rows[-1, -1], weights[-1, -1] = 0, 0
    labels = rng.choice([-1.0, 1.0], (n, m))
    params = rng.normal(0, 2, (lanes, d))
    return [jnp.asarray(leaf, dtype) for leaf in (params, rows, labels, weights)]


def by_products(*data, **options):
    with cores_per_call(0):
        return dense.loss_terms(*data, **options)


def by_numpy(
    params, rows, labels, weights, worker=None, batch_rows=None, with_loss=True
):
    """The sums in float64 without a compiler, and the sums of sizes beside them."""
    params, *data = (
        np.asarray(leaf, float) for leaf in (params, rows, labels, weights)
    )
    if worker is not None:
        data = [leaf[worker] for leaf in data]
    if batch_rows is not None:
        data = [leaf[np.asarray(batch_rows)] for leaf in data[:2]]
        data.append(np.full(len(batch_rows), 1 / len(batch_rows)))
    rows, labels, weights = (
        data[0].reshape(-1, params.shape[1]),
        *map(np.ravel, data[1:]),
    )
    margins = params @ rows.T * labels
    loss = np.logaddexp(0, -margins) @ weights
    residual = -labels * weights / (1 + np.exp(margins))
    loss = loss if with_loss else loss[:0]
    return (loss, residual @ rows), (loss, np.abs(residual) @ np.abs(rows))


def assert_close(got, wanted, rtol, sizes=None):
    """Up to rounding, which is relative to the summands: their sum may cancel."""
    for a, b, size in zip(got, wanted, sizes or wanted, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        scale = float(np.abs(size).max()) if b.size else 0
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


@on_cpu
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 4),
    m=st.one_of(st.integers(1, 40), st.just(150)),
    d=st.sampled_from([1, 7, 8, 15, 16, 17, 31, 32, 33, 96, 97, 250, 256, 257]),
    lanes=st.sampled_from([1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 70]),
    dtype=st.sampled_from(list(PRECISIONS)),
    options=st.sampled_from(["all", "worker", "batch_rows", "no loss"]),
    seed=st.integers(0, 99),
)
def test_kernel_agrees_with_numpy(n, m, d, lanes, dtype, options, seed):
    with jax.enable_x64(dtype == "float64"):
        data = data_of(n, m, d, lanes, dtype, seed)
        chosen: dict[str, Any] = {}
        if options != "all":
            chosen["worker"] = jnp.int32(seed % n)
        if options == "batch_rows":
            drawn = np.random.default_rng(seed).integers(0, m, 1 + seed % 37)
            chosen["batch_rows"] = jnp.asarray(drawn, jnp.int32)
        if options == "no loss":
            chosen["with_loss"] = False
        got = dense.loss_terms(*data, **chosen)
        # The more terms in a margin, the less certain it is, and so is a small loss;
        # among many lanes there is a large one to compare with.
        rtol = PRECISIONS[dtype] * (max(1, d / 32) if lanes < 5 else 1)
        wanted, sizes = by_numpy(*data, **chosen)
        assert_close(got, [leaf.astype(dtype) for leaf in wanted], rtol, sizes)


@on_cpu
@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("with_loss", [True, False])
def test_batches_of_workers_have_the_bits_of_single_ones(with_loss, lanes):
    params, *data = data_of(3, 5, 18, lanes, "float32")
    rng = np.random.default_rng(0)
    workers = jnp.asarray(rng.integers(0, 3, (2, 4)), jnp.int32)
    batch_rows = jnp.asarray(rng.integers(0, 5, (2, 4, 3)), jnp.int32)

    def one(x, worker, batch_rows):
        return dense.loss_terms(
            x, *data, worker=worker, batch_rows=batch_rows, with_loss=with_loss
        )

    lanes = params * jnp.arange(1.0, 9).reshape(2, 4, 1, 1)
    together = jax.jit(jax.vmap(jax.vmap(one)))(lanes, workers, batch_rows)
    for i in range(2):
        for j in range(4):
            alone = one(lanes[i, j], workers[i, j], batch_rows[i, j])
            for a, b in zip(together, alone, strict=True):
                np.testing.assert_array_equal(a[i, j], b)
    shared = jax.vmap(lambda w: one(params, w, batch_rows[0, 0])[1])(workers[0])
    np.testing.assert_array_equal(
        shared[2], one(params, workers[0, 2], batch_rows[0, 0])[1]
    )
    scaled = jax.vmap(lambda c: dense.loss_terms(params, c * data[0], *data[1:])[1])
    np.testing.assert_array_equal(
        scaled(jnp.array([1.0, 2.0]))[0], dense.loss_terms(params, *data)[1]
    )


@on_cpu
@pytest.mark.parametrize(
    ("lanes", "some"), [(20, [(0, 5), (5, 13), (2, 19)]), (4, [(0, 1), (1, 3), (1, 4)])]
)
def test_lanes_do_not_depend_on_their_neighbours(lanes, some):
    params, *data = data_of(2, 6, 10, lanes, "float32")
    good = np.asarray(dense.loss_terms(params, *data)[1])
    for first, last in some:
        alone = dense.loss_terms(params[first:last], *data)[1]
        np.testing.assert_array_equal(alone, good[first:last])
    broken = np.array(params)
    broken[1], broken[-1, 2] = np.nan, np.inf
    loss, gradient = map(np.asarray, dense.loss_terms(jnp.asarray(broken), *data))
    assert np.isnan(loss[1]) and np.isnan(gradient[[1, -1]]).any(axis=1).all()
    others = np.delete(np.arange(lanes), [1, lanes - 1])
    np.testing.assert_array_equal(gradient[others], good[others])


def test_derivatives_are_those_of_the_products():
    with jax.enable_x64(True):
        params, *data = data_of(2, 6, 5, 4, "float64")
        gradient = jax.grad(lambda x: dense.loss_terms(x, *data)[0].sum())(params)
        np.testing.assert_allclose(gradient, dense.loss_terms(params, *data)[1])
        curvature = jax.jacfwd(lambda x: dense.loss_terms(x, *data)[1])(params)
        wanted = jax.jacfwd(lambda x: by_products(x, *data)[1])(params)
        np.testing.assert_allclose(curvature, wanted)


@jax.default_matmul_precision("float32")  # as in the engine; matters on a GPU
def test_blocks_do_not_change_the_products(monkeypatch):
    data = data_of(8, 3, 5, 2, "float32")
    values = []
    for elements in (2**20, 0, 2 * 3 * 3, 2 * 3 * 4):  # blocks of 8, 1, 3 (+ 2), 4
        monkeypatch.setattr(dense, "_BLOCK", elements)
        values.append(by_products(*data))
    for other in values[1:]:
        assert_close(other, values[0], 1e-6)


@on_cpu
@pytest.mark.parametrize(  # all pairs of values
    ("width", "batch_size", "num_step_sizes"),
    [(1, None, 1), (1, 3, 5), (4, None, 5), (4, 3, 1)],
)
def test_trajectories_agree_with_products(
    width, batch_size, num_step_sizes, monkeypatch
):
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(41, 11)), rng.integers(0, 2, 41)
    clock = ag.compute_times.exponential(range(1, 5))
    found = []
    for kernels in (True, False):
        problem = ag.logistic_regression(
            rows, labels, 4, batch_size=batch_size, drop_last=True
        )
        found.append(
            ag.sweep(
                problem,
                algorithms=["shuffled_async", "ia2sgd"],
                compute_times=clock,
                step_sizes=np.linspace(0.1, 0.5, num_step_sizes),
                num_gradients=60,
                record_every=7,
                kernels=kernels,
                width=width,
                precision="float64",
            )
        )
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-10)


@pytest.mark.parametrize("storage", ["dense", "sparse"])
@pytest.mark.parametrize("lanes", [1, 3, 20])
@pytest.mark.parametrize("rows", [4, 5, 6, 7])
def test_an_infinite_loss_stays_infinite(storage, lanes, rows):
    """Rows are taken four at a time; what fills up the last four adds nothing."""
    features, labels = np.full((rows, 8), 1e30), np.array([1] + [-1] * (rows - 1))
    problem = ag.logistic_regression(
        features, labels, 1, storage=storage, regularizer=None
    )
    placed = jax.tree.map(lambda x: jnp.asarray(x, run_type(x.dtype, "f4")), problem)
    values = placed.metrics(jnp.full((lanes, 8), 1e10, jnp.float32))
    assert np.isposinf(values["loss"]).all()
