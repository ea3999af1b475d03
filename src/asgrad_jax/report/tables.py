"""A sweep as a table, and as a few sentences."""

import itertools
import operator
import warnings
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from asgrad_jax._util.text import in_latex, in_markdown, metric_in_words
from asgrad_jax.results.results import NONFINITE, best, lane_dims, tail_mean
from asgrad_jax.results.selection import deterministic, restore_dims, split_seeds


def best_table(result: xr.Dataset, metric: str = "grad_norm") -> pd.DataFrame:
    """Lists every algorithm at its best hyper-parameters, for a metric to minimise.

    One row per algorithm and compute-time model, smallest tail first, with the columns
    algorithm, compute_times, step_size and further hyper-parameters, tail (the metric
    over the last tenth of the records, median over seeds), lower and upper (its
    quartiles), final (the metric at the last record, median), time (virtual, at the
    end, median), tau_max (largest over seeds), not_finite (lanes of this algorithm that
    left the finite range) and on_edge (the best value lies on the edge of the grid).
    NaN where no hyper-parameters kept every seed finite.

    Raises:
        ValueError: if the metric is unknown.
    """
    result = restore_dims(result)
    chosen, lanes = best_quietly(result, metric), lane_dims(result)
    _, fresh = split_seeds(result)
    rows = []
    for compute_times, name in itertools.product(
        result["compute_times"].values, result["algorithm"].values
    ):
        where = {"algorithm": name, "compute_times": compute_times}
        one, cell = fresh.sel(where), chosen.sel(where)
        at = {str(d): cell[d].item() for d in lanes}
        found = not any(np.isnan(v) for v in at.values())
        last = one[metric].sel(at).isel(record=-1) if found else one["status"] * np.nan
        rows.append(
            {
                "algorithm": str(name),
                "compute_times": str(compute_times),
                **at,
                "tail": cell["value"].item(),
                "lower": cell["lower"].item(),
                "upper": cell["upper"].item(),
                "final": float(last.median()),
                "time": float(one["time"].isel(record=-1).median()),
                "tau_max": int(one["tau_max"].max()),
                "not_finite": int((result["status"].sel(where) == NONFINITE).sum()),
                "on_edge": bool(cell["on_edge"]),
            }
        )
    table = pd.DataFrame(rows)
    order = table.sort_values(["compute_times", "tail"], kind="stable")
    return order.reset_index(drop=True)


def best_quietly(result: xr.Dataset, metric: str) -> xr.Dataset:
    """`best`, without a warning for what the table has a column for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the best hyper-parameters")
        return best(result, metric)


def as_markdown(table: pd.DataFrame) -> str:
    """Formats a table as aligned Markdown, readable in a terminal too.

    Example:
        >>> print(as_markdown(pd.DataFrame({"name": ["a"], "value": [0.123456]})))
        | name |  value |
        | ---- | -----: |
        | a    | 0.1235 |
    """
    names = [str(c).replace("_", " ") for c in table.columns]
    cells = [[_cell(v) for v in row] for row in table.itertuples(index=False)]
    right = [pd.api.types.is_numeric_dtype(t) for t in table.dtypes]
    widths = [max(3, *map(len, column)) for column in zip(names, *cells, strict=True)]

    def line(values) -> str:
        padded = (
            v.rjust(w) if r else v.ljust(w)
            for v, w, r in zip(values, widths, right, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (w - 1) + ":" if r else "-" * w
        for w, r in zip(widths, right, strict=True)
    ]
    return "\n".join([line(names), line(rule), *map(line, cells)])


def as_latex(table: pd.DataFrame) -> str:
    r"""Formats a table for LaTeX with the package booktabs.

    Example:
        >>> print(as_latex(pd.DataFrame({"name": ["a_b"], "value": [0.123456]})))
        % needs \usepackage{booktabs}
        \begin{tabular}{lr}
        \toprule
        name & value \\
        \midrule
        a\_b & 0.1235 \\
        \bottomrule
        \end{tabular}
        <BLANKLINE>
    """
    right = [pd.api.types.is_numeric_dtype(t) for t in table.dtypes]
    names = [in_latex(str(c).replace("_", " ")) for c in table.columns]
    rows = [
        [in_latex(v) if isinstance(v, str) else in_latex(_cell(v)) for v in row]
        for row in table.itertuples(index=False)
    ]
    lines = [f"{' & '.join(row)} \\\\" for row in [names, *rows]]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            f"\\begin{{tabular}}{{{''.join('r' if r else 'l' for r in right)}}}",
            "\\toprule",
            lines[0],
            "\\midrule",
            *lines[1:],
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else ""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4g}"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return in_markdown(value)


def short_table(table: pd.DataFrame) -> pd.DataFrame:
    """Leaves out the columns that say nothing in this table."""
    table = table.drop(columns=["lower", "upper"])
    if table["compute_times"].nunique() == 1:
        table = table.drop(columns="compute_times")
    for column in ("not_finite", "on_edge"):
        if not table[column].any():
            table = table.drop(columns=column)
    return table


def summary(result: xr.Dataset, metric: str = "grad_norm") -> list[str]:
    """Says in a few sentences what the result shows, all of it computed from the data.

    For every compute-time model: the order of the tails ("=" where six digits do not
    tell two apart) with the number of seeds in which each algorithm is below the next
    one, or "deterministic" where all seeds of both are one run; and a warning where a
    best value lies on the grid's edge or lanes left the finite range.
    """
    table = best_table(result, metric)
    tail = tail_mean(split_seeds(result)[1], metric)
    lanes = [str(d) for d in lane_dims(result)]
    sentences = []
    for compute_times, part in table.groupby("compute_times", sort=False):
        rows = part.dropna(subset=["tail"]).to_dict("records")
        times = in_markdown(compute_times)
        if not rows:
            sentences.append(f"No algorithm stayed finite ({times}).")
            continue
        text = f"Tail of the {metric_in_words(metric)}, each algorithm at its best"
        several = table["compute_times"].nunique() > 1
        text += f" ({times}): " if several else ": "
        values = _told_apart([row["tail"] for row in rows])
        fixed = deterministic(result.sel(compute_times=[compute_times]))
        words = set()  # on what stands in brackets
        text += f"{in_markdown(rows[0]['algorithm'])} {values[0]}"
        for k, (low, high) in enumerate(itertools.pairwise(rows), start=1):
            name = in_markdown(high["algorithm"])
            if values[k] == values[k - 1]:
                text += f" = {name} {values[k]}"
                continue
            count = "deterministic"
            if {low["algorithm"], high["algorithm"]} <= {*fixed}:
                words.add("deterministic: all seeds give the same run")
            else:
                words.add("in brackets: in how many seeds")
                wins, seeds = _wins(tail, compute_times, low, high, lanes)
                count = f"{wins}/{seeds}"
            text += f" < {name} {values[k]} ({count})"
        sentences.append(f"{'; '.join([text, *sorted(words)])}.")
        fast, slow = (
            pick(rows, key=operator.itemgetter("time")) for pick in (min, max)
        )
        took, most = (f"{row['time']:,.0f}" for row in (fast, slow))
        if took != most:
            names = (in_markdown(row["algorithm"]) for row in (fast, slow))
            took += f" ({next(names)}) to {most} ({next(names)})"
        if "record" in result["gradients"].dims and result["gradients"].ndim == 1:
            sentences.append(
                f"{int(result['gradients'][-1]):,} gradients take {took} units of "
                "virtual time."
            )
    if edge := table.loc[table["on_edge"], "algorithm"].unique().tolist():
        sentences.append(
            "On the edge of the grid, so a wider one may do better: "
            f"{', '.join(map(in_markdown, edge))}."
        )
    if lost := int(table["not_finite"].sum()):
        total = result["status"].size
        sentences.append(f"{lost} of {total} runs left the finite range.")
    return sentences


def _told_apart(values: list[float]) -> list[str]:
    """Values with as few digits as tell them apart: 2 to 6, equal ones stay equal."""
    texts: list[str] = []
    for digits in range(2, 7):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def _wins(tail, times, low, high, lanes: list[str]) -> tuple[int, int]:
    """Counts the seeds in which one algorithm is below another, each at its best."""
    names = ["algorithm", *lanes]
    # Not as keywords: a hyper-parameter `method` would be taken for an option.
    one, other = (
        tail.sel({"compute_times": times} | {name: row[name] for name in names})
        for row in (low, high)
    )
    return int((one.values < other.values).sum()), one.size


def labels(result: xr.Dataset) -> tuple[str, str]:
    """Returns the title and the metric that a result was made for."""
    return result.attrs.get("title", ""), result.attrs.get("metric", "grad_norm")
