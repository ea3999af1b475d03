"""The cluster that a command runs on."""

import contextlib
import importlib
from collections.abc import Generator
from typing import Any


@contextlib.contextmanager
def connected(scheduler: str | None, cluster: str | None) -> Generator[Any, None, None]:
    """Yields a Dask client, or None where neither is given.

    Args:
        scheduler: HOST:PORT of a scheduler that runs.
        cluster: "local" starts one process per core that this one may use.

    Raises:
        ValueError: if both are given.
        ImportError: if Dask is not installed.
        OSError: if the scheduler does not answer.
    """
    if scheduler is None and cluster is None:
        yield None
        return
    if scheduler and cluster:
        raise ValueError("give one of --scheduler and --cluster, not both")
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise ImportError(
            "--scheduler and --cluster need Dask: pip install 'asgrad-jax[cluster]'"
        ) from None
    from asgrad_jax._util.machine import usable_cores

    with contextlib.ExitStack() as stack:
        where: Any = scheduler
        if where is None:
            where = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=usable_cores(),
                    threads_per_worker=1,
                    dashboard_address=None,
                )
            )
        yield stack.enter_context(distributed.Client(where))
