"""Asynchronous SGD whose methods differ in who gets the next job."""

from asgrad_jax.algorithms.algorithm import Algorithm, Count
from asgrad_jax.algorithms.registry import register


@register("homogeneous")
def pure_async() -> Algorithm:
    """Pure asynchronous SGD: a worker that arrives starts anew at once.

    ::

        all n workers start at x_0
        loop: g of i arrives;  x <- x - gamma g;  i starts at the new x

    Source: Recht et al. 2011, Agarwal and Duchi 2011; "pure" in AsGrad (arXiv
    2310.20452, published code). Needs nothing. For homogeneous data: with heterogeneous
    data it optimises a speed-weighted sum of the f_i.

    Example:
        >>> pure_async().name
        'pure_async'
    """
    return Algorithm(name="pure_async")


@register("homogeneous", waits=True, state="d sum")
def pure_waiting(gradients_per_step: Count = "half") -> Algorithm:
    """Pure asynchronous SGD that steps with the mean of b gradients.

    ::

        loop: collect g_1..g_b from any workers, which idle meanwhile
              x <- x - (gamma / b) sum_j g_j;  the b senders start at the new x

    Source: a variant that AsGrad (arXiv 2310.20452) is said to cover, recalled; its
    abstract does not name it. For homogeneous data.

    Args:
        gradients_per_step: b, 1 <= b <= n; the default is max(1, n // 2).

    Example:
        >>> pure_waiting(5).gradients_per_step
        5
    """
    return Algorithm(
        name="pure_waiting", gradients_per_step=gradients_per_step, restart="after_step"
    )


@register("heterogeneous", unbiased=True)
def random_async() -> Algorithm:
    """Random asynchronous SGD: every arrival gives a job to a uniformly drawn worker.

    ::

        all n workers start at x_0
        loop: g of i arrives;  x <- x - gamma g
              k ~ Uniform[n] gets a job at the new x, behind those it has

    Source: Koloskova, Stich, Jaggi 2022 (arXiv 2206.08307), Algorithm 2, started with
    one job per worker as in AsGrad's published code. For heterogeneous data too.

    Example:
        >>> random_async().order
        'random'
    """
    return Algorithm(name="random_async", order="random")


@register("heterogeneous", unbiased=True, waits=True, state="d sum")
def random_waiting(gradients_per_step: Count = "half") -> Algorithm:
    """Random asynchronous SGD that steps with the mean of b gradients.

    ::

        loop: collect g_1..g_b;  x <- x - (gamma / b) sum_j g_j
              b jobs at the new x go to workers drawn uniformly

    Source: a variant that AsGrad (arXiv 2310.20452) is said to cover, recalled; its
    abstract does not name it. For heterogeneous data too.

    Args:
        gradients_per_step: b, 1 <= b <= n; the default is max(1, n // 2).

    Example:
        >>> random_waiting().gradients_per_step
        'half'
    """
    return Algorithm(
        name="random_waiting",
        order="random",
        gradients_per_step=gradients_per_step,
        restart="after_step",
    )


@register("heterogeneous", unbiased=True)
def shuffled_async() -> Algorithm:
    """Shuffled asynchronous SGD: jobs go to workers in freshly shuffled rounds.

    ::

        all n workers start at x_0
        loop: g of i arrives;  x <- x - gamma g
              the next worker of the permutation gets a job at the new x;
              a new permutation of [n] is drawn for every n jobs

    Source: AsGrad (Islamov, Safaryan, Alistarh 2024, arXiv 2310.20452), its new method;
    rule as in the published code. For heterogeneous data too.

    Example:
        >>> shuffled_async().order
        'shuffled'
    """
    return Algorithm(name="shuffled_async", order="shuffled")


@register("heterogeneous", unbiased=True, waits=True, state="d sum")
def shuffled_waiting(gradients_per_step: Count = "half") -> Algorithm:
    """Shuffled asynchronous SGD that steps with the mean of b gradients.

    ::

        loop: collect g_1..g_b;  x <- x - (gamma / b) sum_j g_j
              b jobs at the new x go to the next b workers of the permutations

    Source: a variant that AsGrad (arXiv 2310.20452) is said to cover, recalled; its
    abstract does not name it. For heterogeneous data too.

    Args:
        gradients_per_step: b, 1 <= b <= n; the default is max(1, n // 2).

    Example:
        >>> shuffled_waiting(3).restart
        'after_step'
    """
    return Algorithm(
        name="shuffled_waiting",
        order="shuffled",
        gradients_per_step=gradients_per_step,
        restart="after_step",
    )


@register("heterogeneous", unbiased=True, state="d sum")
def fedbuff(
    gradients_per_step: Count = 10, concurrency: Count | None = None
) -> Algorithm:
    """FedBuff with one local step: a buffer of b gradients, workers replaced at once.

    ::

        loop: g of i arrives and goes into the buffer
              if the buffer has b gradients: x <- x - (gamma / b) sum of it; empty it
              k ~ Uniform[n] gets a job at the current x

    Source: Nguyen et al. 2021 (arXiv 2106.06639); without staleness weights. For
    heterogeneous data too.

    Args:
        gradients_per_step: b >= 1; 10 is the paper's usual choice (from memory, not
            checked).
        concurrency: jobs in flight c >= 1; the default is n.

    Example:
        >>> fedbuff(concurrency=4).resolve(10).concurrency
        4
    """
    return Algorithm(
        name="fedbuff",
        order="random",
        gradients_per_step=gradients_per_step,
        concurrency=concurrency,
    )
