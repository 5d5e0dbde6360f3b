"""What a better score costs, as a picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fgcme.report.formatting import count, percent
from fgcme.report.sweep.trials import SweepData, cost_of, cost_text, score_of
from fgcme.report.theme import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A range of costs of so many times is drawn in the logarithm.
_WIDE = 20
_NAMED = 12


def pareto_figure(sweep: SweepData, theme: Theme) -> Figure:
    """Score against cost of every trial that has both; those that none beats in both are joined and named."""
    figure = theme.canvas(7.6, 3.8, sweep.label)
    axes = figure.add_subplot()
    both = [trial for trial in sweep.scored if trial.cost is not None and math.isfinite(trial.cost)]
    costs = [cost_of(trial) for trial in both]
    if min(costs) > 0 and max(costs) / min(costs) > _WIDE:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_formatter(lambda cost, _: cost_text(cost))
    others = [trial for trial in both if trial not in sweep.front]
    axes.plot(
        [cost_of(trial) for trial in others],
        [100 * score_of(trial) for trial in others],
        "o",
        color=theme.muted,
        markerfacecolor=theme.ground,
        markersize=5,
        label="other trials",
    )
    axes.step(
        [cost_of(trial) for trial in sweep.front],
        [100 * score_of(trial) for trial in sweep.front],
        where="post",
        color=theme.second,
        linewidth=1.4,
        marker="D",
        markersize=6,
        label="Pareto front",
    )
    if len(sweep.front) <= _NAMED:
        for trial in sweep.front:
            axes.annotate(
                trial.name,
                (cost_of(trial), 100 * score_of(trial)),
                xytext=(6, -10),
                textcoords="offset points",
                fontsize=7,
                color=theme.ink,
            )
    axes.margins(x=0.1, y=0.1)
    axes.set_xlabel(sweep.cost_title)
    axes.set_ylabel("dev score, %")
    axes.grid(color=theme.grid, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8, labelcolor=theme.ink, borderpad=0
    )
    theme.style_axes(axes)
    return figure


def describe_pareto(sweep: SweepData) -> str:
    """What can be seen in `pareto_figure`."""
    told = [f"{percent(score_of(each))} % at {cost_text(cost_of(each))} ({each.name})" for each in sweep.front]
    return (
        f"Dev score against {sweep.cost_title}. {count(len(told), 'trial')} that no other beats in both: "
        f"{'; '.join(told)}."
    )
