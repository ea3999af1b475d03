"""A user's own problem: least squares on a dict of parameters, with its constants."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

import asgrad_jax as ag
from asgrad_jax.problems.problem import VmappedProblem


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class LeastSquares(VmappedProblem):
    """f_i(w, c) = (1/2m) ||A_i w + c - b_i||^2, gradients of `batch` rows or all."""

    rows: np.ndarray  # [n, m, d]
    targets: np.ndarray  # [n, m]
    num_workers: int = field(metadata=dict(static=True))
    batch: int | None = field(metadata=dict(static=True))

    def init_params(self):
        return {"c": np.zeros(()), "w": np.ones(self.rows.shape[-1])}

    def sample(self, worker, job, key):
        if self.batch is None:
            return None
        key = jax.random.fold_in(jax.random.fold_in(key, worker), job)
        return jax.random.randint(key, (self.batch,), 0, self.rows.shape[1])

    def lane_gradient(self, params, worker, sample):
        picked = slice(None) if sample is None else sample
        return jax.grad(_loss)(
            params,
            jnp.asarray(self.rows)[worker, picked],
            jnp.asarray(self.targets)[worker, picked],
        )

    def lane_value_and_gradient(self, params):
        return jax.value_and_grad(
            lambda p: jnp.mean(jax.vmap(_loss, (None, 0, 0))(p, *self._shards()))
        )(params)

    def local_gradients(self, params):
        return jax.vmap(jax.grad(_loss), (None, 0, 0))(params, *self._shards())

    def _shards(self):
        return jnp.asarray(self.rows), jnp.asarray(self.targets)

    # What theory asks for.

    def smoothness(self, params):
        grams = np.einsum("nmi,nmj->nij", *2 * [self._matrices()]) / self.rows.shape[1]
        of_f = np.linalg.eigvalsh(grams.mean(axis=0))
        return ag.problems.Smoothness(
            of_f=of_f[-1],
            per_worker=np.linalg.eigvalsh(grams)[:, -1],
            strong_convexity=max(of_f[0], 0.0),
            certainty="exact",
        )

    def noise_variance(self, params, worker):
        if self.batch is None:
            return np.zeros(len(worker))
        matrices = self._matrices()[worker]  # [N, m, d + 1]
        point = np.column_stack([params["c"], params["w"]])
        residual = np.einsum("Nmi,Ni->Nm", matrices, point) - self.targets[worker]
        gradients = residual[..., None] * matrices
        variance = gradients.var(axis=1).sum(axis=-1)
        return ag.problems.batch_variance(
            variance, self.rows.shape[1], self.batch, "with_replacement"
        )

    def lower_bound(self):
        stacked = self._matrices().reshape(-1, self.rows.shape[-1] + 1)
        b = self.targets.reshape(-1)
        rest = b - stacked @ np.linalg.lstsq(stacked, b, rcond=None)[0]
        return ag.problems.LowerBound(np.mean(rest**2) / 2, exact=True)

    def _matrices(self):
        """[n, m, 1 + d]: a column of ones for c, which comes first in a pytree."""
        return np.concatenate([np.ones((*self.targets.shape, 1)), self.rows], axis=2)


def _loss(params, rows, targets):
    return jnp.mean((rows @ params["w"] + params["c"] - targets) ** 2) / 2


def least_squares(batch=None, kind=LeastSquares):
    """Six workers with 8 rows of 3 features each."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, 8, 3)) * np.array([2.0, 1.0, 0.3])
    targets = rng.normal(size=(6, 8)) + np.arange(6)[:, None]
    return kind(rows, targets, 6, batch)
