"""Waves: gradients computed together, W at a time, against one by one.

Speeds 1..n with normal times fill waves badly; times alike (fixed, log-normal over the
workers with sigma 0.3) fill them well. Shuffled asynchronous SGD on one schedule.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.experiments.calls import ProgramGroup
from asgrad_jax.experiments.experiment import Experiment
from benchmarks.cases import WithoutMetrics, engine_run, random_logistic, schedules
from benchmarks.timing import ON_CPU, interleave, sized

WIDTHS = sized((1, 4, 8, 16, 32) if ON_CPU else (1, 8, 32), (1, 8))
SETTINGS = sized(
    ((10, "speeds"), (100, "speeds"), (100, "alike"), (1000, "alike"))
    if ON_CPU
    else ((1000, "alike"),),
    ((100, "alike"),),
)
LONGER = 1 if ON_CPU else 4  # runs, so that the host's part counts for little
ROUNDS = 4  # of the workers, at least: their slots are filled before a run
# Arrivals of one run with 1 and 32 lanes, for two tenths of a second, about.
ARRIVALS = {
    "full": {1: 100_000, 32: 20_000},
    "16 rows": {1: 100_000, 32: 60_000},
    "MLP": {1: 8_000, 32: 1_500},
}


def problem_of(kind: str, n: int):
    """m=200, d=60 logistic with full or 16-row gradients; MLP 64-64-10, 16 rows."""
    if kind == "full":
        return random_logistic(n, 200, 60)
    if kind == "16 rows":
        return random_logistic(n, 200, 60, batch_size=16)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n * 32, 64), np.float32)
    classes = rng.integers(0, 10, n * 32)

    def loss(params, batch):
        x, label = batch
        hidden = jax.nn.relu(x @ params["w1"] + params["b1"])
        logits = jax.nn.log_softmax(hidden @ params["w2"] + params["b2"])
        return -jnp.take_along_axis(logits, label[:, None], axis=1)[:, 0]

    params = {
        "w1": rng.normal(0, 0.1, (64, 64)),
        "b1": np.zeros(64),
        "w2": rng.normal(0, 0.1, (64, 10)),
        "b2": np.zeros(10),
    }
    return ag.from_loss(loss, params, (rows, classes), num_workers=n, batch_size=16)


def schedule_of(n: int, clock: str, arrivals: int, method: str = "shuffled_async"):
    if clock == "speeds":
        return schedules(n, arrivals, methods=(method,))[0]
    means = np.exp(0.3 * np.random.default_rng(0).normal(size=n))
    times = ag.compute_times.fixed(means)
    return ag.simulate(method, times, num_gradients=arrivals)


def chosen_width(problem, n: int, clock: str, lanes: int) -> int:
    """The engine's choice for a long run; short ones go one by one."""
    schedule = schedule_of(n, clock, sized(2_000_000, 10_000))
    experiment = Experiment(
        problem=problem, init_params=problem.init_params(), record_every=len(schedule)
    )
    hyper = {"step_size": np.full(lanes, 0.01)}
    return ProgramGroup(experiment, [schedule], [0], hyper).width


@pytest.mark.parametrize("lanes", [1, 32])
@pytest.mark.parametrize("kind", ARRIVALS)
@pytest.mark.parametrize(("n", "clock"), SETTINGS)
def test_width(benchmark, say, n, clock, kind, lanes):
    """Gradients per second by width."""
    arrivals = max(LONGER * ARRIVALS[kind][lanes], ROUNDS * n) // sized(1, 10)
    schedule = schedule_of(n, clock, arrivals)
    problem = WithoutMetrics(problem_of(kind, n))
    chosen = chosen_width(problem, n, clock, lanes)
    widths = sorted({*WIDTHS, chosen})
    seconds = interleave(
        benchmark,
        {w: engine_run(problem, [schedule], lanes, width=w) for w in widths},
        rounds=5 if ON_CPU else 3,
    )
    waves = [
        {
            "width": w,
            "rate": lanes * arrivals / seconds[w],
            "gain": seconds[1] / seconds[w],
            "fill": ag.plan_slots(schedule, width=w).fill,
        }
        for w in widths
    ]
    lines = [
        f"W={w['width']:<3} {w['rate']:12,.0f} gradients/s  {w['gain']:5.2f}x  "
        f"fill {w['fill']:.2f}{'  chosen' if w['width'] == chosen else ''}"
        for w in waves
    ]
    say({"waves": waves, "chosen": chosen}, *lines)
