"""Runs the calls of a sweep on a Dask cluster, or on any executor of processes."""

import collections
import dataclasses
import hashlib
import os
import queue
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np

from asgrad_jax._util import provenance
from asgrad_jax._util.errors import CallsFailed
from asgrad_jax._util.settings import recorded
from asgrad_jax.experiments.calls import Batch, ProgramGroup
from asgrad_jax.experiments.execute import Outcome, join_batches, wanted_batches
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.experiments.folder import Store
from asgrad_jax.experiments.pools import DaskPool, ProcessPool
from asgrad_jax.experiments.remote_call import CallSpec, Done, Failed, Unknown

_TRIES = 3  # of a call that raises
_LOSSES = 20  # of a call whose worker, or what it needs, was lost on the way
_LOOK_SECONDS = 1.0  # between two looks at how many workers there are


class Cluster:
    """The processes of a sweep, through the client or executor that the user has.

    Args:
        client: a `dask.distributed.Client`, or a `concurrent.futures.Executor`.

    Attributes:
        devices: those that the calls ran on.

    Raises:
        TypeError: if it is neither.
    """

    def __init__(self, client: Any):
        if not callable(getattr(client, "submit", None)):
            raise TypeError(
                "client must be a dask.distributed.Client or an executor of "
                f"concurrent.futures, got {client!r}; see docs/cluster.md"
            )
        self.pool = (DaskPool if hasattr(client, "scatter") else ProcessPool)(client)
        self.devices: set[str] = set()

    def planned_for(self, experiment: Experiment) -> Experiment:
        """Returns the experiment with the cores and the memory of these processes."""
        plan = self.pool.plan()
        if experiment.memory_budget is not None:
            del plan["memory_budget"]
        return dataclasses.replace(experiment, **plan)

    def run_group(
        self,
        group: ProgramGroup,
        missing: np.ndarray,
        store: Store | None,
        on_progress: Callable[[int], None],
    ) -> dict[int, Outcome]:
        """Runs the batches with missing lanes, as `execute` asks for it.

        Raises:
            CallsFailed: if a call failed three times, after all others have run.
            RuntimeError: if the executor broke.
        """
        batches = wanted_batches(group, missing)
        calls = _Calls(self, group, missing, batches, store, on_progress)
        try:
            with self.pool.listening(calls.heard):
                calls.run()
        except BaseException:
            self.pool.stop(calls.running.values())
            raise
        if calls.failed:
            raise CallsFailed(calls.report())
        return join_batches(batches, [calls.done[k] for k in range(len(batches))])


class _Calls:
    """The calls of one program: which wait, run, are done or have failed."""

    def __init__(
        self,
        cluster: Cluster,
        group: ProgramGroup,
        missing: np.ndarray,
        batches: list[Batch],
        store: Store | None,
        on_progress: Callable[[int], None],
    ):
        self.cluster, self.pool = cluster, cluster.pool
        self.group, self.batches, self.store = group, batches, store
        self.folder = None
        if store:
            self.folder = os.path.abspath(store.folder), store.owner
        self.on_progress = on_progress
        self.wanted = [
            int(missing[list(batch.schedules), batch.lanes].sum()) for batch in batches
        ]
        self.payload = cloudpickle.dumps(group.experiment)
        self.digest = hashlib.sha256(self.payload).hexdigest()
        self.answers: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self.waiting = collections.deque(range(len(batches)))
        self.running: dict[int, Any] = {}
        self.done: dict[int, list[Outcome]] = {}
        self.failed: dict[int, Failed] = {}
        self.lacking: set[int] = set()  # those that a process knew nothing of
        self.tries, self.losses = collections.Counter(), collections.Counter()
        self.told = collections.Counter()

    def heard(self, number: int, gradients: int) -> None:
        """Takes a message about a call's progress, from any thread."""
        self.answers.put((number, gradients))

    def run(self) -> None:
        """Runs until every call is done or has failed three times."""
        while self.waiting or self.running:
            while self.waiting and len(self.running) < self.pool.slots():
                self._submit(self.waiting.popleft())
            try:
                number, answer = self.answers.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(answer, int):
                self._progress(number, answer)
                continue
            del self.running[number]
            self._take(number, self.pool.result(answer))

    def _submit(self, number: int) -> None:
        batch = self.batches[number]
        spec = CallSpec(
            number,
            self.group.part(batch),
            self.wanted[number],
            self.folder,
            recorded(),
            provenance.versions(),
            self.pool.topic,
        )
        future = self.pool.submit(
            self.digest,
            self.payload,
            cloudpickle.dumps(spec),
            lacking=number in self.lacking,
        )
        self.running[number] = future
        future.add_done_callback(lambda f: self.answers.put((number, f)))

    def _take(self, number: int, result: Done | Failed | Unknown | None) -> None:
        match result:
            case Done():
                self._save(number, result)
                return
            case Failed():
                self.tries[number] += 1
            case Unknown():
                self.lacking.add(number)
            case None:
                self.losses[number] += 1
                if self.losses[number] >= _LOSSES:
                    words = f"its worker was lost {_LOSSES} times"
                    result = Failed("one worker after another", words, words)
                    self.tries[number] = _TRIES
        if isinstance(result, Failed) and self.tries[number] >= _TRIES:
            self.failed[number] = result
        else:
            self.waiting.append(number)

    def _save(self, number: int, result: Done) -> None:
        batch = self.batches[number]
        if self.store:
            for k, outcome in zip(batch.schedules, result.outcomes, strict=True):
                self.store.save_lanes(
                    self.group.key(k),
                    self.group.config_keys[:, batch.lanes],
                    {**outcome.metrics, "finite": outcome.finite},
                )
            for key in result.checkpoints:
                self.store.forget(key)
        self.done[number] = result.outcomes
        self.cluster.devices.add(result.device)
        self._progress(number, self.wanted[number] * len(self.group.schedules[0]))

    def _progress(self, number: int, gradients: int) -> None:
        """Tells what is new; a call that begins again does not take anything back."""
        if (new := gradients - self.told[number]) > 0:
            self.told[number] = gradients
            self.on_progress(new)

    def report(self) -> str:
        """Says which calls failed, where, and how."""
        kept = "not kept, since there is no directory"
        if self.store:
            kept = f"kept in {self.store.folder}"
        lines = [
            f"{len(self.failed)} of {len(self.batches)} calls failed {_TRIES} times; "
            f"what the others computed is {kept}"
        ]
        shown: set[str] = set()
        for number, failed in sorted(self.failed.items()):
            batch = self.batches[number]
            names = ", ".join(
                f"{self.group.schedules[k].name} (seed {self.group.seeds[k]})"
                for k in batch.schedules
            )
            lines.append(f"{names}, last on {failed.worker}: {failed.words}")
            if failed.traceback not in shown:  # once for all that failed alike
                shown.add(failed.traceback)
                lines.append(failed.traceback)
        return "\n".join(lines)
