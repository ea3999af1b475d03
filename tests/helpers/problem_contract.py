"""The contract that every problem keeps with the engine, checked on any problem."""

import copy

import chex
import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax.problems.problem import Problem


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
        leaf += 1  # it is the caller's
    # Runs would not follow a change in place, of a copy neither.
    for one in (problem, copy.deepcopy(problem)):
        assert not any(leaf.flags.writeable for leaf in jax.tree.leaves(one))
    for dtype in ("float32", "float64"):
        with (
            jax.enable_x64(dtype == "float64"),
            jax.numpy_dtype_promotion("strict"),
            jax.numpy_rank_promotion("raise"),
        ):
            pairs = [(w, k) for w in range(problem.num_workers) for k in (0, 1, 5)]
            columns = tuple(
                jnp.array(column, jnp.int32) for column in zip(*pairs, strict=True)
            )
            lanes = random_lanes(problem, num_lanes, dtype)
            arguments = (place(problem, dtype), lanes, columns, jax.random.key(3))
            # The numbers are compared in float64; float32 is traced, which is cheap.
            results = jax.eval_shape(_all_ways, *arguments)
            _check_shapes(results, problem, lanes, columns, dtype)
            if dtype == "float64":
                _check_numbers(_all_ways(*arguments), rtol=1e-12)
                again = random_lanes(problem, num_lanes, dtype, seed=5)
                _all_ways(place(problem, dtype), again, columns, jax.random.key(4))
                assert _all_ways._cache_size() == 1  # other values, same program
                _all_ways.clear_cache()


def _check_shapes(results, problem, lanes, columns, dtype):
    num_lanes = jax.tree.leaves(lanes)[0].shape[0]

    def expect(got, *leading):
        wanted = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((*leading, *x.shape[1:]), dtype), lanes
        )
        chex.assert_trees_all_equal_shapes_and_dtypes(got, wanted)

    for way in ("gradients", "lane by lane", "wave"):
        expect(results[way], columns[0].size, num_lanes)
    expect(results["local gradients"], num_lanes, problem.num_workers)
    assert set(results["metrics"]) == {"loss", "grad_norm"}
    for value in results["metrics"].values():
        assert value.dtype == dtype and value.shape == (num_lanes,)


def _check_numbers(results, rtol):
    for way in ("lane by lane", "wave", "sample first"):
        if results[way] is not None:
            assert_trees_close(results[way], results["gradients"], rtol)
    assert_trees_close(results["metrics of records"], results["metrics"], rtol)
    squares = [
        np.square(np.asarray(leaf).mean(axis=1)).reshape(leaf.shape[0], -1)
        for leaf in jax.tree.leaves(results["local gradients"])
    ]
    norms = np.sqrt(np.concatenate(squares, axis=1).sum(axis=1))
    np.testing.assert_allclose(norms, results["metrics"]["grad_norm"], rtol=10 * rtol)


@jax.jit
def _all_ways(problem, lanes, columns, key):
    """The same numbers by every layout that an engine may choose."""
    num_lanes = jax.tree.leaves(lanes)[0].shape[0]
    by_lane = jax.tree.map(lambda leaf: leaf[:, None], lanes)  # S lanes of one each

    def one_lane(lane):
        return jax.lax.map(lambda wk: problem.gradients(lane, *wk, key), columns)

    def repeat(leaf):
        return jnp.stack([leaf] * columns[0].size)

    def squeeze_lane(leaf):  # [S, pairs, 1, ...] -> [pairs, S, ...]
        return jnp.swapaxes(leaf[:, :, 0], 0, 1)

    return {
        "gradients": jax.lax.map(
            lambda wk: problem.gradients(lanes, *wk, key), columns
        ),
        "lane by lane": jax.tree.map(squeeze_lane, jax.lax.map(one_lane, by_lane)),
        "wave": jax.vmap(problem.gradients, in_axes=(0, 0, 0, None))(
            jax.tree.map(repeat, lanes), *columns, key
        ),
        "sample first": jax.lax.map(
            lambda wk: problem.gradients_with(lanes, wk[0], problem.sample(*wk, key)),
            columns,
        ),
        "metrics": problem.metrics(lanes),
        "metrics of records": jax.tree.map(
            lambda leaf: leaf.reshape(num_lanes), jax.vmap(problem.metrics)(by_lane)
        ),
        "local gradients": jax.lax.map(problem.local_gradients, lanes),
    }


def check_gradient_of_loss(problem):
    """The full gradient is that of the reported loss: against jax.grad in float64."""
    with jax.enable_x64(True):
        lanes = random_lanes(problem, 1, "float64", seed=1)
        mean, gradient = _two_gradients(place(problem, "float64"), lanes)
        assert_trees_close(mean, gradient, 1e-11)


@jax.jit
def _two_gradients(problem, lanes):
    local = problem.local_gradients(jax.tree.map(lambda leaf: leaf[0], lanes))
    mean = jax.tree.map(lambda leaf: leaf.mean(axis=0, keepdims=True), local)
    return mean, jax.grad(lambda x: problem.metrics(x)["loss"][0])(lanes)
