"""Networks: forward passes against loops, runs against the naive interpreter."""

import dataclasses

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.problems.sampling import minibatch_key
from helpers.problem_contract import place
from helpers.reference import naive_trajectory
from helpers.unmeasured import unmeasured

RNG = np.random.default_rng(0)
N = 3
LABELS = RNG.integers(0, 3, 24)
FEATURES = RNG.normal(size=(24, 4))
IMAGES = RNG.normal(size=(24, 5, 4, 2))
TOKENS = RNG.integers(0, 4, (24, 6))


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    weight: np.ndarray
    bias: np.ndarray


def of_layers(params, batch):
    """Parameters as dataclasses within tuples."""
    first, (second,) = params
    hidden = jnp.tanh(batch[0] @ first.weight + first.bias[None])
    scores = hidden @ second.weight + second.bias[None]
    return ag.problems.cross_entropy(scores, batch[1])


def own():
    start = (
        Layer(RNG.normal(size=(4, 5)), np.zeros(5)),
        (Layer(RNG.normal(size=(5, 3)), np.zeros(3)),),
    )
    return ag.from_loss(of_layers, start, (FEATURES, LABELS), N, batch_size=4)


READY = {
    "mlp": lambda: ag.problems.mlp(FEATURES, LABELS, N, hidden=(5, 4), batch_size=4),
    "cnn": lambda: ag.problems.cnn(IMAGES, LABELS, N, channels=(3, 4), batch_size=4),
    "transformer": lambda: ag.problems.transformer(
        TOKENS, N, width=4, layers=1, batch_size=4
    ),
    "dataclasses": own,
}


@pytest.mark.parametrize("name", READY)
def test_a_run_is_that_of_the_naive_interpreter(name):
    problem = READY[name]()
    key = jax.random.wrap_key_data(minibatch_key(3))
    clock = ag.compute_times.exponential(np.ones(N))
    schedule = ag.simulate("shuffled_async", clock, num_gradients=12, seed=1)
    with jax.enable_x64(True):
        start = jax.tree.map(jnp.asarray, problem.init_params())
        flat, unravel = jax.flatten_util.ravel_pytree(start)

        @jax.jit
        def mean_gradient(x, batch):
            def loss(x):
                return jnp.mean(problem.loss(unravel(x), batch))

            return jax.grad(loss)(x)

        def gradient(x, worker, job):
            rows = np.asarray(problem.sample(worker, job, key))
            batch = jax.tree.map(lambda leaf: leaf[worker, rows], problem.data)
            return np.asarray(mean_gradient(x, batch))

        expected = naive_trajectory(schedule, gradient, 0.1, np.asarray(flat))[-1]
    options = dict(seed=3, precision="float64", record_every=12, width=1)
    run = ag.run(unmeasured(problem), schedule, step_size=0.1, **options)
    got = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(run.params)])
    assert np.abs(got - np.asarray(flat)).max() > 0.01
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-11)
    assert jax.tree.structure(run.params) == jax.tree.structure(start)


def test_scores_of_a_perceptron():
    problem = READY["mlp"]()
    params = problem.init_params()
    x = FEATURES
    for name in ("layer_1", "layer_2"):
        x = np.maximum(x @ params[name]["weight"] + params[name]["bias"], 0)
    x = x @ params["layer_3"]["weight"] + params["layer_3"]["bias"]
    with jax.enable_x64(True):
        got = ag.problems.mlp_scores(params, FEATURES)
        np.testing.assert_allclose(got, x, rtol=1e-12)


def test_scores_of_a_convolutional_network():
    """Against XLA's convolution, and means that reduce_window takes."""
    params = READY["cnn"]().init_params()
    with jax.enable_x64(True):
        x = jnp.asarray(IMAGES)
        for name in ("conv_1", "conv_2"):
            kernel = params[name]["kernel"].reshape(3, 3, x.shape[-1], -1)
            x = jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu(x + params[name]["bias"][None, None, None])
            window = (1, 2, 2, 1)
            x = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, window, "VALID") / 4
        x = x.reshape(24, -1) @ params["dense"]["weight"]
        got = ag.problems.cnn_scores(params, IMAGES)
        np.testing.assert_allclose(got, x, rtol=1e-11)


def normal(x, scale):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * scale


def scores_of_text(params, tokens, heads):
    """The transformer, a position and a head at a time."""
    x = [params["embedding"][t] + params["position"][i] for i, t in enumerate(tokens)]
    width = len(x[0])
    size = width // heads
    for layer in params["layers"]:
        parts = [np.split(normal(a, layer["norm_1"]) @ layer["attend"], 3) for a in x]
        after = []
        for i, a in enumerate(x):
            mixed = np.zeros(width)
            for h in range(heads):
                cut = slice(h * size, (h + 1) * size)
                s = [parts[i][0][cut] @ parts[j][1][cut] for j in range(i + 1)]
                p = np.exp(np.array(s) / np.sqrt(size))
                mixed[cut] = sum(
                    p[j] / p.sum() * parts[j][2][cut] for j in range(i + 1)
                )
            after.append(a + mixed @ layer["join"])
        x = [
            a + np.maximum(normal(a, layer["norm_2"]) @ layer["up"], 0) @ layer["down"]
            for a in after
        ]
    return np.array([normal(a, params["norm"]) @ params["head"] for a in x])


def test_scores_of_a_transformer():
    params = READY["transformer"]().init_params()
    with jax.enable_x64(True):
        placed = jax.tree.map(jnp.asarray, params)
        got = ag.problems.transformer_scores(
            placed, jnp.asarray(TOKENS[:2, :5]), heads=2
        )
        for k in range(2):
            expected = scores_of_text(params, TOKENS[k, :5], 2)
            np.testing.assert_allclose(got[k], expected, rtol=1e-9, atol=1e-12)


def test_frozen_parts_are_arguments_and_stay():
    def loss(params, batch, frozen):
        hidden = jnp.tanh(batch[0] @ frozen["in"])
        return ag.problems.cross_entropy(hidden @ params, batch[1])

    frozen = {"in": RNG.normal(size=(4, 5))}
    data, start = (FEATURES, LABELS), RNG.normal(size=(5, 3))
    problem = ag.from_loss(loss, start, data, N, frozen=frozen, batch_size=4)

    @jax.jit
    def both(problem, x):
        rows = jnp.arange(4)
        batch = jax.tree.map(lambda leaf: leaf[1, :4], problem.data)

        def closed(x):
            return jnp.mean(loss(x, batch, problem.frozen))

        return problem.gradients_with(x[None], 1, rows)[0], jax.grad(closed)(x)

    got, expected = both(place(problem, "float32"), jnp.asarray(start, jnp.float32))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert jax.tree.structure(problem.init_params()).num_leaves == 1
    with pytest.raises(TypeError, match=r"frozen must be given .* got None"):
        ag.from_loss(loss, start, data, N)
    with pytest.raises(TypeError, match="a loss without that parameter"):
        ag.from_loss(of_layers, start, data, N, frozen=frozen)


def batch_normal(params, batch):
    rows, labels = batch
    scaled = (rows - rows.mean(0)[None]) / jnp.sqrt(rows.var(0) + 1e-5)[None]
    return ag.problems.cross_entropy(scaled @ params, labels)


def test_statistics_of_a_batch_are_never_silently_wrong():
    data, start = (FEATURES, LABELS), RNG.normal(size=(4, 3))
    with pytest.raises(ValueError, match=r"depend on that row alone .*BatchNorm"):
        ag.from_loss(batch_normal, start, data, 2, partition=[0] * 5 + [1] * 19)
    problem = ag.from_loss(batch_normal, start, data, N, batch_size=4)
    assert "BatchNorm" in problem.gradient_bias
    with pytest.raises(ValueError, match="rows of a batch affect each other"):
        ag.theory.constants(problem)
    whole = ag.from_loss(batch_normal, start, data, N)
    assert not whole.gradient_bias and not READY["mlp"]().gradient_bias


def test_metrics_on_data_of_their_own():
    def accuracy(params, data):
        scores = ag.problems.mlp_scores(params, data["x"])
        return jnp.mean(jnp.argmax(scores, axis=1) == data["y"])

    held_out = {"x": FEATURES[:9], "y": LABELS[:9]}
    inside = READY["mlp"]()
    problem = ag.problems.with_metrics(inside, {"accuracy": accuracy}, held_out)
    assert problem.num_workers == N and problem.lower_bound().value == 0
    schedule = ag.simulate(
        "pure_async", ag.compute_times.fixed([1.0, 2.0, 3.0]), num_gradients=60
    )
    run = ag.run(problem, schedule, step_size=0.3, record_every=30)
    last = accuracy(jax.tree.map(jnp.asarray, run.params), held_out)
    np.testing.assert_allclose(run.metrics["accuracy"][-1], last)
    assert last > 0.4
    with pytest.raises(ValueError, match="got 'loss'"):
        ag.problems.with_metrics(inside, {"loss": accuracy}, held_out)
    with pytest.raises(TypeError, match="must map names"):
        ag.problems.with_metrics(inside, accuracy, held_out)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: p.cnn(IMAGES[:, :3], LABELS, N), ValueError, "at least 4 x 4"),
        (lambda p: p.mlp(FEATURES, LABELS - 1, N), ValueError, r"must be in 0\.\."),
        (lambda p: p.mlp(FEATURES, LABELS, N, hidden=[0]), ValueError, "hidden must"),
        (lambda p: p.transformer(TOKENS, N, width=5), ValueError, "multiple of heads"),
        (
            lambda p: p.transformer(TOKENS, N, vocabulary=3),
            ValueError,
            r"tokens must be in 0\.\.2",
        ),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(ag.problems)
