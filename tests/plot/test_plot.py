"""Figures: what is drawn equals what was computed, and nothing is drawn that is not."""

import json
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text

import asgrad_jax as ag
from asgrad_jax.plot import style
from asgrad_jax.plot.schedule import inferred_starts

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
    figure = ag.plot.step_sizes(result)
    [axes] = figure.axes
    assert "×\N{NO-BREAK SPACE}not\N{NO-BREAK SPACE}finite" in axes.get_title(
        loc="left"
    )
    for line in curves(axes):
        np.testing.assert_array_equal(line.get_xdata(), SIZES)
        assert np.isfinite(line.get_ydata()).tolist() == [True] * 4 + [False]
    crosses = [li for li in axes.get_lines() if li.get_marker() == "x"]
    assert [li.get_xdata().tolist() for li in crosses] == [[60.0]] * 3


@pytest.mark.parametrize(
    ("means", "num_gradients"), [([1, 1, 100], 20), ([1, 1, 100], 240), ([1, 2, 30], 9)]
)
def test_jobs_that_run_are_drawn_though_they_arrive_later(means, num_gradients):
    times = ag.compute_times.fixed(means)
    schedule = ag.simulate("pure_async", times, num_gradients=num_gradients)
    panel = ag.plot.schedule(schedule).axes[0]
    edge = schedule.time[min(24, num_gradients) - 1]
    bars = [(bar.get_y() + 0.35, bar.get_x(), bar.get_width()) for bar in panel.patches]
    for worker in range(3):  # all of them work all the time
        spans = [(x, x + width) for at, x, width in bars if round(at) == worker]
        assert min(x for x, _ in spans) == 0
        assert max(end for _, end in spans) == pytest.approx(edge)
        assert sum(end - x for x, end in spans) == pytest.approx(edge)
    assert panel.get_xlim()[1] == pytest.approx(edge)


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
    [line] = curves(ag.plot.step_sizes(result).axes[0])
    tail = ag.tail_mean(result).isel(algorithm=0, compute_times=0, seed=0)
    np.testing.assert_allclose(line.get_ydata(), tail.min("momentum"), rtol=1e-6)
    # Also where xarray has an option of that name.
    figures = map(ag.plot.convergence, [result, result.rename(momentum="method")])
    [one], [other] = (curves(figure.axes[0]) for figure in figures)
    np.testing.assert_array_equal(one.get_ydata(), other.get_ydata())


def test_axes_of_the_user(result):
    figure = Figure()
    axes = figure.subplots(1, 3)
    assert ag.plot.convergence(result, axes=axes) is figure
    assert axes[0].get_legend() is not None
    with pytest.raises(ValueError, match="3 axes of a figure, got 2"):
        ag.plot.convergence(result, axes=axes[:2])


def test_unknown_names_are_refused(result):
    with pytest.raises(ValueError, match="must be 'exponential', got 'x'"):
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
        times.durations(worker, seed, job, 1)[0]
        for worker, job in zip(
            schedule.worker.tolist(), schedule.job.tolist(), strict=True
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
    looks = [style.line_style(i) for i in range(35)]
    assert len(set(looks)) == len(looks)
    for one in range(5):
        for other in range(one):
            pairs = zip(looks[one], looks[other], strict=True)
            assert all(a != b for a, b in pairs)


def test_a_method_looks_the_same_in_every_selection(result):
    def colors(result):
        figure = ag.plot.convergence(result)
        names = [h.get_text().split()[0] for h in figure.legends[0].get_texts()]
        handles = figure.legends[0].legend_handles
        return {n: h.get_color() for n, h in zip(names, handles, strict=True)}

    whole = colors(result)
    assert len({*whole.values()}) == len(ALGORITHMS)
    assert colors(result.isel(algorithm=[2, 1])) == {
        n: whole[n] for n in ALGORITHMS[1:]
    }
    # In other results too, for the methods of most figures; others take what is free.
    found = style.line_styles(["mine", "fedbuff", "shuffled_async", "yours"])
    numbers = {"mine": 0, "fedbuff": 4, "shuffled_async": 2, "yours": 1}
    assert found == {name: style.line_style(number) for name, number in numbers.items()}


def test_a_single_step_size_has_no_panel(result):
    alone = ag.plot.convergence(result.isel(step_size=[0]))
    assert [a.get_xlabel() for a in alone.axes] == ["gradients", "virtual time"]
    asked = ag.plot.convergence(result.isel(step_size=[0]), against="step_size")
    assert len(asked.axes) == 1


def test_curves_of_many_records_have_few_points(result):
    many = result.isel(record=np.repeat(np.arange(result.sizes["record"]), 5))
    [line, *_] = curves(ag.plot.convergence(many).axes[0])
    gradients = result["gradients"].values
    assert len(line.get_xdata()) == 101 < many.sizes["record"]
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (0, gradients[-1])


def test_few_step_sizes_have_a_label_each(result):
    [axes] = ag.plot.step_sizes(result.isel(step_size=[1, 2])).axes
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == [f"{s:.3g}" for s in result["step_size"].values[[1, 2]]]


def test_pdf_files_hold_fonts_that_publishers_take(tmp_path, caplog):
    figure = Figure()
    figure.text(0.5, 0.5, r"words, $\|\nabla f(x)\|$")
    [path] = ag.plot.save(figure, tmp_path / "a.pdf")
    assert b"/CIDFontType2" in path.read_bytes()
    assert b"/Type3" not in path.read_bytes()
    assert not caplog.records


def test_save_leaves_nothing_half_written(tmp_path, monkeypatch):
    figure = Figure()
    paths = ag.plot.save(figure, tmp_path / "a.5")
    assert [p.name for p in paths] == ["a.5.png", "a.5.pdf"]
    assert all(p.stat().st_size > 500 for p in paths)

    def fail(path, **_):
        path.write_text("half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(RuntimeError):
        ag.plot.save(figure, tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.5.pdf", "a.5.png"]


def test_an_ending_asks_for_one_format(tmp_path):
    begins = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml", ".PDF": b"%PDF"}
    for place, (ending, begin) in enumerate(begins.items()):
        [path] = ag.plot.save(Figure(), tmp_path / f"a.b{place}{ending}")
        assert path.name == f"a.b{place}{ending}"
        assert path.read_bytes().startswith(begin)
    with pytest.raises(ValueError, match=r"fig\.jpg: figures end in .png, .pdf, .svg"):
        ag.plot.save(Figure(), tmp_path / "fig.jpg")
    assert len(list(tmp_path.iterdir())) == len(begins)
    # Names made of a user's labels may have points.
    both = style.save_both(Figure(), tmp_path / "heavy.tails")
    assert [p.name for p in both] == ["heavy.tails.png", "heavy.tails.pdf"]


@pytest.fixture(scope="module")
def scored(result):
    # Like an accuracy: the smaller the gradient, the larger.
    return result.assign(accuracy=np.exp(-result["grad_norm"]))


def test_a_metric_to_maximize(scored):
    figure = ag.plot.convergence(scored, metric="accuracy", maximize=True)
    best = ag.best(scored, "accuracy", maximize=True).isel(compute_times=0)
    assert [axes.get_yscale() for axes in figure.axes] == ["linear"] * 3
    for name, line in zip(ALGORITHMS, curves(figure.axes[0]), strict=True):
        size = best["step_size"].sel(algorithm=name).item()
        at = {"algorithm": name, "step_size": size}
        chosen = scored["accuracy"].sel(at).isel(compute_times=0)
        np.testing.assert_allclose(line.get_ydata(), chosen.median("seed"), rtol=1e-6)
    marks = [figure.axes[2]]
    alone = ag.plot.step_sizes(scored, metric="accuracy", maximize=True)
    for axes in marks + alone.axes:
        rings = [li for li in axes.get_lines() if li.get_markerfacecolor() == "none"]
        found = [ring.get_ydata().item() for ring in rings]
        np.testing.assert_allclose(found, best["value"], rtol=1e-6)
        # Runs that diverged stand where the worst values are: at the foot.
        crosses = [li for li in axes.get_lines() if li.get_marker() == "x"]
        assert all(li.get_ydata()[0] < 0.2 for li in crosses)


def test_panels_that_are_asked_for(result):
    axes = Figure().subplots()
    assert ag.plot.convergence(result, against="time", axes=axes).axes == [axes]
    assert axes.get_xlabel() == "virtual time" and len(curves(axes)) == 3
    figure = ag.plot.convergence(result, against=["step_size", "gradients"])
    assert [a.get_xlabel() for a in figure.axes] == [
        r"step size $\gamma$",
        "gradients",
    ]
    for wrong in ((), ["time", "time"], ["seconds"]):
        with pytest.raises(ValueError, match=r"against must (name panels|be 'gradien)"):
            ag.plot.convergence(result, against=wrong)
    with pytest.raises(ValueError, match="unknown metric 'time'"):
        ag.plot.convergence(result.drop_vars("time"))


def inside(figure):
    """Asserts that no text of the figure runs off its edges."""
    figure.draw_without_rendering()
    ticks = [t for axes in figure.axes for t in ticks_of(axes)]
    for text in figure.findobj(Text):
        # Ticks beyond the axis are there, but not drawn.
        if text.get_text() and text not in ticks:
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text.get_text()


def ticks_of(axes):
    return [
        text
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.majorTicks, *axis.minorTicks)
        for text in tick.findobj(Text)
    ]


def test_a_paper_sized_figure_has_its_legend_above(result):
    figure = Figure(figsize=(7, 2.2), layout="constrained")
    axes = figure.subplots(1, 3)
    ag.plot.convergence(result, axes=axes)
    assert len(figure.legends) == 1 and axes[0].get_legend() is None
    inside(figure)
    # Beside other panels of the user's the legend stays in its own.
    figure = Figure(figsize=(5, 2.2), layout="constrained")
    axes = figure.subplots(1, 2)
    ag.plot.convergence(result, against="time", axes=axes[1])
    assert not figure.legends
    figure.draw_without_rendering()
    box = axes[1].get_legend().get_window_extent()
    assert axes[1].bbox.x0 <= box.x0 and box.x1 <= axes[1].bbox.x1


LONG = "A title about $a + b$ that is far too long for one line " * 4


def test_long_titles_are_wrapped(result):
    times = ag.compute_times.fixed([1, 2, 3])
    schedule = ag.simulate("pure_async", times, num_gradients=50)
    for figure in (
        ag.plot.convergence(result, title=LONG),
        ag.plot.schedule(schedule, title=LONG),
    ):
        inside(figure)
        lines = figure.get_supxlabel().split("\n")
        assert len(lines) > 1
        assert all(line.count("$") % 2 == 0 for line in lines)


def test_legends_of_many_long_names_stay_in_the_figure(result):
    names = [f"method {k} of a rather long name" for k in range(12)]
    names += ["x" * 130, "costs 5$", "y"]
    many = xr.concat([result] * 5, "algorithm").assign_coords(algorithm=names)
    config = ag.sweep_config(result) | {"algorithms": dict.fromkeys(names)}
    many.attrs = result.attrs | {"config": json.dumps(config)}
    for draw in (ag.plot.convergence, ag.plot.step_sizes):
        figure = draw(many)
        inside(figure)
        assert figure.axes[0].bbox.height > 200
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels[13].startswith(r"costs 5\$")


def test_crosses_have_room_beyond_the_data(result):
    [axes] = ag.plot.step_sizes(result).axes
    crosses = [li for li in axes.get_lines() if li.get_marker() == "x"]
    lowest = min(li.get_ydata()[0] for li in crosses)
    top = max(np.nanmax(line.get_ydata()) for line in curves(axes))
    place = axes.transAxes.inverted().transform(axes.transData.transform((1, top)))
    assert place[1] < lowest


def test_zeros_are_left_out_of_log_axes(result):
    zero = result.copy(deep=True)
    zero["grad_norm"].loc[{"algorithm": "minibatch", "step_size": 0.2}][..., 10:] = 0
    gradients, time, sizes = ag.plot.convergence(zero).axes
    for axes in (gradients, time):
        values = curves(axes)[2].get_ydata()
        assert np.isnan(values[-1]) and np.nanmin(values) > 0
    # Where zeros begin nothing else changes.
    before = curves(ag.plot.convergence(result).axes[1])[2].get_ydata()
    np.testing.assert_allclose(values[:20], before[:20])
    rings = [li for li in sizes.get_lines() if li.get_markerfacecolor() == "none"]
    assert [0.2] in [ring.get_xdata().tolist() for ring in rings]
    title = sizes.get_title(loc="left").replace("\N{NO-BREAK SPACE}", " ")
    assert "foot: zero" in title


def test_captions_count_one_seed_as_one(result):
    caption = " ".join(ag.plot.convergence(result.sel(seed=0)).get_supxlabel().split())
    assert caption.endswith("one seed")


def test_one_form_of_numbers_in_a_legend(result):
    for sizes, powers in (([0.05, 1.0], False), ([0.5, 1.0], True), ([1.0], False)):
        named = result.isel(step_size=slice(len(sizes))).assign_coords(step_size=sizes)
        labels = ag.plot.convergence(named).legends[0].get_texts()
        assert {"2^" in text.get_text() for text in labels} == {powers}


@pytest.mark.parametrize("size", [7, 10, 16])
def test_all_texts_follow_the_size_of_the_font(result, size):
    with rc_context({"font.size": size}):
        axes = ag.plot.step_sizes(result).axes[0]
        axes.figure.draw_without_rendering()
    for axis in (axes.xaxis, axes.yaxis):
        for which in ("major", "minor"):
            assert axis.get_tick_params(which=which)["labelsize"] == 0.8 * size
    sizes = [
        axis.label.get_size() / (0.8 * size + 1) for axis in (axes.xaxis, axes.yaxis)
    ]
    # A label that is longer than its axis has smaller letters.
    assert sizes[0] == 1 and 0.75 <= sizes[1] <= 1


@pytest.mark.parametrize("sizes", [[60.0], [60.0, 70.0]])
def test_where_all_diverged_the_panels_say_so(result, sizes):
    lost = xr.concat([result.sel(step_size=60.0)] * len(sizes), "step_size")
    lost = lost.assign_coords(step_size=sizes)
    lost["status"] = lost["status"].transpose(*result["status"].dims)
    figure = ag.plot.convergence(lost)
    figure.draw_without_rendering()
    assert [axes.texts[0].get_text() for axes in figure.axes] == [
        "every run diverged"
    ] * (2 if len(sizes) == 1 else 3)
    ends = (400, float(lost["time"].max()))
    assert [axes.get_xlim()[1] for axes in figure.axes[:2]] == pytest.approx(ends)
    for axes in figure.axes:
        assert not axes.yaxis.get_ticklocs(minor=True).size
        assert not axes.get_yticks().size


def test_axes_of_the_wrong_number_or_kind(result):
    axes = Figure().subplots()
    with pytest.raises(
        ValueError, match=r"3 axes of a figure, got 1.*subplots\(1, 3\)"
    ):
        ag.plot.convergence(result, axes=axes)
    with pytest.raises(TypeError, match=r"must be axes of a matplotlib figure.*Figure"):
        ag.plot.convergence(result, axes=Figure())
    times = ag.compute_times.fixed([1, 2, 3])
    schedule = ag.simulate("pure_async", times, num_gradients=50)
    square = Figure().subplots(2, 2)
    assert ag.plot.schedule(schedule, axes=square).axes == list(square.flat)


@pytest.mark.parametrize("n", [2, 3, 100])
def test_ticks_of_workers_and_counts_are_whole_numbers(n):
    times = ag.compute_times.fixed(np.arange(1, n + 1))
    figure = ag.plot.schedule(ag.simulate("pure_async", times, num_gradients=20 * n))
    timeline, delays, flight, share = figure.axes
    some = n > 30
    assert timeline.get_ylabel() == f"worker{' (30 of 100)' if some else ''}"
    if not some:
        assert share.get_xticks().tolist() == list(range(n))
    for ticks in (delays.get_xticks(), flight.get_yticks()):
        np.testing.assert_array_equal(ticks, np.round(ticks))


def test_schedules_of_one_arrival_and_of_late_times():
    one = ag.Schedule.from_arrays(worker=[0], read=[0], time=[2.0])
    _, delays, flight, _ = ag.plot.schedule(one).axes
    assert delays.get_ylim()[0] < 1
    assert flight.get_lines()[0].get_xdata().tolist() == [0, 2]
    late = ag.Schedule.from_arrays(worker=[0, 0], read=[0, 1], time=[1e9, 1e9 + 1])
    axes = ag.plot.schedule(late).axes[2]
    ticks = [axes.xaxis.get_major_formatter()(t, 0) for t in axes.get_xticks()]
    assert len({*ticks}) == len(ticks) > 2


def test_import_does_not_load_matplotlib():
    code = """if True:
        import sys
        import asgrad_jax as ag
        import asgrad_jax.cli.cli
        assert "matplotlib" not in sys.modules
        ag.plot.convergence
        assert "matplotlib" in sys.modules
        assert "matplotlib.pyplot" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_local_steps_and_problems_without_a_field_of_workers():
    inside = ag.quadratic(num_workers=3, num_features=2)
    result = ag.sweep(
        ag.local_steps(inside, 2, 0.1),
        algorithms=["pure_async", "minibatch"],
        compute_times=ag.compute_times.fixed([1, 2, 3]),
        step_sizes=[0.1, 0.2],
        num_gradients=20,
    )
    assert ag.sweep_config(result)["problem"]["num_workers"] == 3
    assert "n = 3" in ag.plot.convergence(result).get_supxlabel()


def test_labels_and_colours_by_argument(result):
    figure = ag.plot.convergence(
        result,
        "loss",
        labels={"minibatch": "wait for all"},
        colors={"minibatch": "tab:purple"},
    )
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[-1].startswith("wait for all") and texts[0].startswith("pure_async")
    assert [curves(axes)[-1].get_color() for axes in figure.axes[:2]] == [
        *("tab:purple", "tab:purple")
    ]
    alone = ag.plot.step_sizes(result, "loss", colors={"minibatch": "tab:purple"})
    assert "tab:purple" in {line.get_color() for line in alone.axes[0].get_lines()}
    for wrong, words in (
        (dict(colors={"minibach": "red"}), "did you mean 'minibatch'"),
        (dict(colors={"minibatch": "rde"}), "must have a colour of matplotlib"),
        (dict(labels={"sgd": "SGD"}), "labels: algorithm must be .*got 'sgd'"),
    ):
        with pytest.raises(ValueError, match=words):
            ag.plot.convergence(result, **wrong)


def test_some_panels_of_a_schedule():
    times = ag.compute_times.fixed([1, 2, 3])
    schedule = ag.simulate("pure_async", times, num_gradients=60)
    both = ag.plot.schedule(schedule, ["delays", "timeline"])
    assert [axes.get_title(loc="left") for axes in both.axes] == [
        *("delays", "first 24 arrivals")
    ]
    three = ag.plot.schedule(schedule, ["delays", "timeline", "share"])
    assert len(three.axes) == 3
    mine = Figure().subplots()
    assert ag.plot.schedule(schedule, "share", axes=mine) is mine.figure
    for wrong in ([], ["delays", "delays"], "delay"):
        with pytest.raises(ValueError, match="show must"):
            ag.plot.schedule(schedule, wrong)
