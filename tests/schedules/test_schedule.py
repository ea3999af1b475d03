"""The schedule: filling, rules, files, hash, figures."""

import dataclasses
import io
import os
import pickle
import re
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgrad_jax.schedules.columns import job_numbers
from asgrad_jax.schedules.gradient_table import GradientTable
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.schedules.server_rule import ServerRule
from helpers.schedule_makers import any_schedule, job_schedule

SHARED = Path(os.environ.get("ASGRAD_SHARED", Path(__file__).parents[3] / "shared"))


TABLE = GradientTable.from_arrays([0, 2, 1, 0], gain=[1.0, 0.5], carry=[-1.0, 0.0])


def full_schedule():
    """Every field set to something other than its default."""
    return Schedule.from_arrays(
        worker=[2, 0, 1, 2],
        read=[0, 0, 1, 1],
        weight=[0.5, 0.25, -1.0, 2.0],
        step=[False, True, True, False],
        job=[3, 0, 1, 5],
        time=[0.5, 0.5, 1.25, 9.0],
        computed=[1, 3, 4, 7],
        num_workers=5,
        in_flight_worker=[4, 0],
        in_flight_read=[2, 0],
        concurrency_max=6,
        discarded=3,
        name="ringmaster (R=2)",
        clip=[1.0, np.inf, 0.5, 1.0],
        accept=[0.0, np.inf, 3.0, 1.0],
        table=GradientTable.from_arrays(
            [0, 2, 1, 0], gain=[1.0, 0.5], carry=[-1.0, 0.0], num_rows=4
        ),
    )


# ---- from_arrays ---------------------------------------------------------------------


def test_what_is_left_out_is_filled():
    schedule = Schedule.from_arrays(
        worker=[0, 2, 0, 0, 2], read=[0, 0, 1, 1, 2], step=[True, True, False, 1, 0]
    )
    np.testing.assert_array_equal(schedule.job, [0, 0, 1, 2, 1])
    np.testing.assert_array_equal(schedule.weight, np.ones(5))
    np.testing.assert_array_equal(schedule.time, [1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_array_equal(schedule.computed, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(schedule.version, [0, 1, 2, 2, 3])
    np.testing.assert_array_equal(schedule.delay, [0, 1, 1, 1, 1])
    assert (schedule.num_workers, schedule.num_steps) == (3, 3)
    assert (len(schedule), schedule.num_gradients) == (5, 5)
    assert schedule.in_flight_read.shape == schedule.in_flight_worker.shape == (0,)
    assert (schedule.discarded, schedule.name, schedule.table) == (0, "", None)


def test_types_and_size_of_the_columns():
    schedule = full_schedule()
    for key in ("worker", "job", "read", "computed", "in_flight_worker"):
        assert getattr(schedule, key).dtype == np.int32
    for key in ("weight", "time", "clip", "accept"):
        assert getattr(schedule, key).dtype == np.float64
    assert schedule.step.dtype == np.bool_
    assert schedule.version.dtype == schedule.delay.dtype == np.int32
    assert any_schedule(0, rows=1000).nbytes == 33 * 1000  # 0.33 GB for 1e7 arrivals


@given(workers=st.lists(st.integers(0, 6), max_size=40))
@settings(deadline=None, derandomize=True)
def test_job_numbers_count_earlier_rows(workers):
    expected = [workers[:a].count(worker) for a, worker in enumerate(workers)]
    numbers = job_numbers(np.array(workers, np.int32))
    np.testing.assert_array_equal(numbers, np.array(expected, np.int32))


def test_columns_belong_to_the_schedule():
    worker, read = np.array([0, 1], np.int32), np.array([0, 0], np.int32)
    schedule = Schedule.from_arrays(worker, read)
    before = schedule.content_hash
    worker[0] = 1  # the caller's array, not ours
    assert schedule.content_hash == before
    with pytest.raises(ValueError, match="read-only"):
        schedule.worker[0] = 1
    worker.flags.writeable = False
    assert Schedule.from_arrays(worker, read).worker is worker  # no copy needed


@pytest.mark.parametrize(
    "change, error, message",
    [
        (
            {"worker": [0.0, 1.5, 1.0]},
            ValueError,
            r"worker\[1\] must be an integer, got 1.5",
        ),
        (
            {"read": [0, np.nan, 0]},
            ValueError,
            r"read\[1\] must be an integer, got nan",
        ),
        ({"read": [0, 0, 2**31]}, ValueError, r"read\[2\] must fit in 32 bits, got 21"),
        ({"worker": [0, 0, 2.0**40]}, ValueError, r"worker\[2\] must fit .* got 10995"),
        ({"worker": ["a", "b", "c"]}, TypeError, "worker must be integers, got"),
        ({"worker": [True, False, True]}, TypeError, "worker must be integers"),
        ({"worker": [[0, 1, 0]]}, ValueError, r"worker must be a flat .*\(1, 3\)"),
        ({"worker": 0}, ValueError, r"worker must be a flat list .* got shape \(\)"),
        (
            {"read": [0, [1, 2], 0]},
            ValueError,
            "read must be a flat list .* unequal len",
        ),
        ({"read": [0, 0]}, ValueError, "read must .* the 3 arrivals, got 2"),
        ({"job": [0]}, ValueError, "job must .* the 3 arrivals, got 1"),
        ({"time": [1, 2, 3, 4]}, ValueError, "time must .* the 3 arrivals, got 4"),
        ({"clip": [1.0]}, ValueError, "clip must .* the 3 arrivals, got 1"),
        ({"table": "x"}, TypeError, "table must be a GradientTable or None, got 'x'"),
        (
            {"time": np.ma.array([1, 2, 3], mask=[0, 0, 1])},
            ValueError,
            "time must have no mask",
        ),
        ({"table": TABLE}, ValueError, "table.row must .* 3 arrivals, got 4"),
        ({"weight": ["1", "2", "3"]}, TypeError, "weight must be real numbers"),
        ({"weight": [1j, 0, 0]}, TypeError, "weight must be real numbers"),
        ({"step": [1, 0, 2]}, ValueError, r"step\[2\] must be True or False, got 2"),
        ({"step": [1.0, 0.0, 1.0]}, TypeError, "step must be booleans"),
        ({"num_workers": 2.0}, TypeError, "num_workers must be an integer"),
        ({"discarded": "3"}, TypeError, "discarded must be an integer"),
        ({"name": 3}, TypeError, "name must be a string"),
    ],
)
def test_columns_of_the_wrong_kind(change, error, message):
    columns = {"worker": [0, 1, 0], "read": [0, 0, 1], **change}
    with pytest.raises(error, match=message):
        Schedule.from_arrays(**columns)


def test_integral_floats_are_integers():
    schedule = Schedule.from_arrays([0.0, 1.0], np.array([0, 1], np.float32))
    assert schedule == Schedule.from_arrays([0, 1], [0, 1])


# ---- validate ------------------------------------------------------------------------

BROKEN = [
    (
        {"worker": [0, -1, -2, 0]},
        "row 1: worker must be in 0..2 (num_workers=3), got -1",
    ),
    ({"worker": [0, 1, 3, 9]}, "row 2: worker must be in 0..2 (num_workers=3), got 3"),
    ({"read": [0, 0, -1, 9]}, "row 2: read must be in 0..2, the versions"),
    ({"read": [0, 2, 0, 9]}, "row 1: read must be in 0..1, the versions that exist"),
    ({"read": [1, 0, 0, 0]}, "row 0: read must be in 0..0, the versions that exist"),
    ({"step": [False] * 4}, "row 2: read must be in 0..0, the versions that exist"),
    ({"weight": [1, np.inf, np.nan, 1]}, "row 1: weight must be finite, got inf"),
    ({"time": [1, 2, 3, np.nan]}, "row 3: time must be finite, got nan"),
    (
        {"time": [1, 3, 2, 1]},
        "row 2: time must be at least 3.0, that of the row before",
    ),
    ({"computed": [1, 2, 2, 3]}, "row 2: computed must be more than 2 (it counts"),
    (
        {"computed": [1, 2, 2**31 - 1, -(2**31)]},
        "row 3: computed must be more than 2147",
    ),
    ({"computed": [0, 1, 2, 3]}, "row 0: computed must be more than 0"),
    ({"job": [0, 0, -1, 0]}, "row 2: job must be >= 0, a job number, got -1"),
    (
        {"clip": [1, 1, 1, np.nan]},
        "row 3: clip must be > 0, a radius (inf: none), got nan",
    ),
    ({"clip": [1, 0, 1, 1]}, "row 1: clip must be > 0, a radius (inf: none), got 0.0"),
    ({"accept": [-1.0, 0, 0, 0]}, "row 0: accept must be >= 0, a distance, got -1.0"),
    (
        {"in_flight_worker": [0, 3], "in_flight_read": [0, 0]},
        "job in flight 1: in_flight_worker must be in 0..2 (num_workers=3), got 3",
    ),
    (
        {"in_flight_worker": [0, 1], "in_flight_read": [4, 5]},
        "job in flight 1: in_flight_read must be in 0..4, got 5",
    ),
    (
        {"in_flight_worker": [0]},
        "in_flight_read must have one entry for each of the 1 jo",
    ),
    ({"num_workers": 0}, "num_workers must be an integer >= 1, got 0"),
    ({"concurrency_max": 0}, "concurrency_max must be an integer >= 1, got 0"),
    ({"discarded": -1}, "discarded must be an integer >= 0, got -1"),
]


@pytest.mark.parametrize("change, message", BROKEN)
def test_a_broken_rule_is_named_with_its_first_row(change, message):
    columns = {"worker": [0, 1, 0, 2], "read": [0, 0, 1, 3], "num_workers": 3}
    Schedule.from_arrays(**columns)
    with pytest.raises(ValueError, match=re.escape(message)):
        Schedule.from_arrays(**{**columns, **change})


def test_empty_schedule():
    with pytest.raises(ValueError, match="schedule must have at least one arrival"):
        Schedule.from_arrays(worker=[], read=[])


def test_rules_are_checked_in_order():
    """A worker out of range is reported before a read in an earlier row."""
    with pytest.raises(ValueError, match=r"row 2: worker must be .* got 7"):
        Schedule.from_arrays([0, 0, 7], [5, 0, 0], num_workers=2)


def test_a_schedule_built_without_from_arrays_is_checked_too():
    good = full_schedule()
    wrong_type = dataclasses.replace(good, read=good.read.astype(np.int64))
    with pytest.raises(TypeError, match=r"read must be .* int32, got ndarray of int64"):
        wrong_type.validate()
    on_device = jax.tree_util.tree_map(jax.numpy.asarray, good)
    with pytest.raises(TypeError, match="must be a NumPy array"):
        on_device.validate()
    negative = dataclasses.replace(good, worker=good.worker - 1)
    with pytest.raises(ValueError, match=r"row 1: worker must be .* got -1"):
        negative.save("unused.npz")
    assert not Path("unused.npz").exists()


# ---- pytree, equality, hash ----------------------------------------------------------


def test_a_schedule_is_a_pytree_with_static_facts():
    schedule = full_schedule()
    leaves, structure = jax.tree_util.tree_flatten(schedule)
    assert len(leaves) == 7 + 2 + 2 + 6
    assert len(jax.tree_util.tree_leaves(any_schedule(0, rows=3))) == 7 + 2
    again = jax.tree_util.tree_unflatten(structure, leaves)
    assert (again, again.name) == (schedule, schedule.name)
    assert structure != jax.tree_util.tree_structure(
        dataclasses.replace(schedule, num_workers=6)
    )

    @jax.jit
    def rows_of_first(s):
        assert "hash" not in repr(s)  # traced columns have no content to show
        return (s.worker == 2).sum() + s.num_workers

    assert rows_of_first(schedule) == 2 + 5


def test_equality_is_by_content():
    schedule = full_schedule()
    assert schedule == dataclasses.replace(schedule, name="something else")
    assert hash(schedule) == hash(full_schedule())
    assert schedule != "schedule"
    for field in dataclasses.fields(schedule):
        value = getattr(schedule, field.name)
        if isinstance(value, np.ndarray):
            changed = value.copy()
            changed[-1] = not changed[-1] if value.dtype == bool else changed[-1] + 1
        elif field.name == "table":
            changed = dataclasses.replace(value, keep=value.keep + 1)
        elif field.name == "server_rule":
            changed = ServerRule("fadas_step")
        elif field.name != "name":
            changed = value + 1
        else:
            continue
        other = dataclasses.replace(schedule, **{field.name: changed})
        assert other != schedule, field.name
    assert schedule != dataclasses.replace(schedule, table=None)
    # The same numbers under another column are another schedule.
    swapped = dataclasses.replace(schedule, clip=schedule.accept, accept=schedule.clip)
    assert swapped != schedule


def test_the_hash_never_changes():
    """Pinned: hashes are written into result files and compared across versions."""
    schedule = Schedule.from_arrays(worker=[0, 1, 0], read=[0, 0, 1])
    assert schedule.content_hash[:16] == "f39535e731efc7e8"


def test_repr_tells_a_person_what_it_is():
    schedule = dataclasses.replace(
        job_schedule(0, concurrency=10, rows=5000), name="shuffled_async"
    )
    assert re.fullmatch(
        r"Schedule\(shuffled_async: 5,000 arrivals, 5,000 steps, 10 workers, "
        r"delay mean \d\.\d max \d+, hash [0-9a-f]{8}\)",
        repr(schedule),
    )
    assert repr(Schedule.from_arrays([0], [0])).startswith(
        "Schedule(1 arrival, 1 step, 1 worker, delay mean 0.0 max 0, hash "
    )


# ---- files ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["s.npz", "no suffix", "ünïcode.bin"])
@pytest.mark.parametrize(
    "schedule", [full_schedule(), any_schedule(1, rows=50)], ids=["full", "plain"]
)
def test_load_gives_back_what_was_saved(tmp_path, name, schedule):
    schedule.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    loaded = Schedule.load(tmp_path / name)
    for field in dataclasses.fields(schedule):
        left, right = getattr(schedule, field.name), getattr(loaded, field.name)
        jax.tree.map(np.testing.assert_array_equal, left, right)
        assert type(left) is type(right)
    assert (loaded, loaded.content_hash) == (schedule, schedule.content_hash)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.9, 0.99, 0.9999])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, share):
    path = tmp_path / "cut.npz"
    any_schedule(0, rows=300).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"cut\.npz"):
        Schedule.load(path)


def test_a_damaged_file_is_an_error_or_harmless(tmp_path):
    path = tmp_path / "damaged.npz"
    schedule = full_schedule()
    schedule.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert Schedule.load(path) == schedule  # a time stamp of the archive, say
        except ValueError as error:
            assert "damaged.npz" in str(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("worker,start,end\n0,0,1\n"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(pickle.dumps({"worker": [0]})),
        lambda path: np.save(path, np.arange(3)),
        lambda path: np.savez(path, weights=np.arange(3)),
        lambda path: np.savez(path, format=np.array(1), worker=np.arange(3)),
    ],
    ids=["text", "empty", "pickle", "npy", "other npz", "half a schedule"],
)
def test_a_foreign_file_is_an_error_that_names_it(tmp_path, write):
    path = tmp_path / "foreign.npy"
    write(path)
    if not path.exists():  # savez appended its own suffix
        path = path.with_name("foreign.npy.npz")
    with pytest.raises(ValueError, match=r"foreign\.npy") as caught:
        Schedule.load(path)
    assert "allow_pickle" not in str(caught.value)


def test_a_header_that_claims_too_much_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "huge.npz"
    full_schedule().save(path)
    entry = io.BytesIO()
    claim = {"descr": "<i4", "fortran_order": False, "shape": (10**15,)}
    np.lib.format.write_array_header_1_0(entry, claim)
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in (entries | {"worker.npy": entry.getvalue()}).items():
            new.writestr(name, content)
    with pytest.raises(ValueError, match=r"huge\.npz is damaged"):
        Schedule.load(path)


def entries_of(path, schedule):
    schedule.save(path)
    with np.load(path) as archive:
        return dict(archive)


def test_a_file_with_invalid_contents_is_refused(tmp_path):
    path = tmp_path / "s.npz"
    entries = entries_of(path, full_schedule())
    objects = np.array([{}], dtype=object)
    assert str(entries["content_hash"]) == full_schedule().content_hash
    for change, message in [
        ({"discarded": np.array(4)}, "must have the hash stored"),
        ({"format": np.array(2)}, "format must be 1, got 2"),
        ({"worker": entries["worker"] - 1}, "row 1: worker must be .* got -1"),
        (
            {"time": entries["time"][:-1]},
            "time must have one entry for each of the 4 arrivals, got 3",
        ),
        ({"num_workers": np.array(2.5)}, "num_workers must be an integer"),
        ({"num_workers": np.array([1, 2])}, r"s\.npz"),
        ({"weight": objects}, r"s\.npz"),
    ]:
        np.savez(path, **{**entries, **change})
        with pytest.raises(ValueError, match=message) as caught:
            Schedule.load(path)
        assert "s.npz" in str(caught.value)
    del entries["clip"]  # optional, so only the hash tells that it was there
    np.savez(path, **entries)
    with pytest.raises(ValueError, match="must have the hash stored"):
        Schedule.load(path)


def test_missing_file_and_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*absent\.npz"):
        Schedule.load(tmp_path / "absent.npz")
    with pytest.raises(TypeError, match=r"path must be a path, .*, got 3"):
        Schedule.load(3)
    with pytest.raises(IsADirectoryError, match="give the name of a file"):
        full_schedule().save(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        full_schedule().save(tmp_path / "absent" / "s.npz")


# ---- stats ---------------------------------------------------------------------------


def test_stats_by_hand():
    # version before: 0 0 1 1 2; delays 0 0 0 1 1; jobs on x_2 and x_0 are under way
    schedule = Schedule.from_arrays(
        worker=[0, 1, 2, 0, 0],
        read=[0, 0, 1, 0, 1],
        step=[False, True, False, True, False],
        in_flight_worker=[1, 3],
        in_flight_read=[2, 0],
        num_workers=4,
        concurrency_max=5,
        discarded=7,
    )
    stats = schedule.stats()
    assert (stats.num_gradients, stats.num_steps, stats.num_workers) == (5, 2, 4)
    assert (stats.tau_max, stats.delay_mean) == (1, 2 / 5)
    assert stats.tau_avg == (2 + 0 + 2) / (5 + 2)
    assert [*stats.wave_fill] == [2, 4, 8, 16, 32, 64]
    # Reads <= 0: rows 0, 1, 3 and one under way. Reads <= 1 add rows 2 and 4.
    np.testing.assert_array_equal(stats.concurrency, [4, 3, 4, 3, 3])
    assert (stats.concurrency_max, stats.concurrency_mean) == (5, 17 / 5)
    np.testing.assert_array_equal(stats.share, [3 / 5, 1 / 5, 1 / 5, 0])
    assert (stats.discarded, stats.slots) == (7, 2)
    assert "5 used, 7 more discarded" in str(stats)


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 50), cap=st.integers(1, 60))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_concurrency_is_a_count_of_jobs(seed, rows, cap):
    schedule = any_schedule(seed, rows=rows, step_rate=0.7)
    flying = np.random.default_rng(seed).integers(0, schedule.num_steps + 1, 4)
    schedule = dataclasses.replace(
        schedule,
        in_flight_worker=np.zeros(4, np.int32),
        in_flight_read=flying.astype(np.int32),
        concurrency_max=cap,
    )
    expected = [
        np.sum(schedule.read[a:] <= version) + np.sum(flying <= version)
        for a, version in enumerate(schedule.version)
    ]
    stats = schedule.stats()
    np.testing.assert_array_equal(stats.concurrency, np.minimum(expected, cap))
    unknown = Schedule.from_arrays(
        schedule.worker, schedule.read, step=schedule.step, in_flight_read=flying,
        in_flight_worker=[0] * 4,
    )  # fmt: skip
    assert unknown.concurrency_max == max(expected)


@pytest.mark.parametrize("concurrency", [1, 3, 20])
def test_delays_are_conserved(concurrency):
    """Applied delays and ages in flight sum to (m - 1) T exactly.

    So tau_avg is (m - 1) T / (T + m) however unevenly the jobs arrive.
    """
    for seed in range(10):
        schedule = job_schedule(seed, concurrency=concurrency, rows=500, favour=0.5)
        stats = schedule.stats()
        assert (stats.concurrency == concurrency).all()
        assert stats.concurrency_max == concurrency
        total = (concurrency - 1) * 500
        ages = schedule.num_steps - schedule.in_flight_read
        assert schedule.delay.sum() + ages.sum() == total
        assert stats.tau_avg == total / (500 + concurrency)


@pytest.mark.parametrize("b", [2, 5])
def test_concurrency_where_the_server_waits(b):
    """Exact under after_step; an upper bound, off by less than b, if immediate."""
    for seed in range(5):
        exact = job_schedule(
            seed, concurrency=6, rows=200, gradients_per_step=b, after_step=True
        )
        since_step = np.arange(200) % b
        np.testing.assert_array_equal(exact.stats().concurrency, 6 - since_step)
        above = job_schedule(
            seed, concurrency=6, rows=200, gradients_per_step=b
        ).stats()
        assert (above.concurrency >= 6).all() and above.concurrency_max < 6 + b
        capped = dataclasses.replace(
            job_schedule(seed, concurrency=6, rows=200, gradients_per_step=b),
            concurrency_max=6,
        )
        assert (capped.stats().concurrency == 6).all()


@pytest.mark.skipif(
    not (SHARED / "golden").is_dir(), reason="the golden trajectories are not here"
)
def test_golden_schedules_have_the_delays_of_their_manifest():
    manifest = (SHARED / "golden" / "MANIFEST.md").read_text()
    lines = [line.split("|") for line in manifest.splitlines() if ".npz |" in line]
    assert lines
    for cells in lines:
        with np.load(SHARED / "golden" / cells[1].strip(), allow_pickle=False) as file:
            schedule = Schedule.from_arrays(
                file["data_worker"], file["read"], num_workers=int(file["n"])
            )
        largest, mean = cells[9].split("/")
        stats = schedule.stats()
        assert stats.tau_max == int(largest)
        assert f"{stats.delay_mean:.1f}" == mean.strip()
        assert stats.slots <= stats.concurrency_max
