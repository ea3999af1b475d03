"""The servers' rules in NumPy, written to be read; by the names that schedules give."""

import numpy as np


def rule_of(schedule, step_size):
    """Returns (u, x_v, x_r, v, delay, largest delay, f) -> u of a schedule's server."""
    rule = schedule.server_rule
    if rule is None:
        return lambda u, *told: u
    return RULES[rule.name](step_size, **dict(rule.values))


def dc(step_size, strength):
    return lambda u, x, read, *told: u + strength * u * u * (x - read)


def dc_adaptive(step_size, strength, decay, eps):
    mean = 0.0

    def rule(u, x, read, *told):
        nonlocal mean
        mean = decay * mean + (1 - decay) * u * u
        return u + strength / np.sqrt(mean + eps) * u * u * (x - read)

    return rule


def gap_aware(step_size, decay, eps):
    mean = 0.0

    def rule(u, x, read, v, *told):
        nonlocal mean
        mean = decay * mean + (1 - decay) * u * u
        size = step_size * (np.sqrt(mean / (1 - decay ** (v + 1))) + eps)
        return u / (1 + abs(x - read) / size)

    return rule


def fedasync(step_size, mixing, a):
    def rule(u, x, read, v, delay, *told):
        return mixing * (1 + delay) ** -a * (u + (x - read) / step_size)

    return rule


def fadas(step_size, b1, b2, eps, threshold=np.inf):
    m, v, most = 0.0, 0.0, 0.0

    def rule(u, x, read, step, delay, max_delay, loss):
        nonlocal m, v, most
        m, v = b1 * m + (1 - b1) * u, b2 * v + (1 - b2) * u * u
        most = np.maximum(most, v)
        late = max_delay > threshold
        factor = min(1, 1 / (step_size * max_delay)) if late else 1
        return factor * m / (np.sqrt(most) + eps)

    return rule


def momentum(alpha_of, scale_of=lambda v: 1):
    m = 0.0

    def rule(u, x, read, v, *told):
        nonlocal m
        m = alpha_of(v) * u + (1 - alpha_of(v)) * m
        return scale_of(v) * m / (np.linalg.norm(m) + 1e-10)

    return rule


def polyak(step_size, lower_bound):
    def rule(u, x, read, v, delay, max_delay, loss):
        gap = max(loss(read) - lower_bound, 0)
        return u * min(1, gap / (step_size * (u @ u)))

    return rule


RULES = {
    "delayed_polyak_step": polyak,
    "dc_asgd_step": dc,
    "dc_asgd_adaptive_step": dc_adaptive,
    "gap_aware_step": gap_aware,
    "fedasync_step": fedasync,
    "fadas_step": fadas,
    "fadas_delay_step": fadas,
    "normalised_momentum": lambda step_size, alpha: momentum(lambda v: alpha),
    "muon_momentum": lambda step_size, alpha: momentum(lambda v: alpha),
    "agnostic_momentum": lambda step_size, exponent: momentum(
        lambda v: max(v, 1) ** -0.5, lambda v: (v + 1) ** -exponent
    ),
}
