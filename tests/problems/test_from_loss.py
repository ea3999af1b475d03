"""Problems from a user's loss: against the ready problem, pytrees, refusals."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from asgrad_jax.problems.from_loss import from_loss
from asgrad_jax.problems.local_steps import local_steps
from asgrad_jax.problems.logistic import logistic_regression
from helpers.problem_contract import check_contract, check_gradient_of_loss, place

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(0, 1, (24, 5))
LABELS = np.where(RNG.random(24) < 0.4, 1.0, -1.0)
CLASSES = RNG.integers(0, 3, 24)
UNEQUAL = np.repeat([0, 1, 2], [13, 4, 7])
MLP = {
    "in": RNG.normal(0, 0.5, (5, 4)),
    "out": (RNG.normal(0, 0.5, (4, 3)), np.zeros(3)),
}


def logistic_rows(params, batch):
    features, labels = batch
    penalty = 0.1 * jnp.sum(params**2 / (1 + params**2))
    return jax.nn.softplus(-labels * (features @ params)) + penalty


def logistic_mean(params, batch):
    return jnp.mean(logistic_rows(params, batch))


def mlp_rows(params, batch):
    weights, bias = params["out"]
    logits = jnp.tanh(batch["x"] @ params["in"]) @ weights + bias[None]
    scores = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(scores, batch["class"][:, None], axis=1)[:, 0]


def mlp(**options):
    data = {"x": FEATURES, "class": CLASSES}
    return from_loss(mlp_rows, MLP, data, **(dict(num_workers=4) | options))


VARIANTS = {
    "full, dirichlet": dict(partition="dirichlet", alpha=0.5, labels=CLASSES),
    "reshuffled, unequal": dict(
        num_workers=3, partition=UNEQUAL, batch_size=3, sampling="reshuffled"
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_contract_of_a_network(variant):
    problem = mlp(**VARIANTS[variant])
    check_contract(problem)
    check_gradient_of_loss(problem)


WIDE = {  # 75 numbers
    "in": RNG.normal(0, 0.5, (5, 9)),
    "out": (RNG.normal(0, 0.5, (9, 3)), np.zeros(3)),
}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a matter of CPUs")
@pytest.mark.parametrize(
    ("params", "lanes", "batch_size", "expected"),
    [
        (WIDE, 2, 6, True),  # 36 numbers in the rows, labels included
        (WIDE, 2, 7, False),
        (WIDE, 1, 6, False),
        (WIDE, 2, None, False),  # shards of 8 rows
        (WIDE | {"kernel": np.zeros((3, 1, 8))}, 2, 3, False),
        ({"x": np.zeros(99)}, 2, 3, False),
    ],
)
def test_lanes_get_rows_of_their_own(params, lanes, batch_size, expected):
    def loss(params, batch):
        if "in" not in params:
            return batch["x"] @ params["x"][:5]
        return mlp_rows(params, batch) + jnp.sum(params.get("kernel", 0.0))

    data = {"x": FEATURES, "class": CLASSES}
    problem = from_loss(loss, params, data, num_workers=3, batch_size=batch_size)
    assert problem.cost(lanes).copies_rows == expected
    assert local_steps(problem, 2, 0.1).cost(lanes).copies_rows == expected
    # Whatever is chosen, a lane has the gradient that it has by itself.
    start = jax.tree.map(jnp.asarray, problem.init_params())
    many = jax.tree.map(lambda x: jnp.stack([x + 0.1 * k for k in range(3)]), start)
    with jax.enable_x64(True):
        exact = place(problem, "float64")
        many = jax.tree.map(lambda x: jnp.asarray(x, float), many)
        sample = None if batch_size is None else jnp.arange(batch_size)
        together = exact.gradients_with(many, 1, sample)
        for k in range(3):
            one = jax.tree.map(lambda x, k=k: x[k : k + 1], many)
            alone = exact.gradients_with(one, 1, sample)
            for a, b in zip(*map(jax.tree.leaves, (together, alone)), strict=True):
                np.testing.assert_allclose(a[k], b[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (logistic_rows, dict(partition=UNEQUAL, num_workers=3)),
        (
            logistic_rows,
            dict(batch_size=4, sampling="reshuffled", partition=UNEQUAL, num_workers=3),
        ),
        (logistic_mean, dict(batch_size=3, partition="sorted")),
    ],
)
def test_agrees_with_the_ready_logistic_problem(loss, options):
    options = dict(num_workers=4) | options
    ready = logistic_regression(FEATURES, LABELS, **options)
    own = from_loss(loss, np.ones(5), (FEATURES, LABELS), labels=LABELS, **options)
    with jax.enable_x64(True):
        points = jnp.asarray(RNG.normal(0, 1, (3, 5)))
        expected = _evaluate(place(ready, "float64"), points)
        got = _evaluate(place(own, "float64"), points)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


@jax.jit
def _evaluate(problem, points):
    key = jax.random.key(2)
    gradients = jax.lax.map(
        lambda wk: problem.gradients(points, *wk, key),
        (jnp.array([0, 1, 2], jnp.int32), jnp.array([0, 4, 1], jnp.int32)),
    )
    return problem.metrics(points), gradients, problem.local_gradients(points[0])


@jax.default_matmul_precision("float32")  # as in the engine; matters on a GPU
def test_blocks_do_not_change_the_metrics(monkeypatch):
    problem = place(mlp(), "float32")
    lanes = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32)[None], MLP)
    values = []
    for rows in (4096, 1, 6 * 3):  # all; one worker each; three, with one left over
        # The module: the package has the function of that name.
        module = sys.modules["asgrad_jax.problems.from_loss"]
        monkeypatch.setattr(module, "_METRICS_ROWS", rows)
        values.append(jax.jit(lambda p, x: p.metrics(x))(problem, lanes))
    for other in values[1:]:
        for name, value in other.items():
            np.testing.assert_allclose(value, values[0][name], rtol=1e-6)


def test_padding_repeats_rows_where_zeros_would_be_harmful():
    # log of a zero feature is -inf, and 0 * inf is NaN: padding must not see it.
    def loss(params, batch):
        return params * jnp.log(batch)

    problem = from_loss(
        loss, np.ones(()), np.array([1.0, 2.0, 4.0]), num_workers=2, partition=[0, 0, 1]
    )
    local = place(problem, "float32").local_gradients(jnp.float32(1))
    np.testing.assert_allclose(local, [np.log(2) / 2, np.log(4)], rtol=1e-6)


def test_data_keep_their_kind():
    def loss(params, batch):
        assert batch["class"].dtype == jnp.int32
        assert batch["pixel"].dtype == jnp.uint8
        assert batch["flag"].dtype == jnp.bool_
        return params["w"] * batch["class"] + batch["flag"]

    data = {
        "class": np.arange(4, dtype=np.int64),
        "pixel": np.zeros((4, 2), np.uint8),
        "flag": np.array([True, False, True, False]),
    }
    problem = from_loss(loss, {"w": np.float32(2)}, data, num_workers=2)
    assert problem.init_params()["w"].dtype == np.float64
    metrics = place(problem, "float32").metrics({"w": jnp.array([2.0])})
    np.testing.assert_allclose(metrics["loss"], [3.5])


def test_results_follow_the_parameters_even_if_the_loss_does_not():
    def loss(params, batch):
        return jnp.mean(params * batch).astype(jnp.float32)

    problem = from_loss(loss, np.ones(()), np.arange(4.0), num_workers=2)
    with jax.enable_x64(True):
        metrics = place(problem, "float64").metrics(jnp.ones(3))
        assert metrics["loss"].dtype == metrics["grad_norm"].dtype == jnp.float64
    np.testing.assert_allclose(metrics["loss"], 1.5)


def scalar(params, batch):
    return jnp.sum(params) * jnp.mean(batch)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (dict(init_params=np.arange(3)), TypeError, "floating"),
        (dict(init_params={"a": np.ones(2), "n": 3}), TypeError, "dtype int"),
        (dict(init_params={}), TypeError, "init_params must have arrays"),
        (
            dict(init_params=np.array([np.nan])),
            ValueError,
            "init_params must be finite, got NaN",
        ),
        (
            dict(init_params=np.ma.array([1.0, 2.0], mask=[True, False])),
            ValueError,
            "init_params must have no masked",
        ),
        (
            dict(labels=np.ma.array(np.ones(6), mask=[1, 0, 0, 0, 0, 0])),
            ValueError,
            "labels must have no masked",
        ),
        (dict(data={}), TypeError, "data must have arrays, got none"),
        (
            dict(data=np.array(["a"] * 6)),
            TypeError,
            "data must be numbers, got dtype <U1",
        ),
        (
            dict(data=np.float64(3)),
            ValueError,
            r"data must have at least one row, .*\(\)",
        ),
        (dict(data=[1.0] * 6), ValueError, "give arrays, not lists"),
        (dict(data=scipy.sparse.eye_array(6)), TypeError, r"sparse .*toarray\(\)"),
        (
            dict(data=np.ma.array(np.ones(6), mask=[1, 0, 0, 0, 0, 0])),
            ValueError,
            "data must have no masked entries",
        ),
        (
            dict(loss=lambda p, b: np.sum(np.square(p)) + b),
            TypeError,
            "the loss cannot be compiled.*jax.numpy",
        ),
        (
            dict(data={"x": np.ones((6, 2)), "y": np.ones(5)}),
            ValueError,
            r"data\['x'\]: 6, data\['y'\]: 5",
        ),
        (
            dict(data=np.array([1.0, np.inf] * 3)),
            ValueError,
            "data must be finite, got N",
        ),
        (dict(data=np.full(6, 2**40)), ValueError, "data must be integers of 32 bits"),
        (dict(num_workers=4), ValueError, "last 2 rows"),
        (dict(num_workers=9), ValueError, "at most 6, the number of rows, got 9"),
        (dict(batch_size=7), ValueError, "at most 6, the rows of all workers"),
        (dict(partition="sorted"), ValueError, "labels must be given .*'sorted'"),
        (dict(partition="dirichlet", alpha=1.0), ValueError, "labels must be given"),
        (dict(labels=np.ones(5)), ValueError, "labels must have shape"),
        (dict(partition=[0, 0, 0, 1, 1, 1, 0]), ValueError, "shape"),
        (dict(partition=[0, 0, 0, 0, 1, 1]), ValueError, "one value per row"),
        (dict(loss=lambda p, b: jnp.ones((2, 2))), ValueError, "floating scalar or"),
        (dict(loss=lambda p, b: jnp.arange(b.shape[0])), ValueError, "floating scalar"),
        (dict(loss=lambda p, b: (jnp.sum(p), b)), ValueError, "floating scalar or"),
        (
            dict(
                loss=lambda p, b: jnp.sum(p) * (b if len(b) == 3 else b.mean()),
                batch_size=2,
            ),
            ValueError,
            "the loss must return one value per row .* got it for some",
        ),
    ],
)
def test_bad_input_is_refused(arguments, error, words):
    good = dict(loss=scalar, init_params=np.ones(2), data=np.ones(6), num_workers=2)
    with pytest.raises(error, match=words):
        from_loss(**(good | arguments))
