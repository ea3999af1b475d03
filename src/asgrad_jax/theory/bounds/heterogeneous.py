"""Gradients, rates and times where every worker has its own objective."""

import math
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_number
from asgrad_jax.theory.bounds.arguments import Argument, positive
from asgrad_jax.theory.bounds.registry import GRADIENT_SQ, bound
from asgrad_jax.theory.bounds.times import minibatch_time, optimal_heterogeneous_time

_KOLOSKOVA = "Koloskova, Stich, Jaggi 2206.08307"
_RINGLEADER = (
    "as described in reviews of Maranjyan, Richtarik 2509.22860, not in its abstract"
)
_order = partial(
    bound,
    gives="gradients",
    goal=GRADIENT_SQ,
    data="heterogeneous",
    constants="hidden, L = F_0 = 1",
    tag="V",
)
_time = partial(
    bound,
    gives="seconds",
    goal=GRADIENT_SQ,
    data="heterogeneous",
    constants="hidden",
    tag="A",
)


@_order(
    formula="""
        (sigma^2 + zeta^2)/eps^2
        + sqrt(tau_avg (1/n) sum_i zeta_i^2 tau_avg^i)/eps^{3/2}
        + sqrt(tau_avg tau_max)/eps""",
    conditions="every job goes to a uniformly drawn worker",
    source=f"{_KOLOSKOVA}, Theorem 10",
)
def random_async_order(
    eps: float,
    noise_sq: float,
    zeta_sq_per_worker: ArrayLike,
    *,
    tau_avg_per_worker: ArrayLike,
    tau_avg: float,
    tau_max: float,
) -> float:
    """Order of gradients for random asynchronous SGD, any delays.

    Example:
        >>> random_async_order(1, 1, [1], tau_avg_per_worker=[4], tau_avg=4, tau_max=4)
        10.0
    """
    zeta_sq, tau = np.asarray(zeta_sq_per_worker), np.asarray(tau_avg_per_worker)
    if tau.size != zeta_sq.size:
        raise ValueError(
            f"tau_avg_per_worker must have one number for each of the {zeta_sq.size} "
            f"workers in zeta_sq_per_worker, got {tau.size}"
        )
    drift = math.sqrt(tau_avg * float(np.mean(zeta_sq * tau)))
    return (
        (noise_sq + float(zeta_sq.mean())) / eps**2
        + drift / eps**1.5
        + math.sqrt(tau_avg * tau_max) / eps
    )


@_order(
    formula="(sigma^2 + zeta^2)/eps^2 + tau_avg G/eps^{3/2} + tau_avg/eps",
    conditions=(
        "every job goes to a uniformly drawn worker, ||grad f(x)|| <= G everywhere"
    ),
    source=f"{_KOLOSKOVA}, Theorem 10",
)
def random_async_bounded_order(
    eps: float,
    noise_sq: float,
    zeta_sq: float,
    *,
    tau_avg: float,
    gradient_bound: float,
) -> float:
    """Order of gradients for random asynchronous SGD with bounded gradients.

    Example:
        >>> random_async_bounded_order(1.0, 1.0, 1.0, tau_avg=4.0, gradient_bound=1.0)
        10.0
    """
    return (
        (noise_sq + zeta_sq) / eps**2
        + tau_avg * gradient_bound / eps**1.5
        + tau_avg / eps
    )


@_order(
    formula="(sigma^2 + zeta^2)/eps^2 + (zeta^2 + 1) tau_max G^2/eps",
    conditions="the workers that finish are uniformly distributed, gradients <= G",
    source=f"FedBuff as restated by {_KOLOSKOVA}",
)
def fedbuff_order(
    eps: float,
    noise_sq: float,
    zeta_sq: float,
    *,
    tau_max: float,
    gradient_bound: float,
) -> float:
    """Order of gradients for FedBuff, which assumes that finishers are uniform.

    Example:
        >>> fedbuff_order(1.0, 1.0, 1.0, tau_max=2.0, gradient_bound=1.0)
        6.0
    """
    stale = (zeta_sq + 1) * tau_max * (gradient_bound**2 / eps)
    return (noise_sq + zeta_sq) / eps**2 + stale


@bound(
    formula="(sigma^2 + zeta^2)/e^4 + (sigma + zeta) tau_C/e^3 + tau_C/e^2",
    gives="gradients",
    data="any",
    constants="hidden, L = F_0 = 1",
    conditions="e is a goal for the norm E||grad f(x)|| itself, not for its square",
    source=(
        "as described in reviews of Erickson, Johansson 2606.13287, not in its abstract"
    ),
    tag="A",
    arguments={
        "norm_goal": Argument("e, goal for the gradient norm, > 0.", positive),
        "zeta_sq": "zeta^2, >= 0; 0 for shared data.",
    },
)
def clipped_order(
    norm_goal: float, noise_sq: float, zeta_sq: float = 0.0, *, concurrency: float
) -> float:
    """Order of gradients for clipped asynchronous SGD; the goal is the norm itself.

    Up to logarithms; no tau_max.

    Example:
        >>> clipped_order(1.0, 1.0, concurrency=4)
        9.0
    """
    sigma_zeta = math.sqrt(noise_sq) + math.sqrt(zeta_sq)
    return (
        (noise_sq + zeta_sq) / norm_goal**4
        + sigma_zeta * concurrency / norm_goal**3
        + concurrency / norm_goal**2
    )


@bound(
    formula="eta = (1/2) sqrt(n F_0/(L tau_max T))",
    gives="step size eta",
    data="heterogeneous",
    conditions="T >= 1024 L F_0 n tau_max",
    source="Wang et al. 2405.16966, Theorem 1",
    tag="V",
    arguments={
        "tau_max": Argument("largest delay of a model, server steps, > 0.", positive)
    },
)
def gradient_table_step_size(
    num_gradients: float,
    *,
    smoothness: float,
    gap: float,
    num_workers: int,
    tau_max: float,
) -> float:
    """Step size of IA2SGD/DuDe, which averages the last gradient of every worker.

    Example:
        >>> gradient_table_step_size(
        ...     4096, smoothness=1, gap=1, num_workers=1, tau_max=4)
        0.00390625
    """
    horizon = 1024 * smoothness * gap * num_workers * tau_max
    if num_gradients < horizon:
        raise ValueError(
            f"num_gradients must be at least 1024 L F_0 n tau_max = {horizon:g}, got "
            f"{num_gradients:g}"
        )
    return 0.5 * math.sqrt(num_workers * gap / (smoothness * tau_max * num_gradients))


@bound(
    formula="""
        gamma = min{1/(8 n L), eps B/(10 L sigma^2)},
        B = inf_k ((1/n) sum_i 1/b_i^k)^{-1}""",
    gives="step size",
    goal=GRADIENT_SQ,
    data="heterogeneous",
    conditions=(
        "||grad f(x) - (1/n) sum_i grad f_i(y_i)||^2 <= (L^2/n) sum_i ||x - y_i||^2"
    ),
    source="Maranjyan, Richtarik 2509.22860",
    tag="V",
    arguments={
        "smoothness": "L of the gradient table, > 0; `Smoothness.table` bounds it "
        "above.",
        "harmonic_batch": Argument(
            "B, harmonic mean of the table's counts b_i^k, >= 1.",
            partial(check_number, minimum=1),
        ),
    },
)
def ringleader_step_size(
    eps: float,
    noise_sq: float,
    *,
    smoothness: float,
    num_workers: int,
    harmonic_batch: float = 1.0,
) -> float:
    """Step size of Ringleader ASGD.

    Example:
        >>> ringleader_step_size(0.1, 0.0, smoothness=1.0, num_workers=2)
        0.0625
    """
    limit = 1 / (8 * num_workers * smoothness)
    if noise_sq == 0:
        return limit
    return min(limit, eps * harmonic_batch / (10 * smoothness * noise_sq))


@_time(
    formula="(L F_0/eps)(tau_n + tau_avg sigma^2/(n eps))",
    conditions="as `ringleader_step_size`; tau_avg the mean of the tau_i",
    source=_RINGLEADER,
    arguments={"smoothness": "L of the gradient table, > 0."},
)
def ringleader_time_order(
    durations: ArrayLike, eps: float, noise_sq: float, *, smoothness: float, gap: float
) -> float:
    """Order of Ringleader's time: optimal when its L is of the order of that of f.

    Example:
        >>> ringleader_time_order([1, 3], 1.0, 2.0, smoothness=1.0, gap=1.0)
        5.0
    """
    return optimal_heterogeneous_time(
        durations, eps, noise_sq, smoothness=smoothness, gap=gap
    )


@_time(
    formula="(L F_0/eps)(tau_n + tau_n sigma^2/(n eps))",
    source=f'{_RINGLEADER}; for IA2SGD "similar order"',
)
def gradient_table_time_order(
    durations: ArrayLike, eps: float, noise_sq: float, *, smoothness: float, gap: float
) -> float:
    """Order of the time of IA2SGD and of naive mini-batch SGD.

    The noise term pays the slowest worker where Ringleader pays the average one.

    Example:
        >>> gradient_table_time_order([1, 3], 1.0, 2.0, smoothness=1.0, gap=1.0)
        6.0
    """
    return minibatch_time(durations, eps, noise_sq, smoothness=smoothness, gap=gap)


@_time(
    formula="L F_0 sigma^2 tau_avg/(n eps^2)",
    conditions="gamma_i = gamma tau_i; tau_avg the mean of the tau_i",
    source=(
        "consistency check of the claim of Mahran, Maranjyan, Richtarik 2605.13434, "
        "which is known from its abstract only"
    ),
    tag="D",
)
def rescaled_noise_time(
    durations: ArrayLike, eps: float, noise_sq: float, *, smoothness: float, gap: float
) -> float:
    """Order of the seconds that noise costs Rescaled ASGD.

    Per second the drift is gamma n grad f and the noise gamma^2 sigma^2 n tau_avg. It
    is the second term of the lower bound T_heter.

    Example:
        >>> rescaled_noise_time([1, 3], 1.0, 2.0, smoothness=1.0, gap=1.0)
        2.0
    """
    tau = np.asarray(durations)
    return float(smoothness * gap * noise_sq * tau.mean() / (tau.size * eps**2))


@bound(
    formula="sqrt(L sigma^2 F_0/(|G| R)) + L F_0/R",
    gives=GRADIENT_SQ,
    data="heterogeneous",
    constants="hidden",
    conditions="repeats in a round have weight 0",
    source=(
        "Otsuka et al. (THROTTLE), the limit q -> infinity in Theorem 1 and Remarks 3-4"
    ),
    tag="V",
    arguments={
        "num_rounds": Argument("R, > 0.", positive),
        "num_workers": "|G|, the workers that return honest gradients, >= 1.",
    },
)
def synchronous_restart_rate(
    num_rounds: float,
    noise_sq: float,
    *,
    smoothness: float,
    gap: float,
    num_workers: int,
) -> float:
    """Order of E||grad f||^2 for THROTTLE when repeats in a round count for nothing.

    Example:
        >>> synchronous_restart_rate(1, 4, smoothness=1, gap=1, num_workers=4)
        2.0
    """
    rate = smoothness * gap / num_rounds
    return math.sqrt(rate * noise_sq / num_workers) + rate
