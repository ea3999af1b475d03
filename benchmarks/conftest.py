"""The fixtures that every benchmark reports through.

Nothing is asserted: a benchmark shows, a test decides. What is found goes into the
`extra_info` of pytest-benchmark's JSON, where `report.py` finds it, and on the screen.
"""

import inspect
import time

import jax
import pytest

from asgrad_jax._util import provenance
from benchmarks.timing import ON_CPU, QUICK, interleave, sized

STARTED = time.monotonic()


def pytest_benchmark_update_machine_info(config, machine_info):
    """Adds what shapes a figure to the JSON."""
    del config
    machine_info["asgrad"] = {
        "backend": jax.default_backend(),
        "device": provenance.device(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "quick": QUICK,
    }


@pytest.fixture(autouse=True)
def in_time():
    """Skips what an accelerator's eight minutes have no room for."""
    if not ON_CPU and time.monotonic() - STARTED > 60 * 7:
        pytest.skip("the seven minutes of an accelerator are over")


@pytest.fixture(autouse=True)
def exact_products():
    """Gives the baselines the engine's precision: a GPU's default is TF32."""
    jax.config.update("jax_default_matmul_precision", "float32")
    yield
    jax.config.update("jax_default_matmul_precision", None)


@pytest.fixture
def say(benchmark, request, capsys):
    """Keeps facts in the JSON and prints lines: say({name: fact}, line, ...)."""
    about = inspect.cleandoc(request.function.__doc__ or "").split("\n\n")[0]
    benchmark.extra_info["about"] = " ".join(about.split())
    section = inspect.cleandoc(request.module.__doc__).split("\n\n")[0]
    benchmark.extra_info["section"] = " ".join(section.split())
    with capsys.disabled():
        print(f"\n{benchmark.name}")

    def keep(facts, *lines):
        benchmark.extra_info.update(facts)
        with capsys.disabled():
            for line in lines:
                print(f"  {line}", flush=True)

    return keep


@pytest.fixture
def versus(benchmark, say):
    """Times the first entry against the others and reports rates and ratios.

    Called with {name: (function, units of work)}; the first is ours. `targets` maps
    other names to the ratio of rates that the project promises.
    """

    def run(cases, *, targets=None, rounds=7, unit="gradients/s"):
        functions = {name: function for name, (function, _) in cases.items()}
        seconds = interleave(benchmark, functions, rounds=rounds)
        rates = {name: work / seconds[name] for name, (_, work) in cases.items()}
        ours = next(iter(cases))
        comparisons, lines = [], []
        for name, rate in rates.items():
            ratio = rates[ours] / rate
            target = (targets or {}).get(name)
            comparisons.append(
                dict(name=name, rate=rate, unit=unit, ratio=ratio, target=target)
            )
            wanted = "" if target is None else f"  (target {target:g}x)"
            lines.append(f"{name:24} {rate:14,.0f} {unit}   {ratio:6.2f}x{wanted}")
        say({"comparisons": comparisons}, *lines)

    return run


@pytest.fixture
def rate(benchmark, say):
    """Times one function, called first once to compile and warm it."""

    def run(function, work, *, rounds=5, unit="gradients/s"):
        function()
        benchmark.pedantic(function, rounds=sized(rounds, 1))
        found = work / benchmark.stats.stats.median
        say({"rate": found, "unit": unit}, f"{found:14,.0f} {unit}")

    return run


@pytest.fixture
def value(say, benchmark):
    """Reports single figures, as value(name, number, unit); call it after a timing.

    `target` is the largest value that the project promises.
    """
    found = []

    def run(name, number, unit, *, target=None):
        found.append(dict(name=name, value=number, unit=unit, target=target))
        wanted = "" if target is None else f"  (target: at most {target:g})"
        say({"values": found}, f"{name:48} {number:12.4g} {unit}{wanted}")

    return run
