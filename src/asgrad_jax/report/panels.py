"""The panels of a page about schedules and about theory."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from asgrad_jax import plot
from asgrad_jax.report.certificates import RULE, Certified, certified
from asgrad_jax.report.setting import Setting
from asgrad_jax.report.tables import best_quietly, labels
from asgrad_jax.results.results import sweep_config
from asgrad_jax.results.selection import split_seeds
from asgrad_jax.results.time_to import fastest_times
from asgrad_jax.schedules.schedule import Schedule
from asgrad_jax.simulation.simulate import simulate
from asgrad_jax.theory.constants import Constants, constants
from asgrad_jax.theory.predicted_times import predicted_times
from asgrad_jax.theory.step_sizes import StepSizes, step_sizes

# What theory may say of a problem or a schedule that it does not cover.
_REFUSALS = (ValueError, TypeError, NotImplementedError, AttributeError)
_SYMBOLS = (
    ("sigma^2", "σ²"),
    ("zeta^2", "ζ²"),
    ("zeta_i^2", "ζᵢ²"),
    ("L_i", "Lᵢ"),
    ("mu of", "μ of"),
    ("F_0", "F₀"),
    ("||grad f||^2", "‖∇f‖²"),
)
_ALIKE = 1e-20  # zeta^2 over ||grad f||^2 that is rounding
_MOST_ROWS = 200_000  # of a schedule that theory looks at


@dataclasses.dataclass(frozen=True)
class TheoryPanel:
    """What theory says beside what was measured.

    Attributes:
        constants: rows of (name, value, how certain).
        advice: columns and rows of the step sizes that theory gives.
        certificates: rows on the theorem at the largest step sizes that it certifies.
        times: columns and rows of predicted and measured times, or a sentence why not.
        figures: (part of a file name, title, figure).
        notes: why something is missing.
    """

    constants: list[tuple[str, str, str]]
    advice: list[dict[str, str]]
    certificates: list[dict[str, str]]
    times: list[dict[str, str]]
    figures: list[tuple[str, str, Figure]]
    notes: list[str]


def schedules_of(
    result: xr.Dataset, setting: Setting
) -> dict[str, dict[str, Schedule]]:
    """Simulates one schedule of each: compute times -> algorithm -> schedule.

    They are those of the first fresh seed, over the gradients that were run.
    """
    _, fresh = split_seeds(result)
    seed = int(fresh["seed"].values[0])
    first = fresh.isel(seed=0, record=-1)
    known = [str(v) for v in result["compute_times"].values]
    names = [str(v) for v in result["algorithm"].values]

    def rows(times: str, name: str) -> int:
        count = first["gradients"]
        at = {"compute_times": times, "algorithm": name}
        count = count.sel({k: v for k, v in at.items() if k in count.dims})
        return max(1, int(count))

    return {
        times: {
            name: simulate(
                setting.algorithms[name],
                setting.compute_times[times],
                num_gradients=rows(times, name),
                seed=seed,
            )
            for name in names
        }
        for times in known
    }


def schedule_rows(schedules: dict[str, dict[str, Schedule]]) -> list[dict[str, Any]]:
    """One row of figures per schedule, as numbers."""
    rows = []
    for times, by_name in schedules.items():
        for name, schedule in by_name.items():
            stats = schedule.stats()
            rows.append(
                {
                    "algorithm": name,
                    "compute times": times,
                    "gradients": stats.num_gradients,
                    "discarded": stats.discarded,
                    "server steps": stats.num_steps,
                    "virtual time": float(schedule.time[-1]),
                    "mean delay": float(stats.tau_avg),
                    "largest delay": stats.tau_max,
                    "mean concurrency": float(stats.concurrency_mean),
                    "smallest share": float(stats.share.min()),
                    "largest share": float(stats.share.max()),
                }
            )
    return rows


def theory_panel(
    result: xr.Dataset, setting: Setting, schedules: dict[str, dict[str, Schedule]]
) -> TheoryPanel:
    """Constants, step sizes and times of the first compute-time model."""
    panel = TheoryPanel([], [], [], [], [], [])
    times_label, by_name = next(iter(schedules.items()))
    known = _try(panel, "constants", lambda: constants(setting.problem))
    if known is None:
        return panel
    panel.constants.extend(_constant_rows(known))
    if sweep_config(result)["server"] is not None:
        panel.notes.append(
            "Step sizes, bounds and times of the theory are those of plain SGD steps; "
            "this run has a server of its own, so they are not set beside it."
        )
        return panel
    by_name = {n: s for n, s in by_name.items() if len(s) <= _MOST_ROWS}
    if not by_name:
        panel.notes.append("The schedules are too long to be looked at one by one.")
        return panel
    eps = known.heterogeneity.grad_sq / 100
    advice = {}
    for name, schedule in by_name.items():
        found = _try(
            panel,
            f"step sizes of {name}",
            lambda s=schedule: step_sizes(
                setting.problem, s, eps=eps, num_gradients=len(s), constants=known
            ),
        )
        if found is not None:
            advice[name] = found
    one = result.sel(compute_times=[times_label])
    chosen = _chosen(one)
    panel.advice.extend(_advice_rows(chosen, advice))
    if not panel.advice:
        why = "as they divide by L, which is only estimated from below"
        why = why if known.smooth.from_below else "as they ask for something else"
        panel.notes.append(f"No theory gives a step size here, {why}.")
    model = setting.compute_times[times_label]
    found = _certificates(panel, one, advice, chosen, setting, by_name, known)
    panel.certificates.extend(c.row(name) for name, c in found.items())
    panel.times.extend(_times_rows(panel, one, model, known, eps))
    _draw(panel, one, by_name, advice, setting, known, model)
    if found:
        _add_figure(
            panel,
            "certificates",
            "The theorem at its largest step sizes: bound and measured",
            lambda: plot.certificate({n: c.found for n, c in found.items()}),
        )
    return panel


def _try(panel: TheoryPanel, what: str, ask: Callable[[], Any]) -> Any:
    """What a function returns, or None and a note on why theory does not cover it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ask()
    except _REFUSALS as error:
        panel.notes.append(f"No {what}: {error}")
        return None


def _constant_rows(known: Constants) -> list[tuple[str, str, str]]:
    rows = []
    alike = _ALIKE * known.heterogeneity.grad_sq
    for line in str(known).splitlines():
        name, rest = line[:32].strip(), line[32:]
        value, _, how = rest.partition("  ")
        for plain, symbol in _SYMBOLS:
            name = name.replace(plain, symbol)
        if name.startswith("ζ") and known.heterogeneity.zeta_sq_max <= alike:
            value = "0, up to rounding"
        rows.append((name, value.strip(), how.strip()))
    return rows


def _chosen(result: xr.Dataset) -> dict[str, float]:
    """Algorithm -> its tuned step size; nan where all runs broke down."""
    metric = result.attrs.get("metric", "grad_norm")
    found = best_quietly(result, metric).isel(compute_times=0)["step_size"]
    names = [str(name) for name in found["algorithm"].values]
    return dict(zip(names, found.values.tolist(), strict=True))


def _certificates(
    panel: TheoryPanel,
    result: xr.Dataset,
    advice: dict[str, StepSizes],
    chosen: dict[str, float],
    setting: Setting,
    schedules: dict[str, Schedule],
    known: Constants,
) -> dict[str, Certified]:
    """The theorem on every algorithm that it has a step size for."""
    [times] = result["compute_times"].values.tolist()
    seed = int(split_seeds(result)[1]["seed"].values[0])
    found = {}
    for name, rows in advice.items():
        largest = rows.applicable.get(RULE)
        if largest is None or np.isnan(chosen[name]):
            continue
        one = _try(
            panel,
            f"certificate of {name}",
            lambda name=name, largest=largest: certified(
                setting.problem,
                setting.algorithms[name],
                setting.compute_times[times],
                known,
                best=chosen[name],
                largest=largest,
                num_gradients=len(schedules[name]),
                seed=seed,
            ),
        )
        if one is not None:
            found[name] = one
    return found


def _advice_rows(
    chosen: dict[str, float], advice: dict[str, StepSizes]
) -> list[dict[str, str]]:
    rules = list(dict.fromkeys(r for rows in advice.values() for r in rows.applicable))
    rows = []
    if not rules:
        return rows
    for name, found in advice.items():
        row = {
            "algorithm": name,
            "tuned best": "" if np.isnan(chosen[name]) else f"{chosen[name]:.4g}",
        }
        for rule in rules:
            size = found.applicable.get(rule)
            row[rule] = "" if size is None else f"{size:.3g}"
        rows.append(row)
    return rows


def _times_rows(
    panel: TheoryPanel, result: xr.Dataset, model: Any, known: Constants, eps: float
) -> list[dict[str, str]]:
    """Measured times to eps, each algorithm at its fastest, and predicted orders."""
    if not (known.gap > 0 and known.smoothness > 0 and eps > 0):
        panel.notes.append("No predicted times: F_0 or L is not known.")
        return []
    found = _try(panel, "predicted times", lambda: predicted_times(eps, model, known))
    if found is None:
        return []
    times = fastest_times(result, eps).isel(eps=0, compute_times=0)
    # Half of the seeds may never get there, and inf - inf is no number.
    medians = times.quantile(0.5, "seed", method="higher")
    rows = [
        {
            "what": f"measured: {name}",
            "time": _seconds(float(medians.sel(algorithm=name))),
        }
        for name in result["algorithm"].values
    ]
    orders = {
        "fastest worker alone, shared data": found.one_worker,
        "mini-batch SGD, all workers wait": found.minibatch,
        "asynchronous SGD, shared data": found.asynchronous,
        "optimal for shared data": found.homogeneous,
        "optimal where each worker has its own data": found.heterogeneous,
    }
    rows += [
        {"what": f"order of the worst case: {name}", "time": _seconds(time)}
        for name, time in orders.items()
    ]
    return rows


def _seconds(value: float) -> str:
    if not np.isfinite(value):
        return "not reached"
    return f"{value:,.0f}" if 1e4 <= value < 1e9 else f"{value:.4g}"


def _draw(
    panel: TheoryPanel,
    result: xr.Dataset,
    schedules: dict[str, Schedule],
    advice: dict[str, StepSizes],
    setting: Setting,
    known: Constants,
    model: Any,
) -> None:
    title, metric = labels(result)
    names = [*sweep_config(result)["algorithms"]]
    if known.zeta_sq > _ALIKE * known.heterogeneity.grad_sq:
        _add_figure(
            panel,
            "correlation-profile",
            "Does the order of the workers average out?",
            lambda: plot.correlation_profile(
                schedules, setting.problem, among=names, title=title
            ),
        )
    else:
        panel.notes.append("The workers agree: their order does not matter.")
    if any(rows.applicable for rows in advice.values()):
        _add_figure(
            panel,
            "step-sizes",
            "Step sizes: measured, and recommended by theory",
            lambda: plot.step_size_advice(result, advice, metric=metric, title=title),
        )
    if known.gap > 0 and sweep_config(result).get("until") is None:
        _add_figure(
            panel,
            "time-to-accuracy",
            "Time to a small gradient, measured and predicted",
            lambda: plot.time_to_accuracy(result, model, known, title=title),
        )


def _add_figure(
    panel: TheoryPanel, name: str, title: str, make: Callable[[], Figure]
) -> None:
    figure = _try(panel, f"figure “{title}”", make)
    if figure is not None:
        panel.figures.append((name, title, figure))
