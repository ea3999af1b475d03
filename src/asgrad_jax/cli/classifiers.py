"""Ready networks as a config names them: their data, options and held-out rows."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from asgrad_jax import datasets, problems
from asgrad_jax._util.checks import check_count, check_number
from asgrad_jax.cli.calling import call
from asgrad_jax.cli.scales import unknown
from asgrad_jax.problems import splits
from asgrad_jax.problems.linear_models import RowOptions

_SPLITS = {
    "contiguous": splits.contiguous,
    "iid": splits.iid,
    "sorted": splits.sorted_by_label,
    "dirichlet": splits.dirichlet,
    "classes_per_worker": splits.classes_per_worker,
    "quantity_skew": splits.quantity_skew,
}
METRICS = ("accuracy", "error")  # on held-out rows


class _Kind(NamedTuple):
    """How a classifier is made from a config.

    Attributes:
        make: the function of `ag.problems`.
        scores: of (params, inputs, options) to [..., C].
        rows: of the keys in `more` to inputs and labels.
        more: name -> default of the keys besides those of `make`.
    """

    make: Callable[..., Any]
    scores: Callable[..., jax.Array]
    rows: Callable[..., tuple[NDArray, NDArray]]
    more: dict[str, Any]


def _labelled(data: str, num_rows: int | None) -> tuple[NDArray, NDArray]:
    """Rows [N, d] with a column of ones, and labels."""
    if data == "digits":
        features, labels = datasets.digits()
    else:
        images, labels = _pictures(data, None)
        features = images.reshape(len(images), -1)
        features = np.column_stack([features, np.ones(len(features))])
    return _first(num_rows, features, labels)


def _pictures(data: str, num_rows: int | None) -> tuple[NDArray, NDArray]:
    """Images [N, H, W, c], and labels."""
    if data == "digits":
        features, labels = datasets.digits()
        return _first(num_rows, features[:, :-1].reshape(-1, 8, 8, 1), labels)
    if not Path(data).exists():
        raise ValueError(
            f"{unknown('data', data, ['digits'])}; there is no npz file or folder of "
            "idx files either"
        )
    found = datasets.load_images(data)
    images = found.images[..., None] if found.images.ndim == 3 else found.images
    return _first(num_rows, images, found.labels)


def _text(
    data: str | None, characters: int, context: int, stride: int | None
) -> tuple[NDArray, NDArray]:
    """Windows [N, T + 1] of a text file or of generated text; labels are in them."""
    if data is None:
        text = datasets.generated_text(characters, seed=0)
    elif Path(data).is_file():
        text = Path(data).read_text("utf-8")[: check_count("characters", characters)]
    else:
        raise ValueError(
            f"data must be a text file, got {data!r}; there is no such file"
        )
    windows, _ = datasets.text_windows(text, context=context, stride=stride)
    return windows, windows[:, 1:]


def _first(
    count: int | None, inputs: NDArray, labels: NDArray
) -> tuple[NDArray, NDArray]:
    if count is None:
        return inputs, labels
    count = check_count("num_rows", count, maximum=len(inputs))
    return inputs[:count], labels[:count]


_OF_IMAGES = {"data": "digits", "num_rows": None}
_KINDS = {
    "multinomial_logistic": _Kind(
        problems.multinomial_logistic,
        lambda x, rows, _: rows @ x,
        _labelled,
        _OF_IMAGES,
    ),
    "mlp": _Kind(
        problems.mlp,
        lambda x, rows, _: problems.mlp_scores(x, rows),
        _labelled,
        _OF_IMAGES,
    ),
    "cnn": _Kind(
        problems.cnn,
        lambda x, rows, _: problems.cnn_scores(x, rows),
        _pictures,
        _OF_IMAGES,
    ),
    "transformer": _Kind(
        problems.transformer,
        lambda x, rows, given: problems.transformer_scores(
            x, rows[:, :-1], heads=given.get("heads", 2)
        ),
        _text,
        {"data": None, "characters": 20_000, "context": 16, "stride": None},
    ),
}


def _maker(name: str, kind: _Kind) -> Callable[..., Any]:
    """The function of a kind, whose signature has all the keys of its table."""

    def build(num_workers: int, held_out: float = 0.0, **given: Any) -> Any:
        reading = {key: given.pop(key, value) for key, value in kind.more.items()}
        inputs, labels = kind.rows(**reading)
        share = check_number("held_out", held_out, minimum=0, below=1)
        order = np.random.default_rng(given.get("seed", 0)).permutation(len(inputs))
        rest, kept = map(np.sort, np.split(order, [round(len(order) * share)]))
        if isinstance(table := given.get("partition"), dict):
            given["partition"] = _split(table, labels[kept], num_workers)
        rows = (
            (inputs[kept],) if name == "transformer" else (inputs[kept], labels[kept])
        )
        problem = kind.make(*rows, num_workers, **given)
        if not len(rest):
            return problem

        def accuracy(params: Any, held_out: Any) -> jax.Array:
            scores = kind.scores(params, held_out[0], given)
            return jnp.mean(jnp.argmax(scores, axis=-1) == held_out[1])

        def error(params: Any, held_out: Any) -> jax.Array:
            return 1 - accuracy(params, held_out)

        metrics = dict(zip(METRICS, (accuracy, error), strict=True))
        return problems.with_metrics(problem, metrics, (inputs[rest], labels[rest]))

    build.__name__ = name
    build.__doc__ = kind.make.__doc__
    build.__signature__ = _signature(kind)  # type: ignore[attr-defined]
    return build


def _signature(kind: _Kind) -> inspect.Signature:
    """num_workers, the options of the maker and of rows, and the keys of the data."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    found = {"num_workers": inspect.Parameter("num_workers", keyword, annotation=int)}
    for name, parameter in inspect.signature(kind.make).parameters.items():
        if parameter.kind is keyword:
            found[name] = parameter
    for name, annotation in RowOptions.__annotations__.items():
        found[name] = inspect.Parameter(
            name, keyword, default=None, annotation=annotation
        )
    more = {"held_out": 0.0, **kind.more}
    for name, value in more.items():
        found[name] = inspect.Parameter(
            name, keyword, default=value, annotation=type(value)
        )
    return inspect.Signature([*found.values()])


def _split(table: dict[str, Any], labels: NDArray, num_workers: int) -> splits.Split:
    """The split of a table with a `name` and the arguments of that function."""
    table = dict(table)
    name = table.pop("name", None)
    if name not in _SPLITS:
        raise ValueError(f"partition: {unknown('name', str(name), [*_SPLITS])}")
    arguments = {"labels": labels, "num_workers": num_workers} | table
    return call(f"partition, {name}", _SPLITS[name], arguments)


KINDS = {name: _maker(name, kind) for name, kind in _KINDS.items()}
