"""What docstrings say of their sources: METHODS and its corrections."""

import inspect
import re

import pytest

import asgrad_jax as ag
from asgrad_jax.theory.step_sizes import _RULES

# Statements that are in reviews, notes or the text, but not in the abstract.
NOT_IN_THE_ABSTRACT = {
    **{
        name: ag.algorithms
        for name in (
            "pure_waiting",
            "random_waiting",
            "shuffled_waiting",
            "naive_optimal",
            "clipped",
            "ringleader",
            "ace",
            "aced",
        )
    },
    "log_cauchy": ag.compute_times,
    "two_speed": ag.compute_times,
}


@pytest.mark.parametrize("name", NOT_IN_THE_ABSTRACT)
def test_no_abstract_is_claimed_that_does_not_have_it(name):
    text = " ".join(inspect.getdoc(getattr(NOT_IN_THE_ABSTRACT[name], name)).split())
    claims = re.sub("not in its abstract|its abstract does not name it", "", text)
    assert "abstract" not in claims
    assert '"' not in text.partition("Source:")[2].partition("Args:")[0]  # no quotation


def test_published_code_is_named():
    """Rules that were compared with the code say which class it is."""
    for name, found in {
        "ringmaster_stops": "RingmasterASGD",
        "ia2sgd": "IAASGD",
        "ringleader": "RingleaderASGD",
        "mindflayer": "FixedClipping",
        "ata": "ATA",
    }.items():
        text = inspect.getdoc(getattr(ag.algorithms, name))
        assert re.search(rf"class {found}\s+of\s+`ringmaster-lmo`", text), name


def test_recalled_rules_say_so_first():
    recalled = [rule for source, rule in _RULES.values() if "[R]" in source]
    assert len(recalled) >= 2
    for rule in [*recalled, ag.algorithms.noise_batch]:
        assert inspect.getdoc(rule).startswith("Recalled"), rule
