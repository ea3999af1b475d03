"""Kernels that several cores share: who does what changes nothing."""

import concurrent.futures
import functools
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asgrad_jax as ag
from asgrad_jax.experiments.calls import ProgramGroup
from asgrad_jax.experiments.execute import execute
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.kernels import _cost, cores_per_call
from asgrad_jax.kernels._cost import threads_and_parts

pytestmark = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="the kernels are for CPUs"
)
N, ROWS, D = 4, 60, 20
PRECISIONS = {"float32": 2e-6, "float64": 2e-14}


def problem_of(storage, precision="float32", **options):
    """Unequal shards, of 3, 17, 20 and 20 rows, on the device."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, D)) * (rng.random((ROWS, D)) < 0.5)
    owner = np.repeat(np.arange(N), [3, 17, 20, 20])
    problem = ag.logistic_regression(
        rows,
        rng.choice([-1, 1], ROWS),
        N,
        partition=owner,
        storage=storage,
        **options,
    )
    floating = functools.partial(np.asarray, dtype=precision)
    return jax.tree.map(
        lambda x: jnp.asarray(floating(x) if x.dtype.kind == "f" else x), problem
    )


def results_of(problem, count, x, entries):
    """All gradients of a wave and all metrics with so many cores, as NumPy arrays."""
    places = jnp.arange(entries, dtype=jnp.int32)

    @jax.jit
    def both(problem, x):
        with cores_per_call(count):
            gradients = jax.vmap(problem.gradients, (0, 0, 0, None))
            wave = gradients(x, (3 * places + 2) % N, places, jax.random.key(0))
            return wave, problem.metrics(x[0])

    return jax.tree.map(np.asarray, both(problem, x))


def share_everything(patch):
    """However little there is to do."""
    eager = _cost.PASS._replace(entry=1e-12, part=1e-12, summed=0.0)
    patch.setattr(_cost, "PASS", eager)


@settings(max_examples=12, deadline=None)
@given(
    storage=st.sampled_from(["dense", "sparse"]),
    precision=st.sampled_from(list(PRECISIONS)),
    batch_size=st.sampled_from([None, 1, 3]),
    lanes=st.sampled_from([1, 3, 8, 9, 33]),
    batch_entries=st.sampled_from([1, 2, 5, 16]),
    count=st.integers(2, 7),
    parts=st.booleans(),
)
def test_sharing_changes_nothing(
    storage, precision, batch_size, lanes, batch_entries, count, parts
):
    with jax.enable_x64(precision == "float64"), pytest.MonkeyPatch.context() as patch:
        problem = problem_of(storage, precision, batch_size=batch_size)
        x = (
            np.random.default_rng(1)
            .normal(size=(batch_entries, lanes, D))
            .astype(precision)
        )
        alone = results_of(problem, 1, x, batch_entries)
        share_everything(patch)  # with more parts than rows, also
        if not parts:
            patch.setattr(_cost, "PASS", _cost.PASS._replace(part=np.inf))
        shared = results_of(problem, count, x, batch_entries)
        again = results_of(problem, count, x, batch_entries)
    chex.assert_trees_all_equal(shared, again)
    tolerance = PRECISIONS[precision]
    close = functools.partial(
        np.testing.assert_allclose, rtol=tolerance, atol=tolerance
    )
    same = np.testing.assert_array_equal
    jax.tree.map(
        close if parts and batch_entries < count else same, shared[0], alone[0]
    )
    jax.tree.map(close if parts else same, shared[1], alone[1])


@pytest.mark.parametrize("storage", ["dense", "sparse"])
def test_many_calls_at_once(storage, monkeypatch):
    """More threads share more calls than there are cores: none waits for ever."""
    share_everything(monkeypatch)
    problem = problem_of(storage)
    x = np.random.default_rng(1).normal(size=(16, 8, D)).astype("float32")

    @jax.jit
    def steps(problem, x):
        places = jnp.arange(16, dtype=jnp.int32)
        gradients = jax.vmap(problem.gradients, (0, 0, 0, None))

        def body(_, x):
            return x - 0.1 * gradients(x, places % N, places, jax.random.key(0))

        with cores_per_call(8):
            return jax.lax.fori_loop(0, 300, body, x)

    alone = np.asarray(steps(problem, x))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: np.asarray(steps(problem, x)), range(24)):
            np.testing.assert_array_equal(result, alone)


def test_one_core_only():
    """XLA's pool then has a thread less than a call would use."""
    code = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {next(iter(os.sched_getaffinity(0)))})
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_threads import D, _cost, problem_of, results_of
_cost.PASS = _cost.PASS._replace(entry=1e-12, part=1e-12, summed=1e-12)
x = np.ones((6, 4, D), "float32")
for storage in ("dense", "sparse"):
    problem = problem_of(storage)
    one, four = (results_of(problem, count, x, 6) for count in (1, 4))
    np.testing.assert_allclose(one[0], four[0], rtol=1e-5, atol=1e-6)
"""
    folder = str(__file__).rpartition("test_threads")[0]
    subprocess.run([sys.executable, "-c", code, folder], check=True)


def test_a_run_uses_the_cores_that_calls_leave(monkeypatch):
    share_everything(monkeypatch)
    problem = ag.logistic_regression(
        np.random.default_rng(0).normal(size=(80, 9)), np.tile([-1, 1], 40), N
    )
    clock = ag.compute_times.fixed(np.linspace(1.0, 1.1, N))
    schedules = [
        ag.simulate("shuffled_async", clock, num_gradients=200, seed=k)
        for k in range(4)
    ]

    hyper = {"step_size": np.array([0.1])}

    def group(number, threads):
        experiment = Experiment(
            problem=problem,
            init_params=problem.init_params(),
            record_every=50,
            threads=threads,
            batching="single",
            precision="float64",
        )
        return experiment, ProgramGroup(
            experiment, schedules[:number], range(number), hyper
        )

    for number, threads, wanted in [(1, 1, 1), (1, 8, 8), (2, 8, 4), (4, 2, 1)]:
        assert group(number, threads)[1].cores == wanted
    alone, many = (group(1, threads)[0] for threads in (1, 8))
    one, eight = (execute(e, schedules[:1], [0], hyper)[0] for e in (alone, many))
    np.testing.assert_allclose(one.params, eight.params, rtol=1e-12)
    np.testing.assert_allclose(one.metrics["loss"], eight.metrics["loss"], rtol=1e-12)
    # Their bits may differ, so one does not go on from the other's checkpoint.
    keys = set()
    for threads in (1, 8):
        made = group(1, threads)[1]
        keys.add(made.batch_key(made.batches()[0], (np.zeros(1),)))
    assert len(keys) == 2


def test_threads_and_parts():
    few = functools.partial(threads_and_parts, numbers=1)
    assert few(1, batch_entries=3, seconds=1.0) == (1, 1)
    assert few(4, batch_entries=3, seconds=1e-8) == (1, 1)
    assert few(4, batch_entries=3, seconds=2e-6) == (1, 1)
    assert few(4, batch_entries=9, seconds=2e-6) == (3, 1)
    assert few(4, batch_entries=3, seconds=1.0) == (4, 2)
    assert few(4, batch_entries=9, seconds=1.0) == (4, 1)
    assert few(16, batch_entries=1, seconds=1e-5) == (3, 3)
    # The gradients of many parts would take more time and room than the rows.
    assert threads_and_parts(64, batch_entries=1, seconds=6e-3, numbers=1_500_000) == (
        1,
        1,
    )
    assert threads_and_parts(64, batch_entries=1, seconds=6e-3, numbers=150_000) == (
        19,
        19,
    )
