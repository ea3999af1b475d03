"""Fair timing: warm, interleaved, medians of several rounds in one process."""

import statistics
import time
from collections.abc import Callable


def interleave(
    functions: dict[str, Callable[[], object]], *, rounds: int = 7
) -> dict[str, float]:
    """Times functions in turn, so that a drift of the machine hits all alike.

    Args:
        functions: name -> function that returns when its work is done.
        rounds: counted rounds, after one that compiles and warms the caches.

    Returns:
        name -> median seconds.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
