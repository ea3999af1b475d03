"""Seconds to a small gradient by the theory of fixed speeds, methods side by side."""

from dataclasses import dataclass
from typing import Any

from asgrad_jax.problems.problem import Problem
from asgrad_jax.theory._inputs import check_jobs, mean_durations
from asgrad_jax.theory.bounds.times import (
    asynchronous_time,
    minibatch_time,
    one_worker_time,
    optimal_heterogeneous_time,
    optimal_homogeneous_time,
)
from asgrad_jax.theory.constants import Constants, as_constants


@dataclass(frozen=True)
class PredictedTimes:
    """The times of `predicted_times`, in seconds, with the workers worth using.

    All of them are proportional to L: they are too short where it is only estimated
    from below (`from_below`).

    Attributes:
        eps: the goal for the squared gradient norm.
        one_worker: SGD on the fastest worker alone (`one_worker_time`), shared data.
        minibatch: T_mini, all workers wait (`minibatch_time`).
        asynchronous: T_asgd, shared data (`asynchronous_time`).
        homogeneous: T_homog, the best for shared data (`optimal_homogeneous_time`).
        homogeneous_workers: m*, how many of the fastest workers attain T_homog.
        heterogeneous: T_heter, the best where every worker has its own data
            (`optimal_heterogeneous_time`).
        from_below: whether L is only estimated from below.
    """

    eps: float
    one_worker: float
    minibatch: float
    asynchronous: float
    homogeneous: float
    homogeneous_workers: int
    heterogeneous: float
    from_below: bool = False

    def __str__(self) -> str:
        rows = (
            ("fastest worker alone, shared data", self.one_worker, ""),
            ("mini-batch SGD, all workers wait", self.minibatch, ""),
            ("asynchronous SGD, shared data", self.asynchronous, ""),
            (
                "optimal, shared data (Rennala, Ringmaster)",
                self.homogeneous,
                f"  uses the {self.homogeneous_workers} fastest",
            ),
            ("optimal, own data (Malenia, Ringleader)", self.heterogeneous, ""),
        )
        lines = [f"{name:<44}{time:>12.4g} s{note}" for name, time, note in rows]
        if self.from_below:
            lines.append("L is only estimated from below: with the true L, longer")
        return "\n".join(lines)


def predicted_times(
    eps: float,
    compute_times: Any,
    problem: Problem | Constants | None = None,
    *,
    smoothness: float | None = None,
    gap: float | None = None,
    noise_sq: float | None = None,
) -> PredictedTimes:
    """Seconds to a squared gradient norm of eps: baselines and optimal methods.

    The orders of `bounds.times`, hidden constants one. Random compute times enter by
    their means: the theory behind these orders has fixed times, so for heavy tails read
    them as a reference line.

    Args:
        eps: goal for the squared gradient norm, > 0.
        compute_times: one of `ag.compute_times`, or the seconds per gradient of each
            worker, float[n].
        problem: a problem, or its `Constants`; gives what is not given below.
        smoothness: L of f, > 0.
        gap: Delta = f(x_0) - f*, > 0.
        noise_sq: sigma^2 of one stochastic gradient, >= 0.

    Raises:
        TypeError: if the compute times tell no mean of each worker.
        ValueError: if a number is out of its range, or missing while no problem is
            given; if compute times and problem differ in workers.

    Example:
        >>> times = predicted_times(
        ...     1.0, range(1, 11), smoothness=1.0, gap=1.0, noise_sq=1.0)
        >>> times.minibatch, times.homogeneous, times.heterogeneous
        (11.0, 2.0, 10.55)

    Source: Tyurin, Richtarik 2305.12387, as restated in another paper [V]; see
    docs/bounds.md.
    """
    if problem is not None and not isinstance(problem, Constants):
        check_jobs(problem)
    durations = mean_durations(
        compute_times, None if problem is None else problem.num_workers
    )
    from_below = False
    if problem is not None and None in (smoothness, gap, noise_sq):
        found = as_constants(problem)
        if smoothness is None:
            smoothness, from_below = found.smoothness, found.smooth.from_below
        gap = found.gap if gap is None else gap
        noise_sq = found.noise_sq if noise_sq is None else noise_sq
    if smoothness is None or gap is None or noise_sq is None:
        raise ValueError(
            "predicted_times needs smoothness, gap and noise_sq: give the three "
            "numbers, or a problem (or its theory.constants) as the third argument"
        )
    if gap != gap:
        raise ValueError(
            "no lower bound on f* is known for this problem: give gap=..., or "
            "theory.constants(problem, lower_bound=...) instead of the problem"
        )
    common = {"smoothness": smoothness, "gap": gap}
    best = optimal_homogeneous_time(durations, eps, noise_sq, **common)
    return PredictedTimes(
        eps=eps,
        one_worker=one_worker_time(durations, eps, noise_sq, **common),
        minibatch=minibatch_time(durations, eps, noise_sq, **common),
        asynchronous=asynchronous_time(durations, eps, noise_sq, **common),
        homogeneous=best.time,
        homogeneous_workers=best.num_workers,
        heterogeneous=optimal_heterogeneous_time(durations, eps, noise_sq, **common),
        from_below=from_below,
    )
