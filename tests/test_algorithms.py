"""Algorithms as data: the registry against DESIGN's table, checks, weights."""

import dataclasses

import numpy as np
import pytest

from asgrad_jax.plan import algorithms
from asgrad_jax.plan.algorithm import Algorithm, gradient_weights

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
    assert algorithms.names() == list(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_fields(name):
    algorithm = algorithms.get(name)
    assert algorithm.name == name
    rules = algorithm.resolve(6)
    assert (
        rules.order,
        rules.concurrency,
        rules.wait,
        rules.after_step,
        rules.one_each,
        rules.max_delay,
    ) == TABLE[name]
    assert rules.weights == ("delay_adaptive" if name == "delay_adaptive" else "mean")
    assert rules.num_workers == 6


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("n", [1, 2, 3, 100_000])
def test_every_name_works_without_arguments(name, n):
    rules = algorithms.get(name).resolve(n)
    assert rules.concurrency >= 1 and rules.wait >= 1


@pytest.mark.parametrize("name", TABLE)
def test_docstrings_have_pseudocode_and_source(name):
    text = getattr(algorithms, name).__doc__
    assert "::" in text and "Source:" in text and ">>>" in text
    assert "hom" in text or "het" in text


def test_arguments_reach_the_fields():
    assert algorithms.get("pure_waiting", wait=2).resolve(6).wait == 2
    assert algorithms.get("random_waiting", wait="all").resolve(6).wait == 6
    assert algorithms.get("shuffled_waiting", wait=4).resolve(6).wait == 4
    rules = algorithms.get("fedbuff", wait=4, concurrency=9).resolve(6)
    assert (rules.wait, rules.concurrency, rules.one_each) == (4, 9, False)
    rules = algorithms.get("minibatch_sampled", batch=8, order="shuffled").resolve(6)
    assert (rules.wait, rules.concurrency, rules.order) == (8, 8, "shuffled")
    # A batch of n is sampled too, it is not one job per worker.
    assert not algorithms.get("minibatch_sampled", batch=6).resolve(6).one_each
    assert algorithms.get("ringmaster", max_delay=np.int64(4)).resolve(6).max_delay == 4
    assert algorithms.get("ringmaster", max_delay=None).resolve(6).max_delay is None
    assert algorithms.get("rennala", batch=20).resolve(6).wait == 20


def test_start():
    forced = Algorithm(name="a", order="random", start="order").resolve(4)
    assert not forced.one_each
    forced = Algorithm(name="a", order="random", start="one_each").resolve(4)
    assert forced.one_each
    assert not Algorithm(name="a", order="random", concurrency=3).resolve(4).one_each


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"order": "shufled"}, ValueError, "order is 'shufled'; known: 'same'"),
        ({"restart": "never"}, ValueError, "restart is 'never'; known"),
        ({"start": "late"}, ValueError, "start is 'late'; known"),
        ({"weights": "max"}, ValueError, "weights is 'max'; known: 'mean'"),
        ({"wait": 0}, ValueError, "wait is 0"),
        ({"wait": None}, TypeError, "wait is None"),
        ({"wait": 1.5}, TypeError, "wait is 1.5"),
        ({"wait": True}, TypeError, "wait is True"),
        ({"wait": "most"}, TypeError, "wait is 'most'"),
        ({"concurrency": 0}, ValueError, "concurrency is 0"),
        ({"concurrency": -1, "order": "random"}, ValueError, "concurrency is -1"),
        ({"concurrency": 5}, ValueError, "concurrency is 5 with 4 workers"),
        (
            {"concurrency": 2**31, "order": "random"},
            ValueError,
            "must be <= 2147483647",
        ),
        ({"max_delay": 0}, ValueError, "max_delay is 0"),
        ({"wait": 5, "restart": "after_step"}, ValueError, "wait is 5 but only 4 jobs"),
        (
            {"wait": 3, "concurrency": 2, "restart": "after_step", "order": "random"},
            ValueError,
            "wait is 3 but only 2 jobs",
        ),
        (
            {"concurrency": 3, "start": "one_each"},
            ValueError,
            "start is 'one_each' but concurrency is 3",
        ),
    ],
)
def test_bad_fields(fields, error, message):
    with pytest.raises(error, match=message):
        Algorithm(name="mine", **fields).resolve(4)


def test_wait_beyond_concurrency_is_legal_with_immediate_restart():
    assert Algorithm(name="a", wait=50).resolve(4).wait == 50


def test_get():
    with pytest.raises(ValueError, match=r"mean 'fedbuff'.*known: pure_async, pure_w"):
        algorithms.get("fedbuf")
    with pytest.raises(ValueError, match="no algorithm is named 'xyz'; known: "):
        algorithms.get("xyz")
    algorithm = algorithms.pure_async()
    assert algorithms.get(algorithm) is algorithm
    with pytest.raises(TypeError, match="object already"):
        algorithms.get(algorithm, wait=3)
    for wrong in (3, None, object(), Algorithm):
        with pytest.raises(TypeError, match="give a name"):
            algorithms.get(wrong)


def test_algorithms_are_values():
    assert algorithms.fedbuff(3) == algorithms.fedbuff(3) != algorithms.fedbuff(4)
    assert hash(algorithms.fedbuff(3)) == hash(algorithms.fedbuff(3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        algorithms.fedbuff(3).wait = 4


class TestWeights:
    read = np.array([0, 0, 0, 1, 0, 3], np.int32)
    step = np.array([True, True, False, True, True, True])
    # versions before each row:  0, 1, 2, 2, 3, 4;  delays: 0, 1, 2, 1, 3, 1

    def test_mean(self):
        rules = Algorithm(name="a", wait=4).resolve(2)
        weight = gradient_weights(rules, self.read, self.step)
        assert weight.dtype == np.float64
        assert weight.tolist() == [0.25] * 6

    def test_delay_adaptive(self):
        rules = algorithms.delay_adaptive().resolve(2)
        weight = gradient_weights(rules, self.read, self.step)
        np.testing.assert_allclose(weight, [1, 1, 1, 1, 2 / 3, 1])
        rules = Algorithm(
            name="a", order="random", concurrency=1, wait=2, weights="delay_adaptive"
        ).resolve(2)
        weight = gradient_weights(rules, self.read, self.step)
        np.testing.assert_allclose(weight, np.array([1, 1, 1 / 2, 1, 1 / 3, 1]) / 2)
