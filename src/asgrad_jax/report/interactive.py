"""The numbers behind the figure of a page that its reader plays with."""

import base64
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import rc_context
from numpy.typing import NDArray

from asgrad_jax._util.text import metric_in_words
from asgrad_jax.plot.style import result_styles
from asgrad_jax.plot.sweep import at_common_places
from asgrad_jax.report.tables import best_quietly
from asgrad_jax.results.results import lane_dims, sweep_config
from asgrad_jax.results.selection import at_records_of, split_seeds

_POINTS = 101  # of a curve, at most
_SEEDS = 20  # drawn one by one, at most
_MOST = 1_500_000  # numbers in a page, about 8 MB
_AXES = {
    "gradients": "gradients",
    "server_steps": "server steps",
    "time": "virtual time",
    "epochs": "epochs (passes over all data)",
    "bits": "communicated bits",
}


def data(result: xr.Dataset, metric: str) -> dict[str, Any]:
    """Everything the figure needs, as plain values and base64 of float32.

    Curves are [compute times, algorithms, lanes, ...], lanes being all combinations of
    step size and further hyper-parameters. Medians and quartiles over the fresh seeds
    stand beside single seeds; those have at most 101 points and 20 seeds, and fewer
    seeds where the page would become too large.

    Args:
        result: with all dimensions and, if known, the coordinates `epochs` and `bits`.
        metric: what comes first; `loss` and `grad_norm` come too.

    Returns:
        What the script of the page reads.
    """
    if metric in result.data_vars:
        result = at_records_of(result, metric)
    _, fresh = split_seeds(result)
    lanes = lane_dims(result)
    stacked = fresh.stack(lane=lanes, create_index=False)
    axes = {name: words for name, words in _AXES.items() if name in result.coords}
    if "until" in sweep_config(result):  # what the runs have in common comes first
        axes = {"time": axes["time"]} | axes
    metrics = list(dict.fromkeys([metric, "grad_norm", "loss"]))
    metrics = [name for name in metrics if name in result.data_vars]
    some = np.unique(np.linspace(0, result.sizes["record"] - 1, _POINTS).astype(int))
    thinned = stacked.isel(record=some)
    numbers = thinned["status"].size * len(some) * len(metrics)
    seeds = min(_SEEDS, fresh.sizes["seed"])
    seeds = max(1, min(seeds, int(seeds * _MOST / max(numbers, 1))))
    chosen = best_quietly(result, metric)
    with rc_context({"text.color": "black"}):  # the page is white in any style
        styles = result_styles(result)
    names = [str(name) for name in result["algorithm"].values]
    curves = {
        name: {
            "single": packed(_ordered(thinned[name].isel(seed=slice(seeds)))),
            "bands": {along: _bands(thinned, name, along) for along in axes},
        }
        for name in metrics
    }
    return {
        "algorithms": names,
        "colors": [styles[name].color for name in names],
        "dashes": [_dash(styles[name].linestyle) for name in names],
        "compute_times": [str(v) for v in result["compute_times"].values],
        "lanes": [_words(values) for values in _lane_values(stacked, lanes)],
        "best": _best_lanes(chosen, stacked, lanes),
        "seeds": [int(s) for s in fresh["seed"].values[:seeds]],
        "seeds_in_all": int(fresh.sizes["seed"]),
        "axes": list(axes.items()),
        "metrics": [(name, metric_in_words(name)) for name in metrics],
        "x": {along: packed(_places(thinned, along, seeds)) for along in axes},
        "curves": curves,
    }


def packed(values: NDArray) -> dict[str, Any]:
    """A float32 array as base64 of its little-endian bytes, with its shape.

    Example:
        >>> packed(np.array([[1.0, 2.0]]))
        {'shape': [1, 2], 'data': 'AACAPwAAAEA='}
    """
    with np.errstate(over="ignore"):
        flat = np.ascontiguousarray(values, "<f4")
    text = base64.b64encode(flat.tobytes()).decode("ascii")
    return {"shape": list(flat.shape), "data": text}


def _ordered(values: xr.DataArray) -> NDArray:
    dims = ("compute_times", "algorithm", "lane", "seed", "record")
    return values.transpose(*dims).values


def _places(result: xr.Dataset, along: str, seeds: int) -> NDArray:
    """x of single seeds: [compute times, algorithms, seeds, records]."""
    dims = ("compute_times", "algorithm", "seed", "record")
    whole = result[along].broadcast_like(result["time"])
    return whole.transpose(*dims).values[:, :, :seeds]


def _bands(result: xr.Dataset, metric: str, along: str) -> dict[str, Any]:
    """Quartiles over seeds [times, algorithms, lanes, 3, points], x [t, a, points].

    Coordinates that differ between seeds are read at common places, as the printed
    figures do it.
    """
    values = _ordered(result[metric])
    shape = values.shape[:3]
    x = _places(result, along, result.sizes["seed"])
    common_x = np.empty((*shape[:2], values.shape[-1]))
    bands = np.empty((*shape, 3, values.shape[-1]))
    log = bool(np.nanmin(values, initial=np.inf) >= 0)
    for c, a in np.ndindex(*shape[:2]):
        own = x[c, a]
        same = bool((own == own[:1]).all())
        common_x[c, a] = own[0]
        for lane in range(shape[2]):
            read = values[c, a, lane].astype(np.float64)
            if not same:
                common_x[c, a], read = at_common_places(
                    own, read, log=log, points=own.shape[-1]
                )
            # A run that broke down is worse than any number.
            high = np.where(np.isnan(read), np.inf, read)
            with np.errstate(invalid="ignore"):
                quartiles = np.quantile(high, [0.25, 0.5, 0.75], axis=0)
            bands[c, a, lane] = np.where(np.isfinite(quartiles), quartiles, np.nan)
    return {"x": packed(common_x), "y": packed(bands)}


def _lane_values(stacked: xr.Dataset, lanes: list) -> list[dict[str, float]]:
    columns = [np.atleast_1d(stacked[str(d)].values) for d in lanes]
    names = [str(d) for d in lanes]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _words(values: dict[str, float]) -> str:
    words = (
        f"{'step size' if name == 'step_size' else name.replace('_', ' ')} {value:.4g}"
        for name, value in values.items()
    )
    return ", ".join(words)


def _best_lanes(
    chosen: xr.Dataset, stacked: xr.Dataset, lanes: list
) -> list[list[int | None]]:
    """The lane of every [compute times][algorithm], None where all runs broke down."""
    rows = _lane_values(stacked, lanes)

    def of(cell: xr.Dataset) -> int | None:
        at = {str(d): cell[str(d)].item() for d in lanes}
        return rows.index(at) if at in rows else None

    return [
        [of(chosen.sel(algorithm=a, compute_times=c)) for a in chosen["algorithm"]]
        for c in chosen["compute_times"]
    ]


def _dash(style: Any) -> str:
    """Matplotlib's line style as Plotly's, of lines two pixels wide.

    Example:
        >>> _dash("--"), _dash((0, (5, 1, 1, 1)))
        ('dash', '10px,2px,2px,2px')
    """
    if isinstance(style, str):
        return {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}[style]
    _, lengths = style
    return ",".join(f"{2 * length}px" for length in lengths)
