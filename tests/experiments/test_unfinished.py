"""A folder is read while its sweep runs, after it was stopped, and when it is done."""

import numpy as np
import optax
import pytest
import xarray as xr

import asgrad_jax as ag

CLOCKS = {
    "slow": ag.compute_times.fixed([1, 2, 9]),
    "random": ag.compute_times.exponential([1, 2, 3]),
}


def sweep(folder, **changes):
    grid = {
        "algorithms": ["pure_async", "shuffled_async"],
        "compute_times": CLOCKS,
        "step_sizes": [0.2, 0.05],
        "server": lambda step_size, decay: optax.sgd(step_size, momentum=decay),
        "hyperparameters": {"decay": [0.9, 0.0]},
        "metrics": {"first": lambda x: x[0], "positive": lambda x: (x > 0).sum()},
        "metrics_every": {"first": 2},
        "seeds": [3, 1],
        "num_gradients": 60,
        "record_every": 10,
    }
    return ag.sweep(ag.quadratic(3, 2), **grid | changes, directory=folder)


def test_a_finished_folder_is_its_result(tmp_path):
    result = sweep(tmp_path)
    xr.testing.assert_identical(ag.load(tmp_path), result)


def test_a_running_and_a_stopped_sweep(tmp_path):
    seen = []

    def look(done, total):
        try:
            seen.append(ag.load(tmp_path))
        except FileNotFoundError as error:
            assert "no finished run" in str(error) and ", of 32;" in str(error)
        if done >= total / 2:
            raise KeyboardInterrupt

    budget = {"memory_budget": 36e3, "progress": look}  # several calls
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, **budget)
    stopped, whole = ag.load(tmp_path), sweep(None)
    for so_far in [*seen, stopped]:
        missing = so_far["status"] == 2
        xr.testing.assert_identical(
            so_far.drop_attrs().where(~missing), whole.drop_attrs().where(~missing)
        )
        assert np.isnan(so_far["loss"].where(missing)).all()
    assert 0 < int((stopped["status"] == 2).sum()) < 32
    assert so_far["status"].attrs["flag_meanings"].split()[2] == "missing"
    # Those that ran are compared, the others are as good as never asked.
    with pytest.warns(UserWarning, match="edge of the grid"):
        best = ag.best(stopped, "loss")
    assert set(best["value"].notnull().values.ravel()) == {True, False}
    sweep(tmp_path)
    xr.testing.assert_identical(ag.load(tmp_path).drop_attrs(), whole.drop_attrs())


def test_a_grown_sweep_is_read_as_it_was_asked_last(tmp_path):
    sweep(tmp_path, seeds=[3])
    ag.save(ag.load(tmp_path), tmp_path / "results.nc")  # as `asgrad sweep` does
    grown = sweep(tmp_path)
    assert ag.load(tmp_path).sizes["seed"] == 1  # results.nc is what was made last
    (tmp_path / "results.nc").unlink()
    xr.testing.assert_identical(ag.load(tmp_path), grown)


def test_folders_without_a_result(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no results file .*results\.nc"):
        ag.load(tmp_path)
    sweep(tmp_path)
    for path in (tmp_path / "lanes").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no finished run"):
        ag.load(tmp_path)
    (tmp_path / "outline.npz").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"outline\.npz cannot be read"):
        ag.load(tmp_path)
    (tmp_path / "outline.npz").unlink()  # as of a version before it was written
    with pytest.raises(FileNotFoundError, match="the same call goes on"):
        ag.load(tmp_path)
