"""`tune`: one grid, budget and noise for all; chosen on some seeds, told on others."""

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import check_count, check_number, check_seed
from asgrad_jax.experiments.sweep import sweep
from asgrad_jax.experiments.until import sweep_until
from asgrad_jax.problems.problem import Problem
from asgrad_jax.results.results import best


def tune(
    problem: Problem,
    *,
    algorithms: Any,
    compute_times: Any,
    step_sizes: ArrayLike,
    seeds: Sequence[int],
    tuning_seeds: Sequence[int],
    num_gradients: int | None = None,
    until: float | None = None,
    metric: str = "grad_norm",
    maximize: bool = False,
    extend: int = 3,
    directory: str | os.PathLike | None = None,
    progress: bool | Callable[[int, int], None] | None = None,
    **arguments: Any,
) -> xr.Dataset:
    """Runs a sweep whose step sizes are chosen on other seeds than they are judged by.

    Every algorithm gets the same step sizes, the same budget, and per seed the same
    compute times and mini-batch noise. First all step sizes run on the tuning seeds.
    Where the best one (by the rule of `best`) of some algorithm lies on the edge of the
    grid, the grid grows there for all algorithms, by the factor between its last two
    values, at most `extend` times at each end. Then the fresh seeds run.

    The result is marked: `best`, the tables and the figures of it choose on the tuning
    seeds and show the others. A best value that is on the edge even then is flagged
    there (`on_edge`), as for any sweep.

    Args:
        problem, algorithms, compute_times: as for `sweep`.
        step_sizes: [G >= 2] numbers > 0.
        seeds: fresh seeds, which results are told of.
        tuning_seeds: seeds to choose on, none of them among `seeds`.
        num_gradients: budget of a run in gradients; give either this or `until`.
        until: budget in virtual time, seconds > 0: every run ends then, however many
            gradients it took, and the records are at R + 1 common times; see `Returns`.
            A run that can no longer go on stays where it is.
        metric, maximize: what is chosen by, as for `best`.
        extend: how many values may be added at each end of the grid.
        directory, progress: as for `sweep`; progress counts anew for each part.
        **arguments: the others of `Grid`: record_every, server, metrics, ...

    Returns:
        The dataset that `sweep` describes, over all step sizes, tuning and fresh seeds,
        with the coordinate `tuning` [seed] (bool) and the attribute `tuned` (JSON: the
        step sizes that were given, and the rule's metric). With `until`, `gradients`
        and `server_steps` are those used until each record's time.

    Raises:
        ValueError, TypeError: as `sweep`, and for seeds that are both, fewer than two
            step sizes, or both budgets or none.

    Example:
        >>> import asgrad_jax as ag
        >>> result = ag.tune(
        ...     ag.quadratic(num_workers=4, num_features=3, noise=0.5),
        ...     algorithms=["pure_async", "minibatch"],
        ...     compute_times=ag.compute_times.exponential([1, 2, 3, 4]),
        ...     step_sizes=[0.001, 0.002], tuning_seeds=[100, 101], seeds=range(3),
        ...     num_gradients=100, extend=1)
        >>> result["step_size"].values
        array([0.001, 0.002, 0.004])
        >>> result["seed"].values[~result["tuning"]]
        array([0, 1, 2])
    """
    if (num_gradients is None) == (until is None):
        got = "none" if until is None else "both"
        raise ValueError(f"either num_gradients or until must be given, got {got}")
    extend = check_count("extend", extend, minimum=0)
    fresh, chosen_on = _seeds("seeds", seeds), _seeds("tuning_seeds", tuning_seeds)
    if shared := {*fresh} & {*chosen_on}:
        raise ValueError(
            f"seeds and tuning_seeds must be different ones, got {min(shared)} in both"
        )
    sizes = np.unique(np.asarray(step_sizes, np.float64))
    if len(sizes) < 2:
        raise ValueError(f"step_sizes must be two or more, got {sizes.tolist()}")
    given: dict[str, Any] = dict(
        algorithms=algorithms,
        compute_times=compute_times,
        progress=progress,
        **arguments,
    )

    def run(step_sizes: NDArray, seeds: list[int], folder: str) -> xr.Dataset:
        asked = given | {"step_sizes": step_sizes, "seeds": seeds}
        if until is None:
            return sweep(
                problem, num_gradients=num_gradients, directory=folder, **asked
            )
        return sweep_until(
            problem,
            until=check_number("until", until, above=0),
            directory=Path(folder),
            all_seeds=[*chosen_on, *fresh],
            **asked,
        )

    with tempfile.TemporaryDirectory() as temporary:
        folder = temporary if directory is None else os.fspath(directory)
        left = {0: extend, -1: extend}  # values that may still be added at an end
        while True:
            result = run(sizes, chosen_on, folder)
            wanted = [
                end for end in _edges(result, metric, maximize=maximize) if left[end]
            ]
            if not wanted:
                break
            for end in wanted:
                left[end] -= 1
                sizes = _longer(sizes, end)
        result = run(sizes, [*chosen_on, *fresh], folder)
    marked = np.isin(result["seed"].values, chosen_on)
    result = result.assign_coords(tuning=("seed", marked))
    asked = {"step_sizes": np.ravel(step_sizes).tolist(), "metric": metric}
    result.attrs["tuned"] = json.dumps(asked | {"maximize": maximize})
    return result


def _seeds(name: str, given: Sequence[int]) -> list[int]:
    found = [check_seed(seed) for seed in np.ravel(np.asarray(given)).tolist()]
    if not found:
        raise ValueError(f"{name} must be one seed or more, got none")
    return found


def _edges(result: xr.Dataset, metric: str, *, maximize: bool) -> list[int]:
    """At which ends of the grid, 0 and -1, some algorithm has its best step size."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the best hyper-parameters")
        chosen = best(result, metric, maximize=maximize)["step_size"].values
    sizes = np.sort(result["step_size"].values)
    # Where no step size kept every seed finite, smaller ones may.
    lower = (chosen == sizes[0]).any() or np.isnan(chosen).any()
    return [end for end, hit in ((0, lower), (-1, (chosen == sizes[-1]).any())) if hit]


def _longer(sizes: NDArray, end: int) -> NDArray:
    """A sorted grid with one value more at an end, by the factor of the last two.

    Example:
        >>> _longer(np.array([1.0, 2.0, 8.0]), -1).tolist()
        [1.0, 2.0, 8.0, 32.0]
    """
    if end == 0:
        return np.append(sizes[0] ** 2 / sizes[1], sizes)
    return np.append(sizes, sizes[-1] ** 2 / sizes[-2])
