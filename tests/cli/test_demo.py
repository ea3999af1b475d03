"""The demo shows the paper's ordering, and writes what it says."""

import dataclasses
import math

import numpy as np
import pytest

import asgrad_jax as ag
from asgrad_jax.cli import demo
from asgrad_jax.report import files
from asgrad_jax.report import tables as report
from asgrad_jax.results.selection import deterministic

SEEDS = 5


@pytest.fixture(scope="module")
def small():
    """The demo on a smaller shipped data set and horizon."""
    features, labels = ag.datasets.breast_cancer()
    problem = ag.logistic_regression(
        features, labels, num_workers=10, partition="sorted", drop_last=True
    )
    setting = demo.Demo(problem, "breast cancer", 4_000, 2.0 ** np.arange(-9, -3))
    return demo.run_demo(setting, seeds=SEEDS)


@pytest.fixture(scope="module")
def quick():
    return demo.run_demo(demo.shortened(demo.builtin()), seeds=2)


def tails(result):
    """The tail at the best step size, name -> [seeds]."""
    table = report.best_table(result).set_index("algorithm")
    tail = ag.tail_mean(result).isel(compute_times=0)
    return {
        name: tail.sel(algorithm=name, step_size=row["step_size"]).values
        for name, row in table.iterrows()
    }


def test_ordering_of_the_paper(small):
    # Measured medians: pure 0.114, random 0.0082, shuffled 0.0022.
    tail = tails(small)
    pure, random, shuffled = (
        tail[f"{name}_async"] for name in ("pure", "random", "shuffled")
    )
    assert np.median(shuffled) < 0.6 * np.median(random)
    assert np.median(random) < 0.2 * np.median(pure)
    # Seed by seed, the worst case against the best.
    assert shuffled.max() < random.min()
    assert random.max() < 0.5 * pure.min()


def test_pure_has_a_floor_that_no_step_size_removes(small):
    tail = ag.tail_mean(small).isel(compute_times=0).median("seed")
    pure, shuffled = (
        tail.sel(algorithm=f"{name}_async").min() for name in ("pure", "shuffled")
    )
    assert pure > 10 * shuffled
    # The floor is not slowness: the second half of the run brings next to nothing.
    best = report.best_table(small).set_index("algorithm")["step_size"]["pure_async"]
    curve = small["grad_norm"].sel(algorithm="pure_async", step_size=best)
    curve = curve.isel(compute_times=0).median("seed").values
    half, tenth = len(curve) // 2, len(curve) // 10
    assert curve[-tenth:].mean() > 0.7 * curve[half : half + tenth].mean()


def test_speeds_differ_tenfold(quick):
    mean = ag.sweep_config(quick)["compute_times"]["poisson"]["mean"]
    assert max(mean) == 10 * min(mean)


def test_shipped_demo_is_big_enough():
    full = demo.builtin()
    assert len(full.step_sizes) >= 10
    assert full.problem.num_workers == 10
    assert full.num_gradients == 20 * demo.shortened(full).num_gradients
    # Sorted by label: the first workers see one class, the last ones the other.
    assert set(full.problem.labels[0]) == {-1.0}
    assert set(full.problem.labels[-1]) == {1.0}


def test_table_agrees_with_best(quick):
    table = report.best_table(quick)
    assert table["tail"].is_monotonic_increasing
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        best = ag.best(quick).isel(compute_times=0)
    for row in table.to_dict("records"):
        chosen = best.sel(algorithm=row["algorithm"])
        assert row["step_size"] == chosen["step_size"]
        assert row["tail"] == chosen["value"]
        lane = quick.sel(algorithm=row["algorithm"], step_size=row["step_size"])
        final = lane["grad_norm"].isel(record=-1, compute_times=0)
        assert row["final"] == pytest.approx(float(final.median()))
    # Equal seeds have equal quartiles, but for rounding.
    assert (table["lower"] <= table["tail"] * (1 + 1e-6)).all()
    assert (table["tail"] <= table["upper"] * (1 + 1e-6)).all()


def test_sentences_follow_the_data(quick):
    [order, clock, *_] = report.summary(quick)
    names = report.best_table(quick)["algorithm"].tolist()
    places = [order.index(name) for name in names]
    assert places == sorted(places)
    times = quick["time"].isel(record=-1, compute_times=0).median("seed")
    fastest = times["algorithm"].values[np.argmin(times.values)]
    assert f"({fastest}) to" in clock
    # With the algorithms' data exchanged, the sentence changes too.
    swapped = quick.isel(algorithm=slice(None, None, -1)).assign_coords(
        algorithm=quick["algorithm"].values
    )
    assert report.summary(swapped)[0] != order


def test_values_are_told_apart():
    """The sign "<" stands only where the digits shown differ."""
    told = report._told_apart
    assert told([0.0871, 0.0872]) == ["0.0871", "0.0872"]
    assert told([0.087, 0.087, 0.5]) == ["0.087", "0.087", "0.5"]
    assert told([1.0, 1.0 + 1e-9]) == ["1", "1"]


def test_equal_values_have_no_order(quick):
    same = quick.isel(algorithm=[0, 0]).assign_coords(algorithm=["one", "two"])
    [order, clock, *_] = report.summary(same)
    assert " = two " in order and "<" not in order and "in brackets" not in order
    assert " to " not in clock and "units of virtual time" in clock
    same = same.assign_coords(algorithm=["tau < 5", "tau > 5"])
    assert "in brackets" not in report.summary(same)[0]


def test_wins_are_counted_seed_by_seed(quick):
    tail = tails(quick)
    [order, *_] = report.summary(quick)
    low, high = report.best_table(quick)["algorithm"][:2]
    wins = int((tail[low] < tail[high]).sum())
    assert f"< {high} {np.median(tail[high]):.2g} ({wins}/2)" in order


def copies(**compute_times):
    """A result of three seeds, a method that is random, two that are not."""
    return ag.sweep(
        ag.quadratic(num_workers=3, num_features=2, seed=0),
        algorithms=["pure_async", "minibatch", "random_async"],
        compute_times=compute_times,
        step_sizes=[0.01, 0.1],
        seeds=range(3),
        num_gradients=100,
    )


def test_copies_of_one_run_are_no_repetitions():
    result = copies(fixed=ag.compute_times.fixed([1, 2, 3]))
    assert deterministic(result) == ["pure_async", "minibatch"]
    same = result.sel(algorithm=["pure_async", "minibatch"])
    [order, *_] = report.summary(same)
    assert "(deterministic); deterministic: all seeds give the same run." in order
    assert "/3)" not in order and "in how many seeds" not in order
    [order, *_] = report.summary(result)
    assert "/3)" in order and "in how many seeds" in order
    caption = " ".join(ag.plot.convergence(same).get_supxlabel().split())
    assert "deterministic: 3 seeds, one curve" in caption
    caption = " ".join(ag.plot.convergence(result).get_supxlabel().split())
    assert "(pure_async, minibatch: deterministic)" in caption
    assert deterministic(result.sel(seed=[0])) == []


def test_random_times_or_gradients_are_repetitions():
    result = copies(exponential=ag.compute_times.exponential([1, 2, 3]))
    assert deterministic(result) == []
    # Full mini-batches of all workers come to the same after other times.
    timeless = result.copy(deep=True)
    timeless["time"] = result["time"].isel(seed=0, drop=True).expand_dims(seed=3)
    assert deterministic(timeless) == ["minibatch"]


def test_names_of_options_of_xarray_are_names_too(quick):
    named = quick.expand_dims(method=[0.9], tolerance=[0.1])
    assert report.summary(named) == report.summary(quick)


def test_report_says_what_went_wrong():
    result = ag.sweep(
        ag.quadratic(num_workers=3, num_features=2, seed=0),
        algorithms=["pure_async", "minibatch"],
        compute_times=ag.compute_times.fixed([1, 2, 3]),
        step_sizes=[0.1, 1e3, 1e4],
        num_gradients=300,
    )
    text = " ".join(report.summary(result))
    assert "4 of 6 runs left the finite range" in text
    assert "edge of the grid" in text
    lost = report.summary(result.sel(step_size=[1e3, 1e4]))
    assert lost[0] == "No algorithm stayed finite (fixed)."
    table = report.best_table(result.sel(step_size=[1e3, 1e4]))
    assert table["tail"].isna().all() and table["final"].isna().all()


def test_files(quick, tmp_path):
    folder = tmp_path / "new" / "folder"
    written = files.write_results(quick, folder)
    names = {"results.nc", "table.csv", "table.md", "table.tex"}
    names |= {"convergence.png", "convergence.pdf"}
    assert {p.name for p in folder.iterdir()} == names == {p.name for p in written}
    back = ag.load(folder / "results.nc")
    assert report.labels(back) == report.labels(quick)
    assert back.equals(quick)
    lines = (folder / "table.md").read_text().splitlines()
    assert len({len(line) for line in lines[:7]}) == 1  # aligned
    assert lines[1].startswith("| ---")


def test_libsvm_file(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        f"{rng.choice([-1, 1])} 1:{rng.normal():.3f} 3:{rng.normal():.3f}"
        for _ in range(43)
    ]
    path = tmp_path / "toy.txt"
    path.write_text("\n".join(rows) + "\n")
    setting = demo.from_file(path)
    assert "the last 3 rows dropped" in setting.about
    assert setting.problem.features.shape == (10, 4, 3)
    tiny = dataclasses.replace(setting, num_gradients=50)
    result = demo.run_demo(tiny, seeds=1)
    assert result.sizes["record"] == 51
    assert np.isfinite(result["grad_norm"].isel(record=0)).all()


def test_the_papers_data(shared):
    path = shared / "data" / "w7a.txt"
    if not path.is_file():
        pytest.skip(f"no {path}")
    setting = demo.from_file(path)
    assert setting.problem.features.shape == (10, 2505, 300)
    tiny = dataclasses.replace(
        setting, num_gradients=100, step_sizes=np.array([2.0**-6])
    )
    result = demo.run_demo(tiny, seeds=1)
    # x_0 = ones: the norm there does not depend on the algorithm.
    norm = result["grad_norm"].isel(record=0).values
    assert np.ptp(norm) == 0 and math.isfinite(norm.max())
    # The norm may rise at first, as the regulariser is not convex; the loss falls.
    loss = result["loss"]
    assert (loss.isel(record=-1) < loss.isel(record=0)).all()
