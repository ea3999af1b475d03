"""A perceptron against PyTorch, which does one lane at a time."""

import jax
import numpy as np
import pytest

import asgrad_jax as ag
from benchmarks.cases import WithoutMetrics, engine_run
from benchmarks.test_networks import python_loop
from benchmarks.timing import cpu_only, sized
from benchmarks.torch_loop import torch_loop

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed (extra benchmark)", exc_type=ImportError
)


def digits_mlp(num_workers: int = 20):
    """An MLP 65-32-10 on digits, 16 rows; shards of one size."""
    pixels, digits = ag.datasets.digits()
    return ag.problems.mlp(
        pixels, digits, num_workers, batch_size=16, partition="iid", drop_last=True
    )


@cpu_only
@pytest.mark.parametrize("lanes", [1, 8, 40])
def test_against_a_torch_loop(versus, lanes):
    """MLP on digits, 20 workers, 16 rows, no metrics: the engine, PyTorch, JAX loops.

    PyTorch runs on one thread, on which it is fastest at this size. Its iterates are
    those of the jitted loop to rounding, which is checked.
    """
    problem = digits_mlp()
    clock = ag.compute_times.exponential(np.ones(20))
    arrivals, few = sized(20_000 // lanes, 40), sized(2_000, 40)
    schedule = ag.simulate("shuffled_async", clock, num_gradients=arrivals)
    short = ag.simulate("shuffled_async", clock, num_gradients=few)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    loop, other = torch_loop(torch, problem, short), python_loop(problem, short)
    expected = [np.asarray(leaf) for leaf in _ordered(other())]
    for found, leaf in zip(loop(), expected, strict=True):
        np.testing.assert_allclose(found, leaf, rtol=1e-3, atol=1e-4)
    try:
        engine = engine_run(WithoutMetrics(problem), [schedule], lanes)
        versus(
            {
                "engine": (engine, arrivals * lanes),
                "PyTorch loop": (loop, few),
                "jitted step in a Python loop": (other, few),
            },
            targets={"PyTorch loop": 20, "jitted step in a Python loop": 25},
            rounds=3,
        )
    finally:
        torch.set_num_threads(threads)


def _ordered(params):
    """Weights and biases of each layer in the order of PyTorch's list."""
    return [
        leaf
        for layer in jax.device_get(params).values()
        for leaf in (layer["weight"], layer["bias"])
    ]
