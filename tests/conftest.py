"""Shared fixtures. JAX keeps its defaults: that is what users have."""

import os
from pathlib import Path

import pytest

# Data that the project never ships: the published code's trajectories and data sets.
_SHARED = Path(os.environ.get("ASGRAD_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared():
    """The folder with `golden/` and `data/`; without it the test is skipped."""
    if not (_SHARED / "golden").is_dir():
        pytest.skip(f"no reference data in {_SHARED}; set ASGRAD_SHARED to its folder")
    return _SHARED
