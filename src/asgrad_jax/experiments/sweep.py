"""`sweep`: algorithms x compute times x seeds x hyper-parameters in one program."""

import contextlib
import inspect
import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import xarray as xr
from numpy.typing import ArrayLike
from tqdm import tqdm

from asgrad_jax._util.checks import did_you_mean
from asgrad_jax.engine.server import Params, ServerFactory
from asgrad_jax.experiments.dataset import to_dataset
from asgrad_jax.experiments.execute import ProgramPlan, counted, plan_programs
from asgrad_jax.experiments.folder import Store
from asgrad_jax.experiments.grid import make_grid
from asgrad_jax.experiments.hosts import share
from asgrad_jax.experiments.resume import execute_missing


def sweep(
    problem,
    *,
    algorithms: Sequence[Any] | Mapping[str, Any],
    compute_times: Any,
    step_sizes: ArrayLike,
    num_gradients: int,
    seeds: Iterable[int] = (0,),
    record_every: int | None = None,
    params: Params | None = None,
    server: ServerFactory | None = None,
    hyperparameters: Mapping[str, ArrayLike] | None = None,
    metrics: Mapping[str, Callable] | None = None,
    precision: str = "float32",
    width: int | None = None,
    kernels: bool = True,
    directory: str | os.PathLike | None = None,
    memory_budget: float | None = None,
    progress: bool | Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Runs a whole grid of experiments as one compiled program.

    Every (algorithm, compute-time model, seed) is a schedule; every combination of step
    size and further hyper-parameters is a lane on each schedule. All lanes of a
    schedule use the same delays and the same mini-batch noise, and all algorithms the
    same compute times at the same seed.

    Args:
        problem: what `logistic_regression`, `quadratic` or `from_loss` returned.
        algorithms: names (see `algorithms.names()`) or algorithm objects, or a mapping
            from labels to these.
        compute_times: one compute-time model, a list, or a mapping from labels.
        step_sizes: [G] step sizes gamma.
        num_gradients: A, gradients per lane.
        seeds: seeds of schedules and mini-batch noise.
        record_every: gradients between two records; A / 100 where left out.
        params: x_0, a pytree like `problem.init_params()`, which is the default.
        server: hyper-parameters, by keyword, -> optax transformation; None is plain
            SGD. See `run`.
        hyperparameters: name -> values of further arguments of `server`; each becomes
            a dimension of the result.
        metrics: name -> function of the iterate to a scalar, in JAX.
        precision: "float32" or "float64".
        width: largest number of arrivals whose gradients are computed together; the
            iterates are the same to rounding. None chooses.
        kernels: False leaves the compiled CPU kernels out, and plain JAX computes the
            same to rounding (ASGRAD_KERNELS=0 does so for a whole process).
        directory: a folder for finished lanes and checkpoints. Running the same sweep
            there again goes on where it was, with the same bits; added algorithms,
            seeds or step sizes run only what is missing. Several processes (see
            `join`) need one that all of them see; each runs its share and all return
            the whole result.
        memory_budget: bytes that the run may use on the device; most of what is free
            where left out. Lanes are cut into calls that fit.
        progress: True shows a bar, False none, None shows one on a terminal; a
            function is called with (gradients done, gradients in all), over all lanes.

    Returns:
        A dataset with dimensions (algorithm, compute_times, seed, step_size, further
        hyper-parameters, record). Variables: `loss`, `grad_norm` and the user's
        metrics; `status` (0 ok, 1 nonfinite) and `first_bad_record` per lane;
        `schedule_hash`, `tau_max`, `tau_avg` and `discarded` per schedule. Coordinates:
        `gradients` [record], `server_steps` and `time` (virtual) per schedule and
        record. Attributes: `config`, `versions`, `device`, `commit`, `created`.

    Raises:
        ValueError, TypeError: for bad input, before anything is compiled, and for a
            directory that holds a run with another config.
        MemoryError: if not even one lane fits the budget.

    Example:
        >>> import asgrad_jax as ag
        >>> problem = ag.quadratic(num_workers=4, num_features=3, seed=0)
        >>> result = ag.sweep(
        ...     problem, algorithms=["pure_async", "shuffled_async"],
        ...     compute_times=ag.compute_times.fixed([1, 2, 3, 4]),
        ...     step_sizes=[0.05, 0.1], seeds=range(3), num_gradients=200)
        >>> dict(result["grad_norm"].sizes)
        {'algorithm': 2, 'compute_times': 1, 'seed': 3, 'step_size': 2, 'record': 101}
        >>> result["grad_norm"].sel(algorithm="pure_async", step_size=0.1).dims
        ('compute_times', 'seed', 'record')
    """
    grid = make_grid(
        problem,
        algorithms=algorithms,
        compute_times=compute_times,
        step_sizes=step_sizes,
        num_gradients=num_gradients,
        seeds=seeds,
        record_every=record_every,
        params=params,
        server=server,
        hyperparameters=hyperparameters,
        metrics=metrics,
        precision=precision,
        width=width,
        kernels=kernels,
        memory_budget=memory_budget,
    )
    store = None if directory is None else Store(directory, grid.asked)
    hyper = grid.hyper
    own = len(share(range(len(grid.schedules))))
    total = num_gradients * own * len(hyper["step_size"])
    # One bar for all: the first process's share is everybody's pace.
    with _progress(
        progress if jax.process_index() == 0 else False, total
    ) as on_progress:
        lanes_of = execute_missing(
            grid.experiment,
            grid.schedules,
            grid.schedule_seeds,
            hyper,
            store=store,
            on_progress=on_progress,
        )
    return to_dataset(grid, lanes_of)


def plan(problem, **arguments: Any) -> "SweepPlan":
    """Says what a sweep would need and how it would be cut, without running it.

    Args:
        problem: as for `sweep`.
        **arguments: as for `sweep`, `directory` and `progress` left out.

    Returns:
        The plan; printing it shows a table.

    Raises:
        ValueError, TypeError, MemoryError: as `sweep`.

    Example:
        >>> import asgrad_jax as ag
        >>> print(ag.plan(
        ...     ag.quadratic(num_workers=4, num_features=3),
        ...     algorithms=["pure_async"], step_sizes=[0.1, 0.2], num_gradients=100,
        ...     compute_times=ag.compute_times.fixed([1, 2, 3, 4])))
        1 schedule x 2 lanes, 100 gradients each: 200 gradients in 1 call
        ...
    """
    known = inspect.signature(make_grid).parameters
    for name in arguments.keys() - known:
        hint = did_you_mean(name, known)
        raise TypeError(f"plan takes no {name!r}{hint}; it takes {', '.join(known)}")
    grid = make_grid(problem, **arguments)
    return SweepPlan(
        schedules=len(grid.schedules),
        lanes=len(grid.hyper["step_size"]),
        gradients=len(grid.schedules[0]),
        programs=plan_programs(
            grid.experiment, grid.schedules, grid.schedule_seeds, grid.hyper
        ),
    )


@dataclass(frozen=True)
class SweepPlan:
    """How a sweep would be cut into calls, and what each needs.

    Attributes:
        schedules: K, over all algorithms, compute times and seeds.
        lanes: S, combinations of hyper-parameters.
        gradients: A, per schedule and lane.
        programs: how each compiled program would be run, and why.
    """

    schedules: int
    lanes: int
    gradients: int
    programs: list[ProgramPlan]

    def __str__(self) -> str:
        calls = sum(program.calls for program in self.programs)
        total = self.schedules * self.lanes * self.gradients
        head = (
            f"{counted(self.schedules, 'schedule')} x {counted(self.lanes, 'lane')}, "
            f"{counted(self.gradients, 'gradient')} each: "
            f"{counted(total, 'gradient')} in {counted(calls, 'call')}"
        )
        return "\n".join([head, *map(str, self.programs)])


@contextlib.contextmanager
def _progress(progress, total: int) -> Generator[Callable[[int], None], None, None]:
    """Yields a function that takes the number of gradients just computed."""
    if callable(progress):
        count = 0

        def report(gradients: int) -> None:
            nonlocal count
            count += gradients
            progress(count, total)

        yield report
        return
    if not isinstance(progress, bool | None):
        raise TypeError(
            f"progress={progress!r} must be True, False, None or a function of "
            "(gradients done, gradients in all)"
        )
    # tqdm's None means: only on a terminal.
    disable = None if progress is None else not progress
    with tqdm(total=total, unit=" gradients", unit_scale=True, disable=disable) as bar:

        def update(gradients: int) -> None:
            bar.update(gradients)

        yield update
