"""The named algorithms: one function per member of the asynchronous SGD family.

Pseudocode: x is the server's iterate, gamma the step size, n the number of workers, b
the gradients per step; "g of i" is a gradient of f_i taken at the iterate that was
current when worker i got the job. A worker with several jobs does them in turn. Where
a docstring says "homogeneous", workers need the same data distribution for the method
to converge to the minimum of f; "heterogeneous" methods do not need it. Each function
names its source; there is one file per family.
"""

from typing import Any

from asgrad_jax._util.registry import attach as _attach
from asgrad_jax.algorithms.algorithm import Algorithm as Algorithm
from asgrad_jax.algorithms.event_method import EventMethod as EventMethod
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
from asgrad_jax.schedules.server_rule import ServerRule as ServerRule
from asgrad_jax.schedules.server_rule import server_rule as server_rule

# The families in the order of the table; a file that is not named here comes last.
_FAMILIES = (
    "asynchronous",
    "synchronous",
    "delay_aware",
    "delay_steps",
    "momentum",
    "waiting_rules",
    "compensation",
    "adaptive_servers",
    "fresh_gradients",
    "speed_aware",
    "time_limits",
    "task_allocation",
    "gradient_tables",
    "ringleader",
    "clipping",
)
__getattr__, __dir__ = _attach(_REGISTRY, __name__, _FAMILIES)
# Here, because `fresh_gradients` must not register before its turn.
from asgrad_jax.algorithms.fresh_gradients import noise_batch as noise_batch  # noqa: E402


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
