"""Results as CSV, for whoever wants to go on with the numbers: shares between 0 and 1, with all their digits."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from fgcme.report.findings import ResultSet

_METRICS = ("wa", "ua", "macro_f1")
_TESTED = ("ua", "wa")


def results_csv(results: Iterable[ResultSet]) -> str:
    """One row a variant and selection rule: estimates, and the comparison with the reference, empty for itself."""
    header = ["protocol", "selection", "caveats", "variant", "reference"]
    for metric in _METRICS:
        header += [metric, f"{metric}_deviation", f"{metric}_low", f"{metric}_high"]
    for metric in _TESTED:
        header += [f"{metric}_difference{part}" for part in ("", "_low", "_high", "_p", "_p_holm", "_effect")]
    header += [f"mcnemar_{part}" for part in ("gained", "lost", "p", "p_holm", "odds_ratio")]
    header += ["speakers", "utterances", "seeds"]
    return written(header, (row for findings in results for row in _results(findings)))


def speakers_csv(results: Iterable[ResultSet]) -> str:
    """One row a speaker, variant and selection rule; metrics are means over seeds."""
    header = ["protocol", "selection", "caveats", "variant", "speaker", "utterances", *_METRICS]
    return written(header, (row for findings in results for row in _speakers(findings)))


def confusions_csv(results: Iterable[ResultSet]) -> str:
    """One row a true class, variant and selection rule: answers of all seeds, by the class that was answered."""
    results = list(results)
    header = ["protocol", "selection", "caveats", "variant", "true", *(f"as_{name}" for name in results[0].classes)]
    return written(header, (row for findings in results for row in _confusions(findings)))


def _confusions(findings: ResultSet) -> Iterator[list[object]]:
    for name in findings.variants:
        for true, answers in zip(findings.classes, findings.matrices[name].tolist(), strict=True):
            yield [*_standing(findings, name), name, true, *answers]


def _results(findings: ResultSet) -> Iterator[list[object]]:
    table = findings.table
    for name, estimate in table.estimates.items():
        row: list[object] = [*_standing(findings, name), name, findings.reference]
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


def _speakers(findings: ResultSet) -> Iterator[list[object]]:
    for name in findings.variants:
        for position, speaker in enumerate(findings.speakers):
            metrics = [float(findings.by_speaker[name][metric][position]) for metric in _METRICS]
            yield [*_standing(findings, name), name, speaker, int(findings.answered[position]), *metrics]


def _standing(findings: ResultSet, variant: str) -> list[object]:
    """Protocol, selection rule, and all that makes the numbers better than honest ones on the whole corpus."""
    standing = findings.standing
    remark = findings.remarks.get(variant)
    return [standing.protocol, standing.selection, " ".join([*standing.caveats, *([f"{remark}."] if remark else [])])]


def written(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under their header, as CSV."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return lines.getvalue()
