"""Algorithms as data: the registry against DESIGN's table, checks, weights."""

import dataclasses
import json
import re

import numpy as np
import pytest

from asgrad_jax import algorithms
from asgrad_jax.algorithms.algorithm import Algorithm
from asgrad_jax.algorithms.round_algorithm import RoundAlgorithm
from asgrad_jax.schedules.schedule import Schedule

# name: order, concurrency, wait, after_step, one_each, max_delay at n = 6 workers.
TABLE = {
    "pure_async": ("same", 6, 1, False, True, None),
    "pure_waiting": ("same", 6, 3, True, True, None),
    "random_async": ("random", 6, 1, False, True, None),
    "random_waiting": ("random", 6, 3, True, True, None),
    "shuffled_async": ("shuffled", 6, 1, False, True, None),
    "shuffled_waiting": ("shuffled", 6, 3, True, True, None),
    "fedbuff": ("random", 6, 10, False, True, None),
    "minibatch": ("same", 6, 6, True, True, None),
    "minibatch_sampled": ("random", 3, 3, True, False, None),
    "sgd": ("random", 1, 1, False, False, None),
    "random_reshuffling": ("shuffled", 1, 1, False, False, None),
    "shuffle_once": ("shuffle_once", 1, 1, False, False, None),
    "incremental": ("cyclic", 1, 1, False, False, None),
    "delay_adaptive": ("same", 6, 1, False, True, None),
    "ringmaster": ("same", 6, 1, False, True, 6),
    "rennala": ("same", 6, 6, False, True, 1),
}


def test_the_registry_is_the_table():
    assert set(TABLE) <= set(algorithms.names())
    assert len(set(algorithms.names())) == len(algorithms.names()) >= 40


@pytest.mark.parametrize("name", TABLE)
def test_fields(name):
    algorithm = algorithms.get(name)
    assert algorithm.name == name
    rules = algorithm.resolve(6)
    assert (
        rules.order,
        rules.concurrency,
        rules.gradients_per_step,
        rules.after_step,
        rules.one_each,
        rules.max_delay,
    ) == TABLE[name]
    assert rules.weight == 1 / rules.gradients_per_step
    assert rules.num_workers == 6


@pytest.mark.parametrize("name", algorithms.names())
@pytest.mark.parametrize("n", [1, 2, 3, 100_000])
def test_every_name_works_without_arguments(name, n):
    algorithm = algorithms.get(name)
    assert algorithm.name == name
    assert algorithm.resolve(n).num_workers == n
    json.dumps(algorithm.config())


@pytest.mark.parametrize("name", algorithms.names())
def test_docstrings_have_pseudocode_and_source(name):
    text = getattr(algorithms, name).__doc__
    assert "::" in text and "Source:" in text and ">>>" in text
    assert re.search(rf"\b{algorithms.properties(name).data}\b", text)


def test_arguments_reach_the_fields():
    assert (
        algorithms.get("pure_waiting", gradients_per_step=2)
        .resolve(6)
        .gradients_per_step
        == 2
    )
    assert (
        algorithms.get("random_waiting", gradients_per_step="all")
        .resolve(6)
        .gradients_per_step
        == 6
    )
    assert (
        algorithms.get("shuffled_waiting", gradients_per_step=4)
        .resolve(6)
        .gradients_per_step
        == 4
    )
    rules = algorithms.get("fedbuff", gradients_per_step=4, concurrency=9).resolve(6)
    assert (rules.gradients_per_step, rules.concurrency, rules.one_each) == (
        4,
        9,
        False,
    )
    rules = algorithms.get(
        "minibatch_sampled", gradients_per_step=8, order="shuffled"
    ).resolve(6)
    assert (rules.gradients_per_step, rules.concurrency, rules.order) == (
        8,
        8,
        "shuffled",
    )
    # A batch of n is sampled too, it is not one job per worker.
    assert (
        not algorithms.get("minibatch_sampled", gradients_per_step=6)
        .resolve(6)
        .one_each
    )
    assert algorithms.get("ringmaster", max_delay=np.int64(4)).resolve(6).max_delay == 4
    assert algorithms.get("ringmaster", max_delay=None).resolve(6).max_delay is None
    assert (
        algorithms.get("rennala", gradients_per_step=20).resolve(6).gradients_per_step
        == 20
    )


def test_start():
    forced = Algorithm(name="a", order="random", start="order").resolve(4)
    assert not forced.one_each
    forced = Algorithm(name="a", order="random", start="one_each").resolve(4)
    assert forced.one_each
    assert not Algorithm(name="a", order="random", concurrency=3).resolve(4).one_each


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (
            {"order": "shufled"},
            ValueError,
            r"order must be 'same', .*, got 'shufled' \(did you mean 'shuffled'\?\)",
        ),
        (
            {"restart": "never"},
            ValueError,
            "restart must be 'immediately' or 'after_step', got 'never'",
        ),
        ({"start": "late"}, ValueError, "'order' or a tuple of workers, got 'late'"),
        ({"start": [0, 1]}, TypeError, r"a tuple of workers, got \[0, 1\]"),
        ({"start": ()}, ValueError, "start must name a worker, got none"),
        ({"start": (0, 4)}, ValueError, r"start\[1\] must be .* 0\.\.3, got 4"),
        ({"start": (True, 2)}, TypeError, r"start\[0\] must be .* 0\.\.3, got True"),
        (
            {"order": "random", "routing": (True, 0.0, 0.0, 0.0)},
            TypeError,
            r"routing must be real numbers, got \(True, 0.0, 0.0, 0.0\)",
        ),
        (
            {"start": (0,), "concurrency": 2},
            ValueError,
            "concurrency must be left out .* names 1 workers, got 2",
        ),
        ({"routing": (0.25,) * 4}, ValueError, "order must be 'random' .* got 'same'"),
        (
            {"order": "random", "routing": (0.5, 0.5)},
            ValueError,
            "routing must have one number for each of the 4 workers, got 2",
        ),
        (
            {"order": "random", "routing": ((1, 2), 3)},
            ValueError,
            "routing must be a flat list .* got lists of unequal lengths",
        ),
        (
            {"order": "random", "routing": (1.0, 0.5, 0.5, 0.5)},
            ValueError,
            "routing must sum to 1, got 2.5",
        ),
        (
            {"order": "random", "routing": (0.0, 1.0, 0.5, 0.5)},
            ValueError,
            r"routing\[0\] must be a finite number > 0, got 0.0",
        ),
        (
            {"gradients_per_step": 0},
            ValueError,
            "gradients_per_step must be an integer >= 1, .*'tenth', got 0",
        ),
        (
            {"gradients_per_step": None},
            TypeError,
            "gradients_per_step must be an integer >= 1, .*, got None",
        ),
        (
            {"gradients_per_step": 1.5},
            TypeError,
            "gradients_per_step must be an integer >= 1, 'all', .*, got 1.5",
        ),
        (
            {"gradients_per_step": True},
            TypeError,
            "gradients_per_step must be an integer >= 1, .*, got True",
        ),
        (
            {"gradients_per_step": "most"},
            TypeError,
            "'all', 'half' or 'tenth', got 'most'",
        ),
        ({"concurrency": 0}, ValueError, "concurrency must be .* >= 1, .* got 0"),
        (
            {"concurrency": -1, "order": "random"},
            ValueError,
            "concurrency must be an integer >= 1, .* got -1",
        ),
        (
            {"concurrency": 5},
            ValueError,
            "concurrency must be at most 4 with order 'same', .* got 5; give fewer",
        ),
        (
            {"concurrency": 2**31, "order": "random"},
            ValueError,
            r"concurrency must be an integer in 1\.\.2147483647, got 2147483648",
        ),
        ({"max_delay": 0}, ValueError, "max_delay must be an integer >= 1, .* got 0"),
        (
            {"gradients_per_step": 5, "restart": "after_step"},
            ValueError,
            "gradients_per_step must be at most 4, the jobs in flight .* got 5, .* "
            "restart='immed",
        ),
        (
            {
                "gradients_per_step": 3,
                "concurrency": 2,
                "restart": "after_step",
                "order": "random",
            },
            ValueError,
            "gradients_per_step must be at most 2, the jobs in flight .* got 3",
        ),
        (
            {"concurrency": 3, "start": "one_each"},
            ValueError,
            "concurrency must be 4 with start 'one_each', .* got 3; .* start='order'",
        ),
    ],
)
def test_bad_fields(fields, error, message):
    with pytest.raises(error, match=message):
        Algorithm(name="mine", **fields).resolve(4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: algorithms.clipped(10**400),
            ValueError,
            r"clipped: radius must be a number > 0, got 1000+\.\.\.0+$",
        ),
        (
            lambda: RoundAlgorithm(name="r", quota=(True, 2)).resolve(2),
            TypeError,
            r"r: quota \(jobs per worker\)\[0\] must be an integer .* got True",
        ),
        (
            lambda: algorithms.minibatch_sampled(order="same"),
            ValueError,
            "order must be 'random', 'shuffled' or 'shuffle_once', got 'same'",
        ),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_wait_beyond_concurrency_is_legal_with_immediate_restart():
    assert (
        Algorithm(name="a", gradients_per_step=50).resolve(4).gradients_per_step == 50
    )


def test_get():
    wrong = "the name of an algorithm must be a known one, got"
    known = "choose from pure_async, pure_w.*, picky"
    with pytest.raises(
        ValueError, match=rf"{wrong} 'fedbuf' .*mean 'fedbuff'\?\); {known}$"
    ):
        algorithms.get("fedbuf")
    with pytest.raises(ValueError, match=f"{wrong} 'xyz'; {known}$"):
        algorithms.get("xyz")
    with pytest.raises(ValueError, match=r"got 'aceed' \(did you mean 'ace"):
        algorithms.properties("aceed")
    algorithm = algorithms.pure_async()
    assert algorithms.get(algorithm) is algorithm
    with pytest.raises(
        TypeError,
        match=r"algorithm must be a name where parameters \(gradients_per_step\)",
    ):
        algorithms.get(algorithm, gradients_per_step=3)
    for wrong in (3, None, object()):
        with pytest.raises(
            TypeError, match=r"algorithm must be a name .*RoundAlgorithm"
        ):
            algorithms.get(wrong)


def test_algorithms_are_values():
    assert algorithms.fedbuff(3) == algorithms.fedbuff(3) != algorithms.fedbuff(4)
    assert hash(algorithms.fedbuff(3)) == hash(algorithms.fedbuff(3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        algorithms.fedbuff(3).gradients_per_step = 4


class TestWeights:
    schedule = Schedule.from_arrays(
        worker=[0, 1, 0, 1, 1, 1],
        read=[0, 0, 0, 1, 0, 3],
        step=[True, True, False, True, True, True],
        weight=[0.5] * 6,
        concurrency_max=2,
    )
    # versions before each row:  0, 1, 2, 2, 3, 4;  delays: 0, 1, 2, 1, 3, 1

    @pytest.mark.parametrize(
        ("form", "factor"),
        [
            ("ratio", [1, 1, 1, 1, 2 / 3, 1]),
            ("inverse", [1, 1, 1, 1, 1 / 3, 1]),
            ("drop", [1, 1, 1, 1, 0, 1]),
        ],
    )
    def test_delay_adaptive(self, form, factor):
        (rule,) = algorithms.delay_adaptive(form).transforms
        weight = rule(self.schedule).weight
        np.testing.assert_allclose(weight, 0.5 * np.array(factor), rtol=1e-15)

    @pytest.mark.parametrize(
        ("kind", "factor"),
        [
            ("polynomial", lambda tau: (1 + tau) ** -2.0),
            ("exponential", lambda tau: np.exp(-2.0 * tau)),
            ("hinge", lambda tau: np.where(tau <= 1, 1, 1 / (2.0 * (tau - 1) + 1))),
        ],
    )
    def test_staleness(self, kind, factor):
        algorithm = algorithms.staleness_aware(kind=kind, a=2.0, b=1.0)
        (rule,) = algorithm.transforms
        expected = 0.5 * factor(np.array([0.0, 1, 2, 1, 3, 1]))
        np.testing.assert_allclose(rule(self.schedule).weight, expected, rtol=1e-15)
        assert algorithm.gradients_per_step == 10 and algorithm.order == "random"
        over = algorithms.staleness_aware(algorithms.shuffled_async(), kind=kind)
        assert (over.order, over.gradients_per_step, over.name) == (
            "shuffled",
            1,
            "staleness_aware",
        )
