"""Networks: a whole sweep on digits, and gradients against a Python loop and a scan."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.problems.cnn import halve
from benchmarks.cases import WithoutMetrics, engine_run
from benchmarks.timing import sized

ALGORITHMS = (
    "pure_async",
    "random_async",
    "shuffled_async",
    "shuffled_waiting",
    "fedbuff",
    "delay_adaptive",
    "ringmaster",
    "minibatch",
)


def accuracy(params, held_out):
    """Share of the held-out rows whose class has the largest score."""
    features, labels = held_out
    scores = ag.problems.mlp_scores(params, features)
    return jnp.mean(jnp.argmax(scores, axis=1) == labels)


def digits_mlp(num_workers: int = 20):
    """An MLP on four fifths of the digits, Dirichlet(0.1); the rest is held out."""
    pixels, digits = ag.datasets.digits()
    order = np.random.default_rng(0).permutation(len(digits))
    kept, rest = np.split(order, [4 * len(digits) // 5])
    split = ag.splits.dirichlet(digits[kept], num_workers, alpha=0.1, min_rows=8)
    problem = ag.problems.mlp(
        pixels[kept], digits[kept], num_workers, partition=split, batch_size=16
    )
    held_out = pixels[rest], digits[rest]
    return ag.problems.with_metrics(problem, {"accuracy": accuracy}, held_out)


def test_sweep_of_a_perceptron(benchmark, value):
    """MLP on digits, 20 workers, 8 algorithms x 8 step sizes x 5 seeds, one sweep."""
    problem = digits_mlp()
    options = dict(
        algorithms=ALGORITHMS,
        compute_times=ag.compute_times.exponential(range(1, 21)),
        step_sizes=2.0 ** np.arange(-6, 2),
        seeds=range(sized(5, 1)),
        num_gradients=sized(10_000, 200),
        record_every=sized(500, 100),
    )
    found = []

    def sweep():
        start, busy = time.perf_counter(), time.process_time()
        result = ag.sweep(problem, **options)
        seconds = time.perf_counter() - start, time.process_time() - busy
        found.append((*seconds, result))

    benchmark.pedantic(sweep, rounds=1)
    seconds, busy, result = found[0]
    lanes = result["accuracy"].isel(record=0).size
    best = result["accuracy"].isel(record=-1).mean("seed").max("step_size")
    value("the sweep, compiled anew", seconds, "s", target=180)
    value("its time on all cores", busy, "s")  # with neighbours less than the above
    value("lanes", lanes, "runs")
    value("lane-gradients", lanes * options["num_gradients"] / seconds, "1/s")
    value("least best accuracy of an algorithm", float(best.min()), "share")


def digits_cnn():
    """The CNN on digits, 10 workers, 32 rows."""
    pixels, digits = ag.datasets.digits()
    images = pixels[:, :-1].reshape(-1, 8, 8)
    return ag.problems.cnn(images, digits, 10, batch_size=32, drop_last=True)


def small_transformer():
    """Two layers of width 32 on pieces of 32 characters, 10 workers, 16 rows."""
    text = ag.datasets.generated_text(50_000, seed=0)
    windows, _ = ag.datasets.text_windows(text, context=32)
    return ag.problems.transformer(windows, 10, batch_size=16, drop_last=True)


def cnn_of_xla(params, batch):
    """The loss of `ag.problems.cnn` with XLA's own convolutions."""
    x = batch["images"]
    for layer in (params["conv_1"], params["conv_2"]):
        kernel = layer["kernel"].reshape(3, 3, x.shape[-1], -1)
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = halve(jax.nn.relu(x + layer["bias"][None, None, None]))
    scores = x.reshape(len(x), -1) @ params["dense"]["weight"] + params["dense"]["bias"]
    return ag.problems.cross_entropy(scores, batch["labels"])


def python_loop(problem, schedule, loss=None):
    """A jitted gradient for every arrival of one lane."""
    loss = loss or problem.loss
    data = jax.tree.map(jnp.asarray, problem.data)
    b = problem.batch_size
    start = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), problem.init_params())

    @jax.jit
    def step(x, read, worker, job):
        rows = (job * b + jnp.arange(b)) % problem.shard_rows
        batch = jax.tree.map(lambda leaf: leaf[worker, rows], data)
        g = jax.grad(lambda x: jnp.mean(loss(x, batch)))(read)
        return jax.tree.map(lambda a, d: a - 0.01 * d, x, g)

    workers, jobs = schedule.worker.tolist(), schedule.job.tolist()
    reads = schedule.read.tolist()

    def go():
        history = {0: start}
        last = {v: a for a, v in enumerate(reads)}
        x = start
        for a, v in enumerate(reads):
            x = step(x, history[v], workers[a], jobs[a])
            if last[v] == a:
                del history[v]
            if a + 1 in last:
                history[a + 1] = x
        return jax.block_until_ready(x)

    return go


def bare_scan(problem, schedule, lanes):
    """A vmapped scan with a ring buffer of all iterates in use; no metrics."""
    data = jax.tree.map(lambda leaf: jnp.asarray(leaf), problem.data)
    data = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf,
        data,
    )
    b, m = problem.batch_size, problem.shard_rows
    size = int(schedule.stats().tau_max) + 1
    columns = tuple(
        jnp.asarray(c, jnp.int32)
        for c in (schedule.worker, schedule.job, schedule.read)
    )

    @functools.partial(jax.vmap, in_axes=(0, None))
    def one(step_size, start):
        ring = jax.tree.map(lambda x: jnp.stack([x] * size), start)

        def step(carry, arrival):
            x, ring, t = carry
            worker, job, read = arrival
            rows = (job * b + jnp.arange(b)) % m
            batch = jax.tree.map(lambda leaf: leaf[worker, rows], data)
            old = jax.tree.map(lambda leaf: leaf[read % size], ring)
            g = jax.grad(lambda x: jnp.mean(problem.loss(x, batch)))(old)
            x = jax.tree.map(lambda a, d: a - step_size * d, x, g)
            place = (t + 1) % size
            ring = jax.tree.map(lambda r, a: r.at[place].set(a), ring, x)
            return (x, ring, t + 1), None

        return jax.lax.scan(step, (start, ring, jnp.int32(0)), columns)[0][0]

    start = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), problem.init_params())
    sizes, run = jnp.full(lanes, 0.01), jax.jit(one)
    return lambda: jax.block_until_ready(run(sizes, start))


PROBLEMS = {
    "mlp": (lambda: digits_mlp().problem, 20_000),
    "cnn": (digits_cnn, 1_500),
    "transformer": (small_transformer, 400),
}


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients(versus, name, lanes):
    """Mini-batches, no metrics: the engine, a scan with a ring, a Python loop."""
    make, arrivals = PROBLEMS[name]
    problem = make()
    if problem.row_starts is not None:
        problem = ag.problems.mlp(
            *ag.datasets.digits(), 20, batch_size=16, partition="iid", drop_last=True
        )
    n = problem.num_workers
    clock = ag.compute_times.exponential(np.ones(n))
    arrivals = sized(arrivals // lanes, 40)
    schedule = ag.simulate("shuffled_async", clock, num_gradients=arrivals)
    loops = {"Python loop": (python_loop(problem, schedule), arrivals)}
    if name == "cnn":
        loop = python_loop(problem, schedule, cnn_of_xla)
        loops["Python loop, XLA's convolutions"] = loop, arrivals
    target = 2 if lanes == 1 else 4
    versus(
        {
            "engine": (
                engine_run(WithoutMetrics(problem), [schedule], lanes),
                arrivals * lanes,
            ),
            "bare scan": (bare_scan(problem, schedule, lanes), arrivals * lanes),
            **loops,
        },
        targets={"bare scan": 0.95, **dict.fromkeys(loops, target)},
        rounds=3,
    )
