"""How a run is laid out: equal parts, blocks of records, slots read ahead."""

import jax
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.engine.rows import _on_grid, even_part, padded_waves
from asgrad_jax.experiments import execute
from asgrad_jax.experiments.experiment import Experiment

N = 4
CLOCK = ag.compute_times.fixed(range(1, N + 1))


@pytest.mark.parametrize(
    ("total", "limit", "part"),
    [
        (100, 32, 25),  # the largest divisor
        (101, 32, 26),  # no divisor: even parts
        (500, 3, 3),
        (999, 500, 500),  # one place of padding beats the divisor 333
        (300, 101, 100),  # a divisor nearly as large needs no padding
        (1010, 400, 202),  # 190 places of padding are too many
    ],
)
def test_equal_parts(total, limit, part):
    assert even_part(total, limit) == part


def test_sizes_are_rounded_by_at_most_an_eighth():
    assert [_on_grid(size) for size in (7, 9, 17, 963)] == [7, 9, 18, 1024]
    # Full waves are as many as they are in every schedule.
    assert padded_waves([np.array([17, 34])], width=1, every=17) == 17
    assert padded_waves([np.array([17, 34])], width=2, every=17) == 18


def group_of(problem, method="pure_async", lanes=1, **options):
    schedule = ag.simulate(method, CLOCK, num_gradients=400)
    experiment = Experiment(
        problem=problem, init_params=problem.init_params(), record_every=4, **options
    )
    hyper = {"step_size": np.full(lanes, 0.1)}
    return execute._group(experiment, [schedule], [0], hyper, [0])


def test_a_block_of_records_is_smaller_with_more_lanes():
    blocks = [group_of(ag.quadratic(N, 3), lanes=k).shape.block for k in (1, 8, 64)]
    assert blocks == [25, 4, 1]  # of 100 records, 32 columns at once


def network():
    def loss(params, batch):
        return ((batch @ params["w"]) ** 2).sum(-1)

    start = {"w": np.ones((5, 3))}
    return ag.from_loss(loss, start, np.ones((40, 5)), num_workers=N)


def test_slots_are_read_ahead_where_that_is_a_fast_copy():
    plain = ag.quadratic(N, 3)
    assert not group_of(plain).shape.ahead
    assert group_of(plain, "ia2sgd").shape.ahead
    assert group_of(network(), width=1).shape.ahead
    assert not group_of(network(), width=1, batching="vmap").shape.ahead
    assert not group_of(network(), width=2).shape.ahead


def test_what_a_backend_does_not_tell_is_estimated(monkeypatch):
    monkeypatch.setattr(jax.stages.Compiled, "memory_analysis", lambda self: None)
    group = group_of(ag.quadratic(N, 17))  # a size that no other test has asked about
    assert group.memory(1, 1, compiled=False).work == 0
    block = group.shape.block
    iterate = 4 * 17  # of float32
    assert group.memory(1, 1).work == (2 + 1 + 2 * block) * iterate


def test_names_of_old_checkpoints_are_still_the_same():
    """They are named by the shape's text, from before `oldest` was there."""
    assert "oldest" not in repr(group_of(ag.quadratic(N, 3)).shape)


def test_waves_of_two_take_both_arrivals():
    problem = ag.logistic_regression(
        np.arange(24.0).reshape(12, 2) / 24, np.tile([1, -1], 6), N
    )
    schedule = ag.simulate("pure_async", CLOCK, num_gradients=60)
    options = {"record_every": 20, "precision": "float64"}  # waves end at records
    one, two = (
        ag.run(problem, schedule=schedule, step_size=0.5, width=k, **options)
        for k in (1, 2)
    )
    np.testing.assert_allclose(two.params, one.params, rtol=1e-12)
    assert np.abs(one.params).max() > 0.01
