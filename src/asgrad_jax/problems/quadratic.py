"""Quadratic problems whose minimiser is known."""

from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from asgrad_jax._util.checks import check_count, check_number, check_numbers
from asgrad_jax._util.settings import draws
from asgrad_jax.problems.constants import LowerBound, Smoothness
from asgrad_jax.problems.problem import SampledProblem, lane_norm, make_arrays_read_only
from asgrad_jax.problems.row_split import worker_scale

Array = np.ndarray | jax.Array
Form = Literal["dense", "diagonal", "tridiagonal"]
Noise = Literal["none", "isotropic", "common"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class Quadratic(SampledProblem):
    """f_i(x) = x^T H_i x / 2 - b_i^T x on n workers, with additive gradient noise.

    Made by `quadratic`, `Quadratic.from_arrays` or `ringmaster_quadratic`. The reported
    loss is f(x) itself; subtract `optimal_value()` for the gap.

    Attributes:
        hessian: [k, d, d] (dense), [k, d] (diagonal) or [k, 2, d] (tridiagonal: the
            diagonal, and the off-diagonal with a last 0), with k = n, or k = 1 where
            all workers share it.
        linear: [k, d]: b_i, k = n or 1 (shared).
        mean_hessian: sum_i w_i H_i, without the first axis.
        mean_linear: [d]: sum_i w_i b_i.
        scale: [n]: n w_i; None where all workers count equally.
        noise: scalar: sigma.
        start: [d]: x_0.
        num_workers: n.
        form: how the Hessians are stored.
        noise_form: "isotropic": N(0, sigma^2/d I), so E||xi||^2 = sigma^2; "common":
            one N(0, sigma^2) number added to every coordinate, E||xi||^2 = d sigma^2;
            "none": sigma = 0, and nothing is drawn.
    """

    hessian: Array
    linear: Array
    mean_hessian: Array
    mean_linear: Array
    scale: Array | None
    noise: Array
    start: Array
    num_workers: int = field(metadata=dict(static=True))
    form: Form = field(metadata=dict(static=True))
    noise_form: Noise = field(metadata=dict(static=True))

    @classmethod
    def from_arrays(
        cls,
        hessians: ArrayLike,
        linear: ArrayLike,
        *,
        noise: float = 0.0,
        weights: ArrayLike | None = None,
    ) -> "Quadratic":
        """A quadratic problem with given Hessians and linear terms; x_0 = 0.

        f = sum_i w_i f_i; a job of worker i gives the gradient of n w_i f_i, noise
        included (see `KnownConstants.weights`).

        Args:
            hessians: [n, d, d] symmetric, or [n, d] diagonals; a first axis of 1 means
                that all workers share it. Single H_i may be indefinite, their mean may
                not.
            linear: [n, d]: b_i.
            noise: sigma >= 0: every stochastic gradient of f_i has N(0, sigma^2/d I)
                added.
            weights: None (w_i = 1/n), or n numbers > 0, which are divided by their sum.

        Raises:
            TypeError, ValueError: for values that are not finite real numbers, shapes
                that do not fit, Hessians that are not symmetric (up to rounding, which
                is then averaged out) or whose mean is not positive definite, and a
                negative noise.

        Example:
            >>> problem = Quadratic.from_arrays([[1.0, 4.0]], [[1.0, 0.0], [3.0, 4.0]])
            >>> problem.optimum().tolist(), problem.optimal_value()
            ([2.0, 0.5], -2.5)
        """
        hessian = check_numbers("hessians", hessians, finite=True).copy()
        vectors = check_numbers("linear", linear, finite=True).copy()
        if vectors.ndim != 2 or 0 in vectors.shape:
            raise ValueError(f"linear must have shape (n, d), got {vectors.shape}")
        n, d = vectors.shape
        if hessian.shape not in [(n, d, d), (1, d, d), (n, d), (1, d)]:
            raise ValueError(
                f"for linear of shape {(n, d)} the Hessians must have shape {(n, d, d)}"
                f" or {(n, d)} (diagonals), or 1 in place of n if shared; got "
                f"{hessian.shape}"
            )
        form: Form = "diagonal" if hessian.ndim == 2 else "dense"
        if form == "dense" and not _symmetric(hessian):
            raise ValueError(
                "the Hessians must be symmetric; use (H + H^T) / 2, which has the same "
                "quadratic form"
            )
        if form == "dense":
            # Symmetric to the last bit: products, eigenvalues and the minimiser each
            # read another triangle. Exactly symmetric ones stay what they are.
            hessian = (hessian + hessian.swapaxes(1, 2)) / 2
        scale = worker_scale(weights, n)
        mean, mean_linear = _mean(hessian, scale), _mean(vectors, scale)
        smallest = mean.min() if form == "diagonal" else np.linalg.eigvalsh(mean)[0]
        if smallest <= 0:
            raise ValueError(
                "the mean Hessian must be positive definite, or f has no unique "
                f"minimiser; its smallest eigenvalue is {smallest:.3g}"
            )
        problem = cls(
            hessian=hessian,
            linear=vectors,
            mean_hessian=mean,
            mean_linear=mean_linear,
            scale=scale,
            noise=_checked_noise(noise),
            start=np.zeros(d),
            num_workers=n,
            form=form,
            noise_form="isotropic" if noise else "none",
        )
        return make_arrays_read_only(problem)

    @property
    def weights(self) -> Array | None:
        """The w_i of f = sum_i w_i f_i, [n]; None where all are 1/n."""
        return None if self.scale is None else self.scale / self.num_workers

    def init_params(self) -> np.ndarray:
        """The start x_0 [d], float64."""
        return np.array(self.start, np.float64)

    def sample(
        self, worker: jax.Array, job: jax.Array, key: jax.Array
    ) -> jax.Array | None:
        """Standard normal numbers, float32 [d], [1] if common; None without noise."""
        if self.noise_form == "none":
            return None
        key = jax.random.fold_in(jax.random.fold_in(key, worker), job)
        # float32 in every run: another dtype would draw other numbers.
        shape = np.shape(self.start) if self.noise_form == "isotropic" else (1,)
        with draws():
            return jax.random.normal(key, shape, jnp.float32)

    def gradients_with(
        self, params: jax.Array, worker: jax.Array, sample: jax.Array | None
    ) -> jax.Array:
        """Stochastic gradients of n w_i f_i with these numbers as noise, [S, d]."""
        hessian, linear = (
            jax.lax.dynamic_index_in_dim(leaf, worker, keepdims=False)
            if leaf.shape[0] > 1
            else leaf[0]
            for leaf in (jnp.asarray(self.hessian), jnp.asarray(self.linear))
        )
        gradient = _product(self.form, hessian, params) - linear[None]
        if sample is not None:
            normal = sample.astype(params.dtype)
            gradient = gradient + (self.noise * normal / len(sample) ** 0.5)[None]
        if self.scale is not None:
            gradient = jnp.asarray(self.scale)[worker] * gradient
        return gradient

    def metrics(self, params: jax.Array) -> dict[str, jax.Array]:
        """Value f(x) and gradient norm, each [S]; see `Problem.metrics`."""
        product = _product(self.form, self.mean_hessian, params)
        linear = jnp.asarray(self.mean_linear)
        return {
            "loss": jnp.sum(product * params, axis=-1) / 2 - params @ linear,
            "grad_norm": lane_norm(product - linear[None]),
        }

    def local_gradients(self, params: jax.Array) -> jax.Array:
        """Full gradients of every n w_i f_i at one point x [d]: [n, d], no noise."""
        products = jax.vmap(lambda h: _product(self.form, h, params[None])[0])(
            jnp.asarray(self.hessian)
        )
        shape = (self.num_workers, params.shape[0])
        gradients = jnp.broadcast_to(products - self.linear, shape)
        if self.scale is not None:
            gradients = jnp.asarray(self.scale)[:, None] * gradients
        return gradients

    def optimum(self) -> np.ndarray:
        """The minimiser x* of f, float64 [d]: sum_i w_i (H_i x - b_i) = 0."""
        import scipy.linalg

        mean = np.asarray(self.mean_hessian, np.float64)
        linear = np.asarray(self.mean_linear, np.float64)
        if self.form == "dense":
            return scipy.linalg.solve(mean, linear, assume_a="pos")
        if self.form == "diagonal":
            return linear / mean
        return np.asarray(scipy.linalg.solveh_banded(mean, linear, lower=True))

    def optimal_value(self) -> float:
        """The minimum f(x*) = -b^T x* / 2, b = sum_i w_i b_i."""
        return -0.5 * float(np.asarray(self.mean_linear, np.float64) @ self.optimum())

    def smoothness(self, params: Any = None) -> Smoothness:
        """The exact L_i, L and mu: extreme eigenvalues of the Hessians."""
        parts = [
            _extremes(self.form, part) for part in np.asarray(self.hessian, np.float64)
        ]
        per_worker = np.array([max(abs(low), abs(high)) for low, high in parts])
        low, high = _extremes(self.form, np.asarray(self.mean_hessian, np.float64))
        return Smoothness(
            of_f=max(abs(low), abs(high)),
            per_worker=np.broadcast_to(per_worker, (self.num_workers,)) * self._scale(),
            strong_convexity=max(low, 0.0),
            certainty="exact",
        )

    def noise_variance(self, params: np.ndarray, worker: np.ndarray) -> np.ndarray:
        """The variance of the added noise, the same at all points [N, d]: [N]."""
        size = self.start.shape[0] if self.noise_form == "common" else 1
        value = 0.0 if self.noise_form == "none" else float(self.noise) ** 2
        return value * size * self._scale()[worker] ** 2

    def _scale(self) -> np.ndarray:
        """n w_i, float64 [n], on the host."""
        ones = self.scale is None
        return np.ones(self.num_workers) if ones else np.asarray(self.scale, np.float64)

    def lower_bound(self) -> LowerBound:
        """The minimum of f itself."""
        return LowerBound(self.optimal_value(), exact=True)


def _mean(values: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    """The mean over the workers of values [n, ...], or [1, ...] where they share it."""
    if scale is None or len(values) == 1:
        return values.mean(axis=0)
    return np.tensordot(scale, values, 1) / len(values)


def _extremes(form: Form, hessian: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest eigenvalue."""
    if form == "diagonal":
        values = hessian
    elif form == "tridiagonal":
        from scipy.linalg import eigvalsh_tridiagonal

        values = eigvalsh_tridiagonal(hessian[0], hessian[1, :-1])
    else:
        values = np.linalg.eigvalsh(hessian)
    values = np.asarray(values)
    return float(values.min()), float(values.max())


def _product(form: Form, hessian: Array, params: jax.Array) -> jax.Array:
    """H x for every lane: [S, d]."""
    if form == "dense":
        return params @ hessian  # symmetric
    if form == "diagonal":
        return params * hessian[None]
    diagonal, beside = hessian[0], hessian[1, :-1]
    # Not concatenated: XLA fuses padding into the sum and keeps no copies of x.
    above = jnp.pad(params[:, 1:] * beside[None], ((0, 0), (0, 1)))
    below = jnp.pad(params[:, :-1] * beside[None], ((0, 0), (1, 0)))
    return params * diagonal[None] + above + below


def quadratic(
    num_workers: int,
    num_features: int,
    *,
    mu: float = 0.1,
    smoothness: float = 1.0,
    heterogeneity: float = 1.0,
    noise: float = 0.0,
    same_hessian: bool = False,
    weights: ArrayLike | None = None,
    seed: int = 0,
) -> Quadratic:
    """Random strongly convex quadratics with chosen constants; they start at x_0 = 0.

    f_i(x) = x^T H_i x / 2 - b_i^T x, b_i = H_i x* - g_i, with x* ~ N(0, I). Exactly:

    - the eigenvalues of every H_i are d numbers from mu to L, both included, evenly
      spaced on a log scale (L alone if d = 1). So every f_i is L-smooth and mu-strongly
      convex, and the eigenvalues of the mean Hessian lie in [mu, L];
    - the eigenvectors of H_i are uniformly random, drawn for each worker. With
      `same_hessian` all workers share one diagonal H, stored as d numbers (the choice
      of axes is no restriction for SGD): the form for very many workers;
    - x* is the minimiser of f, and the local gradients there, g_i = grad f_i(x*), have
      mean 0 and (1/n) sum_i ||g_i||^2 = heterogeneity^2, with `weights` w_i in place of
      1/n in both. With `same_hessian`, grad f_i(x) - grad f(x) = g_i at every x;
    - stochastic gradients are H_i x - b_i + xi, xi ~ N(0, noise^2/d I), so
      E||xi||^2 = noise^2.

    Args:
        num_workers: n.
        num_features: d.
        mu: smallest eigenvalue, 0 < mu <= smoothness.
        smoothness: L, largest eigenvalue.
        heterogeneity: zeta >= 0, must be 0 for a single worker.
        noise: sigma >= 0.
        same_hessian: one diagonal Hessian for all workers.
        weights: None (w_i = 1/n), or n numbers > 0, which are divided by their sum: a
            job of worker i gives the gradient of n w_i f_i, noise included.
        seed: seed of the problem (not of the noise, which follows the run's).

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> problem = quadratic(4, 3, mu=0.5, heterogeneity=2.0)
        >>> local = problem.local_gradients(problem.optimum())
        >>> f"{float((local**2).sum() / 4):.4f}"
        '4.0000'
    """
    num_workers = check_count("num_workers", num_workers)
    num_features = check_count("num_features", num_features)
    smoothness = check_number("smoothness", smoothness, above=0)
    mu = check_number("mu", mu, above=0, maximum=smoothness)
    heterogeneity = check_number("heterogeneity", heterogeneity, minimum=0)
    if num_workers == 1 and heterogeneity > 0:
        raise ValueError(
            "a single worker has no heterogeneity: give heterogeneity=0, or at least "
            f"2 workers for heterogeneity={heterogeneity}"
        )
    rng = np.random.default_rng(seed)
    optimum = rng.standard_normal(num_features)
    local = np.zeros((num_workers, num_features))
    if heterogeneity > 0:
        local = rng.standard_normal(local.shape)
        scale = worker_scale(weights, num_workers)
        local -= _mean(local, scale)
        local *= heterogeneity / np.sqrt(_mean(np.square(local).sum(axis=1), scale))
    eigenvalues = np.geomspace(smoothness, mu, num_features)
    if same_hessian:
        hessians = eigenvalues[None]
        linear = eigenvalues * optimum - local
    else:
        axes = _random_rotations(rng, num_workers, num_features)
        hessians = (axes * eigenvalues) @ axes.swapaxes(1, 2)
        hessians = (hessians + hessians.swapaxes(1, 2)) / 2
        linear = hessians @ optimum - local
    return Quadratic.from_arrays(hessians, linear, noise=noise, weights=weights)


def ringmaster_quadratic(
    num_features: int = 1729, num_workers: int = 6174, *, noise: float = 0.01
) -> Quadratic:
    """The tridiagonal quadratic of the Ringmaster experiments, equal on all workers.

    f(x) = x^T A x / 2 - b^T x, A = (1/4) tridiag(-1, 2, -1), b = (-1/4, 0, ..., 0),
    so L < 1; x_0 = sqrt(d) e_1. A stochastic gradient has one number ~ N(0, noise^2)
    added to every coordinate, as in the authors' published code (arXiv 2501.16168,
    defaults as there).

    Args:
        num_features: d, at least 2.
        num_workers: n.
        noise: standard deviation of that number, >= 0.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> problem = ringmaster_quadratic(3, 5)
        >>> problem.optimum().round(3).tolist()
        [-0.75, -0.5, -0.25]
    """
    num_features = check_count("num_features", num_features, minimum=2)
    num_workers = check_count("num_workers", num_workers)
    hessian = np.stack([np.full(num_features, 0.5), np.full(num_features, -0.25)])
    hessian[1, -1] = 0.0
    linear = np.zeros(num_features)
    linear[0] = -0.25
    start = np.zeros(num_features)
    start[0] = np.sqrt(num_features)
    problem = Quadratic(
        hessian=hessian[None],
        linear=linear[None],
        mean_hessian=hessian,
        mean_linear=linear,
        scale=None,
        noise=_checked_noise(noise),
        start=start,
        num_workers=num_workers,
        form="tridiagonal",
        noise_form="common" if noise else "none",
    )
    return make_arrays_read_only(problem)


def _symmetric(matrices: np.ndarray) -> bool:
    """Whether they are up to rounding, whatever their scale."""
    skew = np.abs(matrices - matrices.swapaxes(1, 2)).max((1, 2))
    return bool((skew <= 1e-5 * np.abs(matrices).max((1, 2))).all())


def _checked_noise(noise: float) -> np.ndarray:
    return np.asarray(check_number("noise", noise, minimum=0), np.float64)


def _random_rotations(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """n uniformly random orthogonal matrices, [n, d, d]."""
    q, r = np.linalg.qr(rng.standard_normal((n, d, d)))
    # QR chooses the signs; undo that, or the rotations are not uniform.
    return q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
