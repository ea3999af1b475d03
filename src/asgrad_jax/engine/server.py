"""The server: how an accumulated direction changes the iterate of every lane."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from asgrad_jax.problems.problem import expand_trailing

Params = Any
ServerFactory = Callable[..., optax.GradientTransformation]


# Names the server's random stream among those of the workers 0..n-1.
_SERVER = 2**32 - 1


class Extra(NamedTuple):
    """What a server step is told, besides the direction.

    Attributes:
        delay: [] int32, server steps between read and arrival.
        worker: [] int32, the worker whose gradient arrived.
        time: [] float, virtual time of the arrival.
        step: [] int32, v, the number of this server step; the first is 0.
        key: a random key, a function of (seed, v) alone.
    """

    delay: jax.Array
    worker: jax.Array
    time: jax.Array
    step: jax.Array
    key: jax.Array


def takes(function: Callable, name: str) -> bool:
    """Whether a function of the user's has a parameter of that name."""
    try:
        return name in inspect.signature(function).parameters
    except ValueError:  # a builtin does not tell
        return False


def _takes_all(function: Callable) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def server_key(key: jax.Array) -> jax.Array:
    """Returns the server's random key of a run whose mini-batches have that one."""
    return jax.random.fold_in(key, _SERVER)


def _made(server: ServerFactory, hyper: dict[str, jax.Array], key: jax.Array):
    """The transformation of one lane; a factory with a parameter `key` is given it."""
    if takes(server, "key") and "key" not in hyper:
        return server(**hyper, key=key)
    return server(**hyper)


def init_server(
    server: ServerFactory | None,
    hyper: dict[str, jax.Array],
    params: Params,
    key: jax.Array,
) -> Any:
    """Returns the optimizer state of S lanes (None for plain SGD).

    Args:
        server: maps hyper-parameters, given by keyword, to an optax transformation;
            None is plain SGD, x_{v+1} = x_v - step_size * u.
        hyper: name -> [S] values, one per lane; `step_size` is always there.
        params: pytree with leaves [S, ...].
        key: what `server_key` returned, the same for all lanes.

    Returns:
        The state, every leaf with a leading axis S.
    """
    if server is None:
        return None
    return jax.vmap(lambda h, x: _made(server, h, key).init(x))(hyper, params)


def server_step(
    server: ServerFactory | None,
    hyper: dict[str, jax.Array],
    direction: Params,
    opt_state: Any,
    params: Params,
    extra: Extra | None,
    key: jax.Array,
) -> tuple[Params, Any]:
    """Makes one server step in every lane.

    The transformation is built here, inside the trace, from traced hyper-parameters, so
    other values never recompile.

    Args:
        server, hyper: as in `init_server`.
        direction: pytree with leaves [S, ...], the accumulated weighted gradients u.
        opt_state: what `init_server` or the last step returned.
        params: pytree with leaves [S, ...], the iterate x_v.
        extra: handed to transformations that take extra arguments (`delay`, `worker`,
            `time`, `step`, `key`), as far as they ask for them; None for plain SGD.
        key: as in `init_server`.

    Returns:
        The iterate x_{v+1} and the new optimizer state.
    """
    if server is None:
        step_size = hyper["step_size"]

        def descend(x, u):
            return x - expand_trailing(step_size, x) * u

        return jax.tree.map(descend, params, direction), None

    told = {} if extra is None else extra._asdict()

    def lane(h, u, state, x):
        update = optax.with_extra_args_support(_made(server, h, key)).update
        asked = (
            told
            if _takes_all(update)
            else {k: told[k] for k in told if takes(update, k)}
        )
        updates, state = update(u, state, x, **asked)
        return optax.apply_updates(x, updates), state

    new_params, new_state = jax.vmap(lane)(hyper, direction, opt_state, params)
    # An update must not change a type, or the scan's carry would: optax may promote.
    keep = lambda new, old: jnp.asarray(new, old.dtype)  # noqa: E731
    return jax.tree.map(keep, new_params, params), jax.tree.map(
        keep, new_state, opt_state
    )
