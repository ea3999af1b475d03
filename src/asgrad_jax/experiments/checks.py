"""Checks of what users hand to `run` and `sweep`, on the host, before anything runs."""

import dataclasses
import reprlib
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import (
    check_choice,
    check_count,
    check_number,
    check_numbers,
    refuse_masked,
)
from asgrad_jax.engine.devices import PRECISIONS
from asgrad_jax.engine.server import Params
from asgrad_jax.problems.problem import check_is_problem
from asgrad_jax.results.results import OWN_NAMES
from asgrad_jax.schedules.schedule import Schedule


def check_precision(precision: str) -> None:
    """Raises ValueError unless `precision` is known."""
    check_choice("precision", precision, PRECISIONS)


def check_problem(problem: Any) -> None:
    """Raises TypeError unless `problem` has what the engine asks of one."""
    check_is_problem(problem)
    missing = None
    if jax.tree_util.all_leaves([problem]):
        missing = "no pytree, so JAX cannot take it"
    elif not dataclasses.is_dataclass(problem):
        missing = "no dataclass, whose fields would tell what it is made of"
    elif not hasattr(problem, "__weakref__"):
        missing = "a class with slots alone, so its arrays cannot be kept on the device"
    if missing:
        raise TypeError(
            f"{type(problem).__name__} is {missing}; make it a frozen dataclass "
            "without slots and put @jax.tree_util.register_dataclass above it"
        )
    check_count("num_workers of the problem", problem.num_workers)


def check_hyper(
    step_size: ArrayLike, hyperparameters: Mapping[str, ArrayLike] | None
) -> dict[str, ArrayLike]:
    """Returns name -> values as given, `step_size` first; raises on bad names."""
    hyperparameters = hyperparameters or {}
    if not isinstance(hyperparameters, Mapping):
        raise TypeError(
            "hyperparameters must map names to values, such as {'momentum': [0, 0.9]},"
            f" got {hyperparameters!r}"
        )
    for name in hyperparameters:
        check_name("hyper-parameter", name)
    return {"step_size": step_size, **hyperparameters}


def check_values(name: str, values: ArrayLike, precision: str) -> np.ndarray:
    """Returns values of a hyper-parameter as float64 [S]; raises unless all will do."""
    array = np.atleast_1d(check_numbers(name, values, bools=True))  # optax has flags
    least = 0 if name == "step_size" else None
    array = check_numbers(name, array, ndim=1, minimum=least, finite=True)
    with np.errstate(over="ignore", under="ignore"):
        held = array.astype(PRECISIONS[precision])
    if (lost := ~np.isfinite(held) | ((held == 0) & (array != 0))).any():
        bad = int(np.flatnonzero(lost)[0])
        raise ValueError(
            f"{name}[{bad}] = {array[bad]} would be {held[bad]} in {precision}; give "
            "precision='float64' or another value"
        )
    return array


def check_budget(memory_budget: float | None) -> None:
    """Raises unless `memory_budget` is None or a positive number of bytes."""
    if memory_budget is not None:
        check_number("memory_budget (bytes)", memory_budget, above=0, finite=False)


def check_params(problem, params: Params | None, precision: str) -> Params:
    """Returns x_0 as host arrays of the problem's shapes; raises where they differ."""
    expected = problem.init_params()
    params = expected if params is None else params
    if jax.tree.structure(params) != jax.tree.structure(expected):
        given, wanted = (_described(tree) for tree in (params, expected))
        raise ValueError(
            f"params is {given}, the problem's are {wanted}; see problem.init_params()"
        )

    def check(path, given, wanted):
        where = f"params{jax.tree_util.keystr(path)}"
        refuse_masked(where, given)
        given, wanted = np.asarray(given), np.asarray(wanted)
        if given.shape != wanted.shape:
            raise ValueError(
                f"{where} has shape {given.shape}, the problem needs {wanted.shape}"
            )
        kinds = (jnp.floating, jnp.integer, jnp.bool_)
        if not any(jnp.issubdtype(given.dtype, kind) for kind in kinds):
            raise TypeError(
                f"{where} has the type {given.dtype}; real numbers are needed"
            )
        if not np.isfinite(np.asarray(given, np.float64)).all():
            raise ValueError(f"{where} has values that are not finite")
        if np.max(np.abs(given), initial=0) > np.finfo(PRECISIONS[precision]).max:
            raise ValueError(
                f"{where} has values that {precision} cannot hold; give "
                "precision='float64' or smaller ones"
            )
        # An integer start would silently turn the run into integer arithmetic.
        return np.asarray(given, np.promote_types(given.dtype, np.float32))

    return jax.tree_util.tree_map_with_path(check, params, expected)


def _described(tree: Params) -> str:
    """Says briefly what a pytree is."""
    if jax.tree_util.all_leaves([tree]):
        return f"an array of shape {np.shape(tree)}"
    leaves, structure = jax.tree.flatten(tree)
    kind = type(tree).__name__
    if not any(map(np.ndim, leaves)):
        return f"a {kind} of {len(leaves)} numbers"
    return f"a {kind}, {reprlib.repr(str(structure))}"


def check_schedule(problem, schedule: Schedule) -> None:
    """Raises unless the schedule is valid and made for the problem's workers."""
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"schedule must be an asgrad_jax.Schedule, got {type(schedule).__name__}; "
            "make one with ag.simulate(...) or ag.Schedule.from_arrays(...)"
        )
    schedule.validate()
    if schedule.num_workers != problem.num_workers:
        raise ValueError(
            f"the schedule has {schedule.num_workers} workers, the problem "
            f"{problem.num_workers}; build both for the same number of workers (a "
            "schedule made by hand has those that occur in it: give it num_workers)"
        )


def warn_without_steps(label: str, schedule: Schedule, *, stacklevel: int) -> None:
    """Warns of a schedule along which nothing moves.

    Args:
        label: what the schedule is called.
        schedule: any valid one.
        stacklevel: as for `warnings.warn`, counted from the caller of this function: 2
            points at whoever called that one.
    """
    if not schedule.step.any():
        warnings.warn(
            f"{label!r} makes no server step in {len(schedule)} gradients, so its runs "
            "stay at x_0; give it more gradients, or look at its rule",
            stacklevel=stacklevel + 1,
        )


def check_name(what: str, name: Any) -> None:
    """Raises unless results, files and arguments of functions can have the name."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(
            f"the {what} name {name!r} is none that an argument or a variable in a "
            "file can have; use letters, digits and underscores"
        )
    if name in OWN_NAMES:
        raise ValueError(
            f"the {what} name {name!r} is taken, as are "
            f"{', '.join(sorted(OWN_NAMES - {name}))}; choose another"
        )
