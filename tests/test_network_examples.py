"""Examples with libraries of networks run at toy size; skipped without these."""

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NEEDS = {
    "network_flax_linen": "flax",
    "network_flax_nnx": "flax",
    "network_equinox": "equinox",
    "network_haiku": "haiku",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDS)
def test_example(name, capsys):
    package = NEEDS[name]
    pytest.importorskip(package, reason=f"{package} is not installed (extra dev)")
    names = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    result = names["main"](num_gradients=60, seeds=1, records=2)
    assert "held-out accuracy" in capsys.readouterr().out
    assert (result["status"] == 0).all()
    assert result["loss"][..., -1].min() < result["loss"][..., 0].min()
    assert np.isfinite(result["accuracy"]).all()


def test_batch_statistics_of_flax_are_refused_by_name():
    nn = pytest.importorskip("flax.linen", reason="flax is not installed (extra dev)")
    jax = pytest.importorskip("jax")
    import asgrad_jax as ag

    network = nn.BatchNorm(use_running_average=False)
    rows = np.random.default_rng(0).normal(size=(12, 3))
    variables = network.init(jax.random.key(0), rows[:2])

    def loss(variables, batch):
        out, _ = network.apply(variables, batch, mutable=["batch_stats"])
        return (out**2).sum(axis=1)

    with pytest.raises(ValueError, match=r"\['batch_stats'\].*BatchNorm"):
        ag.from_loss(loss, variables, rows, 3)
