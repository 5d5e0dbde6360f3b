"""All that a report of one run holds, and the pictures that are made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from fgcme.evaluation.comparison import Difference
from fgcme.report.confusion import confusion_figure, describe_confusion
from fgcme.report.curves import describe_learning, learning_figure, ua_limits
from fgcme.report.estimates import describe_estimates, describe_gaps, estimates_figure, gaps_figure
from fgcme.report.findings import Learning, ResultSet
from fgcme.report.speakers import describe_recalls, describe_speakers, recalls_figure, speakers_figure
from fgcme.report.spoken import UtteranceExample, describe_spoken, spoken_figure
from fgcme.report.theme import Picture

# Pictures of single variants that a page shows; the others are files beside it.
_SHOWN = 6


@dataclass(frozen=True)
class TrainingCost:
    """What a variant's trainings took.

    Attributes:
        trainings: how many.
        seconds: of all of them together.
    """

    trainings: int
    seconds: float


@dataclass(frozen=True)
class Provenance:
    """Where a report's numbers come from.

    Attributes:
        run: id of the MLflow run.
        title: what was run.
        kind: `ablation` or `cross_validation`.
        begun, ended: date and time, for a reader.
        corpus, corpus_hash: what was trained on, and the state of it.
        commit: of the code, all of them where trainings were made by several; `unknown` outside a checkout, and with
            `-dirty` where files differed from it.
        versions: package -> version.
        commands: that repeat it.
    """

    run: str
    title: str
    kind: str
    begun: str
    ended: str
    corpus: str
    corpus_hash: str
    commit: str
    versions: Mapping[str, str]
    commands: Sequence[str]


@dataclass(frozen=True)
class ReportData:
    """A report.

    Attributes:
        origin: where its numbers come from.
        results: one for each selection rule, an honest one first; pictures of single variants are of the first.
        untuned: the same without the speakers that the configuration was tuned on, where there are such and others.
        gaps: variant -> metric -> how much choosing epochs on the test part changes it, where both rules were run.
        learning: variant -> how it learned.
        spoken: utterances as the reference reads them.
        spoken_note: what has to be said of them, or why there are none.
        efforts: variant -> what it took, by all selection rules together.
    """

    origin: Provenance
    results: Sequence[ResultSet]
    efforts: Mapping[str, TrainingCost]
    untuned: Sequence[ResultSet] = ()
    gaps: Mapping[str, Mapping[str, Difference]] = field(default_factory=dict)
    learning: Mapping[str, Learning] = field(default_factory=dict)
    spoken: Sequence[UtteranceExample] = ()
    spoken_note: str = ""

    @property
    def main(self) -> ResultSet:
        """The result that is looked at closely."""
        return self.results[0]

    @property
    def shown(self) -> list[str]:
        """The variants of which the page shows pictures of their own: the reference, and those with the highest UA."""
        return self.main.ranked[:_SHOWN]

    @property
    def tuned_on_all(self) -> bool:
        """Whether no result is left without the speakers that the configuration was tuned on."""
        return bool(self.main.standing.tuned_on) and not self.untuned

    @property
    def optimistic(self) -> bool:
        """Whether any of its numbers is."""
        return any(findings.standing.optimistic for findings in self.results)


@dataclass(frozen=True)
class Pictures:
    """The pictures of a report.

    Attributes:
        estimates: one for each result; none of a single variant.
        gaps, recalls, speakers: None where there is nothing to compare.
        confusions, learning: one for each variant, in the order of `ResultSet.ranked`.
        spoken: one for each utterance.
    """

    estimates: Sequence[Picture]
    gaps: Picture | None
    recalls: Picture | None
    speakers: Picture
    confusions: Mapping[str, Picture]
    learning: Mapping[str, Picture]
    spoken: Sequence[Picture]

    def __iter__(self) -> Iterator[Picture]:
        """All of them."""
        yield from self.estimates
        yield from (picture for picture in (self.gaps, self.recalls, self.speakers) if picture is not None)
        yield from self.confusions.values()
        yield from self.learning.values()
        yield from self.spoken


def pictures(content: ReportData) -> Pictures:
    """Make the pictures of a report; nothing is drawn yet."""
    main = content.main
    compared = bool(main.table.comparisons)
    name = main.standing.file_name
    return Pictures(
        estimates=[_estimates(findings) for findings in content.results if compared],
        gaps=_gaps(content) if content.gaps else None,
        recalls=Picture(
            f"recalls-{name}",
            partial(recalls_figure, main),
            _said(main, describe_recalls(main)),
            f"First row: recall of {main.reference} for each emotion. Below: change of recall against it, in points, "
            "mean over seeds.",
        )
        if compared
        else None,
        speakers=Picture(
            f"speakers-{name}",
            partial(speakers_figure, main),
            _said(main, describe_speakers(main)),
            "One dot a speaker, at the same height in every row; the bar is the mean over speakers, and the speaker "
            "with the lowest UA is named.",
        ),
        confusions={variant: _confusion(main, variant) for variant in main.ranked},
        learning={variant: _learning(content, variant) for variant in main.ranked if variant in content.learning},
        spoken=[_spoken(main, spoken) for spoken in content.spoken],
    )


def _estimates(findings: ResultSet) -> Picture:
    return Picture(
        f"estimates-{findings.standing.file_name}",
        partial(estimates_figure, findings),
        _said(findings, describe_estimates(findings)),
        f"Left: UA with its 95 % interval; the diamond and the dashed line are {findings.reference}, the "
        "reference. Right: the difference from it, with stars where the corrected p is small.",
    )


def _gaps(content: ReportData) -> Picture:
    heading = f"{content.main.standing.protocol}, both selection rules; open diamonds are optimistic"
    return Picture(
        "selection-gap",
        partial(gaps_figure, content.main, content.gaps, heading),
        _said(content.main, describe_gaps(content.gaps), heading),
        "UA of each variant with epochs chosen on the dev part (dot) and on the test part (open diamond, optimistic).",
    )


def _confusion(findings: ResultSet, variant: str) -> Picture:
    matrix = findings.matrices[variant]
    text = f"Confusion matrix of {variant}. {describe_confusion(matrix, findings.classes)}"
    return Picture(
        f"confusion-{variant}-{findings.standing.file_name}",
        partial(confusion_figure, matrix, findings.classes, _title(findings, variant), findings.standing.label),
        _said(findings, text, of=[variant]),
    )


def _learning(content: ReportData, variant: str) -> Picture:
    findings, learning = content.main, content.learning[variant]
    draw = partial(
        learning_figure,
        learning,
        _title(findings, variant),
        findings.standing.label,
        reference=content.learning[findings.reference] if variant != findings.reference else None,
        limits=ua_limits(content.learning.values()),
    )
    text = f"Learning curves of {variant}. {describe_learning(learning)}"
    return Picture(f"learning-{variant}-{findings.standing.file_name}", draw, _said(findings, text, of=[variant]))


def _spoken(findings: ResultSet, spoken: UtteranceExample) -> Picture:
    remark = findings.remarks.get(findings.reference)
    heading = (
        f"{findings.reference}{f' ({remark})' if remark else ''}, fold {spoken.fold}, seed {spoken.seed}, trained "
        f"without speaker {spoken.speaker}; {findings.standing.label}"
    )
    prediction = spoken.prediction
    percentage = round(100 * prediction.probabilities[prediction.label])
    verdict = "rightly" if prediction.label == spoken.label else f"wrongly, it is {spoken.label}"
    return Picture(
        f"spoken-{_file_name(spoken.id)}-{findings.standing.file_name}",
        partial(spoken_figure, spoken, heading),
        _said(findings, describe_spoken(spoken), heading, of=[]),
        f"“{spoken.text}” ({spoken.id}), answered {prediction.label} with {percentage} %, {verdict}. Alignment: "
        f"{prediction.alignment}.",
    )


def _title(findings: ResultSet, variant: str) -> str:
    compared = bool(findings.table.comparisons)
    return findings.title(variant) + (" (reference)" if compared and variant == findings.reference else "")


def _said(findings: ResultSet, text: str, heading: str = "", of: Sequence[str] | None = None) -> str:
    """What a figure shows, followed by all that has to be said beside its numbers.

    Args:
        findings: what is shown.
        text: the description.
        heading: that of the figure; by default what has to be said of the findings.
        of: the variants that the figure shows; all by default.
    """
    shown = findings.variants if of is None else of
    remarks = [f"; {name} {findings.remarks[name]}" for name in shown if name in findings.remarks]
    return f"{text} ({heading or findings.standing.label}{''.join(remarks)}.)"


def _file_name(text: str) -> str:
    """What of an id may stand in the name of a file.

    >>> _file_name("Ses01/impro 01")
    'Ses01-impro-01'
    """
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in text)
