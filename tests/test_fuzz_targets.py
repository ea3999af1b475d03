"""Every target of the fuzzer runs: a campaign is started seldom, and breaks unseen."""

import importlib.util

import pytest
from benchmarks import fuzz


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_one_input(target):
    if target.endswith("parquet") and not importlib.util.find_spec("pyarrow"):
        pytest.skip("pyarrow is not installed; pip install asgrad-jax[parquet]")
    assert fuzz.run_target(target, seed=3, seconds=1e9, most=1) == 1
