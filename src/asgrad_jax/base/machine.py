"""What this process may use of the machine."""

import os


def usable_cores() -> int:
    """Returns how many cores of the CPU this process may use.

    Linux tells which ones (`taskset`, a job scheduler's grant); macOS and Windows only
    how many there are.

    Example:
        >>> usable_cores() >= 1
        True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
