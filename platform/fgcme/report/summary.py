"""The summary of a report: a few sentences that claim no more than intervals and corrected p-values allow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fgcme.evaluation.comparison import Difference
from fgcme.report.formatting import (
    count,
    listing,
    p_equation,
    p_value,
    percent,
    percent_range,
    points,
    points_range,
    sentence,
)
from fgcme.report.results import ResultSet

_NAMED = 4


def summarise_results(results: ResultSet) -> list[str]:
    """The sentences, most important first."""
    sentences = [_level(results)]
    if results.table.comparisons:
        sentences += _comparisons(results)
    else:
        sentences.append(_emotions(results))
    if results.table.seeds == 1:
        sentences.append(
            "With one seed it is unknown how much results vary from training to training: intervals"
            f"{' and p-values' if results.table.comparisons else ''} account for other speakers only."
        )
    return sentences


def _level(results: ResultSet) -> str:
    table, reference = results.table, results.reference
    estimate = table.estimates[reference]["ua"]
    who = f"{reference}, the reference," if table.comparisons else reference
    opening = "Optimistic: with" if results.conditions.optimistic else "With"
    remark = results.remarks.get(reference)
    return (
        f"{opening} {results.conditions.rule_alone}, {who} reaches a UA of "
        f"{percent(estimate.mean)} % (95 % interval {percent_range(estimate.interval)}) on "
        f"{results.conditions.protocol}, where chance is {percent(1 / len(results.classes))} %"
        f"{f' ({remark})' if remark else ''}: {count(table.utterances, 'utterance')} of "
        f"{count(table.speakers, 'speaker')}, {count(table.seeds, 'seed')}."
    )


def _comparisons(results: ResultSet) -> list[str]:
    table = results.table
    differences = {name: each.differences["ua"] for name, each in table.comparisons.items()}
    significant = {
        verb: sorted(
            (
                name
                for name in differences
                if results.differs_significantly(name) and (differences[name].mean > 0) == (verb == "above")
            ),
            key=lambda name: -abs(differences[name].mean),
        )
        for verb in ("above", "below")
    }
    sentences = []
    for verb, names in significant.items():
        if not names:
            continue
        phrases = [
            f"{name} ({points(differences[name].mean)} points, 95 % interval "
            f"{points_range(differences[name].interval)}, corrected {p_equation(differences[name].p_holm)})"
            for name in names[:_NAMED]
        ]
        if len(names) > _NAMED:
            phrases.append(f"{len(names) - _NAMED} more")
        sentences.append(f"Significantly {verb} it: {listing(phrases)}.")
    undecided = [name for name in differences if not results.differs_significantly(name)]
    if undecided:
        sentences.append(_undecided(results, undecided, any(significant.values())))
    if table.smallest_p > 0.05:
        sentences.append(
            "No difference could have been significant here, whatever its size: with "
            f"{count(table.speakers, 'speaker')} and {count(len(table.comparisons), 'comparison')} no corrected p can "
            f"fall below {p_value(table.smallest_p)}."
        )
    return sentences


def _undecided(results: ResultSet, names: list[str], others_differ: bool) -> str:
    intervals = [results.table.comparisons[name].differences["ua"].interval for name in names]
    low, high = min(each.low for each in intervals), max(each.high for each in intervals)
    if len(names) == 1:
        opening, leave = (
            f"It is not shown that {names[0]} differs from it, nor that the two are equal",
            "interval leaves",
        )
    else:
        which = (
            f"the other {len(names)} variants differ" if others_differ else f"any of the {len(names)} others differs"
        )
        opening, leave = f"It is not shown that {which} from it, nor that they are equal", "intervals leave"
    return f"{opening}: the {leave} room for differences of {points(low)} to {points(high)} points."


def _emotions(results: ResultSet) -> str:
    recalls = results.recalls(results.reference)
    low, high = int(np.nanargmin(recalls)), int(np.nanargmax(recalls))
    values = results.by_speaker[results.reference]["ua"]
    return (
        f"{sentence(results.classes[high])} is recognised most often ({percent(float(recalls[high]))} %), "
        f"{results.classes[low]} least ({percent(float(recalls[low]))} %); by speaker UA goes from "
        f"{percent(float(values.min()))} to {percent(float(values.max()))} %."
    )


def summarise_gaps(results: ResultSet, gaps: Mapping[str, Mapping[str, Difference]]) -> list[str]:
    """A sentence on what choosing epochs on the test part would add to the reference; none if that was not tried.

    Args:
        results: with epochs chosen on dev.
        gaps: see `fgcme.report.results.selection_gaps`.
    """
    if not gaps:
        return []
    gap = gaps[results.reference]["ua"]
    return [
        f"Choosing epochs on the test part, as the published code does, changes the UA of {results.reference} by "
        f"{points(gap.mean)} points (95 % interval {points_range(gap.interval)}); those results are marked as "
        "optimistic below."
    ]
