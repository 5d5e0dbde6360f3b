"""How a variant learned, as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fgcme.report.formatting import count, percent
from fgcme.report.results import Curve, LearningCurves
from fgcme.report.theme import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def learning_figure(
    learning: LearningCurves,
    title: str,
    heading: str,
    theme: Theme,
    reference: LearningCurves | None = None,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """UA on the dev part above, training loss below: mean over folds and seeds, and one deviation either way.

    Args:
        learning: of the variant.
        title: its name.
        heading: what has to be said of it.
        theme: its colours.
        reference: of another variant, drawn behind as a dashed line without its spread.
        limits: of UA, where figures are to be compared. Losses of different kinds cannot be.
    """
    figure = theme.canvas(3.4, 3.3, heading)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for axes, name in ((above, "dev_ua"), (below, "train_loss")):
        scale = 100 if name == "dev_ua" else 1
        if reference is not None:
            behind: Curve = getattr(reference, name)
            axes.plot(
                behind.epochs,
                scale * behind.mean,
                color=theme.second,
                linewidth=1.2,
                linestyle=(0, (4, 2)),
                label="reference",
            )
        _curve(axes, getattr(learning, name), scale, theme.first if reference is not None else theme.second)
        axes.grid(color=theme.grid, linewidth=0.5)
        axes.set_axisbelow(True)
    above.set_ylabel("dev UA, %")
    below.set_ylabel("training loss")
    below.set_xlabel("epoch")
    below.xaxis.get_major_locator().set_params(integer=True)
    above.set_title(title)
    if limits is not None:
        above.set_ylim(100 * limits[0], 100 * limits[1])
    if reference is not None:
        below.legend(frameon=False, fontsize=7.5, labelcolor=theme.ink, loc="upper right")
    for axes in (above, below):
        theme.style_axes(axes)
    return figure


def describe_learning(learning: LearningCurves) -> str:
    """What can be seen in `learning_figure`."""
    ua, loss = learning.dev_ua, learning.train_loss
    text = f"Of {count(learning.trainings, 'training')}, "
    if not len(ua.epochs):
        return f"{text}no epoch is recorded by all."
    best = int(ua.mean.argmax())
    text += (
        f"the mean dev UA goes from {percent(float(ua.mean[0]))} % in epoch {ua.epochs[0]} to "
        f"{percent(float(ua.mean[-1]))} % in epoch {ua.epochs[-1]}, and is highest in epoch {ua.epochs[best]} with "
        f"{percent(float(ua.mean[best]))} % (deviation {percent(float(ua.deviation[best]))})"
    )
    if len(loss.epochs):
        text += f"; the training loss goes from {loss.mean[0]:.2f} to {loss.mean[-1]:.2f}"
    return f"{text}."


def ua_limits(learnings: Iterable[LearningCurves]) -> tuple[float, float] | None:
    """The least and the greatest UA that several figures show, with a little room; None if they show none."""
    curves = [learning.dev_ua for learning in learnings if len(learning.dev_ua.epochs)]
    if not curves:
        return None
    low = min(float((curve.mean - curve.deviation).min()) for curve in curves)
    high = max(float((curve.mean + curve.deviation).max()) for curve in curves)
    room = max(0.04 * (high - low), 0.005)
    return low - room, high + room


def _curve(axes: Axes, curve: Curve, scale: float, colour: str) -> None:
    low, high = (scale * (curve.mean + sign * curve.deviation) for sign in (-1, 1))
    axes.fill_between(curve.epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(curve.epochs, scale * curve.mean, color=colour, linewidth=1.8, marker="o", markersize=2.5)
