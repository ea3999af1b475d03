"""Where the methods go, and how fast in virtual time: what they are for."""

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.problems.quadratic import Quadratic

algorithms = ag.algorithms

# A common Hessian, and optima x_i* that move with the speed of worker i.
N, D, A = 5, 3, 20_000
SECONDS = np.arange(1.0, N + 1)
# One small step size where every gradient steps (their limit cycle has to be small),
# and a larger one where rounds step or gradients are remembered.
HETEROGENEOUS = {
    "pure": (algorithms.pure_async(), 0.002),
    "rescaled": (algorithms.rescaled(SECONDS), 0.002),
    "measured": (algorithms.rescaled(), 0.002),
    "shuffled": (algorithms.shuffled_async(), 0.002),
    "malenia": (algorithms.malenia(), 0.01),
    "ringleader": (algorithms.ringleader(), 0.01),
    "ia2sgd": (algorithms.ia2sgd(), 0.01),
    "vecna": (algorithms.vecna(), 0.01),
    "ca2fl": (algorithms.ca2fl(2), 0.01),
}


@pytest.fixture(scope="module")
def distances():
    rng = np.random.default_rng(0)
    hessian = np.array([1.0, 0.7, 0.5])
    centres = rng.normal(size=D) + np.outer(SECONDS, rng.normal(size=D))
    problem = Quadratic.from_arrays(hessian[None], centres * hessian)
    shares = (1 / SECONDS) / (1 / SECONDS).sum()
    weighted, right = shares @ centres, centres.mean(axis=0)
    apart = np.linalg.norm(weighted - right)
    result = ag.sweep(
        problem,
        algorithms={name: algorithm for name, (algorithm, _) in HETEROGENEOUS.items()},
        compute_times=ag.compute_times.fixed(SECONDS),
        step_sizes=[0.002, 0.01],
        seeds=range(3),  # for the orders of the shuffled and random ones
        num_gradients=A,
        record_every=A,
        precision="float64",
        metrics={
            "to_weighted": lambda x: ((x - weighted) ** 2).sum() ** 0.5 / apart,
            "to_right": lambda x: ((x - right) ** 2).sum() ** 0.5 / apart,
        },
    )
    return result.isel(record=-1, compute_times=0)


@pytest.mark.parametrize("name", HETEROGENEOUS)
def test_heterogeneous_data(distances, name):
    """Pure converges to sum_i p_i x_i*, known in closed form; the others to x*."""
    at = distances.sel(algorithm=name, step_size=HETEROGENEOUS[name][1])
    near, far = ("to_weighted", "to_right") if name == "pure" else ("to_right",) * 2
    assert (at[near] < 0.01).all()
    if name == "pure":
        assert (at[far] > 0.9).all()


def seconds_to(result, share, *, stay):
    """Time at which grad_norm is `share` of its start, [algorithm, seed].

    The first time, or the time from which on it stays below. Each algorithm is at its
    best step size, by the median over seeds.
    """
    start = float(result["grad_norm"].isel(record=0).mean())
    reached = (result["grad_norm"].isel(compute_times=0) <= share * start).astype(int)
    if stay:
        backwards = reached.isel(record=slice(None, None, -1))
        reached = backwards.cumprod("record").isel(record=slice(None, None, -1))
    times = result["time"].isel(compute_times=0)
    found = times.where(reached.astype(bool)).min("record").fillna(np.inf)
    return found.isel(step_size=found.median("seed").argmin("step_size"))


def test_heavy_tails_and_unequal_speeds():
    """Mini-batches wait for the slowest of all; a very stale gradient throws pure back.

    Pareto tails of exponent 1.5, means 1, 4, 9, ..., 2500 seconds, little noise.
    """
    n = 50
    problem = ag.quadratic(
        n, 10, mu=0.1, heterogeneity=0.0, noise=0.01, same_hessian=True
    )
    result = ag.sweep(
        problem,
        algorithms={
            "pure": "pure_async",
            "minibatch": "minibatch",
            "ringmaster": algorithms.ringmaster(8),
            "ringmaster_stops": algorithms.ringmaster_stops(8),
            "rennala": algorithms.rennala(8),
            "rennala_restart": algorithms.rennala_restart(8),
        },
        compute_times=ag.compute_times.pareto(np.arange(1.0, n + 1) ** 2, alpha=1.5),
        step_sizes=2.0 ** -np.arange(8),
        seeds=range(5),
        num_gradients=5_000,
        record_every=20,
    )
    seconds = seconds_to(result, 0.03, stay=True).median("seed")
    assert np.isfinite(seconds).all()
    pure, minibatch = (
        seconds.sel(algorithm="pure"),
        seconds.sel(algorithm="minibatch"),
    )
    assert minibatch > 20 * pure
    for name in ("ringmaster", "ringmaster_stops", "rennala", "rennala_restart"):
        assert seconds.sel(algorithm=name) < 0.5 * pure, name


# Infinite Bernoulli: a job takes a second, or for ever with probability 1 - Q.
WORKERS, Q = 20, 0.6
HANGING = ag.compute_times.infinite_bernoulli(np.ones(WORKERS), q=Q)


@pytest.mark.parametrize("seed", range(5))
def test_rennala_stalls_where_mindflayer_goes_on(seed):
    """With as many gradients a round as MindFlayer has on average, two per worker."""
    batch = round(2 * Q * WORKERS)
    options = dict(num_gradients=5_000, seed=seed)
    for make in (algorithms.rennala, algorithms.rennala_restart):
        with pytest.raises(RuntimeError, match="never end"):
            ag.simulate(make(batch), HANGING, **options)
    schedule = ag.simulate(algorithms.mindflayer(2, 1.0, Q), HANGING, **options)
    assert abs(5_000 / schedule.time[-1] / (Q * WORKERS) - 1) < 0.05


def test_mindflayer_beats_every_rennala_that_survives():
    problem = ag.quadratic(
        WORKERS, 10, mu=0.1, heterogeneity=0.0, noise=1.0, same_hessian=True
    )
    result = ag.sweep(
        problem,
        algorithms={
            "mindflayer": algorithms.mindflayer(1, 1.0, Q),
            **{f"rennala {b}": algorithms.rennala_restart(b) for b in (2, 4, 6)},
        },
        compute_times=HANGING,
        step_sizes=2.0 ** -np.arange(8),
        seeds=range(8),
        num_gradients=3_000,
        record_every=10,
    )
    seconds = seconds_to(result, 0.12, stay=False)
    ours = seconds.sel(algorithm="mindflayer")
    assert np.isfinite(ours).all()
    for batch in (2, 4, 6):
        other = seconds.sel(algorithm=f"rennala {batch}")
        assert ours.median() < 0.75 * other.median(), batch
