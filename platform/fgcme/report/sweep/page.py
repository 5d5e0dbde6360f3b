"""The report of a sweep: its pictures, and one page of HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from fgcme.report.html import Image, render
from fgcme.report.sweep.coordinates import common_values, coordinates_figure, describe_coordinates
from fgcme.report.sweep.history import describe_history, history_figure
from fgcme.report.sweep.importances import Importances, describe_importances, importances, importances_figure
from fgcme.report.sweep.pareto import describe_pareto, pareto_figure
from fgcme.report.sweep.summary import caveats, summarise_sweep
from fgcme.report.sweep.trials import SweepData, cost_text, value_text
from fgcme.report.theme import Picture

# Trials that the page shows at once, and all in all; the file of trials has them all.
_AT_ONCE = 10
_ROWS = 200


@dataclass(frozen=True)
class SweepPictures:
    """The pictures of a sweep.

    Attributes:
        importances: the numbers of that picture, or why there is none.
        drawn: name of a picture -> it, of those that there are: `history`, `importances`, `coordinates`, `pareto`.
        missing: name of a picture -> why there is none, of those that there should be.
    """

    importances: Importances | str
    drawn: Mapping[str, Picture]
    missing: Mapping[str, str]

    def __iter__(self) -> Iterator[Picture]:
        """All of them."""
        return iter(self.drawn.values())


def sweep_pictures(sweep: SweepData) -> SweepPictures:
    """Make the pictures of a sweep; nothing is drawn yet. It may be of few trials, or of none that went well."""
    found = importances(sweep)
    drawn: dict[str, Picture] = {}
    missing: dict[str, str] = {}

    def add(name: str, why_not: str, make: Callable[[], Picture]) -> None:
        if why_not:
            missing[name] = why_not
        else:
            drawn[name] = make()

    nothing = "" if sweep.scored else f"no trial has a score ({sweep.census})"
    add("history", nothing and f"No history: {nothing}.", lambda: _history(sweep))
    if isinstance(found, Importances):
        drawn["importances"] = _importances(sweep, found)
    else:
        missing["importances"] = found
    add("coordinates", nothing and f"No parallel coordinates: {nothing}.", lambda: _coordinates(sweep, found))
    if sweep.cost:
        costless = "" if sweep.front else f"No Pareto front: no trial has both a score and a cost ({sweep.census})."
        add("pareto", costless, lambda: _pareto(sweep))
    return SweepPictures(found, drawn, missing)


def sweep_html(sweep: SweepData, pictures: SweepPictures, light: Mapping[str, bytes], commands_train: bool) -> str:
    """The page of a sweep.

    Args:
        sweep: what it is of.
        pictures: of it.
        light: name of a picture -> its PNG for a light ground.
        commands_train: whether the best configuration lies beside the page.
    """
    common = common_values(sweep) if sweep.scored else {}
    return render(
        "sweep/page.html.j2",
        {
            "image": lambda picture: Image.of(picture, light[picture.name]),
            "value": value_text,
            "cost": cost_text,
        },
        sweep=sweep,
        pictures=pictures,
        summary=summarise_sweep(sweep, pictures.importances),
        caveats=caveats(sweep),
        common=common,
        seconds=sum(trial.seconds or 0 for trial in sweep.trials),
        best_kept=commands_train,
        at_once=_AT_ONCE,
        rows=_ROWS,
    )


def _history(sweep: SweepData) -> Picture:
    return Picture(
        "history",
        partial(history_figure, sweep),
        f"{describe_history(sweep)} ({sweep.label}.)",
        "Each trial's dev score, in the order in which they began; the line is the best so far. Trials without a score "
        "stand at the bottom.",
    )


def _importances(sweep: SweepData, found: Importances) -> Picture:
    return Picture(
        "importances",
        partial(importances_figure, found, sweep.label),
        f"{describe_importances(found)} ({sweep.label}.)",
        f"Importance for being among the best {found.best} of {found.trials} trials, by PED-ANOVA. Orange marks: what "
        "a parameter gets in 19 of 20 cases at most when scores are dealt out to the trials at random; bars that do "
        "not go beyond it are grey.",
    )


def _coordinates(sweep: SweepData, found: Importances | str) -> Picture:
    order = list(found.shares) if isinstance(found, Importances) else list(sweep.space.parameters)
    return Picture(
        "coordinates",
        partial(coordinates_figure, sweep, order),
        f"{describe_coordinates(sweep, order)} ({sweep.label}.)",
        "One line a trial, down to its dev score; where several have one choice, the better ones lie further to the "
        "right." + (" The most important parameters are at the top." if isinstance(found, Importances) else ""),
    )


def _pareto(sweep: SweepData) -> Picture:
    return Picture(
        "pareto",
        partial(pareto_figure, sweep),
        f"{describe_pareto(sweep)} ({sweep.label}.)",
        "Diamonds: no other trial is both better and cheaper.",
    )
