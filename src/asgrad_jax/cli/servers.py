"""The server's optimizer by optax's name, from a config."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import optax

from asgrad_jax._util.checks import did_you_mean
from asgrad_jax.cli.calling import check_names
from asgrad_jax.cli.own_code import is_own, label_of, load

_STEP_SIZE = "learning_rate"  # optax's name of gamma


@dataclasses.dataclass(frozen=True)
class NamedServer:
    """An optimizer of optax as a server: step_size is its learning rate.

    Args:
        name: of the function in optax, such as "adam".
        constants: its other arguments that all lanes share.

    Example:
        >>> NamedServer("sgd", (("momentum", 0.9),))(step_size=0.1).init
        <function ...>
    """

    name: str
    constants: tuple[tuple[str, Any], ...] = ()

    def __call__(self, step_size: Any, **hyper: Any) -> optax.GradientTransformation:
        """Returns the transformation of one lane."""
        make = getattr(optax, self.name)
        given = {_STEP_SIZE: step_size, **dict(self.constants), **hyper}
        return make(**given)

    def config(self) -> dict[str, Any]:
        """Returns its name and constants, for the config of a run."""
        return {"name": self.name, **dict(self.constants)}


def names() -> list[str]:
    """Returns optax's optimizers that a config can name.

    Example:
        >>> {"adam", "sgd", "lion"} <= set(names())
        True
    """
    return [
        name
        for name, make in sorted(vars(optax).items())
        if inspect.isfunction(make)
        and not name.startswith(("_", "scale_by"))
        and _parameters(make).get(_STEP_SIZE) is not None
        # A line search asks for the loss along the step, which a server has not.
        and name != "lbfgs"
    ]


def build_server(
    table: str | dict[str, Any],
) -> tuple[Callable[..., Any], dict[str, list[float]]]:
    """Makes a server and its hyper-parameters from its name or its table.

    Args:
        table: "adam", or {"name": "adam", "b1": 0.8, "b2": [0.99, 0.999]}: a list is
            an axis of the sweep, one value is the same for all lanes. The step sizes
            are the config's `step_sizes`. A name may be that of a function of the
            user's own, see `own_code`.

    Returns:
        The server, and name -> values of its further hyper-parameters.

    Raises:
        ValueError: for an unknown name or key, and for a `learning_rate`.

    Example:
        >>> build_server({"name": "sgd", "momentum": [0.0, 0.9], "nesterov": True})[1]
        {'momentum': [0.0, 0.9]}
    """
    given: dict[str, Any] = {"name": table} if isinstance(table, str) else dict(table)
    name, known = given.pop("name", None), names()
    if is_own(name):
        return _own_server(str(name), given)
    if not isinstance(name, str):
        raise ValueError(
            f"server: name must be one of optax's optimizers, got {name!r}"
        )
    if name not in known:
        raise ValueError(
            f"server: unknown name {name!r}{did_you_mean(name, known)}; known: "
            f"{', '.join(known)}"
        )
    if _STEP_SIZE in given:
        raise ValueError(
            f"server: {_STEP_SIZE} must be left out, got {given[_STEP_SIZE]!r}; it is "
            "what step_sizes says"
        )
    allowed = [key for key in _parameters(getattr(optax, name)) if key != _STEP_SIZE]
    for key, value in given.items():
        if key not in allowed:
            raise ValueError(
                f"server, {name}: unknown key {key!r}{did_you_mean(key, allowed)}; "
                f"known: {', '.join(allowed)}"
            )
        if isinstance(value, dict):
            raise ValueError(
                f"server, {name}: {key} must be a number, true, false, a text or a "
                f"list of numbers, got {value!r}"
            )
    varied = {key: value for key, value in given.items() if isinstance(value, list)}
    constants = tuple((k, v) for k, v in given.items() if k not in varied)
    return NamedServer(name, constants), varied


def _own_server(name: str, given: dict[str, Any]) -> tuple[Any, dict[str, list]]:
    """A function of the user's that returns a server, and the axes among its keys."""
    make, where = load(name, "server"), f"server, {label_of(name)}"
    if not callable(make):
        raise ValueError(
            f"{where}: must be a function of step_size that returns an optax "
            f"transformation, got {type(make).__name__}"
        )
    known = [key for key in _parameters(make) if key not in ("step_size", "key")]
    check_names(where, given, known)
    varied = {key: value for key, value in given.items() if isinstance(value, list)}
    constants = {key: value for key, value in given.items() if key not in varied}
    return functools.partial(make, **constants) if constants else make, varied


def _parameters(make: Callable[..., Any]) -> dict[str, Any]:
    return dict(inspect.signature(make).parameters)
