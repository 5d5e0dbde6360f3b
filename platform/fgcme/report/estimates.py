"""Metrics of all variants with their intervals, and their differences from the reference, as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fgcme.evaluation.comparison import Difference
from fgcme.report.comparison import stars
from fgcme.report.formatting import count, listing, percent, points, points_range
from fgcme.report.results import ResultSet
from fgcme.report.theme import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.34
_AROUND = 0.95


def estimates_figure(results: ResultSet, theme: Theme) -> Figure:
    """Left, UA of every variant with its interval; right, its difference from the reference with interval and stars."""
    names = results.variants
    figure = theme.canvas(8.6, _AROUND + _height(results), results.conditions.label)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1))
    for row, name in enumerate(names):
        estimate = results.table.estimates[name]["ua"]
        is_reference = name == results.reference
        colour = theme.second if is_reference else theme.first
        _whisker(left, row, estimate.mean, estimate.interval.low, estimate.interval.high, colour, is_reference)
        if name in results.table.comparisons:
            difference = results.table.comparisons[name].differences["ua"]
            low, high = difference.interval.low, difference.interval.high
            _whisker(right, row, difference.mean, low, high, colour)
            right.annotate(
                stars(difference.p_holm),
                (100 * difference.interval.high, row),
                xytext=(4, -3.5),
                textcoords="offset points",
                color=theme.ink,
                fontsize=10,
            )
    left.axvline(100 * results.ua(results.reference), color=theme.second, linewidth=0.8, linestyle=(0, (4, 3)))
    right.axvline(0, color=theme.second, linewidth=0.8, linestyle=(0, (4, 3)))
    left.set_yticks(range(len(names)), [results.title(name) for name in names])
    left.set_ylim(len(names) - 0.5, -0.5)
    left.set_xlabel("UA in per cent")
    right.set_xlabel("difference from the reference in points")
    right.margins(x=0.12)
    _chance(left, 100 / len(results.classes), theme)
    for axes in (left, right):
        theme.style_rows(axes)
    return figure


def describe_estimates(results: ResultSet) -> str:
    """What can be seen in `estimates_figure`."""
    ranked = sorted(results.variants, key=results.ua)
    text = (
        f"UA with 95 % intervals of {count(len(ranked), 'variant')}, {results.conditions.rule}: from "
        f"{percent(results.ua(ranked[0]))} % ({ranked[0]}) to {percent(results.ua(ranked[-1]))} % ({ranked[-1]}); "
        f"the reference, {results.reference}, has {percent(results.ua(results.reference))} %."
    )
    differing = [name for name in results.table.comparisons if results.differs_significantly(name)]
    if not differing:
        return f"{text} No difference from the reference is significant."
    differences = {name: results.table.comparisons[name].differences["ua"] for name in differing}
    told = [f"{name} ({points(differences[name].mean)} points)" for name in differing]
    return f"{text} Significantly different from the reference: {listing(told)}."


def gaps_figure(results: ResultSet, gaps: Mapping[str, Mapping[str, Difference]], heading: str, theme: Theme) -> Figure:
    """UA of every variant with epochs chosen on dev and on test, joined by a line.

    Args:
        results: with epochs chosen on dev.
        gaps: see `fgcme.report.results.selection_gaps`.
        heading: what has to be said of both.
        theme: its colours.
    """
    names = list(gaps)
    figure = theme.canvas(7.6, _AROUND + 0.25 + _height(results), heading)
    axes = figure.add_subplot()
    dev = 100 * np.array([results.ua(name) for name in names])
    test = dev + 100 * np.array([gaps[name]["ua"].mean for name in names])
    rows = np.arange(len(names))
    axes.hlines(rows, dev, test, color=theme.muted, linewidth=1.2)
    axes.plot(dev, rows, "o", color=theme.first, markersize=6, label="chosen on dev")
    axes.plot(
        test,
        rows,
        "D",
        color=theme.second,
        markersize=6,
        markerfacecolor=theme.ground,
        markeredgewidth=1.4,
        label="chosen on TEST (optimistic)",
    )
    axes.set_yticks(rows, [results.title(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("UA in per cent")
    axes.grid(axis="x", color=theme.grid, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8, labelcolor=theme.ink, borderpad=0
    )
    theme.style_axes(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def describe_gaps(gaps: Mapping[str, Mapping[str, Difference]]) -> str:
    """What can be seen in `gaps_figure`."""
    ordered = sorted(gaps, key=lambda name: gaps[name]["ua"].mean)
    mean = sum(gaps[name]["ua"].mean for name in gaps) / len(gaps)
    least, most = (f"{points(gaps[name]['ua'].mean)} ({name})" for name in (ordered[0], ordered[-1]))
    text = f"Choosing epochs on the test part changes UA by {points(mean)} points at the mean of the variants"
    beyond = [
        f"{name} ({points_range(gaps[name]['ua'].interval)})" for name in ordered if gaps[name]["ua"].interval.low > 0
    ]
    text += f", from {least} to {most}." if len(gaps) > 1 else "."
    return f"{text} The interval of the gap lies above 0 for {listing(beyond)}." if beyond else text


def _chance(axes: Axes, value: float, theme: Theme) -> None:
    """A dotted line at chance, where that is in sight."""
    low, high = axes.get_xlim()
    if low <= value <= high:
        axes.axvline(value, color=theme.muted, linewidth=1, linestyle=":")
        axes.annotate(
            "chance",
            (value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=theme.muted,
        )


def _height(results: ResultSet) -> float:
    """Inches that the rows of a figure need: a variant with a remark takes three lines."""
    return _ROW * len(results.variants) + 0.2 * len(results.remarks)


def _whisker(
    axes: Axes, row: int, mean: float, low: float, high: float, colour: str, is_reference: bool = False
) -> None:
    axes.plot([100 * low, 100 * high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot(100 * mean, row, "D" if is_reference else "o", color=colour, markersize=6)
