"""Where arrays live: precision, placement, and the mesh of devices."""

import math
import threading
import weakref

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from asgrad_jax._util.settings import devices, fixed, on_cpu
from asgrad_jax.engine.arrival import Batching

PRECISIONS = {"float32": np.float32, "float64": np.float64}


def default_batching() -> Batching:
    """Returns "single" on a CPU and "vmap" elsewhere.

    On a CPU one schedule a call and a thread per core are about twice as fast as
    schedules in a batch; an accelerator wants the batch.
    """
    return "single" if on_cpu() else "vmap"


def spread_of(x) -> NamedSharding | None:
    """Returns how the user has spread an array over devices, None where it is on one.

    Example:
        >>> spread_of(jax.numpy.ones(2)) is None
        True
    """
    where = getattr(x, "sharding", None)
    if isinstance(where, NamedSharding) and len(where.device_set) > 1:
        return where
    return None


def is_spread(*trees) -> bool:
    """Whether the user has spread an array of these over several devices."""
    return bool(_spreads(trees))


def _spreads(*trees) -> list[NamedSharding]:
    found = map(spread_of, jax.tree.leaves(trees))
    return [where for where in found if where is not None]


def beside(params, problem):
    """Puts what is not spread of x_0 on all devices that the user has spread others on.

    Args:
        params: x_0.
        problem: the problem; it or x_0 has an array that is spread.

    Raises:
        ValueError: if two arrays are spread over other devices.
    """
    first, *others = _spreads(params, problem)
    for where in others:
        if where.device_set != first.device_set:
            raise ValueError(
                "arrays of a problem and its start that are spread over devices must "
                f"be so over the same ones, got {sorted(map(str, first.device_set))} "
                f"and {sorted(map(str, where.device_set))}"
            )
    everywhere = NamedSharding(first.mesh, PartitionSpec())
    with fixed(x64=True):  # or float64 would be cut here
        return jax.tree.map(
            lambda x: jax.device_put(x, spread_of(x) or everywhere), params
        )


def cast(tree, dtype):
    """Returns arrays of the run's types: floats as `dtype`, integers as int32.

    They are the host's, but for those that the user has spread over devices.
    """

    def leaf(x):
        if spread_of(x) is None:
            x = np.asarray(x)
        own = run_type(x.dtype, dtype)
        return x if x.dtype == own else x.astype(own)

    return jax.tree.map(leaf, tree)


def run_type(own: np.dtype, dtype) -> np.dtype:
    """Returns the type that arrays of type `own` have in a run in `dtype`."""
    if np.issubdtype(own, np.floating):
        return np.dtype(dtype)
    return np.dtype(np.int32) if own == np.int64 else own


def abstract(tree, dtype):
    """Returns the shapes and types that arrays have in a run in `dtype`."""

    def leaf(x):
        own = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
        return jax.ShapeDtypeStruct(np.shape(x), run_type(own, dtype))

    return jax.tree.map(leaf, tree)


def mesh_for(batching: Batching, schedules: int, lanes: int) -> Mesh | None:
    """Returns the devices that share a call, by schedules and lanes.

    As many devices as the two numbers divide among; schedules are split rather than
    lanes, which are columns of one product. None in the batching "single".
    """
    if batching == "single":
        return None
    usable = devices()
    shapes = [
        (a, b)
        for a in range(1, len(usable) + 1)
        for b in range(1, len(usable) // a + 1)
        if schedules % a == 0 and lanes % b == 0
    ]
    shape = max(shapes, key=lambda ab: (math.prod(ab), ab))
    return jax.make_mesh(
        shape,
        ("schedules", "lanes"),
        (AxisType.Auto, AxisType.Auto),
        devices=usable[: math.prod(shape)],
    )


def _to_device(x: np.ndarray, dtype, where):
    """Places one array in the run's type, by way of one copy at most on a CPU.

    The host's arrays may be much of the memory, so they are taken one by one; a copy
    that begins at a multiple of 64 bytes is taken over by a CPU as it is.
    """
    spread = spread_of(x)
    if spread is None:
        x = np.asarray(x)
    own = run_type(x.dtype, dtype)
    if x.dtype == own:
        return jax.device_put(x, spread or where)
    most = np.finfo(dtype).max
    if own == dtype and x.size and most < max(x.max(), -x.min()) < np.inf:
        raise ValueError(
            f"the problem has numbers beyond {most:.3g}, the largest of {own}; run it "
            "with precision='float64', or scale its data"
        )
    if spread is not None:
        return x.astype(own)
    space = np.empty(x.size * own.itemsize + 64, np.uint8)
    first = -space.ctypes.data % 64
    converted = space[first : first + x.size * own.itemsize].view(own).reshape(x.shape)
    converted[...] = x
    return jax.device_put(converted, where)


_placed: dict[tuple, object] = {}
_placed_lock = threading.Lock()


def place(problem, precision: str, mesh: Mesh | None):
    """Puts a problem's arrays on the device, or on all of a mesh, once per precision.

    Those that the user has spread over devices stay there.
    The copy is kept as long as the host's problem lives.
    """
    key = (id(problem), precision, mesh or devices()[0])
    with _placed_lock:
        if key not in _placed:
            dtype, where = PRECISIONS[precision], sharding(mesh)
            placed = jax.tree.map(lambda x: _to_device(x, dtype, where), problem)
            weakref.finalize(problem, _placed.pop, key, None)
            _placed[key] = placed
        return _placed[key]


def shard(tree, mesh: Mesh | None, *axes: str):
    """Spreads arrays over a mesh; `axes` name the leading axes that are split."""
    return tree if mesh is None else jax.device_put(tree, sharding(mesh, *axes))


def sharding(mesh: Mesh | None, *axes: str) -> NamedSharding | None:
    """Returns where arrays lie that `axes` split, the leading axes first."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec(*axes))


def on_host(tree):
    """Returns a tree with leaves of NumPy; random keys become their words."""
    return jax.device_get(
        jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)
    )


def to_saved(tree) -> list[np.ndarray]:
    """Returns the leaves of a tree as numbers that NumPy can write to a file.

    Random keys are written as their words, types that are not NumPy's own (bfloat16) as
    bytes.
    """
    return [
        x if x.dtype.isbuiltin == 1 else np.frombuffer(x.tobytes(), np.uint8)
        for x in on_host(jax.tree.leaves(tree))
    ]


def from_saved(like, saved: list[np.ndarray]):
    """Undoes `to_saved`, for a tree like `like` and on its devices."""

    def leaf(x, values):
        if _is_key(x):
            words = jax.device_put(values)
            values = jax.random.wrap_key_data(words, impl=jax.random.key_impl(x))
        elif values.dtype != x.dtype:
            values = np.frombuffer(values.tobytes(), x.dtype).reshape(x.shape)
        return jax.device_put(values, x.sharding)

    return jax.tree.map(leaf, like, jax.tree.unflatten(jax.tree.structure(like), saved))


def _is_key(x: jax.Array) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
