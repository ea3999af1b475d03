"""Where a result comes from: versions, device and commit."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from asgrad_jax._util.settings import devices

_PACKAGES = ("asgrad-jax", "jax", "jaxlib", "numpy", "numba", "optax")


@functools.cache
def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that shape a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


def device() -> str:
    """Returns the kind and number of the devices in use, and the flags of XLA."""
    used = devices()
    kind = used[0].device_kind
    text = f"{len(used)} x {used[0].platform} ({kind}, {platform.machine()})"
    # They may change how XLA rounds.
    flags = os.environ.get("XLA_FLAGS", "").strip()
    return f"{text}, XLA_FLAGS={flags}" if flags else text


@functools.cache
def commit() -> str:
    """Returns the commit of the checkout that the package runs from, "+" if changed.

    "" for an installed wheel: its version says it all.
    """
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        # A wheel installed below somebody's own repository is not of that repository.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        changed = git("status", "--porcelain", "--", str(folder.parent))
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""
