"""Servers with adaptive or normalised steps on top of asynchronous directions."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from asgrad_jax._util.checks import check_bool, check_number
from asgrad_jax.algorithms.algorithm import Algorithm, Count
from asgrad_jax.algorithms.asynchronous import fedbuff
from asgrad_jax.algorithms.delay_aware import ringmaster, ringmaster_stops
from asgrad_jax.algorithms.event_method import EventMethod
from asgrad_jax.algorithms.momentum import decay_rate
from asgrad_jax.algorithms.protocol import Decision, Job, Server
from asgrad_jax.algorithms.registry import register
from asgrad_jax.algorithms.round_algorithm import RoundAlgorithm
from asgrad_jax.schedules.server_rule import ServerRule, server_rule, transformation


def _amsgrad(b1, b2, eps):
    """Returns init and a function (u, state) -> u, state of AMSGrad as in FADAS."""

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return zeros, zeros, zeros

    def apply(u, state):
        m, v, most = state

        def average(beta, old, new):
            beta = beta.astype(new.dtype)
            return beta * old + (1 - beta) * new

        m = jax.tree.map(lambda old, g: average(b1, old, g), m, u)
        v = jax.tree.map(lambda old, g: average(b2, old, g * g), v, u)
        most = jax.tree.map(jnp.maximum, most, v)
        u = jax.tree.map(lambda a, b: a / (jnp.sqrt(b) + eps.astype(a.dtype)), m, most)
        return u, (m, v, most)

    return init, apply


@server_rule
def fadas_step(b1, b2, eps):
    """AMSGrad of the buffers' means, without bias correction."""
    init, apply = _amsgrad(b1, b2, eps)

    def update(updates, state, params=None, **told):
        del params, told
        return apply(updates, state)

    return transformation(init, update)


@server_rule
def fadas_delay_step(step_size, b1, b2, eps, threshold):
    """The same with step min(gamma, 1 / tau) where the largest delay is above tau_c."""
    init, apply = _amsgrad(b1, b2, eps)

    def update(updates, state, params=None, *, max_delay, **told):
        del params, told
        u, state = apply(updates, state)
        tau = jnp.maximum(max_delay, 1).astype(step_size.dtype)
        size = jnp.where(step_size > 0, step_size, 1)
        late = jnp.minimum(1, 1 / (tau * size))
        factor = jnp.where(max_delay > threshold, late, 1)
        return jax.tree.map(lambda g: factor.astype(g.dtype) * g, u), state

    return transformation(init, update)


def _moments(name: str, b1: float, b2: float, eps: float) -> dict[str, float]:
    return dict(
        b1=decay_rate(f"{name}: b1", b1),
        b2=decay_rate(f"{name}: b2", b2),
        eps=check_number(f"{name}: eps", eps, above=0),
    )


_FADAS = dict(
    unbiased=True,
    needs_values=True,
    knows="AMSGrad's numbers",
    state="d sum, 3 d moments",
)


@register("heterogeneous", **_FADAS)
def fadas(
    gradients_per_step: Count = 10,
    concurrency: Count | None = None,
    *,
    b1: float = 0.9,
    b2: float = 0.99,
    eps: float = 1e-8,
) -> Algorithm:
    """Recalled: FADAS, FedBuff whose server steps by AMSGrad.

    ::

        loop: g of i arrives, into the buffer;  k ~ Uniform[n] gets a job at x
              if the buffer has b gradients: D = its mean;  empty it
                  m <- b1 m + (1 - b1) D;  v <- b2 v + (1 - b2) D * D
                  w <- max(w, v);  x <- x - gamma m / (sqrt(w) + eps)

    Jobs of several local steps are `ag.local_steps`.

    Source: Wang et al. 2024 (arXiv 2407.18365), recalled, not checked against the text.
    For heterogeneous data too, as far as steps scaled entry by entry allow.

    Args:
        gradients_per_step, concurrency: of `fedbuff`.
        b1, b2: 0 <= b1, b2 < 1.
        eps: > 0.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> fadas().transforms[0].name
        'fadas_step'
    """
    rule = ServerRule.of("fadas_step", **_moments("fadas", b1, b2, eps))
    buffered = fedbuff(gradients_per_step, concurrency)
    return dataclasses.replace(buffered, name="fadas", transforms=(rule,))


@register("heterogeneous", **_FADAS)
def fadas_delay_adaptive(
    gradients_per_step: Count = 10,
    concurrency: Count | None = None,
    *,
    threshold: float = 1.0,
    b1: float = 0.9,
    b2: float = 0.99,
    eps: float = 1e-8,
) -> Algorithm:
    """Recalled: FADAS with smaller steps where the oldest gradient is late.

    ::

        as `fadas`, with the step eta = min(gamma, 1 / tau) instead of gamma where tau,
        the largest delay in the buffer, is above tau_c

    Source: Wang et al. 2024 (arXiv 2407.18365), recalled, not checked against the text;
    the default of tau_c is that of published code. For heterogeneous data too, as
    `fadas` is.

    Args:
        gradients_per_step, concurrency, b1, b2, eps: of `fadas`.
        threshold: tau_c >= 0.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> fadas_delay_adaptive(threshold=4).transforms[0].name
        'fadas_delay_step'
    """
    name = "fadas_delay_adaptive"
    rule = ServerRule.of(
        "fadas_delay_step",
        threshold=check_number(f"{name}: threshold", threshold, minimum=0),
        **_moments(name, b1, b2, eps),
    )
    buffered = fedbuff(gradients_per_step, concurrency)
    return dataclasses.replace(buffered, name=name, transforms=(rule,))


def _averaged(alpha_of, scale_of, direction_of) -> Any:
    """Returns m <- alpha g + (1 - alpha) m, u = scale direction(m), of the step v."""

    def update(updates, state, params=None, *, step, **told):
        del params, told
        alpha, scale = alpha_of(step), scale_of(step)

        def average(old, g):
            share = alpha.astype(g.dtype)
            return share * g + (1 - share) * old

        m = jax.tree.map(average, state, updates)
        u = jax.tree.map(lambda d: scale.astype(d.dtype) * d, direction_of(m))
        return u, m

    def init(params):
        return jax.tree.map(jnp.zeros_like, params)

    return transformation(init, update)


_TINY = 1e-10  # keeps 0 / 0 away, as in the published code


def _normalised(m):
    """Returns m / ||m||, over all leaves."""
    norm = jnp.sqrt(sum(jnp.sum(x * x) for x in jax.tree.leaves(m)))
    return jax.tree.map(lambda x: x / (norm + _TINY).astype(x.dtype), m)


def _orthogonal(m):
    """Returns U V^T for every matrix U S V^T, x / ||x|| for the other leaves."""

    def leaf(x):
        if x.ndim != 2:
            return x / (jnp.sqrt(jnp.sum(x * x)) + _TINY)
        left, sizes, right = jnp.linalg.svd(x, full_matrices=False)
        least = sizes[0] * max(x.shape) * jnp.finfo(x.dtype).eps
        return (left * (sizes > least)) @ right

    return jax.tree.map(leaf, m)


@server_rule
def normalised_momentum(alpha):
    """m <- alpha u + (1 - alpha) m;  m / ||m||."""
    return _averaged(lambda v: alpha, lambda v: jnp.ones_like(alpha), _normalised)


@server_rule
def muon_momentum(alpha):
    """m <- alpha u + (1 - alpha) m;  U V^T of every matrix of m."""
    return _averaged(lambda v: alpha, lambda v: jnp.ones_like(alpha), _orthogonal)


@server_rule
def agnostic_momentum(exponent):
    """m <- alpha u + (1 - alpha) m, alpha = v^-1/2;  (v + 1)^-exponent m / ||m||."""

    def alpha_of(v):
        return 1 / jnp.sqrt(jnp.maximum(v, 1).astype(exponent.dtype))

    def scale_of(v):
        return (v + 1).astype(exponent.dtype) ** -exponent

    return _averaged(alpha_of, scale_of, _normalised)


def _on_ringmaster(
    name: str, rule: str, max_delay: Count | None, alpha: float, stop: bool
) -> Algorithm | RoundAlgorithm:
    """Ringmaster whose server follows a rule with momentum."""
    alpha = check_number(f"{name}: alpha", alpha, above=0, maximum=1)
    check_bool(f"{name}: stop", stop)
    inner = ringmaster_stops(max_delay) if stop else ringmaster(max_delay)
    transforms = (ServerRule.of(rule, alpha=alpha),)
    return dataclasses.replace(inner, name=name, transforms=transforms)


_LMO = dict(bounded_delay=True, discards=True, needs_values=True, state="d momentum")


@register("homogeneous", **_LMO, knows="R and alpha")
def ringmaster_normalised(
    max_delay: Count | None = "all", alpha: float = 0.1, *, stop: bool = False
) -> Algorithm | RoundAlgorithm:
    """Ringmaster with normalised momentum: steps of length gamma, fresh gradients only.

    ::

        loop: g of i arrives with delay tau
              if tau < R: m <- alpha g + (1 - alpha) m;  x <- x - gamma m / ||m||
              i starts at the current x

    Source: Ringmaster LMO (arXiv 2605.18174) for the Euclidean ball, momentum as in the
    published code (class Momentum_Normalized_RingmasterASGD of `ringmaster-lmo`), which
    stops late workers (`stop=True`, compared with it row by row in a test); otherwise
    late gradients are ignored on arrival, as its abstract has it. For homogeneous data.

    Args:
        max_delay: R >= 1; the default is n; None = no limit.
        alpha: 0 < alpha <= 1; the default is that of asgrad_jax.
        stop: jobs whose delay reaches R are stopped, as in `ringmaster_stops`.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> ringmaster_normalised(6).max_delay
        6
    """
    return _on_ringmaster(
        "ringmaster_normalised", "normalised_momentum", max_delay, alpha, stop
    )


@register("homogeneous", **_LMO, knows="R and alpha")
def ringmaster_muon(
    max_delay: Count | None = "all", alpha: float = 0.1, *, stop: bool = False
) -> Algorithm | RoundAlgorithm:
    """Ringmaster with a Muon step: matrices of the momentum are made orthogonal.

    ::

        loop: g of i arrives with delay tau
              if tau < R: m <- alpha g + (1 - alpha) m
                          x <- x - gamma U V^T for every matrix m = U S V^T,
                          x <- x - gamma m / ||m|| for every other leaf
              i starts at the current x

    Source: Ringmaster LMO (arXiv 2605.18174) for the spectral norm, as its abstract
    describes it, by an exact singular value decomposition; the published code (class
    RingmasterMuonASGD of `ringmaster-lmo`) iterates, adds Nesterov's momentum and stops
    late workers (`stop=True`). For homogeneous data.

    Args:
        max_delay: R >= 1; the default is n; None = no limit.
        alpha: 0 < alpha <= 1; the default is that of asgrad_jax.
        stop: jobs whose delay reaches R are stopped, as in `ringmaster_stops`.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> ringmaster_muon(6).max_delay
        6
    """
    return _on_ringmaster("ringmaster_muon", "muon_momentum", max_delay, alpha, stop)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GrowingThreshold(EventMethod):
    """Ringmaster with R = max(1, floor(sqrt(v))) after v steps.

    Attributes:
        stop: whether late jobs are stopped, by the R of the step before.
    """

    stop: bool = False

    def start(self, server: Server) -> range:
        """Gives everybody a job."""
        vars(self).update(reads=[0] * server.num_workers)
        return range(server.num_workers)

    def arrive(self, server: Server, job: Job) -> Decision:
        """Steps unless the gradient is too late."""
        v, i, threshold = server.version, job.worker, max(1, math.isqrt(server.version))
        if not self.stop:
            fresh = v - job.read < threshold
            return Decision(weight=1.0 if fresh else None, step=fresh, assign=[i])
        reads = vars(self)["reads"]
        reads[i] = v + 1
        late = [j for j, read in enumerate(reads) if v + 1 - read >= threshold]
        for j in late:
            reads[j] = v + 1
        return Decision(stop=late, assign=[i, *late])


@register("homogeneous", discards=True, needs_values=True, state="d momentum")
def ringmaster_agnostic(*, stop: bool = False) -> GrowingThreshold:
    """Ringmaster with normalised momentum and no parameter but the step size.

    ::

        loop: g of i arrives with delay tau, after v steps
              if tau < max(1, floor(sqrt(v))): alpha = 1 / sqrt(max(v, 1))
                  m <- alpha g + (1 - alpha) m
                  x <- x - gamma / (v + 1)^(3/4) m / ||m||
              i starts at the current x

    Source: parameter-agnostic Ringmaster LMO (arXiv 2605.18174), numbers as in the
    published code (class Momentum_Normalized_RingmasterASGD of `ringmaster-lmo`), which
    stops late workers (`stop=True`, compared with it row by row in a test); otherwise
    late gradients are ignored on arrival. For homogeneous data.

    Args:
        stop: after each step, jobs whose delay has reached the R that it was taken with
            are stopped.

    Raises:
        TypeError: if `stop` is not a bool.

    Example:
        >>> ringmaster_agnostic().transforms[0].name
        'agnostic_momentum'
    """
    rule = ServerRule.of("agnostic_momentum", exponent=0.75)
    check_bool("ringmaster_agnostic: stop", stop)
    return GrowingThreshold(name="ringmaster_agnostic", transforms=(rule,), stop=stop)
