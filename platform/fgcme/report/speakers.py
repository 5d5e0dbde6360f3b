"""The spread over speakers, and the change of each emotion's recall, as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fgcme.report.formatting import count, percent, points
from fgcme.report.results import ResultSet
from fgcme.report.theme import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW = 0.38


def speakers_figure(results: ResultSet, theme: Theme) -> Figure:
    """UA of each speaker under each variant: a row for each variant, with a dot for each speaker and a bar at the mean.

    A speaker's dot is at the same height within every row. In each row, the speaker with the lowest UA is named.
    """
    names = results.variants
    figure = theme.canvas(7.6, 1.0 + _ROW * len(names) + 0.2 * len(results.remarks), results.conditions.label)
    axes = figure.add_subplot()
    heights = np.linspace(-0.28, 0.28, len(results.speakers))
    for row, name in enumerate(names):
        values = 100 * results.by_speaker[name]["ua"]
        colour = theme.second if name == results.reference else theme.first
        axes.plot(values, row + heights, "o", color=colour, markersize=4.5, alpha=0.75, markeredgewidth=0)
        axes.plot(values.mean(), row, "|", color=theme.ink, markersize=17, markeredgewidth=1.6)
        lowest = int(values.argmin())
        axes.annotate(
            results.speakers[lowest],
            (values[lowest], row + heights[lowest]),
            xytext=(-5, -2.5),
            textcoords="offset points",
            ha="right",
            fontsize=7,
            color=theme.muted,
        )
    axes.set_yticks(range(len(names)), [results.title(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    every = 100 * np.concatenate([results.by_speaker[name]["ua"] for name in names])
    width = max(float(np.ptp(every)), 1.0)
    # On the left there must be room for a name.
    axes.set_xlim(every.min() - 0.2 * width, every.max() + 0.06 * width)
    axes.set_xlabel("UA of a speaker in per cent, mean over seeds")
    theme.style_rows(axes)
    return figure


def describe_speakers(results: ResultSet) -> str:
    """What can be seen in `speakers_figure`."""
    values = results.by_speaker[results.reference]["ua"]
    low, high = int(values.argmin()), int(values.argmax())
    text = (
        f"UA of {count(len(values), 'speaker')} under {results.reference}: from {percent(float(values[low]))} % "
        f"({results.speakers[low]}) to {percent(float(values[high]))} % ({results.speakers[high]})."
    )
    others = [name for name in results.variants if name != results.reference]
    if others:
        spreads = {name: float(np.ptp(results.by_speaker[name]["ua"])) for name in others}
        widest, narrowest = max(spreads, key=lambda name: spreads[name]), min(spreads, key=lambda name: spreads[name])
        text += (
            f" Of the other variants the range is widest for {widest} ({percent(spreads[widest])} points) and narrowest"
            f" for {narrowest} ({percent(spreads[narrowest])} points)."
        )
    return text


def recall_changes(results: ResultSet) -> np.ndarray:
    """[variants but the reference, K] recall of each class minus the reference's, as a fraction."""
    others = [name for name in results.variants if name != results.reference]
    base = results.recalls(results.reference)
    return np.array([results.recalls(name) - base for name in others]).reshape(len(others), len(base))


def recalls_figure(results: ResultSet, theme: Theme) -> Figure:
    """The reference's recall of each class in the first row; below, each variant's change against it, as a heat map."""
    changes = 100 * recall_changes(results)
    base = 100 * results.recalls(results.reference)
    names = [results.reference, *(name for name in results.variants if name != results.reference)]
    width, height = 1.9 + 0.72 * len(base), 1.3 + 0.3 * len(names) + 0.2 * len(results.remarks)
    figure = theme.canvas(max(width, 4.4), height, results.conditions.label)
    axes = figure.add_subplot()
    # What is no number stays without colour.
    cells = np.vstack([np.full(len(base), np.nan), changes])
    reach = max(1.0, float(np.nanmax(np.abs(cells))))
    axes.imshow(cells, cmap=theme.signed_shades(), vmin=-reach, vmax=reach, aspect="auto")
    for row, column in np.ndindex(cells.shape):
        value = float(base[column] if row == 0 else changes[row - 1, column])
        if np.isnan(value):
            continue
        axes.text(
            column,
            row,
            f"{percent(value / 100)} %" if row == 0 else points(value / 100),
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold" if row == 0 else "normal",
            color=theme.ink,
        )
    axes.axhline(0.5, color=theme.ink, linewidth=0.8)
    axes.set_xticks(range(len(base)), results.classes)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_yticks(range(len(names)), [results.title(name) for name in names])
    theme.style_axes(axes)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    return figure


def describe_recalls(results: ResultSet) -> str:
    """What can be seen in `recalls_figure`."""
    changes = np.nan_to_num(recall_changes(results))
    others = [name for name in results.variants if name != results.reference]
    base = results.recalls(results.reference)
    worst, best = int(np.nanargmin(base)), int(np.nanargmax(base))
    text = (
        f"{results.reference} has its lowest recall for {results.classes[worst]} ({percent(float(base[worst]))} %) "
        f"and its highest for {results.classes[best]} ({percent(float(base[best]))} %)."
    )
    for extreme, verb in ((changes.argmax(), "rise"), (changes.argmin(), "fall")):
        variant, emotion = np.unravel_index(extreme, changes.shape)
        change = float(changes[variant, emotion])
        if (change > 0) == (verb == "rise") and change:
            text += f" The largest {verb} is that of {results.classes[emotion]} under {others[variant]}, "
            text += f"{points(change)} points."
    return text
