"""Certificates, delays, step sizes and the report on real problems and schedules."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax import theory
from asgrad_jax.problems.flat_arrays import flat_params, local_gradients
from asgrad_jax.problems.quadratic import Quadratic
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.theory.replay import replay

CLOCK = ag.compute_times.exponential(mean=np.arange(1.0, 7.0))


def _logistic(**kwargs):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 5))
    labels = np.sign(features[:, 0] + 0.5 * rng.normal(size=120))
    return ag.logistic_regression(
        features, labels, 6, partition="sorted", strength=0.1, **kwargs
    )


def _schedule(algorithm="shuffled_async", num_gradients=240, seed=0):
    if algorithm == "fedbuff":
        algorithm = ag.algorithms.fedbuff(gradients_per_step=3)
    return ag.simulate(algorithm, CLOCK, num_gradients=num_gradients, seed=seed)


def _full_history(problem, schedule, step_size):
    """Every iterate of plain SGD, by the definition."""
    x = flat_params(problem)
    history, pending, gradients = [x], np.zeros_like(x), []
    for a in range(len(schedule)):
        worker = schedule.worker[a]
        table = local_gradients(problem, history[schedule.read[a]][None])
        gradients.append(table[0, worker])
        pending = pending + schedule.weight[a] * gradients[-1]
        if schedule.step[a]:
            x = x - step_size * pending
            history.append(x)
            pending = np.zeros_like(x)
    return np.array(history), np.array(gradients)


@pytest.mark.parametrize("algorithm", ["pure_async", "fedbuff", "minibatch"])
def test_replay_is_plain_sgd(algorithm):
    problem, schedule = _logistic(), _schedule(algorithm, 60)
    _, gradients = _full_history(problem, schedule, 0.3)
    found = replay(problem, schedule, 0.3, flat_params(problem))
    assert found.shape[0] == 60 + len(schedule.in_flight_worker)
    assert np.allclose(found[:60], gradients, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("dense", "random_async"),
        ("sparse", "fedbuff"),
        ("reshuffled", "shuffled_async"),
        ("quadratic", "fedbuff"),
    ],
)
def test_replay_has_the_noise_of_the_run(kind, algorithm):
    """Every iterate of `ag.run` in float64, at the same seed, mini-batches included."""
    if kind == "quadratic":
        problem = ag.quadratic(6, 5, noise=0.7)
    elif kind == "reshuffled":
        problem = _logistic(batch_size=3, sampling="reshuffled")
    else:
        problem = _logistic(batch_size=3, storage=kind)
    schedule = _schedule(algorithm, 40)
    run = ag.run(
        problem,
        schedule,
        step_size=0.3,
        seed=11,
        metrics={f"x{j}": lambda x, j=j: x[j] for j in range(5)},
        precision="float64",
    )
    iterates = np.stack([run.metrics[f"x{j}"] for j in range(5)], axis=1)
    gradients = replay(problem, schedule, 0.3, flat_params(problem), seed=11)
    weighted = 0.3 * schedule.weight[:, None] * gradients[: len(schedule)]
    counted = np.cumsum(np.vstack([np.zeros(5), weighted]), axis=0)
    # The server has folded in every row up to its last step, and no further.
    applied = np.append(0, np.where(schedule.step, np.arange(1, 41), 0))
    expected = iterates[0] - counted[np.maximum.accumulate(applied)]
    np.testing.assert_allclose(iterates, expected, rtol=1e-11, atol=1e-13)
    other = replay(problem, schedule, 0.3, flat_params(problem), seed=12)
    assert np.abs(other - gradients).max() > 1e-3


def test_measured_mean_is_that_of_the_server_iterates():
    """z_t are the server's iterates: x_0 once per initial job, then each x_v once."""
    problem, schedule = _logistic(), _schedule("pure_async", 90)
    found = theory.certificate(problem, schedule, 0.002, chunk_length=1)
    history, _ = _full_history(problem, schedule, 0.002)
    norms = [theory.heterogeneity(problem, x).grad_sq for x in history]
    expected = (5 * norms[0] + sum(norms)) / (5 + len(norms))
    assert found.num_jobs == 5 + len(norms)
    assert found.measured.grad_sq == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    "algorithm",
    ["pure_async", "random_async", "shuffled_async", "fedbuff", "minibatch"],
)
def test_certificates_hold(algorithm):
    problem, schedule = _logistic(), _schedule(algorithm)
    limit = theory.step_sizes(problem, schedule)["asgrad_jax theorem"].step_size
    for fraction in (1.0, 0.2):
        found = theory.certificate(problem, schedule, fraction * limit)
        assert found.valid and not found.caveats
        assert found.measured.grad_sq <= found.bound < math.inf
        assert found.bound == pytest.approx(
            found.terms.optimisation
            + found.terms.noise
            + found.terms.bias
            + found.terms.order
            + found.terms.staleness
        )
        for name, left, right in found.inequalities:
            assert left <= right * (1 + 1e-9) + 1e-18, name
        assert found.chunk_length % 6 == 0 or found.chunk_length < 6
    # One step beyond the limit there is no bound, and the page says why.
    beyond = theory.certificate(problem, schedule, 2 * limit, chunk_length=6)
    assert not beyond.valid and beyond.bound == math.inf
    assert "FAILS" in str(beyond) and "no bound" in str(beyond)


def test_certificate_with_noise_uses_the_exact_variance():
    problem, schedule = _logistic(batch_size=4), _schedule()
    found = theory.certificate(problem, schedule, 0.003, seeds=np.arange(4))
    assert found.valid and found.measured.grad_sq <= found.bound
    assert 0 < found.noise_sq
    assert found.noise_sq >= 0.5 * theory.noise_variance(problem).largest
    assert any("4 run(s)" in caveat for caveat in found.caveats)
    given = theory.certificate(problem, schedule, 0.003, noise_sq=7.0)
    assert given.terms.noise == pytest.approx(8 * given.smoothness * 0.003 * 7.0)
    # Successive batches of an epoch are not independent: no theorem.
    epochs = _logistic(batch_size=4, sampling="reshuffled")
    refused = theory.certificate(epochs, schedule, 0.003)
    assert not refused.valid
    assert [c.name for c in refused.conditions if not c.holds] == [
        "noise has mean zero given the past"
    ]


def test_weights_multiply_the_step_size():
    problem = _logistic()
    plain = Schedule.from_arrays(worker=list(range(6)) * 5, read=range(30))
    half = Schedule.from_arrays(
        worker=list(range(6)) * 5, read=range(30), weight=[0.5] * 30
    )
    one = theory.certificate(problem, plain, 0.01, chunk_length=6)
    two = theory.certificate(problem, half, 0.02, chunk_length=6)
    assert two.step_size == one.step_size == 0.01
    assert two.bound == pytest.approx(one.bound)
    assert two.measured.grad_sq == pytest.approx(one.measured.grad_sq, rel=1e-12)


def test_what_the_theorem_does_not_cover_is_refused():
    problem = _logistic()
    with pytest.raises(ValueError, match="one weight"):
        theory.certificate(problem, _schedule("delay_adaptive"), 0.01)
    clipped = Schedule.from_arrays([0, 1], [0, 1], num_workers=6, clip=[1.0, 1.0])
    with pytest.raises(ValueError, match="look at values"):
        theory.certificate(problem, clipped, 0.01)
    schedule = _schedule()
    for wrong, error, message in [
        ({"step_size": 0.0}, ValueError, "step_size"),
        ({"step_size": "0.01"}, TypeError, "step_size must be a finite number > 0"),
        ({"step_size": [0.01]}, TypeError, "step_size must be a finite number > 0"),
        (
            {"chunk_length": 10_000},
            ValueError,
            "chunk_length must be an integer in 1..",
        ),
        ({"seeds": ()}, ValueError, "seeds must have at least one seed"),
        ({"seeds": [0.5]}, TypeError, "seeds must be an integer >= 0, got 0.5"),
        ({"constants": 3}, TypeError, "what theory.constants"),
    ]:
        with pytest.raises(error, match=message):
            theory.certificate(problem, schedule, **{"step_size": 0.01, **wrong})
    # At 30 the gradients stay finite, but not their squares.
    for step_size in (30, 1000):
        with pytest.raises(ValueError, match=f"diverged at step_size = {step_size}:"):
            theory.certificate(_shared_quadratic(), schedule, step_size)
    unbounded = ag.from_loss(
        lambda p, batch: batch @ p, np.ones(2), np.ones((12, 2)), num_workers=6
    )
    with pytest.raises(ValueError, match="no lower bound"):
        theory.certificate(unbounded, schedule, 0.01)


def test_jobs_of_local_steps_are_refused():
    """What they return is no gradient of f_i: the bound is wrong by any factor."""
    inside, schedule = ag.quadratic(6, 3), _schedule()
    problem = ag.local_steps(inside, 200, 0.5)
    known = theory.constants(inside)
    for call in (
        lambda: theory.certificate(problem, schedule, 0.01, constants=known),
        lambda: theory.step_sizes(problem, schedule, constants=known),
        lambda: theory.report(problem, schedule, constants=known),
        lambda: theory.constants(problem),
        lambda: theory.noise_variance(problem),
        lambda: theory.predicted_times(0.1, CLOCK, problem),
    ):
        with pytest.raises(ValueError, match=r"ag\.local_steps return a sum"):
            call()
    # f and its gradients are those of the problem inside.
    assert theory.heterogeneity(problem).zeta_sq == known.zeta_sq


def _saturated():
    """A model whose curvature at the start says nothing about that elsewhere."""
    rng = np.random.default_rng(0)
    data = rng.uniform(1, 4, size=(60, 5)), np.resize([1.0, -1.0], 60)
    return ag.from_loss(
        lambda x, b: jnp.logaddexp(0.0, -b[1] * (b[0] @ x)),
        np.full(5, 2.0),
        data,
        num_workers=6,
        drop_last=True,
    )


def test_nothing_is_certified_by_an_estimate_from_below():
    problem, schedule = _saturated(), _schedule(num_gradients=60)
    known = theory.constants(problem, lower_bound=0.0)
    assert known.smooth.certainty == "lower estimate"
    found = theory.step_sizes(
        problem, schedule, constants=known, eps=0.1, num_gradients=100
    )
    assert not found.applicable and "certified" not in str(found)
    assert "estimated from below" in found["asgrad_jax theorem"].reason
    assert "estimated from below" in found["asgrad_jax theorem, tuned"].reason
    plain = theory.step_sizes(problem, schedule, num_gradients=100)
    assert "no lower bound on f*" in plain["asgrad_jax theorem, tuned"].reason
    assert "estimated from below" in str(theory.predicted_times(0.1, CLOCK, known))

    refused = theory.certificate(problem, schedule, 1.0, constants=known)
    assert not refused.valid and refused.bound == math.inf
    assert refused.measured.grad_sq > refused.terms.total
    assert "measured is above" in refused.caveats[-1]
    # A wrong L that is called a bound: the run itself disproves it.
    wrong = dataclasses.replace(
        known, smooth=known.smooth._replace(certainty="upper bound")
    )
    found = theory.certificate(problem, schedule, 1.0, constants=wrong)
    assert all(c.holds for c in found.conditions)
    assert found.disproved and not found.valid and "no bound" in str(found)
    # Any L_i <= |a|^2/4 is a bound.
    sure = np.full(6, 5 * 16 / 4)
    true = known.smooth._replace(of_f=sure[0], per_worker=sure, certainty="upper bound")
    known = dataclasses.replace(known, smooth=true)
    step = theory.step_sizes(problem, schedule, constants=known)[
        "asgrad_jax theorem"
    ].step_size
    assert theory.certificate(problem, schedule, step, constants=known).valid


def test_a_lower_bound_is_used_beside_numbers():
    problem, schedule = _shared_quadratic(), _schedule()
    known = theory.constants(problem)
    page = theory.report(problem, schedule, constants=known, lower_bound=-5.0, eps=0.1)
    assert page.constants.gap == pytest.approx(5.0) and not page.constants.gap_exact
    above = {"constants": known, "lower_bound": 1e6}
    with pytest.raises(ValueError, match="lower_bound must be at most f"):
        theory.certificate(problem, schedule, 0.01, **above)


def test_no_curvature_at_all():
    flat = ag.logistic_regression(
        np.zeros((120, 5)), np.resize([1.0, -1.0], 120), 6, strength=0.0
    )
    schedule = _schedule()
    found = theory.certificate(flat, schedule, 10.0)
    assert found.valid and found.measured.grad_sq == 0
    page = theory.report(flat, schedule, eps=0.1, compute_times=CLOCK)
    assert page.times is None
    assert (
        page.step_sizes["asgrad_jax theorem"].reason == "L = 0: every step size will do"
    )


@pytest.mark.parametrize("residual", [0.0, 1.9e-34, 3e-29])
def test_a_start_that_is_stationary_to_rounding(residual):
    problem, schedule = _shared_quadratic(), _schedule()
    known = theory.constants(problem)
    where = dataclasses.replace(known.heterogeneity, grad_sq=residual)
    still = dataclasses.replace(known, heterogeneity=where)
    with pytest.raises(ValueError, match=r"starts at a stationary point: give eps="):
        theory.report(problem, schedule, constants=still)


@pytest.mark.parametrize("algorithm", ["pure_async", "random_async", "shuffled_async"])
def test_jobs_are_conserved_exactly(algorithm):
    """The sum of all delays and ages is (m - 1) T, whatever the clock."""
    for n, family in [(1, "fixed"), (4, "exponential"), (9, "pareto")]:
        clock = ag.compute_times.get(family, np.arange(1.0, n + 1))
        many = [
            ag.simulate(algorithm, clock, num_gradients=200, seed=s) for s in range(4)
        ]
        found = theory.delays(many)
        assert found.total_age.tolist() == [(n - 1) * 200] * 4
        assert not np.any(found.unbalanced_age)
        assert np.all(found.concurrency == n)
        assert found.tau_avg == pytest.approx(np.full(4, (n - 1) * 200 / (199 + n + 1)))


def test_delays_by_hand():
    # Worker 1 is slow: it reads version 0 and arrives third, delay 2.
    schedule = Schedule.from_arrays(
        worker=[0, 0, 1, 0],
        read=[0, 1, 0, 2],
        in_flight_worker=[1, 0],
        in_flight_read=[3, 4],
    )
    found = theory.delays(schedule)
    assert found.delay.tolist() == [0, 0, 2, 1]
    assert (found.tau_max, found.total_age, found.num_steps) == (2, 4, 4)
    assert found.tau_avg == pytest.approx(4 / 6)
    assert found.tau_avg_per_worker == pytest.approx([1 / 4, 3 / 2])
    assert found.share == pytest.approx([3 / 4, 1 / 4])
    assert found.imbalance == pytest.approx(1 / 4)
    assert found.quantile(0.5) == 0 and found.quantile([0.75, 1]).tolist() == [1, 2]
    assert found.concurrency.tolist() == [2, 2, 2, 2]
    # Given out: w0, w1, w0, w0, w1, w0; job 1 (worker 1) is applied before job 4.
    assert found.flight_length.tolist() == [1, 0, 2, 1]
    many = theory.delays([schedule, schedule])
    assert many.quantile([0.5, 1.0]).tolist() == [[0, 2], [0, 2]]
    assert many.delay.shape == (2, 4) and many.tau_max.tolist() == [2, 2]
    with pytest.raises(ValueError, match=r"q must be a number > 0 and <= 1, got 0\.0"):
        found.quantile(0.0)
    with pytest.raises(ValueError, match="at least one"):
        theory.delays([])
    with pytest.raises(ValueError, match="equal numbers of"):
        theory.delays([schedule, Schedule.from_arrays([0], [0])])
    assert theory.delays(iter([schedule])).delay.shape == (1, 4)
    for wrong in ("pure_async", 3):
        with pytest.raises(TypeError, match="schedule must be"):
            theory.delays(wrong)


def _shared_quadratic(noise=0.0, n=6):
    hessians = np.diag([2.0, 1.0])[None]
    return Quadratic.from_arrays(hessians, np.repeat([[1.0, 1.0]], n, 0), noise=noise)


def test_step_sizes_of_a_shared_objective():
    problem, schedule = _shared_quadratic(noise=0.5), _schedule("pure_async")
    late = int(schedule.delay.max())
    found = theory.step_sizes(problem, schedule, eps=0.01, num_gradients=1000)
    # sigma^2 = 1/4, L = 2: eps/(4 sigma^2 L) = 0.005 against 1/(2RL).
    assert found["computation tree"].step_size == pytest.approx(
        min(1 / (4 * late), 0.005)
    )
    # R = ceil(25) covers the delays, or the rule says what to use instead.
    ringmaster = found["Ringmaster"]
    if late < 25:
        assert ringmaster.step_size == pytest.approx(min(1 / 100, 0.005))
    else:
        assert "max_delay=25" in ringmaster.reason
    assert found["delay-adaptive"].step_size is None or late <= 6
    assert "table of gradients" in found["Ringleader"].reason
    assert found["asgrad_jax theorem"].step_size <= 1 / (8 * 2.0 * 6)
    assert (
        found["asgrad_jax theorem, tuned"].step_size
        <= found["asgrad_jax theorem"].step_size
    )
    assert set(found.applicable) <= {row.name for row in found}
    assert "[V]" in str(found) and "[D]" in str(found)
    with pytest.raises(KeyError, match="known: asgrad_jax theorem"):
        found["nobody"]

    # A mean of three gradients: `run` multiplies the step size by 1/3 again.
    buffered = _schedule("fedbuff")
    weight = buffered.weight[0]
    assert weight == 1 / 3
    rows_applied = np.append(0, np.flatnonzero(buffered.step) + 1)
    distance = max(np.arange(len(buffered)) - rows_applied[buffered.read])
    found = theory.step_sizes(problem, buffered, eps=100.0)
    assert found["computation tree"].step_size == pytest.approx(3 / (4 * distance))

    tiny = theory.step_sizes(problem, schedule, eps=1e-309)
    assert tiny["Ringmaster"].reason.startswith("sigma^2/eps must be a finite number")

    plain = theory.step_sizes(problem, schedule)
    assert plain["computation tree"].reason == "needs the goal: eps=..."
    assert plain["asgrad_jax theorem, tuned"].reason.startswith("needs the horizon")
    adaptive = theory.step_sizes(problem, _schedule("delay_adaptive"))
    assert adaptive["asgrad_jax theorem"].step_size is None
    assert "one weight" in adaptive["asgrad_jax theorem"].reason


@pytest.mark.parametrize(
    ("algorithm", "rule"),
    [
        ("ringleader", "Ringleader"),
        ("ia2sgd", "IA2SGD, DuDe"),
        ("dude_asgd", "IA2SGD, DuDe"),
        ("ace", "IA2SGD, DuDe"),  # the same rule
        ("aced", None),
        ("ca2fl", None),
    ],
)
def test_rules_of_tables_are_for_their_methods_alone(algorithm, rule):
    problem, schedule = _shared_quadratic(), _schedule(algorithm)
    found = theory.step_sizes(problem, schedule, eps=0.01, num_gradients=10**9)
    assert set(found.applicable) == ({rule} if rule else set())
    # The table is the reason, whatever the delays are.
    assert "table" in found["delay-adaptive"].reason


def test_step_sizes_of_fresh_gradients():
    problem = _shared_quadratic()
    # The mean of six: gamma = 1/L for the mean itself.
    found = theory.step_sizes(problem, _schedule("minibatch"))
    assert found["fresh gradients"].step_size == pytest.approx(1 / 2.0)
    sequential = theory.step_sizes(problem, _schedule("sgd"))
    assert sequential["fresh gradients"].step_size == pytest.approx(1 / 2.0)
    assert sequential["delay-adaptive"].step_size == pytest.approx(1 / 8.0)
    own_data = _logistic()
    assert (
        "fresh gradients"
        in theory.step_sizes(own_data, _schedule("minibatch")).applicable
    )  # every worker is heard equally in each step
    refused = theory.step_sizes(own_data, _schedule("sgd"))["fresh gradients"]
    assert refused.step_size is None and "zeta^2" in refused.reason
    delayed = theory.step_sizes(own_data, _schedule("pure_async"))
    assert delayed["computation tree"].step_size is None
    with pytest.raises(ValueError, match="eps"):
        theory.step_sizes(problem, _schedule("sgd"), eps=-1.0)


def test_recommended_step_sizes_do_not_diverge():
    """Every rule that applies gives a run that goes down, many equal workers too."""
    many = ag.compute_times.fixed(mean=[1.0] * 60)
    schedules = [
        _schedule("pure_async", 600),
        _schedule("delay_adaptive", 600),
        _schedule("sgd", 600),
        ag.simulate("pure_async", many, num_gradients=3000),
        ag.simulate("minibatch", many, num_gradients=3000),
        ag.simulate("fedbuff", many, num_gradients=3000),
    ]
    for schedule in schedules:
        problem = _shared_quadratic(n=schedule.num_workers)
        found = theory.step_sizes(problem, schedule, eps=0.01, num_gradients=600)
        assert found.applicable
        for name, step in found.applicable.items():
            run = ag.run(problem, schedule, step_size=step, record_every=len(schedule))
            norms = run.metrics["grad_norm"]
            assert norms[-1] < norms[0], name


def test_report_reads_the_order():
    problem = _logistic()
    fixed = ag.compute_times.fixed(mean=range(1, 7))
    pages = {
        name: theory.report(
            problem,
            ag.simulate(name, fixed, num_gradients=600, seed=0),
            compute_times=fixed,
            step_size=1e-3,
        )
        for name in ("pure_async", "random_async", "shuffled_async")
    }
    assert "no step size removes that bias" in str(pages["pure_async"])
    assert "averages out over time" in str(pages["random_async"])
    assert "Whole chunks cancel" in str(pages["shuffled_async"])
    # A table of gradients hears the workers equally, whatever the order: no verdict.
    table = theory.report(problem, _schedule("ia2sgd", 600))
    assert "do not tell" in str(table) and "no step size" not in str(table)
    page = str(pages["pure_async"])
    for head in ("Problem", "Schedule", "Step sizes", "Time to eps", "Certificate"):
        assert head in page
    assert pages["pure_async"].times.minibatch > 0
    shared = theory.report(_shared_quadratic(), _schedule(), eps=0.1)
    assert "their order does not matter" in str(shared)
    assert shared.times is None and shared.certificate is None


@pytest.mark.parametrize(
    ("algorithm", "verdict"),
    [
        ("pure_async", "no step size removes"),
        ("random_async", "averages out"),
        ("fedbuff", "averages out"),
        ("shuffled_async", "Whole chunks cancel"),
    ],
)
def test_verdict_on_short_runs(algorithm, verdict):
    """A bias is told from scatter after some ten rounds of the workers, by any seed."""
    problem = ag.quadratic(6, 3, seed=1)
    known = theory.constants(problem)
    for seed in range(8):
        schedule = _schedule(algorithm, 150, seed)
        page = str(theory.report(problem, schedule, constants=known))
        assert verdict in page, seed


@pytest.mark.parametrize("workers", [3, 9])
def test_problem_and_schedule_must_fit(workers):
    problem, schedule = _shared_quadratic(n=workers), _schedule()
    message = f"the schedule must have the problem's {workers} workers, got 6"
    for call in (
        lambda p, s: theory.certificate(p, s, 0.01),
        theory.step_sizes,
        theory.report,
    ):
        with pytest.raises(ValueError, match=message):
            call(problem, schedule)
        with pytest.raises(TypeError, match="schedule must be"):
            call(problem, "pure_async")
        with pytest.raises(TypeError, match="problem must be"):
            call("w7a", schedule)
    known = theory.constants(problem)
    with pytest.raises(ValueError, match=f"constants must be .*, got {workers}"):
        theory.step_sizes(_shared_quadratic(), schedule, constants=known)
    with pytest.raises(
        ValueError,
        match=f"compute_times .* {workers} workers, got 6",
    ):
        theory.predicted_times(0.1, CLOCK, known)
    fits = _shared_quadratic()
    with pytest.raises(
        ValueError,
        match=f"compute_times .* 6 workers, got {workers}",
    ):
        theory.report(fits, schedule, compute_times=[1.0] * workers)


def test_report_bad_input():
    at_optimum = Quadratic.from_arrays([[1.0]], [[0.0]] * 6)
    with pytest.raises(ValueError, match="stationary point"):
        theory.report(at_optimum, _schedule())
