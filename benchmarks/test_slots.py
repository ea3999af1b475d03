"""The buffer of iterates: written in place, as large as the jobs in flight."""

import pytest

import asgrad_jax as ag
from benchmarks.cases import schedules, shared_diagonal
from benchmarks.program import segment
from benchmarks.timing import sized

WORKERS, FEATURES, LANES = 8, 1000, 4


@pytest.mark.parametrize("slots", [8, 64, 512])
@pytest.mark.parametrize("batching", ["single", "vmap"])
def test_steps(rate, batching, slots):
    """The same steps in a buffer with more slots than they use; a copy would show."""
    arrivals = sized(4_000, 400)
    problem = ag.quadratic(WORKERS, FEATURES, same_hessian=True)
    chosen = schedules(WORKERS, arrivals, seeds=1 if batching == "single" else 4)
    call = segment(problem, chosen, LANES, batching=batching, slots=slots)
    carries = [call.start()]

    def go():
        carries[0] = call.advance(carries[0])

    rate(go, len(chosen) * arrivals, unit="steps/s")


@pytest.mark.parametrize("slowest", sized([10, 100, 1000, 10_000], [10, 100]))
def test_memory(benchmark, value, slowest):
    """One worker of 16 is slower and slower: planned slots against a ring buffer."""
    n, d = 16, 10_000
    times = ag.compute_times.fixed([1.0] * (n - 1) + [float(slowest)])
    schedule = ag.simulate("pure_async", times, num_gradients=(n - 1) * slowest + 100)
    problem = shared_diagonal(d, n)
    tau = int(schedule.stats().tau_max)
    found = {}

    def measure():
        for name, slots in (("slots", None), ("ring", tau + 1)):
            found[name] = segment(problem, [schedule], 1, slots=slots).own_bytes()

    benchmark.pedantic(measure, rounds=1)
    copy = 4 * d
    value("tau_max", tau, "steps")
    value("slots", found["slots"] / copy, "copies of the parameters", target=n + 4)
    value("ring", found["ring"] / copy, "copies of the parameters")
