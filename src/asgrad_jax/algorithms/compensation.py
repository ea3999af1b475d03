"""Servers that correct a stale gradient by how far the iterate has moved since.

x_v is the iterate when the gradient g arrives, x_r the one that it was computed at.
"""

from typing import Any

import jax
import jax.numpy as jnp

from asgrad_jax._util.checks import check_number
from asgrad_jax.algorithms.algorithm import Algorithm
from asgrad_jax.algorithms.momentum import decay_rate
from asgrad_jax.algorithms.registry import register
from asgrad_jax.schedules.server_rule import ServerRule, server_rule, transformation


def _stateless(correct) -> Any:
    """Returns the transformation u, x_v, told -> u that keeps nothing."""

    def init(params):
        del params
        return ()

    def update(updates, state, params=None, **told):
        return correct(updates, params, **told), state

    return transformation(init, update)


@server_rule
def dc_asgd_step(strength):
    """u + lambda u * u * (x_v - x_r)."""

    def correct(u, x, *, read, **_):
        return jax.tree.map(
            lambda g, new, old: g + strength.astype(g.dtype) * g * g * (new - old),
            u,
            x,
            read,
        )

    return _stateless(correct)


@register("homogeneous", needs_values=True, knows="lambda", state="none (x_r is kept)")
def dc_asgd(strength: float = 0.04) -> Algorithm:
    """Recalled: DC-ASGD-c, stale gradients compensated by a diagonal curvature guess.

    ::

        loop: g of i arrives, computed at x_r
              x_v+1 = x_v - gamma (g + lambda g * g * (x_v - x_r))   (entry by entry)
              i starts at the new x

    Source: Zheng et al. 2017 (arXiv 1609.08326), recalled, not checked against the
    text. For homogeneous data.

    Args:
        strength: lambda >= 0; the default is said to be the paper's; 0 is
            `pure_async`.

    Raises:
        TypeError, ValueError: if lambda is not as described.

    Example:
        >>> dc_asgd(0.1).transforms
        (ServerRule(name='dc_asgd_step', values=(('strength', 0.1),)),)
    """
    strength = check_number("dc_asgd: strength", strength, minimum=0)
    rule = ServerRule.of("dc_asgd_step", strength=strength)
    return Algorithm(name="dc_asgd", transforms=(rule,))


@server_rule
def dc_asgd_adaptive_step(strength, decay, eps):
    """u + lambda_0 / sqrt(MeanSquare + eps) u * u * (x_v - x_r)."""

    def init(params):
        return jax.tree.map(jnp.zeros_like, params)

    def update(updates, state, params=None, *, read, **told):
        del told

        def mean(s, g):
            kept = decay.astype(g.dtype)
            return kept * s + (1 - kept) * g * g

        def correct(s, g, new, old):
            rate = strength.astype(g.dtype) / jnp.sqrt(s + eps.astype(g.dtype))
            return g + rate * g * g * (new - old)

        state = jax.tree.map(mean, state, updates)
        return jax.tree.map(correct, state, updates, params, read), state

    return transformation(init, update)


@register("homogeneous", needs_values=True, knows="lambda_0", state="d mean squares")
def dc_asgd_adaptive(
    strength: float = 2.0, decay: float = 0.95, eps: float = 1e-7
) -> Algorithm:
    """Recalled: DC-ASGD-a, compensation scaled by the gradients' mean squares.

    ::

        loop: g of i arrives, computed at x_r;  M <- m M + (1 - m) g * g
              lambda = lambda_0 / sqrt(M + eps)
              x_v+1 = x_v - gamma (g + lambda g * g * (x_v - x_r))   (entry by entry)
              i starts at the new x

    Source: Zheng et al. 2017 (arXiv 1609.08326), recalled, not checked against the
    text. For homogeneous data.

    Args:
        strength: lambda_0 >= 0; the defaults are said to be the paper's.
        decay: 0 <= m < 1.
        eps: > 0.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> dc_asgd_adaptive().transforms[0].name
        'dc_asgd_adaptive_step'
    """
    name = "dc_asgd_adaptive"
    rule = ServerRule.of(
        "dc_asgd_adaptive_step",
        strength=check_number(f"{name}: strength", strength, minimum=0),
        decay=decay_rate(f"{name}: decay", decay),
        eps=check_number(f"{name}: eps", eps, above=0),
    )
    return Algorithm(name=name, transforms=(rule,))


@server_rule
def gap_aware_step(step_size, decay, eps):
    """u / (1 + |x_v - x_r| / C), C the typical size of a step, entry by entry."""

    def init(params):
        return jax.tree.map(jnp.zeros_like, params), jnp.zeros_like(decay)

    def update(updates, state, params=None, *, read, **told):
        del told
        squares, share = state
        # 1 - m^t, carried along: a power would be taken again for every entry.
        share = decay * share + (1 - decay)
        # Once per lane, so that an entry takes one root and one division.
        scale, least = step_size / jnp.sqrt(share), step_size * eps

        def mean(s, g):
            kept = decay.astype(g.dtype)
            return kept * s + (1 - kept) * g * g

        def correct(s, g, new, old):
            # C is gamma times the root mean square; no 0 / 0 where gamma is 0.
            size = scale.astype(g.dtype) * jnp.sqrt(s) + least.astype(g.dtype)
            whole = size + jnp.abs(new - old)
            return g * (size / jnp.where(whole > 0, whole, 1))

        squares = jax.tree.map(mean, squares, updates)
        return jax.tree.map(correct, squares, updates, params, read), (squares, share)

    return transformation(init, update)


@register("homogeneous", needs_values=True, state="d mean squares")
def gap_aware(decay: float = 0.999, eps: float = 1e-8) -> Algorithm:
    """Recalled: gap-aware, gradients divided by how far the iterate moved, in steps.

    ::

        loop t = 1, 2, ...: g of i arrives, computed at x_r
              M <- m M + (1 - m) g * g;  C = gamma (sqrt(M / (1 - m^t)) + eps)
              x_v+1 = x_v - gamma g / (1 + |x_v - x_r| / C)          (entry by entry)
              i starts at the new x

    Source: Barkai, Hakimi, Schuster 2020 (arXiv 1909.10802), recalled, not checked
    against the text; how C is averaged follows a public port without momentum. For
    homogeneous data.

    Args:
        decay: 0 <= m < 1.
        eps: > 0.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> gap_aware().transforms[0].name
        'gap_aware_step'
    """
    decay = decay_rate("gap_aware: decay", decay)
    eps = check_number("gap_aware: eps", eps, above=0)
    rule = ServerRule.of("gap_aware_step", decay=decay, eps=eps)
    return Algorithm(name="gap_aware", transforms=(rule,))


@server_rule
def fedasync_step(step_size, mixing, a):
    """alpha_tau (u + (x_v - x_r) / gamma)."""

    def correct(u, x, *, read, delay, **_):
        def mixed(g, new, old):
            size = jnp.where(step_size > 0, step_size, 1).astype(g.dtype)
            late = (1 + delay).astype(g.dtype) ** -a.astype(g.dtype)
            return mixing.astype(g.dtype) * late * (g + (new - old) / size)

        return jax.tree.map(mixed, u, x, read)

    return _stateless(correct)


@register(
    "homogeneous", needs_values=True, knows="alpha and a", state="none (x_r is kept)"
)
def fedasync(mixing: float = 0.6, a: float = 0.5) -> Algorithm:
    """Recalled: FedAsync, the iterate is mixed with the worker's own at every arrival.

    ::

        loop: y = x_r - gamma g of i arrives with delay tau
              alpha_tau = alpha (1 + tau)^-a
              x <- (1 - alpha_tau) x + alpha_tau y;  i starts at the new x

    With `ag.local_steps(problem, Q, gamma)` y is the worker's iterate after Q local
    steps of size gamma; run it with step_size = gamma. There is no proximal term.

    Source: Xie, Koyejo, Gupta 2019 (arXiv 1903.03934), recalled, not checked against
    the text, with its polynomial staleness function. For homogeneous data.

    Args:
        mixing: 0 < alpha <= 1; the default is that of asgrad_jax.
        a: >= 0.

    Raises:
        TypeError, ValueError: if an argument is not as described.

    Example:
        >>> fedasync().transforms[0].values
        (('a', 0.5), ('mixing', 0.6))
    """
    mixing = check_number("fedasync: mixing", mixing, above=0, maximum=1)
    a = check_number("fedasync: a", a, minimum=0)
    rule = ServerRule.of("fedasync_step", mixing=mixing, a=a)
    return Algorithm(name="fedasync", transforms=(rule,))


@server_rule
def delayed_polyak_step(step_size, lower_bound):
    """u min(1, max(f(x_r) - f*, 0) / (gamma ||u||^2))."""

    def init(params):
        del params
        return ()

    def update(updates, state, params=None, *, read_loss, **told):
        del params, told
        square = sum(jnp.sum(g * g) for g in jax.tree.leaves(updates))
        gap, most = jnp.maximum(read_loss - lower_bound, 0), step_size * square
        factor = jnp.minimum(1, gap / jnp.where(most > 0, most, 1))
        scaled = jax.tree.map(lambda g: factor.astype(g.dtype) * g, updates)
        return scaled, state

    return transformation(init, update)


@register("homogeneous", needs_values=True, knows="a lower bound on f")
def delayed_polyak(lower_bound: float = 0.0) -> Algorithm:
    """Recalled: Polyak's step with delays, from the loss where the gradient was taken.

    ::

        loop: g of i arrives, computed at x_r
              gamma_k = min(gamma, max(f(x_r) - f*, 0) / ||g||^2);  x <- x - gamma_k g
              i starts at the new x

    f(x_r) is an evaluation of the whole f at every arrival.

    Source: Polyak's step size (1969) at a delayed gradient, as generally described, not
    checked against a text. For homogeneous data.

    Args:
        lower_bound: f* or a number below it, such as 0 for a loss that is never
            negative.

    Raises:
        TypeError, ValueError: if it is no finite number.

    Example:
        >>> delayed_polyak(-1.0).transforms[0].values
        (('lower_bound', -1.0),)
    """
    rule = ServerRule.of("delayed_polyak_step", lower_bound=lower_bound)
    return Algorithm(name="delayed_polyak", transforms=(rule,))
