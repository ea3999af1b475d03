"""The named members of the asynchronous SGD family, one function per member.

Pseudocode: x is the server's iterate, gamma the step size, n the number of workers, b
the gradients per step; "g of i" is a gradient of f_i taken at the iterate that was
current when worker i got the job. A worker with several jobs does them in turn. "hom"
methods need workers with the same data distribution to converge to the minimum of f;
"het" ones do not. METHODS.md section A gives sources and provenance.
"""

import difflib
from collections.abc import Callable
from typing import Any

from asgrad_jax.plan.algorithm import Algorithm, Count
from asgrad_jax.plan.event_loop import EventAlgorithm


def pure_async() -> Algorithm:
    """Pure asynchronous SGD: a worker that arrives starts anew at once.

    ::

        all n workers start at x_0
        loop: g of i arrives;  x <- x - gamma g;  i starts at the new x

    Source: Recht et al. 2011, Agarwal and Duchi 2011; "pure" in AsGrad
    (arXiv 2310.20452, published code). Needs nothing. hom: with heterogeneous data it
    optimises a speed-weighted sum of the f_i.

    Example:
        >>> pure_async().name
        'pure_async'
    """
    return Algorithm(name="pure_async")


def pure_waiting(wait: Count = "half") -> Algorithm:
    """Pure asynchronous SGD that steps with the mean of b gradients.

    ::

        loop: collect g_1..g_b from any workers, which idle meanwhile
              x <- x - (gamma / b) sum_j g_j;  the b senders start at the new x

    Source: AsGrad (arXiv 2310.20452; from its abstract, "waiting"). hom.

    Args:
        wait: b, 1 <= b <= n; the default is max(1, n // 2).

    Example:
        >>> pure_waiting(5).wait
        5
    """
    return Algorithm(name="pure_waiting", wait=wait, restart="after_step")


def random_async() -> Algorithm:
    """Random asynchronous SGD: every arrival gives a job to a uniformly drawn worker.

    ::

        all n workers start at x_0
        loop: g of i arrives;  x <- x - gamma g
              k ~ Uniform[n] gets a job at the new x, behind those it has

    Source: Koloskova, Stich, Jaggi 2022 (arXiv 2206.08307), Algorithm 2, started with
    one job per worker as in AsGrad's published code. het.

    Example:
        >>> random_async().order
        'random'
    """
    return Algorithm(name="random_async", order="random")


def random_waiting(wait: Count = "half") -> Algorithm:
    """Random asynchronous SGD that steps with the mean of b gradients.

    ::

        loop: collect g_1..g_b;  x <- x - (gamma / b) sum_j g_j
              b jobs at the new x go to workers drawn uniformly

    Source: AsGrad (arXiv 2310.20452; from its abstract, "waiting"). het.

    Args:
        wait: b, 1 <= b <= n; the default is max(1, n // 2).

    Example:
        >>> random_waiting().wait
        'half'
    """
    return Algorithm(
        name="random_waiting", order="random", wait=wait, restart="after_step"
    )


def shuffled_async() -> Algorithm:
    """Shuffled asynchronous SGD: jobs go to workers in freshly shuffled rounds.

    ::

        all n workers start at x_0
        loop: g of i arrives;  x <- x - gamma g
              the next worker of the permutation gets a job at the new x;
              a new permutation of [n] is drawn for every n jobs

    Source: AsGrad (Islamov, Safaryan, Alistarh 2024, arXiv 2310.20452), its new method;
    rule as in the published code. het.

    Example:
        >>> shuffled_async().order
        'shuffled'
    """
    return Algorithm(name="shuffled_async", order="shuffled")


def shuffled_waiting(wait: Count = "half") -> Algorithm:
    """Shuffled asynchronous SGD that steps with the mean of b gradients.

    ::

        loop: collect g_1..g_b;  x <- x - (gamma / b) sum_j g_j
              b jobs at the new x go to the next b workers of the permutations

    Source: AsGrad (arXiv 2310.20452; from its abstract, "waiting"). het.

    Args:
        wait: b, 1 <= b <= n; the default is max(1, n // 2).

    Example:
        >>> shuffled_waiting(3).restart
        'after_step'
    """
    return Algorithm(
        name="shuffled_waiting", order="shuffled", wait=wait, restart="after_step"
    )


def fedbuff(wait: Count = 10, concurrency: Count | None = None) -> Algorithm:
    """FedBuff with one local step: a buffer of b gradients, workers replaced at once.

    ::

        loop: g of i arrives and goes into the buffer
              if the buffer has b gradients: x <- x - (gamma / b) sum of it; empty it
              k ~ Uniform[n] gets a job at the current x

    Source: Nguyen et al. 2021 (arXiv 2106.06639); without staleness weights. het.

    Args:
        wait: b >= 1; 10 is the paper's usual choice (from memory, not checked).
        concurrency: jobs in flight c >= 1; the default is n.

    Example:
        >>> fedbuff(concurrency=4).resolve(10).concurrency
        4
    """
    return Algorithm(name="fedbuff", order="random", wait=wait, concurrency=concurrency)


def minibatch() -> Algorithm:
    """Mini-batch SGD: every step waits for all n workers.

    ::

        loop: all workers start at x;  x <- x - (gamma / n) sum_i g_i

    Source: the synchronous baseline, AsGrad's framework with jobs assigned every n
    arrivals. het.

    Example:
        >>> minibatch().resolve(8).wait
        8
    """
    return Algorithm(name="minibatch", wait="all", restart="after_step")


def minibatch_sampled(batch: Count = "half", order: str = "random") -> Algorithm:
    """Mini-batch SGD over b jobs given to sampled workers.

    ::

        loop: b jobs at x go to workers picked by the order
              x <- x - (gamma / b) sum of the b gradients

    Source: client sampling; with order "shuffled" it is mini-batch random reshuffling
    over workers, as named in AsGrad's abstract. het.

    Args:
        batch: b >= 1; the default is max(1, n // 2).
        order: "random" (with replacement) or "shuffled".

    Example:
        >>> minibatch_sampled(4, order="shuffled").resolve(10).concurrency
        4
    """
    # With b = n the picks still come from the order, not one job per worker.
    return Algorithm(
        name="minibatch_sampled",
        order=order,
        concurrency=batch,
        wait=batch,
        restart="after_step",
        start="order",
    )


def sgd() -> Algorithm:
    """SGD over workers: one job at a time, given to a uniformly drawn worker.

    ::

        loop: i ~ Uniform[n];  x <- x - gamma g_i(x)

    Source: the sequential baseline; random asynchronous SGD at concurrency 1. het.

    Example:
        >>> sgd().concurrency
        1
    """
    return Algorithm(name="sgd", order="random", concurrency=1, start="order")


def random_reshuffling() -> Algorithm:
    """Random reshuffling (RR): one job at a time, a fresh permutation every epoch.

    ::

        loop: draw a permutation pi of [n];  for i in pi: x <- x - gamma g_i(x)

    Source: the sequential baseline; shuffled asynchronous SGD at concurrency 1. het.

    Example:
        >>> random_reshuffling().order
        'shuffled'
    """
    return Algorithm(
        name="random_reshuffling", order="shuffled", concurrency=1, start="order"
    )


def shuffle_once() -> Algorithm:
    """Shuffle once (SO): one job at a time, one permutation for all epochs.

    ::

        draw a permutation pi of [n]
        loop: for i in pi: x <- x - gamma g_i(x)

    Source: the sequential baseline. het.

    Example:
        >>> shuffle_once().order
        'shuffle_once'
    """
    return Algorithm(
        name="shuffle_once", order="shuffle_once", concurrency=1, start="order"
    )


def incremental() -> Algorithm:
    """Incremental gradient (IG): one job at a time, workers 0, 1, ..., n-1 in turn.

    ::

        loop: for i in 0..n-1: x <- x - gamma g_i(x)

    Source: the sequential baseline. het.

    Example:
        >>> incremental().order
        'cyclic'
    """
    return Algorithm(name="incremental", order="cyclic", concurrency=1, start="order")


def delay_adaptive() -> Algorithm:
    """Pure asynchronous SGD whose step shrinks with the delay.

    ::

        loop: g of i arrives with delay tau;  x <- x - gamma M / max(M, tau) g
              i starts at the new x                               (M = n workers)

    Source: Mishchenko, Bach, Even, Woodworth 2022 (arXiv 2206.07638), as coded in the
    authors' notebook. The delay here is tau = steps between read and arrival; the
    notebook counts arrivals since the worker's last one. hom.

    Example:
        >>> delay_adaptive().weights
        'delay_adaptive'
    """
    return Algorithm(name="delay_adaptive", weights="delay_adaptive")


def ringmaster(max_delay: Count | None = "all") -> Algorithm:
    """Ringmaster ASGD without stops: gradients of delay R and more are ignored.

    ::

        loop: g of i arrives with delay tau
              if tau < R: x <- x - gamma g
              i starts at the current x

    Source: Maranjyan, Tyurin, Richtarik 2025 (arXiv 2501.16168); this variant as
    generally described, not checked against the text. hom. The recommended R =
    max(1, ceil(sigma^2 / eps)) needs the noise and the accuracy (same provenance).

    Args:
        max_delay: R >= 1; the default is n; None = no limit (pure asynchronous SGD).

    Example:
        >>> ringmaster(6).max_delay
        6
    """
    return Algorithm(name="ringmaster", max_delay=max_delay)


def rennala(batch: Count = "all") -> Algorithm:
    """Rennala SGD without restarts: steps with B gradients, all at the current x.

    ::

        loop: workers compute at x_k again and again, stale gradients are ignored
              after B gradients at x_k: x_{k+1} = x_k - (gamma / B) sum of them

    Source: Tyurin and Richtarik 2023 (arXiv 2305.12387), Algorithm 1, in the variant
    that ignores gradients of older rounds on arrival. The paper collects until more
    than S gradients are there (B = S + 1). hom.

    Args:
        batch: B >= 1; the default is n.

    Example:
        >>> rennala(4).resolve(10).max_delay
        1
    """
    return Algorithm(name="rennala", wait=batch, max_delay=1)


_REGISTRY: dict[str, Callable[..., Algorithm]] = {
    make.__name__: make
    for make in (
        pure_async,
        pure_waiting,
        random_async,
        random_waiting,
        shuffled_async,
        shuffled_waiting,
        fedbuff,
        minibatch,
        minibatch_sampled,
        sgd,
        random_reshuffling,
        shuffle_once,
        incremental,
        delay_adaptive,
        ringmaster,
        rennala,
    )
}


def names() -> list[str]:
    """Returns the names of the registered algorithms, in the order of this page.

    Example:
        >>> len(names())
        16
    """
    return list(_REGISTRY)


def get(
    algorithm: str | Algorithm | EventAlgorithm, **parameters: Any
) -> Algorithm | EventAlgorithm:
    """Returns an algorithm by name, or the object itself if it is one already.

    Args:
        algorithm: one of `names()`, an `Algorithm`, or an object with `name`, `start`
            and `arrive` (see `EventAlgorithm`).
        **parameters: for the function of that name, for example wait=5.

    Returns:
        The algorithm.

    Raises:
        ValueError: if no algorithm has that name; the known ones are listed.
        TypeError: if `algorithm` is something else, or parameters come with an object.

    Example:
        >>> get("fedbuff", wait=3).wait
        3
    """
    if isinstance(algorithm, str):
        if algorithm not in _REGISTRY:
            close = difflib.get_close_matches(algorithm, _REGISTRY, n=1, cutoff=0.5)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(
                f"no algorithm is named {algorithm!r}{hint}; known: "
                f"{', '.join(_REGISTRY)}"
            )
        return _REGISTRY[algorithm](**parameters)
    if isinstance(algorithm, Algorithm) or (
        isinstance(algorithm, EventAlgorithm) and not isinstance(algorithm, type)
    ):
        if parameters:
            raise TypeError(
                f"{algorithm.name} is an object already; parameters "
                f"({', '.join(parameters)}) go with a name"
            )
        return algorithm
    raise TypeError(
        f"algorithm is {algorithm!r}; give a name ({', '.join(_REGISTRY)}), an "
        "Algorithm, or an object with `name`, `start` and `arrive`"
    )
