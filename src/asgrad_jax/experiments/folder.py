"""A run's folder: finished lanes, checkpoints, and the config they belong to."""

import contextlib
import hashlib
import json
import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np

from asgrad_jax._util.files import remove_stale_temporaries
from asgrad_jax._util.lock import lock
from asgrad_jax._util.sealed import (
    Damaged,
    read_sealed_json,
    read_sealed_npz,
    write_sealed_json,
    write_sealed_npz,
)

_ASKED = "attribute config"  # of an outline
# What may grow when a sweep is run again in the same folder.
_MAY_GROW = ("algorithms", "compute_times", "seeds", "hyperparameters")


Point = tuple[float, ...]  # hyper-parameters of a lane, in order of their names


def lane_config_keys(hyper: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the hyper-parameters of all lanes, [H, S], in order of their names."""
    return np.stack([hyper[name] for name in sorted(hyper)])


def as_config_keys(columns: np.ndarray) -> list[Point]:
    """Returns the lanes of `lane_config_keys` one by one."""
    return [tuple(lane) for lane in columns.T.tolist()]


class Manifest(NamedTuple):
    """What was begun, as it was planned: resuming cuts it into the same calls.

    Attributes:
        schedules: keys of all schedules that count in the plan.
        lanes: hyper-parameters of its lanes.
        wanted: keys of the schedules that lacked these lanes.
    """

    schedules: list[str]
    lanes: list[Point]
    wanted: list[str]


class Store:
    """Finished lanes and checkpoints of one sweep, as files that are whole or absent.

    A lane is addressed by the content of its schedule, its seed and its
    hyper-parameters, so a sweep with more seeds or step sizes finds what is there.
    Every file carries a checksum, its own name and the config it belongs to; one that
    was changed, cut or put under another name is refused, never used.

    Args:
        folder: where the files lie; made if missing.
        config: what was asked, as plain values. Everything but the axes of the grid
            must equal what the folder was made with.

    Raises:
        ValueError: if the folder belongs to another config; the message shows the
            difference. If it is a file, or its config cannot be read.
    """

    def __init__(self, folder: str | os.PathLike, config: dict[str, Any]):
        self.folder = Path(folder)
        self.lanes = self.folder / "lanes"
        try:
            self.lanes.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ValueError(
                f"directory={str(folder)!r} is, or lies in, a file; name a folder"
            ) from None
        fixed = {k: v for k, v in config.items() if k not in _MAY_GROW}
        fixed["hyperparameter names"] = sorted(config["hyperparameters"])
        fixed = json.loads(json.dumps(fixed))
        #: Names the config in every file.
        self.owner = _digest(fixed)
        self._seen: dict[tuple, set[Point]] = {}
        path = self.folder / "config.json"
        if not path.exists():
            with _writing(path):
                write_sealed_json(path, self._owned(path), fixed, replace=False)
        # Another process may have been first, with another config.
        try:
            known = read_sealed_json(path, f"/{path.name}")
        except (OSError, Damaged) as error:
            raise ValueError(
                f"{path} cannot be read ({error}); choose another folder, or "
                "delete this one to run everything from the start"
            ) from error
        check_same(known, fixed, path)

    @classmethod
    def found(cls, folder: str | os.PathLike) -> Self | None:
        """Returns the folder of a run, to be read; None where there is no run."""
        path = Path(folder) / "config.json"
        try:
            known = read_sealed_json(path, f"/{path.name}")
        except (OSError, Damaged):
            return None
        store = cls.__new__(cls)
        store.folder, store.lanes = Path(folder), Path(folder) / "lanes"
        store.owner, store._seen = _digest(known), {}
        return store

    @staticmethod
    def seen_from(folder: str | os.PathLike, owner: str) -> "Checkpoints | None":
        """Returns the folder as a worker of the same run may use it.

        Args:
            folder: where it lies for the process that made it.
            owner: its `owner` there.

        Returns:
            A store that only writes checkpoints, since what is finished goes to the
            process that has the folder; None where the folder is not seen from here.
        """
        store = Checkpoints.found(folder)
        if store is None or store.owner != owner:
            return None
        store.kept = []
        return store

    @contextlib.contextmanager
    def opened(self) -> Generator[None, None, None]:
        """Holds the folder for this process, after a look at all of its files.

        Raises:
            RuntimeError: if another process holds it.
            ValueError: for damaged files; the message names all of them.
        """
        with lock(self.folder / "lock"):
            self._check_files()
            yield

    def save_outline(self, arrays: dict[str, np.ndarray]) -> None:
        """Writes labels and times of the sweep that is asked for, over another's."""
        path = self.folder / "outline.npz"
        if (old := self.outline()) and old[_ASKED] == arrays[_ASKED]:
            return  # a finished folder can be read-only
        with _writing(path):
            write_sealed_npz(path, self._owned(path), arrays)

    def outline(self) -> dict[str, np.ndarray] | None:
        """Returns what `save_outline` wrote, or None if there is none.

        Raises:
            ValueError: if the file cannot be read.
        """
        path = self.folder / "outline.npz"
        return self._read(path) if path.exists() else None

    def is_running(self) -> bool:
        """Whether something was begun and not closed, by a run that may be stopped."""
        return any(self.folder.glob("manifest-*.json"))

    def _check_files(self) -> None:
        """Raises for files that are not what was written under their names."""
        damaged = []
        try:
            self.outline()
        except ValueError as error:
            damaged.append(str(error))
        for path in self._files("*"):
            try:
                self._points(path)
            except ValueError as error:
                damaged.append(str(error))
        for path in self.folder.glob("checkpoint-*.npz"):
            try:
                self._read(path, only="segments done")
            except ValueError as error:
                damaged.append(str(error))
        if damaged:
            raise ValueError(";\n".join(damaged))
        self.manifests()

    def finished(self, key: str) -> dict[Point, dict[str, np.ndarray]]:
        """Returns the finished lanes of a schedule.

        Args:
            key: of `schedule_key`.

        Returns:
            The lane's hyper-parameters -> name -> [R + 1] values.

        Raises:
            ValueError: if a file cannot be read.
        """
        found = {}
        for path in self._files(key):
            columns = self._read(path)
            for lane, point in enumerate(as_config_keys(columns.pop("hyper"))):
                found[point] = {
                    name: column[:, lane] for name, column in columns.items()
                }
        return found

    def finished_points(self, key: str) -> set[Point]:
        """Returns the hyper-parameters of a schedule's finished lanes only.

        Args:
            key: of `schedule_key`.

        Raises:
            ValueError: if a file cannot be read.
        """
        return {point for path in self._files(key) for point in self._points(path)}

    def _points(self, path: Path) -> set[Point]:
        """Returns the lanes in a file; one that has not changed is read once."""
        status = path.stat()
        known = path, status.st_mtime_ns, status.st_size, status.st_ino
        if known not in self._seen:
            hyper = self._read(path, only="hyper")["hyper"]
            self._seen[known] = set(as_config_keys(hyper))
        return self._seen[known]

    def _files(self, key: str) -> list[Path]:
        found = self.lanes.glob(f"{key}-*.npz")
        return sorted(path for path in found if not path.name.startswith("."))

    def save_lanes(
        self, key: str, hyper: np.ndarray, values: dict[str, np.ndarray]
    ) -> None:
        """Writes finished lanes of a schedule.

        Args:
            key: of `schedule_key`.
            hyper: [H, S], the lanes' hyper-parameters in order of their names.
            values: name -> [R + 1, S].
        """
        name = hashlib.sha256(np.ascontiguousarray(hyper).tobytes()).hexdigest()[:16]
        path = self.lanes / f"{key}-{name}.npz"
        with _writing(path):
            write_sealed_npz(path, self._owned(path), {"hyper": hyper, **values})

    def checkpoint(
        self,
        key: str,
        segments: int,
        carry: Sequence[np.ndarray],
        values: dict[str, np.ndarray],
    ) -> None:
        """Writes the state of a call after some segments, over an older one.

        Args:
            key: the call's address.
            segments: how many are done.
            carry: the leaves of the engine's carry, iterates in flight included.
            values: name -> [K, records so far, S].
        """
        leaves = {f"carry {i:06}": x for i, x in enumerate(carry)}
        done = {"segments done": np.array(segments)}
        path = self._checkpoint_path(key)
        with _writing(path):
            write_sealed_npz(path, self._owned(path), {**done, **leaves, **values})

    def restore(
        self, key: str
    ) -> tuple[int, list[np.ndarray], dict[str, np.ndarray]] | None:
        """Returns what `checkpoint` wrote, or None if there is none.

        Raises:
            ValueError: if the file cannot be read.
        """
        path = self._checkpoint_path(key)
        if not path.exists():
            return None
        values = self._read(path)
        segments = int(values.pop("segments done"))
        carry = [values.pop(name) for name in sorted(values) if "carry " in name]
        return segments, carry, values

    def forget(self, key: str) -> None:
        """Removes the checkpoint of a finished unit."""
        self._remove(self._checkpoint_path(key))

    def manifest(
        self, schedules: list[str], lanes: list[Point], wanted: list[str]
    ) -> Manifest:
        """Writes down what is about to be run, see `Manifest`."""
        manifest = Manifest(schedules, lanes, wanted)
        path = self._manifest_path(manifest)
        with _writing(path):
            write_sealed_json(path, self._owned(path), manifest._asdict())
        return manifest

    def manifests(self) -> list[Manifest]:
        """Returns what was begun and not closed.

        Raises:
            ValueError: if a file cannot be read.
        """
        found = []
        for path in sorted(self.folder.glob("manifest-*.json")):
            try:
                plain = read_sealed_json(path, self._owned(path))
                found.append(msgspec.convert(list(plain.values()), Manifest))
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                raise ValueError(
                    f"{path} cannot be read ({error}); delete it to plan what is "
                    "missing anew"
                ) from error
        return found

    def close(self, manifest: Manifest) -> None:
        """Forgets a manifest that is done."""
        self._remove(self._manifest_path(manifest))

    def tidy(self) -> None:
        """Removes manifests of work that is done, and checkpoints if all of it is."""
        for manifest in self.manifests():
            lanes = set(manifest.lanes)
            if all(lanes <= self.finished_points(k) for k in manifest.wanted):
                self.close(manifest)
        if not self.manifests():
            for path in self.folder.glob("checkpoint-*.npz"):
                self._remove(path)

    def _remove(self, path: Path) -> None:
        """Removes a file and before it what a killed process left of writing it."""
        with _writing(path):
            remove_stale_temporaries(path)
            path.unlink(missing_ok=True)

    def _manifest_path(self, manifest: Manifest) -> Path:
        return self.folder / f"manifest-{_digest(manifest)}.json"

    def _checkpoint_path(self, key: str) -> Path:
        return self.folder / f"checkpoint-{key}.npz"

    def _owned(self, path: Path) -> str:
        """Says whose a file is: its config's, under its name."""
        return f"{self.owner}/{path.name}"

    def _read(self, path: Path, *, only: str | None = None) -> dict[str, np.ndarray]:
        """Returns a file's arrays, or one of them, after checking all of it."""
        try:
            return read_sealed_npz(path, self._owned(path), only)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{path} cannot be read ({error}); delete it to run its lanes from the "
                "start"
            ) from error


class Checkpoints(Store):
    """The folder of a run that another process has.

    Attributes:
        kept: checkpoints that can be forgotten once the lanes are written.
    """

    kept: list[str]

    def save_lanes(
        self, key: str, hyper: np.ndarray, values: dict[str, np.ndarray]
    ) -> None:
        """Leaves that to the process that has the folder."""

    def forget(self, key: str) -> None:
        """Keeps the checkpoint until the lanes have come and are written."""
        self.kept.append(key)


@contextlib.contextmanager
def _writing(path: Path) -> Generator[None, None, None]:
    """Says what a full disk or a lost permission means for the run."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # one of ours
            raise
        raise OSError(
            error.errno,
            f"{path} cannot be written ({error.strerror}); what was finished before is "
            "whole: make room or give the permission, and run the same again to go on",
        ) from error


def _digest(value: Any) -> str:
    """Returns 16 hexadecimal digits for plain values."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def schedule_key(content_hash: str, seed: int) -> str:
    """Returns the address of a schedule with its noise seed."""
    return hashlib.sha256(f"{content_hash}:{seed}".encode()).hexdigest()[:32]


def check_same(old: dict[str, Any], new: dict[str, Any], path: Path) -> None:
    """Raises ValueError with a line for every entry in which two configs differ."""
    if lines := list(_differences(old, new, "")):
        raise ValueError(
            f"{path.parent} holds a run with another config:\n"
            + ";\n".join(f"  {line}" for line in lines)
            + ".\nChoose another folder, or undo the change; only algorithms, compute "
            "times, seeds and hyper-parameter values may be added"
        )


def _differences(old: Any, new: Any, name: str) -> Iterator[str]:
    """Yields a line for every entry that differs, by its path."""
    if isinstance(old, dict) and isinstance(new, dict):
        # Hashes last: what has a name may be the reason.
        keys = old.keys() | new.keys()
        for key in sorted(keys, key=lambda key: (key.endswith("_hash"), key)):
            inner = f"{name}.{key}" if name else key
            yield from _differences(old.get(key), new.get(key), inner)
    elif old != new and name.endswith("_hash"):
        yield f"{name}: other numbers ({str(old)[:8]} there, {str(new)[:8]} asked)"
    elif old != new:
        yield f"{name}: there {old!r}, asked {new!r}"
