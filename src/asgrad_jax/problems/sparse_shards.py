"""The rows of n workers as one sparse matrix, and the logistic loss on them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from asgrad_jax import kernels
from asgrad_jax._util.settings import on_cpu
from asgrad_jax._util.short_repr import ShortRepr
from asgrad_jax.problems.problem import RowPass, batch_weights

Array = np.ndarray | jax.Array

# Sparse rows beat dense ones below this share of nonzeros; see docs/sparse.md.
_DENSITY = 0.15


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class SparseShards(ShortRepr):
    """Rows a_ij of n workers in compressed form, without padding.

    All rows are one CSR matrix [N, d]. Those of a worker lie in the order of their
    numbers of nonzeros, so that a pass over them guesses right how long the next one
    is: row j of worker i is row `row_starts[i] + permutation[row_starts[i] + j]`. NumPy
    and `jax.numpy` see the padded dense array [n, m, d], m the rows of the largest
    shard.

    Attributes:
        values: [nonzeros] float: the nonzeros, row by row.
        indices: [nonzeros] int32: their columns.
        indptr: [N + 1] int32: where each row begins.
        row_starts: [n + 1] int32: where each worker's rows begin.
        permutation: [N] int32: where each of a worker's rows lies among these.
        inverse_permutation: [N] int32: the other way round.
        shape: (n, m, d).
        shard_nonzeros: nonzeros of the largest shard.
        row_nonzeros: nonzeros of the longest row.
    """

    values: Array  # [nonzeros]
    indices: Array  # [nonzeros] int32
    indptr: Array  # [N + 1] int32
    row_starts: Array  # [n + 1] int32
    permutation: Array  # [N] int32
    inverse_permutation: Array  # [N] int32
    shape: tuple[int, int, int] = field(metadata=dict(static=True))
    shard_nonzeros: int = field(metadata=dict(static=True))
    row_nonzeros: int = field(metadata=dict(static=True))

    @classmethod
    def from_rows(cls, matrix: Any, rows: Sequence[np.ndarray]) -> "SparseShards":
        """Takes the rows of each worker out of a matrix.

        Args:
            matrix: SciPy CSR array [N, d], finite.
            rows: for each worker, its row numbers in the matrix.

        Raises:
            ValueError: for 2^31 nonzeros or more.

        Example:
            >>> import scipy.sparse
            >>> matrix = scipy.sparse.csr_array([[0.0, 2.0], [1.0, 0.0], [0.0, 3.0]])
            >>> shards = SparseShards.from_rows(matrix, [np.array([2]), np.arange(2)])
            >>> np.asarray(shards).tolist()
            [[[0.0, 3.0], [0.0, 0.0]], [[0.0, 2.0], [1.0, 0.0]]]
        """
        taken: Any = scipy.sparse.csr_array(matrix[np.concatenate(rows)], copy=True)
        taken.sum_duplicates()
        taken.eliminate_zeros()
        counts = [len(shard) for shard in rows]
        shards = np.repeat(np.arange(len(rows)), counts)
        order = np.lexsort([np.diff(taken.indptr), shards])
        taken = taken[order]
        if taken.nnz >= 2**31:
            raise ValueError(
                f"{taken.nnz} nonzeros; sparse storage counts them in 32 bits and "
                "holds fewer than 2**31: use fewer rows"
            )
        row_starts = np.cumsum([0, *counts])
        bounds = taken.indptr[row_starts].astype(np.int64)
        inverse_permutation = order - row_starts[shards]
        permutation = np.empty_like(inverse_permutation)
        permutation[order] = np.arange(len(order)) - row_starts[shards]
        return cls(
            values=taken.data.astype(np.float64),
            indices=taken.indices.astype(np.int32),
            indptr=taken.indptr.astype(np.int32),
            row_starts=row_starts.astype(np.int32),
            permutation=permutation.astype(np.int32),
            inverse_permutation=inverse_permutation.astype(np.int32),
            shape=(len(rows), max(counts), matrix.shape[1]),
            shard_nonzeros=int(np.diff(bounds).max()),
            row_nonzeros=int(np.diff(taken.indptr).max()),
        )

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """The dense array [n, m, d] on the host."""
        if copy is False:
            raise ValueError("a dense array of sparse shards is always a copy")
        dense = np.zeros(self.shape, dtype or self.values.dtype)
        for worker in range(self.shape[0]):
            rows = self.rows_of(worker)
            dense[worker, : rows.shape[0]] = rows.toarray()
        return dense

    def rows_of(self, worker: int) -> Any:
        """The rows of one worker, a SciPy CSR array [m_i, d] on the host."""
        first, last = np.asarray(self.row_starts)[worker : worker + 2]
        indptr = np.asarray(self.indptr)[first : last + 1]
        nonzeros = slice(indptr[0], indptr[-1])
        values, indices = (np.asarray(x[nonzeros]) for x in (self.values, self.indices))
        shape = int(last - first), self.shape[2]
        rows = scipy.sparse.csr_array((values, indices, indptr - indptr[0]), shape)
        return rows[np.asarray(self.permutation)[first:last]]

    def __jax_array__(self) -> jax.Array:
        """The dense array [n, m, d] on the device."""
        values = jnp.asarray(self.values)
        worker, row = self._rows(jnp.arange(values.size, dtype=jnp.int32))
        dense = jnp.zeros(self.shape, values.dtype)
        return dense.at[worker, row, jnp.asarray(self.indices)].add(values)

    def _rows(self, entries: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Worker and row within the shard of each nonzero, int32."""
        row = _interval(self.indptr, entries)
        place = jnp.asarray(self.inverse_permutation)[row]
        return _interval(self.row_starts, row), place

    def kernel_seconds(
        self, lanes: int, rows: int, *, batch_rows: bool
    ) -> float | None:
        """Returns the kernel's seconds; see `dense_shards.kernel_seconds`."""
        if not on_cpu() or not kernels.cores_of_call():
            return None
        shape = len(self.indptr) - 1, np.size(self.values)
        return kernels.sparse_seconds(lanes, rows, shape, batch_rows=batch_rows)

    def loss_terms(
        self,
        params: jax.Array,
        labels: Array,
        weights: Array,
        *,
        worker: jax.Array | None = None,
        batch_rows: jax.Array | None = None,
        num_counted: jax.Array | None = None,
        with_loss: bool = True,
    ) -> tuple[jax.Array, jax.Array]:
        """Weighted sum of row losses and its gradient.

        Arguments and results are those of `dense_shards.loss_terms`, labels and weights
        [N], or [n, m] where all shards have m rows. On a CPU a compiled kernel does it,
        elsewhere (and for derivatives) JAX alone.
        """
        static = RowPass(
            worker is None,
            with_loss,
            kernels.cores_of_call(),
            self.shape[1],
            num_counted is not None,
        )
        if batch_rows is None:
            batch_rows = jnp.zeros(0, jnp.int32)
        if num_counted is None:
            num_counted = jnp.int32(batch_rows.size)
        first = jnp.int32(0) if worker is None else jnp.asarray(worker, jnp.int32)
        after = jnp.int32(self.shape[0]) if worker is None else first + jnp.int32(1)
        workers = jnp.stack([first, after, num_counted])
        shards = jax.tree.map(jnp.asarray, self)
        data = (jnp.asarray(leaf).reshape(-1) for leaf in (labels, weights))
        return _loss_terms(static, params, shards, workers, batch_rows, *data)


def _interval(starts: Array, points: jax.Array) -> jax.Array:
    """The i with starts[i] <= point < starts[i + 1], int32."""
    found = jnp.searchsorted(jnp.asarray(starts), points, side="right")
    return (found - 1).astype(jnp.int32)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _loss_terms(static, *arguments):
    portable = functools.partial(_portable, static)
    if not static.cores:
        return portable(*arguments)

    def on_cpu(params, shards, workers, batch_rows, labels, weights):
        return kernels.csr_logistic(
            params,
            workers,
            batch_rows,
            shards.row_starts,
            shards.permutation,
            shards.inverse_permutation,
            shards.indptr,
            shards.indices,
            shards.values,
            labels,
            weights,
            all_workers=static.all_workers,
            with_loss=static.with_loss,
            cores=static.cores,
            shard_rows=static.shard_rows,
        )

    return jax.lax.platform_dependent(*arguments, cpu=on_cpu, default=portable)


@_loss_terms.defjvp
def _derivative(static, primals, tangents):
    return jax.jvp(functools.partial(_portable, static), primals, tangents)


def _portable(static, params, shards, workers, batch_rows, labels, weights):
    """The same sums from gathers and scatters, on any device.

    Every nonzero that takes part is listed with the place of its row; lists of equal
    length for all workers are cut out of the matrix, so a shorter shard lists
    strangers too, whose value counts as 0.
    """
    m = static.shard_rows
    first_row = shards.row_starts[workers[0]]
    if batch_rows.size:
        first = first_row + shards.permutation[first_row + batch_rows]
        ramp = jnp.arange(shards.row_nonzeros, dtype=jnp.int32)
        entries = (shards.indptr[first][:, None] + ramp[None]).reshape(-1)
        real = ramp[None] < (shards.indptr[first + 1] - shards.indptr[first])[:, None]
        real = real.reshape(-1)
        place = jnp.repeat(jnp.arange(batch_rows.size, dtype=jnp.int32), ramp.size)
        label = labels[first_row + batch_rows]
        num_counted = workers[2] if static.short_batches else None
        weight = batch_weights(batch_rows.size, num_counted, label.dtype)
    else:
        end_row = shards.row_starts[workers[1]]
        begin, end = shards.indptr[first_row], shards.indptr[end_row]
        length = shards.shard_nonzeros
        if static.all_workers:
            length = shards.values.size
        entries = begin + jnp.arange(length, dtype=jnp.int32)
        real = entries < end
        row = _interval(shards.indptr, entries)
        start = shards.row_starts[_interval(shards.row_starts, row)]
        place = start - first_row + jnp.asarray(shards.inverse_permutation)[row]
        label, weight = labels, weights
        if not static.all_workers:
            position = jnp.arange(m, dtype=jnp.int32)
            own = position < end_row - first_row
            rows = first_row + jnp.where(own, position, 0)
            label, weight = labels[rows], jnp.where(own, weights[rows], 0)
    value = jnp.where(real, shards.values[entries], 0)
    column = shards.indices[entries]
    terms = value[:, None] * params.T[column]
    margins = jnp.zeros((label.size, params.shape[0]), params.dtype)
    margins = margins.at[place].add(terms, mode="drop") * label[:, None]
    residual = jax.nn.sigmoid(-margins) * (-label * weight)[:, None]
    gradient = jnp.zeros_like(params.T).at[column].add(value[:, None] * residual[place])
    loss = weight @ jax.nn.softplus(-margins)
    return loss if static.with_loss else loss[:0], gradient.T


def prefer_sparse(matrix: Any) -> bool:
    """Whether sparse storage is the faster one for a matrix, on the default backend.

    On a CPU, below a density of 0.15 (measured, docs/sparse.md); on accelerators dense
    storage, whose products they are made for.

    Example:
        >>> import scipy.sparse
        >>> prefer_sparse(scipy.sparse.csr_array([[1.0, 2.0], [0.0, 3.0]]))
        False
    """
    density = matrix.nnz / (matrix.shape[0] * matrix.shape[1])
    return density < _DENSITY and on_cpu()
