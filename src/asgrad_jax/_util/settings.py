"""JAX's settings in a run: which are fixed, which are followed, which are recorded.

Settings belong to a thread as well as to the process (`with jax.debug_nans(True)` says
nothing to other threads), and calls run in threads. So there is one place for them:
`fixed` stands around whatever is traced or drawn, `of_this_thread` takes the caller's
settings into another thread, `recorded` says what a config has to tell. The page
docs/settings.md has a line for each setting.
"""

import contextlib
import contextvars
from collections.abc import Callable, Generator
from typing import Any

import jax

from asgrad_jax._util.forks import check_forked

#: What a run sets, whatever the caller, the process or the environment says.
FIXED: dict[str, Any] = {
    # Mini-batches and noise: JAX's default since 0.5.
    "jax_threefry_partitionable": True,
    "jax_default_prng_impl": "threefry2x32",
    # These change no number, they only refuse what a run does on purpose.
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_transfer_guard_host_to_device": "allow",
    "jax_transfer_guard_device_to_device": "allow",
    "jax_transfer_guard_device_to_host": "allow",
}

#: What a run follows and its config records, with the values that need no record.
RECORDED: dict[str, tuple[Any, ...]] = {
    # Unset, a run computes float32 products in float32.
    "jax_default_matmul_precision": (None, "float32", "highest"),
    "jax_disable_jit": (False,),
    "jax_disable_most_optimizations": (False,),
    "jax_optimization_level": ("UNKNOWN",),
    "jax_exec_time_optimization_effort": (0.0,),
    "jax_memory_fitting_level": ("O2", "UNKNOWN"),
    "jax_memory_fitting_effort": (0.0,),
    "jax_compiler_enable_remat_pass": (True,),
    "jax_allow_f16_reductions": (True,),
    "jax_softmax_custom_jvp": (False,),
    "jax_use_direct_linearize": (True,),
    "jax_high_dynamic_range_gumbel": (False,),
    "jax_random_seed_offset": (0,),
    "jax_bcoo_cusparse_lowering": (False,),
    "jax_use_magma": ("auto",),
    "jax_ragged_dot_use_ragged_dot_instruction": (True,),
    "jax_ragged_dot_use_gpu_pallas_triton_lowering": (False,),
    "jax_scan3": (False,),
    "jax_remat3": (False,),
    "jax_custom_vjp3": (False,),
    "eager_constant_folding": (False,),
}

# Those that can differ between threads have a public context manager, but for
# `disable_jit`, which is a function. `thread_guard` makes the thread that enters it the
# only one that may compute, so it stays with the caller.
_KIND: Any = type(jax.enable_x64)
_CONTEXTS: dict[str, Callable[[Any], Any]] = {
    "jax_disable_jit": jax.disable_jit,
    **{
        state.name: state
        for name, state in vars(jax).items()
        if isinstance(state, _KIND) and name != "thread_guard"
    },
}


@contextlib.contextmanager
def fixed(
    *, x64: bool | None = None, meshless: bool = True
) -> Generator[None, None, None]:
    """What is traced, compiled or drawn inside sees the settings of a run.

    It works as a decorator as well.

    Args:
        x64: whether numbers have 64 bits; None leaves it as it is.
        meshless: whether the axes of a mesh around it are left out.

    Raises:
        RuntimeError: in a process that was forked after JAX had started.

    Example:
        >>> with jax.threefry_partitionable(False), fixed(x64=True):
        ...     jax.config.jax_threefry_partitionable, jax.config.jax_enable_x64
        (True, True)
    """
    check_forked()
    with contextlib.ExitStack() as stack:
        for name, value in FIXED.items():
            stack.enter_context(_CONTEXTS[name](value))
        if x64 is not None:
            stack.enter_context(jax.enable_x64(x64))
        # A run spreads itself over devices; the axes of a mesh around it are not ours.
        if meshless and not jax.sharding.get_abstract_mesh().empty:
            stack.enter_context(jax.set_mesh(None))
        yield


@contextlib.contextmanager
def draws() -> Generator[None, None, None]:
    """Random numbers drawn inside are a run's, also where no run is around them."""
    with jax.threefry_partitionable(True):
        yield


def of_this_thread() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Returns what gives another thread the settings of this one.

    Context variables (`np.errstate` is one) are carried too.

    Returns:
        A function without arguments, called in the other thread: a context manager.
        It raises RuntimeError where a context cannot be carried.

    Example:
        >>> import concurrent.futures
        >>> def asked(carried):
        ...     with carried():
        ...         return jax.config.jax_debug_nans
        >>> with concurrent.futures.ThreadPoolExecutor() as pool:
        ...     with jax.debug_nans(True):
        ...         pool.submit(asked, of_this_thread()).result()
        True
    """
    values = {name: getattr(jax.config, name) for name in _CONTEXTS}
    variables, traced = contextvars.copy_context(), _trace_context()

    @contextlib.contextmanager
    def carried() -> Generator[None, None, None]:
        with contextlib.ExitStack() as stack:
            for name, value in values.items():
                if getattr(jax.config, name) != value:
                    stack.enter_context(_CONTEXTS[name](value))
            for variable, value in variables.items():
                token = variable.set(value)
                stack.callback(variable.reset, token)
            if _trace_context() != traced:
                raise RuntimeError(
                    "a run must not be inside a JAX context that other threads cannot "
                    "be given (jax.make_user_context, compute_on, set_xla_metadata, "
                    "...), since it computes in several threads; leave the context, "
                    "or enter it inside your own function"
                )
            yield

    return carried


def _trace_context() -> list[Any]:
    """Returns what JAX keeps traced functions apart by, but for meshes.

    JAX shows it to nobody; where it moves, contexts that cannot be carried are not
    noticed.
    """
    try:
        from jax._src.config import trace_context
    except ImportError:
        return []

    def plain(part: Any) -> Any:
        # `with mesh:` of old keeps a tuple of meshes.
        first = part[:1] if isinstance(part, tuple) else [part]
        meshes = jax.sharding.Mesh | jax.sharding.AbstractMesh
        return None if not first or isinstance(first[0], meshes) else part

    return [plain(part) for part in trace_context()]


def recorded() -> dict[str, Any]:
    """Returns the settings of `RECORDED` that are not at a value that needs no record.

    Example:
        >>> recorded()
        {}
        >>> with jax.default_matmul_precision("bfloat16"):
        ...     recorded()
        {'jax_default_matmul_precision': 'bfloat16'}
    """
    values = jax.config.values
    return {
        name: values[name]
        for name, plain in RECORDED.items()
        if name in values and values[name] not in plain
    }


@contextlib.contextmanager
def as_recorded(values: dict[str, Any]) -> Generator[None, None, None]:
    """Gives a process of a cluster the settings that another one has `recorded`.

    Args:
        values: what `recorded()` was there.

    Raises:
        RuntimeError: if they cannot be had here, or this process has others.

    Example:
        >>> with as_recorded({"jax_default_matmul_precision": "bfloat16"}):
        ...     recorded()
        {'jax_default_matmul_precision': 'bfloat16'}
    """
    with contextlib.ExitStack() as stack:
        for name, value in values.items():
            if name in _CONTEXTS:
                stack.enter_context(_CONTEXTS[name](value))
        if (found := recorded()) != values:
            raise RuntimeError(
                f"JAX's settings on a worker must be those of the sweep, {values}, got "
                f"{found}; set them in the worker's environment (JAX_...)"
            )
        yield


def looks_back() -> bool:
    """Whether JAX will compute a call again to find where a NaN or infinity came from.

    What it was called with must live until then.
    """
    flags: Any = jax.config
    return flags.jax_debug_nans or flags.jax_debug_infs


def devices() -> list[jax.Device]:
    """Returns this process's devices that a run may use.

    That of `jax.default_device` where it is set, else all.

    Example:
        >>> with jax.default_device("cpu"):
        ...     len(devices())
        1
    """
    chosen = _default_device()
    if chosen is None:
        return jax.local_devices()
    if isinstance(chosen, str):
        return jax.local_devices(backend=chosen)[:1]
    return [chosen]


def on_cpu() -> bool:
    """Whether a run computes on CPUs."""
    if _default_device() is None:
        return jax.default_backend() == "cpu"
    return devices()[0].platform == "cpu"


def _default_device() -> Any:
    flags: Any = jax.config
    return flags.jax_default_device
