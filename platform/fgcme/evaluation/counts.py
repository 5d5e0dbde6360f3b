"""Counts by group, seed and class, from which the metrics of any resample of speakers follow without its utterances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fgcme.evaluation.predictions import PredictionsBySeed
from fgcme.evaluation.resampling import blocks


@dataclass(frozen=True)
class Counts:
    """All that the metrics need of some utterances, by seed and class.

    Attributes:
        correct: [..., R, K] utterances of the class that are predicted right.
        support: [..., 1, K] utterances of the class; the same for all seeds.
        predicted: [..., R, K] utterances predicted to be of the class.
    """

    correct: np.ndarray
    support: np.ndarray
    predicted: np.ndarray

    @classmethod
    def by_speaker(cls, predictions: PredictionsBySeed, class_count: int) -> Counts:
        """Counts of each speaker, [S, R, K], speakers sorted."""
        return cls._by(predictions.speakers, predictions, class_count)

    @classmethod
    def by_fold(cls, predictions: PredictionsBySeed, class_count: int) -> Counts:
        """Counts of each fold, [folds, R, K], folds sorted."""
        return cls._by(predictions.folds, predictions, class_count)

    @classmethod
    def _by(cls, groups: np.ndarray, predictions: PredictionsBySeed, class_count: int) -> Counts:
        names, group = np.unique(groups, return_inverse=True)
        seeds, labels = len(predictions.seeds), predictions.labels

        def count(cells: np.ndarray, rows: int) -> np.ndarray:
            shape = len(names), rows, class_count
            return np.bincount(cells.ravel(), minlength=math.prod(shape)).reshape(shape).astype(float)

        # The first cell of each group and seed, [R, B].
        first = (group * seeds + np.arange(seeds)[:, None]) * class_count
        right = predictions.predictions == labels
        return cls(
            correct=count((first + labels)[right], seeds),
            support=count(group * class_count + labels, 1),
            predicted=count(first + predictions.predictions, seeds),
        )

    def vary_one_group(self) -> Counts:
        """Sums [groups, R, K] over all groups: group g as seed r predicts it, the others as their mean over seeds.

        How much a metric of these varies along r is how much seeds make it vary by group g alone.
        """

        def vary(counts: np.ndarray) -> np.ndarray:
            means = counts.mean(1, keepdims=True)
            return np.asarray(means.sum(0) - means + counts)

        return Counts(vary(self.correct), vary(self.support), vary(self.predicted))

    def weighted(self, weights: np.ndarray) -> Counts:
        """Sums over speakers, [draws, R, K], each counted as often as its weight in `weights`, [draws, S]."""
        own = self.correct, self.support, self.predicted
        sums = tuple(np.empty((len(weights), *counts.shape[1:])) for counts in own)
        for rows in blocks(*weights.shape):
            drawn = weights[rows].astype(float)
            for total, counts in zip(sums, own, strict=True):
                total[rows] = np.tensordot(drawn, counts, 1)
        return Counts(*sums)

    def measure(self) -> dict[str, np.ndarray]:
        """WA, UA and macro-F1 by seed, [..., R], as `fgcme.evaluation.metrics.measure` defines them."""
        present = self.support > 0
        recall, f1 = np.zeros((2, *self.correct.shape))
        np.divide(self.correct, self.support, out=recall, where=present)
        np.divide(2 * self.correct, self.support + self.predicted, out=f1, where=present)
        classes = present.sum(-1)
        return {
            "wa": self.correct.sum(-1) / self.support.sum(-1),
            "ua": recall.sum(-1) / classes,
            "macro_f1": f1.sum(-1) / classes,
        }
