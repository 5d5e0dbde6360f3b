"""The results of several variants as numbers, from their predictions; nothing is drawn or written here."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fgcme.evaluation.comparison import ComparisonTable, Difference, compare_variants
from fgcme.evaluation.counts import Counts
from fgcme.evaluation.cross_validation import summarise
from fgcme.evaluation.predictions import PredictionsBySeed
from fgcme.report.conditions import Conditions

History = Sequence[tuple[int, float]]

# Letters per line of a remark in a figure.
_REMARK_WIDTH = 20


@dataclass(frozen=True)
class ResultSet:
    """The results of one or more variants by one selection rule.

    Attributes:
        conditions: by what rules they were made.
        classes: the K class names.
        table: estimates and comparisons.
        remarks: variant -> what it uses beyond what the protocol allows; only for those that do.
        matrices: variant -> [K, K] confusion counts over all seeds.
        speakers: the P speakers, sorted.
        utterance_counts: [S] utterances of each.
        by_speaker: variant -> metric -> [S], mean over seeds.
    """

    conditions: Conditions
    classes: list[str]
    table: ComparisonTable
    remarks: dict[str, str]
    matrices: dict[str, np.ndarray]
    speakers: list[str]
    utterance_counts: np.ndarray
    by_speaker: dict[str, dict[str, np.ndarray]]

    @classmethod
    def of(
        cls,
        predictions: Mapping[str, pa.Table],
        reference: str,
        classes: Sequence[str],
        conditions: Conditions,
        remarks: Mapping[str, str] | None = None,
    ) -> ResultSet:
        """Compute the results from predictions.

        Args:
            predictions: variant -> predictions of all folds and seeds, schema `cross_validation.PREDICTIONS`.
            reference: the variant that the others are compared with.
            classes: class names.
            conditions: see the class.
            remarks: see the class.

        Raises:
            UserError: see `fgcme.evaluation.comparison.compare_variants`.
        """
        table = compare_variants(predictions, reference, classes)
        by_seed = {name: PredictionsBySeed.of(name, each, classes) for name, each in predictions.items()}
        speakers, utterance_counts = np.unique(by_seed[reference].speakers, return_counts=True)
        return cls(
            conditions=conditions,
            classes=list(classes),
            table=table,
            remarks=dict(remarks or {}),
            matrices={name: summarise(each, classes).matrix for name, each in predictions.items()},
            speakers=speakers.tolist(),
            utterance_counts=utterance_counts,
            by_speaker={
                name: {
                    metric: values.mean(-1)
                    for metric, values in Counts.by_speaker(each, len(classes)).measure().items()
                }
                for name, each in by_seed.items()
            },
        )

    @property
    def reference(self) -> str:
        """The variant that the others are compared with."""
        return self.table.reference

    @property
    def variants(self) -> list[str]:
        """All variants, in the order in which they were given."""
        return list(self.table.estimates)

    @property
    def ranked(self) -> list[str]:
        """The reference, and then the others from the highest UA to the lowest."""
        others = [name for name in self.variants if name != self.reference]
        return [self.reference, *sorted(others, key=self.ua, reverse=True)]

    def ua(self, variant: str) -> float:
        """The UA of a variant."""
        return self.table.estimates[variant]["ua"].mean

    def recalls(self, variant: str) -> np.ndarray:
        """[K] recall of each class, mean over seeds; NaN for a class without utterances."""
        matrix = self.matrices[variant]
        support = matrix.sum(1)
        recalls = np.full(len(support), np.nan)
        np.divide(np.diag(matrix), support, out=recalls, where=support > 0)
        return recalls

    def title(self, variant: str) -> str:
        """A variant's name for a figure, with its remark."""
        remark = self.remarks.get(variant)
        return "\n".join([variant, *textwrap.wrap(f"({remark})", _REMARK_WIDTH)]) if remark else variant

    def differs_significantly(self, variant: str) -> bool:
        """Whether a variant's UA differs from the reference's by its corrected p-value."""
        return self.table.comparisons[variant].differences["ua"].p_holm <= 0.05


def without_speakers(predictions: Mapping[str, pa.Table], speakers: Sequence[str]) -> dict[str, pa.Table]:
    """Predictions of all other speakers."""
    left_out = pa.array(speakers, pa.string())
    return {name: each.filter(pc.invert(pc.is_in(each["speaker"], left_out))) for name, each in predictions.items()}


def selection_gaps(
    on_test: Mapping[str, pa.Table], on_dev: Mapping[str, pa.Table], classes: Sequence[str]
) -> dict[str, dict[str, Difference]]:
    """How much choosing epochs on the test part raises each variant.

    Args:
        on_test: variant -> predictions with epochs chosen on the test part.
        on_dev: variant -> predictions with epochs chosen on the dev part.
        classes: class names.

    Returns:
        Variant -> metric, `ua` or `wa` -> difference, test less dev.

    Raises:
        UserError: see `fgcme.evaluation.comparison.compare_variants`.
    """
    return {
        name: compare_variants({"dev": on_dev[name], "test": on_test[name]}, "dev", classes)
        .comparisons["test"]
        .differences
        for name in on_dev
    }


@dataclass(frozen=True)
class Curve:
    """A metric epoch by epoch, over several trainings.

    Attributes:
        epochs: the epochs that all of the trainings have.
        mean: of each epoch.
        deviation: sample deviation over trainings of each epoch, 0 with one training.
    """

    epochs: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, histories: Sequence[History]) -> Curve:
        """The curve of some trainings. If an epoch was logged twice, its last value counts.

        >>> Curve.of([[(1, 0.2), (2, 0.4)], [(1, 0.4), (2, 0.6), (3, 0.9)]]).mean.round(2).tolist()
        [0.3, 0.5]
        """
        last = [dict(history) for history in histories]
        epochs = sorted(set.intersection(*(set(each) for each in last))) if last else []
        values = np.array([[each[epoch] for epoch in epochs] for each in last]).reshape(len(last), len(epochs))
        if not epochs:
            return cls(np.zeros(0, int), np.zeros(0), np.zeros(0))
        deviation = values.std(0, ddof=1) if len(values) > 1 else np.zeros(len(epochs))
        return cls(np.array(epochs), values.mean(0), deviation)


@dataclass(frozen=True)
class LearningCurves:
    """Learning curves of a variant.

    Attributes:
        dev_ua, train_loss: over folds and seeds.
        trainings: how many.
    """

    dev_ua: Curve
    train_loss: Curve
    trainings: int
