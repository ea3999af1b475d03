"""What the engine asks of a problem, and the pieces that problems share.

Letters used throughout the package: `n` workers, `m` rows of the largest shard, `d`
parameters, `S` lanes (runs that share one schedule), `b` rows of a mini-batch.
"""

import dataclasses
import functools
import math
import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax._util import html
from asgrad_jax._util.short_repr import ShortRepr

Params = Any  # any pytree of floating arrays


class GradientCost(NamedTuple):
    """What the gradients of one arrival take in S lanes; the engine plans by it.

    Estimates: a wrong one costs time and changes no number beyond rounding.

    Attributes:
        multiplications: in all lanes.
        data: numbers of the problem's arrays that are read.
        rows: rows of data among these; 0 where gradients do not pass over rows, and
            one may take next to nothing.
        scattered: whether the rows are scattered in memory, as those of a mini-batch.
        kernel_seconds: on one core of a CPU, where the gradients are one compiled
            pass over the rows; else None.
        copies_rows: whether each lane gets its own copy of the rows (networks, whose
            matrices XLA would transpose otherwise).
    """

    multiplications: float
    data: float
    rows: int = 0
    scattered: bool = False
    kernel_seconds: float | None = None
    copies_rows: bool = False


@runtime_checkable
class Problem(Protocol):
    """A finite sum f = (1/n) sum_i f_i whose terms belong to n workers.

    Other weights than 1/n are in the terms: see `constants.KnownConstants.weights`.

    A problem is a frozen dataclass registered as a pytree: arrays and float
    hyper-parameters are leaves (NumPy, float64 or int32, on the host), everything else
    is static and hashable. The engine casts the floating leaves to the dtype of the
    run, moves them to the device and calls the methods below inside `jit`. It keeps
    them there as long as the problem lives: to change data, make another problem. The
    arrays of this package's problems are read-only.

    Lanes are explicit: where a method says so, every leaf of `params` has a leading
    axis `S`, one entry per run on the same schedule. All lanes of a call read the same
    worker's rows, so a problem can turn S matrix-vector products into one matrix
    product. Results have the dtype of `params`. Every method must also work under
    `jax.vmap`, which is how waves of workers are computed together.

    A stochastic gradient g(x; xi) is made in two steps, so that the engine can draw the
    samples xi of many arrivals at once: one by one, inside the scan, a draw takes
    longer than many a gradient.

    `SampledProblem` is a base class with defaults, `VmappedProblem` one for functions
    of a single lane. Optional methods are `cost(lanes)`, a `GradientCost`, and those of
    `constants.KnownConstants`, by which theory asks for smoothness, noise and a lower
    bound.

    Example:
        >>> import numpy as np
        >>> from asgrad_jax.problems.logistic import logistic_regression
        >>> problem = logistic_regression(np.eye(4), [1, -1, 1, -1], num_workers=2)
        >>> isinstance(problem, Problem)
        True
    """

    @property
    def num_workers(self) -> int:
        """Number of workers n (static)."""
        ...

    def init_params(self) -> Params:
        """The start x_0: a pytree of NumPy arrays, without a lane axis."""
        ...

    def sample(self, worker: jax.Array, job: jax.Array, key: jax.Array) -> Any:
        """What is random in a gradient.

        Args:
            worker: int32 scalar in 0..n-1: whose f_i.
            job: int32 scalar: that worker's job number, which names its noise.
            key: the run's random key. The sample is a function of (key, worker, job)
                alone, the same for all lanes.

        Returns:
            A pytree, such as the rows of a mini-batch; None if nothing is random.
        """
        ...

    def gradients_with(self, params: Params, worker: jax.Array, sample: Any) -> Params:
        """Stochastic gradients of f_worker, one per lane.

        Args:
            params: pytree with leaves [S, ...]: the iterate of each lane.
            worker: int32 scalar in 0..n-1: whose f_i.
            sample: what `sample` returned.

        Returns:
            A pytree like `params`: the gradient at each lane's iterate.
        """
        ...

    def metrics(self, params: Params) -> dict[str, jax.Array]:
        """Values of the full f, one per lane.

        For params with leaves [S, ...] they are `loss` [S]: f(x), regulariser included,
        and `grad_norm` [S]: the Euclidean norm of the full gradient of f.
        """
        ...

    def local_gradients(self, params: Params) -> Params:
        """Full gradients of every f_i at one point.

        For params *without* a lane axis it is a pytree like them with leaves [n, ...]:
        the gradient of each f_i, without sampling noise.
        """
        ...


@runtime_checkable
class _Costed(Protocol):
    def cost(self, lanes: int) -> GradientCost: ...


def gradient_cost(problem: Any, lanes: int) -> GradientCost:
    """Returns what a problem says its gradients cost in S lanes, or an estimate.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> gradient_cost(quadratic(2, 3, same_hessian=True), 4).rows
        0
    """
    if isinstance(problem, _Costed):
        return problem.cost(lanes)
    data = sum(np.size(leaf) for leaf in jax.tree.leaves(problem)) / problem.num_workers
    return GradientCost(lanes * max(data, num_params(problem)), data)


def num_params(problem: Any) -> int:
    """Returns the numbers in the problem's parameters."""
    return sum(np.size(leaf) for leaf in jax.tree.leaves(problem.init_params()))


def make_arrays_read_only(problem: Any) -> Any:
    """Makes the arrays of a new problem read-only, and returns it.

    What runs keep on the device would not follow a change in place.

    Example:
        >>> make_arrays_read_only({"x": np.zeros(2)})["x"].flags.writeable
        False
    """
    for leaf in jax.tree.leaves(problem):
        if isinstance(leaf, np.ndarray):
            leaf.flags.writeable = False
    return problem


_ASKED = (
    "num_workers",
    "init_params",
    "sample",
    "gradients_with",
    "metrics",
    "local_gradients",
)


def check_is_problem(problem: Any) -> None:
    """Raises TypeError unless `problem` has what `Problem` asks for.

    Example:
        >>> from asgrad_jax.problems.quadratic import quadratic
        >>> check_is_problem(quadratic(2, 3))
    """
    kind = type(problem).__name__
    lacking = [name for name in _ASKED if not hasattr(problem, name)]
    if isinstance(problem, type) or len(lacking) > len(_ASKED) // 2:
        raise TypeError(
            "problem must be what ag.logistic_regression, ag.quadratic, ag.from_loss "
            f"or ag.local_steps returned, or one of your own, got {kind}"
        )
    if lacking:
        raise TypeError(
            f"problem must have {', '.join(lacking)}, got one of class {kind} without; "
            "see ag.problems.Problem, or derive the class from ag.problems."
            "SampledProblem"
        )


class SampledProblem(ShortRepr):
    """Base of problems: shown in a line, read-only however it was copied.

    A subclass provides what `Problem` lists; `sample` may be left out where nothing is
    random.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes the fields over, as `copy` and `pickle` do, made read-only."""
        self.__dict__.update(state)
        make_arrays_read_only(self)

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the properties, and how the rows are spread."""
        own: Any = self
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(own)}
        arrays = [v for v in fields.values() if hasattr(v, "dtype")]
        if not all(isinstance(value, np.ndarray | np.generic) for value in arrays):
            return None  # inside a traced function
        rows: list[tuple[str, Any]] = []
        for name, value in fields.items():
            if isinstance(value, np.ndarray) and value.ndim:
                shape = ", ".join(map(str, value.shape))
                rows.append((name, f"{value.dtype} [{shape}]"))
            elif isinstance(value, bool | int | float | str | np.ndarray | np.generic):
                rows.append((name, value if np.ndim(value) else np.asarray(value)[()]))
        counts = fields.get("counts")
        pictures = []
        if isinstance(counts, np.ndarray) and counts.ndim == 1 and counts.size:
            pictures = [html.bars(counts, "rows of each worker")]
        return html.card(type(self).__name__, rows, *pictures)

    def sample(self, worker: jax.Array, job: jax.Array, key: jax.Array) -> Any:
        """What is random in a gradient: nothing, unless a subclass says otherwise."""
        del worker, job, key
        return None

    def gradients_with(self, params: Params, worker: jax.Array, sample: Any) -> Params:
        """Stochastic gradients of f_worker, one per lane, with the sample drawn."""
        raise NotImplementedError

    def gradients(
        self, params: Params, worker: jax.Array, job: jax.Array, key: jax.Array
    ) -> Params:
        """Stochastic gradients of f_worker, one per lane: both steps of `Problem`."""
        return self.gradients_with(params, worker, self.sample(worker, job, key))


class VmappedProblem(SampledProblem):
    """Base for problems that are written for one lane.

    A subclass provides `lane_gradient(params, worker, sample)` (a pytree like `params`)
    and `lane_value_and_gradient(params)` (f(x) and the full gradient), both without a
    lane axis; the lane methods of `Problem` follow by `jax.vmap`.
    """

    def lane_gradient(self, params: Params, worker: jax.Array, sample: Any) -> Params:
        """Stochastic gradient of f_worker at one lane's params."""
        raise NotImplementedError

    def lane_value_and_gradient(self, params: Params) -> tuple[jax.Array, Params]:
        """f(x), a scalar, and the full gradient at one lane's params."""
        raise NotImplementedError

    def gradients_with(self, params: Params, worker: jax.Array, sample: Any) -> Params:
        """Stochastic gradients of f_worker, one per lane, with the sample drawn."""
        return jax.vmap(lambda lane: self.lane_gradient(lane, worker, sample))(params)

    def metrics(self, params: Params) -> dict[str, jax.Array]:
        """Loss and gradient norm of f, one per lane; see `Problem.metrics`."""
        loss, gradient = jax.vmap(self.lane_value_and_gradient)(params)
        return {"loss": loss, "grad_norm": lane_norm(gradient)}


def traced_shapes(what: str, function: Callable, *arguments: Any) -> Any:
    """Shapes and types of what a user's function gives; nothing is computed.

    The arguments are pytrees of arrays or `jax.ShapeDtypeStruct`, and so is the result;
    `what` names the function in errors.

    Raises:
        TypeError: if JAX cannot trace the function. Its own errors pass, with a note.

    Example:
        >>> import jax.numpy as jnp
        >>> traced_shapes("the loss", jnp.sum, jnp.ones(3)).shape
        ()
    """
    try:
        return jax.eval_shape(function, *arguments)
    except (
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
    ) as error:
        raise TypeError(
            f"{what} cannot be compiled: its arguments are traced by JAX, so write it "
            "with jax.numpy, without NumPy's functions, float() or `if` on their values"
        ) from error
    except Exception as error:
        error.add_note(f"This came from {what}, traced with {reprlib.repr(arguments)}.")
        raise


def lane_norm(tree: Params) -> jax.Array:
    """Euclidean norm over all leaves [S, ...], one per lane: [S].

    In float32 norms below 1e-19 are 0 and those above 1.8e19 infinite: to divide by the
    largest entry first (see `scaled`) would keep another copy of a gradient in memory.

    Example:
        >>> import jax.numpy as jnp
        >>> lane_norm({"a": jnp.array([[3.0], [0.0]]), "b": jnp.array([4.0, 2.0])})
        Array([5., 2.], dtype=float32)
    """
    squares = [
        jnp.sum(jnp.square(leaf), axis=tuple(range(1, leaf.ndim)))
        for leaf in jax.tree.leaves(tree)
    ]
    return jnp.sqrt(sum(squares[1:], start=squares[0]))


def scaled(tree: Params) -> tuple[Params, jax.Array]:
    """Divides by a power of two near the largest number, so that squares are normal.

    From a pytree with leaves [S, ...] it makes the quotients, which are exact, and what
    each lane was divided by, [S].

    Example:
        >>> import jax.numpy as jnp
        >>> scaled(jnp.array([[12.0, -20.0], [2.0**-99, 0.0]]))[0].tolist()
        [[0.75, -1.25], [1.0, 0.0]]
    """
    leaves = jax.tree.leaves(tree)
    largest = [
        jnp.max(jnp.abs(x), axis=tuple(range(1, x.ndim)), initial=0) for x in leaves
    ]
    top = functools.reduce(jnp.maximum, largest)
    # Powers whose reciprocals are neither infinite nor flushed to zero.
    limit = -jnp.finfo(top.dtype).minexp - 2
    _, exponent = jnp.frexp(top)
    scale = jnp.ldexp(jnp.ones_like(top), jnp.clip(exponent - 1, -limit, limit))
    return jax.tree.map(
        lambda x: x / expand_trailing(scale.astype(x.dtype), x), tree
    ), scale


def expand_trailing(values: jax.Array, like: jax.Array) -> jax.Array:
    """Returns [S] values shaped to multiply [S, ...]."""
    return values.reshape((-1,) + (1,) * (like.ndim - 1))


class RowPass(NamedTuple):
    """What is fixed in a pass over rows; a key of compiled programs.

    Attributes:
        all_workers: whether these are the rows of all workers.
        with_loss: whether the losses are wanted.
        cores: that may share a call of a compiled kernel, 0 for none.
        shard_rows: rows of the largest shard.
        short_batches: whether fewer than all chosen rows may count.
    """

    all_workers: bool
    with_loss: bool
    cores: int
    shard_rows: int
    short_batches: bool = False


def sum_over_blocks(function: Callable[[Any], Any], leaves: Any, *, block: int) -> Any:
    """Sums a function over the workers, at most `block` of them at a time.

    The blocks bound the memory of intermediate results; a scan walks over them.

    Args:
        function: maps a pytree like `leaves`, with leading axis g <= block, to the sum
            over these g workers, any pytree of arrays.
        leaves: pytree with leaves [n, ...].
        block: static; below 1 it is one worker, above n all of them.

    Example:
        >>> import jax.numpy as jnp
        >>> sum_over_blocks(lambda part: part.sum(), jnp.arange(5), block=2)
        Array(10, dtype=int32)
    """
    n = jax.tree.leaves(leaves)[0].shape[0]
    block = max(1, min(block, n))
    whole = n - n % block

    def part(first, size: int):
        # Sliced one by one: cutting all blocks at once would copy the data.
        cut = functools.partial(
            jax.lax.dynamic_slice_in_dim, start_index=first, slice_size=size
        )
        return function(jax.tree.map(cut, leaves))

    def add(k, total):
        return jax.tree.map(jnp.add, total, part(k * block, block))

    total = part(0, block)
    total = jax.lax.fori_loop(1, whole // block, add, total)
    if whole < n:
        total = jax.tree.map(jnp.add, total, part(whole, n - whole))
    return total


def batch_weights(size: int, num_counted: jax.Array | None, dtype: Any) -> jax.Array:
    """Weights of a mean over the first `num_counted` of rows (None: all): [size].

    Example:
        >>> import jax.numpy as jnp
        >>> batch_weights(3, jnp.int32(2), "float32").tolist()
        [0.5, 0.5, 0.0]
    """
    if num_counted is None:
        return jnp.full(size, 1 / size, dtype)
    counts = jnp.arange(size, dtype=jnp.int32) < num_counted
    return jnp.where(counts, 1 / num_counted.astype(dtype), 0)


def sum_over_shard(
    function: Callable[[jax.Array, jax.Array], Any],
    first: jax.Array,
    count: jax.Array,
    *,
    block: int,
    most: int | None = None,
) -> Any:
    """Sums a function over the rows of one worker, a block of rows at a time.

    Args:
        function: maps row numbers int32 [block] and whether each counts, bool [block],
            to a sum over those that do, any pytree of arrays. Those that do not are the
            worker's last row.
        first: int32 scalar, the worker's first row.
        count: int32 scalar >= 1, its rows.
        block: static.
        most: rows of the largest shard: then the loop has the same length for all, and
            can be differentiated in reverse; None stops after the last row.

    Example:
        >>> import jax.numpy as jnp
        >>> sum_over_shard(lambda row, real: jnp.sum(row * real), 3, 4, block=3)
        Array(18, dtype=int32)
    """
    ramp = jnp.arange(block, dtype=jnp.int32)

    def part(k):
        position = jnp.asarray(k, jnp.int32) * block + ramp
        return function(first + jnp.minimum(position, count - 1), position < count)

    def add(k, total):
        return jax.tree.map(jnp.add, total, part(k))

    blocks = -(-(count if most is None else most) // block)
    return jax.lax.fori_loop(1, blocks, add, part(0))


def rows_at_once(num_rows: int, num_workers: int) -> int:
    """Returns how many rows of a shard go through together where sizes are unequal.

    A block costs as much as about 64 rows beside its own, and half of the last one is
    idle: the sum over the workers is least near sqrt(64 N / n).

    Example:
        >>> rows_at_once(42990, 300)
        128
    """
    return 2 ** round(math.log2(8 * math.sqrt(num_rows / num_workers)))
