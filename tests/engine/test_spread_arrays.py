"""Arrays that the user has spread over devices: four of a CPU, in another process."""

import os
import subprocess
import sys

CODE = """
import dataclasses, sys
import jax, jax.numpy as jnp, numpy as np, optax
import asgrad_jax as ag
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

mesh = jax.make_mesh((4,), ("d",), (AxisType.Auto,))

def put(x, *spec):
    return jax.device_put(np.asarray(x, np.float32), NamedSharding(mesh, P(*spec)))

rng = np.random.default_rng(0)
rows = rng.normal(size=(80, 16))
targets = rows @ np.ones(16)

def loss(params, batch):
    features, target = batch
    found = jnp.tanh(features @ params["w"]) @ params["v"] + params["b"]
    return (found - target) ** 2

start = {"w": 0.3 * rng.normal(size=(16, 8)), "v": 0.3 * rng.normal(size=8), "b": 0.0}
problem = ag.from_loss(loss, start, (rows, targets), 4, batch_size=8)
features, _ = problem.data
split_rows = put(features, None, None, "d"), problem.data[1]
spread = dataclasses.replace(problem, data=split_rows)
x_0 = {"w": put(start["w"], None, "d"), "v": put(start["v"], "d"), "b": 0.0}
times = ag.compute_times.fixed([1.0, 2.0, 3.0, 4.0])
schedule = ag.simulate("pure_async", times, num_gradients=40)

# A runner keeps the iterate where its start was.
run = dict(record_every=20)
expected = ag.run(problem, schedule, step_size=[0.01, 0.02], **run)
runner = ag.runner(spread, schedule, init_params=x_0, **run)
found = runner([0.01, 0.02])
np.testing.assert_allclose(found.metrics["loss"], expected.metrics["loss"], 1e-5)
assert found.params["w"].sharding.shard_shape(found.params["w"].shape) == (2, 16, 2)
shape = runner._problem.data[0]
assert shape.sharding.shard_shape(shape.shape) == (4, 20, 4)

# The data alone: what is not spread goes to all devices.
found = ag.run(spread, schedule, step_size=[0.01, 0.02], **run)
np.testing.assert_allclose(found.metrics["loss"], expected.metrics["loss"], 1e-5)

# A sweep with a server that has a state, a table of gradients, and a folder.
grid = dict(
    algorithms="ringleader", compute_times=times, step_sizes=[0.01, 0.02],
    num_gradients=40, server=lambda step_size: optax.adam(step_size),
)
plain = ag.Grid(problem, **grid)
split = ag.Grid(spread, init_params=x_0, **grid)
results = [ag.sweep(plain), ag.sweep(split, directory=sys.argv[1])]
np.testing.assert_allclose(results[1]["loss"], results[0]["loss"], rtol=1e-4)

# Bytes are those on each of the devices.
whole, each = (g.dry_run().programs[0].memory for g in (plain, split))
lanes = whole.lanes / each.lanes
assert whole.devices == 1 and each.devices == 4
assert "on each of 4 devices" in str(each)
data = 4 * 20 * 16 * 4
assert whole.data - each.data == data * 3 // 4
w_and_v, b = 4 * (16 * 8 + 8), 4
for part in ("buffer", "table"):
    copies = getattr(whole, part) * (1 / lanes) / (w_and_v + b)
    assert getattr(each, part) == copies * (w_and_v // 4 + b), part
assert each.state < 0.4 * whole.state / lanes

# Two meshes do not go together.
half = jax.make_mesh((2,), ("d",), (AxisType.Auto,), devices=jax.devices()[:2])
other = dict(x_0, w=jax.device_put(x_0["w"], NamedSharding(half, P(None, "d"))))
try:
    ag.run(spread, schedule, step_size=0.01, init_params=other)
except ValueError as error:
    assert "over the same ones" in str(error)
else:
    raise AssertionError("two meshes were taken")
"""


def test_they_stay_where_they_are(tmp_path):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    command = [sys.executable, "-c", CODE, str(tmp_path / "folder")]
    done = subprocess.run(
        command, env=os.environ | flags, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
