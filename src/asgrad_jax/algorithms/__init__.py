"""The named algorithms: one function per member of the asynchronous SGD family.

Pseudocode: x is the server's iterate, gamma the step size, n the number of workers, b
the gradients per step; "g of i" is a gradient of f_i taken at the iterate that was
current when worker i got the job. A worker with several jobs does them in turn. "hom"
methods need workers with the same data distribution to converge to the minimum of f;
"het" ones do not. Each function names its source; there is one file per family.
"""

from collections.abc import Callable
from typing import Any

from asgrad_jax.algorithms import registry
from asgrad_jax.algorithms.algorithm import Algorithm
from asgrad_jax.algorithms.asynchronous import fedbuff as fedbuff
from asgrad_jax.algorithms.asynchronous import pure_async as pure_async
from asgrad_jax.algorithms.asynchronous import pure_waiting as pure_waiting
from asgrad_jax.algorithms.asynchronous import random_async as random_async
from asgrad_jax.algorithms.asynchronous import random_waiting as random_waiting
from asgrad_jax.algorithms.asynchronous import shuffled_async as shuffled_async
from asgrad_jax.algorithms.asynchronous import shuffled_waiting as shuffled_waiting
from asgrad_jax.algorithms.clipping import clipped as clipped
from asgrad_jax.algorithms.clipping import clipped_random as clipped_random
from asgrad_jax.algorithms.clipping import picky as picky
from asgrad_jax.algorithms.delay_aware import delay_adaptive as delay_adaptive
from asgrad_jax.algorithms.delay_aware import ringmaster as ringmaster
from asgrad_jax.algorithms.delay_aware import ringmaster_stops as ringmaster_stops
from asgrad_jax.algorithms.delay_aware import staleness_aware as staleness_aware
from asgrad_jax.algorithms.fresh_gradients import async_minibatch as async_minibatch
from asgrad_jax.algorithms.fresh_gradients import malenia as malenia
from asgrad_jax.algorithms.fresh_gradients import noise_batch as noise_batch
from asgrad_jax.algorithms.fresh_gradients import rennala as rennala
from asgrad_jax.algorithms.fresh_gradients import rennala_restart as rennala_restart
from asgrad_jax.algorithms.fresh_gradients import throttle as throttle
from asgrad_jax.algorithms.gradient_tables import ace as ace
from asgrad_jax.algorithms.gradient_tables import ca2fl as ca2fl
from asgrad_jax.algorithms.gradient_tables import dude_asgd as dude_asgd
from asgrad_jax.algorithms.gradient_tables import ia2sgd as ia2sgd
from asgrad_jax.algorithms.protocol import EventAlgorithm
from asgrad_jax.algorithms.recent import aced as aced
from asgrad_jax.algorithms.registry import facts as facts
from asgrad_jax.algorithms.ringleader import ringleader as ringleader
from asgrad_jax.algorithms.round_algorithm import RoundAlgorithm
from asgrad_jax.algorithms.speed_aware import generalized_async as generalized_async
from asgrad_jax.algorithms.speed_aware import naive_optimal as naive_optimal
from asgrad_jax.algorithms.speed_aware import rescaled as rescaled
from asgrad_jax.algorithms.synchronous import incremental as incremental
from asgrad_jax.algorithms.synchronous import m_synchronous as m_synchronous
from asgrad_jax.algorithms.synchronous import minibatch as minibatch
from asgrad_jax.algorithms.synchronous import minibatch_sampled as minibatch_sampled
from asgrad_jax.algorithms.synchronous import random_reshuffling as random_reshuffling
from asgrad_jax.algorithms.synchronous import sgd as sgd
from asgrad_jax.algorithms.synchronous import shuffle_once as shuffle_once
from asgrad_jax.algorithms.task_allocation import ata as ata
from asgrad_jax.algorithms.task_allocation import gta as gta
from asgrad_jax.algorithms.task_allocation import ofta as ofta
from asgrad_jax.algorithms.task_allocation import uta as uta
from asgrad_jax.algorithms.time_limits import mindflayer as mindflayer
from asgrad_jax.algorithms.time_limits import vecna as vecna

_REGISTRY: dict[str, Callable[..., Algorithm | RoundAlgorithm]] = {
    make.__name__: make
    for make in (
        pure_async,
        pure_waiting,
        random_async,
        random_waiting,
        shuffled_async,
        shuffled_waiting,
        fedbuff,
        minibatch,
        minibatch_sampled,
        sgd,
        random_reshuffling,
        shuffle_once,
        incremental,
        delay_adaptive,
        ringmaster,
        rennala,
        staleness_aware,
        ringmaster_stops,
        naive_optimal,
        rescaled,
        generalized_async,
        rennala_restart,
        async_minibatch,
        malenia,
        m_synchronous,
        mindflayer,
        vecna,
        ata,
        gta,
        uta,
        ofta,
        throttle,
        ia2sgd,
        dude_asgd,
        ace,
        aced,
        ca2fl,
        ringleader,
        clipped,
        clipped_random,
        picky,
    )
}


def names() -> list[str]:
    """Returns the names of the registered algorithms, in the order of this page.

    Example:
        >>> names()[:3]
        ['pure_async', 'pure_waiting', 'random_async']
    """
    return list(_REGISTRY)


def methods_table() -> str:
    """Returns the page with what every algorithm can do, as in docs/methods-table.md.

    Example:
        >>> methods_table().splitlines()[0]
        '# Algorithms and what they can do'
    """
    return registry.methods_table(_REGISTRY)


def get(
    algorithm: str | Algorithm | RoundAlgorithm | EventAlgorithm, **parameters: Any
) -> Algorithm | RoundAlgorithm | EventAlgorithm:
    """Returns an algorithm by name, or the object itself if it is one already.

    Args:
        algorithm: one of `names()`, an `Algorithm` or `RoundAlgorithm`, or an object
            with `name`, `start` and `arrive` (see `EventAlgorithm`).
        **parameters: for the function of that name, for example wait=5.

    Returns:
        The algorithm.

    Raises:
        ValueError: if no algorithm has that name; the known ones are listed.
        TypeError: if `algorithm` is something else, or parameters come with an object.

    Example:
        >>> get("fedbuff", wait=3).wait
        3
    """
    if isinstance(algorithm, str):
        return registry.find(algorithm, _REGISTRY)(**parameters)
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
        f"algorithm must be a name ({', '.join(_REGISTRY)}), an Algorithm or "
        "RoundAlgorithm, or an object with `name`, `start` and `arrive`, got "
        f"{algorithm!r}"
    )
