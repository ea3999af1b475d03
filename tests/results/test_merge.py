"""Results put side by side: checked, with the provenance of all."""

import json

import numpy as np
import pytest
import xarray as xr

import asgrad_jax as ag

pytestmark = pytest.mark.filterwarnings("ignore:the best hyper-parameters")
PROBLEM = ag.quadratic(num_workers=2, num_features=2)


def swept(**changes):
    given = dict(
        algorithms=["pure_async"],
        compute_times=ag.compute_times.exponential([1, 2]),
        step_sizes=[0.05, 0.1],
        seeds=[0, 1],
        num_gradients=40,
    )
    return ag.sweep(changes.pop("problem", PROBLEM), **(given | changes))


@pytest.fixture(scope="module")
def one():
    return swept()


AXES = {
    "algorithm": dict(algorithms=["minibatch", "random_async"]),
    "compute_times": dict(compute_times={"other": ag.compute_times.fixed([1, 3])}),
    "seed": dict(seeds=[5, 3]),
    "step_size": dict(step_sizes=[0.2, 0.01]),
}


@pytest.mark.parametrize("axis", AXES)
def test_as_of_one_sweep(one, axis):
    two = swept(**AXES[axis])
    merged = ag.merge(one, two)
    given = dict(
        algorithms=["pure_async"],
        compute_times={"exponential": ag.compute_times.exponential([1, 2])},
        step_sizes=[0.05, 0.1],
        seeds=[0, 1],
    )
    for name, values in AXES[axis].items():
        both = isinstance(values, dict)
        given[name] = given[name] | values if both else given[name] + values
    whole = swept(**given)
    xr.testing.assert_allclose(merged, whole, rtol=1e-5)
    assert ag.sweep_config(merged) == ag.sweep_config(whole)
    parts = json.loads(merged.attrs["merged"])
    assert [json.loads(part["config"]) for part in parts] == [
        ag.sweep_config(one),
        ag.sweep_config(two),
    ]
    assert [part["commit"] for part in parts] == [one.attrs["commit"]] * 2
    ag.plot.convergence(merged.isel(compute_times=[-1]))
    assert ag.best(merged)["step_size"].notnull().all()


def test_three_selections_and_a_file(one, tmp_path):
    other = swept(algorithms=["minibatch", "random_async"])
    parts = [
        one,
        *(other.sel(algorithm=name) for name in ("random_async", "minibatch")),
    ]
    merged = ag.merge(*parts)
    assert merged["algorithm"].values.tolist() == [
        "pure_async",
        "random_async",
        "minibatch",
    ]
    ag.save(merged, tmp_path / "merged.nc")
    xr.testing.assert_identical(ag.load(tmp_path / "merged.nc"), merged)
    again = ag.merge(merged, swept(algorithms="shuffled_async"))
    assert len(json.loads(again.attrs["merged"])) == 4
    assert ag.merge(one) is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            dict(algorithms="minibatch", num_gradients=80),
            "same num_gradients .* 40",
        ),
        (dict(algorithms="minibatch", record_every=2), "the same record_every"),
        (dict(algorithms="minibatch", precision="float64"), "the same precision"),
        (dict(algorithms="minibatch", init_params=np.ones(2) / 3), "same params_hash"),
        (dict(algorithms="minibatch", metrics={"a": lambda x: x[0]}), "same metrics"),
        (dict(problem=ag.quadratic(2, 2, seed=7), seeds=[4]), "the same problem"),
        (dict(), "differ along one axis to be merged, got none"),
        (dict(seeds=[4], step_sizes=[0.3]), "along one axis .* got 2: seed, step_size"),
        (dict(seeds=[1, 2]), "a value of seed must be in one of the results, got 1 in"),
        (
            dict(
                algorithms="minibatch",
                compute_times={"exponential": ag.compute_times.exponential([1, 5])},
            ),
            "must be of one thing, got 'exponential'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(one, changes, words):
    with pytest.raises(ValueError, match=words):
        ag.merge(one, swept(**changes))


def test_no_results(one):
    with pytest.raises(TypeError, match="merge must get results"):
        ag.merge()
    for other in ("result.nc", None, [one], 3):
        with pytest.raises(TypeError, match=r"result must be|write ag.merge\("):
            ag.merge(one, other)


USES = {
    "best": ag.best,
    "tail_mean": ag.tail_mean,
    "time_to_accuracy": lambda result: ag.time_to_accuracy(result, 0.1),
    "convergence": ag.plot.convergence,
    "step_sizes": ag.plot.step_sizes,
    "sweep_config": ag.sweep_config,
    "merge": lambda result: ag.merge(result, result),
    "plot.time_to_accuracy": lambda result: ag.plot.time_to_accuracy(
        result, ag.compute_times.fixed([1, 2]), PROBLEM
    ),
}


FIRST = dict(coords="minimal", compat="override", join="inner")


def concatenations(one):
    """What xarray makes of runs of several lengths, by options and versions."""
    longer = swept(algorithms="minibatch", num_gradients=400)
    shorter = swept(algorithms="minibatch", num_gradients=20)
    for parts in ([one, longer], [longer, one], [one, shorter]):
        yield xr.concat(
            parts, "algorithm", coords="different", compat="equals", join="outer"
        )
        yield xr.concat(
            parts, "algorithm", coords="minimal", compat="override", join="inner"
        )
    # As many values as were asked for, and as many records.
    short = swept(algorithms=["minibatch", "pure_async"], num_gradients=200)
    long = swept(algorithms="random_async", num_gradients=400)
    kept = short.sel(algorithm=["minibatch"])
    yield xr.concat([kept, long], "algorithm", **FIRST)
    seeds = swept(seeds=[7], num_gradients=400)
    yield xr.concat(
        [one, seeds], "seed", coords="minimal", compat="override", join="inner"
    )


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_concatenated_results_are_refused(one):
    for result in concatenations(one):
        for use in USES.values():
            with pytest.raises(ValueError, match=r"of one sweep, got .* ag\.merge"):
                use(result)
