"""The grid: labels, agreement with single runs, files, and the best step size."""

import json
import warnings

import jax
import numpy as np
import optax
import pytest
import xarray as xr

import asgrad_jax as ag
from asgrad_jax.engine import program as engine
from asgrad_jax.results.selection import restore_dims

N, D, A = 4, 3, 50
CLOCKS = {
    "fixed": ag.compute_times.fixed(range(1, N + 1)),
    "noisy": ag.compute_times.exponential(range(1, N + 1)),
}
ALGORITHMS = ["pure_async", "shuffled_async", "fedbuff"]
STEPS = [0.05, 0.1]


@pytest.fixture(scope="module")
def problem():
    return ag.quadratic(N, D, noise=0.5, seed=1)


@pytest.fixture(scope="module")
def result(problem):
    return ag.sweep(
        problem,
        algorithms=ALGORITHMS,
        compute_times=CLOCKS,
        step_sizes=STEPS,
        seeds=[3, 5, 7],
        num_gradients=A,
        record_every=20,
        precision="float64",
    )


def test_layout(result):
    assert result["grad_norm"].dims == (
        "algorithm",
        "compute_times",
        "seed",
        "step_size",
        "record",
    )
    assert result["algorithm"].values.tolist() == ALGORITHMS
    assert result["compute_times"].values.tolist() == ["fixed", "noisy"]
    assert result["seed"].values.tolist() == [3, 5, 7]
    assert result["gradients"].values.tolist() == [0, 20, 40, 50]
    assert (result["status"] == 0).all()
    assert (result["first_bad_record"] == -1).all()
    config = ag.sweep_config(result)
    assert config["algorithms"]["fedbuff"]["gradients_per_step"] == 10
    assert config["compute_times"]["fixed"]["mean"] == [1, 2, 3, 4]
    assert config["hyperparameters"] == {"step_size": STEPS}
    assert set(json.loads(result.attrs["versions"])) >= {"jax", "asgrad-jax"}
    assert jax.default_backend() in result.attrs["device"]


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("clock", ["fixed", "noisy"])
def test_every_lane_equals_a_single_run(problem, result, name, clock):
    for seed in (3, 7):
        schedule = ag.simulate(name, CLOCKS[clock], num_gradients=A, seed=seed)
        cell = result.sel(algorithm=name, compute_times=clock, seed=seed)
        assert str(cell["schedule_hash"].values) == schedule.content_hash
        assert int(cell["tau_max"]) == schedule.stats().tau_max
        for step_size in STEPS:
            alone = ag.run(
                problem,
                schedule,
                step_size=step_size,
                record_every=20,
                seed=seed,
                precision="float64",
            )
            lane = cell.sel(step_size=step_size)
            for metric in ("loss", "grad_norm"):
                np.testing.assert_allclose(
                    lane[metric], alone.metrics[metric], rtol=1e-11
                )
            np.testing.assert_array_equal(lane["time"], alone.time)
            np.testing.assert_array_equal(lane["server_steps"], alone.server_steps)


def test_two_compiles_for_a_mixed_grid(problem):
    """One program with a gradient table, one without, and one for each server rule."""
    options = dict(compute_times=CLOCKS, step_sizes=[0.01, 0.02, 0.03], num_gradients=A)
    before = engine.advance._cache_size()
    names = ag.algorithms.names()
    rules = {
        ag.simulate(name, CLOCKS["fixed"], num_gradients=9).server_rule
        for name in names
    }
    kinds = {rule.name for rule in rules if rule is not None}
    ag.sweep(problem, algorithms=names, seeds=range(2), **options)
    assert engine.advance._cache_size() == before + 2 + len(kinds)


def test_hyperparameters_become_dimensions(problem):
    grid = ag.sweep(
        problem,
        algorithms={"mine": ag.algorithms.pure_async()},
        compute_times=CLOCKS["fixed"],
        step_sizes=STEPS,
        hyperparameters={"momentum": [0.0, 0.5, 0.9]},
        server=lambda step_size, momentum: optax.sgd(step_size, momentum),
        num_gradients=A,
        precision="float64",
    )
    assert grid["loss"].sizes["momentum"] == 3
    schedule = ag.simulate("pure_async", CLOCKS["fixed"], num_gradients=A)
    alone = ag.run(
        problem,
        schedule,
        step_size=0.1,
        hyperparameters={"momentum": 0.5},
        server=lambda step_size, momentum: optax.sgd(step_size, momentum),
        precision="float64",
    )
    lane = grid["loss"].sel(step_size=0.1, momentum=0.5).squeeze()
    assert lane.sizes["record"] == A + 1
    np.testing.assert_allclose(lane, alone.metrics["loss"], rtol=1e-11)


def test_saved_results_load_equal(result, tmp_path):
    path = tmp_path / "results.nc"
    ag.save(result, path)
    again = ag.load(path)
    xr.testing.assert_identical(again, result)
    for name, variable in result.variables.items():
        assert again[name].dtype == variable.dtype, name
    assert [p.name for p in tmp_path.iterdir()] == ["results.nc"]


@pytest.mark.parametrize("keep", [0, 10, 1000, 0.5, 0.99])
def test_truncated_file_is_refused(result, tmp_path, keep):
    path = tmp_path / "results.nc"
    ag.save(result, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    with pytest.raises(ValueError, match=r"results\.nc is not a whole NetCDF file"):
        ag.load(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results file"):
        ag.load(tmp_path / "none.nc")
    with pytest.raises(FileNotFoundError, match="create it first"):
        ag.save(xr.Dataset(), tmp_path / "none" / "r.nc")


def test_only_results_are_saved(result, tmp_path):
    path = tmp_path / "r.nc"
    with pytest.raises(TypeError, match=r"ag\.save\(result, path\)"):
        ag.save(path, result)
    with pytest.raises(TypeError, match="returned, got DataArray"):
        ag.save(result["loss"], path)
    assert not list(tmp_path.iterdir())


def test_failed_save_leaves_the_old_file(result, tmp_path, monkeypatch):
    path = tmp_path / "results.nc"
    path.write_text("old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    with pytest.raises(OSError, match="disk full"):
        ag.save(result, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["results.nc"]


def grid_of(values, status=None):
    """A result whose metric is constant in time: [algorithm, seed, step_size]."""
    values = np.asarray(values, float)[:, None, :, :, None] * np.ones(20)
    dims = ("algorithm", "compute_times", "seed", "step_size", "record")
    status = np.zeros(values.shape[:-1], np.int8) if status is None else status
    return xr.Dataset(
        {"grad_norm": (dims, values), "status": (dims[:-1], status)},
        coords={
            "algorithm": [f"a{i}" for i in range(values.shape[0])],
            "compute_times": ["c"],
            "seed": np.arange(values.shape[2]),
            "step_size": 2.0 ** -np.arange(values.shape[3]),
        },
    )


def test_best_is_the_median_over_seeds():
    # Step size 1/2 has the smallest median; 1/4 has the smallest single seed.
    result = grid_of([[[9, 2, 1, 9], [9, 2, 5, 9], [9, 3, 5, 9]]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ag.best(result)
    assert found["step_size"].item() == 0.5
    assert found["value"].item() == 2
    assert (found["lower"].item(), found["upper"].item()) == (2, 2.5)


def test_best_skips_lanes_that_are_not_ok():
    status = np.zeros((1, 1, 2, 4), np.int8)
    status[0, 0, 1, 2] = 1
    result = grid_of([[[9, 3, 1, 9], [9, 3, np.nan, 9]]], status)
    assert ag.best(result)["step_size"].item() == 0.5
    nothing = ag.best(grid_of([[[1.0, 2.0]]], np.ones((1, 1, 1, 2), np.int8)))
    assert np.isnan(nothing["step_size"].item())
    assert np.isnan(nothing["value"].item())
    assert not nothing["on_edge"].item()


@pytest.mark.parametrize("values", [[1, 2, 3], [3, 2, 1]])
def test_best_on_the_edge_warns(values):
    with pytest.warns(UserWarning, match="edge of the grid: step_size of a0;"):
        found = ag.best(grid_of([[values]]))
    assert found["on_edge"].item()


@pytest.mark.parametrize("size", [2, 3])
def test_two_values_of_a_hyperparameter_have_no_edge(size):
    parts = [grid_of([[[3 + i, 1 + i, 2 + i, 4 + i]]]) for i in range(size)]
    index = xr.DataArray(np.arange(float(size)), dims="momentum", name="momentum")
    result = xr.concat(parts, dim=index)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = ag.best(result)
    assert found["momentum"].item() == 0 and found["step_size"].item() == 0.5
    assert found["on_edge"].item() == (size == 3)
    words = [str(one.message) for one in said]
    assert [": momentum of a0; a wider" in one for one in words] == [True] * (size == 3)


def test_best_averages_the_last_tenth():
    result = grid_of([[[1.0, 2.0, 3.0]]])
    wave = np.ones(20)
    wave[-2:] = [0.0, 8.0]  # the last record alone would say 8
    result["grad_norm"] = result["grad_norm"] * xr.DataArray(wave, dims="record")
    np.testing.assert_allclose(
        ag.tail_mean(result).values.ravel(), np.array([4.0, 8.0, 12.0])
    )
    with pytest.raises(ValueError, match="unknown metric 'accuracy'"):
        ag.best(result, "accuracy")


def test_best_of_a_metric_to_maximize():
    # Step size 1/2 has the largest median of those where every seed is good.
    status = np.zeros((1, 1, 3, 4), np.int8)
    status[0, 0, 1, 2] = 1
    result = grid_of([[[1, 5, 9, 2], [1, 6, 9, 2], [1, 8, 9, 2]]], status)
    found = ag.best(result, maximize=True)
    assert found["step_size"].item() == 0.5 and found["value"].item() == 6
    assert (found["lower"].item(), found["upper"].item()) == (5.5, 7)
    lost = ag.best(result.isel(step_size=[2]), maximize=True)
    assert np.isnan(lost["step_size"].item()) and not lost["on_edge"].item()


@pytest.mark.filterwarnings("ignore:the best hyper-parameters")
@pytest.mark.parametrize(
    "at",
    [
        {"seed": 1},
        {"algorithm": 0},
        {"compute_times": 1},
        {"step_size": 1},
        {"seed": 0, "algorithm": 1, "compute_times": 0, "step_size": 0},
    ],
)
def test_one_value_selected_is_an_axis_of_length_one(result, at):
    selected = result.isel(at)
    kept = result.isel({name: [i] for name, i in at.items()})
    assert restore_dims(selected).identical(kept)
    assert restore_dims(selected)["status"].dims == result["status"].dims
    assert ag.best(selected).identical(ag.best(kept))


def test_one_further_hyperparameter_selected(problem):
    result = ag.sweep(
        problem,
        algorithms="pure_async",
        compute_times=CLOCKS["fixed"],
        step_sizes=STEPS,
        hyperparameters={"momentum": [0.0, 0.5]},
        server=lambda step_size, momentum: optax.sgd(step_size, momentum),
        num_gradients=A,
        record_every=20,
    )
    kept = restore_dims(result.sel(momentum=0.5))
    assert kept.identical(result.sel(momentum=[0.5]))
    both = restore_dims(result.sel(momentum=0.5, step_size=0.1))
    assert both["status"].dims == result["status"].dims


def test_what_is_no_whole_result_is_refused(result):
    for gone in ("seed", "step_size", "record"):
        with pytest.raises(ValueError, match=f"no axis '{gone}' any more"):
            ag.best(result.isel({gone: 0}, drop=True))
    numbers = [n for n, v in result.data_vars.items() if v.dtype.kind != "U"]
    with pytest.raises(ValueError, match=r"no axis 'seed'.*isel\(seed=\[0\]\)"):
        ag.best(result[numbers].median("seed"))
    with pytest.raises(ValueError, match=r"no variable 'status'.*'grad_norm'"):
        ag.best(result[["grad_norm"]])
    for take in (ag.tail_mean, lambda r: ag.time_to_accuracy(r, 1.0)):
        with pytest.raises(ValueError, match=r"no variable 'status'.*'grad_norm'"):
            take(result[["grad_norm"]])
        with pytest.raises(ValueError, match=r"metric 'grad_norm'.* has \['loss'\]"):
            take(result[["loss", "status"]])
    for take in (
        ag.best,
        ag.sweep_config,
        ag.tail_mean,
        lambda r: ag.time_to_accuracy(r, 1.0),
        ag.plot.convergence,
        ag.plot.step_sizes,
    ):
        with pytest.raises(TypeError, match=r"path 'r\.nc'.*ag\.load\('r\.nc'\)"):
            take("r.nc")
        with pytest.raises(TypeError, match="returned, got DataArray"):
            take(result["grad_norm"])


@pytest.mark.filterwarnings("ignore:the best hyper-parameters")
def test_config_of_the_best(result):
    assert ag.sweep_config(ag.best(result)) == ag.sweep_config(result)
    with pytest.raises(ValueError, match="no attribute 'config'"):
        ag.sweep_config(result.drop_attrs())


def test_progress_callback_counts_all_gradients(problem):
    seen = []
    ag.sweep(
        problem,
        algorithms="pure_async",
        compute_times=CLOCKS["fixed"],
        step_sizes=STEPS,
        seeds=range(3),
        num_gradients=A,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (3 * 2 * A, 3 * 2 * A)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_diverging_step_size_leaves_the_others_alone(problem, result):
    mixed = ag.sweep(
        problem,
        algorithms=ALGORITHMS,
        compute_times=CLOCKS,
        step_sizes=[0.05, 1e40],
        seeds=[3],
        num_gradients=A,
        record_every=20,
        precision="float64",
    )
    good = mixed["status"].sel(step_size=0.05)
    assert (good == 0).all()
    assert (mixed["status"].sel(algorithm="pure_async", step_size=1e40) == 1).all()
    xr.testing.assert_allclose(
        mixed["loss"].sel(step_size=0.05, seed=3),
        result["loss"].sel(step_size=0.05, seed=3),
        rtol=1e-11,
    )


def test_figures_do_not_depend_on_how_numbers_lie_in_memory():
    """A report of a loaded file has the digits of the run's own."""
    result = ag.sweep(
        ag.quadratic(num_workers=3, num_features=2),
        algorithms="pure_async",
        compute_times=ag.compute_times.fixed([1, 2, 3]),
        step_sizes=[0.01, 0.1],
        seeds=range(3),
        num_gradients=300,
        record_every=1,
    )
    rng = np.random.default_rng(0)
    values = rng.random(result["grad_norm"].shape, np.float32)
    tails = [
        ag.tail_mean(result.assign(grad_norm=(result["grad_norm"].dims, laid)))
        for laid in (np.ascontiguousarray(values), np.asfortranarray(values))
    ]
    assert tails[0].dtype == np.float32
    np.testing.assert_array_equal(*tails)
