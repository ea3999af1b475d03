"""The Ringmaster family against schedules recorded from its public code, row by row.

The numbers are those of `helpers/ringmaster_public.py`, which says how they were made.
Where ASGRAD_RINGMASTER names a checkout of the repository it is run again.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import asgrad_jax as ag
from helpers import ringmaster_public as public
from helpers.schedule_makers import Listed

FILE = Path(__file__).with_name("ringmaster_public.json")
RECORDED = json.loads(FILE.read_text())
CHECKOUT = os.environ.get("ASGRAD_RINGMASTER")
algorithms = ag.algorithms

OURS = {
    "pure_async": algorithms.pure_async(),
    "delay_adaptive": algorithms.delay_adaptive(),
    "ringmaster_stops": algorithms.ringmaster_stops(6),
    "ringmaster_normalised": algorithms.ringmaster_normalised(6, 0.3, stop=True),
    "ringmaster_agnostic": algorithms.ringmaster_agnostic(stop=True),
    "rennala_restart": algorithms.rennala_restart(7),
    "quotas": algorithms.RoundAlgorithm(
        name="quotas", until="quota", quota=(3, 2, 2, 1, 1)
    ),
    "malenia": algorithms.malenia(1),
    "minibatch": algorithms.minibatch(),
    "ia2sgd": algorithms.ia2sgd(),
    "ringleader": algorithms.ringleader(),
    "ata": algorithms.ata(5, 0.003),
}


def diagonals():
    """The problem that was recorded."""
    losses = [public.Loss(i) for i in range(public.N)]
    return ag.problems.Quadratic.from_arrays(
        np.stack([np.diag(loss.diagonal) for loss in losses]),
        np.stack([loss.linear for loss in losses]),
    )


@pytest.mark.parametrize("name", OURS)
def test_rows_and_last_iterate(name):
    recorded = RECORDED[name]
    worker, job, read, time = zip(*recorded["rows"], strict=True)
    schedule = ag.simulate(
        OURS[name], Listed(*recorded["durations"]), num_gradients=len(worker)
    )
    np.testing.assert_array_equal(schedule.worker, worker)
    np.testing.assert_array_equal(schedule.job, job)
    np.testing.assert_array_equal(schedule.read, read)
    np.testing.assert_allclose(schedule.time, time, atol=2e-4)  # rounded durations
    run = ag.run(
        diagonals(),
        schedule,
        step_size=public.GAMMA,
        record_every=len(worker),
        precision="float64",
    )
    np.testing.assert_allclose(run.params, recorded["point"], rtol=1e-9)


def test_the_record_is_not_of_one_schedule():
    rows = {json.dumps(recorded["rows"]) for recorded in RECORDED.values()}
    assert set(RECORDED) == set(OURS) and len(rows) >= 8


@pytest.mark.skipif(
    not CHECKOUT, reason="ASGRAD_RINGMASTER names no checkout of ringmaster-lmo"
)
def test_the_record_is_what_the_public_code_does():
    script = Path(public.__file__)
    made = subprocess.run(
        [sys.executable, str(script), str(CHECKOUT)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(made.stdout) == RECORDED
