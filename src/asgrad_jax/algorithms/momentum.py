"""Asynchronous SGD with momentum whose coefficients follow from timing alone.

Momentum is linear in the gradients, so it is a `GradientTable`: two accumulators, what
each gradient adds to them, and how they are mixed after a step. A server given besides
works on the direction that comes out.
"""

import dataclasses

import numpy as np

from asgrad_jax._util.checks import check_number
from asgrad_jax.algorithms.algorithm import Algorithm, Count, Transform, resolve_count
from asgrad_jax.algorithms.asynchronous import pure_async
from asgrad_jax.algorithms.delay_aware import declared
from asgrad_jax.algorithms.registry import register
from asgrad_jax.schedules.gradient_table import GradientTable
from asgrad_jax.schedules.schedule import Schedule

_MOMENTUM = dict(table=True, knows="beta", state="d momentum")


def _with_table(name: str, schedule: Schedule, **columns) -> Schedule:
    """Returns the schedule with a table of one row, whose gradients are weighted."""
    if schedule.table is not None or not schedule.step.all():
        raise ValueError(
            f"{name}: inner must be an algorithm that steps with every gradient and "
            f"remembers none, for example algorithms.pure_async(), got {schedule.name}"
        )
    row = np.zeros(len(schedule), np.int32)
    weight = schedule.weight[:, None]
    gain, carry = columns.pop("gain") * weight, columns.pop("carry", 0.0) * weight
    carry = np.broadcast_to(carry, gain.shape)
    table = GradientTable.from_arrays(row, gain=gain, carry=carry, **columns)
    return dataclasses.replace(schedule, table=table)


def _on_top(name: str, inner: object, rule: Transform) -> Algorithm:
    algorithm = pure_async() if inner is None else declared(name, inner)
    if not isinstance(algorithm, Algorithm):
        raise TypeError(
            f"{name}: inner must be an Algorithm, for example algorithms.pure_async(), "
            f"got a {type(algorithm).__name__}"
        )
    rules = (*algorithm.transforms, rule)
    return dataclasses.replace(algorithm, name=name, transforms=rules)


def decay_rate(name: str, beta: float) -> float:
    """Returns a checked number 0 <= beta < 1."""
    beta = check_number(name, beta, minimum=0)
    if beta >= 1:
        raise ValueError(f"{name} must be below 1, got {beta}")
    return beta


@dataclasses.dataclass(frozen=True)
class HeavyBall:
    """D_0 = u, to which every gradient is added and which decays by beta after a step.

    ::

        u <- beta u + w g;  x <- x - gamma u
    """

    beta: float

    def __call__(self, schedule: Schedule) -> Schedule:
        return _with_table(
            "async_momentum",
            schedule,
            gain=np.broadcast_to([1.0, 0.0], (len(schedule), 2)),
            mix=((self.beta, 0.0), (0.0, 0.0)),
        )


@register("homogeneous", **_MOMENTUM)
def async_momentum(beta: float = 0.9, inner: Algorithm | None = None) -> Algorithm:
    """Naive momentum: gradients enter the momentum in the order of their arrival.

    ::

        loop: g of i arrives;  u <- beta u + g;  x <- x - gamma u
              i starts at the new x

    Source: heavy-ball momentum on the server, the baseline that OrMo (arXiv 2407.19234)
    calls naive; the same as a server `optax.sgd(step_size, momentum=beta)`. For
    homogeneous data, unless the inner algorithm is for more.

    Args:
        beta: 0 <= beta < 1.
        inner: who gets jobs; the default is `pure_async()`.

    Raises:
        TypeError, ValueError: if an argument is not as described. `simulate` raises a
            ValueError where the inner algorithm waits for several gradients.

    Example:
        >>> async_momentum(0.5).transforms
        (HeavyBall(beta=0.5),)
    """
    rule = HeavyBall(decay_rate("async_momentum: beta", beta))
    return _on_top("async_momentum", inner, rule)


@dataclasses.dataclass(frozen=True)
class OrderedMomentum:
    """D_1 = u / gamma; D_0 is the way of the next step, beta u where u has decayed."""

    beta: float

    def __call__(self, schedule: Schedule) -> Schedule:
        beta, jobs = self.beta, schedule.concurrency_max
        group = -(-np.arange(len(schedule) + 1) // jobs)  # ceil(t / K)
        late = group[:-1] - -(-schedule.read.astype(np.int64) // jobs)
        decay = beta**late
        sums = (1.0 - beta * decay) / (1.0 - beta)  # 1 + beta + ... + beta^e
        grows = (np.diff(group) > 0).astype(np.float64)
        mix = np.zeros((len(schedule), 2, 2))
        mix[:, 0, 1] = beta * grows
        mix[:, 1, 1] = np.where(grows > 0, beta, 1.0)
        gain = np.stack([sums, decay], axis=1)
        return _with_table("ormo", schedule, gain=gain, mix=mix)


@register("homogeneous", **_MOMENTUM)
def ormo(beta: float = 0.9, inner: Algorithm | None = None) -> Algorithm:
    """Recalled: OrMo, momentum in the order in which the iterates were handed out.

    ::

        K jobs in flight; the gradients read at x_0 are bucket 0, those at
        x_{K(b-1)+1}..x_{Kb} bucket b
        loop t = 0, 1, ...: g of i arrives, read at x_r
            if t is the first of its bucket, ceil(t/K) > ceil((t-1)/K):
                x <- x - beta u;  u <- beta u
            e = ceil(t/K) - ceil(r/K)
            u <- u + beta^e gamma g;  x <- x - (1 - beta^(e+1)) / (1 - beta) gamma g
            i starts at the new x

    Whenever it arrives, a gradient moves the iterate as if it had been in u since its
    bucket. With one worker it is SGD with momentum; beta = 0 is the inner algorithm.

    Source: Shi, Yang, Li 2024 (arXiv 2407.19234), recalled; of the text only the
    abstract was at hand, and at second hand the caption of its Figure 1, which for the
    synchronous method weighs a bucket beta times as much as the next, as here. When u
    decays was derived, as the one choice under which all gradients of a bucket have the
    same coefficient; it was not compared with the paper's listing. For homogeneous
    data.

    Args:
        beta: 0 <= beta < 1.
        inner: who gets jobs; the default is `pure_async()`.

    Raises:
        TypeError, ValueError: if an argument is not as described. `simulate` raises a
            ValueError where the inner algorithm waits for several gradients.

    Example:
        >>> ormo(0.5).transforms
        (OrderedMomentum(beta=0.5),)
    """
    rule = OrderedMomentum(decay_rate("ormo: beta", beta))
    return _on_top("ormo", inner, rule)


@dataclasses.dataclass(frozen=True)
class DelayedNesterov:
    """G sums the gradients of a block, D_1 = m, and D_0 is g / N alone."""

    beta: float
    c: float
    block: Count

    def __call__(self, schedule: Schedule) -> Schedule:
        name, n = "delayed_nesterov", schedule.num_workers
        size = resolve_count(name, "block", self.block, n) or n
        c, beta, rows = self.c, self.beta, len(schedule)
        if c > 1.0 / size:
            raise ValueError(f"{name}: c must be at most 1 / N = {1 / size}, got {c}")
        t = np.arange(rows)
        first, last = t % size == 0, (t + 1) % size == 0
        share = np.where(last, 1.0 / size, 0.0)
        zero, ones = np.zeros(rows), np.ones(rows)
        mix = np.zeros((rows, 2, 2))
        mix[:, 1, 1] = np.where((t + 2) % size == 0, beta, 1.0)
        return _with_table(
            name,
            schedule,
            gain=np.stack([ones / size, share], axis=1),
            # A block of one gradient has nothing before it.
            carry=np.stack([zero, np.where(first, 0.0, share)], axis=1),
            keep=np.where(first, 0.0, 1.0),
            readout=np.stack(
                [ones, np.where(last, (1.0 - c * size + c) * beta, c * beta)], axis=1
            ),
            mix=mix,
        )


@register("homogeneous", **(_MOMENTUM | dict(state="d momentum, d sum")))
def delayed_nesterov(
    beta: float = 0.9,
    c: float = 0.0,
    block: Count = "all",
    inner: Algorithm | None = None,
) -> Algorithm:
    """Recalled: Delayed Nesterov of asynchronous DiLoCo, momentum anew every N steps.

    ::

        D = 0, m = 0
        loop t = 0, 1, ...: g of i arrives;  D <- D + g
            if N divides t + 1: m <- beta m + D / N;  D <- 0
                x <- x - gamma ((1 - c N + c) beta m + g / N)
            else: x <- x - gamma (c beta m + g / N)
            i starts at the new x

    A gradient makes 1 / N of the usual step. DiLoCo's jobs of several local steps are
    `ag.local_steps`, whose number may differ by worker (DyLU).

    Source: Liu et al. 2024 (arXiv 2401.09135), recalled, with the published code of
    HALoS as seen in notes; not checked against the text. For homogeneous data.

    Args:
        beta: 0 <= beta < 1.
        c: 0 <= c <= 1 / N, share of the momentum in each of the other steps.
        block: N >= 1; the default is n.
        inner: who gets jobs; the default is `pure_async()`.

    Raises:
        TypeError, ValueError: if an argument is not as described. `simulate` raises a
            ValueError where c is above 1 / N, or the inner algorithm waits for several
            gradients.

    Example:
        >>> delayed_nesterov(0.5, block=4).transforms
        (DelayedNesterov(beta=0.5, c=0.0, block=4),)
    """
    resolve_count("delayed_nesterov", "block", block, 1)
    c = check_number("delayed_nesterov: c", c, minimum=0)
    rule = DelayedNesterov(decay_rate("delayed_nesterov: beta", beta), c, block)
    return _on_top("delayed_nesterov", inner, rule)
