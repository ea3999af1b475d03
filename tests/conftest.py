"""Shared fixtures. JAX keeps its defaults, but for the time that some modules take."""

import os
from pathlib import Path

import jax
import pytest

# Data that the project never ships: the published code's trajectories and data sets.
_SHARED = Path(os.environ.get("ASGRAD_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared():
    """The folder with `golden/` and `data/`; without it the test is skipped."""
    if not (_SHARED / "golden").is_dir():
        pytest.skip(f"no reference data in {_SHARED}; set ASGRAD_SHARED to its folder")
    return _SHARED


# These compare numbers of many small programs, and compiling them takes most of their
# time; what optimised programs do is tested elsewhere.
_MANY_PROGRAMS = {
    *("test_contract", "test_presample", "test_from_loss", "test_local_steps"),
    *("test_certificate", "test_constants", "test_theorem"),
    *("test_sampling", "test_convergence", "test_reductions"),
    *("test_user_functions", "test_cli", "test_sparse_shards"),
    *("test_pages", "test_theory_page", "test_own_pieces"),
    *("test_batching", "test_dense_shards"),
    *("test_tune", "test_verdicts", "test_page", "test_examples"),
    "test_own_code",
    *("test_iterates_by_hand", "test_elastic_averaging", "test_ringmaster_public"),
}


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation(request):
    """Compiles with few optimisations in some modules, and keeps nothing of it."""
    name = "jax_disable_most_optimizations"
    if request.module.__name__.rpartition(".")[2] not in _MANY_PROGRAMS:
        yield
        return
    jax.clear_caches()
    jax.config.update(name, True)
    yield
    jax.config.update(name, False)
    jax.clear_caches()
