"""Answers of ratings against the ratings, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from fgcme.data import Tasks
from fgcme.evaluation.ratings import RatingsSummary, read_ratings
from fgcme.report.formatting import listing
from fgcme.report.theme import LIGHT, Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# More points than that hide each other; the first by id are drawn.
_POINTS = 2_000


def ratings_figure(predictions: pa.Table, tasks: Tasks, heading: str = "", theme: Theme = LIGHT) -> Figure:
    """A point for each answer of each dimension: the rating across, the answer up; the line is where both agree.

    Args:
        predictions: all folds and seeds, with the columns of `fgcme.evaluation.ratings`.
        tasks: that were learnt.
        heading: written above the picture, small.
        theme: its colours.

    Returns:
        A figure that belongs to no window and no global state.
    """
    ratings, answered = read_ratings(
        predictions.sort_by([("id", "ascending"), ("seed", "ascending")]), tasks.dimensions
    )
    figure = theme.canvas(0.6 + 2.7 * len(tasks.dimensions), 3.3, heading)
    for axes, (name, scale) in zip(
        np.atleast_1d(figure.subplots(1, len(tasks.dimensions))), tasks.dimensions.items(), strict=True
    ):
        rated = np.flatnonzero(~np.isnan(ratings[name]))
        shown = rated[np.linspace(0, len(rated) - 1, min(len(rated), _POINTS)).astype(int)]
        axes.plot(scale, scale, color=theme.muted, linewidth=1)
        axes.scatter(ratings[name][shown], answered[name][shown], s=7, color=theme.first, alpha=0.35, linewidths=0)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel("rating")
        axes.set_ylabel("answer")
        axes.set_title(name)
        axes.grid(color=theme.grid, linewidth=0.5)
        axes.set_axisbelow(True)
        theme.style_axes(axes)
    return figure


def describe_scatter(summary: RatingsSummary) -> str:
    """What can be seen in `ratings_figure`."""
    said = [f"{name} has a CCC of {summary.metrics[f'ccc_{name}'].mean:.3f}" for name in summary.dimensions]
    return f"Answers against ratings, a point an utterance and seed: {listing(said)}."
