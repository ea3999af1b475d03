"""Labels of a grid: texts by one rule, whatever they were given as."""

import enum

import numpy as np
import pytest

import asgrad_jax as ag

PROBLEM = ag.quadratic(num_workers=2, num_features=2)
TIMES = ag.compute_times.fixed([1, 2])


def grid(**changes):
    given = dict(algorithms="pure_async", compute_times=TIMES)
    numbers = dict(step_sizes=[0.1], num_gradients=8)
    return ag.Grid(PROBLEM, **(given | numbers | changes))


class Known(str, enum.Enum):  # noqa: UP042 - StrEnum shows itself otherwise
    FIRST = "first"


class Mine:
    """Compute times whose name is no text."""

    name = 3
    num_workers = 2

    def sample(self, worker, rng, size):
        return np.ones(size)


@pytest.mark.parametrize("what", ["algorithms", "compute_times"])
class TestLabels:
    def value(self, what):
        return "pure_async" if what == "algorithms" else TIMES

    @pytest.mark.parametrize(
        ("label", "text"),
        [
            ("plain", "plain"),
            (np.str_("own"), "own"),
            (Known.FIRST, "first"),
            (1, "1"),
            (np.int64(2), "2"),
            (0.5, "0.5"),
            (np.float32(0.25), "0.25"),
            (("fedbuff", 5), "fedbuff, 5"),
            ((np.float64(0.1), ("a", 2)), "0.1, a, 2"),
            (float("inf"), "inf"),
        ],
    )
    def test_become_text(self, what, label, text):
        made = grid(**{what: {label: self.value(what)}})
        assert list(getattr(made, what)) == [text]
        assert type(next(iter(getattr(made, what)))) is str
        assert list(made.config[what]) == [text]

    @pytest.mark.parametrize(
        ("first", "second"),
        [(1, "1"), (0.5, "0.5"), (np.int64(1), "1"), (("a", 1), "a, 1")],
    )
    def test_doubles_are_refused_by_name(self, what, first, second):
        value = self.value(what)
        words = f"labels of {what} must differ, got {second!r} twice, from "
        with pytest.raises(ValueError, match=words):
            grid(**{what: {first: value, second: value}})

    @pytest.mark.parametrize(
        "label", [None, True, np.False_, b"x", 1j, (), (None,), frozenset(), object()]
    )
    def test_other_types_are_refused_by_name(self, what, label):
        with pytest.raises(TypeError, match=f"labels of {what} must be texts, numbers"):
            grid(**{what: {label: self.value(what)}})

    @pytest.mark.parametrize("label", ["", "  ", "a\0b", "\ud800", ("a", "")])
    def test_what_no_file_can_hold_is_refused(self, what, label):
        with pytest.raises(ValueError, match=f"labels of {what} must be texts that"):
            grid(**{what: {label: self.value(what)}})


def test_a_result_has_the_texts(tmp_path):
    labels = {b: ag.algorithms.fedbuff(int(b)) for b in np.arange(1, 3)}
    result = ag.sweep(grid(algorithms=labels), directory=tmp_path)
    assert result["algorithm"].values.tolist() == ["1", "2"]
    assert list(ag.sweep_config(result)["algorithms"]) == ["1", "2"]
    ag.save(result, tmp_path / "result.nc")
    assert ag.load(tmp_path / "result.nc")["algorithm"].values.tolist() == ["1", "2"]


def test_names_of_own_compute_times_are_texts_too():
    assert list(grid(compute_times=Mine()).compute_times) == ["3"]
