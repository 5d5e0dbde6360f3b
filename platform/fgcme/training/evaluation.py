"""A model's answers for one part of a fold, and their metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from fgcme.data import Tasks
from fgcme.evaluation.agreement import measure_distribution
from fgcme.evaluation.concordance import measure_ratings
from fgcme.evaluation.cross_validation import probabilities_of
from fgcme.evaluation.metrics import confusion, measure


@dataclass(frozen=True)
class Evaluation:
    """A model's answers for one part, in the part's order.

    Attributes:
        outputs: [B, K + D] of each utterance once: the mean over its recordings where it has copies at other speeds.
        labels: [B] true class indices.
        ratings: [B, D] true ratings from 0 to 1; NaN where nobody rated.
        tasks: what the values of an output are.
        votes: [B, K] how many raters gave each class; None, or [B, 0], where that is not learnt.
    """

    outputs: np.ndarray
    labels: np.ndarray
    ratings: np.ndarray
    tasks: Tasks
    votes: np.ndarray | None = None

    @property
    def logits(self) -> np.ndarray:
        """[B, K] of the classes."""
        return self.outputs[:, : len(self.tasks.classes)]

    @property
    def predictions(self) -> np.ndarray:
        """[B] predicted class indices."""
        return np.asarray(self.logits.argmax(1))

    @property
    def true_ratings(self) -> dict[str, np.ndarray]:
        """Dimension -> [B] on its own scale."""
        return self._by_dimension(self.ratings)

    @property
    def answered_ratings(self) -> dict[str, np.ndarray]:
        """Dimension -> [B] as the model answers them, on its own scale."""
        return self._by_dimension(self.outputs[:, len(self.tasks.classes) :])

    def metrics(self) -> dict[str, float]:
        """WA, UA and macro-F1 of classes; how far their distribution is; CCC, correlation, error of ratings; `loss`.

        `loss` is the mean cross-entropy, 1 less the mean CCC, or with both tasks their sum.
        """
        found, loss = {}, 0.0
        if self.tasks.classes:
            logits, labels = torch.from_numpy(self.logits), torch.from_numpy(self.labels)
            found = measure(confusion(self.labels, self.predictions, logits.shape[1]))
            loss = float(functional.cross_entropy(logits, labels))
            if self.votes is not None and self.votes.shape[1]:
                found |= measure_distribution(probabilities_of(self.logits), self.votes)
                loss = found["cross_entropy"]
        if self.tasks.dimensions:
            found |= measure_ratings(self.true_ratings, self.answered_ratings)
            loss += 1 - found["ccc"]
        return {**found, "loss": loss}

    def _by_dimension(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.tasks.dimensions, self.tasks.unscaled(values).T, strict=True))
