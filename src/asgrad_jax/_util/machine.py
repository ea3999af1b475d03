"""What this process may use of the machine."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil


def usable_cores() -> int:
    """Returns how many cores of the CPU this process may use.

    Its affinity (`taskset`, a job scheduler's grant), the quota of its container and
    `LOKY_MAX_CPU_COUNT` in the environment count, whichever is least.

    Example:
        >>> usable_cores() >= 1
        True
    """
    from joblib import cpu_count  # a third of a second that an import need not take

    return cpu_count()


def available_memory() -> int:
    """Returns the bytes of main memory that this process may still take.

    That is what the machine has, pages that files merely cache included, and no more
    than the control groups of a container or a scheduler's job leave (Linux).

    Example:
        >>> available_memory() > 0
        True
    """
    left = psutil.virtual_memory().available
    return max(0, min([left, *cgroup_headroom()]))


def cgroup_headroom(
    own: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Yields the bytes that each control group around this process leaves, if limited.

    That is the limit less what is in use, but for cached files that nobody reads. `own`
    names the process's groups, `mount` is where the groups are files.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, kinds, group = line.split(":", 2)
        if kinds == "":  # the second version, which has one tree
            base, names = mount, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            base = mount / "memory"
            names = (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
        else:
            continue
        inside = PurePosixPath(group.lstrip("/"))
        for part in (inside, *inside.parents):
            left = _left(base / part, *names)
            if left is not None:
                yield left


def _left(folder: Path, limit: str, usage: str, idle: str) -> int | None:
    """Returns the bytes that one group leaves; None if it has no limit."""
    try:
        most = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        stat = (folder / "memory.stat").read_text().split()
    except OSError:  # the root of the tree, or a group that a container does not see
        return None
    if most == "max":
        return None
    cached = dict(zip(stat[::2], stat[1::2], strict=True)).get(idle, 0)
    return int(most) - used + int(cached)
