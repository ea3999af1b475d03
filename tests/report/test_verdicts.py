"""Verdicts: intervals over paired seeds, and what is said where there is none."""

import numpy as np
import pytest
import scipy.stats

import asgrad_jax as ag
from asgrad_jax.report import verdicts as module
from asgrad_jax.report.verdicts import Claim, paired_interval, verdicts

SEEDS = 12


@pytest.fixture(scope="module")
def result():
    """Noisy quadratics: random differs from seed to seed, minibatch does too."""
    return ag.sweep(
        ag.quadratic(4, 3, heterogeneity=2.0, noise=0.3, seed=1),
        algorithms=["pure_async", "random_async", "minibatch"],
        compute_times=ag.compute_times.fixed([1, 2, 3, 9]),
        step_sizes=[0.01, 0.05, 0.2],
        seeds=range(SEEDS),
        num_gradients=400,
    )


def one(result, **given):
    claim = Claim(text="it", **{"lower": "minibatch", "upper": "pure_async", **given})
    [verdict] = verdicts(result, [claim])
    return verdict


def test_the_ratio_is_that_of_the_medians_at_the_chosen_step_size(result):
    verdict = one(result, step_size=0.05)
    tail = ag.tail_mean(result).isel(compute_times=0).sel(step_size=0.05)
    low, high = (tail.sel(algorithm=a).values for a in ("minibatch", "pure_async"))
    assert verdict.ratio == pytest.approx(np.median(low) / np.median(high))
    assert verdict.low <= verdict.ratio <= verdict.high
    assert verdict.seeds == SEEDS


def test_answers_follow_the_interval(result):
    verdict = one(result)
    for ratio, answer in (
        (verdict.high * 1.01, "holds"),
        (verdict.low * 0.99, "does not hold"),
        (verdict.ratio, "not told apart"),
    ):
        assert one(result, ratio=ratio).answer == answer


def test_pairs_share_their_noise():
    rng = np.random.default_rng(3)
    common = np.exp(rng.normal(0, 2, 25))
    own = np.exp(rng.normal(0, 0.01, 25))
    _, low, high = paired_interval(common * own, 2 * common)
    assert 0.45 < low < high < 0.55
    # The other seeds' noise would make it wide.
    _, low, high = paired_interval(common * own, 2 * rng.permutation(common))
    assert high > 3 * low


def test_coverage_of_the_interval():
    """Of 95% intervals over 20 seeds, at least 34 in 40 have the truth in them."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(40):
        low, high = np.exp(rng.normal(0, 0.3, (2, 20)))
        _, left, right = paired_interval(low, high)
        hits += left <= 1 <= right
    assert hits >= 34


def test_the_interval_is_scipys(monkeypatch):
    seen = {}

    def spy(data, statistic, **given):
        seen.update(given)
        return real(data, statistic, **given)

    real = scipy.stats.bootstrap
    monkeypatch.setattr(scipy.stats, "bootstrap", spy)
    paired_interval(np.arange(1.0, 9.0), np.arange(2.0, 10.0))
    assert seen["paired"] and seen["confidence_level"] == 0.95


def test_what_is_not_random_has_no_interval():
    result = ag.sweep(
        ag.quadratic(2, 2),
        algorithms=["pure_async", "minibatch"],
        compute_times=ag.compute_times.fixed([1, 3]),
        step_sizes=[0.05, 0.1],
        seeds=range(3),
        num_gradients=100,
    )
    verdict = one(result)
    assert np.isnan(verdict.low) and "deterministic" in verdict.detail
    assert verdict.answer in ("holds", "does not hold")


def test_few_seeds_are_not_an_answer(result):
    few = result.isel(seed=slice(module._FEWEST - 1))
    assert one(few).answer == "too few seeds"
    assert np.isfinite(one(few).ratio)


def test_runs_that_broke_down_are_counted():
    result = ag.sweep(
        ag.quadratic(3, 2, noise=0.1),
        algorithms=["pure_async", "minibatch"],
        compute_times=ag.compute_times.exponential([1, 2, 3]),
        step_sizes=[0.1, 1e6],
        seeds=range(9),
        num_gradients=300,
    )
    verdict = one(result, step_size=1e6)
    assert verdict.answer == "no answer" and np.isnan(verdict.ratio)
    assert "9 of 9 runs of minibatch left the finite range" in verdict.detail


def test_times_to_a_goal(result):
    start = float(result["grad_norm"].isel(record=0).max())
    verdict = one(result, measure="time", goal=start / 3)
    assert verdict.seeds == SEEDS and "virtual time to gradient norm" in verdict.detail
    # A goal below the noise is reached by nobody.
    never = one(result, measure="time", goal=1e-12)
    assert never.answer == "no answer" and "never got there" in never.detail


def test_durations(result):
    verdict = one(result, lower="pure_async", upper="minibatch", measure="duration")
    ends = result["time"].isel(record=-1, compute_times=0).median("seed")
    wanted = ends.sel(algorithm="pure_async") / ends.sel(algorithm="minibatch")
    assert verdict.ratio == pytest.approx(float(wanted))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lower": "pure"}, "'pure' must be an algorithm"),
        ({"compute_times": "normal"}, "'normal' must be one of the compute times"),
        ({"measure": "time"}, "must have a goal"),
        ({"step_size": 0.3}, "step_size 0.3 must be one of"),
    ],
)
def test_claims_about_what_is_not_there(result, given, words):
    with pytest.raises(ValueError, match=words):
        one(result, **given)
