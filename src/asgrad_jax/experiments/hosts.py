"""Several hosts: who am I, what is my share, and are the others alive."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

_BEAT = 1.0  # seconds between two signs of life


def join(
    coordinator: str | None = None,
    *,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins this process to the others of a run on several hosts.

    Call it before anything else touches JAX, in every process. Without arguments the
    addresses come from the environment, as `jax.distributed.initialize` knows it
    (Slurm, TPU pods, Kubernetes, Open MPI). The processes meet once, learn who is who,
    and part again: after that they share nothing but a folder, so that none of them
    waits for another one's end, or is ended by it.

    Args:
        coordinator: `host:port` of process 0.
        num_processes: processes in all.
        process_id: this one's number, from 0.

    Raises:
        ValueError: if neither the arguments nor the environment say who is who.
        RuntimeError: if the others do not come, or JAX is in use already.
    """
    given = (coordinator, num_processes, process_id)
    try:
        jax.distributed.initialize(
            coordinator, num_processes=num_processes, process_id=process_id
        )
    except ValueError as error:
        raise ValueError(
            f"cannot tell who is who from coordinator, num_processes, process_id = "
            f"{given} and the environment ({error}); outside of Slurm, TPU pods, "
            "Kubernetes and Open MPI give all three"
        ) from error
    jax.devices()  # of all processes: this is where they learn who is who
    # Signs of life are our own (see `Heartbeat`): JAX, where a process is missing or
    # only late to end ends all others silently.
    jax.distributed.shutdown()


def share(items: Sequence[int]) -> list[int]:
    """Returns this process's part of the work, every P-th item.

    Example:
        >>> share([3, 4, 5])  # a single process has it all
        [3, 4, 5]
    """
    return list(items[jax.process_index() :: jax.process_count()])


class Heartbeat:
    """Shows that this process lives, and waits for others only while they do.

    The signs of life are small files in the run's folder, rewritten every second; a
    process counts as dead when its file stands still for `patience` seconds by the
    watcher's own clock, so the hosts' clocks need not agree.

    Args:
        folder: the run's folder, the same for all hosts.
        work: a word without blanks for what this process was asked to do; others that
            were asked for something else will never be done with it.
        patience: seconds of silence after which a process counts as dead.
    """

    def __init__(self, folder: str | os.PathLike, work: str, *, patience: float):
        self.folder = Path(folder) / "alive"
        self.work = work
        self.patience = patience
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Heartbeat":
        # Alone there is nobody to show it to.
        if jax.process_count() > 1:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _beat(self) -> None:
        mine = self.folder / f"{jax.process_index()}"
        count = 0
        while True:
            count += 1
            mine.write_text(f"{os.getpid()} {count} {self.work}")
            if self._stop.wait(_BEAT):
                return

    def wait(self, missing: Callable[[], Sequence[int]]) -> None:
        """Waits until nothing is missing.

        Args:
            missing: returns the processes whose work is not there yet.

        Raises:
            RuntimeError: if a process that others wait for shows no life, or shows
                that it does something else.
        """
        last: dict[int, tuple[str, float]] = {}
        while waited := missing():
            now = time.monotonic()
            for process in waited:
                try:
                    sign = (self.folder / f"{process}").read_text()
                except FileNotFoundError:
                    sign = ""
                known, since = last.get(process, (None, now))
                if sign != known:
                    last[process] = (sign, now)
                    # The first sign seen may be that of an earlier run.
                    words = sign.split()
                    if known and len(words) == 3 and words[2] != self.work:
                        time.sleep(3 * _BEAT)  # alive, for the other to see it too
                        raise RuntimeError(
                            f"process {process} of {jax.process_count()} runs another "
                            "sweep in the same folder, with other algorithms, compute "
                            "times, seeds or hyper-parameters; start the same command "
                            "with the same arguments everywhere"
                        )
                elif now - since > self.patience:
                    raise RuntimeError(
                        f"process {process} of {jax.process_count()} has shown no life "
                        f"for {self.patience:.0f} s; what is finished is kept in "
                        f"{self.folder.parent}: start the same command again to go on"
                    )
            time.sleep(_BEAT / 4)
