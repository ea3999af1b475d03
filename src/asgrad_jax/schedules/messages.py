"""How many messages had gone to and from the server, and how many bits these are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_number
from asgrad_jax.schedules.schedule import Schedule


def messages(
    schedule: Schedule, gradients: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts uploads and downloads until each of some moments of a run.

    Every gradient that reaches the server is one upload, also one that the server
    discards; every job is one download of the iterate, those in flight included. Their
    number is taken to be that at the end from the start on. Jobs that the server
    stopped are not counted.

    Args:
        schedule: of the run.
        gradients: integers [R], gradients used at each moment, 0..A.

    Returns:
        Uploads int64 [R] and downloads int64 [R].

    Example:
        >>> schedule = Schedule.from_arrays(worker=[0, 1, 0], read=[0, 0, 1])
        >>> up, down = messages(schedule, np.array([0, 3]))
        >>> up.tolist(), down.tolist()
        ([0, 3], [2, 5])
    """
    up = np.append(0, schedule.computed.astype(np.int64))[gradients]
    flying = len(schedule.in_flight_worker) or schedule.concurrency_max
    return up, up + flying


def sent_bits(
    schedule: Schedule,
    gradients: NDArray[np.integer],
    *,
    numbers: int,
    precision: Any,
    bits_up: float | None = None,
    bits_down: float | None = None,
) -> NDArray[np.float64]:
    """Counts the bits of `messages`, float64 [R].

    Args:
        schedule, gradients: as for `messages`.
        numbers: d, how many numbers the parameters have.
        precision: of one number, such as "float32".
        bits_up: of an uploaded gradient, >= 0; d numbers of the precision where left
            out.
        bits_down: of a downloaded iterate, likewise.

    Raises:
        TypeError, ValueError: if one of the two is no number >= 0.

    Example:
        >>> schedule = Schedule.from_arrays(worker=[0, 1, 0], read=[0, 0, 1])
        >>> moments = np.array([0, 3])
        >>> sent_bits(schedule, moments, numbers=10, precision="float32", bits_down=0)
        array([  0., 960.])
    """
    whole = 8.0 * np.dtype(precision).itemsize * numbers
    up = whole if bits_up is None else check_number("bits_up", bits_up, minimum=0)
    down = whole
    if bits_down is not None:
        down = check_number("bits_down", bits_down, minimum=0)
    uploads, downloads = messages(schedule, gradients)
    return up * uploads + down * downloads
