"""The largest memory of a process over a stretch of work (Linux)."""

import ctypes
import gc
import re
from pathlib import Path


def trim() -> None:
    """Gives what was freed back to the system, so that it does not hide new needs."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def begin() -> int:
    """Forgets the peak so far and returns the resident bytes now."""
    # `getrusage` will not do: a child's peak starts at its parent's size.
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def growth(before: int) -> int:
    """Returns by how many bytes the peak since `begin` exceeds what was there."""
    return _status("VmHWM") - before


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", text).group(1))
