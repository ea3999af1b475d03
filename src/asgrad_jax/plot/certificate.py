"""A bound beside the run it speaks about, term by term."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from asgrad_jax._util.checks import check_type
from asgrad_jax._util.text import in_figure
from asgrad_jax.plot.legends import (
    has_margin,
    panel_inches,
    place_legend,
)
from asgrad_jax.plot.style import (
    COLORS,
    caption_below,
    ink,
    note,
    panels,
    plain,
    powers_of_two,
    small_size,
    text_width,
    wrapped,
)
from asgrad_jax.theory._inputs import ROUNDING
from asgrad_jax.theory.certificate import Certificate

# `bounds.own_theorem.BoundTerms`: symbol, words, marker, colour.
_TERMS = {
    "optimisation": (r"$5F_0/(\gamma T')$: the start", "o", COLORS[1]),
    "noise": (r"$8L\gamma\sigma^2$: mini-batch noise", "s", COLORS[4]),
    "bias": (r"$5C^2/\tau^2$: bias of a chunk", "^", COLORS[0]),
    "order": (r"$71L^2\gamma^2S^2$: order in a chunk", "D", COLORS[3]),
    "staleness": (r"$71L^2\gamma^2\nu^2$: jobs in flight", "v", COLORS[6]),
}
_BESIDE = 5.5  # inches: a figure as wide has its legend beside the panel
_SUM = "0.6"
_ZERO = 1e-12  # of the bound: such a term is rounding


def certificate(
    certificates: Certificate | Mapping[Any, Certificate],
    *,
    title: str = "",
    axes: Axes | None = None,
) -> Figure:
    """Draws the measured mean squared gradient norm and the bound, term by term.

    Labels that are all numbers, such as step sizes, give curves over them; others one
    column each. Where a condition of the theorem fails the sum of the terms is no
    bound: its mark is hollow or dotted. Terms that are zero throughout are named so.

    Args:
        certificates: what `theory.certificate` returned, or label -> such.
        title: goes before the facts in the caption.
        axes: an axes to draw on instead of a new figure; then without caption.

    Raises:
        ValueError: if there is none, or a label that is a number is not above zero or
            infinite.

    Example:
        >>> import asgrad_jax as ag
        >>> problem = ag.quadratic(4, 3)
        >>> schedule = ag.simulate(
        ...     "shuffled_async", ag.compute_times.fixed([1, 2, 3, 4]),
        ...     num_gradients=400)
        >>> sizes = [0.001, 0.002, 0.004]
        >>> figure = ag.plot.certificate(
        ...     {g: ag.theory.certificate(problem, schedule, g) for g in sizes})
        >>> figure.axes[0].get_xlabel()
        'step size $\\\\gamma$'

    Source: docs/theorem.md [D].
    """
    certificates, numeric = _by_label(certificates)
    items = list(certificates.values())
    x = np.array(list(certificates) if numeric else range(len(items)), float)
    figure, [panel] = panels(axes, 1, 1, size=(7, 4.4), title=title)
    totals = np.array([item.terms.total for item in items])
    valid = np.array([item.valid for item in items])
    least = _least_norm_sq(items)
    _totals(panel, x, np.where(totals > least, totals, np.nan), valid, numeric)
    _draw_terms(panel, x, items, np.maximum(totals, least / _ZERO), numeric)
    measured = np.array([item.measured.grad_sq for item in items])
    panel.plot(
        x,
        np.where(measured > least, measured, np.nan),
        color=ink(),
        linestyle=":" if numeric else "",
        linewidth=1.8,
        marker="*",
        markersize=11,
        label=r"measured: mean of $\|\nabla f(z_t)\|^2$",
        zorder=5,
    )
    plain(panel, title="bound and measured", y="squared gradient norm")
    if max(*totals, *measured) > least:
        panel.set_yscale("log")
    else:
        note(panel, "all of it is zero")
    if numeric:
        panel.set_xlabel(r"step size $\gamma$", fontsize=small_size() + 1)
        panel.set_xscale("log", base=2 if powers_of_two(x) else 10)
        panel.xaxis.set_minor_formatter(NullFormatter())
    beside = has_margin(axes, figure, [panel]) and figure.get_figwidth() >= _BESIDE
    if not numeric:
        # The legend takes a part of the width.
        width = panel_inches(panel)[0] * (0.7 if beside else 1)
        _columns(panel, [in_figure(label) for label in certificates], width)
    if beside:
        figure.legend(loc="outside right center", fontsize=small_size(), frameon=False)
    else:
        handles, said = panel.get_legend_handles_labels()
        place_legend(axes, figure, [panel], handles, [_short(text) for text in said])
    if axes is None:
        caption_below(figure, title, _facts(items))
    return figure


def _short(label: str) -> str:
    """A label where there is little room: the name of a term, or what leads on."""
    for name, (words, _, _) in _TERMS.items():
        if label.startswith(words):
            return name + label.removeprefix(words)
    lead, _, rest = label.partition(": ")
    return lead if rest else "no bound"


def _least_norm_sq(items: list[Certificate]) -> float:
    """The least squared norm that is more than rounding: gradients scale with L."""
    return ROUNDING * max(item.smoothness for item in items) ** 2


def _by_label(
    certificates: Certificate | Mapping[Any, Certificate],
) -> tuple[Mapping[Any, Certificate], bool]:
    """Label -> certificate, and whether the labels are numbers, then ascending."""
    if isinstance(certificates, Certificate):
        certificates = {certificates.given: certificates}
    wanted = "a theory.certificate, or a mapping from labels to such"
    check_type("certificates", certificates, Mapping, wanted)
    for label, one in certificates.items():
        check_type(f"certificates[{label!r}]", one, Certificate, "a theory.certificate")
    if not certificates:
        raise ValueError("certificates must have at least one, got none")
    numeric = all(isinstance(k, int | float | np.number) for k in certificates)
    if not numeric:
        return certificates, False
    for label in certificates:
        if not 0 < label < math.inf:
            raise ValueError(
                f"labels that are numbers must be finite and > 0, got {label}"
            )
    return dict(sorted(certificates.items())), True


def _draw_terms(
    axes: Axes, x: NDArray, items: list[Certificate], totals: NDArray, numeric: bool
) -> None:
    """Curves, or columns side by side: the largest would hide behind the sum."""
    for index, (name, (words, marker, color)) in enumerate(_TERMS.items()):
        values = np.array([getattr(item.terms, name) for item in items])
        zero = values <= _ZERO * totals
        axes.plot(
            x if numeric else x + 0.11 * (index - (len(_TERMS) - 1) / 2),
            np.where(zero, np.nan, values),
            color=color,
            linestyle=(0, (4, 2)) if numeric else "",
            linewidth=1.1,
            marker=marker,
            markersize=5.5,
            label=words + (" (zero)" if zero.all() else ""),
        )


def _columns(axes: Axes, labels: list[str], inches: float) -> None:
    """Names the columns of a panel so wide, upright where names are wider."""
    if max(text_width(label, small_size()) for label in labels) < inches / len(labels):
        axes.set_xticks(range(len(labels)), labels)
    else:
        labels = [wrapped(label, small_size(), 1.5) for label in labels]
        axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.grid(False, axis="x")


def _totals(
    axes: Axes, x: NDArray, totals: NDArray, valid: NDArray, numeric: bool
) -> None:
    """The sum of the terms: broad marks, behind everything else."""
    if numeric:
        axes.plot(x, totals, color=_SUM, linewidth=5, zorder=1.5)
    for keep, face, words in (
        (valid, _SUM, "bound: sum of the terms"),
        (~valid, "white", "sum of the terms, no bound:\na condition fails"),
    ):
        if not keep.any():
            continue
        style = {"color": _SUM, "label": words, "zorder": 1.6}
        at, height = x[keep], totals[keep]
        if numeric:
            mark = {"linestyle": "", "marker": "o", "markersize": 11, **style}
            axes.plot(at, height, markerfacecolor=face, **mark)
        else:
            line = "-" if face == _SUM else ":"
            axes.hlines(
                height, at - 0.36, at + 0.36, linewidth=5, linestyle=line, **style
            )


def _facts(items: list[Certificate]) -> str:
    least = _least_norm_sq(items)
    measured = [item.measured.grad_sq for item in items]
    loose = [
        item.bound / grad_sq
        for item, grad_sq in zip(items, measured, strict=True)
        if item.valid and grad_sq > least
    ]
    jobs, lengths = (
        sorted({getattr(item, name) for item in items})
        for name in ("num_jobs", "chunk_length")
    )
    facts = [
        f"L = {items[0].smoothness:.3g}",
        rf"$F_0$ = {items[0].gap:.3g}",
        f"chunks of {_range(lengths)} jobs",
        f"{_range(jobs)} jobs",
    ]
    if loose:
        facts.append(f"bound/measured {_range([round(v) for v in sorted(loose)])}")
    if min(measured) <= least:
        facts.append("no star: measured 0")
    return "; ".join(facts)


def _range(values: list[int]) -> str:
    if values[0] == values[-1]:
        return f"{values[0]:,}"
    return f"{values[0]:,} to {values[-1]:,}"
