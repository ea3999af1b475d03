"""Asynchronous SGD experiments as one compiled sweep.

    import asgrad_jax as ag

Name a problem, algorithms, compute times, step sizes and seeds; `sweep` runs the grid
as one compiled program and returns a labelled `xarray.Dataset`.

The public names are listed in `__init__.pyi`; each is imported at its first use, so
that importing the package takes no time.
"""

import lazy_loader as _lazy_loader

from asgrad_jax._util import forks as _forks

_forks.watch()
_find, __dir__, __all__ = _lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str):
    if name == "__version__":
        from importlib.metadata import version

        return version("asgrad-jax")
    return _find(name)
