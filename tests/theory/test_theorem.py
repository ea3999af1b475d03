"""The theorem as theory: it must hold on everything it covers, and only just.

`benchmarks/theory_check.py` runs the same cases in full.
"""

import math

import numpy as np
import pytest

from asgrad_jax.theory import assignment_order
from asgrad_jax.theory.bounds import own_theorem as theorem
from asgrad_jax.theory.measures import measure, prefix_sums
from helpers.theory_cases import simulate, speeds
from helpers.theory_problems import Case, random_case, random_hessians

CASES = range(128)
REPLICATES = 6


def _violations(seeds=CASES):
    return sum(
        not case.holds(case.measured(REPLICATES)) for case in map(random_case, seeds)
    )


def test_holds_on_random_problems_schedules_and_noise():
    looseness = []
    for case in map(random_case, CASES):
        found = case.measured(REPLICATES)
        assert case.holds(found), case.label
        if found.grad_sq > 1e-18:
            looseness.append(case.bound(found).total / found.grad_sq)
    # Neither vacuous nor suspiciously sharp (4.4 at least was found).
    assert 4 < min(looseness) < 8


@pytest.mark.parametrize(
    "constant, wrong",
    [
        ("DRIFT", 0.5),
        ("GAP", 0.5),
        ("NOISE", 0.0),
        ("BIAS", 0.0),
        ("CHUNK_LIMIT", 8.0),
        ("FLIGHT_LIMIT", 8.0),
    ],
)
def test_a_wrong_constant_is_found(monkeypatch, constant, wrong):
    monkeypatch.setattr(theorem, constant, wrong)
    with np.errstate(all="ignore"):
        assert _violations(range(48)) > 0


def test_the_five_inequalities_of_the_proof():
    tightest = {}
    for case in map(random_case, range(300, 400)):
        found = case.measured(REPLICATES)
        # With few noise replicates only the theorem itself has room for their error.
        rounding = 1e-20 * (1 + np.sum(case.linear**2))
        if case.noise:
            continue
        for name, left, right in case.inequalities(found):
            assert left <= right * (1 + 1e-9) + rounding, (name, case.label)
            if left > 1e6 * rounding:
                tightest[name] = min(tightest.get(name, math.inf), right / left)
    assert len(tightest) == 5
    assert all(ratio < 10 for ratio in tightest.values()), tightest


def _by_definition(case, gradients):
    """Every field of the measures with loops, as docs/theorem.md writes them."""
    jobs, tau, gamma = case.jobs, case.chunk_length, case.step_size
    total = jobs.num_jobs
    order = list(jobs.row)
    y = [case.start]
    for g in gradients:
        y.append(y[-1] - gamma * g)
    z, outside = [], []
    for t in range(total):
        applied = [order.index(a) for a in range(jobs.applied[t])]
        z.append(case.start - gamma * sum((gradients[j] for j in applied), start=0.0))
        outside.append(sorted(set(range(t)) - set(applied)))

    def local(x):
        return case.local_gradients(x[None])[0]

    def h(worker, x):
        return local(x)[worker] - local(x).mean(axis=0)

    def sq(x):
        return float(np.sum(np.square(x)))

    starts = [y[t // tau * tau] for t in range(total)]
    sums = [
        [
            sum(h(jobs.worker[k * tau + r], y[k * tau]) for r in range(m + 1))
            for m in range(tau)
        ]
        for k in range(total // tau)
    ]
    flying = [sum((h(jobs.worker[j], z[j]) for j in out), start=0.0) for out in outside]
    return {
        "grad_sq": np.mean([sq(local(x).mean(axis=0)) for x in z]),
        "start_grad_sq": np.mean([sq(local(u).mean(axis=0)) for u in y[:total:tau]]),
        "drift_sq": np.mean([sq(a - b) for a, b in zip(z, starts, strict=True)]),
        "stale_sq": np.mean([sq(a - b) for a, b in zip(z, y[:-1], strict=True)]),
        "spread_sq": np.mean([sq(a - b) for a, b in zip(y[:-1], starts, strict=True)]),
        "chunk_sq": np.mean([sq(chunk[-1]) for chunk in sums]),
        "partial_sq": np.mean([max(map(sq, chunk)) for chunk in sums]),
        "in_flight_sq": np.mean([sq(x) for x in flying]),
    }


@pytest.mark.parametrize("method, tau", [("pure", 7), ("random", 1), ("shuffled", 60)])
def test_measures_are_their_definitions(method, tau):
    rng = np.random.default_rng(9)
    schedule = simulate(method, speeds("linear", 4, rng), 80, law="pareto", seed=rng)
    case = Case(
        hessians=random_hessians("indefinite", 4, 3, rng),
        linear=rng.normal(size=(4, 3)),
        start=rng.normal(size=3),
        noise=0.0,
        schedule=schedule,
        jobs=assignment_order(schedule).first(83 // tau * tau),
        chunk_length=tau,
        step_fraction=0.5,
        label=method,
    )
    gradients = rng.normal(size=(case.jobs.num_jobs, 3))  # any will do
    found = measure(
        case.jobs,
        gradients,
        case.start,
        step_size=case.step_size,
        chunk_length=tau,
        local_gradients=case.local_gradients,
    )
    for name, value in _by_definition(case, gradients).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-10), name


def test_forms_by_hand():
    common = {"smoothness": 2.0, "gap": 3.0, "noise_sq": 0.25, "in_flight_sq": 0.75}
    curvature = 71 * (2.0 * 0.01) ** 2
    start = 5 * 3.0 / (0.01 * 120)
    found = theorem.random_bound(0.01, 120, zeta_sq=0.5, **common)
    assert found.noise == pytest.approx(8 * 2.0 * 0.01 * 0.75)
    assert (found.bias, found.order) == (0, 0)
    assert found.staleness == pytest.approx(curvature * 0.75)
    assert found.optimisation == pytest.approx(start)
    found = theorem.shuffled_bound(0.01, 120, num_workers=6, zeta_sq=0.5, **common)
    assert found.noise == pytest.approx(8 * 2.0 * 0.01 * 0.25)
    assert found.bias == 0 and found.order == pytest.approx(curvature * 6 * 0.5 / 2)
    found = theorem.cyclic_bound(0.01, 120, num_workers=6, zeta_sq_max=0.5, **common)
    assert found.order == pytest.approx(curvature * 36 * 0.5 / 4)
    found = theorem.pure_bound(
        0.01,
        120,
        num_workers=6,
        bias_sq=0.1,
        zeta_sq_max=0.5,
        chunk_length=40,
        **common,
    )
    deviation = 2 * 1600 * 0.1 + (8 + 24 / 3) * 36 * 0.5
    assert found.bias == pytest.approx(5 * deviation / 1600)
    assert found.order == pytest.approx(curvature * deviation)


@pytest.mark.parametrize(
    ("bound", "name"),
    [
        (theorem.random_bound, "zeta_sq"),
        (theorem.shuffled_bound, "zeta_sq"),
        (theorem.cyclic_bound, "zeta_sq_max"),
    ],
)
def test_forms_name_the_given_heterogeneity(bound, name):
    given = {"smoothness": 0.0, "gap": 1.0, "noise_sq": 0.0, "in_flight_sq": 0.0}
    if bound is not theorem.random_bound:
        given["num_workers"] = 10
    assert bound(0.1, 100, **given, **{name: 1.0}).total == pytest.approx(0.5)
    with pytest.raises(
        ValueError, match=f"^{name} must be a finite number >= 0, got -1"
    ):
        bound(0.1, 100, **given, **{name: -1})


def _same_hessian_case(method, seed, *, n=6, d=3, rows=600, law="exponential", chunk=1):
    """Equal Hessians: zeta_i^2 is the same at every point, so it is known exactly."""
    rng = np.random.default_rng(seed)
    schedule = simulate(method, speeds("linear", n, rng), rows, law=law, seed=seed)
    jobs = assignment_order(schedule)
    linear = rng.normal(size=(n, d))
    return Case(
        hessians=np.repeat(np.diag([1.0, 0.5, 0.1])[None], n, axis=0),
        linear=linear,
        start=linear.mean(0) / np.array([1.0, 0.5, 0.1]) + rng.normal(size=d),
        noise=0.0,
        schedule=schedule,
        jobs=jobs.first(jobs.num_jobs // (chunk * n) * chunk * n),
        chunk_length=chunk * n,
        step_fraction=1.0,
        label=method,
    )


@pytest.mark.parametrize("method", ["pure", "random", "shuffled", "cyclic"])
def test_forms_known_before_the_run(method):
    n, truth, bounds = 6, [], []
    for seed in range(12):
        # pure is bounded for fixed times, and its counting errors need long chunks.
        kind = {"law": "fixed", "chunk": 20} if method == "pure" else {}
        # The problem stays, the schedule changes: expectations are over schedules.
        case = _same_hessian_case(method, 0, **kind)
        other = _same_hessian_case(method, seed, **kind)
        case.schedule, case.jobs = other.schedule, other.jobs
        deviation = case.linear.mean(0) - case.linear
        zeta_sq = np.sum(deviation**2, axis=1)
        weighted = float(np.mean(case.jobs.flight * zeta_sq[case.jobs.worker]))
        nu_sq = theorem.in_flight_limit(weighted, concurrency=case.jobs.concurrency)
        found = case.run(0)
        assert found.in_flight_sq <= nu_sq
        common = {
            "smoothness": case.smoothness,
            "gap": case.gap,
            "noise_sq": 0.0,
            "in_flight_sq": nu_sq,
        }
        args = (case.step_size, case.jobs.num_jobs)
        if method == "pure":
            share = 1 / speeds("linear", n, None)
            bias = share / share.sum() @ deviation
            bound = theorem.pure_bound(
                *args,
                num_workers=n,
                bias_sq=float(bias @ bias),
                zeta_sq_max=zeta_sq.max(),
                chunk_length=case.chunk_length,
                **common,
            )
            chunks = case.jobs.num_jobs // case.chunk_length
            counting = (8 + 24 / chunks) * n**2 * zeta_sq.max()
            assert found.chunk_sq <= 2 * case.chunk_length**2 * (bias @ bias) + counting
            assert (
                found.partial_sq <= 2 * case.chunk_length**2 * (bias @ bias) + counting
            )
        elif method == "random":
            bound = theorem.random_bound(*args, zeta_sq=zeta_sq.mean(), **common)
        elif method == "shuffled":
            bound = theorem.shuffled_bound(
                *args, num_workers=n, zeta_sq=zeta_sq.mean(), **common
            )
            assert found.chunk_sq < 1e-24
        else:
            bound = theorem.cyclic_bound(
                *args, num_workers=n, zeta_sq_max=zeta_sq.max(), **common
            )
            assert found.partial_sq <= n**2 * zeta_sq.max() / 4
        truth.append(found.grad_sq)
        bounds.append(bound.total)
    assert np.mean(truth) <= np.mean(bounds)
    assert np.mean(bounds) < 60 * np.mean(truth)


def test_partial_permutations_have_the_stated_variance():
    """r of n without replacement: r(n - r)/(n - 1) zeta^2, at most n zeta^2/2."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=(7, 2))
    h -= h.mean(axis=0)
    zeta_sq = np.mean(np.sum(h**2, axis=1))
    sums = np.stack([prefix_sums(h[rng.permutation(7)]) for _ in range(20_000)])
    norms = np.sum(sums**2, axis=2)
    r = np.arange(8)
    expected = r * (7 - r) / 6 * zeta_sq
    error = norms.std(axis=0) / math.sqrt(len(norms))
    assert np.all(np.abs(norms.mean(axis=0) - expected) <= 4 * error + 1e-12)
    assert expected.max() <= 7 * zeta_sq / 2


def _floor(method, step_size, rows=30_000, n=5):
    """Mean squared gradient norm of the last half, equal Hessians, no noise."""
    schedule = simulate(method, np.arange(1, n + 1.0), rows, seed=1)
    linear = np.random.default_rng(8).normal(size=n)
    linear -= linear.mean()  # the optimum is 0 and grad f(x) = x
    iterates = np.empty(rows + 1)
    iterates[0] = x = 0.0
    read, worker = schedule.read.tolist(), schedule.worker.tolist()
    for a in range(rows):
        x -= step_size * (iterates[read[a]] - linear[worker[a]])
        iterates[a + 1] = x
    return np.mean(iterates[rows // 2 :] ** 2)


@pytest.mark.parametrize(
    "method, low, high",
    [("pure", -0.1, 0.1), ("random", 0.85, 1.15), ("shuffled", 1.8, 9)],
)
def test_floor_scales_with_the_step_size_as_predicted(method, low, high):
    """sigma = 0: pure's floor stays, random's is O(gamma), shuffled's O(gamma^2)."""
    steps = 2.0 ** -np.arange(4, 9)
    floors = [_floor(method, step) for step in steps]
    exponent = np.polyfit(np.log(steps), np.log(floors), 1)[0]
    assert low <= exponent <= high


def test_tuned_step_size_balances_two_terms():
    common = {"smoothness": 2.0, "gap": 3.0, "limit": 1e9}
    gamma = theorem.tuned_step_size(1000, noise_sq=0.5, heterogeneity_sq=0.0, **common)
    found = theorem.theorem_bound(
        gamma,
        1000,
        smoothness=2.0,
        gap=3.0,
        noise_sq=0.5,
        chunk_length=1,
        chunk_sq=0.0,
        partial_sq=0.0,
        in_flight_sq=0.0,
    )
    assert found.noise == pytest.approx(found.optimisation)
    gamma = theorem.tuned_step_size(1000, noise_sq=0.0, heterogeneity_sq=0.7, **common)
    found = theorem.theorem_bound(
        gamma,
        1000,
        smoothness=2.0,
        gap=3.0,
        noise_sq=0.0,
        chunk_length=1,
        chunk_sq=0.0,
        partial_sq=0.3,
        in_flight_sq=0.4,
    )
    assert found.order + found.staleness == pytest.approx(found.optimisation)
    assert found.staleness / found.order == pytest.approx(4 / 3)
    assert (
        theorem.tuned_step_size(
            1000, noise_sq=0.0, heterogeneity_sq=0.0, smoothness=2.0, gap=3.0, limit=0.1
        )
        == 0.1
    )


def test_bad_input():
    given = {
        "smoothness": 1.0,
        "gap": 1.0,
        "noise_sq": 0.0,
        "chunk_length": 1,
        "chunk_sq": 0.0,
        "partial_sq": 0.0,
        "in_flight_sq": 0.0,
    }
    for wrong in ({"gap": -1.0}, {"chunk_sq": math.nan}, {"smoothness": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            theorem.theorem_bound(0.1, 10, **{**given, **wrong})
    with pytest.raises(TypeError, match="chunk_length"):
        theorem.theorem_bound(0.1, 10, **{**given, "chunk_length": 1.5})
    with pytest.raises(
        ValueError, match=r"multiple of the chunk length 100 .* give 100 jobs"
    ):
        theorem.theorem_bound(0.1, 10, **{**given, "chunk_length": 100})


def test_a_horizon_that_is_not_of_whole_chunks():
    common = {
        "num_workers": 10,
        "smoothness": 1.0,
        "gap": 1.0,
        "noise_sq": 0.0,
        "in_flight_sq": 0.0,
    }
    pure = {"bias_sq": 0.0, "zeta_sq_max": 0.0, "chunk_length": 10}
    for form, more in (
        (theorem.shuffled_bound, {"zeta_sq": 0.0}),
        (theorem.cyclic_bound, {"zeta_sq_max": 0.0}),
        (theorem.pure_bound, pure),
    ):
        for num_jobs, advice in ((3, "give 10 jobs"), (105, "give 100 or 110 jobs")):
            with pytest.raises(ValueError, match=advice):
                form(0.1, num_jobs, **common, **more)
