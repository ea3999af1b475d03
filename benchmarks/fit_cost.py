"""`python -m benchmarks.fit_cost`: measures the numbers of the cost model again.

Writes benchmarks/costs.md: each number in use next to the one measured on this machine.
What matters is not their ratio but whether the engine chooses well with them, so
`--sensitivity` halves and doubles the ten numbers that decide most, one by one, on
three benchmark rows, and times the rows where a choice changes; its table goes to
benchmarks/sensitivity.md.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
import optax
import scipy.optimize
import scipy.sparse

import asgrad_jax as ag
from asgrad_jax._util.machine import usable_cores
from asgrad_jax._util.provenance import commit, device, versions
from asgrad_jax.engine import cost
from asgrad_jax.engine.cost import StepCost
from asgrad_jax.experiments.calls import ProgramGroup
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.kernels import _cost as passes
from benchmarks.cases import WithoutMetrics, engine_run, random_logistic, schedules
from benchmarks.test_waves import problem_of
from benchmarks.timing import ON_CPU, QUICK, sized

FOLDER = Path(__file__).parent
NONE = StepCost(*[0.0] * 12, widths=())


def adam(step_size: float) -> optax.GradientTransformation:
    """A server whose waves are folded in arrival by arrival."""
    return optax.adam(step_size)


class Run(NamedTuple):
    """A run to be timed and modelled."""

    problem: object
    n: int
    lanes: int
    arrivals: int
    options: Mapping[str, Any] = MappingProxyType({})


def seconds_of(go: Callable[[], object], rounds: int = 3) -> float:
    """Returns the median seconds, after one call that compiles."""
    go()
    taken = []
    for _ in range(sized(rounds, 1)):
        begin = time.perf_counter()
        go()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


# --- the compiled passes


def seconds_of_gradient(problem, lanes: int, batches: int | None = None) -> float:
    """Returns the seconds of one gradient of all lanes on one core."""
    repeats = sized(2000, 20)
    n = problem.num_workers

    @jax.jit
    def chain(x):
        def step(x, k):
            return x - 1e-6 * problem.gradients(x, k % n, k, jax.random.key(0)), None

        return jax.lax.scan(step, x, np.arange(repeats, dtype=np.int32))[0]

    with ag.kernels.cores_per_call(1):
        x = np.zeros((lanes, problem.init_params().size), np.float32)
        return seconds_of(lambda: jax.block_until_ready(chain(x))) / repeats


def measured_passes() -> dict[str, float]:
    """Returns the numbers of `kernels.PASS` that a timing of gradients tells."""
    rng = np.random.default_rng(0)
    m, d = 2000, 60
    lanes = passes.register_width("float32")
    dense = random_logistic(4, m, d)
    few = seconds_of_gradient(random_logistic(4, 50, d, batch_size=16), lanes)
    far = seconds_of_gradient(
        random_logistic(4, sized(50_000, 500), d, batch_size=16), lanes
    )
    found = {
        "dense": seconds_of_gradient(dense, lanes) / (m * d),
        "dense_lane": seconds_of_gradient(dense, 1) / (m * d),
        "missed_number": max(0.0, far - few) / (16 * d),
    }
    nonzeros, features = 12, 2000
    rows = scipy.sparse.random(
        8000, features, nonzeros / features, "csr", np.float32, rng
    )
    sparse = ag.logistic_regression(rows, np.sign(rng.normal(size=8000)), 4)
    found["sparse"] = seconds_of_gradient(sparse, lanes) / (2000 * nonzeros)
    return found


# --- the steps of the scan


def runs_of_kinds() -> Iterator[tuple[str, Run]]:
    """Yields runs for each row of the table `STEP` that this device has."""
    long = sized(20_000, 400)
    if not ON_CPU:
        for n, lanes in ((100, 1), (100, 32), (1000, 8)):
            for batch in (None, 16):
                problem = random_logistic(n, 200, 60, batch_size=batch)
                yield "gpu", Run(problem, n, lanes, long)
                yield "gpu", Run(problem, n, lanes, long, {"server": adam})
        return
    for batch, lanes, d in (
        (16, 1, 20), (16, 16, 60), (16, 16, 1000), (None, 32, 60), (16, 64, 60),
        (1, 8, 4000), (1, 16, 200),
    ):  # fmt: skip
        problem = random_logistic(20, 100, d, batch_size=batch)
        few = max(400, long // (lanes * (d // 60 or 1)) * 4)
        yield "cpu, compiled pass", Run(problem, 20, lanes, few)
        yield "cpu, compiled pass", Run(problem, 20, lanes, few, {"server": adam})
    plain = {"kernels": False}
    for m, lanes, d in ((20, 1, 20), (200, 8, 60), (100, 32, 200)):
        problem = random_logistic(20, m, d)
        yield "cpu, all rows", Run(problem, 20, lanes, long // lanes, plain)
        problem = random_logistic(20, 200, d, batch_size=16)
        yield "cpu, mini-batches", Run(problem, 20, lanes, long // lanes, plain)
    for lanes in (1, 4, 16):
        yield (
            "cpu, copied rows",
            Run(problem_of("MLP", 20), 20, lanes, long // 4 // lanes),
        )


def columns(
    group: ProgramGroup, used: StepCost, width: int
) -> tuple[dict[str, float], float]:
    """Returns what each number of `StepCost` is multiplied with, and what is left.

    The model is linear in its numbers but for two products, which are columns too:
    steps per wave (step x wave) and the arithmetic in waves.
    """
    work, lanes, cores = group.work, group.division.lanes, group.division.cores
    batch = len(work.schedules) if work.batching == "vmap" else 1

    def seconds(**numbers: float) -> float:
        step = NONE._replace(near=used.near, **numbers)
        return cost._seconds_per_arrival(
            work, work.cost(lanes, cores), step, lanes, cores, batch, width
        )

    rest = seconds(batched=1.0)
    alone = width == 1
    found = {
        name: seconds(**{name: 1.0}) - seconds()
        for name in ("entry", "alone", "moved", "far", "fold")
    }
    found["step"] = seconds(step=1.0) - seconds() if alone else 0.0
    found["wave"] = 0.0 if alone else seconds(step=1.0, wave=1.0) - seconds()
    arithmetic = seconds(batched=1.0, multiplication=1.0) - rest
    found["multiplication"] = arithmetic if alone else 0.0
    found["batched"] = 0.0 if alone else arithmetic
    return found, rest


def measured_steps(used: StepCost, runs: list[Run]) -> tuple[dict[str, float], float]:
    """Returns the numbers of a row of `STEP`, and the median relative error left.

    Least squares of relative errors with numbers that cannot be negative; a number
    that no run tells apart from another comes out as 0.

    Args:
        used: the row in use; what is 0 there is no part of its model.
        runs: to be timed.
    """
    names = "step wave entry alone moved far fold multiplication batched".split()
    names = [name for name in names if getattr(used, name)]
    if not used.multiplication:  # then there is no arithmetic for it to be a factor of
        names.remove("batched")
    matrix, seconds = [], []
    for run in runs:
        schedule = schedules(run.n, run.arrivals)[0]
        problem = WithoutMetrics(run.problem)
        for width in sized((1, 4, 16), (1, 4)):
            options = dict(run.options, width=width)
            go = engine_run(problem, [schedule], run.lanes, **options)
            experiment = Experiment(
                problem=problem,
                init_params=problem.init_params(),
                record_every=len(schedule),
                **options,
            )
            hyper = {"step_size": np.full(run.lanes, 0.01)}
            group = ProgramGroup(experiment, [schedule], [0], hyper)
            found, rest = columns(group, used, width)
            fill = ag.plan_slots(schedule, width=width).fill
            matrix.append([found[name] / fill for name in names])
            seconds.append(seconds_of(go) / len(schedule) - rest / fill)
    scale = np.maximum(np.abs(seconds), 1e-9)
    a, b = np.array(matrix) / scale[:, None], np.array(seconds) / scale
    told = a.any(axis=0)
    size = np.abs(a[:, told]).max(axis=0)
    solution = np.zeros(len(names))
    solution[told] = scipy.optimize.nnls(a[:, told] / size, b)[0] / size
    error = float(np.median(np.abs(a @ solution - b)))
    numbers = dict(zip(names, solution, strict=True))
    for product, factor in (("wave", "step"), ("batched", "multiplication")):
        if product in numbers:
            numbers[product] /= numbers[factor] or np.inf
    return numbers, error


# --- what a wrong number costs

MOST_USED = (
    ("PASS", "sparse"), ("PASS", "dense"), ("PASS", "dense_lane"),
    ("STEP", "step"), ("STEP", "wave"), ("STEP", "entry"),
    ("STEP", "moved"), ("STEP", "far"),
    ("LIMITS", "iterate_bytes"), ("LIMITS", "wave_seconds"),
)  # fmt: skip


@contextmanager
def changed(table: str, name: str, factor: float) -> Iterator[None]:
    """The engine with one number of the model multiplied; in `STEP` in all rows."""
    if table == "STEP":
        rows = {
            kind: step._replace(**{name: getattr(step, name) * factor})
            for kind, step in cost.STEP.items()
        }
        with mock.patch.object(cost, "STEP", rows):
            yield
        return
    module = cost if table == "LIMITS" else passes
    value = getattr(module, table)
    new = value._replace(**{name: getattr(value, name) * factor})
    with mock.patch.object(module, table, new):
        yield


def benchmark_rows() -> dict[str, Run]:
    """Three rows of the benchmark table: dense, mini-batches of many lanes, sparse."""
    rng = np.random.default_rng(0)
    rows = scipy.sparse.random(20_000, 5000, 0.01, "csr", np.float32, rng)
    sparse = ag.logistic_regression(
        rows, np.sign(rng.normal(size=rows.shape[0])), 50, batch_size=16
    )
    return {
        "dense, n=100, all of 200 rows, d=60, 32 lanes": Run(
            random_logistic(100, 200, 60), 100, 32, sized(40_000, 400)
        ),
        "dense, n=100, 16 rows, d=60, 1 lane": Run(
            random_logistic(100, 200, 60, batch_size=16), 100, 1, sized(400_000, 400)
        ),
        "sparse, n=50, 16 rows, d=5000, 64 lanes": Run(
            sparse, 50, 64, sized(8_000, 400)
        ),
    }


def sensitivity() -> Iterator[str]:
    """Yields lines of a table: seconds next to those with the numbers in use."""
    names = list(benchmark_rows())
    yield "| number | factor | " + " | ".join(names) + " |"
    yield "| --- | --- |" + " ---: |" * len(names)
    prepared = {}
    for name, run in benchmark_rows().items():
        schedule = schedules(run.n, sized(2_000_000, 10_000))[0]
        prepared[name] = WithoutMetrics(run.problem), schedule, run
    for table, number in MOST_USED:
        for factor in (0.5, 2.0):
            cells = [_ratio(table, number, factor, *prepared[name]) for name in names]
            yield f"| {table} {number} | {factor:g} | " + " | ".join(cells) + " |"


def _choice(problem, schedule, run: Run) -> tuple:
    """Returns width, lanes, threads and cores that the engine would choose."""
    experiment = Experiment(
        problem=problem, init_params=problem.init_params(), record_every=len(schedule)
    )
    hyper = {"step_size": np.full(run.lanes, 0.01)}
    group = ProgramGroup(experiment, [schedule], [0], hyper)
    return group.width, *group.division[:3]


def _ratio(table, number, factor, problem, schedule, run: Run) -> str:
    """Returns how much longer a run takes if the changed number changes its program.

    The choice is that of a long run; the one that is timed is shorter.
    """
    usual = _choice(problem, schedule, run)
    with changed(table, number, factor):
        other = _choice(problem, schedule, run)
    if usual == other:
        return "same program"
    short = schedules(run.n, run.arrivals)

    def go() -> None:
        engine_run(problem, short, run.lanes, width=usual[0])()

    def changed_go() -> None:
        with changed(table, number, factor):
            engine_run(problem, short, run.lanes, width=other[0])()

    go(), changed_go()
    pairs = []
    for _ in range(sized(5, 1)):
        seconds = []
        for function in (changed_go, go):
            begin = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - begin)
        pairs.append(seconds[0] / seconds[1])
    text = f"{statistics.median(pairs):.2f}"
    return f"{text} (W {usual[0]} -> {other[0]}, lanes {usual[1]} -> {other[1]})"


def machine() -> str:
    """Returns what was measured where."""
    jax_version = versions()["jax"]
    return f"{device()}, {usable_cores()} cores, JAX {jax_version}, {commit()[:12]}"


def _table(title: str, used, found: dict[str, float], note: str = "") -> list[str]:
    lines = [
        f"\n## {title}\n",
        "| number | in use | measured |",
        "| --- | ---: | ---: |",
    ]
    for name, value in found.items():
        shown = f"{value:.2g}" if value else "–"
        lines.append(f"| `{name}` | {getattr(used, name):.2g} | {shown} |")
    return lines + ([f"\n{note}"] if note else [])


def main() -> None:
    """Measures and writes the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_cost")
    parser.add_argument("--sensitivity", action="store_true", help="halve and double")
    target = FOLDER.parent / ".benchmarks" if QUICK else FOLDER
    target.mkdir(exist_ok=True)
    if parser.parse_args().sensitivity:
        lines = ["# What a wrong number of the cost model costs", "", machine(), ""]
        for line in sensitivity():
            print(line, flush=True)
            lines.append(line)
        (target / "sensitivity.md").write_text("\n".join(lines) + "\n")
        return
    lines = ["# The numbers of the cost model", "", machine()]
    if ON_CPU:
        lines += _table(
            "Compiled passes (`kernels.PASS`)", passes.PASS, measured_passes()
        )
    kinds: dict[str, list[Run]] = {}
    for kind, run in runs_of_kinds():
        kinds.setdefault(kind, []).append(run)
    for kind, runs in kinds.items():
        numbers, error = measured_steps(cost.STEP[kind], runs)
        note = f"Median relative error of the fit: {error:.0%}, {len(runs)} runs."
        lines += _table(f"`STEP[{kind!r}]`", cost.STEP[kind], numbers, note)
        print(*lines[-len(numbers) - 6 :], sep="\n", flush=True)
    (target / "costs.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
