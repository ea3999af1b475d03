"""Local SGD steps, as in FedBuff and FedAvg: samples drawn ahead, or step by step."""

import pytest

import asgrad_jax as ag
from asgrad_jax.problems.local_steps import LocalSteps
from benchmarks.cases import WithoutMetrics, engine_run
from benchmarks.test_waves import problem_of, schedule_of
from benchmarks.timing import sized


@pytest.mark.parametrize("lanes", [1, 32])
def test_local_steps(versus, lanes):
    """n=100, m=200, d=60, jobs of 5 local steps on 16 rows each, times alike."""
    inside = WithoutMetrics(problem_of("16 rows", 100))
    schedule = schedule_of(100, "alike", sized({1: 200_000, 32: 20_000}[lanes], 500))
    ahead = ag.local_steps(inside, 5, 0.05)
    one_by_one = LocalSteps(inside, ahead.step_size, 5)
    work = 5 * len(schedule) * lanes
    versus(
        {
            "engine": (engine_run(ahead, [schedule], lanes), work),
            "drawn step by step": (engine_run(one_by_one, [schedule], lanes), work),
        },
        rounds=5,
    )
