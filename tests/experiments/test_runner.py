"""A runner gives the numbers of `run`, whatever JAX makes of it."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgrad_jax as ag
from asgrad_jax.experiments import runner as module

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(60, 4))
LABELS = np.where(RNG.random(60) < 0.5, -1.0, 1.0)
TIMES = ag.compute_times.fixed([1.0, 1.7, 2.9])
ONE = np.array([0.3, -0.2])


def robust(params, rows):
    features, target = rows
    error = jnp.tanh(features @ params["in"]) @ params["out"] - target
    return jnp.mean(jnp.log1p(error**2))


def network():
    start = {"in": RNG.normal(size=(4, 3)), "out": RNG.normal(size=3)}
    return ag.from_loss(robust, start, (ROWS, LABELS), 3, batch_size=5)


PROBLEMS = {
    "quadratic": ag.quadratic(3, 4, seed=0, noise=0.3),
    "logistic": ag.logistic_regression(ROWS, LABELS, 3, batch_size=5, strength=0.1),
    "network": network(),
}
# Of every kind: steps at every arrival, waiting, a gradient table, turned down.
ALGORITHMS = {
    "pure": ag.algorithms.pure_async(),
    "waiting": ag.algorithms.pure_waiting(2),
    "table": ag.algorithms.ringleader(),
    "picky": ag.algorithms.get("picky"),
}


def schedule_of(name, num_gradients=40):
    return ag.simulate(ALGORITHMS[name], TIMES, num_gradients=num_gradients, seed=3)


def last(result):
    return result.metrics["loss"][-1]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_derivatives_are_central_differences(problem, algorithm):
    with jax.enable_x64(True):
        run = ag.runner(
            PROBLEMS[problem],
            schedule_of(algorithm),
            record_every=9,
            precision="float64",
            seed=1,
        )
        at, h = 0.05, 1e-3
        steps = at + h * np.array([-2.0, -1.0, 1.0, 2.0])
        f = np.asarray(last(run(steps)))
        expected = (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * h)
        found = jax.jit(jax.grad(lambda g: last(run(g))))(at)
    assert abs(expected) > 1e-3
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("algorithm", ["waiting", "picky"])
def test_it_is_the_program_of_a_run(algorithm):
    problem, schedule = PROBLEMS["network"], schedule_of(algorithm)
    options = {"record_every": 9, "seed": 1}
    expected = ag.run(problem, schedule, step_size=0.05, **options)
    run = ag.runner(problem, schedule, **options)
    found = run(0.05)
    assert found.metrics.keys() == expected.metrics.keys()
    for name, values in expected.metrics.items():
        np.testing.assert_allclose(found.metrics[name], values, rtol=1e-5)
    assert found.finite.all() and found.state is None
    np.testing.assert_allclose(found.params["in"], expected.params["in"], rtol=1e-5)
    np.testing.assert_array_equal(run.gradients, expected.gradients)
    np.testing.assert_array_equal(run.server_steps, expected.server_steps)
    np.testing.assert_array_equal(run.time, expected.time)


@pytest.mark.parametrize("width", [1, 4])
def test_derivatives_of_start_weights_and_hyperparameters(width):
    problem, schedule = PROBLEMS["logistic"], schedule_of("pure")
    with jax.enable_x64(True):
        run = ag.runner(
            problem,
            schedule,
            record_every=100,
            precision="float64",
            server=lambda step_size, momentum: optax.sgd(step_size, momentum),
            hyperparameters={"momentum": 0.5},
            width=width,
        )

        def loss(start, weights, momentum):
            other = {"momentum": momentum}
            return last(run(0.1, start, weights=weights, hyperparameters=other))

        given = jnp.ones(4), jnp.asarray(schedule.weight), 0.5
        along = jnp.array([1.0, 2, 0, -1]), jnp.cos(jnp.arange(40.0)), 1.0
        backward = jax.jit(jax.grad(loss, (0, 1, 2)))(*given)
        forward = jax.jit(lambda *given: jax.jvp(loss, given, along)[1])(*given)
        parts = [jnp.vdot(g, d) for g, d in zip(backward, along, strict=True)]
        assert all(abs(part) > 1e-6 for part in parts)
        assert float(sum(parts)) == pytest.approx(float(forward), rel=1e-10)

        h = 1e-4
        after = jax.tree.map(lambda x, d: x + h * d, given, along)
        before = jax.tree.map(lambda x, d: x - h * d, given, along)
        expected = float(loss(*after) - loss(*before)) / (2 * h)
    assert float(forward) == pytest.approx(expected, rel=1e-6)


def test_a_weight_of_zero_has_a_derivative():
    dropped = np.where(np.arange(40) == 7, 0.0, 1.0)
    schedule = dataclasses.replace(schedule_of("pure"), weight=dropped)
    run = ag.runner(PROBLEMS["quadratic"], schedule, record_every=100)

    def loss(weights):
        return last(run(0.1, weights=weights))

    slope = jax.jit(jax.grad(loss))(jnp.asarray(dropped))
    f = [loss(dropped + h * (dropped == 0)) for h in (-0.1, 0.1)]
    assert float(slope[7]) == pytest.approx(float((f[1] - f[0]) / 0.2), rel=0.01)


def test_vmap_over_step_sizes_and_starts_makes_lanes():
    run = ag.runner(PROBLEMS["logistic"], schedule_of("waiting"), record_every=7)
    steps = jnp.array([0.1, 0.2, 0.4])
    starts = jnp.array([[0.0] * 4, [1.0] * 4])
    mapped = jax.jit(jax.vmap(jax.vmap(run, (0, None)), (None, 0)))
    found = mapped(steps, starts)
    assert found.metrics["loss"].shape == (2, 3, 7)
    for i, start in enumerate(starts):
        lanes = run(steps, start)
        expected = np.asarray(lanes.metrics["loss"]).T
        np.testing.assert_allclose(found.metrics["loss"][i], expected, rtol=1e-5)
        np.testing.assert_allclose(found.params[i], lanes.params, rtol=1e-4)
        assert found.finite[i].shape == (3, 7) and found.finite[i].all()
    # Six lanes of one program: its products have six columns.
    text = str(jax.make_jaxpr(mapped)(steps, starts))
    slots = run._plan(1).static.slots + 1
    assert f"f32[{slots},6,4]" in text and f"[2,3,{slots},1,4]" not in text


def test_keys_are_noise_of_their_own():
    problem, schedule = PROBLEMS["logistic"], schedule_of("pure")
    run = ag.runner(problem, schedule, record_every=40, seed=2)
    same = ag.run(problem, schedule, step_size=0.3, record_every=40, seed=5)
    np.testing.assert_array_equal(run(0.3, key=5).params, same.params)
    assert not np.array_equal(run(0.3).params, same.params)
    keys = jax.random.split(jax.random.key(0), 3)
    mapped = jax.vmap(lambda key: run(0.3, key=key).params)(keys)
    alone = [run(0.3, key=jax.random.key_data(key)).params for key in keys]
    np.testing.assert_allclose(mapped, alone, rtol=1e-5)
    assert len({float(x[0]) for x in alone}) == 3


def test_a_loop_around_it_learns_and_values_compile_nothing_again():
    run = ag.runner(PROBLEMS["quadratic"], schedule_of("waiting"), record_every=100)

    @jax.jit
    def tuned(start):
        def better(log_step, _):
            loss, slope = jax.value_and_grad(lambda s: last(run(jnp.exp(s))))(log_step)
            return log_step - 0.02 * slope, loss

        return jax.lax.scan(better, start, None, length=8)

    _, losses = tuned(-4.0)
    assert losses[-1] < 0.9 * losses[0]
    run(0.1)
    before = module._run._cache_size()
    run(0.2), run(np.float32(0.3), np.ones(4)), run(0.1, key=9)
    # Numbers, keys and starts are arguments.
    assert module._run._cache_size() == before


def test_single_precision_where_jax_has_64_bits():
    run = ag.runner(PROBLEMS["logistic"], schedule_of("pure"), record_every=40)
    plain = jax.grad(lambda g: last(run(g)))(0.1)
    with jax.enable_x64(True):
        result = run(0.1)
        assert {x.dtype.name for x in jax.tree.leaves(result)} == {"float32", "bool"}
        slope = jax.grad(lambda g: last(run(g)))(0.1)
    assert float(slope) == pytest.approx(float(plain), rel=1e-5)


def test_memory_of_the_reverse_pass_grows_like_a_root():
    problem = ag.quadratic(5, 50, seed=0)

    def bytes_of(num_gradients, every):
        schedule = schedule_of_five(num_gradients)
        run = ag.runner(problem, schedule, record_every=every)
        slope = jax.jit(jax.grad(lambda g: last(run(g))))
        return slope.lower(0.1).compile().memory_analysis().temp_size_in_bytes

    for every in (10, 10**6):
        assert bytes_of(8000, every) < 3 * bytes_of(1000, every)  # root of 8: 2.83


def schedule_of_five(num_gradients):
    times = ag.compute_times.fixed([1.0, 1.3, 1.9, 2.4, 3.1])
    return ag.simulate("pure_async", times, num_gradients=num_gradients)


def test_a_mesh_of_devices_shares_the_lanes():
    code = """
import jax, jax.numpy as jnp, numpy as np
import asgrad_jax as ag
from jax.sharding import AxisType, PartitionSpec as P
problem = ag.logistic_regression(np.eye(6), [1, -1] * 3, 3, batch_size=1)
times = ag.compute_times.fixed([1.0, 1.7, 2.9])
mesh = jax.make_mesh((2,), ("i",), (AxisType.Auto,))
steps = jnp.array([0.1, 0.2, 0.3, 0.4])
for name, width in (("ringleader", 1), ("rennala", 4)):
    schedule = ag.simulate(name, times, num_gradients=30)
    run = ag.runner(problem, schedule, record_every=10, width=width)
    loss = lambda g: run(g).metrics["loss"]
    split = jax.shard_map(loss, mesh=mesh, in_specs=P("i"), out_specs=P(None, "i"))
    np.testing.assert_allclose(jax.jit(split)(steps), loss(steps), rtol=1e-6)
    slopes = [jax.grad(lambda g: f(g)[-1].sum())(steps) for f in (split, loss)]
    np.testing.assert_allclose(*slopes, rtol=1e-4)
"""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | flags)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run([[0.1]]), r"step_size must be a number or an array \[S\]"),
        (lambda run: run([]), "step_size must have at least one number"),
        (
            lambda run: run(0.1, np.ones(3)),
            r"params must have shape \(4,\), got \(3,\)",
        ),
        (lambda run: run(0.1, [np.ones(4)]), "params must be a pytree"),
        (lambda run: run(0.1, weights=ONE), "weights must have one number for each of"),
        (
            lambda run: run(0.1, hyperparameters={"momentum": 1}),
            "hyperparameters must be among those given to ag.runner",
        ),
        (lambda run: run(0.1, key=-1), "key must be"),
        (
            lambda run: ag.runner(PROBLEMS["quadratic"], schedule_of("table"))(
                0.1, weights=np.ones(40)
            ),
            "weights must be None for a schedule with a gradient table",
        ),
    ],
)
def test_wrong_calls_say_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call(ag.runner(PROBLEMS["quadratic"], schedule_of("pure")))


def test_what_a_runner_cannot_take():
    quadratic, schedule = PROBLEMS["quadratic"], schedule_of("pure")
    run = ag.runner(quadratic, schedule)
    with pytest.raises(TypeError, match="key must be a JAX key of the kind threefry"):
        run(0.1, key=jax.random.key(0, impl="rbg"))
    with pytest.raises(ValueError, match="precision='float64' must be called with"):
        ag.runner(quadratic, schedule, precision="float64")(0.1)
    server = {"server": lambda step_size, a: optax.sgd(step_size * a[0])}
    run = ag.runner(quadratic, schedule, hyperparameters={"a": ONE}, **server)
    assert run(0.1).params.shape == (4,)
    assert run([0.1, 0.2], hyperparameters={"a": [ONE, ONE]}).params.shape == (2, 4)
    with pytest.raises(ValueError, match=r"a must have the shape \(2,\) that ag.run"):
        run([0.1, 0.2], hyperparameters={"a": np.ones(3)})
    with pytest.raises(ValueError, match="the schedule"):
        ag.runner(ag.quadratic(2, 3), schedule)
