"""Where the calls of a cluster go: Dask, or any executor of processes."""

import collections
import concurrent.futures
import contextlib
import importlib
import os
import uuid
from collections.abc import Callable, Generator, Iterable
from typing import Any

from asgrad_jax.engine.devices import default_batching
from asgrad_jax.engine.memory import free_memory
from asgrad_jax.experiments.remote_call import (
    Done,
    Failed,
    Unknown,
    run_call,
    stop_calls,
)

_Heard = Callable[[int, int], None]  # takes a call's number and its gradients so far
_WARNING = "distributed.admin.large-graph-warning-threshold"  # which arrays are above
# What a Dask worker may use of its memory before it is paused, and takes itself.
_WORKER_SHARE, _WORKER_BYTES = 0.7, 400_000_000


class ProcessPool:
    """An executor of `concurrent.futures`, whose processes are on one machine or many.

    The first calls bring what all share; a process that has not got it yet says so, and
    the call comes again with it.
    """

    topic = ""

    def __init__(self, executor: concurrent.futures.Executor):
        self.executor = executor
        workers = getattr(executor, "_max_workers", None)
        workers = workers or getattr(executor, "num_workers", None)  # mpi4py
        self.processes = int(workers or os.cpu_count() or 1)
        self.sent = 0

    def plan(self) -> dict[str, Any]:
        """Returns the fields of an experiment that say where it runs."""
        return {
            "processes": self.processes,
            "threads": 1,
            "batching": default_batching(),
            "memory_budget": free_memory() / self.processes,
        }

    def slots(self) -> int:
        """Returns how many calls can run at once."""
        return self.processes

    def submit(self, digest: str, payload: bytes, call: bytes, *, lacking: bool) -> Any:
        """Starts a call; `lacking`: a process did not have the payload."""
        self.sent += 1
        bring = lacking or self.sent <= self.processes
        with self._whole():
            return self.executor.submit(
                run_call, digest, payload if bring else None, call
            )

    def result(self, future: Any) -> Done | Failed | Unknown | None:
        """Returns a call's result.

        Raises:
            RuntimeError: if the executor broke or was shut down.
        """
        with self._whole():
            try:
                return future.result()
            except (
                concurrent.futures.BrokenExecutor,
                concurrent.futures.CancelledError,
            ):
                raise
            except Exception as error:  # what came back, or went, could not be pickled
                words = f"{type(error).__name__}: {error}"
                return Failed("a process of the executor", words, words)

    @contextlib.contextmanager
    def _whole(self) -> Generator[None, None, None]:
        try:
            yield
        except (
            concurrent.futures.BrokenExecutor,
            concurrent.futures.CancelledError,
        ) as error:
            raise RuntimeError(
                f"the executor ended before the sweep did ({error}); lanes that were "
                "finished are kept where there is a directory: run the same with a new "
                "executor to go on"
            ) from error

    @contextlib.contextmanager
    def listening(self, heard: _Heard) -> Generator[None, None, None]:
        """Processes of an executor tell nothing before a call's end."""
        yield

    def stop(self, futures: Iterable[Any]) -> None:
        """Cancels the calls that have not begun."""
        for future in futures:
            future.cancel()


class DaskPool:
    """A Dask cluster, whose workers may die, join and leave."""

    def __init__(self, client: Any):
        if getattr(client, "asynchronous", False):
            raise TypeError(
                "client must be synchronous, got an asynchronous Dask client; make it "
                "without asynchronous=True"
            )
        self.client = client
        self.dask: Any = importlib.import_module("dask")
        self.topic = f"asgrad-{uuid.uuid4().hex}"
        self.count = 0
        self.shared: Any = None
        self.placed: list[
            tuple[Any, str | None]
        ] = []  # calls, and the workers they are for

    def plan(self) -> dict[str, Any]:
        """Returns the fields of an experiment that say where it runs, from a worker."""
        self.client.wait_for_workers(1)
        threads = self.client.nthreads().values()
        batching, free = self.client.submit(_probe, pure=False).result()
        workers = self.client.scheduler_info()["workers"].values()
        limits = [w["memory_limit"] for w in workers if w.get("memory_limit")]
        if batching == "single" and limits:
            free = min(free, _WORKER_SHARE * min(limits) - _WORKER_BYTES)
        return {
            "processes": len(threads),
            "threads": min(threads),
            "batching": batching,
            "memory_budget": free,
        }

    def slots(self) -> int:
        """Returns how many calls can run at once now."""
        return sum(self.client.nthreads().values())

    def submit(self, digest: str, payload: bytes, call: bytes, *, lacking: bool) -> Any:
        """Starts a call; what all share comes to each worker once."""
        # Scattered data is lost with the workers that have it. A task's arguments are
        # kept by the scheduler, which runs it again where its result was lost.
        self.count += 1
        with self.dask.config.set({_WARNING: "1TB"}):
            if self.shared is None:
                self.shared = self.client.submit(_same, payload, key=f"asgrad-{digest}")
            worker = self._least_busy()
            future = self.client.submit(
                run_call,
                digest,
                self.shared,
                call,
                key=f"{self.topic}-{self.count}",
                pure=False,
                workers=worker,
                allow_other_workers=True,  # where that one dies
            )
        self.placed.append((future, worker))
        return future

    def _least_busy(self) -> str | None:
        """Returns the worker with the fewest calls for its threads.

        Dask would rather give a call to a busy worker that has what all share than to
        an idle one that must fetch it.
        """
        self.placed = [(f, w) for f, w in self.placed if not f.done()]
        calls = collections.Counter(worker for _, worker in self.placed)
        threads = self.client.nthreads()
        return min(threads, key=lambda w: calls[w] / threads[w], default=None)

    def result(self, future: Any) -> Done | Failed | Unknown | None:
        """Returns a call's result, None if it was lost on the way."""
        try:
            return future.result()
        except (concurrent.futures.CancelledError, OSError):
            self.shared = None  # it may be lost too
            return None
        except Exception as error:  # such as KilledWorker
            self.shared = None
            words = f"{type(error).__name__}: {error}"
            return Failed("a worker that did not answer", words, words)

    @contextlib.contextmanager
    def listening(self, heard: _Heard) -> Generator[None, None, None]:
        """Hands on what calls tell of their progress, as long as the block runs."""

        def take(event: tuple[float, Any]) -> None:
            _, message = event
            if isinstance(message, dict) and "gradients" in message:
                heard(message["number"], message["gradients"])

        self.client.subscribe_topic(self.topic, take)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # the connection may be gone
                self.client.unsubscribe_topic(self.topic)

    def stop(self, futures: Iterable[Any]) -> None:
        """Cancels all calls; those that run end at their next segment."""
        with contextlib.suppress(Exception):
            self.client.cancel(list(futures))
            self.client.run(stop_calls, self.topic, on_error="ignore")


def _same(payload: bytes) -> bytes:
    """Puts what all calls share on a worker; others fetch it from there."""
    return payload


def _probe() -> tuple[str, float]:
    """Says how a worker's device is used best, and what memory it has."""
    return default_batching(), free_memory()
