"""Claims about a sweep, and whether its seeds bear them out."""

import collections
import dataclasses
from typing import Any, Literal

import msgspec
import numpy as np
import scipy.stats
import xarray as xr
from numpy.typing import NDArray

from asgrad_jax._util.text import metric_in_words
from asgrad_jax.report.tables import best_quietly
from asgrad_jax.results.results import lane_dims, tail_mean
from asgrad_jax.results.selection import (
    deterministic,
    metric_of,
    restore_dims,
    split_seeds,
)
from asgrad_jax.results.time_to import time_to_accuracy

_RESAMPLES = 9_999
_LEVEL = 0.95
_FEWEST = 8  # seeds: an interval from fewer says little
_WORDS = {
    "tail": "tail of the {}",
    "final": "last {}",
    "time": "virtual time to {} <= {:g}",
    "duration": "virtual time of the run",
}


class Claim(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One claim: of `lower`, a measure is at most `ratio` times that of `upper`.

    Attributes:
        text: the claim in words.
        lower, upper: labels of two algorithms.
        ratio: the largest median(lower) / median(upper) for which the claim holds.
        measure: "tail" (the metric over the last tenth of the records), "final" (at the
            last record), "time" (virtual, until the metric is at most `goal`) or
            "duration" (virtual time of the whole run).
        goal: for "time".
        step_size: of both; None: each at its best, chosen on the tuning seeds if there
            are any.
        compute_times: label of a model; None: the claim is about every one.
    """

    text: str
    lower: str
    upper: str
    ratio: float = 1.0
    measure: Literal["tail", "final", "time", "duration"] = "tail"
    goal: float | None = None
    step_size: float | None = None
    compute_times: str | None = None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a sweep says about a claim.

    Attributes:
        text: the claim.
        compute_times: the model that it is about, "" if there is only one.
        answer: "holds", "does not hold", "not told apart" (the interval has the claimed
            ratio in it), "too few seeds" (fewer than 8, unless all are one run) or "no
            answer" (runs that broke down, or never got there).
        ratio: median(lower) / median(upper) over the seeds, nan where there is none.
        low, high: its 95% interval; nan where nothing is random.
        seeds: how many pairs of runs.
        detail: a sentence on where the numbers are from.
    """

    text: str
    compute_times: str
    answer: str
    ratio: float
    low: float
    high: float
    seeds: int
    detail: str

    def __str__(self) -> str:
        numbers = f", ratio {self.ratio:.3g}" if np.isfinite(self.ratio) else ""
        if np.isfinite(self.low):
            numbers += f" [{self.low:.3g}, {self.high:.3g}]"
        of = f" ({self.compute_times})" if self.compute_times else ""
        return f"{self.text}{of}: {self.answer}{numbers}; {self.detail}"


def paired_interval(
    lower: NDArray[np.floating], upper: NDArray[np.floating]
) -> tuple[float, float, float]:
    """The ratio of two medians over paired seeds, and its 95% bootstrap interval.

    Seeds are drawn with replacement, both runs of a seed together (percentile method,
    9,999 resamples, fixed random numbers), by `scipy.stats.bootstrap`.

    Args:
        lower, upper: float [seeds], at least two, entry k of both from one seed.

    Returns:
        The ratio median(lower) / median(upper), and the interval's ends.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> noise = rng.normal(size=30)
        >>> ratio, low, high = paired_interval(1 + 0.1 * noise, 2 + 0.2 * noise)
        >>> round(ratio, 3), round(low, 3), round(high, 3)  # the noise is shared
        (0.5, 0.5, 0.5)
    """
    found = scipy.stats.bootstrap(
        (np.asarray(lower, np.float64), np.asarray(upper, np.float64)),
        _ratio,
        paired=True,
        n_resamples=_RESAMPLES,
        confidence_level=_LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    ratio = float(_ratio(np.asarray(lower, np.float64), np.asarray(upper, np.float64)))
    return ratio, float(found.low), float(found.high)


def _ratio(lower: NDArray, upper: NDArray, axis: int = -1) -> NDArray:
    return np.median(lower, axis=axis) / np.median(upper, axis=axis)


def verdicts(
    result: xr.Dataset, claims: list[Claim], metric: str = "grad_norm"
) -> list[Verdict]:
    """Checks every claim on the fresh seeds of a sweep, or on all if none were tuning.

    Raises:
        ValueError: for a label, a step size or a metric that the result does not have.
    """
    result = restore_dims(result)
    known = [str(v) for v in result["compute_times"].values]
    found = []
    for claim in claims:
        _check(result, claim, known)
        for times in [claim.compute_times] if claim.compute_times else known:
            verdict = _verdict(result, claim, times, metric)
            if len(known) == 1:
                verdict = dataclasses.replace(verdict, compute_times="")
            found.append(verdict)
    return found


def _check(result: xr.Dataset, claim: Claim, known: list[str]) -> None:
    names = [str(name) for name in result["algorithm"].values]
    for name in (claim.lower, claim.upper):
        if name not in names:
            raise ValueError(f"claims: {name!r} must be an algorithm, one of {names}")
    if claim.compute_times is not None and claim.compute_times not in known:
        raise ValueError(
            f"claims: {claim.compute_times!r} must be one of the compute times {known}"
        )
    if claim.measure == "time" and claim.goal is None:
        raise ValueError(f"claims: {claim.text!r} must have a goal for the time")
    if claim.step_size is not None:
        sizes = result["step_size"].values
        if not np.isclose(sizes, claim.step_size, rtol=1e-6).any():
            raise ValueError(
                f"claims: step_size {claim.step_size} must be one of {sizes.tolist()}"
            )


def _verdict(result: xr.Dataset, claim: Claim, times: str, metric: str) -> Verdict:
    about = claim.text, times
    values = [
        _values(result, claim, name, times, metric)
        for name in (claim.lower, claim.upper)
    ]
    lower, upper = values
    seeds = len(lower)
    words = _WORDS[claim.measure].format(metric_in_words(metric), claim.goal or 0)
    size = (
        "each at its best" if claim.step_size is None else f"both {claim.step_size:g}"
    )
    detail = f"{words}, step sizes {size}"
    lost = [int((~np.isfinite(v)).sum()) for v in values]
    nothing = dict(ratio=np.nan, low=np.nan, high=np.nan, seeds=seeds)
    if any(lost):
        why = "never got there" if claim.measure == "time" else "left the finite range"
        counts = (
            f"{count} of {seeds} runs of {name} {why}"
            for count, name in zip(lost, (claim.lower, claim.upper), strict=True)
            if count
        )
        # The loser never gets there at all, the other one always does.
        one_sided = claim.measure == "time" and sorted(lost) == [0, seeds]
        answer = "no answer"
        if one_sided:
            answer = "holds" if lost[0] == 0 else "does not hold"
        return Verdict(
            *about, answer, detail=f"{detail}; {', '.join(counts)}", **nothing
        )
    fixed = deterministic(result.sel(compute_times=[times]))
    if {claim.lower, claim.upper} <= {*fixed} or seeds < _FEWEST:
        ratio = float(_ratio(lower, upper))
        answer, why = "too few seeds", f"{seeds} seeds, {_FEWEST} are needed"
        if {claim.lower, claim.upper} <= {*fixed}:
            answer = "holds" if ratio <= claim.ratio else "does not hold"
            why = "deterministic"
        nan = float("nan")
        return Verdict(*about, answer, ratio, nan, nan, seeds, f"{detail}; {why}")
    ratio, low, high = paired_interval(lower, upper)
    answer = "not told apart"
    if high <= claim.ratio:
        answer = "holds"
    elif low > claim.ratio:
        answer = "does not hold"
    return Verdict(*about, answer, ratio, low, high, seeds, f"{detail}, {seeds} seeds")


def _values(
    result: xr.Dataset, claim: Claim, name: str, times: str, metric: str
) -> NDArray[np.float64]:
    """The claim's measure of one algorithm, [seeds]; inf where there is none."""
    at: dict[str, Any] = {"algorithm": name, "compute_times": times}
    cell = best_quietly(result, metric).sel(at)
    lanes = {str(d): cell[d].item() for d in lane_dims(result)}
    if claim.step_size is not None:
        sizes = result["step_size"].values
        lanes["step_size"] = sizes[np.argmin(abs(sizes - claim.step_size))]
    _, fresh = split_seeds(result)
    if claim.measure == "duration":
        return fresh["time"].isel(record=-1).sel(at).values.astype(np.float64)
    if any(np.isnan(v) for v in lanes.values()):
        return np.full(fresh.sizes["seed"], np.inf)
    if claim.measure == "tail":
        values = tail_mean(fresh, metric)
    elif claim.measure == "final":
        values = metric_of(fresh, metric).isel(record=-1).where(fresh["status"] == 0)
    else:
        values = time_to_accuracy(fresh, metric=metric, goal=claim.goal)
        values = values.isel(goal=0)
    values = values.sel(at | lanes).astype(np.float64)
    return values.fillna(np.inf).values


def counted_answers(found: list[Verdict]) -> str:
    """How many verdicts have which answer, in words.

    Example:
        >>> one = Verdict("a < b", "", "holds", 0.5, 0.4, 0.6, 20, "")
        >>> counted_answers([one, one, dataclasses.replace(one, answer="no answer")])
        '2 holds, 1 no answer'
    """
    counts = collections.Counter(verdict.answer for verdict in found)
    return ", ".join(f"{count} {answer}" for answer, count in counts.most_common())


def by_claim(found: list[Verdict]) -> list[tuple[str, list[Verdict]]]:
    """Verdicts on one claim together, in the order of the claims."""
    groups: dict[str, list[Verdict]] = {}
    for verdict in found:
        groups.setdefault(verdict.text, []).append(verdict)
    return list(groups.items())
