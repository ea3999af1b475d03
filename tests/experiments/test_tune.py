"""Step sizes are chosen on tuning seeds, told on fresh ones, from one grid for all."""

import json

import numpy as np
import pytest
import xarray as xr

import asgrad_jax as ag
from asgrad_jax.algorithms import Decision
from asgrad_jax.experiments.until import gradients_until
from asgrad_jax.report.tables import best_table

PROBLEM = ag.quadratic(4, 3, heterogeneity=1.0, noise=0.5, seed=2)
GIVEN = dict(
    algorithms=["pure_async", "minibatch"],
    compute_times=ag.compute_times.exponential([1, 2, 3, 4]),
    tuning_seeds=[100, 101, 102],
    seeds=range(5),
)
pytestmark = pytest.mark.filterwarnings("ignore:the best hyper-parameters")


@pytest.fixture(scope="module")
def tuned():
    return ag.tune(
        PROBLEM, step_sizes=[0.02, 0.1, 0.5], num_gradients=300, extend=2, **GIVEN
    )


def test_tuning_seeds_choose_and_fresh_ones_are_told(tuned):
    chosen = ag.best(tuned).isel(compute_times=0)
    tail = ag.tail_mean(tuned).isel(compute_times=0)
    for name in tuned["algorithm"].values:
        own = tail.sel(algorithm=name)
        on = own.sel(seed=GIVEN["tuning_seeds"]).median("seed")
        wanted = float(on["step_size"][int(np.argmin(on.values))])
        cell = chosen.sel(algorithm=name)
        assert float(cell["step_size"]) == wanted
        fresh = own.sel(seed=list(GIVEN["seeds"]), step_size=wanted)
        assert float(cell["value"]) == pytest.approx(float(fresh.median()))


def test_a_lucky_fresh_seed_cannot_choose(tuned):
    """Good values on fresh seeds alone do not move the choice."""
    lucky = tuned.copy(deep=True)
    at = dict(step_size=tuned["step_size"].values[0], seed=list(GIVEN["seeds"]))
    lucky["grad_norm"].loc[at] = 1e-6
    assert ag.best(lucky)["step_size"].equals(ag.best(tuned)["step_size"])
    # Without the mark they would.
    plain = lucky.drop_vars("tuning")
    assert not ag.best(plain)["step_size"].equals(ag.best(tuned)["step_size"])


def test_the_result_is_an_ordinary_sweep_of_all_seeds(tuned):
    plain = ag.sweep(
        PROBLEM,
        algorithms=GIVEN["algorithms"],
        compute_times=GIVEN["compute_times"],
        step_sizes=tuned["step_size"].values,
        seeds=tuned["seed"].values,
        num_gradients=300,
    )
    # Other calls, so rounding differs.
    one, other = plain["grad_norm"].values, tuned["grad_norm"].values
    np.testing.assert_allclose(one, other, rtol=1e-4)
    assert tuned["tuning"].values.tolist() == [True] * 3 + [False] * 5
    assert json.loads(tuned.attrs["tuned"])["step_sizes"] == [0.02, 0.1, 0.5]


def test_tables_count_all_lanes_and_tell_fresh_ones(tuned):
    table = best_table(tuned).set_index("algorithm")
    chosen = ag.best(tuned).isel(compute_times=0)
    for name in table.index:
        assert table["tail"][name] == chosen["value"].sel(algorithm=name)
    lost = (tuned["status"] != 0).sum(["compute_times", "seed", "step_size"])
    assert table["not_finite"].to_dict() == dict(
        zip(tuned["algorithm"].values, lost.values, strict=True)
    )


@pytest.mark.parametrize(("sizes", "grown"), [([0.001, 0.002], -1), ([1.0, 2.0], 0)])
def test_the_grid_grows_where_a_best_value_is_on_its_edge(sizes, grown):
    result = ag.tune(PROBLEM, step_sizes=sizes, num_gradients=100, extend=1, **GIVEN)
    found = result["step_size"].values
    assert len(found) == 3
    np.testing.assert_allclose(found[1:] / found[:-1], 2.0)
    assert set(sizes) <= {*found} and found[grown] not in sizes
    # All algorithms have the same grid, and none of its lanes is missing.
    assert result["grad_norm"].notnull().all() or (result["status"] != 0).any()


def test_growth_is_bounded_and_then_flagged():
    sizes = [1e-6, 2e-6]
    result = ag.tune(PROBLEM, step_sizes=sizes, num_gradients=50, extend=0, **GIVEN)
    assert result["step_size"].values.tolist() == sizes
    assert ag.best(result)["on_edge"].all()


def test_a_fresh_seed_that_breaks_down_is_counted_not_hidden(tuned):
    broken = tuned.copy(deep=True)
    chosen = float(ag.best(tuned)["step_size"].sel(algorithm="pure_async").item())
    at = dict(algorithm="pure_async", step_size=chosen, seed=0)
    broken["grad_norm"].loc[at] = np.nan
    broken["status"].loc[at] = 1
    table = best_table(broken).set_index("algorithm")
    assert np.isfinite(table["tail"]["pure_async"])
    more = table["not_finite"] - best_table(tuned).set_index("algorithm")["not_finite"]
    assert more["pure_async"] == 1


def test_a_folder_goes_on(tuned, tmp_path, monkeypatch):
    given = GIVEN | {"step_sizes": [0.02, 0.1, 0.5], "num_gradients": 300}
    first = ag.tune(PROBLEM, directory=tmp_path, extend=2, **given)
    assert first["grad_norm"].equals(tuned["grad_norm"])
    done = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("lanes/*.npz")}
    assert done
    again = ag.tune(PROBLEM, directory=tmp_path, extend=2, **given)
    assert again["grad_norm"].equals(first["grad_norm"])
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("lanes/*.npz")} == done


@pytest.fixture(scope="module")
def until():
    return ag.tune(PROBLEM, step_sizes=[0.05, 0.2], until=60.0, extend=0, **GIVEN)


def test_equal_virtual_time(until):
    """All runs are told at the same times, with as many gradients as fit."""
    times = until["time"]
    np.testing.assert_allclose(times.isel(record=-1), 60.0)
    assert (times == times.isel(algorithm=0, seed=0, compute_times=0)).all()
    used = until["gradients"].isel(compute_times=0, record=-1)
    for name in GIVEN["algorithms"]:
        for seed in until["seed"].values:
            schedule = ag.simulate(
                name, GIVEN["compute_times"], num_gradients=500, seed=int(seed)
            )
            whole = int(np.searchsorted(schedule.time, 60.0, side="right"))
            found = int(used.sel(algorithm=name, seed=seed))
            assert whole - 1 <= found <= whole  # records are every gradient here
    pure, waiting = (used.sel(algorithm=a).min() for a in GIVEN["algorithms"])
    assert pure > waiting


def test_runs_up_to_a_time_can_be_merged(until):
    parts = [
        ag.tune(
            PROBLEM,
            step_sizes=[0.05, 0.2],
            until=60.0,
            extend=0,
            **GIVEN | {"algorithms": [name]},
        )
        for name in until["algorithm"].values
    ]
    counts = {json.loads(part.attrs["config"])["num_gradients"] for part in parts}
    assert len(counts) > 1
    merged = ag.merge(*parts)
    xr.testing.assert_equal(merged, until)
    assert json.loads(merged.attrs["config"])["num_gradients"] == max(counts)


def test_values_at_a_time_are_those_of_the_plain_run(until):
    plain = ag.sweep(
        PROBLEM,
        algorithms="pure_async",
        compute_times=GIVEN["compute_times"],
        step_sizes=[0.05, 0.2],
        seeds=[3],
        num_gradients=60,
        record_every=1,
    ).squeeze("compute_times")
    own = until.sel(algorithm="pure_async", seed=3).squeeze("compute_times")
    lanes = plain.sel(algorithm="pure_async", seed=3)
    for record in (0, 20, 50):
        place = np.searchsorted(lanes["time"], own["time"][record], side="right") - 1
        np.testing.assert_allclose(
            own["grad_norm"].isel(record=record),
            lanes["grad_norm"].isel(record=int(place)),
            rtol=1e-5,
        )


def test_a_run_up_to_a_time_can_be_drawn_saved_and_loaded(until, tmp_path):
    ag.save(until, tmp_path / "r.nc")
    back = ag.load(tmp_path / "r.nc")
    assert back.equals(until) and back["tuning"].dtype == bool
    figure = ag.plot.convergence(back, against=["gradients", "time"])
    assert figure.axes[1].get_xlim()[1] >= 60
    assert ag.best(back)["step_size"].notnull().all()


def test_up_to_a_time_no_lane_runs_twice(tmp_path):
    """The tuning seeds' lanes are there when the fresh seeds run."""
    given = GIVEN | {"step_sizes": [0.05, 0.2], "until": 20.0, "extend": 0}
    ag.tune(PROBLEM, directory=tmp_path, **given)
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(folders) == len(GIVEN["algorithms"])


def test_gradients_until_are_counted_far_out():
    times = ag.compute_times.fixed([0.001])
    [count] = gradients_until("pure_async", times, [0], 5.0).values()
    assert count == pytest.approx(5000, abs=1)
    with pytest.raises(ValueError, match="long enough"):
        gradients_until("pure_async", times, [0], 1e-6)


class _TenJobs:
    """Ten jobs of worker 0, one after the other; from then on what `after` says."""

    name = "ten jobs"

    def __init__(self, after):
        self.after, self.seen = after, 0

    def start(self, server):
        return [0]

    def arrive(self, server, job):
        self.seen += 1
        if self.seen < 10:
            return Decision(assign=[0])
        if self.seen == 10:
            return Decision(assign=self.after)
        return Decision(weight=None, step=False, assign=self.after)


_TWO = ag.compute_times.fixed([1.0, 1.0])
_DEATH = ag.compute_times.death(_TWO, 5.5, workers=[0, 1])
STALLS = {
    "no job in flight ever ends": ("pure_async", _DEATH, 2),
    "no round ever ends": ("minibatch", _DEATH, 2),
    "no job is given out": (_TenJobs([]), _TWO, 1),
    "all jobs are discarded": (_TenJobs([0]), _TWO, 1),
}


@pytest.mark.parametrize("kind", STALLS)
def test_a_method_that_stalls_for_ever(kind):
    """It counts as far as it gets: each worker has a gradient a second, ten in all."""
    algorithm, times, rate = STALLS[kind]
    found = [gradients_until(algorithm, times, [0], t)[0] for t in (2.0, 5.0, 1e6)]
    assert found == [2 * rate, 5 * rate, 10]


def test_runs_that_stall_stay_where_they_are():
    """Such seeds end early; the others, and the order of the seeds, are as ever."""
    times = ag.compute_times.infinite_bernoulli([1, 2, 3, 4], q=0.8)
    given = dict(step_sizes=[0.05, 0.1], tuning_seeds=[9, 8], seeds=[5, 1, 3, 2, 0, 4])
    result = ag.tune(
        PROBLEM, algorithms="pure_async", compute_times=times, until=60.0, **given
    )
    assert result["seed"].values.tolist() == [9, 8, 5, 1, 3, 2, 0, 4]
    counts = gradients_until("pure_async", times, result["seed"].values, 60.0)
    stalled = {seed for seed, count in counts.items() if count < max(counts.values())}
    assert 2 <= len(stalled) < len(counts)
    for seed in result["seed"].values:
        last = result["gradients"].sel(seed=seed).isel(record=-1).item()
        schedule = ag.simulate(
            "pure_async", times, num_gradients=counts[seed], seed=int(seed)
        )
        assert last == np.searchsorted(schedule.time, 60.0, side="right")
        curve = result["grad_norm"].sel(seed=seed).squeeze().isel(step_size=0)
        if seed in stalled:  # all is said long before the end
            stop = np.searchsorted(
                result["time"].values.ravel()[:101], schedule.time[-1]
            )
            assert stop < 100 and (curve[stop:] == curve[stop]).all()
    assert json.loads(result.attrs["config"])["seeds"] == result["seed"].values.tolist()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "either num_gradients or until"),
        ({"num_gradients": 10, "until": 1.0}, "either num_gradients or until"),
        ({"num_gradients": 10, "seeds": [100]}, "must be different ones, got 100"),
        ({"num_gradients": 10, "seeds": []}, "seeds must be one seed or more"),
        ({"num_gradients": 10, "step_sizes": [0.1]}, "step_sizes must be two or more"),
        ({"until": -1.0}, "until"),
        ({"num_gradients": 10, "extend": -1}, "extend"),
    ],
)
def test_bad_input(given, words):
    with pytest.raises(ValueError, match=words):
        ag.tune(PROBLEM, **GIVEN | {"step_sizes": [0.1, 0.2]} | given)
