"""The metrics of a cross-validation, of all its tasks: classes, ratings or both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fgcme.data import Tasks
from fgcme.evaluation.agreement import VOTES, Agreement, measure_agreement
from fgcme.evaluation.cross_validation import CrossValidationSummary, summarise
from fgcme.evaluation.ratings import RatingsSummary, summarise_ratings


def main_measures(tasks: Tasks) -> list[str]:
    """Names of the metrics that stand for a model: UA and WA, and CCC, its mean over dimensions first.

    >>> main_measures(Tasks([], {"valence": (1, 5)}))
    ['ccc', 'ccc_valence']
    """
    of_ratings = ["ccc", *(f"ccc_{name}" for name in tasks.dimensions)]
    return [*(("ua", "wa") if tasks.classes else ()), *(of_ratings if tasks.dimensions else ())]


@dataclass(frozen=True)
class TaskSummary:
    """Metrics of a cross-validation.

    Attributes:
        classes: of the answers of classes; None where none are learnt.
        ratings: of the answers of ratings; None where none are learnt.
        agreement: of the raters, and of the model with them; None where their shares are not learnt.
        utterances: how many the metrics of one seed are taken of.
        seeds: how many.
    """

    classes: CrossValidationSummary | None
    ratings: RatingsSummary | None
    agreement: Agreement | None
    utterances: int
    seeds: int

    @property
    def mean(self) -> dict[str, float]:
        """Metric -> its mean over seeds."""
        found = {} if self.classes is None else dict(self.classes.mean)
        found |= {} if self.agreement is None else self.agreement.metrics
        of_ratings = {} if self.ratings is None else self.ratings.metrics
        return found | {name: estimate.mean for name, estimate in of_ratings.items()}

    @property
    def deviation(self) -> dict[str, float]:
        """Metric -> its sample deviation over seeds, 0 with one seed; those of raters have none."""
        found = {} if self.classes is None else dict(self.classes.deviation)
        of_ratings = {} if self.ratings is None else self.ratings.metrics
        return found | {name: estimate.deviation for name, estimate in of_ratings.items()}


def summarise_tasks(predictions: pa.Table, tasks: Tasks, without_speakers: Iterable[str] = ()) -> TaskSummary:
    """Metrics of the pooled out-of-fold predictions of each seed.

    Args:
        predictions: all folds and seeds, schema `fgcme.evaluation.cross_validation.PREDICTIONS` with the columns of
            `fgcme.evaluation.ratings`.
        tasks: that were learnt.
        without_speakers: leave these speakers out.

    Raises:
        UserError: ratings were learnt, and a seed does not answer every utterance once.
    """
    left_out = list(without_speakers)
    kept = ~np.isin(np.array(predictions["speaker"].to_pylist()), left_out)
    seeds = len(np.unique(predictions["seed"].to_numpy()))
    agreement = None
    if VOTES in predictions.column_names and kept.any():
        agreement = measure_agreement(predictions.filter(pa.array(kept)), [*tasks.classes])
    return TaskSummary(
        classes=summarise(predictions, tasks.classes, left_out) if tasks.classes else None,
        ratings=summarise_ratings(predictions, tasks.dimensions, left_out) if tasks.dimensions and kept.any() else None,
        agreement=agreement,
        utterances=int(kept.sum()) // seeds,
        seeds=seeds,
    )
