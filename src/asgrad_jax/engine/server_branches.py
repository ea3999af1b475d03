"""Servers that look at a traced hyper-parameter while they are made.

`optax.warmup_cosine_decay_schedule(0.0, peak, ...)` asks `if peak_value == 0.0`, which
a traced peak cannot answer. Here it is answered both ways: each answer gives a
transformation, all of them make the step, and every lane keeps what its own answer
gave. What branches have in common XLA computes once.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

_MOST = 6  # questions along one path

_COMPARED = ("eq", "ne", "lt", "le", "gt", "ge")
_CALCULATED = ("add", "sub", "mul", "truediv", "pow", "mod", "floordiv")
_KEPT = (
    *_COMPARED,
    *_CALCULATED,
    *(f"r{name}" for name in _CALCULATED),
    *("neg", "pos", "abs"),
)

Make = Callable[..., optax.GradientTransformation]


class _Branch(NamedTuple):
    """What a server is where certain questions have certain answers.

    Attributes:
        holds: [] bool, whether they do.
        made: the transformation; None where making it raised.
    """

    holds: jax.Array
    made: Any


class _Given(NamedTuple):
    """The answers of one path, and what was asked along it."""

    answers: tuple[bool, ...]
    asked: list[jax.Array]

    def ask(self, value: jax.Array) -> bool:
        """Answers whether a traced value is true; after the known answers, no."""
        number = len(self.asked)
        self.asked.append(value != 0)
        if number == _MOST:
            raise ValueError(
                f"a server must ask for at most {_MOST} values of hyper-parameters "
                "while it is made, got more; write its schedule as a function of the "
                "count in JAX"
            )
        return self.answers[number] if number < len(self.answers) else False


def _answering(tracer: Any, ask: Callable[[jax.Array], bool]) -> Any:
    """Makes a tracer, and what is computed of it, answer `if` by `ask`."""
    kind = type(tracer)

    def kept(name: str) -> Callable:
        def operation(self, *others):
            found = getattr(kind, name)(self, *others)
            if isinstance(found, jax.core.Tracer) and type(found) is kind:
                return _answering(found, ask)
            return found

        return operation

    def answer(self) -> bool:
        self.__class__ = kind
        return ask(self)

    body: dict[str, Any] = {f"__{n}__": kept(f"__{n}__") for n in _KEPT}
    body |= {"__slots__": (), "__hash__": kind.__hash__, "__bool__": answer}
    tracer.__class__ = type(kind.__name__, (kind,), body)
    return tracer


def _made(make: Make, hyper: dict[str, Any], given: _Given) -> Any:
    """Returns what is made along a path, or the error that it raised."""
    kinds = {name: type(value) for name, value in hyper.items()}
    for value in hyper.values():
        if isinstance(value, jax.core.Tracer):
            _answering(value, given.ask)
    try:
        return make(**hyper)
    except jax.errors.JAXTypeError:
        raise
    except (ArithmeticError, TypeError, ValueError) as error:
        return error
    finally:
        for name, value in hyper.items():
            if isinstance(value, jax.core.Tracer):
                value.__class__ = kinds[name]


def _paths(make: Make, hyper: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yields (whether a path's answers hold, what is made along it)."""
    todo: list[tuple[bool, ...]] = [()]
    while todo:
        answers = todo.pop()
        given = _Given(answers, [])
        found = _made(make, hyper, given)
        if len(given.asked) > _MOST:
            raise found
        if len(given.asked) > len(answers):
            todo += [(*answers, False), (*answers, True)]
            continue
        signs = zip(given.asked, answers, strict=True)
        holds = [asked if yes else ~asked for asked, yes in signs]
        yield jnp.all(jnp.stack(holds)), found


def make_by_branches(
    make: Make, hyper: dict[str, Any], asked_of: Callable[[Callable, dict], dict]
) -> optax.GradientTransformationExtraArgs:
    """Returns the transformation of one lane, whatever its hyper-parameters are.

    Args:
        make: hyper-parameters, by keyword, -> an optax transformation.
        hyper: name -> traced value.
        asked_of: (update, what it may be told) -> what of it the update takes.

    Returns:
        The transformation: exactly that of the lane's values. Where making it with
        these raises, its updates are NaN.

    Raises:
        ValueError, TypeError: what making it raises with all answers; if there are too
            many questions, or the state depends on an answer.
    """
    found = list(_paths(make, hyper))
    errors = [made for _, made in found if isinstance(made, Exception)]
    if len(errors) == len(found):
        raise errors[0]
    branches = [
        _Branch(holds, None)
        if isinstance(made, Exception)
        else _Branch(holds, optax.with_extra_args_support(made))
        for holds, made in found
    ]
    branches.sort(key=lambda branch: branch.made is None)
    updates_of = [b.made.update for b in branches if b.made is not None]

    def init(params):
        states = [b.made.init(params) for b in branches if b.made is not None]
        _check_alike(states)
        return _select(branches, states)

    def update(updates, state, params=None, **told):
        pairs = [f(updates, state, params, **asked_of(f, told)) for f in updates_of]
        steps, states = zip(*pairs, strict=True)
        steps = _select(branches, list(steps))
        for holds in (b.holds for b in branches if b.made is None):
            steps = jax.tree.map(
                lambda x, h=holds: jnp.where(h, jnp.full_like(x, jnp.nan), x), steps
            )
        return steps, _select(branches, list(states))

    parts = (getattr(f, "parts", (f,)) for f in updates_of)
    update.__dict__["parts"] = tuple(itertools.chain(*parts))
    return optax.GradientTransformationExtraArgs(init, update)


def _select(branches: list[_Branch], values: list) -> Any:
    """Returns what the branch that holds gave; values are of those that were made."""
    chosen = values[0]
    for branch, other in zip(branches[1:], values[1:], strict=False):
        chosen = jax.tree.map(
            lambda old, new, h=branch.holds: jnp.where(h, new, old), chosen, other
        )
    return chosen


def _check_alike(states: list) -> None:
    def form(state):
        shapes = jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), state)
        return jax.tree.structure(state), jax.tree.leaves(shapes)

    if any(form(state) != form(states[0]) for state in states[1:]):
        raise TypeError(
            "the state of a server must have one form for all hyper-parameters, got "
            "another where a comparison of one has another answer; choose between "
            "servers outside, in two runs"
        )
