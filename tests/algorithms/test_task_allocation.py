"""ATA and UTA against their own words, round by round."""

import math

import numpy as np
import pytest

import asgrad_jax as ag

algorithms = ag.algorithms
N, SEED = 5, 7
CLOCK = ag.compute_times.exponential([1.0, 1.4, 2.0, 3.5, 8.0])


def rounds_of(algorithm, num_gradients, seed=SEED):
    """Jobs of each worker in the rounds that are over, [rounds, n]."""
    schedule = ag.simulate(algorithm, CLOCK, num_gradients=num_gradients, seed=seed)
    pair = schedule.version * N + schedule.worker
    counts = np.bincount(pair, minlength=(schedule.num_steps + 1) * N).reshape(-1, N)
    return counts[: schedule.num_steps]


@pytest.mark.parametrize("alpha", [1e-4, 0.01, 0.05, None])
@pytest.mark.parametrize("size", [3, 5, 12])
def test_ata_in_its_own_words(size, alpha):
    durations = [CLOCK.durations(i, SEED, 0, 4000) for i in range(N)]
    shares = rounds_of(algorithms.ata(size, alpha), 3000)
    done = np.zeros(N, int)
    told = 0
    for k, got in enumerate(shares):  # k rounds are over
        assert got.sum() == size
        new = done == 0
        if new.all():
            assert np.ptp(got) <= 1
        elif new.any():  # who has not been measured comes first, with one job
            assert got[new].max() == 1 and got[new].sum() == min(size, new.sum())
        if k and not new.any():
            mean = np.array([durations[i][: done[i]].mean() for i in range(N)])
            log = math.log(2 * k**2)
            factor = 4 * math.e * (2 * mean if alpha is None else alpha)
            score = mean - factor * (np.sqrt(log / done) + log / done)
            unclear = score <= 0
            if unclear.any():
                assert np.ptp(got[unclear]) <= 1 and not got[~unclear].any()
            else:
                told += 1
                # Nobody is better off with a job of another one.
                loads = got * score
                assert loads.max() <= ((got + 1) * score).min() * (1 + 1e-12)
        done += got
    # The empirical form needs hundreds of measurements of everybody to tell.
    assert told > 10 or alpha in (0.05, None)


@pytest.mark.parametrize("make", [algorithms.uta, algorithms.ofta, algorithms.ata])
def test_who_gets_what_is_left_over_is_drawn_anew_for_every_round(make):
    shares = rounds_of(make(13), 13 * 400)[:400]
    assert set(np.unique(shares)) == {2, 3}
    more = (shares == 3).mean(axis=0)  # 3 of 5 workers, 400 draws
    np.testing.assert_allclose(more, 0.6, atol=4 * math.sqrt(0.6 * 0.4 / 400))
    other = rounds_of(make(13), 13 * 400, seed=SEED + 1)[:400]
    assert (shares != other).any()


def test_random_allocations_of_a_users_own():
    class Lottery:
        """All jobs of every round to one worker, who follows from the seed."""

        def __init__(self, winner=None):
            self.winner = winner

        def with_seed(self, seed):
            return Lottery(seed % N)

        def allocate(self, round_number, total, jobs):
            return 3 * (np.arange(N) == self.winner)

    algorithm = ag.RoundAlgorithm(
        name="lottery", until="quota", gradients_per_step=3, quota=Lottery()
    )
    for seed in (3, 6):
        for engine in ("python", "compiled"):
            schedule = ag.simulate(
                algorithm, CLOCK, num_gradients=6, seed=seed, engine=engine
            )
            assert schedule.worker.tolist() == [seed % N] * 6
