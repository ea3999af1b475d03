"""The contract that every problem keeps with the engine, checked on any problem."""

import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax.model.problem import Problem


def place(problem, dtype):
    """The problem as the engine places it: floating leaves cast to the run's dtype."""

    def cast(leaf):
        leaf = np.asarray(leaf)
        assert leaf.dtype.itemsize <= 4 or leaf.dtype == np.float64, leaf.dtype
        floating = np.issubdtype(leaf.dtype, np.floating)
        return jnp.asarray(leaf, dtype if floating else None)

    return jax.tree.map(cast, problem)


def random_lanes(problem, num_lanes, dtype, seed=0):
    """Lanes near the start: a pytree with leaves [S, ...]."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(
            leaf + rng.normal(0, 0.5, (num_lanes, *leaf.shape)), dtype
        ),
        problem.init_params(),
    )


def assert_trees_close(left, right, rtol):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        scale = max(float(np.abs(b).max()), 1e-30)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def check_contract(problem, *, num_lanes=3):
    """Lanes, vmap, jit, dtypes, local gradients and the strict numpy rules of JAX."""
    assert isinstance(problem, Problem)
    hash(jax.tree.structure(problem))
    for leaf in jax.tree.leaves(problem.init_params()):
        assert isinstance(leaf, np.ndarray)
    for dtype, rtol in (("float32", 2e-5), ("float64", 1e-12)):
        with (
            jax.enable_x64(dtype == "float64"),
            jax.numpy_dtype_promotion("strict"),
            jax.numpy_rank_promotion("raise"),
        ):
            _check_in(problem, num_lanes, dtype, rtol)


def _check_in(problem, num_lanes, dtype, rtol):
    placed = place(problem, dtype)
    lanes = random_lanes(problem, num_lanes, dtype)
    key = jax.random.key(3)
    gradients = jax.jit(lambda p, *args: p.gradients(*args))
    metrics = jax.jit(lambda p, x: p.metrics(x))
    pairs = [(w, k) for w in range(problem.num_workers) for k in (0, 1, 5)]
    workers, draws = (
        jnp.array(column, jnp.int32) for column in zip(*pairs, strict=True)
    )

    def lane(s):
        return jax.tree.map(lambda leaf: leaf[s : s + 1], lanes)

    one_by_one = []
    for worker, draw in zip(workers, draws, strict=True):
        together = gradients(placed, lanes, worker, draw, key)
        for got, start in zip(
            jax.tree.leaves(together), jax.tree.leaves(lanes), strict=True
        ):
            assert got.dtype == dtype and got.shape == start.shape
        alone = [
            gradients(placed, lane(s), worker, draw, key) for s in range(num_lanes)
        ]
        alone = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *alone)
        assert_trees_close(together, alone, rtol)
        one_by_one.append(together)
    assert gradients._cache_size() == 2  # S lanes and one lane, nothing per worker

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one)
    shared = jax.vmap(placed.gradients, in_axes=(None, 0, 0, None))
    assert_trees_close(shared(lanes, workers, draws, key), stacked, rtol)
    wave = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(pairs)), lanes)
    own = jax.vmap(placed.gradients, in_axes=(0, 0, 0, None))
    assert_trees_close(own(wave, workers, draws, key), stacked, rtol)
    mapped = jax.lax.map(
        lambda pair: placed.gradients(lanes, *pair, key), (workers, draws)
    )
    assert_trees_close(mapped, stacked, rtol)

    values = metrics(placed, lanes)
    assert set(values) == {"loss", "grad_norm"}
    batched = jax.vmap(placed.metrics)(
        jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), lanes)
    )
    for name, value in values.items():
        assert value.dtype == dtype and value.shape == (num_lanes,)
        np.testing.assert_allclose(batched[name][1], value, rtol=rtol)
    for s in range(num_lanes):
        assert_trees_close(
            {name: value[s : s + 1] for name, value in values.items()},
            metrics(placed, lane(s)),
            rtol,
        )
        point = jax.tree.map(lambda leaf, s=s: leaf[s], lanes)
        local = jax.jit(lambda p, x: p.local_gradients(x))(placed, point)
        for leaf, x in zip(jax.tree.leaves(local), jax.tree.leaves(point), strict=True):
            assert leaf.dtype == dtype and leaf.shape == (problem.num_workers, *x.shape)
        mean = jax.tree.map(lambda leaf: leaf.mean(axis=0), local)
        norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(mean)))
        np.testing.assert_allclose(norm, values["grad_norm"][s], rtol=10 * rtol)


def check_gradient_of_loss(problem):
    """The full gradient is that of the reported loss: against jax.grad in float64."""
    with jax.enable_x64(True):
        placed = place(problem, "float64")
        lanes = random_lanes(problem, 1, "float64", seed=1)
        gradient = jax.grad(lambda x: placed.metrics(x)["loss"][0])(lanes)
        point = jax.tree.map(lambda leaf: leaf[0], lanes)
        local = placed.local_gradients(point)
        mean = jax.tree.map(lambda leaf: leaf.mean(axis=0, keepdims=True), local)
        assert_trees_close(mean, gradient, 1e-11)
