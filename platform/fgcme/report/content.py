"""All that the report of an ablation or a cross-validation holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fgcme.evaluation.comparison import Difference
from fgcme.report.example import UtteranceExample
from fgcme.report.results import LearningCurves, ResultSet

# How many variants have pictures of their own on the page; the others are files beside it.
_VARIANTS_SHOWN = 6


@dataclass(frozen=True)
class TrainingCost:
    """The training time of a variant.

    Attributes:
        trainings: how many.
        seconds: wall time, of all of them together.
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
        started, ended: date and time, for a reader.
        corpus, corpus_hash: the prepared corpus, and the hash of its content.
        commit: of the code, all of them where several trained the models; `unknown` outside a checkout, and with
            `-dirty` where files differed from it.
        versions: package -> version.
        commands: that repeat the run.
    """

    run: str
    title: str
    kind: str
    started: str
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
        provenance: where its numbers come from.
        result_sets: one for each selection rule, an honest one first; pictures of single variants are of the first.
        training_costs: variant -> its training time, by all selection rules together.
        without_tuned_on: `result_sets` without the speakers that the configuration was tuned on; empty where there are
            no such speakers, or too few others.
        gaps: variant -> metric -> how much choosing epochs on the test part changes it, where both rules were run.
        learning: variant -> its learning curves.
        examples: test utterances with the reference's predictions.
        examples_note: a remark on them, or why there are none.
        agreement: how far the raters agree, and the reference with them, in sentences; none where their shares are not
            learnt.
    """

    provenance: Provenance
    result_sets: Sequence[ResultSet]
    training_costs: Mapping[str, TrainingCost]
    without_tuned_on: Sequence[ResultSet] = ()
    gaps: Mapping[str, Mapping[str, Difference]] = field(default_factory=dict)
    learning: Mapping[str, LearningCurves] = field(default_factory=dict)
    examples: Sequence[UtteranceExample] = ()
    examples_note: str = ""
    agreement: Sequence[str] = ()

    @property
    def main(self) -> ResultSet:
        """The results that are shown in detail."""
        return self.result_sets[0]

    @property
    def shown(self) -> list[str]:
        """The variants with pictures of their own on the page: the reference, and those with the highest UA."""
        return self.main.ranked[:_VARIANTS_SHOWN]

    @property
    def too_few_untuned(self) -> bool:
        """Whether too few speakers remain without those that the configuration was tuned on."""
        return bool(self.main.conditions.tuned_on) and not self.without_tuned_on

    @property
    def has_contributions(self) -> bool:
        """Whether it is known what the words of its examples contribute."""
        return any(example.prediction.base is not None for example in self.examples)

    @property
    def optimistic(self) -> bool:
        """Whether any of its numbers is optimistic."""
        return any(results.conditions.optimistic for results in self.result_sets)
