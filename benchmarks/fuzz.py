"""`python -m benchmarks.fuzz --seconds 300`: random inputs, bounded in time.

Files of every kind are damaged in random ways and read: they are read, or end in the
documented error. Random algorithms, compute times, workers, ties and infinities go
through the compiled and the readable event loop: the same schedule or the same words.
Random problems (rows, features, lanes, precision, storage, waves; networks whose
parameters are random pytrees) are run and compared with the full history of iterates.
The compiled kernels are called by themselves, over odd sizes, and compared with NumPy.

Every target runs in a process of its own, so that a crash of native code is seen too.
A failure prints the target and the seed that makes it again: `--target T --seed S`.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # as pytest has it
READ = ("libsvm", "libsvm.gz", "trace.csv", "trace.csv.gz", "trace.csv.xz")
READ += ("trace.json", "schedule.npz", "result.nc", "config.toml")
READ += ("trace.parquet",)
RUN = ("loops", "engine", "pytrees", "kernels")
TARGETS = (*READ, "grid.toml", *RUN)
TOKENS = [
    b"nan",
    b"inf",
    b"-1",
    b"1e400",
    b"9" * 25,
    b"\x00",
    b'"',
    b"[",
    b"0x1",
    b"\xff",
]
TOKENS += [b"\n\n", b"#", b"true", b"1.5", b" ", b",", b"{", b"=", b"e", b"-0", b"''"]


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """Returns a file with one to four random changes."""
    data = bytearray(whole)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(len(data) + 1))
        length = int(rng.integers(1, 20))
        match rng.integers(6):
            case 0 if place < len(data):
                data[place] ^= 1 << int(rng.integers(8))
            case 1:
                del data[place:]
            case 2:
                data[place : place + length] = rng.bytes(length)
            case 3:
                data[place : place + int(rng.integers(4))] = TOKENS[
                    rng.integers(len(TOKENS))
                ]
            case 4:
                other = int(rng.integers(len(data) + 1))
                data[place:place] = data[other : other + length]
            case _:
                del data[place : place + length]
    return bytes(data)


def reader(name: str, folder: Path) -> Callable[[np.random.Generator], None]:
    """Returns what damages a file of a kind and reads it."""
    import asgrad_jax as ag
    from _util.test_damaged_files import CSV, READERS, TOML, writer
    from asgrad_jax.cli.config import load_config, sweep_arguments

    def grid(path: Path) -> None:
        ag.Grid(**sweep_arguments(load_config(path)))

    def parquet(path: Path) -> None:
        import io

        import pandas as pd

        pd.read_csv(io.StringIO(CSV)).to_parquet(path)

    others = {
        "trace.parquet": (parquet, ag.schedule_from_trace),
        "libsvm": (writer(b"1 1:2 3:4\n0 2:1 7:-1e3\n" * 9), "load_libsvm"),
        "grid.toml": (writer(TOML), grid),
    }
    write, read = (READERS | others)[name]
    read = ag.datasets.load_libsvm if read == "load_libsvm" else read
    path = folder / name
    write(path)
    whole = path.read_bytes()
    # What the documentation promises; of a grid's values also wrong types.
    allowed = (ValueError, TypeError) if name == "grid.toml" else ValueError

    def once(rng: np.random.Generator) -> None:
        path.write_bytes(damaged(whole, rng))
        try:
            read(path)
        except allowed as error:
            if not str(error):
                raise AssertionError(f"{type(error).__name__} without words") from error

    return once


class Ties:
    """Compute times with zeros, ties and infinities."""

    may_hang = True

    def __init__(self, n: int, step: float, infinite: float):
        self.num_workers, self.step, self.infinite = n, step, infinite

    def sample(self, worker, rng, size):
        """As samplers do."""
        values = np.floor(rng.exponential(worker + 1.0, size) / self.step) * self.step
        return np.where(rng.random(size) < self.infinite, np.inf, values)


def algorithm_and_times(rng: np.random.Generator):
    """Returns random fields of an algorithm and random compute times, or None."""
    import asgrad_jax as ag
    from asgrad_jax.algorithms.algorithm import ORDERS, RESTARTS, STARTS

    n = int(rng.choice([1, 2, 3, 5, 8, 17]))

    def pick(*values):
        return values[rng.integers(len(values))]

    if rng.random() < 0.3:
        algorithm = ag.algorithms.get(pick(*ag.algorithms.names()))
    else:
        start = pick(
            *STARTS, tuple(rng.integers(0, n, rng.integers(1, 2 * n + 1)).tolist())
        )
        routing = None
        if rng.random() < 0.2:
            routing = tuple((rng.dirichlet(np.ones(n))).tolist())
        algorithm = ag.Algorithm(
            name="fuzzed",
            order=pick(*ORDERS),
            concurrency=pick(None, "all", "half", int(rng.integers(1, 2 * n + 1))),
            gradients_per_step=pick(1, "all", "half", "tenth", int(rng.integers(1, 9))),
            restart=pick(*RESTARTS),
            start=start,
            max_delay=pick(None, None, "all", int(rng.integers(1, 12))),
            routing=routing,
        )
    if rng.random() < 0.5:
        times = Ties(n, pick(0.5, 1.0, 3.0), pick(0.0, 0.0, 0.01))
    else:
        times = ag.compute_times.example(pick(*ag.compute_times.names()), max(n, 2))
    return algorithm, times


def loops(rng: np.random.Generator) -> None:
    """Simulates one in both loops."""
    import asgrad_jax as ag

    algorithm, times = algorithm_and_times(rng)
    options = dict(
        num_gradients=int(rng.integers(1, 300)), seed=int(rng.integers(2**40))
    )
    both = []
    for engine in ("compiled", "python"):
        try:
            schedule = ag.simulate(algorithm, times, engine=engine, **options)
            schedule.validate()
            both.append((schedule.content_hash, schedule.discarded))
        except (ValueError, TypeError, RuntimeError) as error:
            both.append(str(error))
    if both[0] != both[1]:
        raise AssertionError(f"{algorithm}, {times}, {options}: {both}")


def engine(rng: np.random.Generator) -> None:
    """Runs one problem and follows it in NumPy."""
    import asgrad_jax as ag
    from helpers.reference import (
        logistic_gradient,
        naive_trajectory,
        quadratic_gradient,
    )

    n, d = int(rng.integers(1, 7)), int(rng.integers(1, 40))
    lanes, arrivals = int(rng.integers(1, 21)), int(rng.integers(1, 60))
    if kind := rng.integers(3):
        rows = n * int(rng.integers(2 if n == 1 else 1, 12))
        features = rng.normal(size=(rows, d)) * (
            rng.random((rows, d)) < rng.uniform(0.1, 1)
        )
        problem = ag.logistic_regression(
            features,
            rng.permutation(np.resize([-1, 1], rows)),
            n,
            storage="dense" if kind == 1 else "sparse",
        )
        gradient = logistic_gradient(problem)
    else:
        problem = ag.quadratic(n, d, heterogeneity=float(n > 1), seed=arrivals)
        gradient = quadratic_gradient(problem)
    names = [
        m for m in ag.algorithms.names() if not ag.algorithms.properties(m).needs_values
    ]
    schedule = None
    while schedule is None:
        try:
            schedule = ag.simulate(
                names[rng.integers(len(names))],
                ag.compute_times.exponential(np.arange(1.0, n + 1)),
                num_gradients=arrivals,
                seed=int(rng.integers(1000)),
            )
        except (ValueError, RuntimeError):  # not for so few workers, or a time limit
            continue
    step_sizes = rng.uniform(0.001, 0.1, lanes)
    width = None if rng.random() < 0.3 else int(rng.integers(1, 9))
    precision, tolerance = (
        ("float64", 1e-9) if rng.random() < 0.5 else ("float32", 2e-3)
    )
    start = rng.normal(size=d)
    ours = ag.run(
        problem,
        schedule,
        step_size=step_sizes,
        init_params=start,
        width=width,
        precision=precision,
        record_every=int(rng.integers(1, arrivals + 1)),
    )
    for lane, step_size in enumerate(step_sizes):
        last = naive_trajectory(schedule, gradient, step_size, start)[-1]
        scale = max(1.0, np.abs(last).max())
        if not np.abs(ours.params[lane] - last).max() <= tolerance * scale:
            raise AssertionError(
                f"{problem}, {schedule}, lane {lane}: {precision}, {width}"
            )


def random_tree(rng: np.random.Generator, depth: int = 0):
    """Returns a random pytree of floating arrays of random shapes, empty ones too."""
    kind = rng.integers(4) if depth < 3 else 0
    if depth and kind == 0:
        return rng.normal(size=rng.integers(0, 4, rng.integers(0, 4)))
    parts = [random_tree(rng, depth + 1) for _ in range(rng.integers(1, 4))]
    if kind == 1:
        return {f"part {k}": part for k, part in enumerate(parts)}
    return tuple(parts) if kind == 2 else parts


def pytrees(rng: np.random.Generator) -> None:
    """Runs a loss of a random pytree and follows it leaf by leaf."""
    import jax
    import jax.numpy as jnp

    import asgrad_jax as ag

    n, arrivals = int(rng.integers(1, 5)), int(rng.integers(1, 30))
    start, targets = random_tree(rng), rng.normal(size=n)
    if not sum(leaf.size for leaf in jax.tree.leaves(start)):
        return

    def loss(params, batch):
        squares = [jnp.sum(jnp.sin(x) ** 2) for x in jax.tree.leaves(params)]
        return (sum(squares) - batch) ** 2

    problem = ag.from_loss(loss, start, targets, n)
    clock = ag.compute_times.exponential(np.arange(1.0, n + 1))
    name = ("pure_async", "shuffled_async", "ringmaster")[rng.integers(3)]
    schedule = ag.simulate(name, clock, num_gradients=arrivals, seed=0)
    width = None if rng.random() < 0.5 else int(rng.integers(1, 5))
    ours = ag.run(
        problem, schedule, step_size=[0.01, 0.02], precision="float64", width=width
    )
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(lambda x, i: loss(x, jnp.asarray(targets)[i])))
        for lane, step_size in enumerate((0.01, 0.02)):
            history = [jax.tree.map(jnp.asarray, start)]
            for a in range(arrivals):
                found = gradient(history[schedule.read[a]], schedule.worker[a])
                scale = step_size * schedule.weight[a]
                if not schedule.step[a]:
                    raise AssertionError("these methods step at every arrival")
                history.append(
                    jax.tree.map(lambda x, g, s=scale: x - s * g, history[-1], found)
                )
            jax.tree.map(
                lambda left, right, j=lane: np.testing.assert_allclose(
                    left[j], right, rtol=1e-8, atol=1e-9
                ),
                ours.params,
                history[-1],
            )


def logistic_pass(rng: np.random.Generator) -> None:
    """Compares a compiled pass over the rows of one wave with NumPy."""
    import jax
    import jax.numpy as jnp

    import asgrad_jax as ag
    from asgrad_jax.kernels import cores_per_call
    from helpers.reference import logistic_gradient

    n, d = int(rng.integers(1, 6)), int(rng.integers(1, 70))
    rows, lanes = n * int(rng.integers(1, 40)), int(rng.integers(1, 35))
    wave, cores = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    features = rng.normal(size=(rows, d)) * (rng.random((rows, d)) < rng.random())
    problem = ag.logistic_regression(
        features,
        np.where(rng.random(rows) < 0.5, -1, 1),
        n,
        partition=rng.permutation(np.concatenate([np.arange(n)] * (rows // n))),
        storage="sparse" if rng.random() < 0.5 else "dense",
    )
    dtype, tolerance = (np.float64, 1e-12) if rng.random() < 0.5 else (np.float32, 2e-5)
    x = rng.normal(size=(wave, lanes, d)).astype(dtype)
    workers = rng.integers(0, n, wave)
    with jax.enable_x64(dtype is np.float64), cores_per_call(cores):
        placed = jax.tree.map(
            lambda leaf: jnp.asarray(
                leaf, dtype if np.asarray(leaf).dtype.kind == "f" else None
            ),
            problem,
        )
        each = jax.vmap(placed.gradients, (0, 0, 0, None))
        places = jnp.asarray(workers, jnp.int32)
        found = each(jnp.asarray(x), places, 0 * places, jax.random.key(0))
    wanted = logistic_gradient(problem)
    for entry, worker in enumerate(workers):
        for lane in range(lanes):
            right = wanted(x[entry, lane].astype(float), worker, 0)
            np.testing.assert_allclose(
                found[entry, lane], right, rtol=tolerance, atol=tolerance
            )


def buffer_moves(rng: np.random.Generator) -> None:
    """Compares the kernels that move rows of the buffer with NumPy."""
    import jax
    import jax.numpy as jnp

    from asgrad_jax import kernels
    from kernels.test_buffer import by_loop

    dtype, tolerance = (np.float64, 1e-12) if rng.random() < 0.5 else (np.float32, 1e-4)
    width, lanes = int(rng.integers(1, 12)), int(rng.integers(1, 6))
    shape = (lanes, *rng.integers(1, 40, rng.integers(0, 3)))
    number = width + int(rng.integers(1, 9))

    def normal(*sizes):
        return rng.normal(size=sizes).astype(dtype)

    x, u, rows, gradients = (
        normal(*front, *shape) for front in ((), (), (number,), (width,))
    )
    columns = dict(
        step_size=normal(lanes),
        weight=normal(width),
        step=rng.random(width) < 0.5,
        write_slot=rng.permutation(number)[:width].astype(np.int32),
    )
    wanted = by_loop(x, u, rows, gradients, **columns)
    index = rng.integers(0, number, width).astype(np.int32)
    put = rows.copy()
    put[index] = gradients  # of equal ones the last counts
    with jax.enable_x64(dtype is np.float64):
        arrays = [jnp.asarray(array) for array in (x, u, rows, gradients)]
        placed = {name: jnp.asarray(column) for name, column in columns.items()}
        taken = kernels.take_rows(arrays[2], jnp.asarray(index))
        written = kernels.put_rows(arrays[2], jnp.asarray(index), arrays[3])
        found = kernels.fold_wave(*arrays, **placed)
    np.testing.assert_array_equal(taken, rows[index])
    np.testing.assert_array_equal(written, put)
    for left, right in zip(found, wanted, strict=True):
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)


def compiled_kernels(rng: np.random.Generator) -> None:
    """Calls one of the kernels."""
    (logistic_pass if rng.random() < 0.5 else buffer_moves)(rng)


def run_target(target: str, seed: int, seconds: float, most: int | None) -> int:
    """Runs inputs until the time is over; returns how many."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = (loops, engine, pytrees, compiled_kernels)
        once = dict(zip(RUN, run, strict=True)).get(target)
        once = once or reader(target, Path(folder))
        begun, first = time.monotonic(), seed
        for seed in itertools.count(first):
            if time.monotonic() - begun > seconds or seed - first == most:
                return seed - first
            try:
                once(np.random.default_rng(seed))
            except BaseException:
                print(f"FAILED: --target {target} --seed {seed}", file=sys.stderr)
                raise
    return 0


def main() -> int:
    """Runs all targets, or one of them."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--seconds", type=float, default=300)
    asked.add_argument("--target", choices=TARGETS)
    asked.add_argument("--seed", type=int, help="of the one input that is tried")
    options = asked.parse_args()
    if options.target:
        most = None if options.seed is None else 1
        first = time.time_ns() % 2**40 if options.seed is None else options.seed
        print(run_target(options.target, first, options.seconds, most))
        return 0
    failed, share = [], options.seconds / (len(TARGETS) + 4)
    for target in TARGETS:
        seconds = share * (3 if target in RUN else 1)
        command = [sys.executable, "-m", "benchmarks.fuzz", "--target", target]
        end = subprocess.run(
            [*command, "--seconds", f"{seconds:.0f}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        words = f"{end.stdout.strip()} inputs"
        if end.returncode:
            failed.append(target)
            words = f"exit code {end.returncode}\n{end.stderr[-3000:]}"
        print(f"{target}: {words}", flush=True)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
