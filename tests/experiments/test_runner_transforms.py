"""Transformations of a runner inside each other, compared with one another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgrad_jax as ag

STEPS = np.array([0.05, 0.1, 0.2])
STARTS = np.array([[1.0, -0.5], [0.3, 2.0]])


@pytest.fixture(scope="module")
def last():
    """The last loss as a function of step size and start, in float64."""
    times = ag.compute_times.fixed([1.0, 1.7])
    schedule = ag.simulate("pure_async", times, num_gradients=12)
    problem = ag.quadratic(2, 2, seed=0)
    with jax.enable_x64(True):
        runner = ag.runner(problem, schedule, record_every=12, precision="float64")

        def loss(step_size, start):
            return runner(step_size, start).metrics["loss"][-1]

        yield loss


def close(*values):
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], rtol=1e-9, atol=1e-12)


def test_grad_of_vmap_is_vmap_of_grad(last):
    start = STARTS[0]

    def each(steps):
        return jax.vmap(last, (0, None))(steps, start)

    slope = jax.jit(jax.grad(last))
    alone = [float(slope(step, start)) for step in STEPS]
    assert min(map(abs, alone)) > 1e-4
    forward = jax.jit(jax.jacfwd(each))(STEPS)
    np.testing.assert_array_equal(forward[~np.eye(3, dtype=bool)], 0)
    close(
        alone,
        jax.jit(jax.vmap(jax.grad(last), (0, None)))(STEPS, start),
        jax.jit(jax.grad(lambda steps: each(steps).sum()))(STEPS),
        np.diag(forward),
    )


def test_nested_maps_and_derivatives(last):
    slopes = jax.grad(last, (0, 1))
    inside = jax.jit(jax.vmap(jax.vmap(slopes, (0, None)), (None, 0)))(STEPS, STARTS)

    def sum_of_all(steps, starts):
        mapped = jax.vmap(jax.vmap(last, (None, 0)), (0, None))
        return mapped(steps, starts).sum()

    total = jax.jit(jax.grad(sum_of_all, (0, 1)))(STEPS, STARTS)
    close(inside[0].sum(0), total[0])
    close(inside[1].sum(1), total[1])


def test_second_derivatives_agree(last):
    start, h = STARTS[0], 1e-4
    slopes = jax.jit(jax.vmap(jax.grad(last), (0, None)))
    above, below = slopes(jnp.stack([STEPS + h, STEPS - h]).reshape(-1), start).reshape(
        2, -1
    )
    curves = jax.jit(jax.vmap(jax.jacfwd(jax.grad(last)), (0, None)))(STEPS, start)
    np.testing.assert_allclose(curves, (above - below) / (2 * h), rtol=1e-5)
    back = jax.jit(jax.grad(jax.jacfwd(last)))(STEPS[1], start)
    close(curves[1], back)
