"""A sweep as numbers: its trials, which of them are the best, and what has to be said beside every score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from fgcme.experiment import Parameter, Space, Value
from fgcme.report.content import Provenance
from fgcme.report.formatting import count, listing

State = Literal["finished", "stopped early", "failed", "interrupted", "running"]
STATES: tuple[State, ...] = ("finished", "stopped early", "running", "interrupted", "failed")

_SCORES = {
    "ua": "UA",
    "wa": "WA",
    "macro_f1": "macro-F1",
    "ccc": "CCC",
    # What `training.score` has most of.
    "published": "0.9 WA + 0.1 UA",
}
_COSTS = {"parameters": "parameters of the model", "latency": "latency in ms"}
# Of the trials, the share that is looked at for what the good ones have in common; fewer than so many say little, but
# are never more than half.
_LEADING, _LEADING_LEAST = 0.25, 5


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        name: as the sweep calls it.
        run: its MLflow run.
        state: what became of it.
        configuration: the settings that were drawn for it; those whose condition did not hold are left out.
        score: its objective, the mean over the folds of the dev score of the best epoch so far; None if it has none, or
            failed.
        epochs: that it was trained.
        seconds: from its start to its end; None while it runs.
        cost: its second objective, if the sweep has one.
        reason: why it failed, if that is known.
    """

    name: str
    run: str
    state: State
    configuration: Mapping[str, Value]
    score: float | None
    epochs: int
    seconds: float | None = None
    cost: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class SweepData:
    """A sweep, finished or not.

    Attributes:
        provenance: where its numbers come from.
        protocol: its name, with whatever it owes to more than the protocol allows.
        space: what varied.
        settings: the experiment's own, flat.
        trials: in the order in which they began.
        cost: the second objective, `parameters` or `latency`; empty if there is one objective.
    """

    provenance: Provenance
    protocol: str
    space: Space
    settings: Mapping[str, Any]
    trials: Sequence[Trial]
    cost: str = ""

    @property
    def folds(self) -> list[int]:
        """Whose dev parts decide."""
        return list(self.settings["tune.folds"])

    @property
    def planned(self) -> int:
        """How many trials there are to be: as many as asked for, or all of a grid."""
        if self.settings.get("tune.search") == "grid":
            return self.space.grid_size(self.settings)
        return int(self.settings["tune.trials"])

    @property
    def measure(self) -> str:
        """What a score is made of: `UA`, or `0.9 WA + 0.1 UA`."""
        objective = self.settings.get("tune.objective", "score")
        name = str(self.settings["training.score"] if objective == "score" else objective)
        return _SCORES.get(name, name)

    @property
    def label(self) -> str:
        """Protocol, folds and caveat of every score, short enough for a figure."""
        folds = f"{'fold' if len(self.folds) == 1 else 'folds'} {listing([str(fold) for fold in self.folds])}"
        return f"{self.protocol}, dev scores of {folds} ({self.measure}); the best is optimistic by selection"

    @property
    def cost_title(self) -> str:
        """The cost, for a reader."""
        return _COSTS.get(self.cost, self.cost)

    @cached_property
    def scored(self) -> list[Trial]:
        """The trials that have a score, in order."""
        return [trial for trial in self.trials if trial.score is not None]

    @cached_property
    def ranked(self) -> list[Trial]:
        """The trials that have a score, the best first, of equals the earlier."""
        return sorted(self.scored, key=lambda trial: -score_of(trial))

    @property
    def best(self) -> Trial | None:
        """The trial of the highest score."""
        return self.ranked[0] if self.ranked else None

    @property
    def leading(self) -> list[Trial]:
        """The best trials, the best first: a quarter of those that have a score, of few up to a half, at least one."""
        number = len(self.ranked)
        return self.ranked[: max(math.ceil(_LEADING * number), min(_LEADING_LEAST, number // 2))]

    @property
    def own(self) -> Trial | None:
        """The trial of the experiment as it was, if there was one."""
        point = self.space.as_point(self.settings)
        return next((trial for trial in self.scored if point is not None and trial.configuration == point), None)

    @cached_property
    def front(self) -> list[Trial]:
        """The Pareto front of score (higher is better) and cost (lower is better), the cheapest first.

        No trial of it is matched or beaten by another in both; of trials alike in both, the first is taken. Empty if
        the sweep has no cost.
        """
        chosen: list[Trial] = []
        both = [trial for trial in self.scored if trial.cost is not None and math.isfinite(trial.cost)]
        for trial in sorted(both, key=lambda trial: (cost_of(trial), -score_of(trial))):
            if not chosen or score_of(trial) > score_of(chosen[-1]):
                chosen.append(trial)
        return chosen if self.cost else []

    @property
    def states(self) -> dict[State, int]:
        """How many trials there are of each state, of those there are."""
        counted = Counter(trial.state for trial in self.trials)
        return {state: counted[state] for state in STATES if counted[state]}

    @property
    def census(self) -> str:
        """The same as words: `3 trials: 2 finished, 1 failed`."""
        parts = [f"{number} {state}" for state, number in self.states.items()]
        return f"{count(len(self.trials), 'trial')}{': ' if parts else ''}{', '.join(parts)}"

    def drawn(self, texts: Mapping[str, str]) -> dict[str, Value]:
        """What was drawn for a trial, from its settings as texts, as MLflow keeps them.

        A parameter whose condition does not hold was not drawn, whatever its setting says; one whose value is none of
        the space's was changed since, and is left out too.
        """
        configuration: dict[str, Value] = {}
        for name, parameter in self.space.parameters.items():
            conditions = ((texts.get(other), values) for other, values in parameter.when.items())
            if all(text is not None and _same(text, values) is not _NONE for text, values in conditions):
                value = _read(parameter, texts[name]) if name in texts else _NONE
                if value is not _NONE:
                    configuration[name] = value
        return configuration


def score_of(trial: Trial) -> float:
    """The score of a trial that has one."""
    assert trial.score is not None
    return trial.score


def cost_of(trial: Trial) -> float:
    """The cost of a trial that has one."""
    assert trial.cost is not None
    return trial.cost


def value_text(value: Value) -> str:
    """A value for a reader.

    >>> [value_text(value) for value in (None, True, 0.00050000001, 256, "mean")]
    ['null', 'true', '0.0005', '256', 'mean']
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cost_text(cost: float) -> str:
    """A cost for a reader.

    >>> cost_text(1234567.0), cost_text(3.14159)
    ('1,234,567', '3.142')
    """
    return f"{cost:,.0f}" if cost >= 10000 else f"{cost:.4g}"


# None is a value.
_NONE: Any = object()


def _read(parameter: Parameter, text: str) -> Any:
    if parameter.choice is not None:
        return _same(text, parameter.choice)
    number = _number(text)
    value = round(number) if parameter.integer is not None and number.is_integer() else number
    return value if parameter.contains(value) else _NONE


def _same(text: str, values: Sequence[Value]) -> Any:
    """The value that a text stands for, or `_NONE`."""
    for value in values:
        alike = text == str(value)
        if not alike and isinstance(value, int | float) and not isinstance(value, bool):
            alike = _number(text) == value
        if alike:
            return value
    return _NONE


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
