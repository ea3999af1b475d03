"""Oracles written to be read: no buffer, no scan, no compiled code."""

import numpy as np


def naive_trajectory(schedule, gradient, step_size, start):
    """Runs a schedule with the full history of iterates.

    Args:
        schedule: the schedule.
        gradient: (x, worker, draw) -> gradient, NumPy arrays [d].
        step_size: gamma.
        start: x_0, [d].

    Returns:
        The iterate after every arrival, [A + 1, d].
    """
    history = [np.array(start, np.float64)]  # history[v] is x_v
    direction = np.zeros_like(history[0])
    after = [history[0]]
    rows = zip(
        schedule.worker,
        schedule.draw,
        schedule.read,
        schedule.weight,
        schedule.step,
        strict=True,
    )
    for worker, draw, read, weight, step in rows:
        direction = direction + weight * gradient(history[read], worker, draw)
        if step:
            history.append(history[-1] - step_size * direction)
            direction = np.zeros_like(direction)
        after.append(history[-1])
    return np.stack(after)


def logistic_gradient(problem):
    """Returns (x, worker, draw) -> full local gradient, nonconvex regulariser."""

    def gradient(x, worker, draw):
        del draw
        count = problem.counts[worker]
        rows = problem.features[worker, :count]
        labels = problem.labels[worker, :count]
        with np.errstate(over="ignore"):
            residual = -labels / (1 + np.exp(labels * (rows @ x)))
        regularizer = problem.strength * 2 * x / (1 + x * x) ** 2
        return residual @ rows / count + regularizer

    return gradient
