"""Figures: what is drawn equals what was computed, and nothing is drawn that is not."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import asgrad_jax as ag
from asgrad_jax.use import style
from asgrad_jax.use.plot_schedule import inferred_starts

# Some of the tests ask `best` itself, and pure's best step size is the smallest.
pytestmark = pytest.mark.filterwarnings("ignore:the best hyper-parameters")

ALGORITHMS = ["pure_async", "shuffled_async", "minibatch"]
SIZES = np.array([0.001, 0.01, 0.05, 0.2, 60.0])  # the last one diverges


@pytest.fixture(scope="module")
def result():
    return ag.sweep(
        ag.quadratic(num_workers=4, num_features=3, seed=1),
        algorithms=ALGORITHMS,
        compute_times=ag.compute_times.exponential([1, 2, 3, 4]),
        step_sizes=SIZES,
        seeds=range(5),
        num_gradients=400,
        record_every=20,
    )


def curves(axes):
    """The lines with more than one point, without those that only mark something."""
    return [line for line in axes.get_lines() if line.get_linestyle() != "None"]


def test_convergence_draws_medians_at_the_best_step_size(result):
    figure = ag.plot.convergence(result)
    best = ag.best(result).isel(compute_times=0)["step_size"]
    for name, line in zip(ALGORITHMS, curves(figure.axes[0]), strict=True):
        at = {"algorithm": name, "step_size": best.sel(algorithm=name).item()}
        chosen = result["grad_norm"].sel(at)
        median = chosen.isel(compute_times=0).median("seed")
        np.testing.assert_allclose(line.get_ydata(), median, rtol=1e-6)
        np.testing.assert_array_equal(line.get_xdata(), result["gradients"])


def test_virtual_time_ends_with_the_first_seed(result):
    figure = ag.plot.convergence(result)
    for name, line in zip(ALGORITHMS, curves(figure.axes[1]), strict=True):
        ends = result["time"].sel(algorithm=name).isel(record=-1)
        assert line.get_xdata()[0] == 0
        assert line.get_xdata()[-1] == pytest.approx(float(ends.min()))
    # The start is common to all, whatever the clock.
    first = [line.get_ydata()[0] for line in curves(figure.axes[1])]
    np.testing.assert_allclose(first, first[0])


def test_diverged_lanes_are_left_out_and_marked(result):
    figure = ag.plot.step_size_sensitivity(result)
    [axes] = figure.axes
    assert "not finite" in axes.get_title(loc="left")
    for line in curves(axes):
        np.testing.assert_array_equal(line.get_xdata(), SIZES)
        assert np.isfinite(line.get_ydata()).tolist() == [True] * 4 + [False]
    crosses = [li for li in axes.get_lines() if li.get_marker() == "x"]
    assert [li.get_xdata().tolist() for li in crosses] == [[60.0]] * 3


def test_rings_mark_the_best(result):
    axes = ag.plot.convergence(result).axes[2]
    best = ag.best(result).isel(compute_times=0)
    rings = [li for li in axes.get_lines() if li.get_markerfacecolor() == "none"]
    assert len(rings) == len(ALGORITHMS)
    for name, ring in zip(ALGORITHMS, rings, strict=True):
        assert ring.get_xdata() == [best["step_size"].sel(algorithm=name)]
        np.testing.assert_allclose(
            ring.get_ydata(), [best["value"].sel(algorithm=name)], rtol=1e-6
        )


def test_one_legend_and_a_caption_that_says_what_was_run(result):
    figure = ag.plot.convergence(result, title="A quadratic")
    [legend] = figure.legends
    assert [t.get_text().split()[0] for t in legend.get_texts()] == ALGORITHMS
    assert all(axes.get_legend() is None for axes in figure.axes)
    caption = " ".join(figure.get_supxlabel().split())
    for fact in (
        "A quadratic",
        "n = 4",
        "exponential",
        "means 1 to 4",
        "400",
        "5 seeds",
    ):
        assert fact in caption


def test_an_algorithm_without_a_finite_run_is_named_but_not_drawn(result):
    figure = ag.plot.convergence(result.sel(step_size=[60.0]))
    assert curves(figure.axes[0]) == []
    assert "no finite run" in figure.legends[0].get_texts()[0].get_text()


def test_further_hyperparameters_are_at_their_best():
    import optax

    result = ag.sweep(
        ag.quadratic(num_workers=3, num_features=2),
        algorithms="pure_async",
        compute_times=ag.compute_times.fixed([1, 2, 3]),
        step_sizes=[0.01, 0.1],
        hyperparameters={"momentum": [0.0, 0.5]},
        server=lambda step_size, momentum: optax.sgd(step_size, momentum),
        num_gradients=100,
    )
    [line] = curves(ag.plot.step_size_sensitivity(result).axes[0])
    tail = ag.tail_mean(result).isel(algorithm=0, compute_times=0, seed=0)
    np.testing.assert_allclose(line.get_ydata(), tail.min("momentum"), rtol=1e-6)


def test_axes_of_the_user(result):
    figure = Figure()
    axes = figure.subplots(1, 3)
    assert ag.plot.convergence(result, axes=axes) is figure
    assert axes[0].get_legend() is not None
    with pytest.raises(ValueError, match="3 axes of a figure, got 2"):
        ag.plot.convergence(result, axes=axes[:2])


def test_unknown_names_are_refused(result):
    with pytest.raises(ValueError, match=r"unknown compute times 'x'.*exponential"):
        ag.plot.convergence(result, compute_times="x")
    with pytest.raises(ValueError, match=r"unknown metric 'x'.*grad_norm"):
        ag.plot.convergence(result, metric="x")
    two = ag.sweep(
        ag.quadratic(num_workers=2, num_features=2),
        algorithms="pure_async",
        compute_times={k: ag.compute_times.fixed([1, 2]) for k in "ab"},
        step_sizes=[0.1],
        num_gradients=20,
    )
    with pytest.raises(ValueError, match="several compute-time models"):
        ag.plot.convergence(two)
    assert ag.plot.convergence(two, compute_times="b")


@settings(max_examples=30, derandomize=True, deadline=None)
@given(
    st.sampled_from(["pure_async", "random_async", "shuffled_async"]),
    st.integers(0, 1000),
    st.integers(1, 8),
)
def test_inferred_starts_give_the_true_durations(name, seed, n):
    # Without waiting and discarding, the inference is exact.
    times = ag.compute_times.exponential(np.arange(1, n + 1))
    schedule = ag.simulate(name, times, num_gradients=60, seed=seed)
    assigned, started = inferred_starts(schedule)
    assert (assigned <= started).all()
    durations = [
        times.durations(worker, seed, draw, 1)[0]
        for worker, draw in zip(
            schedule.worker.tolist(), schedule.draw.tolist(), strict=True
        )
    ]
    np.testing.assert_allclose(schedule.time - started, durations, rtol=1e-9)


@pytest.mark.parametrize("name", ["pure_async", "minibatch", "fedbuff", "sgd"])
@pytest.mark.parametrize("n", [1, 10, 100])
def test_schedule_figure_counts_every_arrival(name, n):
    times = ag.compute_times.normal(np.arange(1, n + 1))
    schedule = ag.simulate(name, times, num_gradients=300)
    timeline, delays, concurrency, share = ag.plot.schedule(schedule).axes
    bars = [patch.get_height() for patch in delays.patches]
    assert sum(bars) == len(schedule)
    assert timeline.get_xlim()[0] <= 0
    labels = [t.get_text() for t in delays.get_legend().get_texts()]
    assert labels[0] == f"$n$ = {n}"
    assert labels[2].endswith(f"= {schedule.stats().tau_max}")
    assert concurrency.get_ylim()[1] > schedule.concurrency_max
    if n <= 10:
        total = sum(patch.get_height() for patch in share.patches)
        assert total == pytest.approx(1)


def test_looks_differ_in_two_ways_at_least():
    # Seven algorithms differ in colour, five in line, eight in marker.
    looks = [style.look(i) for i in range(35)]
    assert len(set(looks)) == len(looks)
    for one in range(5):
        for other in range(one):
            pairs = zip(looks[one], looks[other], strict=True)
            assert all(a != b for a, b in pairs)


def test_save_leaves_nothing_half_written(tmp_path, monkeypatch):
    figure = Figure()
    paths = ag.plot.save(figure, tmp_path / "a.b.png")
    assert [p.name for p in paths] == ["a.b.png", "a.b.pdf"]
    assert all(p.stat().st_size > 500 for p in paths)

    def fail(path, **_):
        path.write_text("half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(RuntimeError):
        ag.plot.save(figure, tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.b.pdf", "a.b.png"]


def test_import_does_not_load_matplotlib():
    code = """if True:
        import sys
        import asgrad_jax as ag
        assert "matplotlib" not in sys.modules
        ag.plot.convergence
        assert "matplotlib" in sys.modules
        assert "matplotlib.pyplot" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
