"""Results as CSV: shares between 0 and 1, with all their digits."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from fgcme.report.results import ResultSet

_METRICS = ("wa", "ua", "macro_f1")
_TESTED = ("ua", "wa")


def results_csv(result_sets: Iterable[ResultSet]) -> str:
    """A row for each variant of each result set: its estimates, and how it compares with the reference.

    In the row of the reference itself, the comparison is empty.
    """
    header = ["protocol", "selection", "caveats", "variant", "reference"]
    for metric in _METRICS:
        header += [metric, f"{metric}_deviation", f"{metric}_low", f"{metric}_high"]
    for metric in _TESTED:
        header += [f"{metric}_difference{part}" for part in ("", "_low", "_high", "_p", "_p_holm", "_effect")]
    header += [f"mcnemar_{part}" for part in ("gained", "lost", "p", "p_holm", "odds_ratio")]
    header += ["speakers", "utterances", "seeds"]
    return written(header, (row for results in result_sets for row in _results(results)))


def speakers_csv(result_sets: Iterable[ResultSet]) -> str:
    """One row a speaker, variant and selection rule; metrics are means over seeds."""
    header = ["protocol", "selection", "caveats", "variant", "speaker", "utterances", *_METRICS]
    return written(header, (row for results in result_sets for row in _speakers(results)))


def confusions_csv(result_sets: Iterable[ResultSet]) -> str:
    """One row a true class, variant and selection rule: predictions of all seeds, counted by predicted class."""
    result_sets = list(result_sets)
    header = ["protocol", "selection", "caveats", "variant", "true", *(f"as_{name}" for name in result_sets[0].classes)]
    return written(header, (row for results in result_sets for row in _confusions(results)))


def _confusions(results: ResultSet) -> Iterator[list[object]]:
    for name in results.variants:
        for true, counts in zip(results.classes, results.matrices[name].tolist(), strict=True):
            yield [*_conditions(results, name), name, true, *counts]


def _results(results: ResultSet) -> Iterator[list[object]]:
    table = results.table
    for name, estimate in table.estimates.items():
        row: list[object] = [*_conditions(results, name), name, results.reference]
        for metric in _METRICS:
            each = estimate[metric]
            row += [each.mean, each.deviation, each.interval.low, each.interval.high]
        if name in table.comparisons:
            comparison = table.comparisons[name]
            for metric in _TESTED:
                difference = comparison.differences[metric]
                row += [difference.mean, difference.interval.low, difference.interval.high]
                row += [difference.p_value, difference.p_holm, difference.effect]
            mcnemar = comparison.mcnemar
            row += [mcnemar.gained, mcnemar.lost, mcnemar.p_value, mcnemar.p_holm, mcnemar.odds_ratio]
        else:
            row += [""] * (6 * len(_TESTED) + 5)
        yield [*row, table.speakers, table.utterances, table.seeds]


def _speakers(results: ResultSet) -> Iterator[list[object]]:
    for name in results.variants:
        for position, speaker in enumerate(results.speakers):
            metrics = [float(results.by_speaker[name][metric][position]) for metric in _METRICS]
            yield [*_conditions(results, name), name, speaker, int(results.utterance_counts[position]), *metrics]


def _conditions(results: ResultSet, variant: str) -> list[object]:
    """Protocol, selection rule, and the caveats."""
    conditions = results.conditions
    remark = results.remarks.get(variant)
    return [
        conditions.protocol,
        conditions.selection,
        " ".join([*conditions.caveats, *([f"{remark}."] if remark else [])]),
    ]


def written(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under their header, as CSV."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return lines.getvalue()
