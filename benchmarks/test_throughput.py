"""The engine against a bare scan, matrix products and the NumPy event loop."""

import jax
import jax.numpy as jnp
from jax import lax

import asgrad_jax as ag
from asgrad_jax.engine.devices import place
from benchmarks.cases import (
    WithoutMetrics,
    engine_run,
    numpy_run,
    random_logistic,
    schedules,
)
from benchmarks.test_waves import problem_of, schedule_of
from benchmarks.timing import sized

STRENGTH = 0.1


def bare_scan(problem, schedule, lanes, *, products_only=False):
    """A hand-written scan of the same arithmetic, the data already on the device."""
    plan = ag.plan_slots(schedule)
    _, m, d = problem.features.shape
    features, labels = (
        jnp.asarray(a, jnp.float32) for a in (problem.features, problem.labels)
    )
    rows = tuple(
        jnp.asarray(a, jnp.int32)
        for a in (schedule.worker, plan.read_slot[:, 0], plan.write_slot[:, 0])
    )
    steps = jnp.full((lanes, 1), 0.01, jnp.float32)

    @jax.jit
    def scan(features, labels, rows):
        start = jnp.ones((lanes, d), jnp.float32)

        def products(x, row):
            a = features[row[0]]
            return (x @ a.T) @ a, None

        def arrival(carry, row):
            x, buffer = carry
            worker, read, write = row
            at, a, b = buffer[read], features[worker], labels[worker]
            residual = jax.nn.sigmoid(-(at @ a.T) * b) * (-b / m)
            g = residual @ a + 2 * STRENGTH * at / jnp.square(1 + at * at)
            x = x - steps * g
            return (x, buffer.at[write].set(x)), None

        if products_only:
            return lax.scan(products, start, rows)[0]
        buffer = jnp.repeat(start[None], plan.num_slots + 1, axis=0)
        return lax.scan(arrival, (start, buffer), rows)[0][0]

    return lambda: scan(features, labels, rows).block_until_ready()


def bare_network_scan(problem, schedule, lanes):
    """A scan of the same gradients with a buffer, nothing planned or recorded in it."""
    plan = ag.plan_slots(schedule)
    columns = (
        schedule.worker,
        schedule.job,
        plan.read_slot[:, 0],
        plan.write_slot[:, 0],
    )
    rows = tuple(jnp.asarray(column, jnp.int32) for column in columns)
    placed = place(problem, "float32", None)
    key, tree_map = jax.random.key(0), jax.tree.map

    @jax.jit
    def scan(problem, start, rows):
        def arrival(carry, row):
            x, buffer = carry
            worker, job, read, write = row
            at = tree_map(lambda b: b[read], buffer)
            g = problem.gradients(at, worker, job, key)
            x = tree_map(lambda x, g: x - 0.01 * g, x, g)
            buffer = tree_map(lambda b, x: b.at[write].set(x), buffer, x)
            return (x, buffer), None

        x = tree_map(lambda x: jnp.repeat(x[None], lanes, axis=0), start)
        buffer = tree_map(lambda x: jnp.repeat(x[None], plan.num_slots + 1, axis=0), x)
        return lax.scan(arrival, (x, buffer), rows)[0][0]

    start = tree_map(lambda x: jnp.asarray(x, jnp.float32), problem.init_params())
    return lambda: jax.block_until_ready(scan(placed, start, rows))


def test_one_lane(versus):
    """n=10, m=200, d=60, one step size."""
    arrivals = sized(20_000, 2_000)
    problem = random_logistic(10, 200, 60)
    [schedule] = schedules(10, arrivals)
    versus(
        {
            "engine": (engine_run(problem, [schedule], 1), arrivals),
            "bare scan": (bare_scan(problem, schedule, 1), arrivals),
            "NumPy event loop": (numpy_run(problem, 1, arrivals), arrivals),
        },
        targets={"bare scan": 0.9, "NumPy event loop": 2.0},
    )


def test_step_sizes_on_one_schedule(versus):
    """n=10, m=200, d=60, 32 step sizes on one schedule."""
    arrivals, lanes = sized(5_000, 500), 32
    problem = random_logistic(10, 200, 60)
    [schedule] = schedules(10, arrivals)
    work = lanes * arrivals
    versus(
        {
            "engine": (engine_run(problem, [schedule], lanes), work),
            "NumPy one at a time": (numpy_run(problem, 1, arrivals), arrivals),
            "NumPy vectorised": (numpy_run(problem, lanes, arrivals), work),
            "bare scan": (bare_scan(problem, schedule, lanes), work),
        },
        targets={"NumPy one at a time": 10.0, "NumPy vectorised": 1.0},
    )


def test_more_schedules(versus):
    """n=10, m=200, d=60, 32 step sizes on 8 schedules against one schedule."""
    arrivals, lanes = sized(5_000, 500), 32
    problem = random_logistic(10, 200, 60)
    chosen = schedules(10, arrivals, seeds=8)
    work = lanes * arrivals
    versus(
        {
            "engine, 8 schedules": (engine_run(problem, chosen, lanes), 8 * work),
            "engine, 1 schedule": (engine_run(problem, chosen[:1], lanes), work),
        },
        targets={"engine, 1 schedule": 0.85},
        rounds=5,
    )


def test_network(versus):
    """n=100, MLP 64-64-10, 16 rows, 32 step sizes on one schedule; one thread."""
    arrivals, lanes = sized(400, 40), 32
    problem = WithoutMetrics(problem_of("MLP", 100))
    schedule = schedule_of(100, "alike", arrivals)
    engine = engine_run(problem, [schedule], lanes, width=1, threads=1)
    work = lanes * arrivals
    versus(
        {
            "engine": (engine, work),
            "bare scan": (bare_network_scan(problem, schedule, lanes), work),
        },
        rounds=5,
    )


def test_w7a_sized_products(versus):
    """n=10, m=2460, d=300 dense, 100 step sizes on one schedule."""
    arrivals, lanes = sized(500, 50), 100
    problem = random_logistic(10, 2460, 300)
    [schedule] = schedules(10, arrivals)
    work = lanes * arrivals
    products = bare_scan(problem, schedule, lanes, products_only=True)
    versus(
        {
            "engine": (engine_run(problem, [schedule], lanes), work),
            "matrix products": (products, work),
        },
        targets={"matrix products": 0.8},
        rounds=5,
    )
