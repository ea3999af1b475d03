"""Oracles written to be read: no buffer, no scan, no compiled code."""

import numpy as np

from asgrad_jax.problems.eigenvalues import worker_rows
from helpers.server_rules import rule_of


class Adam:
    """Adam's direction, to be multiplied by the step size; moments of 0.9 and 0.999."""

    def __init__(self):
        self.first = self.second = 0.0
        self.count = 0

    def __call__(self, u):
        self.first = 0.9 * self.first + 0.1 * u
        self.second = 0.999 * self.second + 0.001 * u * u
        self.count += 1
        mean = self.first / (1 - 0.9**self.count)
        root = np.sqrt(self.second / (1 - 0.999**self.count))
        return mean / (root + 1e-8)


def naive_trajectory(
    schedule, gradient, step_size, start, *, momentum=0.0, server=None, loss=None
):
    """Runs a schedule with the full history of iterates.

    The rules of `Schedule` and `GradientTable`, word by word. A gradient that is not
    accepted makes a step that changes nothing, so that versions stay numbered as
    planned.

    Args:
        schedule: the schedule.
        gradient: (x, worker, job) -> gradient, NumPy arrays [d].
        step_size: gamma.
        start: x_0, [d].
        momentum: of a heavy ball, v = direction + momentum v, x = x - gamma v.
        loss: x -> f(x), for rules that ask.
        server: direction -> what the step size multiplies, instead of the heavy ball.

    Returns:
        The iterate after every arrival, [A + 1, d].
    """
    history = [np.array(start, np.float64)]  # history[v] is x_v
    direction = np.zeros_like(history[0])
    velocity = np.zeros_like(history[0])
    after = [history[0]]
    table, rule = schedule.table, rule_of(schedule, step_size)
    oldest = 0
    kept = np.zeros((2, len(direction)))
    memory = np.zeros((table.num_rows if table else 0, len(direction)))
    for a in range(len(schedule)):
        read = history[schedule.read[a]]
        g = gradient(read, schedule.worker[a], schedule.job[a])
        if schedule.clip is not None:
            g = g * min(1, schedule.clip[a] / np.linalg.norm(g))
        accepted = (
            schedule.accept is None
            or np.linalg.norm(history[-1] - read) <= schedule.accept[a]
        )
        if not accepted:
            g = np.zeros_like(g)
        if table is None:
            direction = direction + schedule.weight[a] * g
        else:
            r = table.row[a]
            for dropped in () if table.drop is None else table.drop[a]:
                if dropped >= 0:
                    kept[0] = kept[0] - memory[dropped]
            for j in range(2):
                kept[j] += table.gain[a, j] * g + table.carry[a, j] * memory[r]
            memory[r] = table.keep[a] * memory[r] + g
            direction = table.readout[a] @ kept
        oldest = max(oldest, schedule.delay[a])
        if schedule.step[a]:
            if accepted:
                v = len(history) - 1
                told = history[-1], read, v, schedule.delay[a], oldest, loss
                direction = rule(direction, *told)
                velocity = direction + momentum * velocity
                velocity = velocity if server is None else server(direction)
            oldest = 0
            history.append(history[-1] - step_size * velocity * accepted)
            direction = np.zeros_like(direction)
            if table is not None:
                kept = table.mix[a] @ kept
        after.append(history[-1])
    return np.stack(after)


def quadratic_loss(problem):
    """Returns x -> f(x) of a quadratic."""

    def loss(x):
        return x @ problem.mean_hessian @ x / 2 - problem.mean_linear @ x

    return loss


def quadratic_gradient(problem):
    """Returns (x, worker, job) -> gradient of a quadratic without noise."""

    def gradient(x, worker, job):
        del job
        hessian = problem.hessian[worker if len(problem.hessian) > 1 else 0]
        linear = problem.linear[worker if len(problem.linear) > 1 else 0]
        return (hessian @ x if hessian.ndim == 2 else hessian * x) - linear

    return gradient


def logistic_gradient(problem):
    """Returns (x, worker, job) -> full local gradient, nonconvex regulariser."""

    def gradient(x, worker, job):
        del job
        rows, labels = worker_rows(problem, worker)
        with np.errstate(over="ignore"):
            residual = -labels / (1 + np.exp(labels * (rows @ x)))
        regularizer = problem.strength * 2 * x / (1 + x * x) ** 2
        return residual @ rows / len(labels) + regularizer

    return gradient
