"""Job times so long-tailed that their mean is infinite, or that never end at all."""

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util import counter_rng as random
from asgrad_jax._util.checks import check_choice, check_number
from asgrad_jax.compute_times import _distributions
from asgrad_jax.compute_times.base import ComputeTimes, check_mean
from asgrad_jax.compute_times.composed import Summand, fixed_plus, from_summands
from asgrad_jax.compute_times.registry import over_speeds, register

_NO_MEAN = "none: mean infinite"
_HANGS = "none: may never end"
ETAS = ("lognormal", "log_cauchy", "infinite_bernoulli")


@register(example=over_speeds)
def log_cauchy(median: ArrayLike, scale: float = 1.0) -> ComputeTimes:
    """Job times m_i exp(scale C) with C standard Cauchy: P(X > x) ~ scale / (pi log x).

    No moment of any order is finite. A job beyond the range of float64 (at scale 1 one
    in 2,200) never ends, and a worker that has met a job of 1e30 seconds is as good as
    gone. Named in reviews of MindFlayer, not in its abstract; the parameters are ours.

    Args:
        median: [n] seconds, m_i > 0.
        scale: > 0.

    Raises:
        TypeError, ValueError: if an argument is not positive and finite.

    Example:
        >>> log_cauchy([1.0, 2.0]).mean_durations
        array([inf, inf])
    """
    m = check_mean(median, "median")
    scale = check_number("scale", scale, above=0)
    return from_summands(
        "log_cauchy",
        [[Summand(_distributions.LOG_CAUCHY, s, scale)] for s in m.tolist()],
        mean=np.full(len(m), np.inf),
        tail=_NO_MEAN,
        config={"median": m.tolist(), "scale": scale},
        may_hang=True,
    )


@register(example=over_speeds)
def infinite_bernoulli(mean: ArrayLike, q: float = 0.9) -> ComputeTimes:
    """Job times s_i with probability q, else the job never ends.

    As MindFlayer's "infinite Bernoulli" (general knowledge, not checked against the
    text): eta = inf with probability 1 - q. Such a job stays in flight for ever, so
    under algorithms that never abandon jobs the workers are lost one by one. Every mean
    is infinite.

    Args:
        mean: [n] seconds of the jobs that end, s_i > 0.
        q: probability that a job ends, in (0, 1).

    Raises:
        TypeError, ValueError: if an argument is out of range.

    Example:
        >>> infinite_bernoulli([2.0], q=0.5).durations(0, 0, 0, 4).min()
        np.float64(2.0)
    """
    s = check_mean(mean)
    q = check_number("q", q, above=0, below=1)
    return fixed_plus(
        "infinite_bernoulli",
        s,
        [Summand(_distributions.BERNOULLI, np.inf, 1.0 - q)] * len(s),
        mean=np.full(len(s), np.inf),
        tail=_HANGS,
        config={"mean": s.tolist(), "q": q},
        may_hang=True,
    )


@register(example=over_speeds)
def mixed(mean: ArrayLike, factor: float = 10.0, slow: float = 0.1) -> ComputeTimes:
    """Fast and slow jobs: s_i, or factor s_i with probability `slow`.

    The true mean is s_i (1 + slow (factor - 1)). Mixtures of this kind are named for
    ports of AC-AFL (from notes; the parameters are ours). Slow workers instead of slow
    jobs: `groups` and `two_speed`.

    Args:
        mean: [n] seconds of a fast job, s_i > 0.
        factor: > 1, slow over fast.
        slow: probability of a slow job, in (0, 1).

    Raises:
        TypeError, ValueError: if an argument is out of range.

    Example:
        >>> mixed([1.0, 2.0], factor=11.0, slow=0.1).mean_durations
        array([2., 4.])
    """
    s = check_mean(mean)
    factor = check_number("factor", factor, above=1)
    slow = check_number("slow", slow, above=0, below=1)
    return fixed_plus(
        "mixed",
        s,
        [Summand(_distributions.BERNOULLI, (factor - 1.0) * a, slow) for a in s],
        mean=s * (1.0 + slow * (factor - 1.0)),
        tail="bounded",
        config={"mean": s.tolist(), "factor": factor, "slow": slow},
    )


@register(example=over_speeds)
def mindflayer(
    mean: ArrayLike, eta: str = "lognormal", *, spread: float = 1.0, q: float = 0.9
) -> ComputeTimes:
    """Job times tau_i + eta_i, a fixed time and a random one that may be heavy-tailed.

    eta is exp(spread Z) ("lognormal"), exp(spread C) with C standard Cauchy
    ("log_cauchy"), or 0 with probability q and else inf ("infinite_bernoulli"). The
    form is from general knowledge of MindFlayer (Maranjyan, Omar, Richtarik
    2410.04285), not checked against the text; the parameters are ours.

    Args:
        mean: [n] seconds, tau_i > 0.
        eta: distribution of the random part, one of `ETAS`.
        spread: > 0, of the first two distributions.
        q: probability that a job ends, in (0, 1), of the third.

    Raises:
        TypeError, ValueError: if an argument is out of range.

    Example:
        >>> mindflayer([1.0, 2.0], "infinite_bernoulli", q=0.5).tail
        'none: may never end'
    """
    s = check_mean(mean)
    spread = check_number("spread", spread, above=0)
    q = check_number("q", q, above=0, below=1)
    check_choice("eta", eta, ETAS)
    extra = np.inf
    tail = _NO_MEAN
    if eta == "lognormal":
        # Our own exp, whose last bit is the same everywhere.
        extra = float(random.exp(0.5 * spread * spread))
        if not np.isfinite(extra):
            raise ValueError(
                f"spread must be at most 37, got {spread}; beyond it float64 cannot "
                "hold exp(spread^2 / 2), the mean of eta"
            )
        summand, tail = Summand(_distributions.LOGNORMAL, extra, spread), "log-normal"
    elif eta == "log_cauchy":
        summand = Summand(_distributions.LOG_CAUCHY, 1.0, spread)
    else:
        summand, tail = Summand(_distributions.BERNOULLI, np.inf, 1.0 - q), _HANGS
    return fixed_plus(
        "mindflayer",
        s,
        [summand] * len(s),
        mean=s + extra,
        tail=tail,
        config={"mean": s.tolist(), "eta": eta, "spread": spread, "q": q},
        may_hang=eta != "lognormal",
    )
