"""Figures of theory: what is drawn equals what was measured."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import asgrad_jax as ag
from asgrad_jax.plot.correlation_profile import chunk_lengths
from asgrad_jax.theory.step_sizes import StepSizes

CLOCK = ag.compute_times.fixed([1, 2, 3, 4])
FAR = np.full(3, 10.0)  # from here every method comes nearer
NAMES = ["pure_async", "random_async", "shuffled_async"]


@pytest.fixture(scope="module")
def problem():
    return ag.quadratic(num_workers=4, num_features=3, seed=1)


@pytest.fixture(scope="module")
def schedules():
    return {
        name: [
            ag.simulate(name, CLOCK, num_gradients=1_200, seed=seed)
            for seed in range(5)
        ]
        for name in NAMES
    }


@pytest.fixture(scope="module")
def result(problem):
    return ag.sweep(
        problem,
        algorithms=["pure_async", "minibatch"],
        compute_times=CLOCK,
        step_sizes=[0.01, 0.05, 0.2],
        seeds=range(3),
        num_gradients=400,
        record_every=20,
        init_params=FAR,
    )


def lines(axes, **wanted):
    return [
        line
        for line in axes.get_lines()
        if all(getattr(line, f"get_{k}")() == v for k, v in wanted.items())
    ]


def test_profile_draws_the_medians(problem, schedules):
    figure = ag.plot.correlation_profile(schedules, problem, title="A quadratic")
    [axes] = figure.axes
    table = problem.local_gradients(problem.init_params())
    lengths = chunk_lengths(1_204, 4)
    for name, marker in zip(NAMES, "os^", strict=True):
        found = ag.theory.correlation_profile(schedules[name], table, lengths)
        median = np.median(found.bias_sq, axis=0)
        [line] = lines(axes, marker=marker)
        zero = median < 1e-20 * found.zeta_sq
        np.testing.assert_array_equal(line.get_xdata(), lengths[~zero])
        np.testing.assert_allclose(line.get_ydata(), median[~zero], rtol=1e-5)
    # Whole rounds of shuffled cancel: no point on the curve, a triangle at the foot.
    triangles = {li.get_color(): li.get_xdata() for li in lines(axes, marker="v")}
    assert sorted(map(len, triangles.values()))[:2] == [0, 0]
    [whole] = [x for x in triangles.values() if len(x)]
    np.testing.assert_array_equal(whole, lengths[lengths % 4 == 0])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [label.split()[0] for label in labels] == NAMES
    assert {t.get_text() for t in axes.texts} == {"slope 0", "slope −1", "slope −2"}
    caption = figure.get_supxlabel()
    assert "A quadratic" in caption and "n = 4" in caption and "5 schedules" in caption


def test_reference_lines_have_their_slopes(problem, schedules):
    [axes] = ag.plot.correlation_profile(schedules, problem).axes
    dashed = [li for li in axes.get_lines() if li.get_color() == "0.75"]
    slopes = [
        np.diff(np.log(li.get_ydata()))[0] / np.diff(np.log(li.get_xdata()))[0]
        for li in dashed
    ]
    assert slopes == pytest.approx([0, -1, -2])


def test_ready_profiles_and_single_schedules(problem, schedules):
    table = problem.local_gradients(problem.init_params())
    ready = ag.theory.correlation_profile(schedules["pure_async"], table, [1, 5, 9])
    figure = ag.plot.correlation_profile(
        {"ready": ready, "one": schedules["random_async"][0]}, problem
    )
    assert lines(figure.axes[0], marker="o")[0].get_xdata().tolist() == [1, 5, 9]
    with pytest.raises(ValueError, match="'pure_async' is not a CorrelationProfile"):
        ag.plot.correlation_profile(schedules)
    # Profiles of other gradients: their range, and none for another n.
    far = ag.theory.correlation_profile(schedules["pure_async"], 2 * table, [1, 5])
    caption = ag.plot.correlation_profile({"a": far, "b": ready}).get_supxlabel()
    assert f"{ready.zeta_sq:.3g} to {far.zeta_sq:.3g}" in caption
    one = ag.simulate("sgd", ag.compute_times.fixed([1.0, 1.0]), num_gradients=40)
    two = ag.theory.correlation_profile(one, table[:2], [1, 5])
    with pytest.raises(ValueError, match=r"profiles have \[2, 4\] workers"):
        ag.plot.correlation_profile({"a": ready, "b": two})
    with pytest.raises(ValueError, match="at least one method"):
        ag.plot.correlation_profile({})
    with pytest.raises(ValueError, match="'none' has no schedule"):
        ag.plot.correlation_profile({"none": []}, problem)
    # Equal workers: nothing to draw on a log axis, and no failure either.
    same = ag.quadratic(4, 3, heterogeneity=0.0, same_hessian=True)
    assert ag.plot.correlation_profile(schedules, same).axes[0].get_yscale() == "linear"


def test_a_schedule_alone_and_what_is_none(problem, schedules):
    one = schedules["pure_async"][0]
    figure = ag.plot.correlation_profile(one, problem)
    [label] = figure.axes[0].get_legend().get_texts()
    assert label.get_text().startswith("pure_async (")
    # Nothing is zero here, so the caption has no word of it.
    assert "triangles" not in figure.get_supxlabel()
    shuffled = ag.plot.correlation_profile(schedules["shuffled_async"][0], problem)
    assert "triangles: zero" in shuffled.get_supxlabel()
    ready = ag.theory.correlation_profile(
        one, problem.local_gradients(problem.init_params()), [1, 5, 9]
    )
    assert ag.plot.correlation_profile(ready).axes
    with pytest.raises(TypeError, match=r"must map labels to.*got list"):
        ag.plot.correlation_profile(schedules["pure_async"], problem)


def test_many_profiles_have_their_legend_outside(problem, schedules):
    one = schedules["pure_async"][0]
    figure = ag.plot.correlation_profile(dict.fromkeys("abcdefg", one), problem)
    assert figure.legends and figure.axes[0].get_legend() is None


@pytest.mark.parametrize("n", [1, 3, 10, 200])
def test_chunk_lengths(n):
    found = chunk_lengths(20_000, n)
    assert found[0] == 1 and found[-1] <= 2_000 and len(found) < 320
    assert np.all(np.diff(found) > 0)
    beyond = found[found > 4 * n]
    assert set(beyond % n) <= {0, n // 2} and np.any(beyond % n == 0)
    if 4 * n <= 120:
        assert found[: 4 * n].tolist() == list(range(1, 4 * n + 1))


@pytest.fixture(scope="module")
def certificates(problem, schedules):
    short = {name: ag.simulate(name, CLOCK, num_gradients=120) for name in NAMES}
    return {n: ag.theory.certificate(problem, s, 0.002) for n, s in short.items()}


def test_certificates_side_by_side(certificates):
    figure = ag.plot.certificate(certificates)
    [axes] = figure.axes
    assert [t.get_text() for t in axes.get_xticklabels()] == NAMES
    [stars] = lines(axes, marker="*")
    measured = [c.measured.grad_sq for c in certificates.values()]
    np.testing.assert_array_equal(stars.get_ydata(), measured)
    [gaps] = lines(axes, marker="o")
    terms = [c.terms.optimisation for c in certificates.values()]
    np.testing.assert_array_equal(gaps.get_ydata(), terms)
    [bars] = axes.collections
    heights = [segment[0][1] for segment in bars.get_segments()]
    assert heights == pytest.approx([c.bound for c in certificates.values()])
    # No noise anywhere; the bias of shuffled alone is rounding and left out.
    [noise] = lines(axes, marker="s")
    assert noise.get_label().endswith("(zero)") and np.isnan(noise.get_ydata()).all()
    [bias] = lines(axes, marker="^")
    assert np.isnan(bias.get_ydata()).tolist() == [False, False, True]
    long = {
        f"{name} with a long name {k}": c
        for name, c in certificates.items()
        for k in range(4)
    }
    [axes] = ag.plot.certificate(long).axes
    assert {t.get_rotation() for t in axes.get_xticklabels()} == {90.0}
    loose = [c.bound / c.measured.grad_sq for c in certificates.values()]
    assert f"{min(loose):,.0f} to {max(loose):,.0f}" in figure.get_supxlabel()


def test_certificates_over_step_sizes(problem):
    schedule = ag.simulate("shuffled_async", CLOCK, num_gradients=120)
    sizes = [0.02, 0.001, 0.004]  # the first is beyond the theorem
    found = {
        g: ag.theory.certificate(problem, schedule, g, chunk_length=4) for g in sizes
    }
    assert [found[g].valid for g in sizes] == [False, True, True]
    [axes] = ag.plot.certificate(found).axes
    [stars] = lines(axes, marker="*")
    assert stars.get_xdata().tolist() == sorted(sizes)
    hollow = [li for li in axes.get_lines() if li.get_markerfacecolor() == "white"]
    assert [li.get_xdata().tolist() for li in hollow] == [[0.02]]
    assert "no bound" in hollow[0].get_label()
    one = ag.plot.certificate(found[0.001], axes=Figure().subplots())
    assert one.axes[0].get_legend() is not None
    for bad in (0.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"must be finite and > 0, got {bad}"):
            ag.plot.certificate({0.001: found[0.001], bad: found[0.001]})
    with pytest.raises(ValueError, match="certificates must have at least one"):
        ag.plot.certificate({})


# Residuals of a run at its optimum: zero or rounding, as the machine has it.
RESIDUALS = (0.0, 1.9e-34, 3e-31)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_certificates_of_a_run_that_stands_at_the_optimum(residual):
    problem = ag.quadratic(1, 2, heterogeneity=0.0)
    schedule = ag.simulate("sgd", ag.compute_times.fixed([1.0]), num_gradients=20)
    still, moving = (
        ag.theory.certificate(problem, schedule, 0.01, params=problem.optimum() + by)
        for by in (0, 1)
    )
    assert still.measured.grad_sq < 1e-28  # not zero on every machine
    still = dataclasses.replace(
        still,
        measured=dataclasses.replace(still.measured, grad_sq=residual),
        terms=dataclasses.replace(still.terms, optimisation=residual / 3),
    )
    figure = ag.plot.certificate(still)
    assert "all of it is zero" in {t.get_text() for t in figure.axes[0].texts}
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sum(label.endswith("(zero)") for label in labels) == 5
    figure = ag.plot.certificate({"still": still, "moving": moving})
    assert figure.get_supxlabel().endswith("no star: measured 0")
    [stars] = lines(figure.axes[0], marker="*")
    assert np.isnan(stars.get_ydata()).tolist() == [True, False]


@pytest.mark.parametrize("residual", RESIDUALS)
def test_profiles_of_equal_workers_are_zero_to_rounding(residual):
    schedule = ag.simulate("random_async", CLOCK, num_gradients=400)
    gradients = np.full((4, 3), 0.3)
    gradients[0] += np.sqrt(residual)
    found = ag.theory.correlation_profile(schedule, gradients, [1, 4, 8])
    assert found.zeta_sq < 1e-30
    axes = ag.plot.correlation_profile(found).axes[0]
    assert axes.get_yscale() == "linear" and axes.get_ylim() == (-1, 1)


def test_sensitivity_marks_every_rule(problem, result):
    advice = {
        name: ag.theory.step_sizes(
            problem, ag.simulate(name, CLOCK, num_gradients=400), num_gradients=400
        )
        for name in ["pure_async", "minibatch"]
    }
    figure = ag.plot.step_size_advice(result, advice)
    curves, strip = figure.axes
    rules = [label.get_text() for label in strip.get_yticklabels()]
    expected = {rule for rows in advice.values() for rule in rows.applicable}
    assert set(rules) == expected and "Ringmaster" not in rules
    drawn = {
        (rules[round(li.get_ydata()[0])], li.get_marker()): li.get_xdata()[0]
        for li in strip.get_lines()
    }
    for name, marker in [("pure_async", "o"), ("minibatch", "D")]:
        for rule, size in advice[name].applicable.items():
            assert drawn[rule, marker] == size
    assert curves.get_xlim() == strip.get_xlim()
    low, high = strip.get_xlim()
    assert all(low < size < high for size in drawn.values())
    with_zero = result.assign_coords(step_size=[0.0, 0.05, 0.2])
    curves, strip = ag.plot.step_size_advice(with_zero, advice).axes
    assert curves.get_xlim() == strip.get_xlim() and curves.get_xlim()[0] < 0
    scored = result.assign(accuracy=np.exp(-result["grad_norm"]))
    figure = ag.plot.step_size_advice(scored, advice, metric="accuracy", maximize=True)
    ring = lines(figure.axes[0], markersize=10)[0]
    top = ag.tail_mean(scored, "accuracy").median("seed").max("step_size")[0, 0]
    np.testing.assert_allclose(ring.get_ydata(), top, rtol=1e-6)
    with pytest.raises(ValueError, match=r"must be .*'minibatch', got 'fedbuff'"):
        ag.plot.step_size_advice(result, {"fedbuff": advice["minibatch"]})
    nothing = StepSizes(
        tuple(replace(row, step_size=None) for row in advice["minibatch"])
    )
    with pytest.raises(ValueError, match="a rule that gives a step size, got none"):
        ag.plot.step_size_advice(result, {"minibatch": nothing})


def by_hand(norms, times, eps, sustained):
    small = [norm**2 <= eps for norm in norms]
    for r, time in enumerate(times):
        if all(small[r:]) if sustained else small[r]:
            # The last tenth of 24 records.
            return time if not sustained or r <= 24 - 2 else np.inf
    return np.inf


@pytest.mark.parametrize("sustained", [False, True])
def test_time_to_by_hand(sustained):
    rng = np.random.default_rng(0)
    norms = rng.lognormal(size=(2, 1, 3, 4, 24)).astype(np.float32)
    times = np.cumsum(rng.random((2, 1, 3, 24)), axis=-1)
    status = np.zeros((2, 1, 3, 4), np.int8)
    status[1, 0, 2, 3] = 1
    outer = ("algorithm", "compute_times", "seed")
    result = xr.Dataset(
        {
            "grad_norm": ((*outer, "step_size", "record"), norms),
            "status": ((*outer, "step_size"), status),
        },
        coords={"time": ((*outer, "record"), times)},
    )
    found = ag.time_to_accuracy(result, [4.0, 0.5, 1e-6], sustained=sustained)
    assert found.dims == (*outer, "step_size", "eps")
    for at in np.ndindex(status.shape):
        for e, eps in enumerate([4.0, 0.5, 1e-6]):
            expected = by_hand(norms[at], times[at[:3]], eps, sustained)
            expected = np.inf if status[at] else expected
            assert found.values[(*at, e)] == pytest.approx(expected)
    assert np.isfinite(found.sel(eps=4.0)).any()
    assert ag.time_to_accuracy(result, 4.0).sizes["eps"] == 1
    for bad in (0.0, np.inf, [1.0, np.nan], [[1.0]], "a", [], None):
        with pytest.raises((TypeError, ValueError), match=r"eps.* must be "):
            ag.time_to_accuracy(result, bad)
    with pytest.raises(ValueError, match=r"hyper-parameter `eps`.*result\.rename"):
        ag.time_to_accuracy(result.rename(step_size="eps"), 1.0)
    with pytest.raises(ValueError, match="unknown metric 'time'; this result has"):
        ag.time_to_accuracy(result.drop_vars("time"), 1.0)


def test_time_to_figure(problem, result):
    numbers = ag.theory.constants(problem, FAR)
    start = float(result["grad_norm"].isel(record=0).max()) ** 2
    goals = start * np.array([1e-9, 1e-2, 0.1, 0.5])
    figure = ag.plot.time_to_accuracy(result, CLOCK, numbers, eps=goals)
    [axes] = figure.axes
    seconds = ag.time_to_accuracy(result, goals).isel(compute_times=0)
    best = seconds.median("seed").min("step_size")
    for name, marker in [("pure_async", "o"), ("minibatch", "D")]:
        [line] = lines(axes, marker=marker)
        expected = best.sel(algorithm=name).values
        reached = np.isfinite(expected)
        assert 0 < reached.sum() < 4  # a goal out of reach is not drawn
        np.testing.assert_array_equal(line.get_xdata(), goals[reached])
        np.testing.assert_allclose(line.get_ydata(), expected[reached])
    # Without noise the optimum for own data is that of mini-batch SGD: one line.
    labels = [t.get_text() for t in axes.get_legend().get_texts()]
    assert labels[0] == "optimal, own data; mini-batch SGD" and len(labels) == 3
    order = [ag.theory.predicted_times(g, CLOCK, numbers).heterogeneous for g in goals]
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), order)
    # One late record above all goals: for good is only what comes after it.
    late = result.copy(deep=True)
    late["grad_norm"].values[..., -20] = 2 * np.sqrt(start)
    [axes] = ag.plot.time_to_accuracy(
        late, CLOCK, numbers, eps=goals, sustained=True
    ).axes
    assert "lastingly" in axes.get_title(loc="left")
    ends = late["time"].sel(algorithm="pure_async").isel(record=-19).values
    assert set(lines(axes, marker="o")[0].get_ydata()) == {np.median(ends)}
    # A last record below them says nothing.
    late["grad_norm"].values[..., -2] = 2 * np.sqrt(start)
    assert np.isinf(ag.time_to_accuracy(late, goals, sustained=True)).all()
    assert ag.plot.time_to_accuracy(result.sel(seed=0), CLOCK, numbers, eps=goals).axes
    lost = result.assign(status=result["status"] + 1)
    with pytest.raises(ValueError, match="every run diverged"):
        ag.plot.time_to_accuracy(lost, CLOCK, numbers)
    # A run that reaches zero has every goal; the axis ends at the smallest above it.
    zero = result.copy(deep=True)
    zero["grad_norm"].values[..., 5:] = 0
    end = float(zero["grad_norm"].isel(record=4).min()) ** 2
    [axes] = ag.plot.time_to_accuracy(zero, CLOCK, numbers).axes
    assert lines(axes, marker="o")[0].get_xdata()[0] <= end * 1.001
    zero["grad_norm"].values[..., 1:] = 0
    [axes] = ag.plot.time_to_accuracy(zero, CLOCK, numbers).axes
    assert lines(axes, marker="o")[0].get_xdata()[0] == pytest.approx(1e-3 * start)
    other = ag.quadratic(num_workers=3, num_features=3)
    with pytest.raises(ValueError, match="result is of 4 workers, the problem has 3"):
        ag.plot.time_to_accuracy(result, CLOCK, other)
    still = result.isel(record=slice(0, 1))
    with pytest.raises(ValueError, match="no run reaches less"):
        ag.plot.time_to_accuracy(still, CLOCK, numbers)
