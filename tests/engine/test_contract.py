"""Every registered method x every registered clock: what all of them must do.

Built from the registries: a new entry is tested by existing.
"""

import dataclasses
import functools
import itertools

import numpy as np
import optax
import pytest
import xarray as xr

import asgrad_jax as ag
from asgrad_jax.engine import cost
from asgrad_jax.engine import program as engine
from asgrad_jax.experiments import execute
from asgrad_jax.schedules.server_rule import ServerRule
from asgrad_jax.simulation import compiled, compiled_rounds
from helpers.reference import Adam, naive_trajectory, quadratic_gradient, quadratic_loss

N, D, A = 5, 3, 60
METHODS = ag.algorithms.names()
CLOCKS = ag.compute_times.names()

# Arguments that the defaults leave untouched. Speeds and limits are for N workers.
SPEEDS = [1.0, 2.0, 3.0, 4.0, 5.0]
VARIANTS = {
    "delay_adaptive inverse": ag.algorithms.delay_adaptive("inverse"),
    "delay_adaptive drop": ag.algorithms.delay_adaptive("drop"),
    "staleness_aware pure": ag.algorithms.staleness_aware(
        ag.algorithms.pure_async(), kind="hinge", a=1.0, b=2.0
    ),
    "ringmaster_stops 1": ag.algorithms.ringmaster_stops(1),
    "ringmaster_stops 3": ag.algorithms.ringmaster_stops(3),
    "naive_optimal 2": ag.algorithms.naive_optimal(SPEEDS, 1.0),
    "rescaled known": ag.algorithms.rescaled(SPEEDS),
    "generalized_async p": ag.algorithms.generalized_async(
        [0.1, 0.3, 0.2, 0.15, 0.25], concurrency=8
    ),
    "rennala_restart 2": ag.algorithms.rennala_restart(2),
    "rennala_restart 17": ag.algorithms.rennala_restart(17),
    "malenia 12": ag.algorithms.malenia(12),
    "malenia ignoring": ag.algorithms.malenia(8, restart=False),
    "mindflayer limits": ag.algorithms.mindflayer(
        trials=(3, 1, 2, 1, 2), limit=(2.0, 9.0, 5.0, 5.0, 5.0), success=0.8
    ),
    "vecna limits": ag.algorithms.vecna(trials=2, limit=4.0, success=0.7),
    "ata 13": ag.algorithms.ata(13, alpha=1e-3),
    "uta 7": ag.algorithms.uta(7),
    "ofta 3": ag.algorithms.ofta(3, SPEEDS),
    "throttle clipped": ag.algorithms.throttle(3.0, radius=0.5),
    "ca2fl 3": ag.algorithms.ca2fl(3, concurrency=9),
    "clipped rennala": ag.algorithms.clipped(0.3, ag.algorithms.rennala_restart(4)),
    "ormo 0.5": ag.algorithms.ormo(0.5, ag.algorithms.random_async()),
    "delayed_nesterov 3": ag.algorithms.delayed_nesterov(0.8, 0.2, 3),
    "constant_delay shuffled": ag.algorithms.constant_delay(
        7, ag.algorithms.shuffled_async()
    ),
    "stale_synchronous 0": ag.algorithms.stale_synchronous(0),
    "quorum of all": ag.algorithms.quorum("all"),
    "deadline of 3": ag.algorithms.deadline(3.0),
    "same, several each": ag.Algorithm(
        name="several", start=(0, 0, 4, 2), gradients_per_step=3
    ),
}
EVERY = {name: ag.algorithms.get(name) for name in METHODS} | VARIANTS
DECLARED = (ag.Algorithm, ag.RoundAlgorithm)  # the compiled loops know these


def rule_name(algorithm):
    """The rule of a method's server, if it has one."""
    found = [r.name for r in algorithm.transforms if isinstance(r, ServerRule)]
    return found[0] if found else None


# With one of the servers' rules, each of which is another program.
FEW = {
    label: algorithm
    for label, algorithm in EVERY.items()
    if rule_name(algorithm) in (None, "gap_aware_step")
}


def engine_of(algorithm):
    """The other event loop, where there is one."""
    known = isinstance(algorithm, DECLARED)
    return "compiled" if known else "auto"


@functools.cache
def clock_of(name):
    return ag.compute_times.example(name, N)


def simulated(algorithm, clock, **options):
    """Returns the schedule, or why there is none for that clock."""
    try:
        return ag.simulate(algorithm, clock, **options)
    except RuntimeError as error:
        if "never end" in str(error):
            assert clock.may_hang
            return "never ends"
        # A time limit that is too short for the clock.
        assert algorithm.limit is not None and "go on for ever" in str(error)
        return "limit"


@pytest.mark.parametrize("clock", CLOCKS)
def test_both_loops_agree_and_the_schedule_is_valid(clock):
    times = clock_of(clock)
    if times.num_workers != N:
        methods = {name: EVERY[name] for name in METHODS}
    else:
        methods = EVERY
    for (label, algorithm), seed in itertools.product(methods.items(), (1, 2**70)):
        options = dict(num_gradients=A, seed=seed)
        one = simulated(algorithm, times, engine=engine_of(algorithm), **options)
        two = simulated(algorithm, times, engine="python", **options)
        assert one == two, label
        if isinstance(one, str):
            continue
        one.validate()
        assert one.name == two.name == algorithm.name
        assert one.num_workers == times.num_workers
        assert one.concurrency_max >= len(one.in_flight_worker)
        assert one.computed[-1] == A + one.discarded
        # A step between two arrivals makes an iterate that nobody has read yet.
        spare = getattr(algorithm, "steps_late", False)
        assert ag.plan_slots(one).num_slots <= one.concurrency_max + spare, label


def test_no_kernel_was_compiled_twice():
    for name, clock in itertools.product(METHODS, ("fixed", "tick", "universal")):
        ag.simulate(name, clock_of(clock), num_gradients=3)
    assert len(compiled._advance.dispatcher.signatures) == 1
    assert len(compiled_rounds._advance.dispatcher.signatures) == 1


class WholeSeconds:
    """A user's sampler with many ties and zeros, in vectors."""

    def __init__(self, num_workers):
        self.num_workers = num_workers

    def sample(self, worker, rng, size):
        return np.floor(rng.exponential(worker + 1.0, size))


ROUNDS = [
    name for name, method in EVERY.items() if isinstance(method, ag.RoundAlgorithm)
]


@pytest.mark.parametrize("name", ROUNDS)
def test_rounds_agree_over_many_blocks_of_a_sampler(name):
    times = WholeSeconds(N)
    options = dict(num_gradients=4_000, seed=5)
    one = ag.simulate(EVERY[name], times, engine="compiled", **options)
    two = ag.simulate(EVERY[name], times, engine="python", **options)
    assert one == two
    assert np.bincount(one.worker).max() > 500  # several blocks


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("name", METHODS)
def test_any_number_of_workers(name, n):
    times = WholeSeconds(n)
    for seed in range(3):
        options = dict(num_gradients=100, seed=seed)
        one = ag.simulate(name, times, engine=engine_of(EVERY[name]), **options)
        assert one == ag.simulate(name, times, engine="python", **options)
        one.validate()


@pytest.mark.parametrize("clock", [name for name in CLOCKS if name != "koloskova_1000"])
def test_jobs_are_conserved(clock):
    """Delays + ages in flight = (m - 1) T, where m jobs are always in flight."""
    for name in METHODS:
        algorithm = EVERY[name]
        if not isinstance(algorithm, ag.Algorithm):
            continue
        schedule = simulated(algorithm, clock_of(clock), num_gradients=A)
        if isinstance(schedule, str) or not schedule.step.all() or schedule.discarded:
            continue
        ages = A - schedule.in_flight_read
        m = schedule.concurrency_max
        assert schedule.delay.sum() + ages.sum() == (m - 1) * A, name
        assert len(schedule.in_flight_worker) == m


@pytest.fixture(scope="module")
def problem():
    return ag.quadratic(N, D, heterogeneity=2.0, seed=3)


# One of each kind for the trajectories: a schedule is all that the engine sees.
SWEPT = ["fixed", "pareto", "log_cauchy", "tick", "two_speed", "outages"]


def sweep(problem, **changes):
    options = dict(
        algorithms=EVERY,
        compute_times={name: clock_of(name) for name in SWEPT},
        step_sizes=[0.05, 1e200],
        num_gradients=A,
        record_every=A,
        precision="float64",
    )
    return ag.sweep(problem, **(options | changes))


@pytest.fixture(scope="module")
def result(problem):
    before = engine.advance._cache_size()
    swept = sweep(problem)
    # With and without a gradient table, and for each rule of a server; no method, no
    # number and no clock adds to that.
    rules = {rule_name(algorithm) for algorithm in EVERY.values()} - {None}
    assert engine.advance._cache_size() <= before + 2 + len(rules)
    return swept


@pytest.mark.parametrize("clock", SWEPT)
def test_trajectories_equal_the_full_history(problem, result, clock):
    """Beside a lane that diverges: it disturbs nobody."""
    for label, algorithm in EVERY.items():
        schedule = ag.simulate(algorithm, clock_of(clock), num_gradients=A)
        cell = result.sel(algorithm=label, compute_times=clock, seed=0)
        assert str(cell["schedule_hash"].values) == schedule.content_hash
        x = naive_trajectory(
            schedule,
            quadratic_gradient(problem),
            0.05,
            problem.init_params(),
            loss=quadratic_loss(problem),
        )[-1]
        full = problem.mean_hessian @ x - problem.mean_linear
        got = cell["grad_norm"].sel(step_size=0.05).values[-1]
        np.testing.assert_allclose(got, np.linalg.norm(full), rtol=1e-10, err_msg=label)
        assert cell["status"].sel(step_size=0.05) == 0
        if schedule.clip is None and schedule.server_rule is None:
            assert cell["status"].sel(step_size=1e200) == 1, label


def test_alone_as_in_the_sweep(problem, result):
    """A lane is the same without the others, for one method of each program."""
    for label in ("throttle clipped", "ringleader", "picky", "vecna limits"):
        schedule = ag.simulate(EVERY[label], clock_of("pareto"), num_gradients=A)
        alone = ag.run(
            problem, schedule, step_size=0.05, record_every=A, precision="float64"
        )
        cell = result.sel(algorithm=label, compute_times="pareto", seed=0)
        np.testing.assert_allclose(
            cell["loss"].sel(step_size=0.05), alone.metrics["loss"], rtol=1e-11
        )


def test_resuming_gives_the_same_bits(problem, tmp_path, monkeypatch):
    limits = cost.LIMITS._replace(segment_seconds=1e-9)
    monkeypatch.setattr(cost, "LIMITS", limits)
    monkeypatch.setattr(execute, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(execute, "_CHECKPOINT_SHARE", 1.0)
    grid = dict(
        algorithms=FEW,
        compute_times={"pareto": clock_of("pareto")},
        step_sizes=[0.05],
        record_every=6,
    )
    whole = sweep(problem, **grid)

    def interrupt(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(problem, directory=tmp_path, progress=interrupt, **grid)
    resumed = sweep(problem, directory=tmp_path, **grid)
    xr.testing.assert_identical(resumed.drop_attrs(), whole.drop_attrs())


@pytest.mark.parametrize("kind", ["momentum", "adam"])
def test_any_server_on_top_of_each(problem, kind):
    """Momentum and Adam through optax, against both in their own words."""
    grid = dict(compute_times={"gamma": clock_of("gamma")}, step_sizes=[0.02])
    servers = {
        "momentum": lambda step_size: optax.sgd(step_size, momentum=0.5),
        "adam": lambda step_size: optax.adam(step_size),
    }
    tested = EVERY if kind == "adam" else FEW
    result = sweep(problem, server=servers[kind], algorithms=tested, **grid)
    for label, algorithm in tested.items():
        schedule = ag.simulate(algorithm, clock_of("gamma"), num_gradients=A)
        x = naive_trajectory(
            schedule,
            quadratic_gradient(problem),
            0.02,
            problem.init_params(),
            momentum=0.5,
            server=Adam() if kind == "adam" else None,
            loss=quadratic_loss(problem),
        )[-1]
        full = problem.mean_hessian @ x - problem.mean_linear
        got = result["grad_norm"].sel(algorithm=label).squeeze().values[-1]
        np.testing.assert_allclose(got, np.linalg.norm(full), rtol=1e-10, err_msg=label)


def test_schedules_survive_a_file(tmp_path):
    for name in ("ringleader", "ca2fl", "throttle clipped", "picky"):
        schedule = ag.simulate(EVERY[name], clock_of("gamma"), num_gradients=A)
        schedule.save(tmp_path / "s.npz")
        assert ag.Schedule.load(tmp_path / "s.npz") == schedule


def test_configs_tell_algorithms_apart():
    configs = {label: str(method.config()) for label, method in EVERY.items()}
    assert len(set(configs.values())) == len(configs)
    assert dataclasses.replace(EVERY["picky"]).config() == EVERY["picky"].config()
