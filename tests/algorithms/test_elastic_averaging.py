"""The example of elastic averaging against workers that keep their own models."""

import heapq
import os
import runpy
from pathlib import Path

import numpy as np
import pytest

import asgrad_jax as ag

EXAMPLE = runpy.run_path(
    os.fspath(Path(__file__).parents[2] / "examples" / "elastic_averaging.py")
)
N, D, A, Q, ETA = 4, 3, 60, 3, 0.05
PROBLEM = ag.quadratic(N, D, heterogeneity=1.0, seed=2)
TIMES = {
    "fixed": ag.compute_times.fixed([1.0, 1.7, 2.3, 9.1]),
    "exponential": ag.compute_times.exponential([1.0, 2.0, 3.0, 4.0]),
    "pareto": ag.compute_times.pareto([1.0, 1.0, 2.0, 5.0], alpha=1.5),
}


def played(times, alpha):
    """Returns the centre's loss after every arrival."""
    centre, own = np.zeros(D), [np.zeros(D) for _ in range(N)]
    job, heap = [0] * N, []
    for i in range(N):
        heapq.heappush(heap, (times.durations(i, 0, 0, 1)[0], i))
    losses = []
    for _ in range(A):
        now, i = heapq.heappop(heap)
        for _ in range(Q):
            own[i] = own[i] - ETA * (PROBLEM.hessian[i] @ own[i] - PROBLEM.linear[i])
        pull = alpha * (own[i] - centre)
        own[i], centre = own[i] - pull, centre + pull
        losses.append(
            centre @ PROBLEM.mean_hessian @ centre / 2 - PROBLEM.mean_linear @ centre
        )
        job[i] += 1
        heapq.heappush(heap, (now + times.durations(i, 0, job[i], 1)[0], i))
    return losses


@pytest.mark.parametrize("name", TIMES)
def test_every_arrival(name):
    found = EXAMPLE["sweep"](
        PROBLEM,
        Q,
        ETA,
        [0.1, 0.6],
        compute_times=TIMES[name],
        num_gradients=A,
        record_every=1,
        precision="float64",
    )
    for alpha in (0.1, 0.6):
        loss = found["loss"].sel(alpha=alpha).squeeze().values[1:]
        np.testing.assert_allclose(loss, played(TIMES[name], alpha), rtol=1e-10)


def test_the_example_runs(capsys):
    EXAMPLE["main"](["--num-gradients", "40"])
    assert len(capsys.readouterr().out.splitlines()) == 4
