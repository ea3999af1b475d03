"""Waves on a CPU: the compiled kernels against plain loops and against JAX."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from benchmarks.program import segment
from hypothesis import given, settings
from hypothesis import strategies as st

import asgrad_jax as ag
from asgrad_jax.kernels import _buffer as wave_kernel

pytestmark = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="the kernels are for CPUs"
)
ROUNDING = {"float32": 1e-5, "float64": 1e-13}
SHAPES = st.sampled_from([(), (1,), (3,), (15,), (16, 2), (7, 19), (60,), (513,)])


def by_loop(x, u, rows, gradients, step_size, weight, step, write_slot):
    """Takes a wave in arrival by arrival; NumPy, in float64."""
    x, rows = x.astype(float), rows.astype(float)
    u = np.zeros_like(x) if u is None else u.astype(float)
    lanes = step_size.astype(float).reshape(-1, *[1] * (x.ndim - 1))
    for j, gradient in enumerate(gradients.astype(float)):
        u = u + weight[j] * gradient
        if step[j]:
            x, u = x - lanes * u, np.zeros_like(u)
            rows[write_slot[j]] = x
    return x, u, rows


@pytest.mark.parametrize("size", [255, 256, 257, 1025, 2100])
@pytest.mark.parametrize("dtype", list(ROUNDING))
def test_what_was_collected_counts_in_every_block(size, dtype):
    """Blocks of the first cache, two steps, padding that is infinite."""
    rng = np.random.default_rng(0)
    x, u = (rng.normal(size=(3, size)).astype(dtype) for _ in range(2))
    rows = rng.normal(size=(6, 3, size)).astype(dtype)
    gradients = rng.normal(size=(5, 3, size)).astype(dtype)
    step = np.array([False, True, False, True, False])
    weight = np.array([0.5, 1, 2, 0.25, 0], dtype)
    finite = gradients.copy()
    finite[4] = 0
    gradients[4] = np.inf
    slots = np.array([5, 1, 5, 3, 5], np.int32)
    step_size = np.array([0.1, 0.2, 0.3], dtype)
    wanted = by_loop(x, u, rows, finite, step_size, weight, step, slots)
    with jax.enable_x64(dtype == "float64"):
        got = wave_kernel.fold_wave(
            *map(jnp.asarray, (x, u, rows, gradients)),
            step_size=jnp.asarray(step_size),
            weight=jnp.asarray(weight),
            step=jnp.asarray(step),
            write_slot=jnp.asarray(slots),
        )
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=10 * ROUNDING[dtype])


@settings(max_examples=50, deadline=None)
@given(
    lanes=st.integers(1, 5),
    shape=SHAPES,
    width=st.integers(2, 9),
    dtype=st.sampled_from(list(ROUNDING)),
    collects=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_a_wave_is_folded_in_arrival_by_arrival(
    lanes, shape, width, dtype, collects, seed
):
    rng = np.random.default_rng(seed)

    def normal(*sizes):
        return rng.normal(size=sizes).astype(dtype)

    x, u = normal(lanes, *shape), normal(lanes, *shape) if collects else None
    rows, gradients = normal(width + 3, lanes, *shape), normal(width, lanes, *shape)
    weight, step = rng.random(width).astype(dtype), np.ones(width, bool)
    if collects:
        step = rng.random(width) < 0.5
        padding = ~step & (rng.random(width) < 0.3)
        weight[padding] = 0
    slots = rng.permutation(width + 3)[:width].astype(np.int32)
    step_size = rng.random(lanes).astype(dtype)
    wanted = by_loop(x, u, rows, gradients, step_size, weight, step, slots)
    with jax.enable_x64(dtype == "float64"):
        got = wave_kernel.fold_wave(
            jnp.asarray(x),
            None if u is None else jnp.asarray(u),
            jnp.asarray(rows),
            jnp.asarray(gradients),
            step_size=jnp.asarray(step_size),
            weight=jnp.asarray(weight),
            step=jnp.asarray(step),
            write_slot=jnp.asarray(slots),
        )
    assert (got[1] is None) == (not collects)
    for ours, theirs in zip(got, wanted, strict=True):
        if ours is not None:
            assert ours.dtype == dtype
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=4 * ROUNDING[dtype])


@settings(max_examples=40, deadline=None)
@given(
    shape=SHAPES.filter(bool),
    width=st.integers(1, 9),
    dtype=st.sampled_from(list(ROUNDING)),
    seed=st.integers(0, 2**16),
)
def test_rows_are_taken_and_put(shape, width, dtype, seed):
    rng = np.random.default_rng(seed)
    rows, new = rng.random((12, *shape)), rng.random((width, *shape))
    rows, new = rows.astype(dtype), new.astype(dtype)
    index = rng.integers(0, 12, width).astype(np.int32)
    wanted = rows.copy()
    wanted[index] = new  # of equal ones the last counts
    with jax.enable_x64(dtype == "float64"):
        arrays = [jnp.asarray(leaf) for leaf in (rows, index, new)]
        assert np.array_equal(wave_kernel.take_rows(*arrays[:2]), rows[index])
        assert np.array_equal(wave_kernel.put_rows(*arrays), wanted)


def test_a_diverged_gradient_does_not_reach_earlier_iterates():
    """Sums over the wave would make infinity times zero of it."""
    gradients = jnp.array([1.0, jnp.inf, 1.0]).reshape(3, 1, 1)
    *_, rows = wave_kernel.fold_wave(
        jnp.zeros((1, 1)),
        None,
        jnp.zeros((3, 1, 1)),
        gradients,
        step_size=jnp.ones(1),
        weight=jnp.ones(3),
        step=jnp.ones(3, bool),
        write_slot=jnp.arange(3),
    )
    assert rows[:, 0, 0].tolist() == [-1, -jnp.inf, -jnp.inf]


def momentum(step_size):
    return optax.sgd(step_size, momentum=0.5)


@pytest.mark.parametrize("server", [None, momentum])
@pytest.mark.parametrize("method", ["shuffled_async", "pure_waiting"])
def test_the_buffer_is_written_in_place(method, server):
    """However many slots there are, a wave needs no more room for its own work."""
    times = ag.compute_times.normal(range(1, 9))
    schedule = ag.simulate(method, times, num_gradients=200)
    problem = ag.logistic_regression(np.eye(64, 200), np.arange(64) % 2, 8)
    room = [
        segment(problem, [schedule], 4, width=4, slots=slots, server=server)
        .lower()
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for slots in (20, 1020)
    ]
    # A copy of the buffer would be 1000 * 4 * 200 numbers more.
    assert room[1] - room[0] < 4 * 4 * 200


@pytest.mark.parametrize("method", ["shuffled_async", "pure_waiting"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_runs_agree_with_waves_of_plain_jax(method, clip):
    times = ag.compute_times.normal(range(1, 9))
    schedule = ag.simulate(method, times, num_gradients=203)
    if clip is not None:
        schedule = dataclasses.replace(schedule, clip=np.full(203, clip))
    problem = ag.quadratic(8, 5, noise=0.3)
    ours, theirs = (
        ag.run(
            problem,
            schedule,
            step_size=0.05,
            precision="float64",
            width=4,
            kernels=kernels,
        ).params
        for kernels in (True, False)
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
