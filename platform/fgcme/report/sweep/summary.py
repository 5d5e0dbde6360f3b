"""The summary of a sweep in a few sentences, and the caveats of its scores."""

from __future__ import annotations

from fgcme.report.formatting import count, listing, percent
from fgcme.report.sweep.importances import Importances
from fgcme.report.sweep.trials import SweepData, cost_of, cost_text, score_of

_NAMED = 3


def summarise_sweep(sweep: SweepData, importances: Importances | str) -> list[str]:
    """Summarise a sweep in sentences, most important first.

    Args:
        sweep: its trials.
        importances: of the parameters, or why they cannot be computed.
    """
    return [_best(sweep), *_own(sweep), *_front(sweep), *_states(sweep), _importances(importances)]


def caveats(sweep: SweepData) -> list[str]:
    """Sentences that qualify every score."""
    folds = f"{'fold' if len(sweep.folds) == 1 else 'folds'} {listing([str(fold) for fold in sweep.folds])}"
    seed = sweep.settings["training.seeds"][0]
    return [
        f"All scores are dev scores: {sweep.measure} on the dev parts of {folds} at each trial's best epoch so far"
        f"{', averaged' if len(sweep.folds) > 1 else ''}, trained once with seed {seed}. No trial has seen a "
        "test part.",
        "The best of many such scores is optimistic by selection, and small differences between good trials are "
        "noise. The honest number is what fgcme train best.yaml measures: it tests every fold, and gives the result "
        "with and without the speakers by whose dev scores the configuration was chosen.",
    ]


def _best(sweep: SweepData) -> str:
    best = sweep.best
    if best is None:
        return "No trial has a score."
    return (
        f"The best of {count(len(sweep.scored), 'trial')} with a score, {best.name}, has a dev score of "
        f"{percent(score_of(best))} % ({sweep.measure}), optimistic by selection."
    )


def _own(sweep: SweepData) -> list[str]:
    own = sweep.own
    if own is None or sweep.best is None:
        return []
    if own is sweep.best:
        return ["It has the experiment's own settings: no other trial is better."]
    return [
        f"The experiment's own settings reach {percent(score_of(own))} % ({own.name}), "
        f"{percent(score_of(sweep.best) - score_of(own))} points less."
    ]


def _front(sweep: SweepData) -> list[str]:
    if not sweep.front:
        return []
    cheapest = sweep.front[0]
    return [
        f"{count(len(sweep.front), 'trial')} {'is' if len(sweep.front) == 1 else 'are'} beaten by no other in both "
        f"score and {sweep.cost_title}; the cheapest, {cheapest.name}, has {percent(score_of(cheapest))} % at "
        f"{cost_text(cost_of(cheapest))}."
    ]


def _states(sweep: SweepData) -> list[str]:
    sentences = []
    if (waiting := sweep.planned - len(sweep.trials)) > 0:
        sentences.append(f"{count(waiting, 'trial')} of {sweep.planned} had not started.")
    failed = [trial for trial in sweep.trials if trial.state == "failed"]
    if failed:
        reasons = sorted({trial.reason for trial in failed if trial.reason})
        why = f": {'; '.join(reasons[:_NAMED])}" if reasons else ""
        sentences.append(f"{count(len(failed), 'trial')} failed{why}.")
    return sentences


def _importances(importances: Importances | str) -> str:
    if isinstance(importances, str):
        return importances
    beyond = importances.beyond_chance
    if not beyond:
        return "No parameter mattered more than chance explains."
    described = [f"{name} ({percent(importances.shares[name])} %)" for name in beyond]
    return f"Parameters that mattered beyond chance: {listing(described)}."
