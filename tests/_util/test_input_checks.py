"""Checks of what users hand over: what each accepts, and how it refuses the rest."""

import datetime
import decimal
import fractions
import math
import operator
import re

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from asgrad_jax._util import checks

SETTINGS = settings(derandomize=True, deadline=None, max_examples=150)
HUGE = 10**400

BOOLS = [True, False, np.True_, np.array(True), jnp.array(True)]
MASKED = [np.ma.masked, np.ma.array(3, mask=True), np.ma.array([1, 2], mask=[0, 1])]
NO_NUMBERS = [
    *BOOLS,
    "1",
    b"1",
    None,
    1j,
    np.complex64(1),
    datetime.date(2020, 1, 1),
    datetime.timedelta(1),
    np.datetime64("2020"),
    np.timedelta64(1, "s"),
    np.timedelta64(1),
    [1.0],
    np.array([1.0]),
    jnp.ones(1),
    [[1], [1, 2]],
    {1},
    {"a": 1},
    int,
    object(),
]
INTEGERS = st.one_of(
    st.integers(),
    st.sampled_from([HUGE, -HUGE]),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.integers(-(2**31), 2**31 - 1).flatmap(
        lambda v: st.sampled_from([np.int32(v), np.array(v), jnp.int32(v)])
    ),
)
REALS = st.one_of(
    st.floats(),
    st.floats().map(np.float64),
    st.floats(width=32).flatmap(
        lambda v: st.sampled_from([np.float32(v), np.array(v), jnp.float32(v)])
    ),
    st.fractions(),
    st.decimals(allow_nan=False),
    st.sampled_from([fractions.Fraction(HUGE), decimal.Decimal("1e400")]),
    INTEGERS,
)
BOUNDS = st.one_of(st.none(), st.integers(-3, 3))


def named(name, *others):
    return "^" + ".*".join(map(re.escape, (f"{name} must ", *others)))


class TestCount:
    @SETTINGS
    @given(INTEGERS, st.integers(-5, 5), st.one_of(st.none(), st.integers(5, 2**40)))
    def test_integers_in_the_range(self, value, minimum, maximum):
        exact = operator.index(value)
        if minimum <= exact and (maximum is None or exact <= maximum):
            found = checks.check_count("n", value, minimum=minimum, maximum=maximum)
            assert found == exact and type(found) is int
        else:
            wanted = f">= {minimum}" if maximum is None else f"{minimum}..{maximum}"
            with pytest.raises(
                ValueError, match=named("n", wanted, ", got ")
            ) as caught:
                checks.check_count("n", value, minimum=minimum, maximum=maximum)
            assert len(str(caught.value)) < 150  # HUGE is not written out

    @pytest.mark.parametrize(
        "value", [*NO_NUMBERS, 1.0, np.float32(1), math.nan, fractions.Fraction(1)]
    )
    def test_all_else_is_refused(self, value):
        with pytest.raises(TypeError, match=named("n", "an integer >= 1, got ")):
            checks.check_count("n", value)

    @pytest.mark.parametrize("value", MASKED)
    def test_masked(self, value):
        with pytest.raises(ValueError, match=named("n", "no masked entries")):
            checks.check_count("n", value)

    def test_the_message(self):
        with pytest.raises(TypeError, match=r"^n must .* 1 or None, got '3'$"):
            checks.check_count("n", "3", other=" or None")
        with pytest.raises(
            ValueError, match=r"^n must be an integer in 0\.\.2, got 3$"
        ):
            checks.check_count("n", np.int64(3), minimum=0, maximum=2)

    @SETTINGS
    @given(st.integers())
    def test_seeds(self, value):
        if value >= 0:
            assert checks.check_seed(value) == value
        else:
            with pytest.raises(
                ValueError, match=r"^seed must be an integer >= 0, got -"
            ):
                checks.check_seed(value)


class TestNumber:
    @SETTINGS
    @given(REALS, BOUNDS, BOUNDS, BOUNDS, BOUNDS, st.booleans())
    def test_reals_in_the_range(self, value, above, minimum, below, maximum, finite):
        bounds = dict(above=above, minimum=minimum, below=below, maximum=maximum)
        number = checks.to_float(value)
        good = (
            not (math.isinf(number) and value != number)  # beyond every float
            and (above is None or number > above)
            and (minimum is None or number >= minimum)
            and (below is None or number < below)
            and (maximum is None or number <= maximum)
            and (not finite or math.isfinite(number))
        )
        if good:
            found = checks.check_number("x", value, **bounds, finite=finite)
            assert type(found) is float
            assert found == number or (math.isnan(found) and math.isnan(number))
        else:
            with pytest.raises(ValueError, match=named("x", "number", ", got ")):
                checks.check_number("x", value, **bounds, finite=finite)

    @pytest.mark.parametrize("value", NO_NUMBERS)
    @pytest.mark.parametrize("finite", [True, False])
    def test_all_else_is_refused(self, value, finite):
        with pytest.raises(TypeError, match=named("x", "number >= 0, got ")):
            checks.check_number("x", value, minimum=0, finite=finite)

    @pytest.mark.parametrize("value", MASKED)
    def test_masked(self, value):
        with pytest.raises(ValueError, match=named("x", "no masked entries")):
            checks.check_number("x", value)

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (np.float32(0.1), "0.1"),
            (jnp.float32(0.1), "0.1"),
            (np.array(2), "2"),
            (math.nan, "nan"),
            (-math.inf, "-inf"),
        ],
    )
    def test_the_message(self, value, shown):
        message = re.escape(f"x must be a finite number > 3 and <= 4.5, got {shown}")
        with pytest.raises(ValueError, match=f"^{message}$"):
            checks.check_number("x", value, above=3, maximum=4.5)

    def test_several_by_name(self):
        checks.check_positive(a=1, b=np.float32(0.5))
        with pytest.raises(ValueError, match=r"^b must be a finite number > 0, got 0$"):
            checks.check_positive(a=1, b=0)
        with pytest.raises(TypeError, match=r"^a must be .* > 0, got True$"):
            checks.check_positive(a=True)

    def test_a_quotient_that_no_float_holds(self):
        assert checks.ceil_of("a / b", 2.0) == 2
        with pytest.raises(
            ValueError, match=r"^a / b must be a finite number, got inf$"
        ):
            checks.ceil_of("a / b", math.inf)


SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)
ARRAYS = st.one_of(
    hnp.arrays(np.float64, SHAPES, elements=st.floats(width=32)),
    hnp.arrays(np.int32, SHAPES, elements=st.integers(-8, 8)),
)


class TestNumbers:
    @SETTINGS
    @given(ARRAYS, BOUNDS, BOUNDS, BOUNDS, st.booleans())
    def test_the_first_number_out_of_range_is_named(
        self, array, above, minimum, maximum, asked
    ):
        bounds = dict(above=above, minimum=minimum, maximum=maximum, finite=asked)
        exact = array.astype(np.float64)
        good = np.isfinite(exact) if asked else np.ones(exact.shape, bool)
        tests = (np.greater, np.greater_equal, np.less_equal)
        for bound, test in zip((above, minimum, maximum), tests, strict=True):
            good = good if bound is None else good & test(exact, bound)
        for values in (array, jnp.asarray(array), array.tolist()):
            if good.all():
                found = checks.check_numbers("x", values, **bounds)
                assert found.dtype == np.float64
                np.testing.assert_array_equal(found, exact)
            else:
                where = np.argwhere(~good)[0].tolist()
                entry = f"x{where}" if where else "x"
                wanted = named(entry, "be a ", "number ", f", got {exact[*where]}")
                with pytest.raises(ValueError, match=f"{wanted}$"):
                    checks.check_numbers("x", values, **bounds)

    def test_nan_passes_only_where_nothing_is_asked(self):
        assert np.isnan(checks.check_numbers("x", [1.0, math.nan])[1])
        for bounds in (dict(minimum=0), dict(maximum=0), dict(finite=True)):
            with pytest.raises(ValueError, match=named("x[0]", "number", ", got nan")):
                checks.check_numbers("x", [math.nan], **bounds)
        assert checks.check_numbers("x", [math.inf], above=0)[0] == math.inf
        with pytest.raises(ValueError, match=named("x[0]", "finite number, got inf")):
            checks.check_numbers("x", [math.inf], finite=True)

    @pytest.mark.parametrize(
        "values",
        [
            "12",
            ["1", "2"],
            [1, "2"],
            np.array([1, "2"], object),
            [b"1"],
            [1j],
            [1.0, None],
            [True, False],
            [True, 2.5],
            [[1.0, 2.0], [True, 2.5]],
            np.array([True]),
            np.array([True, 2.5], object),
            jnp.array([True]),
            [datetime.date(2020, 1, 1)],
            [datetime.timedelta(1)],
            np.array(["2020"], "M8[D]"),
            np.array([1], "m8[s]"),
            {1.0, 2.0},
            [{}],
            None,
        ],
    )
    def test_no_real_numbers(self, values):
        with pytest.raises(TypeError, match=named("x", "be real numbers, got ")):
            checks.check_numbers("x", values)

    def test_bools_where_they_are_allowed(self):
        for values in ([True, False], [True, 0.0], np.array([True, False])):
            found = checks.check_numbers("x", values, bools=True)
            assert found.tolist() == [1.0, 0.0]

    def test_python_has_other_real_numbers(self):
        values = [fractions.Fraction(1, 2), decimal.Decimal("0.25"), 2**70]
        assert checks.check_numbers("x", values).tolist() == [0.5, 0.25, 2.0**70]

    @pytest.mark.parametrize("values", [[HUGE], [1.5, -HUGE]])
    def test_beyond_every_float(self, values):
        message = named("x", "numbers that float64 can hold", ", got [")
        with pytest.raises(ValueError, match=message) as caught:
            checks.check_numbers("x", values)
        assert len(str(caught.value)) < 150

    @pytest.mark.parametrize("values", [[[1], [1, 2]], [1, [2, 3]]])
    @pytest.mark.parametrize(
        ("ndim", "wanted"),
        [(None, "numbers of one shape"), (1, "a flat list"), (2, "2-")],
    )
    def test_lists_of_unequal_lengths(self, values, ndim, wanted):
        message = named("x", wanted, "got lists of unequal lengths, ", str(values))
        with pytest.raises(ValueError, match=message):
            checks.check_numbers("x", values, ndim=ndim)

    def test_masked(self):
        values = np.ma.array([1.0, 2.0], mask=[False, True])
        with pytest.raises(
            ValueError, match=named("x", "no masked entries; fill them")
        ):
            checks.check_numbers("x", values)
        values.mask = False  # masked arrays without masked entries are arrays
        assert checks.check_numbers("x", values).tolist() == [1.0, 2.0]

    def test_shapes(self):
        for ndim in (0, 1, 2):
            assert (
                checks.check_numbers("x", np.ones((1,) * ndim), ndim=ndim).ndim == ndim
            )
        with pytest.raises(ValueError, match=named("x", "a flat list", "shape (1, 1)")):
            checks.check_numbers("x", [[1]], ndim=1)
        with pytest.raises(
            ValueError, match=named("x", "2-dimensional, got shape (1,)")
        ):
            checks.check_numbers("x", [1], ndim=2)
        with pytest.raises(
            ValueError, match=named("x", "at least one number, got none")
        ):
            checks.check_numbers("x", [], ndim=1)
        assert checks.check_numbers("x", [], ndim=1, empty=True).shape == (0,)
        assert len(checks.check_numbers("x", [1, 2], size=2)) == 2
        with pytest.raises(
            ValueError, match=named("x", "each of the 3 workers, got 2")
        ):
            checks.check_numbers("x", [1, 2], size=3)

    def test_float64_is_not_copied(self):
        values = np.ones(3)
        assert checks.check_numbers("x", values, above=0) is values


class TestIntegers:
    @SETTINGS
    @given(
        hnp.arrays(
            st.sampled_from([np.int8, np.int32, np.int64, np.uint64, np.float64]),
            hnp.array_shapes(max_dims=2),
        )
    )
    def test_what_int32_holds(self, array):
        exact = [*map(fractions.Fraction, array[np.isfinite(array)].tolist())]
        good = len(exact) == array.size and all(
            v.denominator == 1 and -(2**31) <= v < 2**31 for v in exact
        )
        for values in (array, array.tolist()):
            if good:
                found = checks.check_integers("x", values, ndim=array.ndim)
                assert found.dtype == np.int32 and not found.flags.writeable
                np.testing.assert_array_equal(found, array)
                assert not np.shares_memory(found, array)
            else:
                with pytest.raises(
                    ValueError, match=r"^x\[\d+(, \d+)?\] must .*, got "
                ):
                    checks.check_integers("x", values, ndim=array.ndim)

    def test_a_read_only_int32_is_not_copied(self):
        values = checks.make_read_only(np.arange(3, dtype=np.int32))
        assert checks.check_integers("x", values) is values
        assert checks.check_integers("x", []).shape == (0,)

    @pytest.mark.parametrize(
        "values",
        [
            "12",
            ["1"],
            [1j],
            [True],
            [True, 2],
            [[True, 2]],
            [None],
            [datetime.date(2020, 1, 1)],
            np.array([1], "m8[s]"),
            [fractions.Fraction(1)],
            np.array([True, 2], object),
        ],
    )
    def test_no_integers(self, values):
        with pytest.raises(TypeError, match=named("x", "be integers, got ")):
            checks.check_integers("x", values, ndim=np.ndim(values))

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([0, 0.5], r"^x\[1\] must be an integer, got 0.5$"),
            ([math.nan], r"^x\[0\] must be an integer, got nan$"),
            ([-math.inf], r"^x\[0\] must be an integer, got -inf$"),
            ([2**31], r"^x\[0\] must fit in 32 bits, got 2147483648$"),
            ([1e10], r"^x\[0\] must fit in 32 bits, got 10000000000.0$"),
            ([1, HUGE], r"^x must fit in 32 bits, got \[1, 1000*\.\.\.0*\]$"),
            ([[1]], r"^x must be a flat list .*, got shape \(1, 1\)$"),
            (3, r"^x must be a flat list .*, got shape \(\)$"),
            ([[1], [1, 2]], "^x must be a flat list .* got lists of unequal lengths, "),
            (np.ma.array([1, 2], mask=[0, 1]), "^x must have no masked entries"),
        ],
    )
    def test_bad_values(self, values, message):
        with pytest.raises(ValueError, match=message):
            checks.check_integers("x", values)


class TestBooleans:
    @SETTINGS
    @given(st.lists(st.sampled_from([True, False, 0, 1, np.True_, np.int8(1)])))
    def test_truth_values(self, values):
        found = checks.check_booleans("x", values)
        assert found.dtype == np.bool_ and not found.flags.writeable
        assert found.tolist() == [bool(value) for value in values]

    @pytest.mark.parametrize(
        ("values", "error", "message"),
        [
            ([1, 0, 2], ValueError, r"^x\[2\] must be True or False, got 2$"),
            ([1, -1], ValueError, r"^x\[1\] must be True or False, got -1$"),
            ([1.0], TypeError, r"^x must be booleans, got \[1.0\]$"),
            (["no"], TypeError, r"^x must be booleans, got \['no'\]$"),
            ([None], TypeError, "^x must be booleans"),
            ([[True]], ValueError, "^x must be a flat list"),
            (True, ValueError, r"^x must be a flat list .* got shape \(\)"),
            ([[True], [True, False]], ValueError, "^x must be .* of unequal lengths"),
            (np.ma.array([True], mask=[True]), ValueError, "^x must have no masked"),
        ],
    )
    def test_all_else_is_refused(self, values, error, message):
        with pytest.raises(error, match=message):
            checks.check_booleans("x", values)


class TestChoice:
    KNOWN = ("random", "shuffled", "cyclic")

    @SETTINGS
    @given(st.one_of(st.text(), st.sampled_from(KNOWN)))
    def test_known_names(self, value):
        if value in self.KNOWN:
            checks.check_choice("order", value, self.KNOWN)
            checks.check_choice("order", np.str_(value), dict.fromkeys(self.KNOWN))
        else:
            message = named("order", "'random', 'shuffled' or 'cyclic', got ")
            with pytest.raises(ValueError, match=message):
                checks.check_choice("order", value, self.KNOWN)

    @pytest.mark.parametrize("value", [3, None, True, ["random"], np.array(["random"])])
    def test_no_names(self, value):
        message = named("order", "'cyclic' or a list, got ", str(value)[:6])
        with pytest.raises(TypeError, match=message):
            checks.check_choice("order", value, self.KNOWN, other="a list")

    def test_hints(self):
        with pytest.raises(
            ValueError, match=r"'shufled' \(did you mean 'shuffled'\?\)$"
        ):
            checks.check_choice("order", "shufled", self.KNOWN)
        with pytest.raises(ValueError, match=r"^law must be 'fixed', got 'x'$"):
            checks.check_choice("law", "x", ["fixed"])


class TestList:
    @pytest.mark.parametrize(
        "values", [[1, 2], (1, 2), np.array([1, 2]), jnp.array([1, 2]), range(1, 3)]
    )
    def test_lists(self, values):
        found = checks.check_list("x", values, "workers")
        assert type(found) is list and found == [1, 2]

    @pytest.mark.parametrize(
        "values", [1, None, "ab", b"ab", {1: 2}, {1}, np.array(1), iter([1]), list]
    )
    def test_all_else_is_refused(self, values):
        message = named("x", "be a list of workers, got ")
        with pytest.raises(TypeError, match=message):
            checks.check_list("x", values, "workers")


class TestCallable:
    @pytest.mark.parametrize(
        "function",
        [lambda a, b: 0, lambda *both: 0, lambda a, b, c=1: 0, max, dict.get],
    )
    def test_functions_of_two(self, function):
        checks.check_callable("f", function, "a", "b")

    @pytest.mark.parametrize("function", [None, 3, "max", [max]])
    def test_no_functions(self, function):
        with pytest.raises(TypeError, match=named("f", "a function of (a, b), got ")):
            checks.check_callable("f", function, "a", "b")

    @pytest.mark.parametrize(
        "function", [lambda a: 0, lambda a, b, c: 0, lambda *, a: 0]
    )
    def test_functions_of_others(self, function):
        with pytest.raises(TypeError, match=named("f", "take (a, b): ")):
            checks.check_callable("f", function, "a", "b")


class TestReadOnly:
    @SETTINGS
    @given(hnp.arrays(np.float64, SHAPES, elements=st.floats(width=32)))
    def test_nobody_else_can_write_to_it(self, array):
        before = array.copy()
        found = checks.make_read_only(array)
        array[...] = 0.5
        np.testing.assert_array_equal(found, before)
        assert not found.flags.writeable and found.flags.c_contiguous
        assert checks.make_read_only(found) is found
        assert checks.make_read_only(found, np.float32).dtype == np.float32


@SETTINGS
@given(hnp.arrays(np.bool_, st.integers(0, 6)))
def test_the_first_is_named(bad):
    if bad.any():
        with pytest.raises(ValueError, match=f"^row {bad.tolist().index(True)}$"):
            checks.raise_first(bad, "row {}".format)
    else:
        checks.raise_first(bad, "row {}".format)
