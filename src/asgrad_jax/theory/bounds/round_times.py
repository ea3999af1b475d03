"""How long a round of gradients takes: fixed speeds, networks, changing speeds.

A round collects a given amount of gradients at one iterate. Unlike the orders of
`times`, the bounds for fixed speeds here have their constants.
"""

import functools
import math
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import ceil_of, check_count, check_numbers
from asgrad_jax.algorithms.round_algorithm import harmonic_reached
from asgrad_jax.theory.bounds.arguments import Argument, positive
from asgrad_jax.theory.bounds.registry import GRADIENT_SQ, bound
from asgrad_jax.theory.bounds.times import best_fastest

_derived = partial(bound, gives="seconds", source="derived for asgrad_jax", tag="D")


@_derived(
    formula="t_R(S) <= min_m (S + m)/sum_{i<=m} 1/tau_i; twice that without restarts",
    data="homogeneous",
    arguments={"batch": Argument("S, gradients per round, >= 1.", check_count)},
)
def rennala_round_time(
    durations: ArrayLike, batch: int, *, restart: bool = True
) -> float:
    """Upper bound on one Rennala round: S gradients at one point, from anybody.

    The m fastest have finished at least t sum 1/tau_i - m jobs by time t.

    Example:
        >>> rennala_round_time([1.0, 1.0], 2)
        2.0
    """
    seconds = best_fastest(np.asarray(durations), 1.0, float(batch)).time
    return seconds if restart else 2 * seconds


@_derived(
    formula="""
        K t_R(S), S = max{1, ceil(sigma^2/eps)},
        K = ceil((4 L F_0/eps) max{1, 2 sigma^2/(eps S)})""",
    goal=GRADIENT_SQ,
    data="homogeneous",
    conditions="gamma = min{1/L, eps S/(2 L sigma^2)}",
)
def rennala_time(
    durations: ArrayLike,
    eps: float,
    noise_sq: float,
    *,
    smoothness: float,
    gap: float,
    restart: bool = True,
) -> float:
    """Upper bound on Rennala's time to eps, with its constants.

    Example:
        >>> rennala_time([1.0], 1.0, 0.0, smoothness=1.0, gap=1.0)
        8.0
    """
    batch = max(1, ceil_of("noise_sq / eps", noise_sq / eps))
    rounds = ceil_of(
        "the number of rounds",
        4 * smoothness * gap / eps * max(1.0, 2 * noise_sq / (eps * batch)),
    )
    return rounds * rennala_round_time(durations, batch, restart=restart)


@bound(
    formula="t_M(S) <= max{tau_n, 2 tau_avg S/n}",
    gives="seconds, until the harmonic mean of the workers' counts reaches S/n",
    data="heterogeneous",
    conditions="tau_avg the mean of the tau_i",
    source="derived for asgrad_jax",
    tag="D",
    arguments={
        "batch": Argument(
            "S; >= n for Malenia's own choice max{n, ceil(sigma^2/eps)}.", check_count
        )
    },
)
def malenia_round_time(durations: ArrayLike, batch: int) -> float:
    """Upper bound on one Malenia round with batch parameter S.

    floor(t/tau_i) >= t/(2 tau_i) from tau_i on, and the round ends when the harmonic
    mean of the workers' counts exceeds S/n.

    Example:
        >>> malenia_round_time([1.0, 3.0], 4)
        8.0
    """
    tau = np.asarray(durations)
    return float(max(tau[-1], 2 * tau.mean() * batch / tau.size))


@bound(
    formula="2 min_m ((1/m) sum_{i<=m} 1/tau_i)^{-1} (1 + R/m)",
    gives="seconds",
    data="homogeneous",
    source="recalled from Maranjyan, Tyurin, Richtarik 2501.16168",
    tag="R",
    arguments={"max_delay": Argument("R, the delay threshold, >= 1.", check_count)},
)
def ringmaster_window_time(durations: ArrayLike, max_delay: int) -> float:
    """Recalled bound on the time in which Ringmaster makes R updates.

    Example:
        >>> ringmaster_window_time([1.0], 1)
        4.0
    """
    return 2 * best_fastest(np.asarray(durations), 1.0, float(max_delay)).time


@bound(
    formula="""
        t*(s, h, tau) = min_k max{ max(tau_{pi_k}, h_{pi_k}),
                                   s (sum_{i<=k} 1/h_{pi_i})^{-1} },
        pi sorts the workers by max(tau_i, h_i)""",
    gives="seconds",
    data="homogeneous",
    source="Tyurin, Richtarik 2405.16218, Definition 2 and Theorem 1",
    tag="V",
    arguments={
        "batch": Argument("s, amount of gradients, > 0 (sigma^2/eps).", positive),
        "durations": Argument("h, float[n], seconds per gradient, > 0."),
        "communication": Argument(
            "tau, float[n], seconds to send to that place, >= 0."
        ),
    },
)
def equilibrium_time(
    batch: float, durations: ArrayLike, communication: ArrayLike
) -> float:
    """Seconds to bring s gradients to one place, communication included.

    The lower bound on the time to eps is (L F_0/eps) min_j t*(sigma^2/eps, h,
    tau_{.->j})/(log n + 1).

    Example:
        >>> equilibrium_time(4.0, [1.0, 1.0], [0.0, 5.0])
        4.0
    """
    h = check_numbers("durations", durations, ndim=1, above=0, finite=True)
    send = check_numbers(
        "communication", communication, ndim=1, size=len(h), minimum=0, finite=True
    )
    ready = np.maximum(h, send)
    order = np.argsort(ready, kind="stable")
    return float(np.min(np.maximum(ready[order], batch / np.cumsum(1 / h[order]))))


@bound(
    formula="""
        round k ends at the first t with sum_i B_i >= work,
        B_i = floor(int_{t_{k-1}}^t v_i);
        heterogeneous: with (n^{-1} sum_i 1/B_i)^{-1} >= work/n""",
    gives="seconds",
    data="any",
    source=(
        "the model as described in the abstract of Tyurin 2408.04929, the formula "
        "recalled"
    ),
    tag="R",
    returns="float64[num_rounds], seconds, ascending; inf for rounds that do not end\n"
    "within the edges.",
    arguments={
        "edges": "float[S + 1], seconds, ascending from 0; v_i is constant in between.",
        "power": "float[n, S], gradients per second of a worker in each piece, >= 0.",
        "work": Argument(
            "gradients that a round needs, > 0, about max(1, sigma^2/eps).", positive
        ),
        "num_rounds": Argument(
            "rounds to follow, >= 1; about L F_0/eps for E||grad f||^2 <= eps.",
            functools.partial(check_count, maximum=10_000_000),
        ),
        "heterogeneous": "harmonic mean instead of the sum.",
    },
)
def changing_speed_rounds(
    edges: ArrayLike,
    power: ArrayLike,
    work: float,
    *,
    num_rounds: int,
    heterogeneous: bool = False,
) -> NDArray[np.float64]:
    """Recalled rule for the ends of rounds when computing power changes over time.

    Example:
        >>> changing_speed_rounds([0, 10], [[1.0], [0.5]], 3, num_rounds=2)
        array([2., 4.])
    """
    cuts = check_numbers("edges", edges, ndim=1, finite=True)
    v = check_numbers("power", power, ndim=2, minimum=0, finite=True)
    if cuts.size < 2 or cuts[0] != 0 or np.any(np.diff(cuts) <= 0):
        raise ValueError(f"edges must ascend strictly from 0, got {edges!r}")
    if v.shape[1] != cuts.size - 1:
        raise ValueError(
            f"power must have shape [n, {cuts.size - 1}], one column for each piece "
            f"between two edges, got {v.shape}"
        )
    done = np.concatenate(
        [np.zeros((len(v), 1)), np.cumsum(v * np.diff(cuts), axis=1)], axis=1
    )
    ends = np.full(num_rounds, np.inf)
    start = 0.0
    for k in range(num_rounds):
        finished = [_completions(cuts, row, start) for row in done]
        start = _round_end(finished, work, heterogeneous)
        if not np.isfinite(start):
            break
        ends[k] = start
    return ends


def _completions(
    cuts: NDArray[np.float64], done: NDArray[np.float64], start: float
) -> NDArray[np.float64]:
    """Times at which one worker, starting afresh at `start`, finishes jobs 1, 2, ..."""
    at_start = np.interp(start, cuts, done)
    # Rounding must neither lose a job that ends exactly on an edge nor move it behind
    # an outage that begins there; the sums in `done` err by up to this much.
    rounding = 1e-9 + np.finfo(np.float64).eps * done.size * done[-1]
    jobs = np.arange(1, math.floor(done[-1] - at_start + rounding) + 1)
    goal = np.minimum(at_start + jobs, done[-1])
    # The first time at which the work is done: outages are flat pieces of `done`.
    piece = np.maximum(np.searchsorted(done, goal - rounding, side="left"), 1)
    slope = (done[piece] - done[piece - 1]) / (cuts[piece] - cuts[piece - 1])
    return np.minimum(cuts[piece - 1] + (goal - done[piece - 1]) / slope, cuts[piece])


def _round_end(
    finished: list[NDArray[np.float64]], work: float, heterogeneous: bool
) -> float:
    if not heterogeneous:
        times = np.sort(np.concatenate(finished))
        needed = math.ceil(work)
        return float(times[needed - 1]) if times.size >= needed else math.inf
    if any(jobs.size == 0 for jobs in finished):
        return math.inf  # a worker without a gradient keeps the harmonic mean at zero
    worker = np.repeat(np.arange(len(finished)), [jobs.size for jobs in finished])
    times = np.concatenate(finished)
    order = np.argsort(times, kind="stable")
    count = np.zeros(len(finished))
    for job in order:
        count[worker[job]] += 1
        if np.all(count > 0) and harmonic_reached(np.sum(1 / count), work, len(count)):
            return float(times[job])
    return math.inf
