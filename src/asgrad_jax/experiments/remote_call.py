"""What a worker of a cluster does: one call of a plan, for another process.

What all calls of a sweep share (problem, functions) comes once to each process and is
kept under the checksum of its bytes, so that compiled programs are found again.
"""

import collections
import contextlib
import functools
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import cloudpickle

from asgrad_jax._util import provenance
from asgrad_jax._util.settings import as_recorded, fixed
from asgrad_jax.experiments.calls import ProgramGroup
from asgrad_jax.experiments.execute import Outcome, first_values, run_batch
from asgrad_jax.experiments.experiment import Experiment
from asgrad_jax.experiments.folder import Store

_KEPT = 4  # experiments in a process
_REPORT_SECONDS = 0.5  # between two messages about a call's progress
_versions = functools.cache(provenance.versions)


class CallSpec(NamedTuple):
    """One call, as it travels.

    Attributes:
        number: which one, in messages about it.
        group: of `ProgramGroup.part`.
        wanted: how many of its lanes are missing; progress counts those.
        folder: the run's folder and its owner, or None.
        settings: JAX's settings of the sweep, see `recorded`.
        versions: of the packages that shape a result.
        topic: under which a Dask worker tells its progress, and is told to stop; "" for
            other executors.
    """

    number: int
    group: ProgramGroup
    wanted: int
    folder: tuple[str, str] | None
    settings: dict[str, Any]
    versions: dict[str, str]
    topic: str


class Done(NamedTuple):
    """What a call gave: outcomes of its schedules, keys of checkpoints, the device."""

    outcomes: list[Outcome]
    checkpoints: list[str]
    device: str


class Failed(NamedTuple):
    """A call that raised: where, and the traceback as text."""

    worker: str
    words: str
    traceback: str


class Unknown(NamedTuple):
    """This process does not have the experiment yet."""


class _Shared:
    """What all calls of a sweep share, with the metrics of x_0."""

    def __init__(self, payload: bytes):
        self.experiment: Experiment = cloudpickle.loads(payload)
        self.first: dict[tuple, Any] = {}
        self.lock = threading.Lock()

    def first_values(self, group: ProgramGroup) -> Any:
        key = group.batch, group.lanes, group.batching, group.cores
        with self.lock:
            if key not in self.first:
                self.first[key] = first_values(group)
            return self.first[key]


_shared: collections.OrderedDict[str, _Shared] = collections.OrderedDict()
_stops: dict[str, threading.Event] = collections.defaultdict(threading.Event)
_lock = threading.Lock()


def run_call(
    digest: str, payload: bytes | None, call: bytes
) -> Done | Failed | Unknown:
    """Runs one call in this process.

    Args:
        digest: checksum of the payload.
        payload: the pickled `Experiment`; None if it should be here already.
        call: the pickled `CallSpec`.

    Returns:
        What came of it. Errors come back as text, since a worker's own classes and
        tracebacks may mean nothing elsewhere.
    """
    try:
        with _lock:
            if digest not in _shared:
                if payload is None:
                    return Unknown()
                _shared[digest] = _Shared(payload)
                while len(_shared) > _KEPT:
                    _shared.popitem(last=False)
            _shared.move_to_end(digest)
            shared = _shared[digest]
        return _run(cloudpickle.loads(call), shared)
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        return Failed(_name(), words, traceback.format_exc())


def _run(spec: CallSpec, shared: _Shared) -> Done:
    if (found := _versions()) != spec.versions:
        raise RuntimeError(
            f"a worker must have the sweep's versions, {spec.versions}, got {found}"
        )
    group, batch = spec.group.with_experiment(shared.experiment)
    store = None if spec.folder is None else Store.seen_from(*spec.folder)
    stop = _stops[spec.topic]
    x64 = shared.experiment.precision == "float64"
    with as_recorded(spec.settings), fixed(x64=x64):
        first = shared.first_values(group)
        report = _reporter(spec)
        outcomes = run_batch(group, batch, spec.wanted, first, store, stop, report)
        return Done(outcomes, store.kept if store else [], provenance.device())


def stop_calls(topic: str) -> None:
    """Ends the calls of a sweep in this process at their next segment."""
    _stops[topic].set()


def _reporter(spec: CallSpec) -> Callable[[int], None]:
    """Returns what tells the sweep how far a call is: on Dask, now and then."""
    if not spec.topic:
        return lambda gradients: None
    worker = _distributed().get_worker()
    done, told_at = 0, time.monotonic()

    def report(gradients: int) -> None:
        nonlocal done, told_at
        done += gradients
        if time.monotonic() - told_at >= _REPORT_SECONDS:
            told_at = time.monotonic()
            worker.log_event(spec.topic, {"number": spec.number, "gradients": done})

    return report


def _name() -> str:
    """Returns the name of this process: the host's and its number, and Dask's."""
    name = f"process {os.getpid()} on {platform.node()}"
    with contextlib.suppress(AttributeError, ValueError):  # no worker of Dask's
        name += f" ({_distributed().get_worker().address})"
    return name


def _distributed() -> Any:
    """Returns Dask's package, which its workers have imported."""
    return sys.modules.get("distributed")
