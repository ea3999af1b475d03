"""Damaged files, for every reader: the documented ValueError that names the file."""

import bz2
import gzip
import lzma

import numpy as np
import pytest
import xarray as xr

import asgrad_jax as ag
from asgrad_jax.cli.config import load_config

CSV = "worker,start,end\n" + "".join(
    f"{k % 3},{0.5 * k},{0.5 * k + 1.25}\n" for k in range(60)
)
JSON = b'[{"worker": 0, "start": 0.0, "end": 1.5}, {"worker": 0, "start": 2, "end": 3}]'
TOML = b"""# a comment
algorithms = ["pure_async"]
step_sizes = [0.1]
num_gradients = 10
[problem]
kind = "quadratic"
[compute_times]
name = "fixed"
mean = [1, 2]
"""


def saved_schedule(path):
    times = ag.compute_times.fixed([1, 2, 3])
    ag.simulate("shuffled_async", times, num_gradients=40).save(path)


def saved_result(path):
    coords = {"algorithm": ["a", "b"], "record": np.arange(20)}
    values = np.random.default_rng(0).normal(size=(2, 20))
    data = {"loss": (("algorithm", "record"), values)}
    ag.save(xr.Dataset(data, coords, {"config": "{}"}), path)


def writer(content):
    return lambda path: path.write_bytes(content)


READERS = {
    "libsvm.gz": (writer(gzip.compress(b"1 1:2 3:4\n0 2:1\n" * 9)), "load_libsvm"),
    "libsvm.xz": (writer(lzma.compress(b"1 1:2 3:4\n0 2:1\n" * 9)), "load_libsvm"),
    "trace.csv": (writer(CSV.encode()), ag.schedule_from_trace),
    "trace.csv.gz": (writer(gzip.compress(CSV.encode())), ag.trace_durations),
    "trace.csv.bz2": (writer(bz2.compress(CSV.encode())), ag.schedule_from_trace),
    "trace.csv.xz": (writer(lzma.compress(CSV.encode())), ag.schedule_from_trace),
    "trace.json": (writer(JSON), ag.schedule_from_trace),
    "schedule.npz": (saved_schedule, ag.Schedule.load),
    "result.nc": (saved_result, ag.load),
    "config.toml": (writer(TOML), load_config),
}


# h5netcdf closes what it could not open when it is collected, and fails again.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", READERS)
def test_damage_ends_in_the_documented_error(tmp_path, name):
    write, read = READERS[name]
    read = ag.datasets.load_libsvm if read == "load_libsvm" else read
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    read(path)
    rng, refused = np.random.default_rng(1), 0
    for trial in range(150):
        damaged = bytearray(whole)
        if trial % 5 == 0:
            damaged = damaged[: rng.integers(len(whole))]
        elif trial % 5 == 1:
            first = rng.integers(len(whole))
            damaged[first : first + 20] = rng.bytes(20)
        else:
            damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            read(path)
        except ValueError as error:
            refused += 1
            # What a row or a key says may be wrong without the file being damaged.
            assert name in str(error) or "trace" in name
    assert refused > 20


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("ending", [".csv", ".txt", ".csv.zip", ".json", ".json.gz"])
def test_packed_traces_are_known_by_their_content(tmp_path, pack, ending):
    path = tmp_path / f"trace{ending}"
    path.write_bytes(pack(JSON if "json" in ending else CSV.encode()))
    assert len(ag.schedule_from_trace(path)) == (2 if "json" in ending else 60)


def test_nested_without_end(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("title = " + "[" * 50_000)
    with pytest.raises(ValueError, match=r"config\.toml: "):
        load_config(path)
