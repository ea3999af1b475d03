"""Memory: the peak of a process against what `ag.plan` says before.

Each case runs in a process of its own, twice: compiling takes some tens of MB that the
plan leaves out, and the second time there is none. The C library would keep freed
blocks for later; here it gives them back, so that the peak is what was in use.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

import asgrad_jax as ag
from asgrad_jax.experiments.execute import execute, plan_programs
from asgrad_jax.experiments.experiment import Experiment
from benchmarks import peak
from benchmarks.cases import random_logistic, shared_diagonal
from benchmarks.timing import cpu_only, sized


def dense(size):
    """Logistic regression as large as w7a, dense, 32 lanes."""
    problem = random_logistic(10, sized(2469, 250) // size, 300)
    return problem, dict(methods=["shuffled_async"], lanes=32)


def wide(size):
    """The same with 256 lanes."""
    return dense(size)[0], dict(methods=["shuffled_async"], lanes=256)


def sparse(size):
    """2,000,000 sparse rows of 300 features, 32 lanes."""
    rows = sized(2_000_000, 20_000) // size
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 300, 12 * rows, np.int32)
    pointers = np.arange(0, 12 * rows + 1, 12, dtype=np.int32)
    values = np.ones(12 * rows, np.float32)
    features = scipy.sparse.csr_matrix((values, indices, pointers), (rows, 300))
    labels = np.sign(rng.normal(size=rows))
    problem = ag.logistic_regression(features, labels, 10, storage="sparse")
    return problem, dict(methods=["shuffled_async"], lanes=32, arrivals=100)


def network_loss(params, batch):
    """A network with one hidden layer."""
    import jax

    features, labels = batch
    hidden = jax.nn.relu(features @ params["in"])
    return jax.nn.softplus(-labels * (hidden @ params["out"]))


def network(size):
    """A network with 64 hidden units, mini-batches of 32 of 10,000 rows, 16 lanes."""
    rows = sized(10_000, 2_000) // size
    rng = np.random.default_rng(0)
    start = {"in": rng.normal(0, 0.1, (100, 64)), "out": rng.normal(0, 0.1, 64)}
    data = rng.normal(size=(rows, 100)), np.sign(rng.normal(size=rows))
    problem = ag.from_loss(network_loss, start, data, num_workers=10, batch_size=32)
    return problem, dict(methods=["shuffled_async"], lanes=16)


def table(size):
    """Remembered gradients of 16 workers, d = 200,000, 4 lanes."""
    problem = shared_diagonal(sized(200_000, 20_000) // size, 16)
    return problem, dict(methods=["ia2sgd"], lanes=4)


def adam_server(step_size):
    """One function for all runs: another one would be compiled again."""
    import optax

    return optax.adam(step_size)


def adam(size):
    """Adam as the server, d = 200,000, 4 lanes."""
    problem = shared_diagonal(sized(200_000, 20_000) // size, 16)
    return problem, dict(methods=["pure_async"], lanes=4, server=adam_server)


def large(size):
    """d = 1,000,000, one lane, 64 workers."""
    problem = shared_diagonal(sized(1_000_000, 100_000) // size, 64)
    return problem, dict(methods=["pure_async"], lanes=1)


def records(size):
    """20,000 records of 200 lanes on 4 schedules."""
    problem = ag.quadratic(10, 20, heterogeneity=1.0)
    grid = dict(methods=["pure_async"] * 4, lanes=200, record_every=1)
    return problem, dict(grid, arrivals=sized(20_000, 2_000) // size)


def double(size):
    """Logistic regression in float64."""
    return dense(size)[0], dict(
        methods=["shuffled_async"], lanes=32, precision="float64"
    )


def batched(size):
    """Four schedules in one call, the layout of accelerators."""
    grid = dict(methods=["shuffled_async"] * 4, lanes=16, batching="vmap", width=1)
    return dense(size)[0], grid


def waves(size):
    """Waves of 8 arrivals, mini-batches of 256 of a dense problem, 32 lanes."""
    rows = sized(2469, 250)
    problem = random_logistic(10, rows, 300, batch_size=min(256, rows) // size)
    return problem, dict(methods=["shuffled_async"], lanes=32, width=8)


def batched_waves(size):
    """Four schedules in one call, waves of 8."""
    grid = dict(methods=["shuffled_async"] * 4, lanes=16, batching="vmap", width=8)
    return dense(size)[0], grid


CASES = {
    case.__name__: case
    for case in (
        dense,
        wide,
        sparse,
        network,
        table,
        adam,
        large,
        records,
        double,
        batched,
        waves,
        batched_waves,
    )
}


def pieces(case, size):
    """Returns what `execute` takes; with a larger size a smaller problem."""
    problem, grid = case(size)
    n, arrivals = problem.num_workers, grid.pop("arrivals", 400)
    clock = ag.compute_times.exponential(np.arange(1.0, n + 1))
    schedules = [
        ag.simulate(method, clock, num_gradients=arrivals, seed=seed)
        for seed, method in enumerate(grid.pop("methods"))
    ]
    hyper = {"step_size": np.full(grid.pop("lanes"), 1e-3)}
    grid.setdefault("record_every", arrivals // 10)
    experiment = Experiment(problem=problem, init_params=problem.init_params(), **grid)
    return experiment, schedules, list(range(len(schedules))), hyper


def measure(name):
    """Prints the plan and the growth of this process's peak twice, in bytes.

    The first time with compiling, the second time without.
    """
    case = CASES[name]
    execute(*pieces(case, 5))
    found = []
    for _ in range(2):
        arguments = pieces(case, 1)
        plans = [program.memory for program in plan_programs(*arguments)]
        peak.trim()
        before = peak.begin()
        outcomes = execute(*arguments)
        found.append(peak.growth(before))
        del outcomes, arguments
    print(*plans, sep="\n", file=sys.stderr)
    print(json.dumps([max(plan.total for plan in plans), *found]))


@cpu_only
@pytest.mark.parametrize("case", CASES)
def test_peak(benchmark, value, case):
    """The growth of a process's peak while a sweep runs, in parts of the plan."""
    code = f"from benchmarks.test_memory import measure; measure({case!r})"

    def run():
        return subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"},
        )

    planned, first, growth = json.loads(benchmark.pedantic(run, rounds=1).stdout)
    value("planned", planned / 1e6, "MB")
    value("peak growth", growth / 1e6, "MB")
    value("the first time, compiling", first / 1e6, "MB")
    value(f"peak / plan: {CASES[case].__doc__}", growth / planned, "", target=1.3)
