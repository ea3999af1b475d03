"""Shards of very different sizes: memory, gradients, short batches, weights."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import asgrad_jax as ag
from asgrad_jax.kernels import cores_per_call
from asgrad_jax.problems.constants import known_weights
from asgrad_jax.problems.row_split import _PADDING, split_rows, worker_scale
from helpers.problem_contract import check_contract

KINDS = ("dense", "sparse", "loss")
SAMPLINGS = ("without_replacement", "with_replacement", "reshuffled")
SKEWED = {
    "one client with nearly all": [4000] + [10] * 29,
    "one of many with half": [500] + [5] * 100,
    "log-uniform": np.unique(np.geomspace(1, 300, 40).astype(int)).tolist(),
}


def row_loss(params, batch):
    features, labels = batch
    return jax.nn.softplus(-labels * (features @ params))


def data_of(sizes, d, seed=0):
    """Features, half of them 0, labels and owners in a random order."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(sum(sizes), d))
    features *= rng.random(features.shape) < 0.5
    owner = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return features, rng.choice([-1.0, 1.0], sum(sizes)), owner


def problem_of(kind, data, **options):
    features, labels, owner = data
    n, options = int(owner.max()) + 1, {"partition": owner, **options}
    if kind == "loss":
        start = np.ones(features.shape[1])
        return ag.from_loss(row_loss, start, (features, labels), n, **options)
    if kind == "sparse":
        features = scipy.sparse.csr_array(features)
    return ag.logistic_regression(
        features, labels, n, regularizer=None, storage=kind, **options
    )


def gradient_of_rows(features, labels, points):
    """NumPy's mean over the rows of the loss gradients at points [S, d]."""
    margins = points @ features.T * labels
    return (-labels / (1 + np.exp(margins))) @ features / len(labels)


def bytes_of(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", SKEWED.values(), ids=SKEWED)
def test_memory_follows_the_rows(kind, sizes):
    data = data_of(sizes, 20)
    problem = problem_of(kind, data)
    stored = scipy.sparse.csr_array(data[0])
    given = data[0].nbytes
    if kind == "sparse":
        given = sum(x.nbytes for x in (stored.data, stored.indices, stored.indptr))
    # Its rows and labels, and as much again for a row's weight and places.
    assert bytes_of(problem) <= 1.5 * (given + data[1].nbytes)


def test_stacked_shards_have_little_padding():
    for sizes in ([4, 4, 4], [4, 3, 4], [5, 4, 5]):
        split = split_rows(
            np.zeros(sum(sizes)),
            3,
            None,
            "reshuffled",
            how=np.repeat(np.arange(3), sizes),
        )
        padded = 3 * max(sizes)
        assert (split.row_starts is None) == (padded <= _PADDING * sum(sizes))
        assert split.row_weight.size <= 1.25 * sum(sizes)


@pytest.mark.parametrize("cores", [0, 1])
@pytest.mark.parametrize("weights", [None, "rows"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", SKEWED.values(), ids=SKEWED)
def test_gradients_are_numpys_sums(kind, sizes, weights, cores):
    data = data_of(sizes, 6)
    features, labels, owner = data
    rng = np.random.default_rng(1)
    n, points = len(sizes), rng.normal(size=(3, 6))
    scale = np.ones(n) if weights is None else n * np.array(sizes) / sum(sizes)
    with jax.enable_x64(True), cores_per_call(cores):
        problem = problem_of(kind, data, weights=weights)
        x = jnp.asarray(points)
        workers = jnp.arange(n, dtype=jnp.int32)
        one_by_one = jax.jit(
            lambda p: jax.lax.map(
                lambda i: p.gradients(x, i, jnp.int32(0), jax.random.key(0)), workers
            )
        )(problem)
        in_a_wave = jax.jit(
            lambda p: jax.vmap(
                lambda i: p.gradients(x, i, jnp.int32(0), jax.random.key(0))
            )(workers)
        )(problem)
        local = problem.local_gradients(x[0])
        metrics = problem.metrics(x)
    wanted = np.stack(
        [
            scale[i]
            * gradient_of_rows(features[owner == i], labels[owner == i], points)
            for i in range(n)
        ]
    )
    np.testing.assert_allclose(one_by_one, wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(in_a_wave, wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(local, wanted[:, 0], rtol=1e-12, atol=1e-12)
    norms = np.linalg.norm(wanted.mean(axis=0), axis=1)
    np.testing.assert_allclose(metrics["grad_norm"], norms, rtol=1e-11)
    each = (scale / n / np.array(sizes))[owner]
    losses = np.logaddexp(0, -points @ features.T * labels) @ each
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("kind", ["dense", "loss"])
def test_trajectories_are_those_of_padded_shards(kind, batch_size, monkeypatch):
    data = data_of([40, 3, 7, 5], 4)
    options = dict(batch_size=batch_size, sampling="reshuffled")
    flat = problem_of(kind, data, **options)
    monkeypatch.setattr("asgrad_jax.problems.row_split._PADDING", 100.0)
    padded = problem_of(kind, data, **options)
    assert flat.row_starts is not None and padded.row_starts is None
    schedule = ag.simulate(
        "shuffled_async",
        ag.compute_times.exponential([1.0, 2.0, 3.0, 1.0]),
        num_gradients=60,
    )
    runs = [
        ag.run(p, schedule, step_size=0.5, precision="float64") for p in (flat, padded)
    ]
    np.testing.assert_allclose(*(np.asarray(r.params) for r in runs), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [
    dict(batch_size=4, sampling="without_replacement"),
    dict(batch_size=4, sampling="reshuffled", weights="rows"),
    dict(batch_size=4, sampling="with_replacement"),
    dict(weights=[5.0, 1.0, 2.0]),
])  # fmt: skip
def test_the_contract_holds(kind, options):
    check_contract(problem_of(kind, data_of([2, 30, 7], 3), **options))


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("sizes", [[2, 30, 3], [3, 3, 3]], ids=["some", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_short_shards_give_the_mean_of_all_their_rows(kind, sizes, sampling):
    data = data_of(sizes, 3)
    features, labels, owner = data
    with jax.enable_x64(True):
        problem = problem_of(kind, data, batch_size=5, sampling=sampling)
        full = problem_of(kind, data)
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3)))
        for worker, job in itertools.product(range(3), range(3)):
            arguments = x, jnp.int32(worker), jnp.int32(job), jax.random.key(3)
            rows = np.asarray(problem.sample(*arguments[1:]))
            got = problem.gradients(*arguments)
            a, b = (leaf[owner == worker] for leaf in (features, labels))
            if sampling == "with_replacement":
                assert len(rows) == 5  # nothing has to change
            else:
                rows = rows[: min(5, len(b))]
                assert len(set(rows.tolist())) == min(5, len(b))
            np.testing.assert_allclose(
                got, gradient_of_rows(a[rows], b[rows], np.asarray(x)), atol=1e-13
            )
            if sampling != "with_replacement" and len(b) <= 5:
                np.testing.assert_allclose(got, full.gradients(*arguments), atol=1e-13)


def test_batches_of_equal_and_short_shards_are_unbiased_by_enumeration():
    """The mean over all subsets (or sequences) of rows, each as likely, is exact."""
    features, labels, owner = data_of([2, 5], 3)
    x = np.random.default_rng(0).normal(size=(1, 3))
    with jax.enable_x64(True):
        for sampling, worker in itertools.product(SAMPLINGS, range(2)):
            problem = problem_of(
                "dense", (features, labels, owner), batch_size=3, sampling=sampling
            )
            count = int(problem.counts[worker])
            if sampling == "with_replacement":
                batches = list(itertools.product(range(count), repeat=3))
            else:  # entries behind min(b, m_i) repeat the last one
                size = min(3, count)
                batches = [
                    (*rows, *rows[-1:] * (3 - size))
                    for rows in itertools.permutations(range(count), size)
                ]
            every = jnp.asarray(batches, jnp.int32)
            gradients = jax.vmap(
                lambda rows, p=problem, i=worker: p.gradients_with(
                    jnp.asarray(x), jnp.int32(i), rows
                )
            )(every)
            own = owner == worker
            wanted = gradient_of_rows(features[own], labels[own], x)
            np.testing.assert_allclose(gradients.mean(axis=0), wanted, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", ["rows", [1.0, 5.0, 2.0]])
def test_f_is_the_weighted_sum(kind, weights):
    data = data_of([3, 20, 8], 4)
    features, labels, owner = data
    sizes = np.array([3.0, 20, 8])
    w = sizes / 31 if weights == "rows" else np.array(weights) / 8
    x = np.random.default_rng(0).normal(size=4)
    with jax.enable_x64(True):
        problem = problem_of(kind, data, weights=weights)
        np.testing.assert_allclose(known_weights(problem), w)
        each = [
            np.logaddexp(0, -features[owner == i] @ x * labels[owner == i]).mean()
            for i in range(3)
        ]
        loss = problem.metrics(jnp.asarray(x)[None])["loss"][0]
        np.testing.assert_allclose(loss, w @ each, rtol=1e-13)


def test_weights_that_mean_nothing_are_refused():
    for wrong, words in (
        ("row", "weights must be 'rows' or one number per worker, or None"),
        ([1.0, 2.0], "one number for each of the 3 workers, got 2"),
        ([1.0, 0.0, 2.0], r"weights\[1\] must be a finite number > 0, got 0.0"),
        ([1.0, np.nan, 2.0], r"weights\[1\] must be a finite number > 0, got nan"),
        ([1.0, 1e-300, 2.0], "so unequal"),
    ):
        with pytest.raises(ValueError, match=words):
            worker_scale(wrong, 3, np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="must be one number per worker"):
        worker_scale("rows", 3)
    assert worker_scale([7, 7, 7], 3) is None


def test_equal_weights_are_the_bits_of_none():
    data = data_of([4, 4, 4], 3)
    for kind in KINDS:
        plain, rows = (problem_of(kind, data, weights=w) for w in (None, "rows"))
        assert jax.tree.structure(plain) == jax.tree.structure(rows)


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_can_be_differentiated_both_ways(kind, batch_size):
    """Jobs of unequal shards end after different numbers of rows, loops do not."""
    data = data_of([300, 4, 150], 3)
    with jax.enable_x64(True):
        problem = problem_of(kind, data, batch_size=batch_size)

        def gradient(x):
            number = jnp.int32(2), jnp.int32(0)
            return problem.gradients(x[None], *number, jax.random.key(0))[0]

        x = np.array([0.3, -0.2, 0.5])
        step = 1e-5 * np.eye(3)
        slopes = [(gradient(x + h) - gradient(x - h)) / 2e-5 for h in step]
        for derivative in (jax.jacfwd, jax.jacrev):
            found = derivative(gradient)(jnp.asarray(x))
            np.testing.assert_allclose(found, np.array(slopes).T, atol=1e-8)
