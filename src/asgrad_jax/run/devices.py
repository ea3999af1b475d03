"""Where arrays live: precision, placement, and the mesh over all devices."""

import threading
import weakref

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from asgrad_jax.run.engine import Layout

PRECISIONS = {"float32": np.float32, "float64": np.float64}


def default_layout() -> Layout:
    """Returns "single" on a CPU and "vmap" elsewhere.

    On a CPU one schedule a call and a thread per core are about twice as fast as
    schedules in a batch; an accelerator wants the batch.
    """
    return "single" if jax.default_backend() == "cpu" else "vmap"


def cast(tree, dtype):
    """Returns host arrays of the run's types: floats as `dtype`, integers as int32."""

    def leaf(x):
        x = np.asarray(x)
        if np.issubdtype(x.dtype, np.floating):
            return x.astype(dtype, copy=False)
        return x.astype(np.int32) if x.dtype == np.int64 else x

    return jax.tree.map(leaf, tree)


_placed: dict[tuple, object] = {}
_placed_lock = threading.Lock()


def place(problem, precision: str, layout: Layout):
    """Puts a problem's arrays on the device, or on all of them, once per precision.

    The copy is kept as long as the host's problem lives.
    """
    key = (id(problem), precision, layout)
    with _placed_lock:
        if key not in _placed:
            where = None
            if layout == "vmap":
                where = NamedSharding(_mesh(), PartitionSpec())
            placed = jax.device_put(cast(problem, PRECISIONS[precision]), where)
            weakref.finalize(problem, _placed.pop, key, None)
            _placed[key] = placed
        return _placed[key]


def shard(tree, layout: Layout):
    """Spreads arrays with leading axis K over the devices, as far as K divides."""
    if layout == "single":
        return tree
    size = next(iter(jax.tree.leaves(tree))).shape[0]
    even = size % len(jax.local_devices()) == 0
    spec = PartitionSpec("schedules") if even else PartitionSpec()
    return jax.device_put(tree, NamedSharding(_mesh(), spec))


def _mesh() -> jax.sharding.Mesh:
    devices = jax.local_devices()
    return jax.make_mesh(
        (len(devices),), ("schedules",), (AxisType.Auto,), devices=devices
    )
