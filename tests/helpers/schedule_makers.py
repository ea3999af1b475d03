"""Small schedule generators for tests, and compute times written down."""

import numpy as np

from asgrad_jax.schedules.schedule import Schedule


def job_schedule(
    seed,
    *,
    concurrency,
    rows,
    gradients_per_step=1,
    after_step=False,
    num_workers=None,
    favour=0.0,
):
    """Plays a server that always has `concurrency` jobs and logs what arrives.

    The next arrival is any job in flight (with probability `favour` the newest one, so
    that some jobs become stragglers). After `gradients_per_step` rows the server steps;
    new jobs go to random workers, at once or (`after_step`) only when the server has
    stepped.
    """
    rng = np.random.default_rng(seed)
    n = concurrency if num_workers is None else num_workers
    jobs = [(i % n, 0) for i in range(concurrency)]
    worker, read, step = [], [], []
    version, owed = 0, 0
    for a in range(rows):
        newest = rng.random() < favour
        i, pi = jobs.pop(len(jobs) - 1 if newest else rng.integers(len(jobs)))
        steps = a % gradients_per_step == gradients_per_step - 1
        worker.append(i)
        read.append(pi)
        step.append(steps)
        version += steps
        owed += 1
        if steps or not after_step:
            jobs += [(int(rng.integers(n)), version) for _ in range(owed)]
            owed = 0
    return Schedule.from_arrays(
        worker,
        read,
        step=step,
        weight=np.full(rows, 1 / gradients_per_step),
        num_workers=n,
        in_flight_worker=[i for i, _ in jobs],
        in_flight_read=[pi for _, pi in jobs],
    )


def any_schedule(seed, *, rows, step_rate=1.0, recent=None):
    """Any valid schedule: reads drawn from all (or the `recent` last) versions."""
    rng = np.random.default_rng(seed)
    step = rng.random(rows) < step_rate
    version = np.concatenate([[0], np.cumsum(step)[:-1]])
    oldest = 0 if recent is None else np.maximum(version - recent, 0)
    return Schedule.from_arrays(
        rng.integers(0, 5, rows),
        rng.integers(oldest, version + 1),
        step=step,
        weight=rng.normal(size=rows),
        num_workers=5,
    )


class Listed:
    """Durations job by job, as written down; what is not listed takes 100 s."""

    def __init__(self, *durations):
        self.durations = durations
        self.num_workers = len(durations)

    def sample(self, worker, rng, size):
        # Blocks hold 16, 32, 64, ... jobs.
        listed = self.durations[worker][size - 16 : 2 * size - 16]
        return np.array([*listed, *[100.0] * (size - len(listed))])
