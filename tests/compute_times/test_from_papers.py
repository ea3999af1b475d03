"""The clocks of published code against its own output and against worked examples."""

import numpy as np
import pytest

from asgrad_jax import compute_times as ct
from asgrad_jax.simulation.simulate import simulate


def published_loop(law, n, rows, seed):
    """The event loop of AsGrad's published code for `pure`, tick by tick."""
    rng = np.random.default_rng(seed)
    draw = {
        "fixed": lambda i, first: i + 1.0,
        "poisson": lambda i, first: float(rng.poisson(i + 1)),
        "normal": lambda i, first: (
            abs(rng.normal(i + 1, i + 1)) + 1
            if first
            else np.floor(abs(rng.normal(i + 1, i + 1))) + 1
        ),
        "uniform": lambda i, first: rng.uniform(0, i + 1) + 1 if first else i + 1.0,
    }[law]
    left = np.array([draw(i, True) for i in range(n)])
    durations = [[value] for value in left]
    order, ticks, tick = [], [], 0
    for _ in range(rows):
        while not (left <= 0).any():
            left -= 1.0
            tick += 1
        i = int(left.argmin())  # the lowest number on ties
        order.append(i)
        ticks.append(tick)
        left[i] = draw(i, False)
        durations[i].append(left[i])
    return order, ticks, durations


class Given:
    """Durations as listed, at the pace of the tick clock."""

    def __init__(self, durations):
        self.durations = durations
        self.num_workers = len(durations)
        self.ties_by_worker = True
        self.used = [0] * self.num_workers

    def sample(self, worker, rng, size):
        first = self.used[worker]
        self.used[worker] += size
        block = self.durations[worker][first : first + size]
        return np.concatenate([block, np.full(size - len(block), 1e9)])

    def end_time(self, worker, start, work):
        return ct.tick([1.0] * self.num_workers).end_time(worker, start, work)


@pytest.mark.parametrize("law", ["fixed", "poisson", "normal", "uniform"])
def test_ticks_by_hand_and_by_the_clock(law):
    for n, seed in ((10, 0), (3, 1), (40, 2)):
        order, ticks, durations = published_loop(law, n, 500, seed)
        schedule = simulate("pure_async", Given(durations), num_gradients=500)
        assert schedule.worker.tolist() == order
        np.testing.assert_array_equal(np.ceil(schedule.time), ticks)
        if law == "fixed":
            own = simulate(
                "pure_async", ct.tick(range(1, n + 1), law), num_gradients=500
            )
            assert own.worker.tolist() == order


def golden(shared, pattern):
    [path] = (shared / "golden").glob(pattern)
    return np.load(path, allow_pickle=False)


def test_the_published_pure_run_with_fixed_times(shared):
    with golden(shared, "*pure_fixed*") as file:
        n = int(file["n"])
        for engine in ("python", "compiled"):
            schedule = simulate(
                "pure_async",
                ct.tick(range(1, n + 1), "fixed"),
                num_gradients=500,
                engine=engine,
            )
            np.testing.assert_array_equal(schedule.worker, file["exec_worker"])
            np.testing.assert_array_equal(schedule.worker, file["data_worker"])
            np.testing.assert_array_equal(schedule.read, file["read"])


@pytest.mark.parametrize("law", ["poisson", "normal"])
def test_the_published_pure_runs_in_distribution(shared, law):
    """Its random numbers are NumPy's old ones: shares of workers, mean delays."""
    with golden(shared, f"*pure_{law}*") as file:
        n, read, worker = int(file["n"]), file["read"], file["exec_worker"]
    clock = ct.tick(range(1, n + 1), law)
    shares, delays = [], []
    for seed in range(200):
        schedule = simulate("pure_async", clock, num_gradients=500, seed=seed)
        shares.append(np.bincount(schedule.worker, minlength=n))
        delays.append(schedule.delay.mean())
    mean, std = np.mean(shares, axis=0), np.std(shares, axis=0)
    assert (abs(np.bincount(worker, minlength=n) - mean) < 4 * std).all()
    assert abs((np.arange(500) - read).mean() - np.mean(delays)) < 4 * np.std(delays)


def test_one_straggler():
    for n, rows in ((2, 50), (5, 400), (30, 100)):
        clock = ct.one_straggler(n, rows)
        schedule = simulate("pure_async", clock, num_gradients=rows)
        [row] = np.flatnonzero(schedule.worker == n - 1)
        assert rows - n < row <= rows - 1
        stats = schedule.stats()
        assert stats.tau_max == row and stats.tau_avg < n - 1


def test_koloskova_1000():
    # Lemma 11: 15 s expected per gradient of asynchronous SGD with random clients.
    clock = ct.koloskova_1000()
    schedule = simulate("sgd", clock, num_gradients=20_000)
    assert abs(schedule.time[-1] / 20_000 - 15.0) < 4 * 15.0 / np.sqrt(20_000)
