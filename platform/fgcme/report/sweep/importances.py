"""Which parameters decided whether a trial was a good one, as numbers and as a picture.

The method is PED-ANOVA (Watanabe, Bansal and Hutter 2023, arXiv 2304.10255) in its form for conditional parameters, as
Optuna has it: it measures how much a parameter's distribution over the best trials differs from that over all trials.
A conditional parameter is judged among the trials that drew it, weighted by the share of the best ones among them. A
trial that was stopped early takes part with its last score: all that matters is whether it is one of the best.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fgcme.report.formatting import count, percent
from fgcme.report.sweep.trials import SweepData, score_of
from fgcme.report.theme import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study

# Fewer trials say nothing about a parameter.
_LEAST = 10
_SHUFFLES = 40
_ROW = 0.3


@dataclass(frozen=True)
class Importances:
    """How much each parameter mattered.

    Attributes:
        shares: parameter -> its share of 1, the most important first.
        chance: parameter -> the share that it gets at most in 19 of 20 cases when scores are shuffled among the trials.
        drawn: parameter -> trials that drew it.
        trials, best: how many trials were looked at, and how many of them count as the best.
    """

    shares: Mapping[str, float]
    chance: Mapping[str, float]
    drawn: Mapping[str, int]
    trials: int
    best: int

    @property
    def beyond_chance(self) -> list[str]:
        """The parameters that mattered more than chance explains."""
        return [name for name, share in self.shares.items() if share > self.chance[name]]


def importances(sweep: SweepData) -> Importances | str:
    """Compute the importances of the parameters that varied, or say why there are none."""
    if len(sweep.scored) < _LEAST:
        return (
            f"No importances: {len(sweep.scored)} of {count(len(sweep.trials), 'trial')} "
            f"{'has' if len(sweep.scored) == 1 else 'have'} a score, and fewer than {_LEAST} say nothing."
        )
    scores = np.array([score_of(trial) for trial in sweep.scored])
    # Ties with the last of the best count as best.
    best = int((scores >= score_of(sweep.leading[-1])).sum())
    quantile = len(sweep.leading) / len(scores)
    if best == len(scores):
        return "No importances: so many trials have the same score that none are better than the others."
    values = {
        name: [each.configuration[name] for each in sweep.scored if name in each.configuration]
        for name in sweep.space.parameters
    }
    varied = [name for name, drawn in values.items() if any(value != drawn[0] for value in drawn)]
    if not varied:
        return "No importances: the trials that have a score differ in no parameter."
    study = _study(sweep)
    raw = _evaluate(study, varied, scores, quantile)
    total = sum(raw.values())
    if not total:
        return "No importances: no parameter that varied was drawn by enough of the best trials."
    generator = np.random.default_rng(0)
    shuffled = [_evaluate(study, varied, generator.permutation(scores), quantile) for _ in range(_SHUFFLES)]
    return Importances(
        shares={name: value / total for name, value in sorted(raw.items(), key=lambda item: -item[1])},
        chance={name: float(np.quantile([each[name] for each in shuffled], 0.95)) / total for name in raw},
        drawn={name: len(values[name]) for name in varied},
        trials=len(scores),
        best=best,
    )


def importances_figure(found: Importances, heading: str, theme: Theme) -> Figure:
    """A bar for each parameter, muted if chance can explain it, and a mark at what chance reaches in 19 of 20 cases.

    Args:
        found: the importances.
        heading: written above the figure.
        theme: its colours.
    """
    names = list(found.shares)
    figure = theme.canvas(7.6, 1.05 + _ROW * len(names), heading)
    axes = figure.add_subplot()
    rows = np.arange(len(names))
    shares = [100 * found.shares[name] for name in names]
    colours = [theme.first if name in found.beyond_chance else theme.muted for name in names]
    axes.barh(rows, shares, height=0.55, color=colours)
    limits = [100 * found.chance[name] for name in names]
    axes.plot(limits, rows, "|", color=theme.second, markersize=13, markeredgewidth=1.8, label="chance")
    for row, name in enumerate(names):
        axes.annotate(
            f"{percent(found.shares[name])} %",
            (max(shares[row], limits[row]), row),
            xytext=(7, -3),
            textcoords="offset points",
            fontsize=7.5,
            color=theme.ink,
        )
    axes.set_yticks(
        rows,
        [name if found.drawn[name] == found.trials else f"{name} ({found.drawn[name]} trials)" for name in names],
    )
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1.15 * max(*shares, *limits, 1))
    axes.set_xlabel("importance in per cent; mark: what chance explains in 19 of 20 cases")
    theme.style_rows(axes)
    return figure


def describe_importances(found: Importances) -> str:
    """`importances_figure` in words, as its alternative text."""
    text = (
        f"Importance of {count(len(found.shares), 'parameter')} for being among the best {found.best} of "
        f"{count(found.trials, 'trial')}: "
        + ", ".join(f"{name} {percent(share)} %" for name, share in found.shares.items())
        + ". "
    )
    beyond = found.beyond_chance
    return text + (f"Beyond chance: {', '.join(beyond)}." if beyond else "None goes beyond chance.")


def _study(sweep: SweepData) -> Study:
    """An Optuna study of the trials that have a score."""
    import optuna

    with _quiet():
        study = optuna.create_study(direction="maximize")
        for trial in sweep.scored:
            distributions: dict[str, Any] = {}
            for name, value in trial.configuration.items():
                fixed = optuna.trial.FixedTrial({name: value})
                sweep.space.parameters[name].draw(name, fixed)
                distributions |= fixed.distributions
            study.add_trial(
                optuna.trial.create_trial(
                    params=dict(trial.configuration), distributions=distributions, value=score_of(trial)
                )
            )
    return study


def _evaluate(study: Study, names: list[str], scores: np.ndarray, quantile: float) -> dict[str, float]:
    import optuna

    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    with _quiet():
        # The evaluator treats low values as the best.
        found: dict[str, float] = evaluator.evaluate(study, names, target=lambda trial: -float(scores[trial.number]))
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's log of every study and its warnings of few trials; the report says so itself."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
