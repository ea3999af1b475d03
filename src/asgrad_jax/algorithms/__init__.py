"""The named algorithms: one function per member of the asynchronous SGD family.

Pseudocode: x is the server's iterate, gamma the step size, n the number of workers, b
the gradients per step; "g of i" is a gradient of f_i taken at the iterate that was
current when worker i got the job. A worker with several jobs does them in turn. Where
a docstring says "homogeneous", workers need the same data distribution for the method
to converge to the minimum of f; "heterogeneous" methods do not need it. Each function
names its source; there is one file per family.
"""

import importlib
import pkgutil
from typing import Any

from asgrad_jax.algorithms.algorithm import Algorithm as Algorithm
from asgrad_jax.algorithms.protocol import Decision as Decision
from asgrad_jax.algorithms.protocol import EventAlgorithm as EventAlgorithm
from asgrad_jax.algorithms.protocol import Job as Job
from asgrad_jax.algorithms.protocol import Server as Server
from asgrad_jax.algorithms.registry import REGISTRY as _REGISTRY
from asgrad_jax.algorithms.registry import Properties as Properties
from asgrad_jax.algorithms.registry import methods_table as methods_table
from asgrad_jax.algorithms.registry import names as names
from asgrad_jax.algorithms.registry import properties as properties
from asgrad_jax.algorithms.registry import register as register
from asgrad_jax.algorithms.round_algorithm import RoundAlgorithm as RoundAlgorithm

# The families in the order of the table; a file that is not named here comes last.
_FAMILIES = (
    "asynchronous",
    "synchronous",
    "delay_aware",
    "fresh_gradients",
    "speed_aware",
    "time_limits",
    "task_allocation",
    "gradient_tables",
    "ringleader",
    "clipping",
)
_FILES = [module.name for module in pkgutil.iter_modules(__path__)]
for _name in (*_FAMILIES, *(name for name in _FILES if name not in _FAMILIES)):
    importlib.import_module(f"{__name__}.{_name}")
globals().update(_REGISTRY)  # some algorithms are called like their file
noise_batch = importlib.import_module(f"{__name__}.fresh_gradients").noise_batch


def __getattr__(name: str) -> Any:
    """The functions of algorithms that users registered, by their names."""
    if name in _REGISTRY.names():
        return _REGISTRY.find(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    own = [name for name in globals() if not name.startswith("_")]
    return sorted({*own, *names()} - {"importlib", "pkgutil", "Any", *_FILES})


def get(
    algorithm: str | Algorithm | RoundAlgorithm | EventAlgorithm, **parameters: Any
) -> Algorithm | RoundAlgorithm | EventAlgorithm:
    """Returns an algorithm by name, or the object itself if it is one already.

    Args:
        algorithm: one of `names()`, an `Algorithm` or `RoundAlgorithm`, or an object
            with `name`, `start` and `arrive` (see `EventAlgorithm`).
        **parameters: for the function of that name, for example gradients_per_step=5.

    Raises:
        ValueError: if no algorithm has that name; the known ones are listed.
        TypeError: if `algorithm` is something else, or parameters come with an object.

    Example:
        >>> get("fedbuff", gradients_per_step=3).gradients_per_step
        3
    """
    if isinstance(algorithm, str):
        return _REGISTRY.find(algorithm)(**parameters)
    if isinstance(algorithm, (Algorithm, RoundAlgorithm)) or (
        isinstance(algorithm, EventAlgorithm) and not isinstance(algorithm, type)
    ):
        if parameters:
            raise TypeError(
                f"algorithm must be a name where parameters ({', '.join(parameters)}) "
                f"are given, got an object, {algorithm.name}"
            )
        return algorithm
    if callable(algorithm):  # a class, or one of the functions of this module
        name = getattr(algorithm, "__name__", repr(algorithm))
        raise TypeError(
            f"algorithm must be a name or an object, got {name} itself; give what it "
            f"makes, {name}(...)"
        )
    raise TypeError(
        f"algorithm must be a name ({', '.join(names())}), an Algorithm or "
        "RoundAlgorithm, or an object with `name`, `start` and `arrive`, got "
        f"{algorithm!r}"
    )
