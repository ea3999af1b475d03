"""The server: how an accumulated direction changes the iterate of every lane."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from asgrad_jax.engine.server_branches import make_by_branches
from asgrad_jax.problems.problem import expand_trailing
from asgrad_jax.schedules.server_rule import ServerRule

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
        read: leaves [S, ...] here and [...] in the update: x_r, the iterate that the
            arriving gradient was computed at.
        max_delay: [] int32, the largest delay of the step's gradients; None unless it
            is asked for by name (`asks`), or a step has one gradient.
        loss: [S] here and [] in the update: f(x_v), the problem's own metric of the
            iterate before the step; None unless it is asked for by name.
        read_loss: f(x_r), likewise.
    """

    delay: jax.Array
    worker: jax.Array
    time: jax.Array
    step: jax.Array
    key: jax.Array
    read: Params
    max_delay: jax.Array | None = None
    loss: jax.Array | None = None
    read_loss: jax.Array | None = None


# Those that differ by lane.
_OF_LANES = ("read", "loss", "read_loss")


def takes(function: Callable, name: str) -> bool:
    """Whether a function of the user's has a parameter of that name."""
    try:
        return name in inspect.signature(function).parameters
    except ValueError:  # a builtin does not tell
        return False


def _takes_all(function: Callable) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _asked(update: Callable, told: dict[str, Any]) -> dict[str, Any]:
    """Returns what an update takes of what a server may be told."""
    told = {name: value for name, value in told.items() if value is not None}
    if _takes_all(update):
        return told
    return {name: value for name, value in told.items() if takes(update, name)}


@functools.lru_cache(maxsize=256)
def asks(
    server: ServerFactory, name: str, hyper: tuple[tuple[str, tuple[int, ...]], ...]
) -> bool:
    """Whether the update of a server has a parameter of that name.

    Args:
        server: as given to `init_server`.
        name: of what it may be told.
        hyper: names and shapes of the hyper-parameters, in one lane.
    """
    found = []

    def look(values, key):
        update = optax.with_extra_args_support(_made(server, values, key)).update
        inside = getattr(update, "parts", (update,))
        found.extend(function for function in inside if takes(function, name))

    values = {k: jax.ShapeDtypeStruct(shape, jnp.float32) for k, shape in hyper}
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))
    jax.eval_shape(look, values, key)
    return bool(found)


class RuleState(NamedTuple):
    """State of a server that follows a method's rule: the rule's, the server's own."""

    rule: Any
    own: Any


def own_state(opt_state: Any) -> Any:
    """Returns the state of the user's own server, without that of a method's rule."""
    return opt_state.own if isinstance(opt_state, RuleState) else opt_state


@dataclasses.dataclass(frozen=True)
class RuledServer:
    """A server whose directions go through a method's rule first.

    Attributes:
        rule: see `schedules.server_rule`.
        names: of the rule's numbers among the hyper-parameters.
        server: the server's own step; None is plain SGD.
    """

    rule: Callable[..., optax.GradientTransformation]
    names: tuple[str, ...]
    server: ServerFactory | None

    def __call__(self, key: jax.Array, **hyper: jax.Array):
        """Returns the transformation of one lane."""
        given = {name.partition(".")[2]: hyper.pop(name) for name in self.names}
        if takes(self.rule, "step_size"):
            given["step_size"] = hyper["step_size"]
        first = optax.with_extra_args_support(self.rule(**given))
        own = None
        if self.server is not None:
            own = optax.with_extra_args_support(_made(self.server, hyper, key))

        def init(params):
            return RuleState(
                first.init(params), None if own is None else own.init(params)
            )

        def update(updates, state, params=None, **told):
            asked = _asked(first.update, told)
            direction, rule = first.update(updates, state.rule, params, **asked)
            if own is None:
                step = -hyper["step_size"]
                updates = jax.tree.map(lambda u: step.astype(u.dtype) * u, direction)
                return updates, RuleState(rule, None)
            asked = _asked(own.update, told)
            updates, state = own.update(direction, state.own, params, **asked)
            return updates, RuleState(rule, state)

        parts = [first.update]
        if own is not None:
            parts += getattr(own.update, "parts", (own.update,))
        update.__dict__["parts"] = tuple(parts)
        return optax.GradientTransformationExtraArgs(init, update)


def ruled(
    server: ServerFactory | None, rule: ServerRule | None
) -> ServerFactory | None:
    """Returns the server of schedules with this rule, hashable as the server is."""
    if rule is None:
        return server
    return RuledServer(rule.function, tuple(rule_numbers(rule)), server)


def rule_numbers(rule: ServerRule | None) -> dict[str, float]:
    """Returns a rule's numbers by names that no hyper-parameter of a user can have."""
    if rule is None:
        return {}
    return {f"{rule.name}.{name}": value for name, value in rule.values}


def losses_told(
    server: ServerFactory | None,
    hyper: dict[str, jax.Array],
    loss_of: Callable[[Params], jax.Array],
) -> Callable[[Params, Params], dict[str, jax.Array]]:
    """Returns x_v, x_r -> the losses that a server asks for, by their names in `Extra`.

    Args:
        server, hyper: as in `init_server`.
        loss_of: f of every lane.
    """
    known = ("loss", "read_loss")
    shapes = tuple((name, value.shape[1:]) for name, value in hyper.items())
    asked = [n for n in known if server is not None and asks(server, n, shapes)]

    def told(params, read):
        points = dict(zip(known, (params, read), strict=True))
        return {name: loss_of(points[name]) for name in asked}

    return told


def server_key(key: jax.Array) -> jax.Array:
    """Returns the server's random key of a run whose mini-batches have that one."""
    return jax.random.fold_in(key, _SERVER)


def _made(server: ServerFactory, hyper: dict[str, jax.Array], key: jax.Array):
    """The transformation of one lane; a factory with a parameter `key` is given it."""
    make = server
    if takes(server, "key") and "key" not in hyper:
        make = functools.partial(server, key=key)
    try:
        return make(**hyper)
    except jax.errors.ConcretizationTypeError:  # it looks at the values
        return make_by_branches(make, hyper, _asked)


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
        extra: handed to transformations that take extra arguments, as far as they ask
            for them; None for plain SGD.
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
    of_lanes = {name: told.pop(name) for name in _OF_LANES if name in told}

    def lane(h, u, state, x, own):
        update = optax.with_extra_args_support(_made(server, h, key)).update
        updates, state = update(u, state, x, **_asked(update, told | own))
        return optax.apply_updates(x, updates), state

    new_params, new_state = jax.vmap(lane)(
        hyper, direction, opt_state, params, of_lanes
    )
    # An update must not change a type, or the scan's carry would: optax may promote.
    keep = lambda new, old: jnp.asarray(new, old.dtype)  # noqa: E731
    return jax.tree.map(keep, new_params, params), jax.tree.map(
        keep, new_state, opt_state
    )
