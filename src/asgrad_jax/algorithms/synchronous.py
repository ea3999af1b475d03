"""Members of the family that wait for a batch, or have one job at a time."""

import dataclasses

from asgrad_jax._util.checks import check_choice
from asgrad_jax.algorithms.algorithm import Algorithm, Count
from asgrad_jax.algorithms.registry import register
from asgrad_jax.algorithms.round_algorithm import RoundAlgorithm


@register("heterogeneous", bounded_delay=True, unbiased=True, waits=True, state="d sum")
def minibatch() -> Algorithm:
    """Mini-batch SGD: every step waits for all n workers.

    ::

        loop: all workers start at x;  x <- x - (gamma / n) sum_i g_i

    Source: the synchronous baseline, AsGrad's framework with jobs assigned every n
    arrivals. For heterogeneous data too.

    Example:
        >>> minibatch().resolve(8).gradients_per_step
        8
    """
    return Algorithm(name="minibatch", gradients_per_step="all", restart="after_step")


@register("heterogeneous", bounded_delay=True, unbiased=True, waits=True, state="d sum")
def minibatch_sampled(
    gradients_per_step: Count = "half", order: str = "random"
) -> Algorithm:
    """Mini-batch SGD over b jobs given to sampled workers.

    ::

        loop: b jobs at x go to workers picked by the order
              x <- x - (gamma / b) sum of the b gradients

    Source: client sampling; with order "shuffled" it is mini-batch random reshuffling
    over workers, with "shuffle_once" it is `minibatch_shuffle_once`. For heterogeneous
    data too.

    Args:
        gradients_per_step: b >= 1; the default is max(1, n // 2).
        order: "random" (with replacement), "shuffled" or "shuffle_once".

    Raises:
        ValueError: for another order.

    Example:
        >>> minibatch_sampled(4, order="shuffled").resolve(10).concurrency
        4
    """
    orders = ("random", "shuffled", "shuffle_once")
    check_choice("minibatch_sampled: order", order, orders)
    # With b = n the picks still come from the order, not one job per worker.
    return Algorithm(
        name="minibatch_sampled",
        order=order,
        concurrency=gradients_per_step,
        gradients_per_step=gradients_per_step,
        restart="after_step",
        start="order",
    )


@register("heterogeneous", bounded_delay=True, unbiased=True, waits=True, state="d sum")
def minibatch_shuffle_once(gradients_per_step: Count = "half") -> Algorithm:
    """Shuffle-once mini-batch SGD: the next b workers of one permutation at each step.

    ::

        draw a permutation pi of [n], read round and round
        loop: jobs at x go to the next b workers of pi
              x <- x - (gamma / b) sum of the b gradients

    Source: named in AsGrad's abstract (arXiv 2310.20452); that a batch may go on into
    the next reading of pi is how asgrad_jax reads it. For heterogeneous data too.

    Args:
        gradients_per_step: b >= 1; the default is max(1, n // 2).

    Example:
        >>> minibatch_shuffle_once(4).resolve(10).order
        'shuffle_once'
    """
    algorithm = minibatch_sampled(gradients_per_step, "shuffle_once")
    return dataclasses.replace(algorithm, name="minibatch_shuffle_once")


@register("heterogeneous", bounded_delay=True, unbiased=True, waits=True)
def sgd() -> Algorithm:
    """SGD over workers: one job at a time, given to a uniformly drawn worker.

    ::

        loop: i ~ Uniform[n];  x <- x - gamma g_i(x)

    Source: the sequential baseline; random asynchronous SGD at concurrency 1. For
    heterogeneous data too.

    Example:
        >>> sgd().concurrency
        1
    """
    return Algorithm(name="sgd", order="random", concurrency=1, start="order")


@register("heterogeneous", bounded_delay=True, unbiased=True, waits=True)
def random_reshuffling() -> Algorithm:
    """Random reshuffling (RR): one job at a time, a fresh permutation every epoch.

    ::

        loop: draw a permutation pi of [n];  for i in pi: x <- x - gamma g_i(x)

    Source: the sequential baseline; shuffled asynchronous SGD at concurrency 1. For
    heterogeneous data too.

    Example:
        >>> random_reshuffling().order
        'shuffled'
    """
    return Algorithm(
        name="random_reshuffling", order="shuffled", concurrency=1, start="order"
    )


@register("heterogeneous", bounded_delay=True, unbiased=True, waits=True)
def shuffle_once() -> Algorithm:
    """Shuffle once (SO): one job at a time, one permutation for all epochs.

    ::

        draw a permutation pi of [n]
        loop: for i in pi: x <- x - gamma g_i(x)

    Source: the sequential baseline. For heterogeneous data too.

    Example:
        >>> shuffle_once().order
        'shuffle_once'
    """
    return Algorithm(
        name="shuffle_once", order="shuffle_once", concurrency=1, start="order"
    )


@register("heterogeneous", bounded_delay=True, unbiased=True, waits=True)
def incremental() -> Algorithm:
    """Incremental gradient (IG): one job at a time, workers 0, 1, ..., n-1 in turn.

    ::

        loop: for i in 0..n-1: x <- x - gamma g_i(x)

    Source: the sequential baseline. For heterogeneous data too.

    Example:
        >>> incremental().order
        'cyclic'
    """
    return Algorithm(name="incremental", order="cyclic", concurrency=1, start="order")


@register(
    "homogeneous",
    bounded_delay=True,
    waits=True,
    discards=True,
    state="d sum",
)
def m_synchronous(gradients_per_step: Count = "half") -> RoundAlgorithm:
    """m-synchronous SGD: every step waits for the first m of n workers only.

    ::

        loop: all workers start at x
              when m gradients are there: x <- x - (gamma / m) sum of them
              the other workers' jobs are stopped

    Source: arXiv 2602.03802, as its title and abstract describe it; that the others are
    stopped is how asgrad_jax reads it. For homogeneous data: slow workers hardly count.

    Args:
        gradients_per_step: m, 1 <= m <= n; the default is max(1, n // 2).

    Example:
        >>> m_synchronous(3).gradients_per_step
        3
    """
    return RoundAlgorithm(
        name="m_synchronous", gradients_per_step=gradients_per_step, quota=1
    )
