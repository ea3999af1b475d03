"""Sparse shards against dense ones, against SciPy and against other sparse products.

w7a has 3.9% nonzeros. Float32, full local gradients.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.experimental.sparse import BCSR

import asgrad_jax as ag
from asgrad_jax.engine.devices import cast
from asgrad_jax.kernels import cores_per_call
from benchmarks import scipy_loop
from benchmarks.cases import METHODS, engine_run, libsvm, schedules
from benchmarks.timing import cpu_only, sized

WORKERS, ROWS = 10, 24_600


@pytest.fixture(scope="module")
def w7a():
    return libsvm("w7a", ROWS)


@pytest.fixture(scope="module")
def processes(w7a):
    with scipy_loop.pool(*w7a, WORKERS) as ready:
        yield ready


@cpu_only
@pytest.mark.parametrize(
    ("lanes", "over_dense", "over_scipy"), [(32, 1.8, 1.0), (128, 3.0, 2.0)]
)
def test_w7a_sparse(versus, w7a, processes, lanes, over_dense, over_scipy):
    """w7a, 3 methods x 10 seeds x 32 or 128 step sizes; SciPy in a process per core."""
    # Long enough that the metrics at both ends, which SciPy lacks, hardly count: they
    # cost as much as a dozen gradients.
    arrivals = sized(400, 20)
    chosen = schedules(WORKERS, arrivals, methods=METHODS, seeds=10)
    sparse, dense = (
        ag.logistic_regression(*w7a, WORKERS, storage=storage)
        for storage in ("sparse", "dense")
    )
    each = arrivals * lanes
    cases = {
        "engine, sparse": (engine_run(sparse, chosen, lanes), len(chosen) * each),
        # Slow: one schedule per core shows the rate.
        "engine, dense": (engine_run(dense, chosen[:2], lanes), 2 * each),
        "SciPy CSR": (
            scipy_loop.scipy_run(processes, chosen, lanes),
            len(chosen) * each,
        ),
    }
    versus(
        cases, targets={"engine, dense": over_dense, "SciPy CSR": over_scipy}, rounds=5
    )


@cpu_only
@pytest.mark.parametrize("lanes", [1, 10, 32, 128])
def test_one_gradient(versus, w7a, lanes):
    """One worker's gradient of w7a on one thread: the kernel and what it replaced."""
    calls, worker = sized(20, 5), WORKERS - 1
    placed = {
        storage: jax.device_put(
            cast(ag.logistic_regression(*w7a, WORKERS, storage=storage), np.float32)
        )
        for storage in ("sparse", "dense")
    }
    features, labels = (leaf[worker * ROWS // WORKERS :] for leaf in w7a)
    rows, columns = (
        BCSR.from_scipy_sparse(form.tocsr()) for form in (features, features.T)
    )
    signs = jnp.asarray(labels)[:, None]
    key = jax.random.key(0)

    def engine(problem, x):
        return problem.gradients(x, jnp.int32(worker), jnp.int32(0), key)

    def gathers(problem, x):
        with cores_per_call(0):
            return problem.features.loss_terms(
                x, problem.labels, problem.row_weight, worker=worker, with_loss=False
            )[1]

    def library(matrices, x):
        rows, columns = matrices
        residual = jax.nn.sigmoid(-(rows @ x) * signs) * (-signs / len(labels))
        return columns @ residual

    def repeated(gradient, data, start):
        # One jitted loop: calls of a few dozen microseconds, without Python between.
        run = jax.jit(
            lambda data, x: jax.lax.fori_loop(
                0, calls, lambda k, x: x - 1e-6 * gradient(data, x), x
            )
        )
        return lambda: run(data, start).block_until_ready()

    x = np.random.default_rng(0).normal(0, 0.1, (lanes, features.shape[1]))
    x = x.astype(np.float32)
    upright = np.ascontiguousarray(x.T)
    scipy_loop.load(*w7a, WORKERS)

    def scipy_calls():
        point = upright
        for _ in range(calls):
            step = scipy_loop.gradient(scipy_loop._shards[worker], point)
            point = point - np.float32(1e-6) * step

    functions = {
        "kernel": repeated(engine, placed["sparse"], jnp.asarray(x)),
        "SciPy CSR": scipy_calls,
        "BCSR products": repeated(library, (rows, columns), jnp.asarray(upright)),
        "gathers and scatters": repeated(gathers, placed["sparse"], jnp.asarray(x)),
        "dense": repeated(engine, placed["dense"], jnp.asarray(x)),
    }
    versus({name: (run, calls * lanes) for name, run in functions.items()}, rounds=9)


@cpu_only
@pytest.mark.parametrize("lanes", [1, 8, 32])
@pytest.mark.parametrize("density", [0.05, 0.1, 0.15, 0.2, 0.3])
def test_density(versus, density, lanes):
    """Sparse against dense by density, n=4, m=1000, d=300: where "auto" should turn."""
    matrix = scipy.sparse.random_array((4000, 300), density=density, rng=0)
    labels = np.sign(np.random.default_rng(0).normal(size=4000))
    arrivals = max(50, sized(1600, 100) // lanes)
    chosen = schedules(4, arrivals, seeds=2)
    cases = {}
    for storage in ("sparse", "dense"):
        problem = ag.logistic_regression(matrix, labels, 4, storage=storage)
        run = engine_run(problem, chosen, lanes)
        cases[storage] = run, len(chosen) * arrivals * lanes
    versus(cases, rounds=5)
