"""The one module of kernels that others import: versions, the switch, both ways."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numba import cfunc, types

import asgrad_jax as ag
from asgrad_jax import kernels
from asgrad_jax.kernels import _simd

RNG = np.random.default_rng(0)
ROWS, LABELS = RNG.normal(size=(40, 6)), RNG.integers(0, 2, 40)
TIMES = ag.compute_times.exponential(range(1, 5))


def register(name, version):
    def handler(frame):
        call = _simd.as_int64s(frame)
        _simd.answer_metadata(call, *version)
        return 0

    compiled = cfunc(types.int64(types.int64))(handler)
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(compiled.address))
    return compiled  # XLA holds the bare address


def call(name):
    return jax.ffi.ffi_call(name, jax.ShapeDtypeStruct((2,), jnp.float32))(jnp.ones(2))


def test_xla_refuses_a_kernel_of_another_interface():
    """One that says its own version is served; older and newer ones are named."""
    kept = register("asgrad_test_own", _simd.API_VERSION)
    jax.block_until_ready(call("asgrad_test_own"))
    for version in [(0, 0), (1, 0)]:
        name = f"asgrad_test_{version[0]}_{version[1]}"
        with pytest.raises(Exception, match=r"API version .* is incompatible"):
            kept = register(name, version), kept
            call(name)


@pytest.mark.parametrize("storage", ["dense", "sparse"])
@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("width", [1, 4])
def test_plain_jax_gives_the_same(storage, batch_size, width):
    problem = ag.logistic_regression(
        ROWS, LABELS, 4, storage=storage, batch_size=batch_size
    )
    schedule = ag.simulate("shuffled_async", TIMES, num_gradients=60)
    asked = dict(step_size=[0.1, 0.2, 0.3], precision="float64", width=width)
    ours, plain = (
        ag.run(problem, schedule, kernels=on, **asked) for on in (True, False)
    )
    np.testing.assert_allclose(ours.params, plain.params, rtol=1e-12, atol=1e-12)
    for name, values in ours.metrics.items():
        np.testing.assert_allclose(values, plain.metrics[name], rtol=1e-12)


def programs(caplog):
    lines = [record.getMessage() for record in caplog.records]
    return [line for line in lines if "asgrad_" in line]


@pytest.mark.parametrize("given", ["argument", "environment", "no compiler"])
def test_the_switch_leaves_no_kernel_in_the_program(given, monkeypatch):
    called = []
    for name in ("csr_logistic", "dense_logistic", "take_rows", "fold_wave"):
        monkeypatch.setattr(kernels, name, lambda *a, **k: called.append(1))
    if given == "environment":
        monkeypatch.setenv(kernels.VARIABLE, "0")
    elif given == "no compiler":
        monkeypatch.setattr(kernels, "switched_off", lambda: True)
    for storage in ("dense", "sparse"):
        problem = ag.logistic_regression(ROWS, LABELS, 4, storage=storage)
        schedule = ag.simulate("pure_async", TIMES, num_gradients=7)
        asked = {} if given != "argument" else {"kernels": False}
        ag.run(problem, schedule, step_size=[0.1, 0.2, 0.3], width=2, **asked)
    assert not called


def test_a_switch_that_is_neither_on_nor_off(monkeypatch):
    monkeypatch.setenv(kernels.VARIABLE, "off")
    with pytest.raises(
        ValueError, match=r"ASGRAD_KERNELS must be 0 .* or 1, got 'off'"
    ):
        kernels.switched_on()


def test_numba_comes_with_the_first_kernel():
    code = """
import sys
from asgrad_jax import kernels
kernels.cores_of_call(), kernels.use_dense(4, 30, 1)
kernels.dense_seconds(4, 30, (3, 4, 5), batch_rows=False, cores=1)
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
