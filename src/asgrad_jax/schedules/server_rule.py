"""What a method's server does to a direction before it steps, by name and numbers."""

import dataclasses
import inspect
import json
from collections.abc import Callable
from typing import Any

from asgrad_jax._util.checks import check_number, check_type
from asgrad_jax._util.registry import Function, Registry

_RULES: Registry[None] = Registry("a server rule")


def server_rule(function: Function) -> Function:
    """Decorator that makes a server rule known by its function's name.

    The function takes numbers by keyword and returns an optax transformation of the
    direction u, before the server's own step, x - step_size u for plain SGD. A
    parameter `step_size` gets the step size. The transformation may ask for what a
    server may ask for (see `ag.run`), x_r among it.

    Example:
        >>> import optax
        >>> @server_rule
        ... def tamed(strength):
        ...     return optax.scale(1 / (1 + strength))
        >>> ServerRule.of("tamed", strength=1).function is tamed
        True
        >>> _RULES.remove("tamed")  # a doctest leaves things as they were
    """
    return _RULES.register(None)(function)


def transformation(init: Callable[..., Any], update: Callable[..., Any]) -> Any:
    """Returns the optax transformation of these two functions, with extra arguments."""
    import optax  # with the first run, not with the package

    return optax.GradientTransformationExtraArgs(init, update)


@dataclasses.dataclass(frozen=True)
class ServerRule:
    """The rule of a method's server, as data; one of the `transforms` of a method.

    Attributes:
        name: of a function with the decorator `server_rule`.
        values: (name, number) of its arguments; traced, so others compile nothing anew.
    """

    name: str
    values: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, name: str, **values: float) -> "ServerRule":
        """Returns the rule of that name with these numbers, checked.

        Raises:
            TypeError, ValueError: if no rule has the name, a number is none or not
                finite, or they are not the function's arguments.
        """
        numbers = [(k, check_number(f"{name}: {k}", v)) for k, v in values.items()]
        rule = cls(name, tuple((k, float(v)) for k, v in sorted(numbers)))
        wanted = {*inspect.signature(rule.function).parameters} - {"step_size"}
        if wanted != {*values}:
            raise TypeError(
                f"{name} must be given {', '.join(sorted(wanted)) or 'no numbers'}, "
                f"got {', '.join(values) or 'none'}"
            )
        return rule

    @property
    def function(self) -> Callable[..., Any]:
        """The registered function; ValueError lists the known names."""
        return _RULES.find(self.name)

    @property
    def text(self) -> str:
        """Name and numbers as one line, for hashes and files."""
        return json.dumps([self.name, dict(self.values)])

    @classmethod
    def from_text(cls, text: str) -> "ServerRule":
        """Returns the rule that has this `text`.

        Example:
            >>> rule = ServerRule("halve", (("c", 0.5),))
            >>> ServerRule.from_text(rule.text) == rule
            True
        """
        name, values = json.loads(text)
        return cls(name, tuple(values.items()))

    def __call__(self, schedule: Any) -> Any:
        """Returns the schedule with this rule; ValueError if it has one already."""
        if schedule.server_rule is not None:
            raise ValueError(
                f"{self.name}: the schedule must have no rule for the server yet, got "
                f"{schedule.server_rule.name}; take another inner algorithm"
            )
        return dataclasses.replace(schedule, server_rule=self)


def check_rule(rule: Any) -> None:
    """Raises unless it is None or a known rule."""
    if rule is not None:
        check_type("server_rule", rule, ServerRule, "a ServerRule or None")
        _RULES.find(rule.name)
