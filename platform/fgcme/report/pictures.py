"""The pictures of the report of an ablation or a cross-validation, with their descriptions and captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fgcme.report.confusion import confusion_figure, describe_confusion
from fgcme.report.content import ReportData
from fgcme.report.curves import describe_learning, learning_figure, ua_limits
from fgcme.report.estimates import describe_estimates, describe_gaps, estimates_figure, gaps_figure
from fgcme.report.example import UtteranceExample, describe_example, example_figure
from fgcme.report.results import ResultSet
from fgcme.report.speakers import describe_recalls, describe_speakers, recalls_figure, speakers_figure
from fgcme.report.theme import Picture


@dataclass(frozen=True)
class ReportPictures:
    """The pictures of a report.

    Attributes:
        estimates: one for each result; none of a single variant.
        gaps, recalls, speakers: None where there is nothing to compare.
        confusions, learning: one for each variant, in the order of `ResultSet.ranked`.
        examples: one for each utterance.
    """

    estimates: Sequence[Picture]
    gaps: Picture | None
    recalls: Picture | None
    speakers: Picture
    confusions: Mapping[str, Picture]
    learning: Mapping[str, Picture]
    examples: Sequence[Picture]

    def __iter__(self) -> Iterator[Picture]:
        """All of them."""
        yield from self.estimates
        yield from (picture for picture in (self.gaps, self.recalls, self.speakers) if picture is not None)
        yield from self.confusions.values()
        yield from self.learning.values()
        yield from self.examples


def report_pictures(content: ReportData) -> ReportPictures:
    """The pictures of a report, of comparisons only where variants are compared; nothing is drawn yet."""
    main = content.main
    compared = bool(main.table.comparisons)
    name = main.conditions.file_name
    return ReportPictures(
        estimates=[_estimates(results) for results in content.result_sets if compared],
        gaps=_gaps(content) if content.gaps else None,
        recalls=Picture(
            f"recalls-{name}",
            partial(recalls_figure, main),
            _alternative(main, describe_recalls(main)),
            f"First row: recall of {main.reference} for each emotion. Below: change of recall against it, in points, "
            "mean over seeds.",
        )
        if compared
        else None,
        speakers=Picture(
            f"speakers-{name}",
            partial(speakers_figure, main),
            _alternative(main, describe_speakers(main)),
            "Each dot is a speaker, at the same height in every row. The bar is the mean over speakers. The speaker "
            "with the lowest UA is named.",
        ),
        confusions={variant: _confusion(main, variant) for variant in main.ranked},
        learning={variant: _learning(content, variant) for variant in main.ranked if variant in content.learning},
        examples=[_example(main, example) for example in content.examples],
    )


def _estimates(results: ResultSet) -> Picture:
    return Picture(
        f"estimates-{results.conditions.file_name}",
        partial(estimates_figure, results),
        _alternative(results, describe_estimates(results)),
        f"Left: UA with its 95 % interval; the diamond and the dashed line are {results.reference}, the "
        "reference. Right: the difference from it, with stars where the corrected p is small.",
    )


def _gaps(content: ReportData) -> Picture:
    heading = f"{content.main.conditions.protocol}, both selection rules; open diamonds are optimistic"
    return Picture(
        "selection-gap",
        partial(gaps_figure, content.main, content.gaps, heading),
        _alternative(content.main, describe_gaps(content.gaps), heading),
        "UA of each variant with epochs chosen on the dev part (dot) and on the test part (open diamond, optimistic).",
    )


def _confusion(results: ResultSet, variant: str) -> Picture:
    matrix = results.matrices[variant]
    text = f"Confusion matrix of {variant}. {describe_confusion(matrix, results.classes)}"
    return Picture(
        f"confusion-{variant}-{results.conditions.file_name}",
        partial(confusion_figure, matrix, results.classes, _title(results, variant), results.conditions.label),
        _alternative(results, text, of=[variant]),
    )


def _learning(content: ReportData, variant: str) -> Picture:
    results, learning = content.main, content.learning[variant]
    draw = partial(
        learning_figure,
        learning,
        _title(results, variant),
        results.conditions.label,
        reference=content.learning[results.reference] if variant != results.reference else None,
        limits=ua_limits(content.learning.values()),
    )
    text = f"Learning curves of {variant}. {describe_learning(learning)}"
    return Picture(
        f"learning-{variant}-{results.conditions.file_name}", draw, _alternative(results, text, of=[variant])
    )


def _example(results: ResultSet, example: UtteranceExample) -> Picture:
    remark = results.remarks.get(results.reference)
    heading = (
        f"{results.reference}{f' ({remark})' if remark else ''}, fold {example.fold}, seed {example.seed}, trained "
        f"without speaker {example.speaker}; {results.conditions.label}"
    )
    prediction = example.prediction
    percentage = round(100 * prediction.probabilities[prediction.label])
    verdict = "which is right" if prediction.label == example.label else f"but it is {example.label}"
    return Picture(
        f"spoken-{_file_name(example.id)}-{results.conditions.file_name}",
        partial(example_figure, example, heading),
        _alternative(results, describe_example(example), heading, of=[]),
        f"“{example.text}” ({example.id}), predicted {prediction.label} with {percentage} %, {verdict}. Alignment: "
        f"{prediction.alignment}.",
    )


def _title(results: ResultSet, variant: str) -> str:
    compared = bool(results.table.comparisons)
    return results.title(variant) + (" (reference)" if compared and variant == results.reference else "")


def _alternative(results: ResultSet, text: str, heading: str = "", of: Sequence[str] | None = None) -> str:
    """The alternative text of a figure: what it shows, then its conditions and remarks.

    Args:
        results: what is shown.
        text: the description.
        heading: that of the figure; by default the conditions of the results.
        of: the variants that the figure shows; all by default.
    """
    shown = results.variants if of is None else of
    remarks = [f"; {name} {results.remarks[name]}" for name in shown if name in results.remarks]
    return f"{text} ({heading or results.conditions.label}{''.join(remarks)}.)"


def _file_name(text: str) -> str:
    """An id with all characters replaced that a file name may not have.

    >>> _file_name("Ses01/impro 01")
    'Ses01-impro-01'
    """
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in text)
