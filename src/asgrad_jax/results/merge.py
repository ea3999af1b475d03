"""Results of several sweeps as one."""

import itertools
import json
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import xarray as xr

from asgrad_jax.results.results import lane_dims, sweep_config
from asgrad_jax.results.selection import SCHEDULE_DIMS, check_result, restore_dims

# Axes, and the key of a config with label -> description.
_UNIONS = {"algorithm": "algorithms", "compute_times": "compute_times"}
_ALIKE = ("problem", "params_hash", "server", "num_gradients", "record_every")


def merge(*results: xr.Dataset) -> xr.Dataset:
    """Puts results side by side that differ along one axis: other algorithms, say.

    `xarray.concat` would keep the first result's config alone, and would count the
    gradients of all runs by the first one's.

    Args:
        *results: two or more that `sweep` or `load` returned, or selections of these,
            of the same problem, start, server, metrics, precision, `num_gradients` and
            `record_every`. Along exactly one axis (algorithm, compute_times, seed,
            step_size or another hyper-parameter) they have other values, and no value
            twice; along all others the same ones in the same order.

    Returns:
        One dataset, as of one sweep over everything. Its `config` is that sweep's; the
        attribute `merged` lists the attributes of every result (JSON), so that
        versions, device, commit and date of each are kept.

    Raises:
        TypeError: if there is no result or one is no dataset.
        ValueError: if they do not fit together; the message says what differs.

    Example:
        >>> import asgrad_jax as ag
        >>> given = dict(
        ...     compute_times=ag.compute_times.fixed([1, 2]), step_sizes=[0.1],
        ...     num_gradients=20)
        >>> problem = ag.quadratic(2, 2)
        >>> one = ag.sweep(problem, algorithms="pure_async", **given)
        >>> two = ag.sweep(problem, algorithms="minibatch", **given)
        >>> ag.merge(one, two)["algorithm"].values.tolist()
        ['pure_async', 'minibatch']
    """
    if not results:
        raise TypeError("merge must get results, such as ag.merge(one, two), got none")
    for result in results:
        if isinstance(result, list | tuple):
            raise TypeError(
                "merge must get results one by one, such as ag.merge(one, two), got a "
                f"{type(result).__name__}; write ag.merge(*results)"
            )
        check_result(result)
    whole = [restore_dims(result) for result in results]
    configs = [sweep_config(result) for result in whole]
    _check_alike(whole, configs)
    if len(whole) == 1:
        return whole[0]
    along = _axis(whole)
    joined = _concatenated(whole, along)
    joined.attrs = _attributes(whole, configs)
    return joined


def _check_alike(results: list[xr.Dataset], configs: list[dict[str, Any]]) -> None:
    """Raises unless all are of one experiment, its labels and axes apart."""
    first, asked = results[0], configs[0]
    # Up to a common time each has as many gradients as it needs.
    timed = all("until" in config for config in configs)
    for number, (result, config) in enumerate(zip(results, configs, strict=True), 1):
        for key in (*_ALIKE, "until", "metrics", "metrics_every", "precision"):
            if timed and key in ("num_gradients", "record_every"):
                continue
            if config.get(key) != asked.get(key):
                raise ValueError(
                    f"results must have the same {key} to be merged, got "
                    f"{_shown(asked.get(key))} and, in result {number}, "
                    f"{_shown(config.get(key))}; run the sweeps alike"
                )
        ours, theirs = result["gradients"].values, first["gradients"].values
        if not timed and not np.array_equal(ours, theirs):
            raise ValueError(
                f"results must have the same records to be merged, got others in "
                f"result {number}; select the same ones of all"
            )
        names = ({*map(str, r.variables)} for r in (first, result))
        if other := set.symmetric_difference(*names):
            raise ValueError(
                f"results must have the same variables to be merged, got {min(other)!r}"
                f" in only one of result 1 and result {number}; drop it there"
            )
        if config["hyperparameters"].keys() != asked["hyperparameters"].keys():
            raise ValueError(
                "results must have the same hyper-parameters to be merged, got "
                f"{[*asked['hyperparameters']]} and {[*config['hyperparameters']]}"
            )
        for axis, key in _UNIONS.items():
            for label in {*_labels(result, axis)} & {*_labels(first, axis)}:
                if config[key].get(label) != asked[key].get(label):
                    raise ValueError(
                        f"a label must be of one thing, got {label!r} in {key} of "
                        f"result 1 and, another one, of result {number}; rename one"
                    )


def _labels(result: xr.Dataset, axis: str) -> list[str]:
    return [str(label) for label in result[axis].values]


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def _axis(results: list[xr.Dataset]) -> Hashable:
    """The one axis along which the results differ."""
    axes = [*SCHEDULE_DIMS, *lane_dims(results[0])]
    first = results[0]
    other = [
        axis
        for axis in axes
        if not all(np.array_equal(first[axis].values, r[axis].values) for r in results)
    ]
    if len(other) != 1:
        raise ValueError(
            "results must differ along one axis to be merged, got "
            + (f"{len(other)}: {', '.join(map(str, other))}" if other else "none")
            + "; sweep the missing combinations, or select the same values (tune "
            "leaves the step sizes as they are with extend=0)"
        )
    values = np.concatenate([result[other[0]].values for result in results])
    found, times = np.unique(values, return_counts=True)
    if (times > 1).any():
        raise ValueError(
            f"a value of {other[0]} must be in one of the results, got "
            f"{found[times > 1][0]!s} in several; select it of one alone"
        )
    return other[0]


def _concatenated(results: list[xr.Dataset], along: Hashable) -> xr.Dataset:
    variables = {}
    for name, variable in results[0].variables.items():
        parts = [result.variables[name] for result in results]
        if along in variable.dims:
            parts = [part.transpose(*variable.dims) for part in parts]
            variable = xr.Variable.concat(parts, dim=along)
            variable.attrs = parts[0].attrs
        variables[name] = variable
    coords = {name: variables[name] for name in results[0].coords}
    rest = {name: v for name, v in variables.items() if name not in coords}
    return xr.Dataset(rest, coords)


def _union(lists: Iterable[list]) -> list:
    """The values of all lists, each once, in the order in which they come."""
    return list(dict.fromkeys(itertools.chain.from_iterable(lists)))


def _attributes(
    results: list[xr.Dataset], configs: list[dict[str, Any]]
) -> dict[str, Any]:
    config = dict(configs[0])
    for axis, key in _UNIONS.items():
        config[key] = {k: v for one in configs for k, v in one[key].items()}
        for result, one in zip(results, configs, strict=True):
            kept = {*_labels(result, axis)}
            config[key] |= {k: v for k, v in one[key].items() if k in kept}
    config["seeds"] = _union(one["seeds"] for one in configs)
    config["num_gradients"] = max(one["num_gradients"] for one in configs)
    config["hyperparameters"] = {
        name: _union(one["hyperparameters"][name] for one in configs)
        for name in config["hyperparameters"]
    }
    widths = {one.get("width") for one in configs}
    config["width"] = widths.pop() if len(widths) == 1 else None
    attrs = {
        key: ", ".join(dict.fromkeys(str(r.attrs.get(key, "")) for r in results))
        for key in ("device", "commit", "created")
    }
    own = {key: value for key, value in results[0].attrs.items() if key not in attrs}
    merged = []
    for result in results:
        merged += json.loads(result.attrs.get("merged", "null")) or [dict(result.attrs)]
    return (
        own
        | attrs
        | {
            "config": json.dumps(config),
            "versions": json.dumps(_versions(results)),
            "merged": json.dumps(merged, default=str),
        }
    )


def _versions(results: list[xr.Dataset]) -> dict[str, str]:
    """Versions by package; several of one, where the results have others."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for name, version in json.loads(result.attrs.get("versions", "{}")).items():
            found.setdefault(name, {})[str(version)] = None
    return {name: ", ".join(versions) for name, versions in found.items()}
