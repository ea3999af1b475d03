"""Every bound stands on the page of bounds, with formula, conditions and provenance."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

from asgrad_jax.theory import bounds
from asgrad_jax.theory.bounds import registry

PAGE = (Path(__file__).parents[2] / "docs" / "bounds.md").read_text()
RECORDS = registry._builtin()


def test_the_page_is_up_to_date():
    assert PAGE == bounds.page(), "write theory.bounds.page() to docs/bounds.md"
    assert re.findall("^### (.*)$", PAGE, re.M) == [record.name for record in RECORDS]
    assert len(RECORDS) >= 44
    # No wrapped line begins a list or a quotation of its own.
    assert not re.search(r"^  [-+>]", PAGE, re.M)


def test_no_formula_stands_beside_the_registry():
    """Every public function of the modules of bounds is a bound, or a helper."""
    helpers = {"whole_chunks", "sorted_durations", "bound", "get", "names", "page"}
    helpers |= {"best_fastest"}
    found = set()
    for module in pkgutil.iter_modules(bounds.__path__, bounds.__name__ + "."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if inspect.isfunction(value) and value.__module__ == module.name:
                found |= {name} if not name.startswith("_") else set()
    assert found - helpers == {record.name for record in RECORDS}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_records_say_what_they_are(record):
    """Recalled statements say so first; a second-hand one never passes for the text."""
    recalled = record.tag == "R"
    assert ("recalled" in record.summary.lower()) == recalled
    assert ("recalled" in record.source) == recalled
    if record.tag == "A":
        assert "as described in" in record.source
    if "2305.12387" in record.source and record.tag == "V":
        assert "as restated in" in record.source
    # An order has hidden constants, whatever else is said of it.
    if record.summary.startswith("Order"):
        assert record.constants.startswith("hidden")
    text = record.function.__doc__
    for part in ("Args:", "Returns:", "Raises:", "Example:", "Source:"):
        assert part in text, part
    for name in inspect.signature(record.function).parameters:
        assert re.search(rf"^    {name}: ", text, re.M), name
    if "eps" in inspect.signature(record.function).parameters:
        assert f"eps: goal for {record.goal}" in re.sub(r"\s+", " ", text)


def test_corrected_provenance():
    """What was wrong once, see the changelog."""
    source = {record.name: record.source for record in RECORDS}
    assert "Theorem E.4" in source["convex_heterogeneous_time"]
    assert "2305.12387" not in source["convex_heterogeneous_time"]
    similarity = bounds.get("similarity_lower_bound")
    assert "Theorem 2.3" in similarity.source and "small eps only" in str(similarity)
    assert "THROTTLE" in source["bounded_gradient_rate"]
    for name in ("ringleader_time_order", "gradient_table_time_order", "clipped_order"):
        assert "not in its abstract" in source[name], name
