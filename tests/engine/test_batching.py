"""The same numbers in every batching: one by one, batched, on four devices."""

import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgrad_jax as ag
from asgrad_jax.engine import cost
from asgrad_jax.experiments.calls import ProgramGroup
from asgrad_jax.experiments.execute import execute
from asgrad_jax.experiments.experiment import Experiment
from helpers.reference import naive_trajectory

N, D, A = 4, 3, 60
CLOCK = ag.compute_times.exponential(range(1, N + 1))
HYPER = {"step_size": np.array([0.05, 0.1, 0.2])}


@pytest.fixture(scope="module")
def problem():
    return ag.quadratic(N, D, noise=0.5, seed=1)


@pytest.fixture(scope="module")
def schedules():
    return [
        ag.simulate(name, CLOCK, num_gradients=A, seed=seed)
        for name in ("pure_async", "fedbuff", "minibatch", "shuffled_async")
        for seed in (0, 1)
    ]


def run(problem, schedules, hyper=HYPER, **options):
    experiment = Experiment(
        problem=problem,
        init_params=problem.init_params(),
        **({"record_every": 7, "precision": "float64"} | options),
    )
    outcomes = execute(experiment, schedules, range(len(schedules)), hyper)
    return [outcomes[k] for k in range(len(schedules))]


def assert_close(left, right, rtol=1e-12):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a.metrics["loss"], b.metrics["loss"], rtol=rtol)
        np.testing.assert_allclose(a.params, b.params, rtol=rtol)
        np.testing.assert_array_equal(a.finite, b.finite)


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("every_steps", [True, False])
def test_batched_equals_one_by_one(problem, schedules, width, every_steps):
    chosen = [s for s in schedules if s.step.all() or not every_steps]
    single = run(problem, chosen, batching="single")
    batched = run(problem, chosen, batching="vmap", width=width)
    assert_close(single, batched)


@pytest.mark.parametrize("server", [None, optax.adam])
@pytest.mark.parametrize("name", ["shuffled_async", "fedbuff", "ia2sgd"])
def test_networks_whose_lanes_have_rows_of_their_own(name, server):
    """Waves and lanes together give what each lane gives by itself, one by one."""

    def loss(params, batch):
        x, y = batch
        hidden = jnp.tanh(x @ params["in"] + params["bias"])
        return (hidden @ params["out"] - y) ** 2

    rng = np.random.default_rng(0)
    start = {"in": (5, 70), "bias": 70, "out": 70}  # more than 256 numbers in a leaf
    start = {name: rng.normal(0, 0.3, shape) for name, shape in start.items()}
    data = rng.normal(size=(30, 5)), rng.normal(size=30)
    problem = ag.from_loss(loss, start, data, num_workers=3, batch_size=2)
    clock = ag.compute_times.exponential(range(1, 4))
    schedule = ag.simulate(name, clock, num_gradients=40)
    steps = np.array([0.01, 0.003, 0.001])
    make = None if server is None else lambda step_size: server(step_size)

    def go(steps, width):
        experiment = Experiment(
            problem=problem,
            init_params=problem.init_params(),
            record_every=7,
            precision="float64",
            server=make,
            width=width,
            threads=1,
        )
        return execute(experiment, [schedule], [0], {"step_size": steps})[0].params

    assert problem.cost(3).copies_rows == (jax.default_backend() == "cpu")
    alone = [go(steps[k : k + 1], 1) for k in range(3)]
    wanted = jax.tree.map(lambda *x: np.concatenate(x), *alone)
    for width in (1, 4):
        chex.assert_trees_all_close(go(steps, width), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("server", [None, lambda step_size: optax.sgd(step_size, 0.0)])
@pytest.mark.parametrize("batching", ["single", "vmap"])
@pytest.mark.parametrize("every", [8, 2])
def test_padding_of_waves_counts_for_nothing(batching, server, every):
    """Not even where its gradient would be infinite or none.

    Worker 0 has -sqrt(x + 1/2), and nobody reads x_1 and x_8, which it could not take.
    """

    def loss(x, row):
        center, root = row
        inside = jnp.where(root > 0, x[0] + 0.5, 1.0)
        return jnp.where(root > 0, -jnp.sqrt(inside), 0.5 * (x[0] - center) ** 2)

    rows = np.array([0.0, -4.0, 8.0, -50.0]), np.array([1.0, 0, 0, 0])
    problem = ag.from_loss(loss, np.array([1.0]), rows, num_workers=4)
    schedule = ag.Schedule.from_arrays(
        worker=[1, 2, 2, 0, 1, 0, 2, 3, 0], read=[0, 0, 2, 3, 2, 4, 4, 7, 6]
    )
    x = [1.0]
    gradients = [lambda x: -0.5 / np.sqrt(x + 0.5)]
    gradients += [lambda x, c=c: x - c for c in rows[0][1:]]
    for worker, read in zip(schedule.worker, schedule.read, strict=True):
        x.append(x[-1] - 0.4 * gradients[worker](x[read]))
    assert min(x[1], x[8], x[9]) < -0.5

    for width in (2, 8):
        experiment = Experiment(
            problem=problem,
            init_params=problem.init_params(),
            record_every=every,
            precision="float64",
            server=server,
            batching=batching,
            width=width,
        )
        hyper = {"step_size": np.array([0.4])}
        done = execute(experiment, [schedule, schedule], [0, 1], hyper)
        np.testing.assert_allclose(done[0].params, [[x[-1]]], rtol=1e-12)


@pytest.mark.parametrize("server", [None, lambda step_size: optax.sgd(step_size, 0.0)])
@pytest.mark.parametrize("batching", ["single", "vmap"])
@pytest.mark.parametrize("clip", [False, True])
def test_what_is_left_out_may_be_infinite(batching, server, clip):
    """Worker 0's gradient always is; its arrivals have weight 0, with or without step.

    The others have x - c.
    """

    def loss(x, center):
        return 0.5 * (x[0] - center) ** 2 + jnp.where(center == 0, jnp.inf, 0.0) * x[0]

    problem = ag.from_loss(loss, np.array([1.5]), np.arange(4.0), num_workers=4)
    rng = np.random.default_rng(0)
    worker = rng.integers(0, 4, A)
    step = (rng.random(A) < 0.7) | (np.arange(A) == A - 1)
    versions = np.concatenate([[0], np.cumsum(step)[:-1]])
    schedule = ag.Schedule.from_arrays(
        worker,
        np.maximum(0, versions - rng.integers(0, 4, A)),
        weight=(worker > 0) * 0.3,
        step=step,
        clip=np.full(A, 0.7) if clip else None,
    )

    def gradient(x, worker, job):
        return x - worker if worker else np.ones(1)

    want = naive_trajectory(schedule, gradient, 0.2, np.array([1.5]))[-1]
    hyper = {"step_size": np.array([0.2])}
    for width in (1, 4):
        forced = dict(batching=batching, width=width, server=server)
        done = run(problem, [schedule, schedule], hyper, **forced)
        np.testing.assert_allclose(done[0].params, [want], rtol=1e-12)


def test_parts_that_fit_the_memory(problem, schedules):
    whole = run(problem, schedules)
    experiment = Experiment(
        problem=problem, init_params=problem.init_params(), record_every=7
    )
    for batching in ("single", "vmap"):
        # A budget for one lane and a bit: everything is cut to the smallest calls.
        probe = ProgramGroup(experiment, schedules, range(len(schedules)), HYPER)
        probe.threads = 1
        budget = int(1.2 * probe.memory(1, 1).total) + 2000
        parts = run(problem, schedules, batching=batching, memory_budget=budget)
        assert_close(whole, parts)


def test_one_lane_that_does_not_fit(problem, schedules):
    with pytest.raises(MemoryError, match=r"(?s)one lane need .*what helps") as caught:
        run(problem, schedules, memory_budget=1000)
    assert "buffer" in str(caught.value)


def test_memory_plan_adds_up(problem, schedules):
    experiment = Experiment(
        problem=problem, init_params=problem.init_params(), record_every=7
    )
    group = ProgramGroup(experiment, schedules, range(len(schedules)), HYPER)
    plan = group.memory(1, 3)
    assert plan.buffer == (group.shape.slots + 1) * 3 * D * 4
    assert plan.total == plan.data + plan.calls * plan.per_call + plan.host
    assert "buffer" in str(plan)


def test_threads_change_nothing(problem, schedules):
    one = run(problem, schedules, threads=1)
    two = run(problem, schedules, threads=2)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.metrics["loss"], b.metrics["loss"])


def test_systems_that_do_not_bind_processes_to_cores(problem, schedules, monkeypatch):
    """As macOS, which has no such question."""
    some = schedules[:2]
    before = run(problem, some)
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    assert_close(before, run(problem, some))


def test_three_calls_take_turns_on_two_cores(problem, schedules, monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    monkeypatch.setattr(cost, "LIMITS", cost.LIMITS._replace(turn_seconds=0))

    def group(number, **options):
        experiment = Experiment(
            problem=problem,
            init_params=problem.init_params(),
            record_every=5,
            batching="single",
            **options,
        )
        return ProgramGroup(experiment, schedules[:number], range(number), HYPER)

    turns = group(3)
    assert (turns.threads, turns.shape.segments, turns.shape.fill) == (3, 2, 1)
    for whole in (group(4), group(3, threads=2)):
        assert (whole.threads, whole.shape.segments) == (2, 1)
    some = schedules[:3]
    assert_close(run(problem, some, threads=1), run(problem, some))


def test_iterates_of_a_call_stay_in_the_cache(problem, schedules, monkeypatch):
    """Large iterates go through a few lanes at a time, with the same results."""
    some = schedules[:4]
    hyper = {"step_size": np.linspace(0.01, 0.1, 6)}
    whole = run(problem, some, hyper)

    def lanes_of(problem, batching="single"):
        experiment = Experiment(
            problem=problem,
            init_params=problem.init_params(),
            record_every=5,
            batching=batching,
        )
        many = {"step_size": np.linspace(0.01, 0.1, 24)}
        return ProgramGroup(experiment, some, range(4), many).lanes

    assert lanes_of(problem) == 24
    limits = cost.LIMITS._replace(iterate_bytes=4 * D * 4)
    monkeypatch.setattr(cost, "LIMITS", limits)
    assert lanes_of(problem) == 4
    assert lanes_of(problem, "vmap") == 24
    # Passes over rows want a vector of lanes all the same.
    rows = np.ones((2 * N, D))
    assert lanes_of(ag.logistic_regression(rows, np.tile([1, -1], N), N)) == 8
    assert_close(whole, run(problem, some, hyper))


def test_few_schedules_share_the_cores(problem, schedules, monkeypatch):
    """Lanes are split where schedules do not keep all cores busy, down to 8 a core.

    Down to one where each lane has matrices of its own, or lanes go one by one over
    many rows.
    """
    rows = np.ones((2 * N, D))
    network = ag.from_loss(
        lambda params, batch: jnp.sum((batch @ params) ** 2, axis=1),
        np.ones((D, 2)),
        rows,
        num_workers=N,
    )

    def group(cores, number, lanes, batching="single", problem=problem):
        monkeypatch.setattr("joblib.cpu_count", lambda: cores)
        experiment = Experiment(
            problem=problem,
            init_params=problem.init_params(),
            record_every=5,
            batching=batching,
        )
        hyper = {"step_size": np.linspace(0.01, 0.1, lanes)}
        made = ProgramGroup(experiment, schedules[:number], range(number), hyper)
        return made.lanes, len(made.batches()), made.threads

    assert group(2, 1, 15) == (15, 1, 1)
    assert group(2, 1, 16) == (8, 2, 2)
    assert group(8, 1, 16) == (8, 2, 2)
    assert group(8, 2, 64) == (16, 8, 8)
    assert group(2, 3, 16)[:2] == (16, 3)  # these take turns
    assert group(2, 1, 16, batching="vmap") == (16, 1, 1)
    assert group(2, 1, 3, problem=network) == (2, 2, 2)
    assert group(4, 1, 3, problem=network) == (1, 3, 3)
    if jax.default_backend() == "cpu":
        for each, lanes in ((50, (3, 1, 1)), (500, (2, 2, 2))):
            rows = np.ones((N * each, 10))
            signs = np.tile([1, -1], N * each // 2)
            passes = ag.logistic_regression(rows, signs, N)
            assert group(2, 1, 3, problem=passes) == lanes
        # Two schedules and three cores: four calls that take turns.
        assert group(3, 2, 32, problem=passes)[:2] == (16, 4)

    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    hyper = {"step_size": np.linspace(0.01, 0.1, 16)}
    experiment = Experiment(
        problem=problem,
        init_params=problem.init_params(),
        record_every=5,
        batching="single",
    )
    split = execute(experiment, schedules[:1], [0], hyper)[0]
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    whole = execute(experiment, schedules[:1], [0], hyper)[0]
    np.testing.assert_allclose(split.params, whole.params, rtol=1e-5)
    np.testing.assert_allclose(split.metrics["loss"], whole.metrics["loss"], rtol=1e-5)


FOUR_DEVICES = """
import jax
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
import asgrad_jax as ag
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.experiments.execute import execute
from asgrad_jax.engine.devices import mesh_for
assert len(jax.devices()) == 4
for sizes, shape in [
    ((4, 2), (4, 1)), ((3, 2), (3, 1)), ((2, 2), (2, 2)), ((1, 2), (1, 2)),
]:
    assert mesh_for("vmap", *sizes).devices.shape == shape
problem = ag.quadratic(4, 3, noise=0.5, seed=1)
clock = ag.compute_times.exponential(range(1, 5))
schedules = [ag.simulate("fedbuff", clock, num_gradients=60, seed=s) for s in range(3)]
results = {}
for batching in ("single", "vmap"):
    experiment = Experiment(problem=problem, init_params=problem.init_params(),
                            record_every=7, precision="float64", batching=batching)
    for count in (1, 2, 3):
        done = execute(experiment, schedules[:count], range(count),
                       {"step_size": np.array([0.05, 0.1])})
        results[batching, count] = np.stack([done[k].params for k in range(count)])
for count in (1, 2, 3):
    np.testing.assert_allclose(results["single", count], results["vmap", count],
                               rtol=1e-12)
print("equal")
"""


def test_four_devices():
    done = subprocess.run(
        [sys.executable, "-c", FOUR_DEVICES],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "equal"


def test_the_width_is_chosen(monkeypatch):
    # Whether it fits the memory is another question, answered by a compiler.
    monkeypatch.setattr(ProgramGroup, "_fit", lambda self, lanes: (1, lanes))
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(400, 6)), rng.integers(0, 2, 400)
    clock = ag.compute_times.fixed(np.linspace(1.0, 1.1, 20))
    long, short = (
        [ag.simulate("shuffled_async", clock, num_gradients=A)] for A in (200_000, 200)
    )

    def width(schedules=long, lanes=1, batching="single", problem=None, **options):
        if problem is None:
            problem = ag.logistic_regression(rows, labels, 20, **options)
        experiment = Experiment(
            problem=problem,
            init_params=problem.init_params(),
            record_every=200,
            batching=batching,
        )
        hyper = {"step_size": np.full(lanes, 0.1)}
        return ProgramGroup(experiment, schedules, [0], hyper).width

    assert width(batch_size=4) in (4, 8, 16)
    assert width(batch_size=4, schedules=short) == 1  # not worth a compile
    assert width(batch_size=4, lanes=10_000) == 1  # real work
    assert width(lanes=10_000) == 1
    assert width(batching="vmap") in (16, 32)

    def network(params, batch):
        x, label = batch
        return jax.nn.softplus(-label * (jnp.tanh(x @ params[0]) @ params[1]))

    params = [rng.normal(size=(6, 64)), rng.normal(size=64)]
    deep = ag.from_loss(network, params, (rows, labels), num_workers=20, batch_size=4)
    assert width(problem=deep, lanes=16) in (2, 4, 8)
    assert width(problem=deep, lanes=16, schedules=short) == 1
    quadratic = ag.quadratic(20, 6)
    experiment = Experiment(
        problem=quadratic, init_params=quadratic.init_params(), record_every=200
    )
    hyper = {"step_size": np.array([0.1])}
    assert ProgramGroup(experiment, long, [0], hyper).width == 1
    monkeypatch.undo()
    problem = ag.logistic_regression(rows, labels, 20, batch_size=4)
    options = dict(hyper={"step_size": np.array([0.1])}, record_every=50)
    assert_close(
        run(problem, short, width=8, **options), run(problem, short, width=1, **options)
    )
