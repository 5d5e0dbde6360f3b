"""What good trials share, as a picture in parallel coordinates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fgcme.experiment import Parameter, Value
from fgcme.report.formatting import count, percent
from fgcme.report.sweep.trials import SweepData, Trial, score_of, value_text
from fgcme.report.theme import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.56
# The ends of the values along a row, and the place of parameters that were not drawn.
_LEFT, _RIGHT, _ABSENT = 0.08, 0.98, 0.0
# The share of the distance between two choices over which trials of one choice are spread.
_SPREAD = 0.3
_TICKS = 5


def coordinates_figure(sweep: SweepData, order: Sequence[str], theme: Theme) -> Figure:
    """A row for each parameter with its values along it, and a line down the rows for each trial, to its score.

    Rows instead of columns, so that names and values can be read however many parameters there are.

    Args:
        sweep: of trials of which some have a score.
        order: the parameters, from top to bottom.
        theme: its colours.
    """
    names = [name for name in order if any(name in trial.configuration for trial in sweep.scored)]
    figure = theme.canvas(8.6, 1.2 + _ROW * (len(names) + 1), sweep.label)
    axes = figure.add_subplot()
    low, high = score_of(sweep.ranked[-1]), score_of(sweep.ranked[0])
    for row, name in enumerate(names):
        _parameter_row(axes, row, name, sweep, theme)
    ends = {_LEFT: percent(low), _RIGHT: percent(high)} if high > low else {(_LEFT + _RIGHT) / 2: percent(low)}
    _axis(axes, len(names), {place: f"{text} %" for place, text in ends.items()}, theme)
    _trial_lines(axes, names, sweep, theme)
    axes.set_yticks(range(len(names) + 1), [*names, "dev score"])
    axes.set_ylim(len(names) + 0.5, -0.3)
    axes.set_xlim(-0.06, 1.03)
    axes.set_xticks([])
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=8, labelcolor=theme.ink, borderpad=0
    )
    theme.style_axes(axes)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    return figure


def common_values(sweep: SweepData) -> dict[str, str]:
    """Parameter -> its values in the best trials, in a few words."""
    return {
        name: _common(
            parameter, [each.configuration[name] for each in sweep.leading if name in each.configuration], sweep
        )
        for name, parameter in sweep.space.parameters.items()
    }


def describe_coordinates(sweep: SweepData, order: Sequence[str]) -> str:
    """What can be seen in `coordinates_figure`."""
    common = common_values(sweep)
    described = [f"{name}: {common[name]}" for name in order]
    return f"Values in the best {len(sweep.leading)} of {count(len(sweep.scored), 'trial')}: {'; '.join(described)}."


def _common(parameter: Parameter, values: Sequence[Value], sweep: SweepData) -> str:
    if not values:
        return "not drawn"
    if parameter.choice is None:
        numbers = sorted(float(value) for value in values if isinstance(value, int | float))
        low, high = value_text(numbers[0]), value_text(numbers[-1])
        text = low if low == high else f"{low} to {high}"
    else:
        ranked = Counter(map(value_text, values)).most_common()
        text = ", ".join(f"{name} ({number})" for name, number in ranked) if len(ranked) > 1 else ranked[0][0]
    left = len(sweep.leading) - len(values)
    return f"{text}; not drawn in {left}" if left else text


def _parameter_row(axes: Axes, row: int, name: str, sweep: SweepData, theme: Theme) -> None:
    """A row's line with the values of its parameter, and a place for trials that did not draw it."""
    parameter = sweep.space.parameters[name]
    _axis(axes, row, {_place(parameter, value): value_text(value) for value in _ticks(parameter)}, theme)
    if any(name not in trial.configuration for trial in sweep.scored):
        _label(axes, _ABSENT, row, "not drawn", theme.muted, theme)
        axes.plot(_ABSENT, row, "|", color=theme.muted, markersize=5)


def _trial_lines(axes: Axes, names: Sequence[str], sweep: SweepData, theme: Theme) -> None:
    """A line for each trial, the best on top, and the entries of the legend."""
    leading, best = sweep.leading, sweep.ranked[0]
    low, high = score_of(sweep.ranked[-1]), score_of(best)
    for trial in reversed(sweep.ranked):
        colour, width, alpha = theme.muted, 0.7, 0.35
        if trial is best:
            colour, width, alpha = theme.second, 2.2, 1.0
        elif trial in leading:
            colour, width, alpha = theme.first, 1.2, 0.8
        share = (score_of(trial) - low) / (high - low) if high > low else 0.5
        places = [_shown(sweep.space.parameters[name], trial, name, share) for name in names]
        axes.plot(
            [*places, _LEFT + share * (_RIGHT - _LEFT)],
            range(len(names) + 1),
            color=colour,
            linewidth=width,
            alpha=alpha,
            solid_capstyle="round",
        )
    for colour, width, label in (
        (theme.second, 2.2, f"best: {best.name}"),
        (theme.first, 1.2, f"best {len(leading)}"),
        (theme.muted, 0.7, "other trials"),
    ):
        axes.plot([], [], color=colour, linewidth=width, label=label)


def _axis(axes: Axes, row: int, ticks: Mapping[float, str], theme: Theme) -> None:
    """A row's line, with ticks and what they say."""
    axes.plot([_LEFT, _RIGHT], [row, row], color=theme.grid, linewidth=1.0, zorder=0)
    for place, text in ticks.items():
        axes.plot(place, row, "|", color=theme.muted, markersize=5, zorder=0)
        _label(axes, place, row, text, theme.ink, theme)


def _label(axes: Axes, place: float, row: int, text: str, colour: str, theme: Theme) -> None:
    """A text below a place of a row, in front of the lines."""
    behind = {"facecolor": theme.ground, "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    axes.text(
        place,
        row + 0.14,
        text,
        ha="center",
        va="top",
        fontsize=6.5,
        color=colour,
        zorder=10,
        bbox=behind,
        clip_on=False,
    )


def _ticks(parameter: Parameter) -> list[Value]:
    values = parameter.grid()
    if parameter.choice is not None or (values is not None and len(values) <= _TICKS):
        return list(values or [])
    low, high = parameter.integer or parameter.number or (0, 0)
    middle = math.sqrt(low * high) if parameter.log else (low + high) / 2
    return [low, float(f"{middle:.2g}"), high] if parameter.number else [low, round(middle), high]


def _place(parameter: Parameter, value: Value) -> float:
    """Where a value lies along a row."""
    if parameter.choice is not None:
        share = (parameter.choice.index(value) + 0.5) / len(parameter.choice)
    else:
        low, high = parameter.integer or parameter.number or (0, 0)
        assert isinstance(value, int | float)
        if low == high:
            share = 0.5
        elif parameter.log:
            share = math.log(value / low) / math.log(high / low)
        else:
            share = (value - low) / (high - low)
    return _LEFT + share * (_RIGHT - _LEFT)


def _shown(parameter: Parameter, trial: Trial, name: str, share: float) -> float:
    """Where a trial's line meets a row: trials of one choice side by side, the better further to the right."""
    if name not in trial.configuration:
        return _ABSENT + 0.02 * (share - 0.5)
    place = _place(parameter, trial.configuration[name])
    if parameter.choice is not None:
        place += _SPREAD * (share - 0.5) * (_RIGHT - _LEFT) / len(parameter.choice)
    return place
