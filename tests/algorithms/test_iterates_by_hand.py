"""Iterates of methods whose server does more than a plain step, worked out by hand.

Two workers with f_1 = f_2 = x^2 / 2, so g = x_r, from x_0 = 1; jobs of 1 s and 2.5 s;
gamma = 1/2. Pure asynchronous SGD reads x_0, x_1, x_0, x_2 in its first four steps: the
third gradient, of the slow worker, is 1 whatever happened since.
"""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

import asgrad_jax as ag

algorithms = ag.algorithms
F = Fraction
GAP = 1 / (1 + 1.5 / (11 / 14) ** 0.5)  # third direction of gap-aware, see there
LAST_GAP = 1 / 4 / (1 + GAP / (2 / 5) ** 0.5)  # and the fourth
AGNOSTIC = np.cumsum([1 / 2, *(-(k**-0.75) / 2 for k in (2, 3, 4))])

# name: algorithm, x_1 .. x_4.
BY_HAND = {
    # x - x_r/2: the control.
    "pure_async": (algorithms.pure_async(), [F(1, 2), F(1, 4), F(-1, 4), F(-3, 8)]),
    # u = g + g^2 (x - x_r). Third: 1 - 3/4 = 1/4; fourth: 1/4 - 1/16 * 1/8 = 31/128.
    "dc_asgd": (algorithms.dc_asgd(1.0), [F(1, 2), F(1, 4), F(1, 8), F(1, 256)]),
    # With m = 0 the mean square is g^2: u = g + |g| (x - x_r). Third: 1/4; fourth:
    # 1/4 - 1/4 * 1/8 = 7/32.
    "dc_asgd_adaptive": (
        algorithms.dc_asgd_adaptive(1.0, decay=0.0, eps=1e-30),
        [F(1, 2), F(1, 4), F(1, 8), F(1, 64)],
    ),
    # alpha = 1/2 over 1 + tau, y = x_r / 2: 1/2 + 1/4; 3/8 + 3/16; then tau = 2 and
    # alpha = 1/6: 5/6 * 9/16 + 1/12; tau = 1, alpha = 1/4: 3/4 * 53/96 + 1/4 * 9/32.
    "fedasync": (
        algorithms.fedasync(0.5, a=1.0),
        [F(3, 4), F(9, 16), F(53, 96), F(31, 64)],
    ),
    # Mean squares by halves: 1/2; 3/8; 11/16; over 1 - 2^-k: 1; 1/2; 11/14. Gaps 0, 0,
    # 3/4 over sqrt(11/14)/2. Then 3/8 over 15/16 is 2/5, the gap x_2 - x_3 = GAP/2.
    "gap_aware": (
        algorithms.gap_aware(decay=0.5, eps=1e-30),
        [F(1, 2), F(1, 4), 0.25 - GAP / 2, 0.25 - GAP / 2 - LAST_GAP / 2],
    ),
    # (f(x_r) - 0) / g^2 = 1/2 = gamma always: the steps of pure.
    "delayed_polyak": (
        algorithms.delayed_polyak(0.0),
        [F(1, 2), F(1, 4), F(-1, 4), F(-3, 8)],
    ),
    # (f(x_r) - 1/4) / g: 1/4; (1/32) / (3/4) = 1/24; 1/4; (1/1152) / (17/24) = 1/816.
    "delayed_polyak, above the minimum": (
        algorithms.delayed_polyak(0.25),
        [F(3, 4), F(17, 24), F(11, 24), F(373, 816)],
    ),
    # m: 1; 1/2 + 1/2 = 1; 1/2 + 1 = 3/2; 3/4 + 0 = 3/4.
    "async_momentum": (
        algorithms.async_momentum(0.5),
        [F(1, 2), 0, F(-3, 4), F(-9, 8)],
    ),
    # Buckets of the reads 0 1 0 1, of the steps 0 1 1 2. A gradient of bucket b has
    # moved by 1 + 1/2 + .. (now - b + 1 terms) of itself: 1; 3/2 + 1/2; then 3/2 + 1/2
    # + 3/2; 7/4 + 3/4 + 7/4 + 0.
    "ormo": (algorithms.ormo(0.5), [F(1, 2), 0, F(-3, 4), F(-9, 8)]),
    # Blocks of 2, c = 0: g/2 = 1/2; m = 7/8, so 7/16 + 3/8; 1/2; m = 7/16 + 43/64 =
    # 71/64, so 71/128 + 11/64.
    "delayed_nesterov": (
        algorithms.delayed_nesterov(0.5, 0.0, 2),
        [F(3, 4), F(11, 32), F(3, 32), F(-69, 256)],
    ),
    # R = 2, alpha = 1/2: m = 1/2, 1/2 (the slow one is late), 1/4, -1/4 + 1/8.
    "ringmaster_normalised": (
        algorithms.ringmaster_normalised(2, 0.5),
        [F(1, 2), 0, F(-1, 2), 0],
    ),
    # The same for a vector.
    "ringmaster_muon": (
        algorithms.ringmaster_muon(2, 0.5),
        [F(1, 2), 0, F(-1, 2), 0],
    ),
    # m stays positive, so steps of k^-3/4 / 2: R = 1 is fresh gradients only.
    "ringmaster_agnostic": (algorithms.ringmaster_agnostic(), AGNOSTIC),
    # Jobs in turn instead of at random. v is g^2 and w stays 1; m: 1/2; 1/4 + 3/8;
    # 5/16 + 1/2; 13/32 + 7/32.
    "fadas": (
        dataclasses.replace(
            algorithms.fadas(1, b1=0.5, b2=0.0, eps=1e-30), order="same"
        ),
        [F(3, 4), F(7, 16), F(1, 32), F(-9, 32)],
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_four_steps(name):
    algorithm, expected = BY_HAND[name]
    problem = ag.problems.Quadratic.from_arrays(np.ones((2, 1, 1)), np.zeros((2, 1)))
    times = ag.compute_times.fixed([1.0, 2.5])
    schedule = ag.simulate(algorithm, times, num_gradients=4)
    late = "ringmaster" in name  # these do without the late gradient
    assert schedule.read.tolist() == ([0, 1, 2, 3] if late else [0, 1, 0, 2])
    run = ag.run(
        problem,
        schedule,
        step_size=0.5,
        record_every=1,
        init_params=np.ones(1),
        precision="float64",
        metrics={"x": lambda params: params[0]},
    )
    for got, wanted in zip(run.metrics["x"][1:], expected, strict=True):
        np.testing.assert_allclose(got, float(wanted), rtol=1e-9, atol=1e-9)
