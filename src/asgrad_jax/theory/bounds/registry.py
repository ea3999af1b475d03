"""What is known of every bound: one record per theorem, and the page of all."""

import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar, get_args

from asgrad_jax._util.checks import check_bool, check_choice, check_number
from asgrad_jax._util.docstrings import are_kept, docstring, first_line
from asgrad_jax._util.registry import Registry
from asgrad_jax.theory.bounds.arguments import ARGUMENTS, Argument, positive

Tag = Literal["V", "C", "A", "R", "D"]
Data = Literal["homogeneous", "heterogeneous", "any"]
Hidden = Literal["included", "hidden", "hidden, L = F_0 = 1"]

GRADIENT_SQ = "the squared gradient norm E||grad f(x)||^2"

TAGS = {
    "V": "read in the paper's text",
    "C": "read in the authors' published code",
    "A": 'from an abstract, a review or a note: "as described there", not a theorem',
    "R": "recalled, not checked against the text",
    "D": "derived or measured by asgrad_jax",
}
_DATA = {
    "homogeneous": "all workers share one objective",
    "heterogeneous": "every worker has its own objective",
    "any": "shared or own objectives",
}
_UNITS = {
    "included": "",
    "hidden": ", hidden constant one",
    "hidden, L = F_0 = 1": ", L = F_0 = 1, hidden constant one",
}
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Bound:
    """One statement of theory; call it as its function.

    Attributes:
        name, function: the function, with its arguments checked.
        summary, remarks: first line and rest of its docstring, without sections.
        formula: the statement, in the symbols of the source.
        gives: what the number is, with its unit.
        goal: what eps bounds; "" where there is no eps.
        data: "homogeneous" (all workers share one objective), "heterogeneous" (every
            worker has its own) or "any".
        constants: "included", or "hidden" where the constant of the O is put to one,
            "hidden, L = F_0 = 1" where the source leaves out L and F_0 too.
        conditions: beyond L-smooth f_i and noise of mean zero with variance sigma^2.
        source: paper and place; how it was read.
        tag: provenance, a key of `TAGS`.
        arguments: name -> what it means: symbol, unit, range.
    """

    name: str
    function: Callable[..., Any]
    summary: str
    remarks: str
    formula: str
    gives: str
    goal: str
    data: Data
    constants: Hidden
    conditions: str
    source: str
    tag: Tag
    arguments: Mapping[str, str]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The value of the bound; see `help(bound.function)`."""
        return self.function(*arguments, **named)

    def __str__(self) -> str:
        arguments = (
            f"`{name}` {text.rstrip('.')}" for name, text in self.arguments.items()
        )
        rows = (
            ("gives", self.gives + _UNITS[self.constants]),
            ("data", _DATA[self.data]),
            ("conditions", self.conditions),
            ("arguments", "; ".join(arguments)),
            ("source", f"{self.source} [{self.tag}]"),
        )
        listed = "\n".join(_item(f"- {head}: {text}") for head, text in rows if text)
        formula = textwrap.indent(self.formula, "    ")
        parts = (self.summary, formula, self.remarks, listed)
        return "\n\n".join(part for part in parts if part) + "\n"


def _item(text: str) -> str:
    """Wraps an item of a list; a line that began with an operator would be another."""
    text = re.sub(" ([-+<>=]=?) ", "\xa0\\1\xa0", text)
    return textwrap.fill(text, 88, subsequent_indent="  ").replace("\xa0", " ")


_REGISTRY: Registry[Bound] = Registry("a bound")


def bound(
    *,
    formula: str,
    gives: str,
    source: str,
    tag: Tag,
    data: Data,
    goal: str = "",
    constants: Hidden = "included",
    conditions: str = "",
    returns: str = "",
    arguments: Mapping[str, Argument | str] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Registers a function as a bound, with its arguments checked and documented.

    The function's docstring has a first line, remarks if there are any, and an
    `Example:`. Formula, arguments, result, errors and source are added.

    Args:
        formula, gives, source, tag, data, constants, conditions: see `Bound`.
        goal: see `Bound`; needed where there is an argument eps.
        returns: text on the result where it is more than one number.
        arguments: name -> `Argument`, or its text alone, where `ARGUMENTS` has another
            or none.

    Returns:
        A decorator; the function that it returns can be called as before.

    Raises:
        TypeError: if an argument is described nowhere.
        ValueError: if a choice is unknown, the goal is missing, the docstring is, or
            another module has a bound of that name.

    Example:
        >>> @bound(formula="2 L F_0/eps", gives="server steps", goal=GRADIENT_SQ,
        ...        source="the descent lemma, summed", tag="D", data="any")
        ... def gradient_descent_steps(eps: float, *, smoothness: float, gap: float):
        ...     '''Steps of gradient descent with gamma = 1/L.'''
        ...     return 2 * smoothness * gap / eps
        >>> gradient_descent_steps(0.5, smoothness=1.0, gap=1.0)
        4.0
        >>> get("gradient_descent_steps").tag
        'D'
    """
    check_choice("tag", tag, get_args(Tag))
    check_choice("data", data, get_args(Data))
    check_choice("constants", constants, get_args(Hidden))

    def register(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__name__
        known = _arguments_of(function, goal, arguments or {})
        text, _, example = docstring(function).partition("Example:\n")
        summary, _, remarks = text.partition("\n")
        if not summary and are_kept():
            raise ValueError(f"{name} must have a docstring; its first line is shown")
        checked = _checked(function, known)
        record = Bound(
            name=name,
            function=checked,
            summary=summary,
            remarks=remarks.strip(),
            formula=inspect.cleandoc(formula),
            gives=gives,
            goal=goal,
            data=data,
            constants=constants,
            conditions=conditions,
            source=source,
            tag=tag,
            arguments={key: argument.text for key, argument in known.items()},
        )
        checked.__doc__ = _docstring(record, returns, example)
        return _REGISTRY.register(record)(checked)

    return register


def names() -> list[str]:
    """Returns the names of all bounds, the package's in the order of their page.

    Example:
        >>> names()[:2]
        ['constant_step_order', 'constant_step_bounded_order']
    """
    return _REGISTRY.names()


def get(name: str) -> Bound:
    """Returns the record of a bound; print it, or call it.

    Raises:
        ValueError: if no bound has that name; the known ones are listed.

    Example:
        >>> get("delay_adaptive_order")(0.5, 1.0, concurrency=4)
        12.0
        >>> get("delay_adaptive_order").formula
        'sigma^2/eps^2 + tau_C/eps'
    """
    return _REGISTRY.properties(name)


def page(only: Iterable[str] | None = None) -> str:
    """Returns the Markdown page with these bounds; the package's where left out.

    Example:
        >>> page().splitlines()[0]
        '# Bounds'
    """
    records = _builtin() if only is None else [get(name) for name in only]
    lines = [_HEAD]
    lines += [f"| [{tag}] | {words} |" for tag, words in TAGS.items()]
    module = None
    for record in records:
        home = inspect.getmodule(record.function)
        if home is not module:
            module = home
            title = first_line(home).rstrip(".")
            lines.append(f"\n## {title}\n\n`{record.function.__module__}`")
        lines.append(f"\n### {record.name}\n")
        lines.append(str(record).rstrip())
    return "\n".join(lines) + "\n"


_HEAD = """\
# Bounds

Generated from the registry by `theory.bounds.page()`; a test compares.

Every statement of theory that the package can evaluate. Everywhere f = (1/n) sum_i f_i,
the f_i are L-smooth, f >= f*, F_0 = f(x_0) - f*, and a stochastic gradient has noise of
mean zero and a variance of at most sigma^2. `theory.bounds.get(name)` gives the record,
which can be called; `help(theory.bounds.get(name).function)` has an example.

An *order* has every hidden constant (of O, Omega, Theta) put to one: ratios and slopes
mean something, heights do not. eps is a goal for what the entry says: mostly the
*squared* gradient norm.

| tag | meaning |
| --- | --- |"""


def _builtin() -> list[Bound]:
    package = __name__.removesuffix("registry")
    modules = {name: str(function.__module__) for name, function in _REGISTRY}
    return [
        get(name)
        for name, module in modules.items()
        # In this module the example above is run.
        if module.startswith(package) and module != __name__
    ]


def _arguments_of(
    function: Callable[..., Any], goal: str, given: Mapping[str, Argument | str]
) -> dict[str, Argument]:
    """Text and check of every argument, in their order."""
    known = {}
    for name in inspect.signature(function).parameters:
        if name in given:
            argument = given[name]
            common = ARGUMENTS.get(name, Argument(""))
            if isinstance(argument, str):  # another text, the same check
                argument = common._replace(text=argument)
            known[name] = argument
        elif name == "eps":
            if not goal:
                raise ValueError(
                    f"goal must say what eps of {function.__name__} bounds, got none"
                )
            known[name] = Argument(f"goal for {goal}, > 0.", positive)
        elif name in ARGUMENTS:
            known[name] = ARGUMENTS[name]
        else:
            raise TypeError(
                f"argument {name!r} of {function.__name__} must be described; give "
                f"arguments={{{name!r}: ...}}"
            )
    return known


def _checked(function: Callable[P, R], known: Mapping[str, Argument]) -> Callable[P, R]:
    """The function, with every argument that is given checked and converted."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            call = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # Python's own message, with the name
        for name, value in call.arguments.items():
            if signature.parameters[name].annotation is bool:
                check_bool(name, value)
            elif check := known[name].check:
                checked_value = check(name, value)
                if isinstance(checked_value, int):  # formulas are evaluated in floats
                    check_number(name, checked_value)
                call.arguments[name] = checked_value
        return function(*call.args, **call.kwargs)

    return checked


def _docstring(record: Bound, returns: str, example: str) -> str:
    given = "\n".join(
        textwrap.fill(f"{name}: {text}", 84, subsequent_indent="    ")
        for name, text in record.arguments.items()
    )
    result = f"{record.gives[0].upper()}{record.gives[1:]}{_UNITS[record.constants]}."
    parts = [
        record.summary,
        textwrap.indent(record.formula, "    "),
        record.remarks,
        f"Conditions: {record.conditions}." if record.conditions else "",
        "Args:\n" + textwrap.indent(given, "    "),
        "Returns:\n" + textwrap.indent(returns or result, "    "),
        "Raises:\n    TypeError: if an argument is not a number.\n"
        "    ValueError: if a number is out of its range.",
        f"Example:\n{example.rstrip()}" if example else "",
        f"Source: {record.source} [{record.tag}]. Data: {_DATA[record.data]}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
