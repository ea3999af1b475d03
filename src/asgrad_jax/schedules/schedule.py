"""The schedule: a whole method as arrays, one row per arriving gradient."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from asgrad_jax._util.checks import (
    check_booleans,
    check_count,
    check_integers,
    check_numbers,
    make_read_only,
    raise_first,
)
from asgrad_jax._util.npz import read_npz, write_npz
from asgrad_jax.schedules.columns import COLUMNS, job_numbers, jobs_in_flight
from asgrad_jax.schedules.gradient_table import GradientTable
from asgrad_jax.schedules.server_rule import ServerRule, check_rule

if TYPE_CHECKING:
    from asgrad_jax.schedules.stats import ScheduleStats

_FORMAT = 1  # of the npz file; raise it when an old reader would misread a new file

# The column `job` had another name in the first files; it keeps it there and in hashes.
_STORED = {"job": "draw"}
_OPTIONAL = ("clip", "accept")  # float64 columns that most methods lack
_TABLE = [field.name for field in dataclasses.fields(GradientTable)]
_IN_FLIGHT = ("in_flight_worker", "in_flight_read")
_LEAST = {"num_workers": 1, "concurrency_max": 1, "discarded": 0}  # of static fields


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Schedule:
    """Which gradient arrives when, on which iterate it was computed, and what it does.

    Row a says: the gradient g of worker i_a, taken at x_{pi_a}, arrives; the server
    adds weight_a * g to its direction and, if step_a, makes a step. Version v is the
    iterate after v steps, so the delay is tau_a = v_a - pi_a with v_a the steps made
    before row a. A schedule is a frozen pytree of NumPy columns on the host. Make it
    with `from_arrays`, which checks everything, rather than with the constructor,
    which (like every pytree node that JAX rebuilds) checks nothing; call `validate`
    on one built otherwise. Two schedules are equal when their contents are, whatever
    their names.

    Attributes:
        worker: int32 [A], whose data, in 0..num_workers-1.
        job: int32 [A], that worker's job number; names the job's mini-batch noise.
        read: int32 [A], version the gradient is taken at, 0 <= read <= version.
        weight: float64 [A], factor of the gradient in the server's direction.
        step: bool [A], whether the server steps after adding this gradient.
        time: float64 [A], virtual time of the arrival, never decreasing.
        computed: int32 [A], gradients computed by then, the discarded ones included.
        in_flight_worker: int32 [J], workers of the jobs not arrived at the end; empty
            where unknown.
        in_flight_read: int32 [J], the versions these jobs were assigned at.
        num_workers: workers n.
        concurrency_max: largest number of jobs in flight at once.
        discarded: arrivals that are not rows (they cost time but no gradient).
        name: what made the schedule, "" by hand; takes no part in equality.
        clip: float64 [A] or None: g is scaled to at most this Euclidean norm (inf: as
            it is).
        accept: float64 [A] or None: g counts, and the server steps, only if the iterate
            moved at most this far since the read, ||x_v - x_pi|| <= accept (inf:
            always); the one rule that looks at values.
        table: coefficients of methods that remember gradients, or None.
        server_rule: what the server does to a direction before it steps, or None.

    Example:
        >>> schedule = Schedule.from_arrays(worker=[0, 1, 0], read=[0, 0, 1])
        >>> schedule
        Schedule(3 arrivals, 3 steps, 2 workers, delay mean 0.7 max 1, hash ...)
        >>> schedule.delay
        array([0, 1, 1], dtype=int32)
    """

    worker: NDArray[np.int32]
    job: NDArray[np.int32]
    read: NDArray[np.int32]
    weight: NDArray[np.float64]
    step: NDArray[np.bool_]
    time: NDArray[np.float64]
    computed: NDArray[np.int32]
    in_flight_worker: NDArray[np.int32]
    in_flight_read: NDArray[np.int32]
    num_workers: int = dataclasses.field(metadata={"static": True})
    concurrency_max: int = dataclasses.field(metadata={"static": True})
    discarded: int = dataclasses.field(metadata={"static": True})
    name: str = dataclasses.field(metadata={"static": True})
    clip: NDArray[np.float64] | None = None
    accept: NDArray[np.float64] | None = None
    table: GradientTable | None = None
    server_rule: ServerRule | None = dataclasses.field(
        default=None, metadata={"static": True}
    )

    @classmethod
    def from_arrays(
        cls,
        worker: ArrayLike,
        read: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        step: ArrayLike | None = None,
        job: ArrayLike | None = None,
        time: ArrayLike | None = None,
        computed: ArrayLike | None = None,
        num_workers: int | None = None,
        in_flight_worker: ArrayLike | None = None,
        in_flight_read: ArrayLike | None = None,
        concurrency_max: int | None = None,
        discarded: int = 0,
        name: str = "",
        clip: ArrayLike | None = None,
        accept: ArrayLike | None = None,
        table: GradientTable | None = None,
        server_rule: ServerRule | None = None,
    ) -> Self:
        """Builds a checked schedule from columns, filling in those left out.

        Arrays that can be written to are copied, so that a schedule never changes
        under its hash; read-only ones of the right type are taken as they are.

        Args:
            worker: integers [A], whose data.
            read: integers [A], versions the gradients are taken at.
            weight: floats [A]; 1 where left out.
            step: booleans [A]; True where left out.
            job: integers [A]; where left out, the earlier rows of that worker.
            time: floats [A]; 1..A where left out.
            computed: integers [A]; 1..A where left out.
            num_workers: workers n; the largest worker + 1 where left out.
            in_flight_worker, in_flight_read: integers [J], of the jobs not arrived.
            concurrency_max: largest number of jobs in flight; where left out, the
                largest count that the columns allow (see `ScheduleStats`).
            discarded, name, table, server_rule: as the attributes.
            clip, accept: floats [A], as the attributes.

        Raises:
            TypeError: if a column is not numeric, or `table` is no table.
            ValueError: if a column is ragged, of another length, has a value that is
                not an integer where one is needed, or breaks a rule of `validate`.

        Example:
            >>> Schedule.from_arrays([0, 0], [0, 2])
            Traceback (most recent call last):
            ...
            ValueError: row 1: read must be in 0..1, the versions that exist when it ...
        """
        worker = check_integers("worker", worker)
        rows = len(worker)
        counting = np.arange(1, rows + 1, dtype=np.int32)
        schedule = cls(
            worker=worker,
            job=check_integers("job", _given(job, job_numbers(worker))),
            read=check_integers("read", read),
            weight=_as_column("weight", _given(weight, np.ones(rows))),
            step=check_booleans("step", _given(step, np.ones(rows, bool))),
            time=_as_column("time", _given(time, counting)),
            computed=check_integers("computed", _given(computed, counting)),
            in_flight_worker=check_integers(
                "in_flight_worker", _given(in_flight_worker, ())
            ),
            in_flight_read=check_integers("in_flight_read", _given(in_flight_read, ())),
            num_workers=check_count(
                "num_workers", _given(num_workers, int(worker.max(initial=0)) + 1)
            ),
            concurrency_max=check_count("concurrency_max", _given(concurrency_max, 1)),
            discarded=check_count("discarded", discarded, minimum=0),
            name=name,
            clip=None if clip is None else _as_column("clip", clip),
            accept=None if accept is None else _as_column("accept", accept),
            table=table,
            server_rule=server_rule,
        ).validate()
        if concurrency_max is not None:
            return schedule
        return dataclasses.replace(
            schedule, concurrency_max=int(jobs_in_flight(schedule).max())
        )

    def validate(self) -> Self:
        """Checks every rule of a schedule on the host and names the first broken row.

        Linear time, a few temporary columns of memory.

        Raises:
            TypeError: if a column is not a NumPy array of its type.
            ValueError: if the schedule is empty, columns differ in length, or a row
                breaks a rule; the message names the rule and the row (from 0).

        Example:
            >>> Schedule.from_arrays(worker=[0], read=[0]).validate().num_gradients
            1
        """
        self._check_types()
        rows = len(self.worker)
        if rows == 0:
            raise ValueError("the schedule must have at least one arrival, got none")
        optional = [key for key in _OPTIONAL if getattr(self, key) is not None]
        for key in (*COLUMNS, *optional):
            if len(getattr(self, key)) != rows:
                raise ValueError(
                    f"{key} must have one entry for each of the {rows} arrivals, got "
                    f"{len(getattr(self, key))}"
                )
        self._check_static()
        self._check_rows()
        if self.table is not None:
            self.table.validate(rows)
        check_rule(self.server_rule)
        return self

    def _check_rows(self) -> None:
        last, steps, version = self.num_workers - 1, self.num_steps, self.version
        workers = f"in 0..{last} (num_workers={self.num_workers})"
        self._rule("worker", (self.worker < 0) | (self.worker > last), workers)
        self._rule(
            "read",
            (self.read < 0) | (self.read > version),
            lambda row: (
                f"in 0..{version[row]}, the versions that exist when it arrives (a "
                "version is a count of server steps)"
            ),
        )
        self._rule("weight", ~np.isfinite(self.weight), "finite")
        self._rule("time", ~np.isfinite(self.time), "finite")
        self._rule(
            "time",
            np.append(False, self.time[1:] < self.time[:-1]),
            lambda row: (
                f"at least {self.time[row - 1]}, that of the row before (sort the "
                "arrivals by time)"
            ),
        )
        before = np.append(np.int32(0), self.computed[:-1])
        self._rule(
            "computed",
            self.computed <= before,
            lambda row: (
                f"more than {before[row]} (it counts gradients, this one included)"
            ),
        )
        self._rule("job", self.job < 0, ">= 0, a job number")
        if self.clip is not None:
            self._rule("clip", ~(self.clip > 0), "> 0, a radius (inf: none)")
        if self.accept is not None:
            self._rule("accept", ~(self.accept >= 0), ">= 0, a distance")
        worker, read = self.in_flight_worker, self.in_flight_read
        self._rule("in_flight_worker", (worker < 0) | (worker > last), workers)
        self._rule("in_flight_read", (read < 0) | (read > steps), f"in 0..{steps}")

    def _rule(
        self,
        name: str,
        broken: NDArray[np.bool_],
        wanted: str | Callable[[int], str],
    ) -> None:
        """Raises for the first broken row of a column, with what is wanted of it."""
        what = "job in flight" if name in _IN_FLIGHT else "row"

        def message(row: int) -> str:
            must = wanted if isinstance(wanted, str) else wanted(row)
            given = getattr(self, name)[row]
            return f"{what} {row}: {name} must be {must}, got {given}"

        raise_first(broken, message)

    def _check_types(self) -> None:
        types = {**COLUMNS, **dict.fromkeys(_IN_FLIGHT, np.dtype(np.int32))}
        for key in _OPTIONAL:
            if getattr(self, key) is not None:
                types[key] = np.dtype(np.float64)
        for key, dtype in types.items():
            column = getattr(self, key)
            if not isinstance(column, np.ndarray) or column.dtype != dtype:
                given = f"{type(column).__name__} of {getattr(column, 'dtype', '?')}"
                raise TypeError(
                    f"{key} must be a NumPy array of {dtype}, got {given}; "
                    "Schedule.from_arrays converts"
                )
            if column.ndim != 1:
                raise ValueError(f"{key} must be 1-dimensional, got {column.shape}")
        for key in _LEAST:
            if type(getattr(self, key)) is not int:
                raise TypeError(f"{key} must be an int, got {getattr(self, key)!r}")
        if self.table is not None and not isinstance(self.table, GradientTable):
            raise TypeError(
                f"table must be a GradientTable or None, got {self.table!r}; "
                "GradientTable.from_arrays makes one"
            )
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a string, got {self.name!r}")

    def _check_static(self) -> None:
        for key, least in _LEAST.items():
            check_count(key, getattr(self, key), minimum=least)
        if len(self.in_flight_worker) != len(self.in_flight_read):
            raise ValueError(
                f"in_flight_read must have one entry for each of the "
                f"{len(self.in_flight_worker)} jobs of in_flight_worker, got "
                f"{len(self.in_flight_read)}; give both or neither"
            )

    @property
    def version(self) -> NDArray[np.int32]:
        """int32 [A]: server steps made before each arrival."""
        version = np.zeros(len(self.step), np.int32)
        np.cumsum(self.step[:-1], dtype=np.int32, out=version[1:])
        return version

    @property
    def delay(self) -> NDArray[np.int32]:
        """int32 [A]: server steps between read and arrival, tau = version - read."""
        return self.version - self.read

    @property
    def num_gradients(self) -> int:
        """Rows A: gradients that reach the server and count."""
        return len(self.worker)

    @property
    def num_steps(self) -> int:
        """Server steps made by the whole schedule."""
        return int(np.count_nonzero(self.step))

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(column.nbytes for column in jax.tree_util.tree_leaves(self))

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of all columns and static facts, the name apart."""
        digest = hashlib.sha256()
        for name, value in self._contents():
            if name == "name":
                continue
            if not isinstance(value, np.ndarray):
                digest.update(f"{name}={value};".encode())
                continue
            # A fixed byte order, so that the hash means the same on every machine.
            little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
            digest.update(f"{name}:{little.dtype.str}:{little.shape};".encode())
            digest.update(little.data)
        return digest.hexdigest()

    def _contents(self) -> Iterator[tuple[str, Any]]:
        """Yields every field by its stored name, those of the table as `table.NAME`.

        What is None is left out, so that a later version can add columns under the same
        hashes.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, GradientTable):
                columns = ((f"table.{key}", getattr(value, key)) for key in _TABLE)
                yield from ((key, v) for key, v in columns if v is not None)
            elif isinstance(value, ServerRule):
                yield field.name, value.text
            elif value is not None:
                yield _STORED.get(field.name, field.name), value

    def stats(self) -> "ScheduleStats":
        """Delay, concurrency and share figures; see `ScheduleStats`.

        Raises:
            TypeError, ValueError: as `validate`.

        Example:
            >>> Schedule.from_arrays(worker=[0, 1, 0], read=[0, 0, 1]).stats().tau_max
            1
        """
        # stats and slots are about schedules and import this module.
        from asgrad_jax.schedules.stats import schedule_stats

        return schedule_stats(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the schedule as an npz file without pickle.

        The file appears under its name only when whole.

        Args:
            path: file to write; an existing one is replaced.

        Raises:
            ValueError: if the schedule is not valid.
            FileNotFoundError, IsADirectoryError: if there is no folder, or it is one.

        Example:
            >>> import tempfile, pathlib
            >>> path = pathlib.Path(tempfile.mkdtemp()) / "s.npz"
            >>> schedule = Schedule.from_arrays(worker=[0, 1], read=[0, 0])
            >>> schedule.save(path)
            >>> Schedule.load(path) == schedule
            True
        """
        self.validate()
        facts = {"format": _FORMAT, "content_hash": self.content_hash}
        entries = facts | dict(self._contents())
        write_npz(path, {key: np.asarray(value) for key, value in entries.items()})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a schedule written by `save` and validates it.

        Args:
            path: file to read.

        Raises:
            ValueError: if the file is cut short, damaged, of a newer format or no
                schedule at all; the message names the file and what is wrong.
            FileNotFoundError: if there is no such file.

        Example:
            >>> Schedule.load("nowhere.npz")
            Traceback (most recent call last):
            ...
            FileNotFoundError: there is no file nowhere.npz
        """
        facts = ("format", "content_hash", *tuple(_LEAST), "name")
        stored = (_STORED.get(name, name) for name in COLUMNS)
        required = (*facts, *stored, *_IN_FLIGHT)
        table = [f"table.{key}" for key in _TABLE]
        optional = (*_OPTIONAL, *table, "server_rule")
        entries: dict[str, Any] = dict(read_npz(path, required, optional))
        try:
            for key in facts:
                entries[key] = entries[key].item()
            for name, stored_name in _STORED.items():
                entries[name] = entries.pop(stored_name)
            if (found := entries.pop("format")) != _FORMAT:
                raise ValueError(f"its format must be {_FORMAT}, got {found}")
            # The archive's checksums cover the entries but not their names.
            expected = entries.pop("content_hash")
            columns = {key: entries.pop(f"table.{key}", None) for key in _TABLE}
            if any(column is not None for column in columns.values()):
                columns["num_rows"] = int(columns["num_rows"])
                entries["table"] = GradientTable.from_arrays(
                    columns.pop("row"), **columns
                )
            if (rule := entries.get("server_rule")) is not None:
                entries["server_rule"] = ServerRule.from_text(rule.item())
            schedule = cls.from_arrays(**entries)
            if schedule.content_hash != expected:
                raise ValueError("its content must have the hash stored with it")
            return schedule
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{os.fspath(path)} holds no valid schedule: {error}"
            ) from error

    def __len__(self) -> int:
        return len(self.worker)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return self.content_hash == other.content_hash

    def __hash__(self) -> int:
        return hash(self.content_hash)

    def __repr__(self) -> str:
        label = f"{self.name}: " if self.name else ""
        if not isinstance(self.worker, np.ndarray) or not len(self.worker):
            return f"Schedule({label}{self.worker!r})"  # traced, or empty and invalid
        delay = self.delay
        return (
            f"Schedule({label}{_count(self.num_gradients, 'arrival')}, "
            f"{_count(self.num_steps, 'step')}, {_count(self.num_workers, 'worker')}, "
            f"delay mean {delay.mean():.1f} max {delay.max()}, "
            f"hash {self.content_hash[:8]})"
        )

    def _repr_html_(self) -> str | None:
        """What a notebook shows."""
        from asgrad_jax.schedules._shown import schedule_html

        return schedule_html(self)


def _given(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _as_column(name: str, values: ArrayLike) -> NDArray[np.float64]:
    return make_read_only(check_numbers(name, values, ndim=1, empty=True))
