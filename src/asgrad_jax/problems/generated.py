"""Problems whose rows are made when they are needed: no data, any number of workers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asgrad_jax._util.checks import check_callable, check_count, check_number
from asgrad_jax._util.hashable import hashable
from asgrad_jax._util.settings import draws as drawn
from asgrad_jax._util.sizes import check_workers
from asgrad_jax.problems.constants import LowerBound
from asgrad_jax.problems.loss_checks import check_reached, checked_param, returns_rows
from asgrad_jax.problems.problem import (
    GradientCost,
    Params,
    VmappedProblem,
    make_arrays_read_only,
    num_params,
    traced_shapes,
)

_BIAS = (
    "f is an expectation over generated data, of which metrics take one fixed sample"
)
_TOGETHER = 64  # batches that metrics evaluate at once, which bounds the memory


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class GeneratedProblem(VmappedProblem):
    """f_i(x) = E loss(x, batch(i, key)) over random keys; made by `from_generator`.

    Attributes:
        start: pytree: x_0.
        loss: the user's loss of (params, batch).
        generate: (worker, key) -> batch.
        num_workers: n.
        batch_rows: rows of a batch.
        evaluation: (worker, draw) pairs that metrics use.
        least: a number below all losses, None where none is known.
    """

    start: Params
    loss: Callable[..., jax.Array] = field(metadata=dict(static=True))
    generate: Callable[..., Any] = field(metadata=dict(static=True))
    num_workers: int = field(metadata=dict(static=True))
    batch_rows: int = field(metadata=dict(static=True))
    evaluation: int = field(metadata=dict(static=True))
    least: float | None = field(metadata=dict(static=True))

    gradient_bias = _BIAS

    def init_params(self) -> Params:
        """The start x_0: a pytree of NumPy arrays."""
        return jax.tree.map(np.array, self.start)

    def lower_bound(self) -> LowerBound | None:
        """The number below all losses that `from_generator` was told."""
        return None if self.least is None else LowerBound(self.least)

    def cost(self, lanes: int) -> GradientCost:
        """What a gradient takes, the loss being a product of rows and parameters."""
        work = lanes * self.batch_rows * num_params(self)
        return GradientCost(multiplications=work, data=0.0)

    def sample(self, worker: jax.Array, job: jax.Array, key: jax.Array) -> jax.Array:
        """The key of a job's data, uint32 [2]: a function of run, worker and job."""
        key = jax.random.fold_in(jax.random.fold_in(key, worker), job)
        return jax.random.key_data(key)

    def lane_gradient(self, params: Params, worker: jax.Array, sample: Any) -> Params:
        """Gradient of the mean loss of the batch that worker and key name."""
        return jax.grad(self._value)(params, worker, sample)

    def lane_value_and_gradient(self, params: Params) -> tuple[jax.Array, Params]:
        """f and its gradient on the fixed sample, at one lane's params."""
        pairs = jnp.arange(self.evaluation, dtype=jnp.int32)
        # Workers evenly spaced; beyond n pairs further draws of each.
        few = min(self.evaluation, self.num_workers)
        step = self.num_workers // few
        workers, rounds = pairs % few * step, pairs // few

        def one(pair):
            worker, number = pair
            return jax.value_and_grad(self._value)(
                params, worker, self._fixed_key(worker, number)
            )

        found = jax.lax.map(one, (workers, rounds), batch_size=_TOGETHER)
        return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), found)

    def local_gradients(self, params: Params) -> Params:
        """Gradient of one fixed batch of every worker, leaves [n, ...]."""

        def one(worker):
            key = self._fixed_key(worker, jnp.int32(0))
            return jax.grad(self._value)(params, worker, key)

        workers = jnp.arange(self.num_workers, dtype=jnp.int32)
        return jax.lax.map(one, workers, batch_size=_TOGETHER)

    def _fixed_key(self, worker: jax.Array, number: jax.Array) -> jax.Array:
        key = jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32")
        return self.sample(worker, number, key)

    def _value(self, params: Params, worker: jax.Array, key: jax.Array) -> jax.Array:
        """The mean loss of one batch, in the dtype of the parameters."""
        dtype = jax.tree.leaves(params)[0].dtype
        with drawn():
            whole = jax.random.wrap_key_data(key, impl="threefry2x32")
            batch = self.generate(worker, whole)
        batch = jax.tree.map(lambda leaf: _as(leaf, dtype), batch)
        return jnp.mean(jnp.asarray(self.loss(params, batch), dtype))


def _as(leaf: jax.Array, dtype: Any) -> jax.Array:
    floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    return jnp.asarray(leaf, dtype) if floating else jnp.asarray(leaf)


def from_generator(
    loss: Callable[..., jax.Array],
    init_params: Params,
    generate: Callable[..., Any],
    num_workers: int,
    *,
    evaluation: int = 256,
    lower_bound: float | None = None,
) -> GeneratedProblem:
    """A problem without stored data: each job makes its rows from (worker, key).

    A job of worker i with key xi gives the gradient of the mean loss of
    generate(i, xi); xi is a function of the run's seed, the worker and the number of
    its job, the same in every lane. Give random functions a dtype: the default one
    follows the run's precision, and another dtype draws other numbers.

    f = (1/n) sum_i E loss is an expectation: metrics take a fixed sample of it, with
    keys that no run has, and theory refuses it. Nothing grows with n but the schedule
    and the iterates that jobs in flight read.

    Args:
        loss: `loss(params, batch)`, per row or the mean, as for `from_loss`.
        init_params: pytree of floating arrays: x_0.
        generate: (worker, key) -> batch, a pytree of arrays [rows, ...], in JAX;
            `worker` is an int32 scalar in 0..n-1.
        num_workers: n.
        evaluation: batches that metrics use: of workers evenly spaced in 0..n-1, and
            several of each where there are fewer workers.
        lower_bound: a number <= every loss, for theory; None if not known.

    Raises:
        TypeError, ValueError: if an argument is not as described, or a parameter is
            reached by no gradient.

    Example:
        A million workers, each with its own optimum:

        >>> def rows(worker, key):
        ...     features = jax.random.normal(key, (8, 3), jnp.float32)
        ...     own = jnp.sin(worker + jnp.arange(3.0))
        ...     return features, features @ own
        >>> def loss(x, batch):
        ...     features, targets = batch
        ...     return (features @ x - targets) ** 2 / 2
        >>> problem = from_generator(loss, np.zeros(3), rows, 1_000_000)
        >>> problem.metrics(jnp.zeros((1, 3)))["loss"].shape
        (1,)
    """
    num_workers = check_workers(num_workers)
    check_callable("generate", generate, "worker", "key")
    check_callable("loss", loss, "params", "batch")
    start = jax.tree.map(checked_param, init_params)
    if not jax.tree.leaves(start):
        raise TypeError("init_params must have arrays, got none")
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))
    worker = jax.ShapeDtypeStruct((), jnp.int32)
    batch = traced_shapes("generate", generate, worker, key)
    leaves, structure = jax.tree.flatten(batch)
    sizes = {leaf.shape[:1] for leaf in leaves}
    if len(sizes) != 1 or () in sizes:
        shown = [leaf.shape for leaf in leaves]
        raise ValueError(
            f"generate must return arrays with the same number of rows, got {shown}"
        )
    (rows,) = sizes.pop()

    def traced(params, batch, key):
        del key
        return loss(params, batch)

    returns_rows(traced, start, leaves, structure, {rows})
    check_reached(traced, start, leaves, structure, rows)
    problem = GeneratedProblem(
        start=start,
        loss=hashable(loss),
        generate=hashable(generate),
        num_workers=num_workers,
        batch_rows=rows,
        evaluation=check_count("evaluation", evaluation),
        least=lower_bound
        if lower_bound is None
        else check_number("lower_bound", lower_bound),
    )
    return make_arrays_read_only(problem)
