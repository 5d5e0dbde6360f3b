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

# Trials that the page shows at once and at most; trials.csv has all of them.
_AT_ONCE = 10
_ROWS = 200


@dataclass(frozen=True)
class SweepPictures:
    """The pictures of a sweep.

    Attributes:
        importances: the importances of the parameters, or why there are none.
        drawn: name (`history`, `importances`, `coordinates` or `pareto`) -> picture.
        missing: name of a picture that cannot be drawn -> why.
    """

    importances: Importances | str
    drawn: Mapping[str, Picture]
    missing: Mapping[str, str]

    def __iter__(self) -> Iterator[Picture]:
        """All of them."""
        return iter(self.drawn.values())


def sweep_pictures(sweep: SweepData) -> SweepPictures:
    """The pictures of a sweep, even of few or only failed trials; nothing is drawn yet."""
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


def sweep_html(
    sweep: SweepData, pictures: SweepPictures, light: Mapping[str, bytes], has_best_configuration: bool
) -> str:
    """The page of a sweep.

    Args:
        sweep: the sweep.
        pictures: its pictures.
        light: name of a picture -> its PNG for a light ground.
        has_best_configuration: whether the best configuration lies beside the page.
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
        has_best_configuration=has_best_configuration,
        at_once=_AT_ONCE,
        rows=_ROWS,
    )


def _history(sweep: SweepData) -> Picture:
    return Picture(
        "history",
        partial(history_figure, sweep),
        f"{describe_history(sweep)} ({sweep.label}.)",
        "Each trial's dev score, in the order in which trials started; the line is the best so far. Trials without a "
        "score are at the bottom.",
    )


def _importances(sweep: SweepData, found: Importances) -> Picture:
    return Picture(
        "importances",
        partial(importances_figure, found, sweep.label),
        f"{describe_importances(found)} ({sweep.label}.)",
        f"Importance for being among the best {found.best} of {found.trials} trials, by PED-ANOVA. Orange marks: what "
        "a parameter gets at most in 19 of 20 cases when scores are shuffled among the trials; shorter bars are grey.",
    )


def _coordinates(sweep: SweepData, found: Importances | str) -> Picture:
    order = list(found.shares) if isinstance(found, Importances) else list(sweep.space.parameters)
    return Picture(
        "coordinates",
        partial(coordinates_figure, sweep, order),
        f"{describe_coordinates(sweep, order)} ({sweep.label}.)",
        "Each line is a trial, down to its dev score; among trials with the same choice, the better ones are further "
        "to the right." + (" The most important parameters are at the top." if isinstance(found, Importances) else ""),
    )


def _pareto(sweep: SweepData) -> Picture:
    return Picture(
        "pareto",
        partial(pareto_figure, sweep),
        f"{describe_pareto(sweep)} ({sweep.label}.)",
        "Diamonds: no other trial is both better and cheaper.",
    )
