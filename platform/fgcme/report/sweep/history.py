"""How a sweep went, trial by trial, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fgcme.report.formatting import percent
from fgcme.report.sweep.trials import STATES, State, SweepData, score_of
from fgcme.report.theme import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKS: dict[State, str] = {
    "finished": "o",
    "stopped early": "v",
    "running": "s",
    "interrupted": "D",
    "failed": "x",
}


def history_figure(sweep: SweepData, theme: Theme) -> Figure:
    """The score of each trial in the order of their start, and the best so far; trials without a score are below."""
    from matplotlib.ticker import MaxNLocator

    figure = theme.canvas(7.6, 3.4, sweep.label)
    axes = figure.add_subplot()
    order = np.arange(1, len(sweep.trials) + 1)
    scores = np.array([np.nan if trial.score is None else 100 * trial.score for trial in sweep.trials])
    best = np.fmax.accumulate(scores)
    axes.step(order, best, where="post", color=theme.second, linewidth=1.8, label="best so far")
    low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
    room = max(0.08 * (high - low), 0.5)
    axes.set_ylim(low - 2.4 * room, high + room)
    for state in STATES:
        own = np.array([trial.state == state for trial in sweep.trials])
        if not own.any():
            continue
        axes.plot(
            order[own],
            np.where(np.isnan(scores), low - 1.5 * room, scores)[own],
            linestyle="",
            marker=_MARKS[state],
            markersize=5.5,
            color=theme.first if state == "finished" else theme.muted,
            markerfacecolor=theme.first if state == "finished" else theme.ground,
            markeredgewidth=1.2,
            label=state,
        )
    axes.set_xlabel("trials in the order in which they started")
    axes.set_ylabel("dev score, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0.5, len(order) + 0.5)
    axes.grid(axis="y", color=theme.grid, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=6, frameon=False, fontsize=8, labelcolor=theme.ink, borderpad=0
    )
    theme.style_axes(axes)
    return figure


def describe_history(sweep: SweepData) -> str:
    """What can be seen in `history_figure`."""
    best, first = sweep.ranked[0], sweep.scored[0]
    text = (
        f"{sweep.census}. The first score is {percent(score_of(first))} %, the best "
        f"{percent(score_of(best))} %, by {best.name}, number {list(sweep.trials).index(best) + 1} in the order in "
        "which trials started"
    )
    if len(sweep.ranked) > 1:
        middle = float(np.median([score_of(trial) for trial in sweep.scored]))
        text += f"; half of the scores lie below {percent(middle)} %"
    return f"{text}."
