"""What a run does with JAX's settings: fixed, followed in all threads, or recorded."""

import contextlib
import re
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asgrad_jax as ag
from asgrad_jax._util import settings
from asgrad_jax.experiments import execute
from asgrad_jax.theory.noise import monte_carlo_noise
from asgrad_jax.theory.replay import replay

ROOT = Path(__file__).parents[2]
TIMES = ag.compute_times.exponential([1.0, 2.0, 3.0])
SCHEDULE = ag.simulate("pure_async", TIMES, num_gradients=12)
GRID = dict(
    algorithms="shuffled_async",
    compute_times=TIMES,
    num_gradients=24,
    record_every=8,
)


def problems():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 6)), np.sign(rng.normal(size=60))
    logistic = ag.logistic_regression(rows, labels, 3, batch_size=5)

    def loss(params, batch):
        return jnp.mean((batch[0] @ params - batch[1]) ** 2)

    return {
        "mini-batches": logistic,
        "noise": ag.quadratic(3, 4, noise=0.1, seed=0),
        "local steps": ag.local_steps(logistic, 2, 0.1),
        "own loss": ag.from_loss(loss, np.zeros(6), (rows, labels), 3, batch_size=4),
    }


PROBLEMS = problems()


def noisy_server(step_size):
    return optax.noisy_sgd(step_size, eta=0.1, gamma=0.5, key=0)


def swept(problem):
    return ag.sweep(problem, step_sizes=[0.1, 0.2], **GRID)["grad_norm"].values


def numbers():
    """Numbers of everything that draws something, as one dictionary of arrays."""
    found = {name: swept(problem) for name, problem in PROBLEMS.items()}
    noisy = ag.run(PROBLEMS["noise"], SCHEDULE, step_size=0.1, server=noisy_server)
    found["server"] = noisy.params
    start = np.zeros(4)
    found["replay"] = replay(PROBLEMS["noise"], SCHEDULE, 0.01, start)
    found["theory's draws"] = monte_carlo_noise(PROBLEMS["mini-batches"], draws=4)[0]
    return found


def mesh(**axes):
    return jax.make_mesh((1,), ("x",), **axes)


FIXED = {
    "random bits": lambda: jax.threefry_partitionable(False),
    "kind of keys": lambda: jax.default_prng_impl("rbg"),
    "64 bits": lambda: jax.enable_x64(True),
    "types": lambda: jax.numpy_dtype_promotion("strict"),
    "ranks": lambda: jax.numpy_rank_promotion("raise"),
    "transfers": lambda: jax.transfer_guard("disallow_explicit"),
    "mesh": lambda: jax.set_mesh(mesh()),
    "abstract mesh": lambda: jax.sharding.use_abstract_mesh(mesh().abstract_mesh),
}
FOLLOWED = {
    "leaks": lambda: jax.checking_leaks(),
    "checks": lambda: jax.enable_checks(True),
    "reuse of keys": lambda: jax.debug_key_reuse(True),
    "keys of old": lambda: jax.legacy_prng_key("error"),
    "nan": lambda: jax.debug_nans(True),
    "inf": lambda: jax.debug_infs(True),
    "device": lambda: jax.default_device(jax.devices()[0]),
}


@pytest.fixture(scope="module")
def usual():
    return numbers()


@pytest.mark.parametrize("setting", FIXED)
def test_a_setting_that_is_fixed_changes_no_bit(setting, usual):
    # JAX keeps what it traced under each setting apart: a setting that came through
    # would be traced anew here.
    with FIXED[setting]():
        found = numbers()
    for name, values in usual.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("setting", FOLLOWED)
def test_a_setting_that_is_only_followed_changes_no_bit(setting, usual):
    jax.clear_caches()  # all is traced anew, under the setting
    with FOLLOWED[setting]():
        found = swept(PROBLEMS["noise"])
    np.testing.assert_array_equal(found, usual["noise"])


def test_all_settings_at_once_change_no_bit_in_a_thread_of_the_users(usual):
    found = {}

    def work():
        with contextlib.ExitStack() as stack:
            for setting in FIXED.values():
                stack.enter_context(setting())
            found.update(numbers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    for name, values in usual.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_a_folder_goes_on_under_another_setting_that_is_fixed(tmp_path):
    problem = PROBLEMS["mini-batches"]
    try:
        jax.config.update("jax_threefry_partitionable", False)
        ag.sweep(problem, step_sizes=[0.5], directory=tmp_path, **GRID)
    finally:
        jax.config.update("jax_threefry_partitionable", True)
    result = ag.sweep(problem, step_sizes=[0.5, 0.2], directory=tmp_path, **GRID)
    whole = ag.sweep(problem, step_sizes=[0.5], **GRID)
    np.testing.assert_array_equal(
        result["grad_norm"].sel(step_size=[0.5]), whole["grad_norm"]
    )
    assert "jax" not in ag.sweep_config(result)


def test_mini_batches_asked_for_one_by_one_are_those_of_a_run():
    key = jax.random.key(0)
    for problem in (PROBLEMS["mini-batches"], PROBLEMS["noise"]):
        usual = problem.sample(1, 2, key)
        with jax.threefry_partitionable(False):
            other = problem.sample(1, 2, key)
        jax.tree.map(np.testing.assert_array_equal, usual, other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_default_matmul_precision", "bfloat16"),
        ("jax_debug_nans", True),
        ("jax_enable_custom_prng", True),
        ("jax_debug_key_reuse", True),
        ("jax_softmax_custom_jvp", True),
        ("jax_default_device", jax.devices()[0]),
    ],
)
def test_a_setting_that_is_followed_is_so_in_every_thread(name, value, in_threads):
    met = in_threads(lambda: getattr(jax.config, name))
    with settings._CONTEXTS[name](value):
        ag.run(PROBLEMS["noise"], SCHEDULE, step_size=0.1)
    assert met == [value]


def test_context_variables_are_followed_in_every_thread(in_threads):
    met = in_threads(lambda: np.geterr()["under"])
    with np.errstate(under="raise"):
        ag.run(PROBLEMS["noise"], SCHEDULE, step_size=0.1)
    assert met == ["raise"]


@pytest.fixture
def in_threads(monkeypatch):
    """Takes a question; the list that it returns gets an answer from every call."""

    def ask(question):
        answers, real = [], execute.run_batch

        def asking(*arguments):
            assert threading.current_thread() is not threading.main_thread()
            answers.append(question())
            return real(*arguments)

        monkeypatch.setattr(execute, "run_batch", asking)
        return answers

    return ask


# JAX looks at what a call ends with, where an early infinity has become NaN.
@pytest.mark.parametrize(
    ("debug", "step_size"),
    [(jax.debug_nans, 1e9), (jax.debug_nans, 1e30), (jax.debug_infs, 1e9)],
)
def test_a_run_that_leaves_the_finite_range_raises_where_jax_is_told_to(
    debug, step_size
):
    schedule = ag.simulate("pure_async", TIMES, num_gradients=200)
    problem = PROBLEMS["noise"]
    with debug(True), pytest.raises(FloatingPointError):
        ag.run(problem, schedule, step_size=step_size)
    with debug(True), pytest.raises(FloatingPointError):
        ag.sweep(problem, step_sizes=[0.1, step_size], **{**GRID, "num_gradients": 200})
    assert ag.run(problem, schedule, step_size=step_size).status == "nonfinite"


def test_disable_jit_agrees_to_rounding_and_is_recorded():
    grid = {**GRID, "num_gradients": 4, "algorithms": "pure_async", "step_sizes": [0.1]}
    problem = PROBLEMS["noise"]
    usual = ag.sweep(problem, **grid)
    with jax.disable_jit():
        result = ag.sweep(problem, **grid)
    np.testing.assert_allclose(result["grad_norm"], usual["grad_norm"], rtol=1e-5)
    assert ag.sweep_config(result)["jax"] == {"jax_disable_jit": True}


def test_a_setting_that_changes_numbers_is_recorded_and_guards_the_folder(tmp_path):
    problem, grid = (
        PROBLEMS["noise"],
        ag.Grid(PROBLEMS["noise"], step_sizes=[0.1], **GRID),
    )
    assert "jax" not in grid.config
    ag.sweep(grid, directory=tmp_path)
    with jax.default_matmul_precision("bfloat16"):
        found = ag.sweep_config(ag.sweep(grid))
        with pytest.raises(ValueError, match=r"jax: there None, .*'bfloat16'"):
            ag.sweep(problem, step_sizes=[0.2], directory=tmp_path, **GRID)
    assert found["jax"] == {"jax_default_matmul_precision": "bfloat16"}
    with jax.default_matmul_precision("highest"):  # what a run computes in anyway
        ag.sweep(problem, step_sizes=[0.2], directory=tmp_path, **GRID)


def test_every_recorded_setting_is_recorded():
    others = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v + 0.5}
    for name, plain in settings.RECORDED.items():
        value = jax.config.values.get(name)
        if type(value) not in others or name not in settings._CONTEXTS:
            continue
        with settings._CONTEXTS[name](others[type(value)](value)):
            assert name in settings.recorded(), name
        assert value in plain, name


def test_a_context_that_other_threads_cannot_be_given_is_refused():
    context = jax.make_user_context(0)
    with context(1), pytest.raises(RuntimeError, match="must not be inside a JAX cont"):
        ag.run(PROBLEMS["noise"], SCHEDULE, step_size=0.1)


def test_every_setting_that_a_context_can_change_is_on_the_page():
    page = (ROOT / "docs" / "settings.md").read_text()
    named = set(re.findall(r"`(\w+)`", page))
    # Of no concern to a run: other programs, and how arrays over a mesh are typed.
    elsewhere = {
        "jax2tf_associative_scan_reductions",
        "jax_remove_size_one_mesh_axis_from_type",
        "jax_auto_pcast",
    }
    guards = {name for name in settings._CONTEXTS if "transfer_guard" in name}
    missing = set(settings._CONTEXTS) - named - elsewhere - guards
    assert not missing
    stars = tuple(re.findall(r"`(\w+)\*`", page))
    assert all(n in named or n.startswith(stars) for n in settings.RECORDED)


def test_one_place_asks_for_settings_and_devices():
    """Elsewhere they would be those of a thread, or of devices that are not in use."""
    words = r"jax\.(enable_x64|default_backend|local_devices|devices)\("
    for path in (ROOT / "src").rglob("*.py"):
        if path.name != "settings.py":
            lines = path.read_text().splitlines()
            assert not [x for x in lines if re.search(words, x) and ">>>" not in x], (
                path
            )
